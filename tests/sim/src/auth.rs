//! Who is asking: Digest recomputed from the received bytes, Basic, and the lock-out.
//!
//! Written from RFC 7616 and `facts/isapi.md 1`, and from nothing that the client uses.

pub(crate) mod challenge;
pub(crate) mod credentials;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use tokio::time::Instant;

use self::credentials::Credentials;
pub use self::credentials::{Algorithm, Parts, digest_response};
use crate::quirks::{Basic, DeadNonce, Quirks};
use crate::wire::Request;

/// The account of one device, its nonces and its lock.
pub(crate) struct Guard {
    pub(crate) user: String,
    password: String,
    realm: String,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    nonces: HashMap<String, Nonce>,
    counter: u64,
    failures: u32,
    failed_logins: u64,
    locked_until: Option<Instant>,
}

struct Nonce {
    algorithm: Algorithm,
    issued: Instant,
    /// The path it was issued for.
    url: String,
    count: u32,
    opaque: String,
}

/// Why a request is not let in.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// The challenges to send, one per header line.
    pub(crate) challenges: Vec<String>,
    pub(crate) state: LockState,
}

/// What the account's lock looks like after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockState {
    /// How long it stays locked; none while open.
    pub(crate) locked: Option<Duration>,
    /// How many failures are left.
    pub(crate) left: u32,
    /// This very request closed the lock.
    pub(crate) just_locked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No credentials: the usual first half of a digest exchange.
    NoCredentials,
    /// A nonce that is no longer good.
    DeadNonce(&'static str),
    /// Wrong credentials.
    Wrong(&'static str),
    /// Basic where it is not taken.
    BasicRefused,
    /// Credentials during a lock.
    Locked,
}

/// How the caller was known, for the ledger.
pub(crate) type Known = String;

impl Guard {
    pub(crate) fn new(user: &str, password: &str, realm: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            realm: realm.to_owned(),
            book: Mutex::default(),
        }
    }

    /// Lets the request in, or says why not.
    pub(crate) fn check(&self, quirks: &Quirks, request: &Request) -> Result<Known, Refusal> {
        let mut book = self.book();
        let now = Instant::now();
        if book.locked_until.is_some_and(|until| until <= now) {
            book.locked_until = None;
            book.failures = 0;
        }
        let header = request.header("authorization");
        if book.locked_until.is_some() {
            let reason = if header.is_some() { Reason::Locked } else { Reason::NoCredentials };
            return Err(self.refusal(&mut book, quirks, request, reason, true));
        }
        let Some(header) = header else {
            return Err(self.refusal(&mut book, quirks, request, Reason::NoCredentials, true));
        };
        let reason = match self.judge(&mut book, quirks, request, header) {
            Ok(known) => {
                book.failures = 0;
                return Ok(known);
            }
            Err(reason) => reason,
        };
        let (counts, challenge) = match reason {
            Reason::DeadNonce(_) => (quirks.dead_nonce_counts, quirks.dead_nonce == DeadNonce::Challenge),
            Reason::Wrong(_) => (true, true),
            Reason::BasicRefused | Reason::NoCredentials | Reason::Locked => (false, true),
        };
        if counts {
            book.failures += 1;
            book.failed_logins += 1;
            if quirks.lock_after > 0 && book.failures >= quirks.lock_after {
                book.locked_until = Some(now + Duration::from_secs(quirks.lock_seconds));
                let mut refusal = self.refusal(&mut book, quirks, request, reason, challenge);
                refusal.state.just_locked = true;
                return Err(refusal);
            }
        }
        Err(self.refusal(&mut book, quirks, request, reason, challenge))
    }

    /// Locks the account as if it had been tried too often.
    pub(crate) fn lock(&self, quirks: &Quirks) {
        let mut book = self.book();
        book.failures = quirks.lock_after;
        book.locked_until = Some(Instant::now() + Duration::from_secs(quirks.lock_seconds));
    }

    /// Opens the lock and forgets failures and nonces.
    pub(crate) fn forget(&self) {
        let failed_logins = self.failed_logins();
        *self.book() = Book { failed_logins, ..Book::default() };
    }

    /// Opens the lock.
    pub(crate) fn unlock(&self) {
        let mut book = self.book();
        book.failures = 0;
        book.locked_until = None;
    }

    /// How long it stays locked.
    pub(crate) fn locked(&self) -> Option<Duration> {
        let until = self.book().locked_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// All failed logins so far.
    pub(crate) fn failed_logins(&self) -> u64 {
        self.book().failed_logins
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(
        &self,
        book: &mut Book,
        quirks: &Quirks,
        request: &Request,
        header: &str,
    ) -> Result<Known, Reason> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return self.judge_basic(quirks, rest);
        }
        if !scheme.eq_ignore_ascii_case("digest") {
            return Err(Reason::Wrong("an unknown scheme"));
        }
        if quirks.basic == Basic::Only {
            return Err(Reason::Wrong("digest where only basic is known"));
        }
        let given = Credentials::parse(rest).ok_or(Reason::Wrong("the header cannot be read"))?;
        let Some(nonce) = book.nonces.get_mut(&given.nonce) else {
            return Err(Reason::DeadNonce("unknown nonce"));
        };
        if nonce.issued.elapsed() > Duration::from_millis(quirks.nonce_ttl_ms) {
            return Err(Reason::DeadNonce("expired nonce"));
        }
        if quirks.nonce_bound_to_url && nonce.url != request.path() {
            return Err(Reason::DeadNonce("the url does not match the nonce url"));
        }
        let count = given.count().ok_or(Reason::Wrong("nc is not eight hexadecimal digits"))?;
        if (quirks.nonce_once && nonce.count > 0) || count.is_some_and(|count| count <= nonce.count) {
            return Err(Reason::DeadNonce("used nonce"));
        }
        given.agree(quirks, nonce.algorithm, &nonce.opaque).map_err(Reason::Wrong)?;
        if given.user != self.user {
            return Err(Reason::Wrong("unknown user"));
        }
        if given.realm != self.realm(quirks) {
            return Err(Reason::Wrong("another realm"));
        }
        if given.uri != request.target {
            return Err(Reason::Wrong("the uri is not the one of the request"));
        }
        let expected = digest_response(&Parts {
            algorithm: nonce.algorithm,
            user: &self.user,
            realm: &given.realm,
            password: &self.password,
            method: &request.method,
            uri: &request.target,
            nonce: &given.nonce,
            protection: given.protection(),
        });
        if !given.response.eq_ignore_ascii_case(&expected) {
            return Err(Reason::Wrong("the response is not the right one"));
        }
        // Without nc (RFC 2069) a nonce may be used again until it dies.
        nonce.count = count.unwrap_or(nonce.count + 1);
        Ok(format!("digest {} {}", nonce.algorithm.name().to_ascii_lowercase(), self.user))
    }

    fn judge_basic(&self, quirks: &Quirks, token: &str) -> Result<Known, Reason> {
        if quirks.basic == Basic::Refused {
            return Err(Reason::BasicRefused);
        }
        let expected =
            base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.user, self.password));
        if token.trim() == expected {
            Ok(format!("basic {}", self.user))
        } else {
            Err(Reason::Wrong("basic"))
        }
    }

    fn refusal(
        &self,
        book: &mut Book,
        quirks: &Quirks,
        request: &Request,
        reason: Reason,
        challenge: bool,
    ) -> Refusal {
        let stale = quirks.stale && matches!(reason, Reason::DeadNonce(_));
        let challenges = if challenge { self.challenges(book, quirks, request, stale) } else { Vec::new() };
        let locked = book.locked_until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = quirks.lock_after.saturating_sub(book.failures);
        Refusal { reason, challenges, state: LockState { locked, left, just_locked: false } }
    }

    fn realm(&self, quirks: &Quirks) -> String {
        challenge::realm(quirks.challenge, &self.realm)
    }

    fn challenges(&self, book: &mut Book, quirks: &Quirks, request: &Request, stale: bool) -> Vec<String> {
        // Nonces that nobody came back for are dropped, so that a device that is only probed stays small.
        let ttl = Duration::from_millis(quirks.nonce_ttl_ms);
        if book.nonces.len() >= 64 {
            book.nonces.retain(|_, nonce| nonce.issued.elapsed() <= ttl);
        }
        let realm = self.realm(quirks);
        let mut digests = Vec::new();
        if quirks.basic != Basic::Only {
            for &algorithm in challenge::offered(quirks.algorithm) {
                book.counter += 1;
                let made = challenge::make(quirks.challenge, algorithm, &realm, book.counter, stale);
                let url = request.path().to_owned();
                let kept = Nonce { algorithm, issued: Instant::now(), url, count: 0, opaque: made.opaque };
                book.nonces.insert(made.nonce, kept);
                digests.push(made.text);
            }
        }
        let basic = (quirks.basic != Basic::Refused).then(|| format!("Basic realm=\"{realm}\""));
        challenge::lines(quirks.algorithm, digests, basic)
    }
}
