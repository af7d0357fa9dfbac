//! The `Authorization: Digest` header and the arithmetic behind it (RFC 7616 section 3.4, RFC 2069 without qop).

use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::quirks::{ChallengeForm, Quirks};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::encode(Md5::digest(text)),
            Self::Sha256 => hex::encode(Sha256::digest(text)),
        }
    }
}

/// What a digest response is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Which hash.
    pub algorithm: Algorithm,
    /// The user's name.
    pub user: &'a str,
    /// The realm of the challenge.
    pub realm: &'a str,
    /// The password.
    pub password: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request target with its query, as sent.
    pub uri: &'a str,
    /// The nonce of the challenge.
    pub nonce: &'a str,
    /// nc, cnonce and qop as sent; none for the old form without qop.
    pub protection: Option<(&'a str, &'a str, &'a str)>,
}

/// The response that goes with these parts, in lower-case hexadecimal digits (RFC 7616 section 3.4.1).
pub fn digest_response(parts: &Parts<'_>) -> String {
    let Parts { algorithm, user, realm, password, method, uri, nonce, protection } = *parts;
    let secret = algorithm.hash(&format!("{user}:{realm}:{password}"));
    let request = algorithm.hash(&format!("{method}:{uri}"));
    match protection {
        Some((nc, cnonce, qop)) => algorithm.hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:{qop}:{request}")),
        None => algorithm.hash(&format!("{secret}:{nonce}:{request}")),
    }
}

/// The header's parameters.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) realm: String,
    pub(crate) nonce: String,
    pub(crate) uri: String,
    pub(crate) response: String,
    algorithm: Option<String>,
    opaque: Option<String>,
    qop: Option<String>,
    nc: Option<String>,
    cnonce: Option<String>,
}

impl Credentials {
    /// Reads the text after `Digest `; `None` if it is not a parameter list, or names a parameter twice.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut given = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            let (value, after) = value(after.trim_start())?;
            rest = after.trim_start();
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
            } else if !rest.is_empty() {
                return None;
            }
            if seen.contains(&name) {
                return None;
            }
            match name.as_str() {
                "username" => given.user = value,
                "realm" => given.realm = value,
                "nonce" => given.nonce = value,
                "uri" => given.uri = value,
                "response" => given.response = value,
                "algorithm" => given.algorithm = Some(value),
                "opaque" => given.opaque = Some(value),
                "qop" => given.qop = Some(value),
                "nc" => given.nc = Some(value),
                "cnonce" => given.cnonce = Some(value),
                _ => {}
            }
            seen.push(name);
        }
        Some(given)
    }

    /// The nonce count: outer `None` if it is malformed, inner `None` if there is none.
    pub(crate) fn count(&self) -> Option<Option<u32>> {
        match &self.nc {
            None => Some(None),
            Some(text) if text.len() == 8 => u32::from_str_radix(text, 16).ok().map(Some),
            Some(_) => None,
        }
    }

    pub(crate) fn protection(&self) -> Option<(&str, &str, &str)> {
        Some((self.nc.as_deref()?, self.cnonce.as_deref()?, self.qop.as_deref()?))
    }

    /// Whether the header answers the challenge that its nonce belongs to.
    pub(crate) fn agree(
        &self,
        quirks: &Quirks,
        algorithm: Algorithm,
        opaque: &str,
    ) -> Result<(), &'static str> {
        match &self.algorithm {
            Some(name) if !name.eq_ignore_ascii_case(algorithm.name()) => return Err("another algorithm"),
            None if quirks.algorithm_echo || algorithm != Algorithm::Md5 => {
                return Err("the algorithm is missing");
            }
            _ => {}
        }
        if self.opaque.as_deref().unwrap_or_default() != opaque {
            return Err("another opaque");
        }
        let with_qop = quirks.challenge != ChallengeForm::NoQop;
        match (&self.qop, with_qop) {
            (Some(qop), true) if qop == "auth" => {}
            (None, false) => return Ok(()),
            (Some(_), true) => return Err("another qop"),
            (Some(_), false) => return Err("qop where none was offered"),
            (None, true) => return Err("qop is missing"),
        }
        if self.nc.is_none() {
            return Err("nc is missing");
        }
        if self.cnonce.as_deref().unwrap_or_default().is_empty() {
            return Err("cnonce is missing");
        }
        Ok(())
    }
}

/// A token or quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return (!token.is_empty()).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(place + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 section 3.9.1.
    const VECTOR: Parts<'static> = Parts {
        algorithm: Algorithm::Sha256,
        user: "Mufasa",
        realm: "http-auth@example.org",
        password: "Circle of Life",
        method: "GET",
        uri: "/dir/index.html",
        nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        protection: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "auth")),
    };

    #[test]
    fn the_response_is_that_of_rfc_7616_section_3_9_1() {
        assert_eq!(
            digest_response(&VECTOR),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
        assert_eq!(
            digest_response(&Parts { algorithm: Algorithm::Md5, ..VECTOR }),
            "8ca523f5e9506fed4657c9700eebdbec"
        );
    }

    #[test]
    fn the_form_without_qop_is_that_of_rfc_2069() {
        // The example of RFC 2069 section 2.4 with the response of its erratum 749.
        let parts = Parts {
            algorithm: Algorithm::Md5,
            user: "Mufasa",
            realm: "testrealm@host.com",
            password: "CircleOfLife",
            method: "GET",
            uri: "/dir/index.html",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            protection: None,
        };
        assert_eq!(digest_response(&parts), "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn quoted_strings_keep_commas_and_escapes() {
        let given = Credentials::parse(r#"username="a\"b,c", realm=x,nc=00000001 , uri="/p?a=b,c""#);
        let given = given.unwrap_or_default();
        assert_eq!(
            (given.user.as_str(), given.realm.as_str(), given.uri.as_str()),
            ("a\"b,c", "x", "/p?a=b,c")
        );
        assert_eq!(given.count(), Some(Some(1)));
    }

    #[test]
    fn what_is_no_parameter_list_is_refused() {
        for text in ["username", "username=\"open", "a=b c=d", "uri=a, uri=b"] {
            assert!(Credentials::parse(text).is_none(), "{text}");
        }
    }
}
