//! One simulated network recorder (persona N of `facts/isapi.md 11.2`): channels, recordings that are made while they are
//! downloaded, an account, and every habit of [`RecorderHabits`].

mod answer;
pub(crate) mod control;
mod download;
mod footage;
mod habits;
mod lists;
mod scan;
mod search;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::answer::Call;
pub use self::footage::Segment;
pub use self::habits::{
    Container, DownloadMethod, Empty, Inputs, PositionName, RangeAnswer, RecorderHabits, SearchId,
    SearchTime, Snapshot, TrackList, WrongPosition,
};
use crate::auth::{Guard, Reason};
use crate::fault::{Fault, Faults};
use crate::ledger::{Kind, Ledger, Note};
use crate::quirks::{LockBody, Quirks};
use crate::wire::door::Door;
use crate::wire::{Peer, Reply, Request};

/// The user of every simulated recorder.
pub const RECORDER_USER: &str = "admin";
/// The password of every simulated recorder. Invented.
pub const RECORDER_PASSWORD: &str = "demo-Recorder-1!";

/// A running recorder, as a test or the control port holds it.
pub struct Recorder {
    pub(crate) machine: Arc<Machine>,
    pub(crate) door: Door,
}

impl Recorder {
    /// The `id` of its row in `recorders`, and its name in the ledger.
    pub fn id(&self) -> &str {
        &self.machine.id
    }

    /// Its port on 127.0.0.1; stays the same while it is offline.
    pub fn port(&self) -> u16 {
        self.door.port()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Its switches.
    pub fn habits(&self) -> RecorderHabits {
        RecorderHabits::clone(&self.machine.habits())
    }

    /// Changes switches; they hold from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut RecorderHabits)) {
        let mut habits = self.habits();
        change(&mut habits);
        self.machine.set_habits(habits);
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.machine.faults.order(fault);
    }

    /// What is recorded on all channels now, oldest first on each.
    pub fn segments(&self) -> Vec<Segment> {
        self.machine.all_segments(&self.machine.habits())
    }

    /// The segment of that name.
    pub fn segment(&self, name: &str) -> Option<Segment> {
        self.segments().into_iter().find(|segment| segment.name == name)
    }

    /// Requests so far, probes for a challenge included.
    pub fn requests(&self) -> u64 {
        self.machine.requests.load(Ordering::Relaxed)
    }

    /// Failed logins so far.
    pub fn failed_logins(&self) -> u64 {
        self.machine.guard.failed_logins()
    }

    /// Ends all connections and refuses new ones.
    pub async fn offline(&self) -> Result<()> {
        self.door.shut().await
    }

    /// Accepts connections again.
    pub async fn online(&self) -> Result<()> {
        self.door.unshut().await
    }

    /// Its row in `recorders`.
    pub(crate) fn row(&self) -> Value {
        json!({
            "id": self.id(), "name": self.machine.name, "ip": "127.0.0.1", "port": self.port(), "active": true,
        })
    }
}

/// The tables that a nightly export reads and writes, as `--tables` takes them.
pub(crate) fn tables() -> Value {
    json!({
        "recorders": {
            "columns": { "id": "text", "name": "text", "ip": "text", "port": "bigint", "active": "boolean" },
            "primary_key": ["id"], "not_null": ["ip", "port"],
        },
        "recordings": {
            "columns": {
                "id": "text", "recorder": "text", "channel": "bigint", "track": "bigint", "started_at": "timestamptz",
                "ended_at": "timestamptz", "file": "text", "bytes": "bigint", "sha256": "text", "format": "text",
                "size_checked": "boolean", "recorded_at": "timestamptz",
            },
            "primary_key": ["id"], "not_null": ["recorder", "file", "bytes"],
            "defaults": { "recorded_at": "now" },
        },
    })
}

/// The recorder itself.
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) name: String,
    /// From 0.
    pub(crate) number: usize,
    pub(crate) seed: u64,
    birth: Timestamp,
    habits: RwLock<Arc<RecorderHabits>>,
    /// How it asks for credentials: fixed, as recorders do.
    login: Quirks,
    guard: Guard,
    pub(crate) faults: Faults,
    ledger: Ledger,
    requests: AtomicU64,
    /// Downloads under way.
    downloading: Arc<AtomicUsize>,
}

impl Machine {
    pub(crate) fn new(number: usize, seed: u64, ledger: Ledger) -> Self {
        let realm = hex::encode(format!("{number:06}nvr{:03}", number % 1_000).as_bytes());
        let login = Quirks {
            lock_body: LockBody::C,
            nonce_ttl_ms: 30_000,
            keep_alive_ms: 60_000,
            ..Quirks::default()
        };
        Self {
            id: format!("recorder-{:02}", number + 1),
            name: format!("Recorder {}", number + 1),
            number,
            seed: seed.wrapping_mul(1_000_003).wrapping_add(number as u64 + 1),
            birth: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH),
            habits: RwLock::default(),
            login,
            guard: Guard::new(RECORDER_USER, RECORDER_PASSWORD, &realm),
            faults: Faults::default(),
            ledger,
            requests: AtomicU64::new(0),
            downloading: Arc::default(),
        }
    }

    pub(crate) fn habits(&self) -> Arc<RecorderHabits> {
        Arc::clone(&self.habits.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_habits(&self, habits: RecorderHabits) {
        *self.habits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(habits);
    }

    pub(crate) fn track_segments(&self, habits: &RecorderHabits, track: u32) -> Vec<Segment> {
        if track % 100 != 1 || !(1..=habits.channels).contains(&(track / 100)) {
            return Vec::new();
        }
        footage::segments(habits, self.seed, track, self.birth, Timestamp::now())
    }

    fn all_segments(&self, habits: &RecorderHabits) -> Vec<Segment> {
        (1..=habits.channels).flat_map(|channel| self.track_segments(habits, channel * 100 + 1)).collect()
    }

    /// What its clock believes the time is.
    fn clock(&self, habits: &RecorderHabits) -> Timestamp {
        Timestamp::now()
            .checked_add(SignedDuration::from_secs(habits.clock_offset_s))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn note(&self, request: &Request, kind: Kind, credential: &str) -> Note {
        Note {
            device: self.id.clone(),
            kind,
            request: format!("{} {}", request.method, request.target),
            credential: credential.to_owned(),
            subject: None,
            face: None,
            code: None,
            note: None,
        }
    }

    fn respond(&self, request: &Request) -> Reply {
        let habits = self.habits();
        let mut call = Call { machine: self, habits: &habits, request, known: "none".to_owned() };
        match self.guard.check(&self.login, request) {
            Ok(known) => {
                call.known = known;
                call.dispatch()
            }
            Err(refusal) => {
                let (kind, why) = match &refusal.reason {
                    Reason::NoCredentials => return call.refused(&refusal).into(),
                    Reason::DeadNonce(why) => (Kind::NonceDead, *why),
                    Reason::Wrong(why) => (Kind::LoginFailed, *why),
                    Reason::BasicRefused => (Kind::BasicSent, "a password in the clear"),
                    Reason::Locked => (Kind::TriedWhileLocked, "the account is locked"),
                };
                let note = Note { note: Some(why.to_owned()), ..self.note(request, kind, "refused") };
                self.ledger.write(note);
                call.refused(&refusal).into()
            }
        }
    }
}

impl Peer for Machine {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = self.respond(&request);
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(60)
    }
}
