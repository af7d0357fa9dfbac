//! A step (or item) that calls another workflow. The other one's steps are recorded inside the step's place, in the
//! same run, so that a resumed run goes on in the middle of them.

use std::sync::atomic::Ordering;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::library::MAX_DEPTH;
use bascule_workflow::plan::{Step, Workflow, WorkflowCall};
use serde_json::{Map, Value, json};

use crate::context::Stop;
use crate::interpret::slot::Grip;
use crate::interpret::whole::{At, Given, Whole};
use crate::interpret::{Around, End, Interpreter, evaluation_failed};
use crate::journal::Entry;
use crate::place::Place;
use crate::status::Status;

/// A run calls at most so many workflows in all, items of a `for-each` and calls inside of calls included.
const MAX_CALLS: usize = 10_000;

impl<'w> Interpreter<'w> {
    pub(crate) async fn called_workflow(
        &self,
        step: &'w Step,
        call: &'w WorkflowCall,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let (workflow, inputs) = match self.prepare(call, place, around) {
            Ok(prepared) => prepared,
            Err(failure) => {
                let end = End::bad(Status::Failed, failure);
                self.close(place, &end, None).await?;
                return Ok(end);
            }
        };
        // With an `undo` of its own the step answers for all that is inside; else each inner step for itself.
        let own = around.undo.filter(|_| step.undo.is_some());
        if let Some(list) = own {
            list.begun(self.context, step, place, &around.names);
        }
        let inner = Interpreter {
            context: self.context,
            workflow,
            call_timeout: self.call_timeout,
            depth: self.depth + 1,
            calls: self.calls.clone(),
            about_run: self.about_run.clone(),
        };
        let given = Given {
            scope: inner.scope_of_call(&self.workflow.id, place, inputs),
            limit: step.timeout,
            cancel: around.cancel.clone(),
            undo: around.undo.filter(|_| step.undo.is_none()),
        };
        let whole = inner.whole(At::Call(place), given, grip).await?;
        let mut end = end_of(workflow, whole);
        if let Some(failure) = end.failure.clone().filter(|_| end.status == Status::Failed) {
            end = self.caught(step, place, around, grip, (end, failure)).await?;
        }
        if let Some(list) = own {
            list.ended(place, &end);
        }
        self.close(place, &end, None).await?;
        Ok(end)
    }

    /// The workflow and its inputs: recorded ones if it was begun.
    fn prepare(
        &self,
        call: &WorkflowCall,
        place: &Place,
        around: &Around<'w, '_>,
    ) -> Result<(&'w Workflow, Map<String, Value>), Failure> {
        let id = &call.workflow;
        let Some(workflow) = self.workflow.children.get(id) else {
            return Err(Failure::new(Kind::Internal, format!("there is no workflow `{id}`")));
        };
        if self.depth >= MAX_DEPTH {
            let message = format!("workflows call each other more than {MAX_DEPTH} deep");
            return Err(Failure::new(Kind::InvalidInput, message).with_code("bascule:depth"));
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) >= MAX_CALLS {
            let message = format!("the run calls more than {MAX_CALLS} workflows");
            return Err(Failure::new(Kind::InvalidInput, message).with_code("bascule:fan-out"));
        }
        if let Some(inputs) = &self.context.recall(place).called {
            return Ok((workflow, inputs.clone()));
        }
        let given = match call.with.evaluate(&around.names.scope()) {
            Ok(Value::Object(given)) => given,
            Ok(_) => Map::new(),
            Err(error) => return Err(evaluation_failed(place, "with", None, &error)),
        };
        let inputs = workflow.accept_inputs(given).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let message = format!("`{place}`, with: workflow `{id}` refuses it: {}", told.join("; "));
            Failure::new(Kind::InvalidInput, message).with_code("bascule:inputs")
        })?;
        self.context.note(Entry::WorkflowCalled {
            place: place.clone(),
            workflow: id.clone(),
            inputs: inputs.clone(),
        });
        Ok((workflow, inputs))
    }

    /// What the called workflow's expressions see: `inputs`, `run`, and who calls as `trigger`.
    fn scope_of_call(&self, caller: &str, place: &Place, inputs: Map<String, Value>) -> Scope {
        let mut scope = Scope::new();
        scope.set("inputs", Value::Object(inputs));
        scope.set("trigger", json!({ "kind": "call", "workflow": caller, "step": place.as_str() }));
        let mut run = self.about_run.clone();
        if let Value::Object(run) = &mut run {
            run.insert("workflow".to_owned(), self.workflow.id.clone().into());
        }
        scope.set("run", run);
        scope
    }
}

fn end_of(workflow: &Workflow, whole: Whole) -> End {
    let Whole { status, output, failure, body, .. } = whole;
    if status.is_fine() {
        return End::fine(status, output);
    }
    let mut failure = failure.unwrap_or_else(|| {
        Failure::new(Kind::Internal, format!("it ended `{status}`")).with_effect(Effect::Unknown)
    });
    // What was done before the step that failed is there, too.
    let done = |(_, end): &(String, End)| matches!(end.status, Status::Succeeded | Status::Recovered);
    if status != Status::RolledBack && failure.effect == Effect::None && body.ends.iter().any(done) {
        failure.effect = Effect::Applied;
    }
    failure.message = format!("workflow `{}`: {}", workflow.id, failure.message);
    End::bad(status, failure)
}
