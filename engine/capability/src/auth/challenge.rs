//! Reading `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 7616 section 3.3): several headers, several schemes in
//! one header, parameters quoted or not, names in any case.

use digest_auth::{Algorithm, AlgorithmType, Charset, Qop, WwwAuthenticateHeader};

use crate::policy::is_token;

/// Longest header value that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Most challenges of one answer that are looked at.
const MAX_CHALLENGES: usize = 16;

/// One challenge: a scheme (lower case) with its parameters (names in lower case).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer, in the order in which they stand. What cannot be read is left out.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        // Latin-1 in a realm cannot be answered: the hash is over the bytes, and nobody says which ones.
        let Ok(text) = std::str::from_utf8(header) else {
            continue;
        };
        if text.len() <= MAX_HEADER_BYTES {
            Reader { rest: text }.challenges(&mut found);
        }
    }
    found.truncate(MAX_CHALLENGES);
    found
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenges(&mut self, found: &mut Vec<Challenge>) {
        let mut current: Option<Challenge> = None;
        while found.len() < MAX_CHALLENGES {
            self.skip(&[' ', '\t', ',']);
            if self.rest.is_empty() {
                break;
            }
            let word = self.token();
            if word.is_empty() {
                // Not a token: nothing sensible can follow up to the next comma.
                self.skip_to_comma();
                continue;
            }
            self.skip(&[' ', '\t']);
            if let Some(rest) = self.rest.strip_prefix('=') {
                self.rest = rest;
                self.skip(&[' ', '\t']);
                let Some(value) = self.value() else {
                    // An open quote swallows the rest; a challenge cut off in the middle is not used.
                    current = None;
                    break;
                };
                if let Some(challenge) = current.as_mut() {
                    let name = word.to_ascii_lowercase();
                    // The first one counts.
                    if challenge.get(&name).is_none() {
                        challenge.parameters.push((name, value));
                    }
                }
            } else {
                found.extend(current.take());
                current = Some(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            }
        }
        found.extend(current);
    }

    fn skip(&mut self, what: &[char]) {
        self.rest = self.rest.trim_start_matches(what);
    }

    fn token(&mut self) -> &'a str {
        let end = self.rest.bytes().position(|byte| !is_token(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    fn skip_to_comma(&mut self) {
        self.rest = self.rest.find(',').and_then(|at| self.rest.get(at..)).unwrap_or_default();
    }

    fn value(&mut self) -> Option<String> {
        let Some(rest) = self.rest.strip_prefix('"') else {
            // Unquoted: up to a comma or blank, which also takes what is not a token, such as base64.
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = rest.get(at + 1..).unwrap_or_default();
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

/// A Digest challenge that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DigestChallenge {
    /// With exactly the quality of protection that will be used.
    pub(crate) prompt: WwwAuthenticateHeader,
    /// `algorithm` as it was written. Some firmware checks that it comes back as it went out, and that it does not
    /// where it did not.
    pub(crate) algorithm_offered: Option<String>,
}

impl DigestChallenge {
    /// Reads a challenge of the scheme `digest`; `None` where realm, nonce, algorithm or qop cannot be answered.
    pub(crate) fn read(challenge: &Challenge) -> Option<Self> {
        if challenge.scheme != "digest" {
            return None;
        }
        let realm = challenge.get("realm")?.to_owned();
        let nonce = challenge.get("nonce").filter(|nonce| !nonce.is_empty())?.to_owned();
        let algorithm = match challenge.get("algorithm") {
            None => Algorithm::new(AlgorithmType::MD5, false),
            Some(name) => algorithm(name)?,
        };
        let qop = match challenge.get("qop").map(str::trim) {
            // An empty list is taken for none, which is what the devices that send it mean.
            None | Some("") => None,
            Some(offered) => {
                let offers =
                    |name: &str| offered.split([',', ' ']).any(|one| one.trim().eq_ignore_ascii_case(name));
                if offers("auth") {
                    Some(vec![Qop::AUTH])
                } else if offers("auth-int") {
                    Some(vec![Qop::AUTH_INT])
                } else {
                    return None;
                }
            }
        };
        let is_true = |name| challenge.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let prompt = WwwAuthenticateHeader {
            domain: None,
            realm,
            nonce,
            opaque: challenge.get("opaque").map(str::to_owned),
            stale: is_true("stale"),
            algorithm,
            qop,
            userhash: is_true("userhash"),
            charset: Charset::UTF8,
            nc: 0,
        };
        let algorithm_offered = challenge.get("algorithm").map(|name| name.trim().to_owned());
        Some(Self { prompt, algorithm_offered })
    }

    /// How much the algorithm is worth: 1 for MD5, 2 for SHA-256, 3 for SHA-512/256.
    pub(crate) fn strength(&self) -> u8 {
        match self.prompt.algorithm.algo {
            AlgorithmType::MD5 => 1,
            AlgorithmType::SHA2_256 => 2,
            AlgorithmType::SHA2_512_256 => 3,
        }
    }

    /// True where the hash is over the body too.
    pub(crate) fn is_auth_int(&self) -> bool {
        self.prompt.qop.as_deref() == Some(&[Qop::AUTH_INT])
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let upper = name.trim().to_ascii_uppercase();
    let (base, session) = match upper.strip_suffix("-SESS") {
        Some(base) => (base, true),
        None => (upper.as_str(), false),
    };
    let kind = match base {
        "MD5" => AlgorithmType::MD5,
        "SHA-256" | "SHA256" => AlgorithmType::SHA2_256,
        "SHA-512-256" => AlgorithmType::SHA2_512_256,
        _ => return None,
    };
    Some(Algorithm::new(kind, session))
}

/// The strongest Digest challenge; of several that are alike, `auth` before `auth-int`, else the first.
pub(crate) fn strongest(challenges: &[Challenge]) -> Option<DigestChallenge> {
    let mut best: Option<DigestChallenge> = None;
    for candidate in challenges.iter().filter_map(DigestChallenge::read) {
        let worth = |one: &DigestChallenge| (one.strength(), !one.is_auth_int());
        if best.as_ref().is_none_or(|best| worth(&candidate) > worth(best)) {
            best = Some(candidate);
        }
    }
    best
}

/// True where a scheme of that name (lower case) is offered.
pub(crate) fn offers(challenges: &[Challenge], scheme: &str) -> bool {
    challenges.iter().any(|challenge| challenge.scheme == scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> Vec<Challenge> {
        parse(headers.iter().map(|header| header.as_bytes()))
    }

    #[test]
    fn the_recorded_challenges_of_facts_1_2_are_read() -> Result<(), String> {
        let camera = strongest(&read(&[
            r#"Digest qop="auth", realm="IP Camera(83813)", nonce="4d544e6b", stale="FALSE""#,
        ]))
        .ok_or("camera")?;
        assert_eq!(camera.prompt.realm, "IP Camera(83813)");
        assert!(camera.algorithm_offered.is_none() && !camera.prompt.stale && camera.prompt.opaque.is_none());
        let recorder = strongest(&read(&[
            r#"Digest realm="0123", domain="::", qop="auth", nonce="ab:17", opaque="", algorithm="MD5", stale="FALSE""#,
        ]))
        .ok_or("recorder")?;
        assert_eq!(recorder.prompt.opaque.as_deref(), Some(""));
        assert_eq!(recorder.algorithm_offered.as_deref(), Some("MD5"));
        let old =
            strongest(&read(&[r#"Digest realm="0123", nonce="026019333", algorithm="MD5""#])).ok_or("old")?;
        assert_eq!(old.prompt.qop, None);
        Ok(())
    }

    #[test]
    fn the_strongest_of_several_headers_is_taken() -> Result<(), String> {
        let best = strongest(&read(&[
            r#"Basic realm="x""#,
            r#"Digest realm="x", nonce="m", qop="auth", algorithm=MD5"#,
            r#"Digest realm="x", nonce="s", qop="auth-int,auth", algorithm=sha-256"#,
        ]))
        .ok_or("none")?;
        assert_eq!(best.prompt.nonce, "s");
        assert_eq!(best.strength(), 2);
        assert!(!best.is_auth_int());
        Ok(())
    }

    #[test]
    fn one_header_may_hold_several_schemes() {
        let all = read(&[
            r#"Negotiate abc==, Basic realm="a, b=\"c\"", digest REALM=x,nonce=n1 ,QOP=auth,Digest realm="y",nonce="n2",algorithm=SHA-256-sess"#,
        ]);
        let schemes: Vec<_> = all.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert!(schemes.starts_with(&["negotiate"]), "{schemes:?}");
        assert!(offers(&all, "basic"));
        let basic =
            all.iter().find(|challenge| challenge.scheme == "basic").and_then(|basic| basic.get("realm"));
        assert_eq!(basic, Some("a, b=\"c\""));
        assert_eq!(strongest(&all).map(|best| best.prompt.nonce), Some("n2".to_owned()));
    }

    #[test]
    fn what_cannot_be_answered_is_left_out() {
        for header in [
            r#"Digest realm="x""#,
            r#"Digest nonce="x""#,
            r#"Digest realm="x", nonce="""#,
            r#"Digest realm="x", nonce="n", algorithm=SHA-1"#,
            r#"Digest realm="x", nonce="n", qop="token""#,
            r#"Digest realm="x, nonce="n"#,
            r#"Basic realm="Digest realm=x, nonce=n""#,
            "Digest",
            "",
            ",,,",
            "=",
        ] {
            assert_eq!(strongest(&read(&[header])), None, "{header}");
        }
        assert!(parse([b"Digest realm=\"\xe9\", nonce=\"n\"".as_slice()]).is_empty());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_makes_the_reader_fail(headers in proptest::collection::vec(".{0,200}", 0..4)) {
            let challenges = parse(headers.iter().map(|header| header.as_bytes()));
            proptest::prop_assert!(challenges.len() <= MAX_CHALLENGES);
            let _best = strongest(&challenges);
        }
    }
}
