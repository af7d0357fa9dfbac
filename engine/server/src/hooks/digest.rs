//! Digest auth from the other side (RFC 7616): challenges, and checking what callers answer.
//!
//! A nonce carries the time it was made at under a MAC of ours, so nothing is stored until somebody has logged in with
//! it; from then on its `nc` may only grow. `qop=auth` only. MD5 is offered first: this is for terminals, and many of them
//! know nothing else (`facts/isapi.md` 5.4: `MD5digest`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bascule_capability::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What callers are shown.
const REALM: &str = "bascule";
/// How long a nonce is good for.
const LIFETIME: Duration = Duration::from_secs(300);
/// Most nonces that are remembered at once; beyond, callers are challenged anew.
const MAX_NONCES: usize = 10_000;
/// Bytes of time, of chance, and of the MAC in a nonce.
const TIME: usize = 8;
const CHANCE: usize = 8;
const PROOF: usize = 16;

/// Gives out nonces and remembers how often each was used.
pub(crate) struct Nonces {
    key: Zeroizing<[u8; 64]>,
    used: Mutex<HashMap<String, Used>>,
}

struct Used {
    count: u64,
    made_at: i64,
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Another user, password, path or method, or not readable.
    Wrong,
    /// The login is right, the nonce is not good any more: once more with a new one (RFC 7616 section 3.3, `stale`).
    Stale,
}

/// What an answer must be for.
pub(crate) struct Subject<'s> {
    pub(crate) method: &'s str,
    /// Path and query as they were sent.
    pub(crate) target: &'s str,
    pub(crate) user: &'s str,
    pub(crate) password: &'s Secret,
}

impl Nonces {
    /// With a key of their own: nonces of an earlier process are stale.
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut key = Zeroizing::new([0; 64]);
        random(&mut *key)?;
        Ok(Self { key, used: Mutex::default() })
    }

    /// The values of `WWW-Authenticate`.
    pub(crate) fn challenges(&self, now: Timestamp, denied: Denied) -> std::io::Result<Vec<String>> {
        let nonce = self.make(now)?;
        let stale = if denied == Denied::Stale { ", stale=true" } else { "" };
        let one = |algorithm| {
            format!(r#"Digest realm="{REALM}", qop="auth", algorithm={algorithm}, nonce="{nonce}"{stale}"#)
        };
        Ok(vec![one("MD5"), one("SHA-256")])
    }

    /// Checks the value of `Authorization`.
    pub(crate) fn check(&self, header: &str, subject: &Subject<'_>, now: Timestamp) -> Result<(), Denied> {
        let answer = Answer::read(header).ok_or(Denied::Wrong)?;
        let expected = answer.expected(subject).ok_or(Denied::Wrong)?;
        // The user is part of what is hashed, so comparing it by itself gives nothing away.
        let right = answer.user == subject.user
            && same_target(&answer.uri, subject.target)
            && bool::from(expected.as_bytes().ct_eq(answer.response.to_ascii_lowercase().as_bytes()));
        if !right {
            return Err(Denied::Wrong);
        }
        let made_at = self.made_at(&answer.nonce).ok_or(Denied::Stale)?;
        let age = now.as_second().saturating_sub(made_at);
        if !(0..=seconds(LIFETIME)).contains(&age) {
            return Err(Denied::Stale);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_NONCES {
            used.retain(|_, one| now.as_second().saturating_sub(one.made_at) <= seconds(LIFETIME));
        }
        let full = used.len() >= MAX_NONCES;
        match used.get_mut(&answer.nonce) {
            Some(one) if answer.count <= one.count => return Err(Denied::Stale),
            Some(one) => one.count = answer.count,
            None if full => return Err(Denied::Stale),
            None => {
                used.insert(answer.nonce, Used { count: answer.count, made_at });
            }
        }
        Ok(())
    }

    fn make(&self, now: Timestamp) -> std::io::Result<String> {
        let mut nonce = [0; TIME + CHANCE];
        random(&mut nonce)?;
        if let Some(time) = nonce.first_chunk_mut::<TIME>() {
            *time = now.as_second().to_be_bytes();
        }
        Ok(hex::encode([&nonce[..], &self.proof(&nonce)].concat()))
    }

    fn proof(&self, nonce: &[u8]) -> [u8; PROOF] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*self.key).into());
        mac.update(nonce);
        let full = mac.finalize().into_bytes();
        std::array::from_fn(|index| full.get(index).copied().unwrap_or_default())
    }

    /// When it was made, if it was made here.
    fn made_at(&self, nonce: &str) -> Option<i64> {
        let bytes = hex::decode(nonce).ok()?;
        let (nonce, proof) = bytes.split_at_checked(TIME + CHANCE)?;
        let ours = bool::from(self.proof(nonce).ct_eq(proof));
        ours.then(|| nonce.first_chunk::<TIME>().map(|time| i64::from_be_bytes(*time)))?
    }
}

fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Devices write the path, or the whole address.
fn same_target(given: &str, target: &str) -> bool {
    let path = given.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    given == target || path == Some(target)
}

enum Algorithm {
    Md5,
    Sha256,
}

struct Answer {
    algorithm: Algorithm,
    user: String,
    realm: String,
    nonce: String,
    uri: String,
    cnonce: String,
    nc: String,
    count: u64,
    response: String,
}

impl Answer {
    fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") || rest.len() > 4096 {
            return None;
        }
        let mut parameters = parameters(rest)?;
        let mut take = |name: &str| parameters.remove(name);
        let algorithm = match take("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        if take("qop")? != "auth" {
            return None;
        }
        let nc = take("nc")?;
        let count = (nc.len() == 8).then(|| u64::from_str_radix(&nc, 16).ok())??;
        Some(Self {
            algorithm,
            user: take("username")?,
            realm: take("realm").filter(|realm| realm == REALM)?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            cnonce: take("cnonce")?,
            nc,
            count,
            response: take("response")?,
        })
    }

    fn expected(&self, subject: &Subject<'_>) -> Option<String> {
        let hash: fn(&[u8]) -> String = match self.algorithm {
            Algorithm::Md5 => |text| hex::encode(Md5::digest(text)),
            Algorithm::Sha256 => |text| hex::encode(Sha256::digest(text)),
        };
        let login = Zeroizing::new(format!("{}:{}:{}", subject.user, self.realm, subject.password.expose()));
        let ha1 = Zeroizing::new(hash(login.as_bytes()));
        let ha2 = hash(format!("{}:{}", subject.method, self.uri).as_bytes());
        let all = Zeroizing::new(format!("{}:{}:{}:{}:auth:{ha2}", *ha1, self.nonce, self.nc, self.cnonce));
        Some(hash(all.as_bytes()))
    }
}

/// `name="value", name=value`; a name that stands there twice makes the whole unreadable.
fn parameters(mut rest: &str) -> Option<HashMap<String, String>> {
    let mut found = HashMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let (value, after) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                loop {
                    match characters.next()? {
                        (at, '"') => break (value, quoted.get(at + 1..)?),
                        (_, '\\') => value.push(characters.next()?.1),
                        (_, other) => value.push(other),
                    }
                }
            }
            None => {
                let end = behind.find([',', ' ']).unwrap_or(behind.len());
                (behind.get(..end)?.to_owned(), behind.get(end..)?)
            }
        };
        if found.insert(name.trim().to_ascii_lowercase(), value).is_some() {
            return None;
        }
        rest = after;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A client that is written from the RFC and shares nothing with the code above.
    fn respond(challenge: &str, password: &str, nc: u32) -> String {
        let field = |name: &str| {
            let (_, rest) = challenge.split_once(&format!("{name}=")).unwrap();
            rest.trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned()
        };
        let hash = |text: String| match field("algorithm").as_str() {
            "MD5" => hex::encode(Md5::digest(text)),
            _ => hex::encode(Sha256::digest(text)),
        };
        let (nonce, algorithm) = (field("nonce"), field("algorithm"));
        let ha1 = hash(format!("gate:{}:{password}", field("realm")));
        let ha2 = hash("POST:/hooks/gate?x=1".to_owned());
        let response = hash(format!("{ha1}:{nonce}:{nc:08x}:0a4f113b:auth:{ha2}"));
        format!(
            r#"Digest username="gate", realm="bascule", nonce="{nonce}", uri="/hooks/gate?x=1", algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce="0a4f113b", response="{response}""#
        )
    }

    fn check(nonces: &Nonces, header: &str, second: i64) -> Result<(), Denied> {
        let password = Secret::new("correct horse");
        let subject =
            Subject { method: "POST", target: "/hooks/gate?x=1", user: "gate", password: &password };
        nonces.check(header, &subject, at(second))
    }

    #[test]
    fn both_algorithms_are_answered_and_nc_must_grow() {
        let nonces = Nonces::new().unwrap();
        for challenge in nonces.challenges(at(NOW), Denied::Wrong).unwrap() {
            // One nonce for both challenges, so the second one goes on counting.
            let first = if challenge.contains("MD5") { 1 } else { 3 };
            let header = respond(&challenge, "correct horse", first);
            assert_eq!(check(&nonces, &header, NOW + 1), Ok(()), "{challenge}");
            assert_eq!(check(&nonces, &header, NOW + 1), Err(Denied::Stale), "a replay");
            let next = respond(&challenge, "correct horse", first + 1);
            assert_eq!(check(&nonces, &next, NOW + 2), Ok(()));
        }
    }

    #[test]
    fn a_wrong_password_is_wrong_whatever_the_nonce() {
        let nonces = Nonces::new().unwrap();
        let challenge = &nonces.challenges(at(NOW), Denied::Wrong).unwrap()[0];
        assert_eq!(check(&nonces, &respond(challenge, "wrong", 1), NOW), Err(Denied::Wrong));
        let header = respond(challenge, "correct horse", 1);
        for broken in [
            header.replace("qop=auth", "qop=auth-int"),
            header.replace("qop=auth, ", ""),
            header.replace("x=1", "x=2"),
            header.replace("algorithm=MD5", "algorithm=SHA-256"),
            header.replace("nc=00000001", "nc=00000002"),
            header.replace("Digest", "Basic"),
            header.replace("gate\", realm", "gate2\", realm"),
            format!("{header}, nonce=\"x\""),
        ] {
            assert_eq!(check(&nonces, &broken, NOW), Err(Denied::Wrong), "{broken}");
        }
    }

    #[test]
    fn an_old_nonce_and_one_of_another_process_are_stale() {
        let nonces = Nonces::new().unwrap();
        let challenge = &nonces.challenges(at(NOW), Denied::Wrong).unwrap()[0];
        let header = respond(challenge, "correct horse", 1);
        assert_eq!(check(&nonces, &header, NOW + 301), Err(Denied::Stale));
        assert_eq!(check(&Nonces::new().unwrap(), &header, NOW), Err(Denied::Stale));
        let again = nonces.challenges(at(NOW), Denied::Stale).unwrap();
        assert!(again.iter().all(|one| one.contains("stale=true")));
        assert_eq!(check(&nonces, &header, NOW), Ok(()));
    }
}
