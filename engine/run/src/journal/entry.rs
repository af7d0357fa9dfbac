//! The facts that a run's record is made of.

use std::collections::BTreeMap;

use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal::RunId;
use crate::place::Place;
use crate::status::{Counts, Status};

/// Which call of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The step's own call.
    Call,
    /// The call of a `catch`.
    Catch,
    /// A second look after a call.
    Verify,
    /// A second look after a crash, to find out whether a `repeat: never` call was done.
    Check,
    /// The step's `undo`.
    Undo,
}

impl Role {
    /// The word for it in journals and keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Catch => "catch",
            Self::Verify => "verify",
            Self::Check => "check",
            Self::Undo => "undo",
        }
    }
}

/// One attempt of one call: the same in every execution of the run, so a recorded result is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttemptId {
    /// Which call.
    pub role: Role,
    /// From 1; calls that are repeated on purpose (`poll`, `verify`) count on, and each has its own idempotency key.
    pub look: u32,
    /// From 1; retries count on, with the same idempotency key.
    pub attempt: u32,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its value.
    Done(Value),
    /// Why not.
    Failed(Failure),
}

impl From<Result<Value, Failure>> for Outcome {
    fn from(result: Result<Value, Failure>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// One item of a `for-each`, as it was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Item {
    /// Stable identity, unique within the step.
    pub key: String,
    /// What the loop variable is.
    pub value: Value,
}

/// The text of a workflow that the run's own one names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PinnedText {
    /// sha256 of `text`, lower-case hexadecimal.
    pub digest: String,
    /// The text.
    pub text: String,
}

/// Texts by the id of their workflow.
pub type PinnedTexts = BTreeMap<String, PinnedText>;

/// The sha256 of components, lower-case hexadecimal, by the name of the plugin.
pub type PinnedPlugins = BTreeMap<String, String>;

/// What a person said about a call of unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was done: the step counts as `succeeded`, its output is `null`.
    Done,
    /// It was not done: it may be called again.
    NotDone,
}

/// One fact about a run. Entries are only ever added, and what an earlier version wrote is read for ever
/// (`tests/fixtures/journals`). What a later version wrote and this one does not know is refused, never left out: a run is
/// not continued by half of its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    /// The first entry.
    Created {
        /// Accepted inputs.
        inputs: Map<String, Value>,
        /// What started it.
        trigger: Value,
    },
    /// The texts of the workflows that the run's own one names, once it begins: the run goes by them.
    TextsPinned {
        /// By id.
        texts: PinnedTexts,
    },
    /// The components of the plugins that the run's texts name, once it begins: the run goes by them. Runs that an earlier
    /// version began have none of this; they are pinned when they are next taken up.
    PluginsPinned {
        /// By plugin name.
        plugins: PinnedPlugins,
    },
    /// When the run, or a workflow that a step calls, has to have ended.
    DeadlineSet {
        /// The calling step; `null`: the run.
        place: Option<Place>,
        /// When.
        due_at: Timestamp,
    },
    /// A step calls a workflow; written with the first record inside of it.
    WorkflowCalled {
        /// The step or item.
        place: Place,
        /// The workflow's id.
        workflow: String,
        /// Its accepted inputs.
        inputs: Map<String, Value>,
    },
    /// The run is about to end badly, and a run of its `on-failure` workflow with this id follows.
    AlertDue {
        /// The id of that run.
        run: RunId,
    },
    /// The list of a `for-each`, evaluated once.
    ItemsListed {
        /// The step.
        place: Place,
        /// In order.
        items: Vec<Item>,
    },
    /// Intent: written before the call.
    AttemptStarted {
        /// The step or item.
        place: Place,
        /// Which attempt.
        id: AttemptId,
        /// The idempotency key.
        key: String,
        /// Plugin name.
        plugin: String,
        /// Function name.
        function: String,
        /// sha256 of the JSON text of the evaluated `with`.
        with_digest: String,
        /// The evaluated `with` where it is at most [`super::MAX_ENTRY_BYTES`]. Credentials are not in it: a connection
        /// is a name.
        with: Option<Value>,
    },
    /// Result: written after the call.
    AttemptEnded {
        /// The step or item.
        place: Place,
        /// Which attempt.
        id: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// The next attempt is due at an instant; that survives a restart.
    Waiting {
        /// The step or item.
        place: Place,
        /// The attempt that is due then.
        id: AttemptId,
        /// When.
        due_at: Timestamp,
    },
    /// The step has an `undo`; written before the step's first intent.
    UndoRegistered {
        /// The step or item.
        place: Place,
    },
    /// A step or item ended.
    PlaceEnded {
        /// Which.
        place: Place,
        /// How.
        status: Status,
        /// Its output; `null` for a `for-each`, whose items have their own.
        output: Value,
        /// Why it failed.
        failure: Option<Failure>,
        /// Why it was skipped.
        reason: Option<String>,
        /// Of a `for-each`.
        counts: Option<Counts>,
        /// The `once` key that is now done.
        once: Option<String>,
        /// The workflow that the key belongs to, where it is not the run's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once_of: Option<String>,
    },
    /// An all-or-nothing block begins to undo.
    RollbackStarted {
        /// The block.
        place: Place,
    },
    /// A step was undone, or could not be.
    Undone {
        /// The step or item.
        place: Place,
        /// Why it could not be undone.
        failure: Option<Failure>,
    },
    /// A waiting for an event ended.
    EventTaken {
        /// Its name.
        name: String,
        /// The value, or `null` when none came in time.
        value: Option<Value>,
    },
    /// Somebody asked to cancel the run.
    CancelAsked,
    /// The run goes on after it had ended: a new attempt of the same run.
    Reopened {
        /// From 2.
        attempt: u32,
        /// The workflow text from now on, where it is another one than before.
        digest: Option<String>,
        /// The texts of the workflows that it names, where they may be others than before. Then the run is not pinned to
        /// components any more either, and the next execution pins it to those that are there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        texts: Option<PinnedTexts>,
        /// Accepted inputs from now on, where they were edited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inputs: Option<Map<String, Value>>,
    },
    /// A person decided on a call of unknown outcome.
    Decided {
        /// The step or item.
        place: Place,
        /// What.
        verdict: Verdict,
    },
    /// The last entry, unless the run is reopened.
    RunEnded {
        /// How.
        status: Status,
        /// `output:`
        output: Value,
        /// Why it failed.
        failure: Option<Failure>,
    },
}

impl Entry {
    /// Every kind of entry.
    pub(crate) const KINDS: [&'static str; 19] = [
        "created",
        "texts-pinned",
        "plugins-pinned",
        "deadline-set",
        "workflow-called",
        "alert-due",
        "items-listed",
        "attempt-started",
        "attempt-ended",
        "waiting",
        "undo-registered",
        "place-ended",
        "rollback-started",
        "undone",
        "event-taken",
        "cancel-asked",
        "reopened",
        "decided",
        "run-ended",
    ];

    /// The word for the kind of entry, e.g. `attempt-started`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::TextsPinned { .. } => "texts-pinned",
            Self::PluginsPinned { .. } => "plugins-pinned",
            Self::DeadlineSet { .. } => "deadline-set",
            Self::WorkflowCalled { .. } => "workflow-called",
            Self::AlertDue { .. } => "alert-due",
            Self::ItemsListed { .. } => "items-listed",
            Self::AttemptStarted { .. } => "attempt-started",
            Self::AttemptEnded { .. } => "attempt-ended",
            Self::Waiting { .. } => "waiting",
            Self::UndoRegistered { .. } => "undo-registered",
            Self::PlaceEnded { .. } => "place-ended",
            Self::RollbackStarted { .. } => "rollback-started",
            Self::Undone { .. } => "undone",
            Self::EventTaken { .. } => "event-taken",
            Self::CancelAsked => "cancel-asked",
            Self::Reopened { .. } => "reopened",
            Self::Decided { .. } => "decided",
            Self::RunEnded { .. } => "run-ended",
        }
    }

    /// The step or item it is about.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::ItemsListed { place, .. }
            | Self::WorkflowCalled { place, .. }
            | Self::AttemptStarted { place, .. }
            | Self::AttemptEnded { place, .. }
            | Self::Waiting { place, .. }
            | Self::UndoRegistered { place }
            | Self::PlaceEnded { place, .. }
            | Self::RollbackStarted { place }
            | Self::Undone { place, .. }
            | Self::Decided { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// An entry and its instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// When it became a fact.
    pub at: Timestamp,
    /// What.
    pub entry: Entry,
}

/// One line of a run's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Who said it.
    pub place: Place,
    /// `debug`, `info`, `warn`, `error`
    pub level: String,
    /// At most [`super::MAX_LINE_BYTES`].
    pub message: String,
}

/// What is written together: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order.
    pub entries: Vec<Timed>,
    /// Lines for the log.
    pub lines: Vec<LogLine>,
}
