//! A workflow from its first step to its output: the run's own, or one that a step calls.

use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Effect, Failure, Kind};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::context::Stop;
use crate::interpret::names::Names;
use crate::interpret::sequence::{OnFailure, Walk};
use crate::interpret::slot::Grip;
use crate::interpret::unit::told;
use crate::interpret::{Around, Interpreter, UndoList, evaluation_failed};
use crate::journal::Entry;
use crate::place::Place;
use crate::status::Status;

/// Where a workflow stands.
#[derive(Clone, Copy)]
pub(crate) enum At<'p> {
    /// It is the run's own.
    Run,
    /// The step at this place calls it.
    Call(&'p Place),
}

impl At<'_> {
    fn step(self, id: &str) -> Place {
        match self {
            Self::Run => Place::step(id),
            Self::Call(place) => place.inner(id),
        }
    }

    fn finally(self, id: &str) -> Place {
        match self {
            Self::Run => Place::finally(id),
            Self::Call(place) => place.inner_finally(id),
        }
    }

    fn place(self) -> Option<Place> {
        match self {
            Self::Run => None,
            Self::Call(place) => Some(place.clone()),
        }
    }
}

/// How a workflow went.
pub(crate) struct Whole {
    pub(crate) status: Status,
    pub(crate) output: Value,
    pub(crate) failure: Option<Failure>,
    pub(crate) body: Walk,
    pub(crate) last: Walk,
    /// What expressions saw at the end.
    pub(crate) names: Names,
}

/// A time limit that has been set.
struct Deadline {
    due_at: Timestamp,
    limit: Duration,
}

/// What a workflow is given from outside.
pub(crate) struct Given<'w, 'a> {
    /// `inputs`, `run`, `trigger`.
    pub(crate) scope: Scope,
    /// A time limit beside the workflow's own.
    pub(crate) limit: Option<Duration>,
    pub(crate) cancel: CancellationToken,
    /// The nearest all-or-nothing block around.
    pub(crate) undo: Option<&'a UndoList<'w>>,
}

impl<'w> Interpreter<'w> {
    /// Walks `steps` and `finally` and evaluates `output`.
    pub(crate) async fn whole(
        &self,
        at: At<'_>,
        given: Given<'w, '_>,
        grip: &mut Grip,
    ) -> Result<Whole, Stop> {
        let Given { scope, limit, cancel, undo } = given;
        let workflow = self.workflow;
        let deadline = self.deadline(at, limit);
        let limited = cancel.child_token();
        let mut around = Around { names: Names::new(scope), cancel: limited.clone(), undo };
        let step = |id: &str| at.step(id);
        let mut expired = false;
        let body = {
            let walk = self.sequence(&workflow.steps, &step, OnFailure::AsWritten, &mut around, grip);
            tokio::pin!(walk);
            loop {
                let due = async {
                    match &deadline {
                        Some(deadline) => self.context.reach(deadline.due_at).await,
                        None => std::future::pending().await,
                    }
                };
                // The deadline first: after a restart it may have passed, and then nothing new begins.
                tokio::select! {
                    biased;
                    () = due, if !expired => {
                        expired = true;
                        limited.cancel();
                    }
                    body = &mut walk => break body?,
                }
            }
        };
        let asked = cancel.is_cancelled();
        // `finally` runs however the steps ended, and is not cancelled with them.
        around.cancel = CancellationToken::new();
        let finally = |id: &str| at.finally(id);
        let last = self.sequence(&workflow.finally, &finally, OnFailure::GoOn, &mut around, grip).await?;
        let mut status = body.status;
        let mut failure = body.failure.clone();
        let settled = matches!(status, Status::RollbackIncomplete | Status::Interrupted);
        if (asked || expired) && !settled && !is_done(&body) {
            status = Status::Cancelled;
            if let Some(deadline) = deadline.filter(|_| expired && !asked) {
                status = Status::Failed;
                failure = Some(overdue(&deadline, failure.as_ref()));
            }
        }
        if !last.status.is_fine() {
            status = status.worse(last.status);
            failure = failure.or_else(|| last.failure.clone());
        }
        let output = match workflow.output.as_ref().map(|output| output.evaluate(&around.names.scope())) {
            None => Value::Null,
            Some(Ok(output)) => output,
            // After a failure, what the output would be made of may not be there.
            Some(Err(_)) if !status.is_fine() => Value::Null,
            Some(Err(error)) => {
                status = Status::Failed;
                failure = Some(evaluation_failed(&at.step("output"), "output", None, &error));
                Value::Null
            }
        };
        if status == Status::Cancelled {
            failure = failure.or_else(|| Some(Failure::new(Kind::Cancelled, "the run was cancelled")));
        }
        Ok(Whole { status, output, failure, body, last, names: around.names })
    }

    /// The time limit, set when the workflow begins; a resumed one keeps what is left of it.
    fn deadline(&self, at: At<'_>, beside: Option<Duration>) -> Option<Deadline> {
        let limit = [self.workflow.deadline, beside].into_iter().flatten().min()?;
        let place = at.place();
        let due_at = self.context.deadline(place.as_ref()).unwrap_or_else(|| {
            let due_at = self.context.instant_after(limit);
            self.context.note(Entry::DeadlineSet { place, due_at });
            due_at
        });
        Some(Deadline { due_at, limit })
    }
}

fn overdue(deadline: &Deadline, last: Option<&Failure>) -> Failure {
    let effect = last.map_or(Effect::Unknown, |failure| failure.effect);
    Failure::new(Kind::Timeout, format!("it had not ended within its deadline of {}", told(deadline.limit)))
        .with_code("bascule:deadline")
        .with_effect(effect)
}

/// All steps had ended when the cancelling came: there was nothing to cancel.
fn is_done(body: &Walk) -> bool {
    body.ends.iter().all(|(_, end)| end.status != Status::Cancelled && end.status != Status::RolledBack)
}
