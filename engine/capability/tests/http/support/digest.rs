//! A peer's side of digest auth, from RFC 7616 alone.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Mutex;

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};

use crate::support::peer::{Reply, Seen};

/// How the peer behaves.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) realm: &'static str,
    /// As it stands in the challenge; `None` for not offered.
    pub(crate) algorithm: Option<&'static str>,
    pub(crate) qop: Option<&'static str>,
    pub(crate) opaque: Option<&'static str>,
    /// How often a nonce may be used.
    pub(crate) uses: u32,
    /// What a spent nonce gets.
    pub(crate) spent: Spent,
    pub(crate) userhash: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spent {
    /// A new challenge with `stale=TRUE`.
    Stale,
    /// A new challenge.
    Challenge,
    /// 401 and nothing else (facts 1.4).
    Nothing,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            user: "admin",
            password: "canary-Pa55word",
            realm: "IP Camera(83813)",
            algorithm: None,
            qop: Some("auth"),
            opaque: None,
            uses: 1,
            spent: Spent::Challenge,
            userhash: false,
        }
    }
}

#[derive(Default)]
struct State {
    issued: u32,
    /// Nonce to the highest `nc`.
    nonces: HashMap<String, u32>,
    failed: u32,
    spent: u32,
    good: u32,
}

pub(crate) struct Device {
    pub(crate) rules: Rules,
    state: Mutex<State>,
}

impl Device {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, state: Mutex::default() }
    }

    /// Logins with a wrong user, password or signature.
    pub(crate) fn failed(&self) -> u32 {
        self.state.lock().unwrap().failed
    }

    pub(crate) fn good(&self) -> u32 {
        self.state.lock().unwrap().good
    }

    /// Logins with a nonce that was good once.
    pub(crate) fn spent(&self) -> u32 {
        self.state.lock().unwrap().spent
    }

    pub(crate) fn challenge(&self, stale: bool) -> String {
        let mut state = self.state.lock().unwrap();
        state.issued += 1;
        let nonce = format!("n{:08x}", state.issued.wrapping_mul(2_654_435_761));
        state.nonces.insert(nonce.clone(), 0);
        let rules = &self.rules;
        let mut text = format!("Digest realm=\"{}\", nonce=\"{nonce}\"", rules.realm);
        if let Some(qop) = rules.qop {
            text.push_str(&format!(", qop=\"{qop}\""));
        }
        if let Some(algorithm) = rules.algorithm {
            text.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = rules.opaque {
            text.push_str(&format!(", opaque=\"{opaque}\""));
        }
        if rules.userhash {
            text.push_str(", userhash=true");
        }
        text.push_str(if stale { ", stale=\"TRUE\"" } else { ", stale=\"FALSE\"" });
        text
    }

    pub(crate) fn unauthorized(&self, stale: bool) -> Reply {
        Reply::new(401, "<html>Access Error: 401 -- Unauthorized</html>")
            .with("WWW-Authenticate", self.challenge(stale))
    }

    /// `None` where the request may pass.
    pub(crate) fn check(&self, seen: &Seen) -> Option<Reply> {
        let Some(header) = seen.header("authorization") else {
            return Some(self.unauthorized(false));
        };
        let fields = fields(header.strip_prefix("Digest ").expect("never another scheme"));
        let get = |name: &str| fields.get(name).map(String::as_str);
        let nonce = get("nonce").unwrap_or_default().to_owned();
        assert_eq!(get("uri"), Some(seen.target.as_str()), "the uri is the request target with its query");
        assert_eq!(get("realm"), Some(self.rules.realm));
        assert_eq!(get("algorithm"), self.rules.algorithm, "echoed only if offered");
        assert_eq!(get("opaque"), self.rules.opaque);
        let count = get("nc").map_or(1, |nc| {
            assert_eq!(nc.len(), 8);
            u32::from_str_radix(nc, 16).unwrap()
        });
        if !self.is_right(seen, &get) {
            self.state.lock().unwrap().failed += 1;
            return Some(self.unauthorized(false));
        }
        let mut state = self.state.lock().unwrap();
        let last = state.nonces.get(&nonce).copied();
        match last {
            Some(last) if last < self.rules.uses && count == last + 1 => {
                state.nonces.insert(nonce, count);
                state.good += 1;
                None
            }
            _ => {
                state.spent += 1;
                drop(state);
                Some(match self.rules.spent {
                    Spent::Stale => self.unauthorized(true),
                    Spent::Challenge => self.unauthorized(false),
                    Spent::Nothing => Reply::new(401, ""),
                })
            }
        }
    }

    fn is_right<'a>(&self, seen: &Seen, get: &impl Fn(&str) -> Option<&'a str>) -> bool {
        let rules = &self.rules;
        let name = rules.algorithm.unwrap_or("MD5").to_ascii_uppercase();
        let (base, session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |base| (base, true));
        let hash = |text: &[u8]| match base {
            "MD5" => hex::encode(Md5::digest(text)),
            "SHA-256" => hex::encode(Sha256::digest(text)),
            "SHA-512-256" => hex::encode(Sha512_256::digest(text)),
            _ => String::new(),
        };
        let user = if rules.userhash {
            hash(format!("{}:{}", rules.user, rules.realm).as_bytes())
        } else {
            rules.user.to_owned()
        };
        if get("username") != Some(user.as_str()) {
            return false;
        }
        let nonce = get("nonce").unwrap_or_default();
        let cnonce = get("cnonce").unwrap_or_default();
        let mut a1 = hash(format!("{}:{}:{}", rules.user, rules.realm, rules.password).as_bytes());
        if session {
            a1 = hash(format!("{a1}:{nonce}:{cnonce}").as_bytes());
        }
        let a2 = if get("qop") == Some("auth-int") {
            hash(format!("{}:{}:{}", seen.method, seen.target, hash(&seen.body)).as_bytes())
        } else {
            hash(format!("{}:{}", seen.method, seen.target).as_bytes())
        };
        let expected = match get("qop") {
            None => {
                assert!(rules.qop.is_none(), "qop was offered");
                hash(format!("{a1}:{nonce}:{a2}").as_bytes())
            }
            Some(qop) => {
                assert!(rules.qop.is_some_and(|offered| offered.split(',').any(|one| one.trim() == qop)));
                let nc = get("nc").unwrap_or_default();
                hash(format!("{a1}:{nonce}:{nc}:{cnonce}:{qop}:{a2}").as_bytes())
            }
        };
        get("response") == Some(expected.as_str())
    }
}

/// `name=value, name="value"` by hand.
fn fields(text: &str) -> HashMap<String, String> {
    let mut all = HashMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_start_matches([',', ' ']).to_owned();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = characters.next() {
                    match c {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(characters.next().map(|(_, c)| c)),
                        c => value.push(c),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        all.insert(name, value);
        rest = left;
    }
    all
}
