//! The signature of HikCentral's OpenAPI ("Artemis"), facts A1: HMAC-SHA256 over method, four headers, the signed
//! `x-ca-` headers, and path with parameters.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

/// What the host writes for this scheme, in lower case.
pub(crate) const OWN_HEADERS: &[&str] = &[
    "content-md5",
    "date",
    "x-ca-key",
    "x-ca-nonce",
    "x-ca-signature",
    "x-ca-signature-headers",
    "x-ca-signature-method",
    "x-ca-timestamp",
];

/// What a signature is over.
#[derive(Clone, Debug, Default)]
pub struct Signed<'a> {
    /// Upper case.
    pub method: &'a str,
    /// `Accept` as sent, if it is.
    pub accept: Option<&'a str>,
    /// `Content-MD5` as sent, if it is.
    pub content_md5: Option<&'a str>,
    /// `Content-Type` as sent, byte for byte, if it is.
    pub content_type: Option<&'a str>,
    /// `Date` as sent, if it is.
    pub date: Option<&'a str>,
    /// The headers named by `x-ca-signature-headers`, in any order.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The path as sent, with its `/artemis` prefix.
    pub path: &'a str,
    /// Query parameters, decoded.
    pub query: &'a [(String, String)],
    /// Form fields, decoded; one replaces a query parameter of the same name.
    pub form: &'a [(String, String)],
}

/// Sorts as Java does: by UTF-16 code unit.
#[derive(PartialEq, Eq)]
struct CodeUnits<'a>(&'a str);

impl Ord for CodeUnits<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.encode_utf16().cmp(other.0.encode_utf16())
    }
}

impl PartialOrd for CodeUnits<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The text that is signed. A header that is not sent drops its whole line; there is no line feed at the end.
#[must_use]
pub fn string_to_sign(signed: &Signed<'_>) -> String {
    let mut text = String::with_capacity(256);
    text.push_str(signed.method);
    text.push('\n');
    for line in [signed.accept, signed.content_md5, signed.content_type, signed.date].into_iter().flatten() {
        text.push_str(line);
        text.push('\n');
    }
    let mut headers = signed.headers.clone();
    headers.sort_by(|(one, _), (other, _)| CodeUnits(one).cmp(&CodeUnits(other)));
    for (name, value) in headers {
        text.push_str(name);
        text.push(':');
        text.push_str(value);
        text.push('\n');
    }
    text.push_str(signed.path);
    let parameters: BTreeMap<CodeUnits<'_>, &str> = signed
        .query
        .iter()
        .chain(signed.form)
        .map(|(name, value)| (CodeUnits(name), value.as_str()))
        .collect();
    for (index, (name, value)) in parameters.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name.0);
        // A blank value is signed as the name alone.
        if !value.trim().is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

/// The names for `x-ca-signature-headers`, in signing order.
#[must_use]
pub fn signed_names(headers: &[(&str, &str)]) -> String {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_by(|one, other| CodeUnits(one).cmp(&CodeUnits(other)));
    names.join(",")
}

/// `base64(HMAC-SHA256(secret, text))`, the value of `x-ca-signature`.
#[must_use]
pub fn sign(secret: &str, text: &str) -> String {
    let mut mac = keyed(secret.as_bytes());
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// `base64(md5(body))`, the value of `Content-MD5`.
#[must_use]
pub fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

/// RFC 2104 section 2: a key longer than a block is hashed, a shorter one is padded with zeros.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    if key.len() > block.len() {
        block.iter_mut().zip(Sha256::digest(key)).for_each(|(to, from)| *to = from);
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    <Hmac<Sha256> as KeyInit>::new(&block)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let all: Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/artemis_vectors.json")).unwrap();
        all["vectors"].as_array().unwrap().clone()
    }

    fn pairs(value: &Value) -> Vec<(String, String)> {
        let pair =
            |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap_or_default().to_owned());
        value.as_object().unwrap().iter().map(pair).collect()
    }

    fn ours(vector: &Value) -> String {
        let (query, form) = (pairs(&vector["query"]), pairs(&vector["form"]));
        let headers = &vector["headers"];
        string_to_sign(&Signed {
            method: vector["method"].as_str().unwrap(),
            accept: headers["Accept"].as_str(),
            content_md5: headers["Content-MD5"].as_str(),
            content_type: headers["Content-Type"].as_str(),
            date: headers["Date"].as_str(),
            headers: vector["signedHeaderNames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| (name.as_str().unwrap(), headers[name.as_str().unwrap()].as_str().unwrap()))
                .collect(),
            path: vector["path"].as_str().unwrap(),
            query: &query,
            form: &form,
        })
    }

    #[test]
    fn every_vector_comes_out_and_every_negative_one_does_not() {
        let (mut positive, mut negative) = (0, 0);
        for vector in vectors() {
            let id = vector["id"].as_str().unwrap();
            let text = ours(&vector);
            let secret = "Zk3Vn8QpLr5TwXy1Ba7C";
            if vector["expectAcceptedByArtemisLayout"] == Value::Bool(true) {
                assert_eq!(text, vector["stringToSign"].as_str().unwrap(), "{id}");
                assert_eq!(vector["appSecret"], secret, "{id}");
                assert_eq!(sign(secret, &text), vector["signature"].as_str().unwrap(), "{id}");
                positive += 1;
            } else {
                assert_ne!(sign(secret, &text), vector["signature"].as_str().unwrap(), "{id}");
                negative += 1;
            }
        }
        assert!(positive >= 5 && negative >= 2, "{positive} and {negative}");
    }

    #[test]
    fn names_are_listed_in_signing_order() {
        assert_eq!(
            signed_names(&[("x-ca-timestamp", ""), ("Userid", ""), ("x-ca-key", "")]),
            "Userid,x-ca-key,x-ca-timestamp"
        );
    }

    #[test]
    fn the_test_cases_of_rfc_4231_hold_for_short_and_long_keys() {
        let hex_of = |key: &[u8], text: &[u8]| {
            let mut mac = keyed(key);
            mac.update(text);
            hex::encode(mac.finalize().into_bytes())
        };
        assert_eq!(
            hex_of(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex_of(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn content_md5_is_the_base64_of_the_raw_hash() {
        assert_eq!(content_md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }
}
