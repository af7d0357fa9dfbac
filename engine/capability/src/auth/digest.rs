//! Answering a Digest challenge (RFC 7616; RFC 2069 where no qop is offered) with the primitives of `digest_auth`.
//! Why not with diqwest: `docs/decisions/digest.md`.

use std::fmt::Write;

use bascule_workflow::failure::{Failure, Kind};
use digest_auth::{AuthContext, HttpMethod};
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use super::challenge::DigestChallenge;
use super::header::sensitive;
use crate::secret::Secret;

/// A challenge that is being answered: it counts `nc` and keeps its `cnonce`.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    challenge: DigestChallenge,
    /// One for all answers, as `-sess` algorithms ask (RFC 7616 section 3.4.2).
    cnonce: String,
}

/// What an answer is over.
pub(crate) struct Subject<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a Secret,
    pub(crate) method: &'static str,
    /// Path and query exactly as sent.
    pub(crate) uri: &'a str,
    /// `None` for one that is streamed.
    pub(crate) body: Option<&'a [u8]>,
}

impl Session {
    pub(crate) fn new(challenge: DigestChallenge) -> Result<Self, Failure> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(Kind::Internal, format!("no random numbers: {error}")))?;
        Ok(Self { challenge, cnonce: hex::encode(random) })
    }

    pub(crate) fn nonce(&self) -> &str {
        &self.challenge.prompt.nonce
    }

    /// For people, e.g. `digest SHA-256`.
    pub(crate) fn describe(&self) -> String {
        format!("digest {}", self.challenge.prompt.algorithm)
    }

    /// The value of `Authorization` for the next request, with the next `nc`.
    pub(crate) fn answer(&mut self, subject: &Subject<'_>) -> Result<HeaderValue, Failure> {
        let body = if self.challenge.is_auth_int() {
            Some(subject.body.ok_or_else(|| {
                Failure::new(
                    Kind::Unsupported,
                    "the peer asks for `qop=auth-int`, which a streamed body cannot be signed for",
                )
            })?)
        } else {
            None
        };
        let mut context = AuthContext::new_with_method(
            subject.user,
            subject.password.expose(),
            subject.uri,
            body,
            HttpMethod::from(subject.method),
        );
        context.set_custom_cnonce(self.cnonce.as_str());
        let answered = self.challenge.prompt.respond(&context).map_err(|_unanswerable| {
            Failure::new(Kind::Protocol, "the peer's digest challenge cannot be answered")
        })?;
        let mut text = Zeroizing::new(String::with_capacity(512));
        // Writing to a `String` does not fail.
        let _written = write!(
            text,
            "Digest username={}, realm={}, nonce={}, uri={}",
            quoted(&answered.username),
            quoted(&answered.realm),
            quoted(&answered.nonce),
            quoted(&answered.uri)
        );
        if let Some(name) = &self.challenge.algorithm_offered {
            let _written = write!(text, ", algorithm={name}");
        }
        let _written = write!(text, ", response=\"{}\"", answered.response);
        if let Some(qop) = &answered.qop {
            let _written = write!(text, ", qop={qop}, nc={:08x}, cnonce=\"{}\"", answered.nc, self.cnonce);
        }
        if let Some(opaque) = &answered.opaque {
            let _written = write!(text, ", opaque={}", quoted(opaque));
        }
        if answered.userhash {
            text.push_str(", userhash=true");
        }
        sensitive(&text, "authorization")
    }

    /// The hash that is as good as the password for this realm, in hexadecimal.
    pub(crate) fn ha1(&self, user: &str, password: &Secret) -> Secret {
        let prompt = &self.challenge.prompt;
        let text = Zeroizing::new(format!("{user}:{}:{}", prompt.realm, password.expose()));
        Secret::new(prompt.algorithm.hash(text.as_bytes()))
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::challenge::{parse, strongest};
    use super::*;

    fn session(header: &str, cnonce: &str) -> Session {
        let mut session = Session::new(strongest(&parse([header.as_bytes()])).unwrap()).unwrap();
        session.cnonce = cnonce.to_owned();
        session
    }

    fn answer(session: &mut Session) -> String {
        let password = Secret::new("Circle of Life");
        let subject = Subject {
            user: "Mufasa",
            password: &password,
            method: "GET",
            uri: "/dir/index.html",
            body: Some(b""),
        };
        String::from_utf8(session.answer(&subject).unwrap().as_bytes().to_vec()).unwrap()
    }

    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    const OFFER: &str = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

    #[test]
    fn the_examples_of_rfc_7616_3_9_1_come_out() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let mut session = session(&format!("Digest {OFFER}, algorithm={algorithm}"), CNONCE);
            let header = answer(&mut session);
            assert!(header.contains(&format!("response=\"{response}\"")), "{header}");
            assert!(header.contains(", qop=auth, nc=00000001, "), "{header}");
            assert!(header.contains(&format!("algorithm={algorithm},")), "{header}");
            assert!(answer(&mut session).contains("nc=00000002"), "counts");
        }
    }

    #[test]
    fn algorithm_and_opaque_come_back_only_where_they_were_offered() {
        let header = answer(&mut session(r#"Digest realm="x", nonce="n", qop="auth""#, "c"));
        assert!(!header.contains("algorithm") && !header.contains("opaque"), "{header}");
        let header = answer(&mut session(r#"Digest realm="x", nonce="n", algorithm=md5, opaque="""#, "c"));
        assert!(header.contains("algorithm=md5") && header.contains("opaque=\"\""), "{header}");
        assert!(!header.contains("qop") && !header.contains("cnonce"), "{header}");
    }

    #[test]
    fn quotes_in_a_realm_stay_quoted() {
        let header = answer(&mut session(r#"Digest realm="a \"b\" \\", nonce="n""#, "c"));
        assert!(header.contains(r#"realm="a \"b\" \\""#), "{header}");
    }

    #[test]
    fn auth_int_over_a_streamed_body_is_said_to_be_unsupported() {
        let mut session = session(r#"Digest realm="x", nonce="n", qop="auth-int""#, "c");
        let password = Secret::new("p");
        let subject = Subject { user: "u", password: &password, method: "PUT", uri: "/", body: None };
        assert_eq!(session.answer(&subject).unwrap_err().kind, Kind::Unsupported);
    }
}
