//! What a run leaves behind: an append-only record of it, durable before the run goes on.
//!
//! One SQL implementation ([`SqliteJournal`]) and one in memory ([`MemoryJournal`]). The executor writes through
//! `append`, in batches that are kept whole; people read through [`RunHeader`] and [`crate::record::RunRecord`].

mod entry;
mod memory;
mod recall;
mod sqlite;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::place::Place;
use crate::status::Status;

pub use entry::{
    AttemptId, Batch, Entry, Item, LogLine, Outcome, PinnedPlugins, PinnedText, PinnedTexts, Role, Timed,
    Verdict,
};
pub use memory::MemoryJournal;
pub use recall::{Attempt, Ended, Memory, PlaceMemory};
pub use sqlite::{Aged, CancelAsked, Removed, SqliteJournal};

/// An entry whose JSON text is longer than this many bytes is kept apart from the entries (SQLite: table
/// `journal_value`, by its sha256), and the entry holds a reference.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;
/// The longest log line that is kept, in bytes; what is over is cut.
pub const MAX_LINE_BYTES: usize = 4 * 1024;

/// Names a run: a UUID version 7, so that runs sort by their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// A new id for a run that is recorded at this instant.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds)))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A run that is to be recorded.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The workflow's id.
    pub workflow: String,
    /// sha256 of `text`, lower-case hexadecimal.
    pub digest: String,
    /// The workflow's text; the run goes by it however the file changes.
    pub text: Arc<str>,
    /// Accepted inputs.
    pub inputs: Map<String, Value>,
    /// What started it, as expressions see `trigger`.
    pub trigger: Value,
    /// At most one run with this key is `running`.
    pub concurrency_key: Option<String>,
    /// `run.started_at`.
    pub started_at: Timestamp,
}

/// The right to write a run's record, held by one executor at a time. A claim that was taken over is refused
/// from then on, whatever its holder believes.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which run.
    pub run: RunId,
    /// Grows with every claim of the run.
    pub epoch: i64,
    /// How many claims in a row ended with their process before any attempt was finished, this one included. An owner
    /// that takes its own claim over is still alive: that does not count.
    pub crashes: u32,
}

/// What can be said about a run without reading its entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunHeader {
    /// Its id.
    pub id: RunId,
    /// The workflow's id.
    pub workflow: String,
    /// sha256 of the workflow text that it goes by.
    pub digest: String,
    /// How far it is.
    pub status: Status,
    /// From 1; grows when the run is reopened.
    pub attempt: u32,
    /// At most one run with this key is `running`.
    pub concurrency_key: Option<String>,
    /// When it was recorded.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not succeed, in one sentence.
    pub problem: Option<String>,
}

/// Which runs to list; the newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// With one of these statuses only; empty: with any.
    pub statuses: Vec<Status>,
    /// At most so many; by default all.
    pub limit: Option<u32>,
}

/// A `once` key that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct OnceDone {
    /// By which run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

/// What the next attempt of a run goes by; by default what the last one went by.
#[derive(Clone, Debug, Default)]
pub struct Reopening {
    /// Another workflow text (digest and text) than the one it began with.
    pub text: Option<(String, Arc<str>)>,
    /// The texts of the workflows that it names.
    pub texts: Option<PinnedTexts>,
    /// Edited inputs, accepted; all of them.
    pub inputs: Option<Map<String, Value>>,
}

/// The texts that a run goes by.
#[derive(Clone, Debug)]
pub struct RunTexts {
    /// The workflow's own.
    pub text: Arc<str>,
    /// Those of the workflows that it names; empty as long as the run has not begun.
    pub named: PinnedTexts,
    /// The components that it goes by; empty as long as the run has not begun, and then the present ones count.
    pub plugins: PinnedPlugins,
}

/// A change to a run that has ended.
#[derive(Clone, Debug)]
pub enum Revision {
    /// It becomes `queued` again, as its next attempt.
    Reopen(Reopening),
    /// A person decided on a call of unknown outcome.
    Decide {
        /// The step or item.
        place: Place,
        /// What.
        verdict: Verdict,
    },
}

/// Why the journal could not do it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No run has such an id.
    #[error("there is no run `{0}`")]
    NoSuchRun(String),
    /// More than one run's id begins so.
    #[error("`{prefix}` is the beginning of more than one run id: {}", candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Up to five of them.
        candidates: Vec<RunId>,
    },
    /// The run has ended; only `rerun` takes it up again.
    #[error("run `{run}` has ended as `{status}`")]
    HasEnded {
        /// The run.
        run: RunId,
        /// How.
        status: Status,
    },
    /// The run is open; only an ended one can be revised.
    #[error("run `{run}` is `{status}`, it has not ended")]
    NotEnded {
        /// The run.
        run: RunId,
        /// How far it is.
        status: Status,
    },
    /// Another executor works on it.
    #[error("run `{run}` is being worked on by `{owner}` until {until} at least")]
    Held {
        /// The run.
        run: RunId,
        /// By whom.
        owner: String,
        /// The end of the lease.
        until: Timestamp,
    },
    /// Another run with the same concurrency key is running.
    #[error("another run of `{key}` is running")]
    KeyBusy {
        /// The concurrency key.
        key: String,
    },
    /// The claim was taken over: its holder must stop.
    #[error("the right to write run `{0}` was taken over")]
    Fenced(RunId),
    /// What was read back cannot be understood.
    #[error("the record of run `{run}` cannot be read: {reason}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// The store beneath failed; nothing of the batch was kept, unless the store says otherwise.
    #[error("the journal cannot be written or read")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The durable record of runs. What a method has answered with `Ok` is on disk.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Records a new run as `queued`.
    async fn create(&self, run: NewRun) -> Result<(), JournalError>;

    /// Takes the right to write a run that is `queued` or `running`, if nobody else holds it at `now`, until `until`.
    /// The run is `running` from then on. The same owner may take its own claim over.
    async fn claim(
        &self,
        run: RunId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, JournalError>;

    /// Holds the claim until a later instant. The run is then known to get somewhere: `crashes` is 0 again. Does
    /// nothing for a claim that was given back, e.g. because the run has just ended.
    async fn renew(&self, claim: &Claim, until: Timestamp) -> Result<(), JournalError>;

    /// Gives the claim back; the run stays `running` and can be claimed at once.
    async fn release(&self, claim: &Claim) -> Result<(), JournalError>;

    /// Adds to the record, all or nothing. `RunEnded` also ends the run and gives the claim back; a `PlaceEnded`
    /// with a `once` key marks the key as done.
    async fn append(&self, claim: &Claim, batch: Batch) -> Result<(), JournalError>;

    /// Changes a run that has ended; gives the run's attempt.
    async fn revise(&self, run: RunId, at: Timestamp, revision: Revision) -> Result<u32, JournalError>;

    /// Every entry of a run in order.
    async fn read(&self, run: RunId) -> Result<Vec<Timed>, JournalError>;

    /// The log of a run in order.
    async fn lines(&self, run: RunId) -> Result<Vec<LogLine>, JournalError>;

    /// The run whose id begins with `prefix`, if there is exactly one.
    async fn find(&self, prefix: &str) -> Result<RunHeader, JournalError>;

    /// The workflow text that a run goes by.
    async fn text(&self, run: RunId) -> Result<Arc<str>, JournalError>;

    /// Whether somebody asked to cancel the run (since it was last reopened).
    async fn cancel_asked(&self, run: RunId) -> Result<bool, JournalError>;

    /// Another run with this key is `running`, and nobody works on it: its process is gone. It becomes `queued`
    /// again, so that the key is free and the run can still be resumed later. Gives that run.
    async fn free_key(&self, key: &str, now: Timestamp) -> Result<Option<RunId>, JournalError>;

    /// The texts that a run goes by: its own, and those of the workflows that it names; and its components.
    async fn texts(&self, run: RunId) -> Result<RunTexts, JournalError> {
        let Memory { texts, plugins, .. } = Memory::of(self.read(run).await?);
        Ok(RunTexts { text: self.text(run).await?, named: texts, plugins: plugins.unwrap_or_default() })
    }

    /// Runs, the newest first.
    async fn runs(&self, filter: &Filter) -> Result<Vec<RunHeader>, JournalError>;

    /// Who has done this `once` key, if anybody.
    async fn once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, JournalError>;

    /// Keeps an event for a run, whether or not the run waits for it yet.
    async fn deliver(&self, run: RunId, at: Timestamp, name: &str, value: Value) -> Result<(), JournalError>;

    /// The events of that name that were delivered to a run, in order.
    async fn delivered(&self, run: RunId, name: &str) -> Result<Vec<Value>, JournalError>;

    /// Runs that are `queued` or `running`, the oldest first: what a new process has to resume.
    async fn open_runs(&self) -> Result<Vec<RunHeader>, JournalError> {
        let statuses = vec![Status::Queued, Status::Running];
        let mut runs = self.runs(&Filter { statuses, ..Filter::default() }).await?;
        runs.reverse();
        Ok(runs)
    }
}
