//! The whole run: the workflow, and its `on-failure`.

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Effect, Failure};
use bascule_workflow::plan;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::context::Stop;
use crate::interpret::sequence::{OnFailure, Walk};
use crate::interpret::slot::Grip;
use crate::interpret::whole::{At, Given, Whole};
use crate::interpret::{Around, Interpreter, failure_value};
use crate::place::Place;
use crate::runner::{RunOutcome, StepOutcome};
use crate::status::Status;

/// The end of a run, and what its `on-failure` workflow is to be told.
pub(crate) struct Ending {
    pub(crate) outcome: RunOutcome,
    /// The `trigger` of the alert.
    pub(crate) alert: Option<Value>,
}

impl Interpreter<'_> {
    pub(crate) async fn run(&self, scope: Scope, cancel: CancellationToken) -> Result<Ending, Stop> {
        let mut grip = Grip::root();
        let trigger = scope.get("trigger").cloned().unwrap_or_default();
        let inputs = scope.get("inputs").cloned().unwrap_or_default();
        let given = Given { scope, limit: None, cancel, undo: None };
        let whole = self.whole(At::Run, given, &mut grip).await?;
        let mut steps = outcomes(&whole.body, Place::step);
        steps.extend(outcomes(&whole.last, Place::finally));
        let mut alert = None;
        if calls_for_help(whole.status) {
            match &self.workflow.on_failure {
                Some(plan::OnFailure::Steps(list)) => {
                    let told = self.last_words(list, &whole, &mut grip).await?;
                    steps.extend(outcomes(&told, Place::on_failure));
                }
                Some(plan::OnFailure::Workflow(_)) => {
                    alert = Some(self.alert(&whole, &steps, (inputs, trigger)));
                }
                None => {}
            }
        }
        let Whole { status, output, failure, .. } = whole;
        let run = self.context.run_id();
        Ok(Ending { outcome: RunOutcome { run, status, output, failure, steps, alert: None }, alert })
    }

    /// `on-failure` steps. Nothing cancels them, and how they end does not change how the run ended.
    async fn last_words(&self, list: &[plan::Step], whole: &Whole, grip: &mut Grip) -> Result<Walk, Stop> {
        let mut names = whole.names.clone();
        names.set("error", failure_value(&why(whole)));
        let mut around = Around { names, cancel: CancellationToken::new(), undo: None };
        self.sequence(list, &Place::on_failure, OnFailure::GoOn, &mut around, grip).await
    }

    /// The failed run, as the alert's expressions see it.
    fn alert(&self, whole: &Whole, steps: &[StepOutcome], (inputs, trigger): (Value, Value)) -> Value {
        let step = |step: &StepOutcome| {
            json!({
                "id": step.place.as_str(),
                "status": step.status.name(),
                "counts": step.counts.map(|counts| counts.to_value()),
                "error": step.failure.as_ref().map(failure_value),
            })
        };
        let mut run = self.about_run.clone();
        if let Value::Object(run) = &mut run {
            run.insert("name".to_owned(), self.workflow.name.clone().into());
            run.insert("status".to_owned(), whole.status.name().into());
            run.insert("inputs".to_owned(), inputs);
            run.insert("trigger".to_owned(), trigger);
            run.insert("output".to_owned(), whole.output.clone());
        }
        json!({
            "kind": "failure",
            "run": run,
            "error": failure_value(&why(whole)),
            "steps": steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

/// The statuses that `on-failure` is for: nobody wanted them.
fn calls_for_help(status: Status) -> bool {
    matches!(status, Status::Failed | Status::RolledBack | Status::RollbackIncomplete | Status::Interrupted)
}

/// Why it ended so.
fn why(whole: &Whole) -> Failure {
    whole.failure.clone().unwrap_or_else(|| {
        let message = format!("the run ended `{}`", whole.status);
        Failure::new(bascule_workflow::failure::Kind::Internal, message).with_effect(Effect::Unknown)
    })
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
