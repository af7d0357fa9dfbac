use std::collections::BTreeMap;

use bascule_run::journal::{LogLine, Outcome, RunHeader};
use bascule_run::record::{AttemptRecord, RunRecord, StepRecord, UndoRecord};
use bascule_run::{Counts, RunId, Status};
use bascule_trigger::dispatch::Held;
use bascule_workflow::failure::{Effect, Failure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A run without its steps.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunView {
    /// Its id; wherever a run is named, the first characters do as long as they name one.
    #[schema(value_type = String, example = "0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e")]
    pub(crate) id: RunId,
    /// The workflow's id.
    pub(crate) workflow: String,
    /// sha256 of the workflow text that it goes by.
    pub(crate) digest: String,
    /// How far it is: `queued running succeeded recovered failed cancelled skipped interrupted rolled-back
    /// rollback-incomplete`.
    #[schema(value_type = String)]
    pub(crate) status: Status,
    /// From 1; grows when it is done again.
    pub(crate) attempt: u32,
    /// The evaluated `concurrency.group`.
    pub(crate) concurrency_key: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Timestamp>,
    /// Why it did not succeed, in one sentence.
    pub(crate) problem: Option<String>,
}

impl From<RunHeader> for RunView {
    fn from(header: RunHeader) -> Self {
        Self {
            id: header.id,
            workflow: header.workflow,
            digest: header.digest,
            status: header.status,
            attempt: header.attempt,
            concurrency_key: header.concurrency_key,
            started_at: header.started_at,
            ended_at: header.ended_at,
            problem: header.problem,
        }
    }
}

/// Why something failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FailureView {
    /// `invalid-input unauthorized locked-out refused not-found conflict unsupported busy offline timeout cancelled
    /// protocol verification-failed internal`
    pub(crate) kind: String,
    /// The peer's own name for it, e.g. `isapi:deviceUserAlreadyExist`.
    pub(crate) code: Option<String>,
    /// One sentence.
    pub(crate) message: String,
    /// Did it change anything outside: `none`, `applied`, `unknown`.
    pub(crate) effect: String,
    /// Milliseconds after which another try may succeed.
    pub(crate) retry_after: Option<u64>,
    /// What else is known.
    #[schema(value_type = Option<Object>)]
    pub(crate) details: Option<Value>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind.name().to_owned(),
            code: failure.code,
            message: failure.message,
            effect: match failure.effect {
                Effect::None => "none",
                Effect::Applied => "applied",
                Effect::Unknown => "unknown",
            }
            .to_owned(),
            retry_after: failure.retry_after,
            details: failure.details,
        }
    }
}

/// What holds a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HeldView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// What is missing, and how to mend it.
    pub(crate) reason: String,
}

impl From<Held> for HeldView {
    fn from(held: Held) -> Self {
        Self { since: held.since, reason: held.reason }
    }
}

/// A run with its steps.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunDetail {
    /// The run.
    pub(crate) run: RunView,
    /// Accepted inputs.
    #[schema(value_type = Object)]
    pub(crate) inputs: Map<String, Value>,
    /// What started it.
    #[schema(value_type = Object)]
    pub(crate) trigger: Value,
    /// The components that it goes by: sha256 by plugin name. Empty as long as it has not begun.
    #[schema(value_type = Object)]
    pub(crate) plugins: BTreeMap<String, String>,
    /// Why it cannot go on by itself, while that is so.
    pub(crate) held: Option<HeldView>,
    /// `output:`, once it ended.
    pub(crate) output: Value,
    /// Why it did not succeed.
    pub(crate) error: Option<FailureView>,
    /// When somebody asked to cancel it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) cancel_asked_at: Option<Timestamp>,
    /// When it was taken up again after it had ended.
    #[schema(value_type = Vec<String>)]
    pub(crate) reopened_at: Vec<Timestamp>,
    /// In the order in which they began.
    pub(crate) steps: Vec<StepView>,
}

impl From<RunRecord> for RunDetail {
    fn from(record: RunRecord) -> Self {
        Self {
            run: record.header.into(),
            inputs: record.inputs,
            trigger: record.trigger,
            plugins: record.plugins,
            held: None,
            output: record.output,
            error: record.failure.map(Into::into),
            cancel_asked_at: record.cancel_asked_at,
            reopened_at: record.reopened_at,
            steps: record.steps.into_iter().map(Into::into).collect(),
        }
    }
}

/// A step, or an item of a `for-each`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    /// Where in the run: `photo`, `photo[terminal-7]`, `site[7]/door`.
    pub(crate) place: String,
    /// The step's id.
    pub(crate) id: String,
    /// The item's key.
    pub(crate) key: Option<String>,
    /// The item's value.
    pub(crate) item: Option<Value>,
    /// How it ended; null while it is under way.
    #[schema(value_type = Option<String>)]
    pub(crate) status: Option<Status>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Timestamp>,
    /// Its output.
    pub(crate) output: Value,
    /// Why it failed.
    pub(crate) error: Option<FailureView>,
    /// Why it was skipped.
    pub(crate) reason: Option<String>,
    /// With `for-each`: how many items ended how.
    #[schema(value_type = Option<Object>)]
    pub(crate) counts: Option<Counts>,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) waiting_until: Option<Timestamp>,
    /// Calls in order.
    pub(crate) attempts: Vec<AttemptView>,
    /// What became of its `undo`: `registered`, `undone`, `failed`.
    pub(crate) undo: Option<&'static str>,
    /// Items of a `for-each`, steps of a block.
    #[schema(no_recursion)]
    pub(crate) inner: Vec<StepView>,
}

impl From<StepRecord> for StepView {
    fn from(record: StepRecord) -> Self {
        Self {
            place: record.place.as_str().to_owned(),
            id: record.id,
            key: record.key,
            item: record.item,
            status: record.status,
            started_at: record.started_at,
            ended_at: record.ended_at,
            output: record.output,
            error: record.failure.map(Into::into),
            reason: record.reason,
            counts: record.counts,
            waiting_until: record.waiting_until,
            attempts: record.attempts.into_iter().map(Into::into).collect(),
            undo: record.undo.map(|undo| match undo {
                UndoRecord::Registered => "registered",
                UndoRecord::Undone => "undone",
                UndoRecord::Failed(_) => "failed",
            }),
            inner: record.inner.into_iter().map(Into::into).collect(),
        }
    }
}

/// One call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// What for: the step itself, `verify`, `catch`, `undo` ..
    pub(crate) role: &'static str,
    /// From 1.
    pub(crate) attempt: u32,
    /// `plugin/function`
    pub(crate) function: String,
    /// When its intent was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    /// When its result was recorded.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Timestamp>,
    /// `done`, `failed`, or `unknown` while it is under way and where a crash cut it off.
    pub(crate) outcome: &'static str,
    /// Why it failed.
    pub(crate) error: Option<FailureView>,
}

impl From<AttemptRecord> for AttemptView {
    fn from(record: AttemptRecord) -> Self {
        let (outcome, error) = match record.outcome {
            None => ("unknown", None),
            Some(Outcome::Done(_)) => ("done", None),
            Some(Outcome::Failed(failure)) => ("failed", Some(failure.into())),
        };
        Self {
            role: record.role.name(),
            attempt: record.attempt,
            function: record.function,
            started_at: record.started_at,
            ended_at: record.ended_at,
            outcome,
            error,
        }
    }
}

/// A line of a run's log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LineView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// Which step.
    pub(crate) place: String,
    /// `debug`, `info`, `warn`, `error`
    pub(crate) level: String,
    /// What.
    pub(crate) message: String,
}

impl From<LogLine> for LineView {
    fn from(line: LogLine) -> Self {
        Self { at: line.at, place: line.place.as_str().to_owned(), level: line.level, message: line.message }
    }
}
