//! The narrow trait through which the interpreter touches the world: journaled calls, waiting, the run's own memory.
//!
//! The interpreter is started from the top every time a run is executed. What was recorded before is answered from
//! the record; only what is new reaches the journal, the clock or a plugin. So the same text, run again over the same
//! record, comes to the same point and goes on from there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::journal::{AttemptId, Entry, JournalError, OnceDone, Outcome, PlaceMemory, RunId};
use crate::observe::Event;
use crate::place::Place;

/// Why the interpreter has to stop where it is. The record stays as it is and the run can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The journal failed: nothing may go on that cannot be recorded.
    #[error("the run cannot be recorded")]
    Journal(#[from] JournalError),
    /// The process is ending.
    #[error("the run was put aside because the process is ending")]
    Suspended,
    /// Something is missing that the run goes by; a person has to bring it back.
    #[error("{0}")]
    Held(Failure),
}

/// What to do about an attempt whose intent was recorded and whose result was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// Call again with the same idempotency key.
    Repeat,
    /// Answer [`StepEnd::Lost`].
    Report,
}

/// How durable the intent has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// On disk before the call, and the result before the answer: for everything that may change something.
    First,
    /// With the next durable record: for second looks, which may be repeated.
    Later,
}

/// One attempt of one call.
#[derive(Clone, Debug)]
pub struct StepCall {
    /// The step or item.
    pub place: Place,
    /// Which attempt.
    pub id: AttemptId,
    /// Plugin name.
    pub plugin: String,
    /// Function name.
    pub function: String,
    /// The evaluated `with`.
    pub with: Value,
    /// How long it may take.
    pub timeout: Duration,
    /// What to do if it was begun before.
    pub on_lost: OnLost,
    /// How durable its intent has to be.
    pub intent: Intent,
    /// Ends it early.
    pub cancel: CancellationToken,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum StepEnd {
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Its idempotency key.
        key: String,
        /// When its first intent was recorded.
        started_at: Timestamp,
        /// When its result was recorded.
        ended_at: Timestamp,
        /// It was answered from the record.
        replayed: bool,
    },
    /// It was begun and nobody knows how it ended.
    Lost {
        /// How often it was begun.
        intents: u32,
    },
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// The instant has come.
    Due,
    /// The run was cancelled.
    Cancelled,
}

/// Held while the only one for a key is at work.
pub struct KeyGuard {
    pub(crate) _held: tokio::sync::OwnedMutexGuard<()>,
}

/// The world as a run sees it.
#[async_trait]
pub trait Context: Send + Sync {
    /// Which run.
    fn run_id(&self) -> RunId;

    /// The only "now" that a workflow sees: the recorded instant of the run's beginning, the same in every execution.
    fn now(&self) -> Timestamp;

    /// Makes an attempt, once: intent before, result after, and the recorded result ever after.
    async fn step(&self, call: StepCall) -> Result<StepEnd, Stop>;

    /// A rest between items: by the clock, not recorded. A run that goes on after a crash does not make it up.
    async fn rest(&self, pause: std::time::Duration);

    /// Waits for the instant at which the attempt is due. The instant is recorded first; one that was recorded
    /// before counts instead of `due`.
    async fn sleep_until(
        &self,
        place: &Place,
        id: AttemptId,
        due: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<Slept, Stop>;

    /// Waits for the next event of that name that was not taken yet: its value, or `None` when `until` has come or
    /// the run was cancelled. What was taken is recorded.
    async fn wait_event(
        &self,
        name: &str,
        until: Option<Timestamp>,
        cancel: &CancellationToken,
    ) -> Result<Option<Value>, Stop>;

    /// Waits until nobody else in this process is at work for the key.
    async fn keyed(&self, key: &str) -> KeyGuard;

    /// What is remembered of a place from before this execution.
    fn recall(&self, place: &Place) -> Arc<PlaceMemory>;

    /// Whether anything is remembered of a place or of what is inside it.
    fn touched(&self, place: &Place) -> bool;

    /// Who has done this `once` key of this workflow in an earlier run.
    async fn done_once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, Stop>;

    /// When the run (`None`), or the workflow that is called at a place, has to have ended, if that was recorded.
    fn deadline(&self, place: Option<&Place>) -> Option<Timestamp>;

    /// The instant so long after the present one, for a deadline that is to be recorded.
    fn instant_after(&self, after: Duration) -> Timestamp;

    /// Returns when the instant has come. Not recorded.
    async fn reach(&self, at: Timestamp);

    /// Records with the next durable record: for what would come out the same if it were lost.
    fn note(&self, entry: Entry);

    /// Records, and returns when it is on disk.
    async fn record(&self, entry: Entry) -> Result<(), Stop>;

    /// Records what was noted if that is much.
    async fn settle(&self) -> Result<(), Stop>;

    /// The order of an undo that is registered now, after all that are remembered.
    fn next_undo(&self) -> u64;

    /// Tells whoever watches.
    fn tell(&self, event: Event);
}
