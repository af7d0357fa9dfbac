//! The gateway: AK/SK verified from the received bytes (facts A1, A1.3, A2).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use md5::Digest as _;

use super::{APP_KEY, APP_SECRET, HikCentralQuirks};
use crate::wire::Request;

/// Remembers nonces.
#[derive(Default)]
pub(super) struct Gateway {
    nonces: Mutex<HashSet<String>>,
}

/// A refusal, as the gateway words it: with the AppKey in it where the signature is wrong.
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Gateway {
    pub(super) fn verify(&self, request: &Request, quirks: &HikCentralQuirks) -> Result<(), Refused> {
        let refuse = |code, message: String| Err(Refused { code, message });
        let name = request.path().trim_start_matches("/artemis/");
        let Some(key) = request.header("x-ca-key").filter(|key| !key.is_empty()) else {
            return refuse("0x02401000", format!("no AppKey found! apiName : {name}"));
        };
        if key != APP_KEY {
            return refuse("0x02401001", format!("no such partner! apiName : {name}, appKey : {key}"));
        }
        let Some(signature) = request.header("x-ca-signature").filter(|signature| !signature.is_empty())
        else {
            return refuse("0x02401002", format!("no signature found! apiName : {name}, appKey : {key}"));
        };
        let texts = strings_to_sign(request, quirks.alibaba_layout);
        let fits =
            |text: &String| STANDARD.encode(hmac_sha256(APP_SECRET.as_bytes(), text.as_bytes())) == signature;
        if !texts.iter().any(fits) {
            let text = texts.first().map(String::as_str).unwrap_or_default();
            return refuse(
                "0x02401003",
                format!(
                    "api AK/SK signature authentication failed,Invalid Signature! and StringToSign: {text}, apiName : {name}, appKey : {key}"
                ),
            );
        }
        if let Some(sent) = request.header("content-md5").filter(|_| quirks.check_md5)
            && STANDARD.encode(md5::Md5::digest(&request.body)) != sent
        {
            return refuse("0x02401003", "Invalid Content-MD5!".to_owned());
        }
        if quirks.timestamp_window_s > 0 {
            let sent = request.header("x-ca-timestamp").and_then(|text| text.parse::<i64>().ok());
            let apart = sent.map(|sent| Timestamp::now().as_millisecond().abs_diff(sent));
            if apart.is_none_or(|apart| apart > quirks.timestamp_window_s.saturating_mul(1_000)) {
                return refuse("0x02401003", "Invalid Timestamp!".to_owned());
            }
        }
        if quirks.nonce_once {
            let nonce = request.header("x-ca-nonce").unwrap_or_default().to_owned();
            let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
            if nonce.is_empty() || !nonces.insert(nonce) {
                return refuse("0x02401003", "Nonce Used!".to_owned());
            }
        }
        Ok(())
    }
}

/// The texts that the signature may be over: signed headers sorted, and in the order of their list.
fn strings_to_sign(request: &Request, alibaba: bool) -> Vec<String> {
    let mut head = format!("{}\n", request.method);
    for name in ["accept", "content-md5", "content-type", "date"] {
        match request.header(name) {
            Some(value) => head.push_str(&format!("{value}\n")),
            None if alibaba => head.push('\n'),
            None => {}
        }
    }
    let names = request.header("x-ca-signature-headers").unwrap_or_default();
    let listed: Vec<(&str, &str)> = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| (name, request.header(name).unwrap_or_default()))
        .collect();
    let mut sorted = listed.clone();
    sorted.sort_by(|one, other| one.0.encode_utf16().cmp(other.0.encode_utf16()));
    let tail = resource(request);
    let text = |headers: &[(&str, &str)]| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        format!("{head}{lines}{tail}")
    };
    let mut texts = vec![text(&sorted)];
    if listed != sorted {
        texts.push(text(&listed));
    }
    texts
}

/// The path as received, and query and form as one sorted list of raw values.
fn resource(request: &Request) -> String {
    let mut all: BTreeMap<Vec<u16>, (String, String)> = BTreeMap::new();
    let form = request
        .header("content-type")
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let fields: Vec<(String, String)> =
        if form { url::form_urlencoded::parse(&request.body).into_owned().collect() } else { Vec::new() };
    for (name, value) in request.parameters().into_iter().chain(fields) {
        all.insert(name.encode_utf16().collect(), (name, value));
    }
    let mut text = request.path().to_owned();
    for (place, (name, value)) in all.into_values().enumerate() {
        text.push(if place == 0 { '?' } else { '&' });
        text.push_str(&name);
        if !value.trim().is_empty() {
            text.push('=');
            text.push_str(&value);
        }
    }
    text
}

/// RFC 2104 over SHA-256.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    use sha2::Sha256;
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block.iter_mut().zip(Sha256::digest(key)).for_each(|(to, from)| *to = from);
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let padded = |byte: u8| block.map(|of_key| of_key ^ byte);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../../fixtures/artemis_vectors.json");

    fn request(vector: &Value) -> Request {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = vector["headersAsSent"].as_object().into_iter().flatten();
        Request {
            method: text(&vector["method"]),
            target: text(&vector["urlAsSent"]),
            headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
            body: Bytes::from(STANDARD.decode(text(&vector["bodyBase64"])).unwrap_or_default()),
            chunked: false,
            nth: 1,
        }
    }

    #[test]
    fn every_published_vector_is_rebuilt_and_judged() -> Result<(), serde_json::Error> {
        let all: Value = serde_json::from_str(VECTORS)?;
        let vectors = all["vectors"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(vectors.len() >= 7);
        for vector in vectors {
            let request = request(vector);
            let alibaba = vector["layout"] == "aliyun";
            let texts = strings_to_sign(&request, alibaba);
            assert_eq!(
                texts.first().map(String::as_str),
                vector["stringToSign"].as_str(),
                "{}",
                vector["id"]
            );
            // The negative vectors: another layout, and another secret than the partner's.
            let secret = "Zk3Vn8QpLr5TwXy1Ba7C";
            let artemis = strings_to_sign(&request, false);
            let signed = |text: &String| STANDARD.encode(hmac_sha256(secret.as_bytes(), text.as_bytes()));
            let accepted =
                artemis.iter().any(|text| request.header("x-ca-signature") == Some(signed(text).as_str()));
            assert_eq!(Value::Bool(accepted), vector["expectAcceptedByArtemisLayout"], "{}", vector["id"]);
        }
        Ok(())
    }

    #[test]
    fn a_long_key_is_hashed_first() {
        // RFC 4231, test case 6.
        let mac = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(mac), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
