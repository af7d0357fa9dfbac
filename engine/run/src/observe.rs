//! What a run tells while it goes on: for progress on a terminal, not for the record.

use bascule_workflow::failure::Failure;
use jiff::Timestamp;

use crate::journal::{Role, RunId};
use crate::place::Place;
use crate::status::{Counts, Status};

/// Hears what happens in runs. Called in the middle of the run: it must neither block nor panic.
pub trait Observer: Send + Sync {
    /// Something happened in the run.
    fn event(&self, run: RunId, event: &Event);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _run: RunId, _event: &Event) {}
}

/// Passes everything on to whoever has subscribed; one that is too slow misses the oldest.
#[derive(Clone, Debug)]
pub struct Broadcast {
    sender: tokio::sync::broadcast::Sender<(RunId, Event)>,
}

impl Broadcast {
    /// Keeps up to `capacity` events for the slowest subscriber.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { sender: tokio::sync::broadcast::Sender::new(capacity.max(1)) }
    }

    /// Hears everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<(RunId, Event)> {
        self.sender.subscribe()
    }
}

impl Observer for Broadcast {
    fn event(&self, run: RunId, event: &Event) {
        // An error means that nobody listens.
        let _unheard = self.sender.send((run, event.clone()));
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins, or goes on.
    RunStarted {
        /// The workflow's id.
        workflow: String,
        /// From 1.
        attempt: u32,
        /// It had begun before, in this process or another.
        resumed: bool,
    },
    /// A step begins. Steps that ended before a resume are told by `Ended` alone.
    StepStarted {
        /// Which.
        place: Place,
        /// With `for-each`: how many items.
        items: Option<usize>,
    },
    /// An item begins.
    ItemStarted {
        /// Which.
        place: Place,
    },
    /// A step or item ended.
    Ended {
        /// Which.
        place: Place,
        /// How.
        status: Status,
        /// Of a `for-each`.
        counts: Option<Counts>,
        /// Why it failed.
        failure: Option<Failure>,
        /// Why it was skipped.
        reason: Option<String>,
        /// It ended before a resume; nothing was done now.
        replayed: bool,
    },
    /// An attempt failed.
    AttemptFailed {
        /// The step or item.
        place: Place,
        /// Which call.
        role: Role,
        /// From 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next one is due, if there is a next one.
        next_at: Option<Timestamp>,
    },
    /// A block begins to undo.
    RollbackStarted {
        /// The block.
        place: Place,
        /// How many steps may have to be undone.
        steps: usize,
    },
    /// A step was undone, or could not be.
    Undone {
        /// The step or item.
        place: Place,
        /// Why it could not be.
        failure: Option<Failure>,
    },
    /// A plugin tells how far it is.
    Progress {
        /// The step or item.
        place: Place,
        /// So far.
        done: u64,
        /// Of how many, where known.
        total: Option<u64>,
        /// Of what.
        unit: String,
    },
    /// A plugin wrote a line.
    Log {
        /// The step or item.
        place: Place,
        /// `debug`, `info`, `warn`, `error`
        level: &'static str,
        /// Without control characters.
        message: String,
    },
    /// The run ended.
    RunEnded {
        /// How.
        status: Status,
        /// Why it failed.
        failure: Option<Failure>,
    },
}
