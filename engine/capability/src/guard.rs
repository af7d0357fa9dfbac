//! The lock-out guard: devices lock an account after about five wrong logins (facts/isapi.md 1.5), so at most two
//! failing ones are sent per peer and user in 30 minutes, across runs and restarts.
//!
//! As long as a login has not succeeded in this process, logins of the same account are made one after the other;
//! a hundred runs with a wrong password thus send two. A login that has never succeeded is counted on disk before it
//! is sent, so that a killed process does not forget it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_database::{Database, DatabaseError};
use bascule_workflow::failure::{Failure, Kind};
use futures_util::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use sqlx::Row;

use crate::http::CallContext;
use crate::http::within;
use crate::secret::Secret;

/// Failing logins per account and [`WINDOW_MS`].
const TRIES: usize = 2;
/// Logins per account and [`WINDOW_MS`] when those count too whose answer a crash took along. Devices lock at five; a login
/// that was cut off need not have failed, so two crashes do not close the account, and four tries never lock it.
const TRIES_WITH_LOST: usize = 4;
const WINDOW_MS: i64 = 30 * 60 * 1000;

pub(crate) const STEPS: &[&str] = &["CREATE TABLE login_guard (
     peer         TEXT NOT NULL,
     user         TEXT NOT NULL,
     fingerprint  INTEGER NOT NULL,
     tries        TEXT NOT NULL,
     locked_until INTEGER,
     proven       INTEGER NOT NULL,
     PRIMARY KEY (peer, user, fingerprint)
 ) STRICT, WITHOUT ROWID;
 CREATE TABLE login_guard_key (
     only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
     key      BLOB NOT NULL
 ) STRICT"];

/// The clock of the host; tests bring their own.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Whose logins are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) peer: String,
    pub(crate) user: String,
}

/// 16 bits of a keyed hash: enough to notice another password, too few to find one out from the database.
///
/// Each password of an account has its own two tries: a new one can be tried at once, and an old one that failed
/// stays closed when it comes back, also where two connections hold different passwords for one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u16);

/// See the module.
pub(crate) struct Guard {
    database: Database,
    clock: Clock,
    key: [u8; 32],
    gates: Mutex<HashMap<Login, Arc<Gate>>>,
}

type Login = (Account, Fingerprint);

struct Gate {
    /// Held by the one that logs in while it is not known whether the login is good.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// Keeps writes in the order of the changes.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// When failing logins were sent, in milliseconds since the epoch; below zero those whose end is not known.
    tries: Vec<i64>,
    /// Until when the device itself has locked the account.
    locked_until: Option<i64>,
    /// The login was good once with this fingerprint.
    proven: bool,
    /// It was good in this process, and nothing has failed since.
    good_now: bool,
}

impl State {
    fn forget_old(&mut self, now: i64) {
        // A try from the future is one from before the clock was set back.
        self.tries.retain(|at| {
            now.saturating_sub(at.abs()) < WINDOW_MS && at.abs() <= now.saturating_add(WINDOW_MS)
        });
        if self.locked_until.is_some_and(|until| until <= now) {
            self.locked_until = None;
        }
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an account is called in messages.
pub(crate) struct Wording<'a> {
    /// e.g. `terminal at 10.0.0.7:80`
    pub(crate) peer: &'a str,
    /// What sets another secret.
    pub(crate) mend: &'a str,
}

impl Guard {
    pub(crate) async fn open(database: Database, clock: Clock) -> Result<Self, DatabaseError> {
        database.migrate("login guard", STEPS).await?;
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key)
            .map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
        let stored = |database: Database| async move {
            sqlx::query_scalar::<_, Vec<u8>>("SELECT key FROM login_guard_key")
                .fetch_optional(database.readers())
                .await
        };
        if stored(database.clone()).await?.is_none() {
            let new = key.to_vec();
            database
                .write(|tx| {
                    async move {
                        sqlx::query("INSERT OR IGNORE INTO login_guard_key (only_one, key) VALUES (1, ?)")
                            .bind(new)
                            .execute(tx)
                            .await?;
                        Ok(())
                    }
                    .boxed()
                })
                .await?;
        }
        if let Some(bytes) = stored(database.clone()).await? {
            key.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        Ok(Self { database, clock, key, gates: Mutex::default() })
    }

    /// What tells one set of secrets from another.
    pub(crate) fn fingerprint<'s>(&self, secrets: impl IntoIterator<Item = &'s Secret>) -> Fingerprint {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(self.key).for_each(|(to, from)| *to = from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block);
        for secret in secrets {
            mac.update(&secret.expose().len().to_be_bytes());
            mac.update(secret.expose().as_bytes());
        }
        let hash = mac.finalize().into_bytes();
        let two: Vec<u16> = hash.iter().take(2).map(|byte| u16::from(*byte)).collect();
        Fingerprint(two.into_iter().fold(0, |all, byte| all << 8 | byte))
    }

    /// Waits until a login may be sent, or says for how long none may.
    pub(crate) async fn admit(
        &self,
        account: &Account,
        fingerprint: Fingerprint,
        wording: &Wording<'_>,
        context: &CallContext,
    ) -> Result<Admission<'_>, Failure> {
        let login = (account.clone(), fingerprint);
        let gate = self.gate(&login).await?;
        if self.check(&gate, account, wording)? {
            return Ok(Admission { guard: self, login, gate, _turn: None, announced: None });
        }
        let turn = within(context, Arc::clone(&gate.turn).lock_owned()).await?;
        // What happened while waiting decides.
        let is_good = self.check(&gate, account, wording)?;
        Ok(Admission { guard: self, login, gate, _turn: (!is_good).then_some(turn), announced: None })
    }

    /// True where the login is known to be good.
    fn check(&self, gate: &Gate, account: &Account, wording: &Wording<'_>) -> Result<bool, Failure> {
        let now = self.now();
        let mut state = gate.state();
        state.forget_old(now);
        if let Some(until) = state.locked_until {
            return Err(device_locked(wording, span(until.saturating_sub(now))));
        }
        let refused = state.tries.iter().filter(|at| **at > 0).count();
        match state.tries.first() {
            Some(oldest) if refused >= TRIES || state.tries.len() >= TRIES_WITH_LOST => {
                let left = span(oldest.abs().saturating_add(WINDOW_MS).saturating_sub(now));
                Err(Failure::new(
                    Kind::LockedOut,
                    format!(
                        "{} refused the login of `{}` {refused} times{}: nothing is sent for {} so that the account is \
                         not locked; setting the right secret ({}) ends this at once",
                        wording.peer,
                        account.user,
                        match state.tries.len() - refused {
                            0 => String::new(),
                            lost => format!(", and {lost} more were cut off before an answer"),
                        },
                        in_words(left),
                        wording.mend
                    ),
                )
                .with_code("host:login-guard")
                .with_retry_after(left))
            }
            _ => Ok(state.good_now),
        }
    }

    async fn gate(&self, login: &Login) -> Result<Arc<Gate>, Failure> {
        if let Some(gate) = self.gates().get(login) {
            return Ok(Arc::clone(gate));
        }
        let row = sqlx::query(
            "SELECT tries, locked_until, proven FROM login_guard WHERE peer = ? AND user = ? AND fingerprint = ?",
        )
        .bind(&login.0.peer)
        .bind(&login.0.user)
        .bind(i64::from(login.1.0))
        .fetch_optional(self.database.readers())
        .await
        .map_err(|error| unusable(&error.into()))?;
        let state = row.map_or_else(State::default, |row| State {
            tries: serde_json::from_str(row.get("tries")).unwrap_or_default(),
            locked_until: row.get("locked_until"),
            proven: row.get("proven"),
            good_now: false,
        });
        let gate =
            Gate { turn: Arc::default(), state: Mutex::new(state), writing: tokio::sync::Mutex::default() };
        // Whoever came first keeps its place.
        Ok(Arc::clone(self.gates().entry(login.clone()).or_insert_with(|| Arc::new(gate))))
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<Login, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        (self.clock)().as_millisecond()
    }

    async fn store(&self, login: &Login, gate: &Gate) -> Result<(), Failure> {
        let _in_order = gate.writing.lock().await;
        let state = gate.state().clone();
        let (account, fingerprint) = login.clone();
        self.database
            .write(move |tx| {
                async move {
                    sqlx::query(
                        "INSERT INTO login_guard (peer, user, fingerprint, tries, locked_until, proven)
                         VALUES (?, ?, ?, ?, ?, ?)
                         ON CONFLICT (peer, user, fingerprint) DO UPDATE SET tries = excluded.tries,
                         locked_until = excluded.locked_until, proven = excluded.proven",
                    )
                    .bind(account.peer)
                    .bind(account.user)
                    .bind(i64::from(fingerprint.0))
                    .bind(serde_json::Value::from(state.tries).to_string())
                    .bind(state.locked_until)
                    .bind(state.proven)
                    .execute(tx)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
            .map_err(|error| unusable(&error))
    }
}

/// Leave to send a login. Dropped without an outcome, it leaves no trace but the one on disk.
pub(crate) struct Admission<'g> {
    guard: &'g Guard,
    login: Login,
    gate: Arc<Gate>,
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
    /// The try that is counted already.
    announced: Option<i64>,
}

impl Admission<'_> {
    /// To be called before credentials are sent.
    pub(crate) async fn announce(&mut self) -> Result<(), Failure> {
        {
            let mut state = self.gate.state();
            if state.proven || self.announced.is_some() {
                return Ok(());
            }
            let now = self.guard.now();
            // Below zero until there is an answer.
            state.tries.push(-now);
            self.announced = Some(-now);
        }
        self.guard.store(&self.login, &self.gate).await
    }

    /// The peer took the credentials.
    pub(crate) async fn good(mut self) -> Result<(), Failure> {
        let changed = {
            let mut state = self.gate.state();
            let changed = !state.proven || !state.tries.is_empty() || state.locked_until.is_some();
            state.tries.clear();
            state.locked_until = None;
            state.proven = true;
            state.good_now = true;
            changed
        };
        self.announced = None;
        if changed { self.guard.store(&self.login, &self.gate).await } else { Ok(()) }
    }

    /// The peer refused them. Returns how many tries failed in the last 30 minutes.
    pub(crate) async fn bad(mut self) -> Result<usize, Failure> {
        let count = self.count_failure(None);
        self.guard.store(&self.login, &self.gate).await?;
        Ok(count)
    }

    /// The peer says that it has locked the account.
    pub(crate) async fn locked(mut self, time: Duration) -> Result<(), Failure> {
        self.count_failure(Some(time));
        self.guard.store(&self.login, &self.gate).await
    }

    fn count_failure(&mut self, locked: Option<Duration>) -> usize {
        let now = self.guard.now();
        let mut state = self.gate.state();
        match self.announced.take() {
            Some(announced) => {
                for at in state.tries.iter_mut().filter(|at| **at == announced) {
                    *at = now;
                }
            }
            None if locked.is_none() => state.tries.push(now),
            None => {}
        }
        if let Some(time) = locked {
            state.locked_until =
                Some(now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(WINDOW_MS)));
            // The device's own word replaces our count: when it opens again, there is a fresh start.
            state.tries.clear();
        }
        state.proven = false;
        state.good_now = false;
        state.tries.len()
    }

    /// Nobody knows whether they were taken, e.g. because no answer came.
    pub(crate) async fn undecided(mut self) -> Result<(), Failure> {
        if self.withdraw() { self.guard.store(&self.login, &self.gate).await } else { Ok(()) }
    }

    fn withdraw(&mut self) -> bool {
        let Some(announced) = self.announced.take() else {
            return false;
        };
        let mut state = self.gate.state();
        if let Some(at) = state.tries.iter().position(|at| *at == announced) {
            state.tries.remove(at);
        }
        true
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The failure for an account that the device itself has locked.
pub(crate) fn device_locked(wording: &Wording<'_>, time: Duration) -> Failure {
    Failure::new(
        Kind::LockedOut,
        format!("{} has locked this account: locked for {}", wording.peer, in_words(time)),
    )
    .with_code("host:device-locked")
    .with_retry_after(time)
}

fn span(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{} s", seconds.max(1)) } else { format!("{} min", seconds / 60) }
}

fn unusable(error: &DatabaseError) -> Failure {
    // Without its memory the guard would let logins through that it must not.
    Failure::new(Kind::Internal, format!("the lock-out guard cannot be read or written: {error}"))
        .with_code("host:database")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;

    const START: i64 = 1_795_000_000_000;
    const WORDING: Wording<'_> =
        Wording { peer: "terminal at 10.0.0.7:80", mend: "`bascule secret set terminal`" };

    struct Bench {
        folder: tempfile::TempDir,
        now: Arc<AtomicI64>,
    }

    impl Bench {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), now: Arc::new(AtomicI64::new(START)) }
        }

        async fn open(&self) -> Guard {
            let database = Database::open(&self.folder.path().join("b.db")).await.unwrap();
            let now = Arc::clone(&self.now);
            let clock = move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap();
            Guard::open(database, Arc::new(clock)).await.unwrap()
        }

        fn pass(&self, minutes: i64) {
            self.now.fetch_add(minutes * 60_000, Ordering::SeqCst);
        }
    }

    fn account() -> Account {
        Account { peer: "http://10.0.0.7:80".to_owned(), user: "admin".to_owned() }
    }

    fn context() -> CallContext {
        CallContext {
            cancel: CancellationToken::new(),
            deadline: tokio::time::Instant::now() + Duration::from_secs(60),
            progress: None,
        }
    }

    async fn admit<'g>(guard: &'g Guard, password: &str) -> Result<Admission<'g>, Failure> {
        let fingerprint = guard.fingerprint([&Secret::new(password)]);
        guard.admit(&account(), fingerprint, &WORDING, &context()).await
    }

    async fn fail(guard: &Guard, password: &str) -> usize {
        let mut admission = admit(guard, password).await.unwrap();
        admission.announce().await.unwrap();
        admission.bad().await.unwrap()
    }

    #[tokio::test]
    async fn the_third_failing_login_is_not_sent_and_half_an_hour_later_one_is() {
        let bench = Bench::new();
        let guard = bench.open().await;
        assert_eq!(fail(&guard, "wrong").await, 1);
        bench.pass(10);
        assert_eq!(fail(&guard, "wrong").await, 2);
        let failure = admit(&guard, "wrong").await.err().unwrap();
        assert_eq!(failure.kind, Kind::LockedOut);
        assert_eq!(failure.retry_after, Some(20 * 60_000));
        assert!(failure.message.contains("nothing is sent for 20 min"), "{failure}");
        bench.pass(20);
        assert_eq!(fail(&guard, "wrong").await, 2);
        assert!(admit(&guard, "wrong").await.is_err());
    }

    #[tokio::test]
    async fn a_restart_forgets_nothing_not_even_a_login_whose_end_was_not_seen() {
        let bench = Bench::new();
        let guard = bench.open().await;
        fail(&guard, "wrong").await;
        guard.database.close().await;
        drop(guard);
        for _ in 0..3 {
            cut_off(&bench, "wrong").await;
        }
        let failure = admit(&bench.open().await, "wrong").await.err().unwrap();
        assert_eq!(failure.kind, Kind::LockedOut);
        assert!(failure.message.contains("1 times, and 3 more were cut off"), "{}", failure.message);
    }

    #[tokio::test]
    async fn crashes_in_the_middle_of_good_logins_do_not_close_the_account() {
        let bench = Bench::new();
        for _ in 0..3 {
            cut_off(&bench, "right").await;
        }
        let guard = bench.open().await;
        admit(&guard, "right").await.unwrap().good().await.unwrap();
        guard.database.close().await;
        drop(guard);
        // What is refused counts as before.
        let guard = bench.open().await;
        fail(&guard, "right").await;
        fail(&guard, "right").await;
        assert!(admit(&guard, "right").await.is_err());
    }

    /// A process that is killed between sending a login and hearing how it ended.
    async fn cut_off(bench: &Bench, password: &str) {
        let guard = bench.open().await;
        let mut admission = admit(&guard, password).await.unwrap();
        admission.announce().await.unwrap();
        // Nothing is written any more.
        guard.database.close().await;
        drop(admission);
        drop(guard);
    }

    #[tokio::test]
    async fn another_password_gets_its_own_two_tries() {
        let bench = Bench::new();
        let guard = bench.open().await;
        fail(&guard, "wrong").await;
        fail(&guard, "wrong").await;
        assert!(admit(&guard, "wrong").await.is_err());
        assert_eq!(fail(&guard, "wrong too").await, 1);
        assert!(admit(&guard, "wrong").await.is_err(), "the old one stays closed");
        admit(&guard, "wrong too").await.unwrap().good().await.unwrap();
        assert_eq!(fail(&guard, "wrong too").await, 1);
    }

    #[tokio::test]
    async fn two_wrong_passwords_in_turn_do_not_open_the_gate_for_each_other() {
        let bench = Bench::new();
        let guard = bench.open().await;
        let mut sent = 0;
        for turn in 0..40 {
            let password = if turn % 2 == 0 { "wrong" } else { "wrong too" };
            if let Ok(admission) = admit(&guard, password).await {
                sent += 1;
                admission.bad().await.unwrap();
            }
        }
        assert_eq!(sent, 4, "two each");
    }

    #[tokio::test]
    async fn what_the_device_says_about_its_lock_outlives_a_restart() {
        let bench = Bench::new();
        let guard = bench.open().await;
        let admission = admit(&guard, "right").await.unwrap();
        admission.locked(Duration::from_secs(1795)).await.unwrap();
        guard.database.close().await;
        let guard = bench.open().await;
        let failure = admit(&guard, "right").await.err().unwrap();
        assert_eq!(failure.message, "terminal at 10.0.0.7:80 has locked this account: locked for 29 min");
        assert_eq!(failure.retry_after, Some(1_795_000));
        bench.pass(30);
        admit(&guard, "right").await.unwrap().good().await.unwrap();
    }

    #[tokio::test]
    async fn a_hundred_at_once_with_a_wrong_password_send_two() {
        let bench = Bench::new();
        let guard = Arc::new(bench.open().await);
        let sent = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (guard, sent) = (Arc::clone(&guard), Arc::clone(&sent));
                tokio::spawn(async move {
                    let Ok(mut admission) = admit(&guard, "wrong").await else {
                        return;
                    };
                    admission.announce().await.unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    admission.bad().await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(sent.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_good_login_opens_the_gate_for_all_and_costs_one_write() {
        let bench = Bench::new();
        let guard = bench.open().await;
        admit(&guard, "right").await.unwrap().good().await.unwrap();
        let commits = guard.database.commits();
        let one = admit(&guard, "right").await.unwrap();
        let mut two = admit(&guard, "right").await.unwrap();
        two.announce().await.unwrap();
        one.good().await.unwrap();
        two.good().await.unwrap();
        assert_eq!(guard.database.commits(), commits);
    }

    #[tokio::test]
    async fn an_undecided_login_is_not_counted() {
        let bench = Bench::new();
        let guard = bench.open().await;
        for _ in 0..5 {
            let mut admission = admit(&guard, "right").await.unwrap();
            admission.announce().await.unwrap();
            admission.undecided().await.unwrap();
        }
        admit(&guard, "right").await.unwrap();
    }

    #[tokio::test]
    async fn no_password_can_be_found_in_the_database() {
        let bench = Bench::new();
        let guard = bench.open().await;
        fail(&guard, "canary-7d1f").await;
        guard.database.close().await;
        for entry in std::fs::read_dir(bench.folder.path()).unwrap() {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!content.windows(6).any(|window| window == b"canary"));
        }
    }
}
