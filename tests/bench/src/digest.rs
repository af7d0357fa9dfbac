//! Digest auth (RFC 7616) for the plain client: as little as the simulated terminals ask for, and none of the
//! engine's code.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// Who logs in.
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Account {
    /// The `Authorization` header that answers this challenge for one request.
    pub(crate) fn answer(&self, challenge: &str, method: &str, uri: &str, cnonce: &str) -> Result<String> {
        let challenge = challenge.strip_prefix("Digest ").context("not a digest challenge")?;
        let fields = fields(challenge);
        let field = |name: &str| fields.get(name).map(String::as_str);
        let hash = match field("algorithm") {
            None | Some("MD5") => |text: &str| hex::encode(Md5::digest(text)),
            Some("SHA-256") => |text: &str| hex::encode(Sha256::digest(text)),
            Some(other) => bail!("the algorithm `{other}` is not known here"),
        };
        let realm = field("realm").context("a challenge without realm")?;
        let nonce = field("nonce").context("a challenge without nonce")?;
        let secret = hash(&format!("{}:{realm}:{}", self.user, self.password));
        let request = hash(&format!("{method}:{uri}"));
        let with_qop = field("qop").is_some_and(|list| list.split(',').any(|qop| qop.trim() == "auth"));
        let (response, qop) = if with_qop {
            let response = hash(&format!("{secret}:{nonce}:00000001:{cnonce}:auth:{request}"));
            (response, format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""))
        } else {
            (hash(&format!("{secret}:{nonce}:{request}")), String::new())
        };
        let mut header = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"{qop}",
            self.user
        );
        if let Some(algorithm) = field("algorithm") {
            header.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = field("opaque") {
            header.push_str(&format!(", opaque=\"{opaque}\""));
        }
        Ok(header)
    }
}

/// `a="b", c=d` by lower-case name. A comma inside quotes parts nothing.
fn fields(text: &str) -> HashMap<String, String> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .filter_map(|field| field.split_once('='))
    .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 section 3.9.1.
    fn mufasa() -> Account {
        Account { user: "Mufasa".into(), password: "Circle of Life".into() }
    }

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn response(algorithm: &str) -> Result<String> {
        let challenge = format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        let header = mufasa().answer(&challenge, "GET", "/dir/index.html", CNONCE)?;
        fields(&header).remove("response").context("no response")
    }

    #[test]
    fn the_examples_of_the_standard_are_answered() -> Result<()> {
        assert_eq!(response("MD5")?, "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(response("SHA-256")?, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
        Ok(())
    }

    #[test]
    fn a_challenge_without_qop_is_answered_in_the_old_way() -> Result<()> {
        // RFC 2617's predecessor, RFC 2069: the example with the erratum's response.
        let account = Account { user: "Mufasa".into(), password: "CircleOfLife".into() };
        let challenge = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let header = account.answer(challenge, "GET", "/dir/index.html", CNONCE)?;
        assert_eq!(
            fields(&header).get("response").map(String::as_str),
            Some("1949323746fe6a43ef61f9606e7febea")
        );
        assert!(!header.contains("qop"));
        Ok(())
    }
}
