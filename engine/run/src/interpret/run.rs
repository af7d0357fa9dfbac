//! The whole run: `steps`, `finally`, `output`.

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::Failure;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::context::Stop;
use crate::interpret::names::Names;
use crate::interpret::sequence::{OnFailure, Walk};
use crate::interpret::slot::Grip;
use crate::interpret::{Around, Interpreter, evaluation_failed};
use crate::place::Place;
use crate::runner::{RunOutcome, StepOutcome};
use crate::status::Status;

impl Interpreter<'_> {
    pub(crate) async fn run(&self, scope: Scope, cancel: CancellationToken) -> Result<RunOutcome, Stop> {
        let mut grip = Grip::root();
        let mut around = Around { names: Names::new(scope), cancel, undo: None };
        let workflow = self.workflow;
        let body = self
            .sequence(&workflow.steps, &Place::step, OnFailure::AsWritten, &mut around, &mut grip)
            .await?;
        // `finally` runs however the steps ended, and is not cancelled with them.
        let asked = std::mem::replace(&mut around.cancel, CancellationToken::new()).is_cancelled();
        let last = self
            .sequence(&workflow.finally, &Place::finally, OnFailure::GoOn, &mut around, &mut grip)
            .await?;
        let mut steps = outcomes(&body, Place::step);
        steps.extend(outcomes(&last, Place::finally));
        let mut status = body.status;
        if asked
            && status != Status::RollbackIncomplete
            && status != Status::Interrupted
            && !body_is_done(&body)
        {
            status = Status::Cancelled;
        }
        let mut failure = body.failure;
        if !last.status.is_fine() {
            status = status.worse(last.status);
            failure = failure.or(last.failure);
        }
        let output = match workflow.output.as_ref().map(|output| output.evaluate(&around.names.scope())) {
            None => Value::Null,
            Some(Ok(output)) => output,
            // After a failure, what the output would be made of may not be there.
            Some(Err(_)) if !status.is_fine() => Value::Null,
            Some(Err(error)) => {
                status = Status::Failed;
                failure = Some(evaluation_failed(&Place::step("output"), "output", None, &error));
                Value::Null
            }
        };
        if status == Status::Cancelled {
            failure = failure.or_else(|| {
                Some(Failure::new(bascule_workflow::failure::Kind::Cancelled, "the run was cancelled"))
            });
        }
        Ok(RunOutcome { run: self.context.run_id(), status, output, failure, steps })
    }
}

/// All steps had ended when the cancelling came: there was nothing to cancel.
fn body_is_done(body: &Walk) -> bool {
    body.ends.iter().all(|(_, end)| end.status != Status::Cancelled && end.status != Status::RolledBack)
}

fn outcomes(walk: &Walk, place: impl Fn(&str) -> Place) -> Vec<StepOutcome> {
    let outcome = |(id, end): &(String, crate::interpret::End)| StepOutcome {
        place: place(id),
        status: end.status,
        counts: end.counts(),
        failure: end.failure.clone(),
    };
    walk.ends.iter().map(outcome).collect()
}
