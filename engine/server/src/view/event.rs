use bascule_run::observe::Event;
use bascule_run::record::StepRecord;
use bascule_run::{Counts, Place, RunId, Status};
use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::run::FailureView;

/// Something that happened in a run: one server-sent event, one line of `bascule run --json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants and fields are those of `bascule_run::observe::Event`")]
pub enum EventView {
    /// The run begins, or goes on.
    RunStarted { run: String, workflow: String, attempt: u32, resumed: bool },
    /// A step begins.
    StepStarted { run: String, place: String, items: Option<usize> },
    /// An item begins.
    ItemStarted { run: String, place: String },
    /// A step or item ended.
    Ended {
        run: String,
        place: String,
        #[schema(value_type = String)]
        status: Status,
        #[schema(value_type = Option<Object>)]
        counts: Option<Counts>,
        #[schema(value_type = Option<FailureView>)]
        error: Option<Failure>,
        reason: Option<String>,
        replayed: bool,
    },
    /// An attempt failed.
    AttemptFailed {
        run: String,
        place: String,
        role: String,
        attempt: u32,
        #[schema(value_type = FailureView)]
        error: Failure,
        #[schema(value_type = Option<String>, format = DateTime)]
        next_at: Option<Timestamp>,
    },
    /// A block begins to undo.
    RollbackStarted { run: String, place: String, steps: usize },
    /// A step was undone, or could not be.
    Undone {
        run: String,
        place: String,
        #[schema(value_type = Option<FailureView>)]
        error: Option<Failure>,
    },
    /// A plugin tells how far it is.
    Progress { run: String, place: String, done: u64, total: Option<u64>, unit: String },
    /// A plugin wrote a line.
    Log { run: String, place: String, level: String, message: String },
    /// The run ended.
    RunEnded {
        run: String,
        #[schema(value_type = String)]
        status: Status,
        #[schema(value_type = Option<FailureView>)]
        error: Option<Failure>,
    },
    /// The listener was too slow; so many were left out.
    Missed { count: u64 },
}

impl EventView {
    /// What the executor told.
    #[must_use]
    pub fn of(run: RunId, event: &Event) -> Self {
        let run = run.to_string();
        let text = |place: &Place| place.as_str().to_owned();
        match event.clone() {
            Event::RunStarted { workflow, attempt, resumed } => {
                Self::RunStarted { run, workflow, attempt, resumed }
            }
            Event::StepStarted { place, items } => Self::StepStarted { run, place: text(&place), items },
            Event::ItemStarted { place } => Self::ItemStarted { run, place: text(&place) },
            Event::Ended { place, status, counts, failure, reason, replayed } => {
                Self::Ended { run, place: text(&place), status, counts, error: failure, reason, replayed }
            }
            Event::AttemptFailed { place, role, attempt, failure, next_at } => Self::AttemptFailed {
                run,
                place: text(&place),
                role: role.name().to_owned(),
                attempt,
                error: failure,
                next_at,
            },
            Event::RollbackStarted { place, steps } => {
                Self::RollbackStarted { run, place: text(&place), steps }
            }
            Event::Undone { place, failure } => Self::Undone { run, place: text(&place), error: failure },
            Event::Progress { place, done, total, unit } => {
                Self::Progress { run, place: text(&place), done, total, unit }
            }
            Event::Log { place, level, message } => {
                Self::Log { run, place: text(&place), level: level.to_owned(), message }
            }
            Event::RunEnded { status, failure } => Self::RunEnded { run, status, error: failure },
        }
    }

    /// A step that had ended before anybody listened.
    pub(crate) fn before(run: RunId, step: &StepRecord) -> Option<Self> {
        Some(Self::Ended {
            run: run.to_string(),
            place: step.place.as_str().to_owned(),
            status: step.status?,
            counts: step.counts,
            error: step.failure.clone(),
            reason: step.reason.clone(),
            replayed: true,
        })
    }

    /// The end of a run that had ended before anybody listened.
    pub(crate) fn end(run: RunId, status: Status, failure: Option<Failure>) -> Self {
        Self::RunEnded { run: run.to_string(), status, error: failure }
    }

    /// The word for it, as `event:` of server-sent events has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run-started",
            Self::StepStarted { .. } => "step-started",
            Self::ItemStarted { .. } => "item-started",
            Self::Ended { .. } => "ended",
            Self::AttemptFailed { .. } => "attempt-failed",
            Self::RollbackStarted { .. } => "rollback-started",
            Self::Undone { .. } => "undone",
            Self::Progress { .. } => "progress",
            Self::Log { .. } => "log",
            Self::RunEnded { .. } => "run-ended",
            Self::Missed { .. } => "missed",
        }
    }

    /// What the executor told, put together again from what came over the wire; `None` for what it does not tell.
    #[must_use]
    pub fn into_event(self) -> Option<Event> {
        let place = |text: String| serde_json::from_value::<Place>(text.into()).ok();
        Some(match self {
            Self::RunStarted { workflow, attempt, resumed, .. } => {
                Event::RunStarted { workflow, attempt, resumed }
            }
            Self::StepStarted { place: at, items, .. } => Event::StepStarted { place: place(at)?, items },
            Self::ItemStarted { place: at, .. } => Event::ItemStarted { place: place(at)? },
            Self::Ended { place: at, status, counts, error, reason, replayed, .. } => {
                Event::Ended { place: place(at)?, status, counts, failure: error, reason, replayed }
            }
            Self::AttemptFailed { place: at, role, attempt, error, next_at, .. } => Event::AttemptFailed {
                place: place(at)?,
                role: serde_json::from_value(role.into()).ok()?,
                attempt,
                failure: error,
                next_at,
            },
            Self::RollbackStarted { place: at, steps, .. } => {
                Event::RollbackStarted { place: place(at)?, steps }
            }
            Self::Undone { place: at, error, .. } => Event::Undone { place: place(at)?, failure: error },
            Self::Progress { place: at, done, total, unit, .. } => {
                Event::Progress { place: place(at)?, done, total, unit }
            }
            Self::Log { place: at, level, message, .. } => {
                let known = ["debug", "info", "warn", "error"];
                let level = known.into_iter().find(|word| *word == level).unwrap_or("info");
                Event::Log { place: place(at)?, level, message }
            }
            Self::RunEnded { status, error, .. } => Event::RunEnded { status, failure: error },
            Self::Missed { .. } => return None,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_run::journal::Role;
    use bascule_workflow::failure::Kind;

    use super::*;

    #[test]
    fn an_event_comes_back_from_the_wire_as_it_went_out() {
        let run = RunId::new(Timestamp::UNIX_EPOCH);
        let place = Place::step("photo").item("a/b");
        let failure = Failure::new(Kind::Offline, "no connection").with_code("host:x");
        for event in [
            Event::RunStarted { workflow: "w".into(), attempt: 2, resumed: true },
            Event::StepStarted { place: place.clone(), items: Some(3) },
            Event::AttemptFailed {
                place: place.clone(),
                role: Role::Call,
                attempt: 1,
                failure: failure.clone(),
                next_at: Some(Timestamp::UNIX_EPOCH),
            },
            Event::Log { place: place.clone(), level: "warn", message: "m".into() },
            Event::RunEnded { status: Status::Failed, failure: Some(failure) },
        ] {
            let view = EventView::of(run, &event);
            let text = serde_json::to_string(&view).unwrap();
            assert!(text.starts_with(&format!(r#"{{"event":"{}","run":"{run}""#, view.name())), "{text}");
            let back: EventView = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{:?}", back.into_event().unwrap()), format!("{event:?}"));
        }
    }
}
