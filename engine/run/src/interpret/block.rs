//! Blocks, and all-or-nothing: what was begun is undone, newest first (spec 7).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::Step;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::context::{Context, Intent, OnLost, StepCall, StepEnd, Stop};
use crate::interpret::names::Names;
use crate::interpret::sequence::{OnFailure, Walk};
use crate::interpret::slot::Grip;
use crate::interpret::unit::registered;
use crate::interpret::{Around, End, Interpreter, evaluation_failed};
use crate::journal::{AttemptId, Entry, Outcome, Role};
use crate::observe::Event;
use crate::place::Place;
use crate::status::Status;

/// How often an undo is tried, and the waits between.
const UNDO_ATTEMPTS: u32 = 5;
const UNDO_FROM: Duration = Duration::from_secs(1);
const UNDO_TO: Duration = Duration::from_secs(30);

/// What an all-or-nothing block may have to undo.
#[derive(Default)]
pub(crate) struct UndoList<'w> {
    tasks: Mutex<Vec<Task<'w>>>,
}

struct Task<'w> {
    order: u64,
    step: &'w Step,
    place: Place,
    names: Names,
    end: Option<End>,
}

impl<'w> UndoList<'w> {
    fn tasks(&self) -> MutexGuard<'_, Vec<Task<'w>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step is about to begin (or to go on). Its `undo` is registered before its first intent.
    pub(crate) fn begun(&self, context: &dyn Context, step: &'w Step, place: &Place, names: &Names) {
        let mut tasks = self.tasks();
        let order = match context.recall(place).undo {
            Some(order) => order,
            None => {
                if step.undo.is_some() {
                    context.note(registered(place));
                }
                context.next_undo()
            }
        };
        tasks.push(Task { order, step, place: place.clone(), names: names.clone(), end: None });
    }

    /// A step ended.
    pub(crate) fn ended(&self, place: &Place, end: &End) {
        if let Some(task) = self.tasks().iter_mut().find(|task| task.place == *place) {
            task.end = Some(end.clone());
        }
    }

    /// A step is remembered to have ended.
    pub(crate) fn found(
        &self,
        context: &dyn Context,
        step: &'w Step,
        place: &Place,
        names: &Names,
        end: &End,
    ) {
        let remembered = context.recall(place);
        if remembered.was_begun() || remembered.called.is_some() {
            self.begun(context, step, place, names);
            let made = end.failure.as_ref().and_then(|_| remembered.made()).unwrap_or_default();
            self.ended(place, &End { made, ..end.clone() });
        }
    }

    /// An inner block succeeded: from now on the outer one answers for its steps.
    fn take_over(&self, inner: Self) {
        let inner = inner.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.tasks().extend(inner);
    }

    /// The newest first.
    fn newest_first(self) -> Vec<Task<'w>> {
        let mut tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        tasks.sort_by_key(|task| std::cmp::Reverse(task.order));
        tasks
    }
}

impl Task<'_> {
    /// What the step did outside, as far as is known, and the output that `undo` sees.
    fn effect(&self) -> (Effect, Value) {
        match &self.end {
            None => (Effect::Unknown, Value::Null),
            Some(end) => match (end.status, &end.failure) {
                (Status::Succeeded | Status::Recovered, _) => (Effect::Applied, end.output.clone()),
                (_, Some(failure)) => (failure.effect, end.made.clone()),
                (_, None) => (Effect::None, Value::Null),
            },
        }
    }

    fn is_fine(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.status.is_fine())
    }
}

impl<'w> Interpreter<'w> {
    pub(crate) async fn block(
        &self,
        steps: &'w [Step],
        all_or_nothing: bool,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let place_of = |id: &str| place.inner(id);
        if !all_or_nothing {
            let mut inner = around.clone();
            let walk = self.sequence(steps, &place_of, OnFailure::AsWritten, &mut inner, grip).await?;
            return Ok(end_of(walk));
        }
        let list = UndoList::default();
        let walk = {
            let mut inner =
                Around { names: around.names.clone(), cancel: around.cancel.clone(), undo: Some(&list) };
            self.sequence(steps, &place_of, OnFailure::AsWritten, &mut inner, grip).await?
        };
        if walk.status.is_fine() {
            if let Some(outer) = around.undo {
                outer.take_over(list);
            }
            return Ok(end_of(walk));
        }
        self.roll_back(place, list, walk).await
    }

    async fn roll_back(&self, place: &Place, list: UndoList<'w>, walk: Walk) -> Result<End, Stop> {
        let tasks = list.newest_first();
        if !self.context.recall(place).rollback {
            self.context.record(Entry::RollbackStarted { place: place.clone() }).await?;
        }
        self.context.tell(Event::RollbackStarted { place: place.clone(), steps: tasks.len() });
        let mut left: Vec<(Place, Failure)> = Vec::new();
        for task in tasks {
            if let Err(failure) = self.undo(&task).await? {
                left.push((task.place, failure));
            }
        }
        let cause = walk.failure.unwrap_or_else(|| Failure::new(Kind::Cancelled, "the run was cancelled"));
        if left.is_empty() {
            return Ok(End { inner: walk.ends, ..End::bad(Status::RolledBack, cause) });
        }
        let names = left.iter().map(|(place, _)| format!("`{place}`")).collect::<Vec<_>>().join(", ");
        let details = json!({
            "cause": cause,
            "not_undone":
                left.iter().map(|(place, failure)| json!({ "step": place, "error": failure })).collect::<Vec<_>>(),
        });
        let message = format!("{}; these could not be undone: {names}", cause.message);
        let failure = Failure::new(cause.kind, message)
            .with_code("bascule:rollback-incomplete")
            .with_effect(Effect::Applied)
            .with_details(details);
        Ok(End { inner: walk.ends, ..End::bad(Status::RollbackIncomplete, failure) })
    }

    /// Undoes one step; `Err` says why that was not possible.
    async fn undo(&self, task: &Task<'w>) -> Result<Result<(), Failure>, Stop> {
        if let Some(remembered) = &self.context.recall(&task.place).undone {
            return Ok(remembered.clone().map_or(Ok(()), Err));
        }
        let (effect, output) = task.effect();
        if effect == Effect::None {
            return Ok(Ok(()));
        }
        let Some(call) = &task.step.undo else {
            // A step that is done and has no `undo` has, by its author's word, nothing that needs undoing. One that
            // failed halfway has left something behind that nobody asked for.
            return Ok(if task.is_fine() {
                Ok(())
            } else {
                Err(Failure::new(Kind::Unsupported, "it may have changed something and has no `undo`")
                    .with_effect(effect))
            });
        };
        let mut scope = task.names.scope();
        scope.set("output", output);
        let result = match call.with.evaluate(&scope) {
            Err(error) => Err(evaluation_failed(&task.place, "undo.with", None, &error)),
            Ok(with) => self.undo_attempts(task, call, with).await?,
        };
        let failure = result.as_ref().err().cloned();
        self.context.note(Entry::Undone { place: task.place.clone(), failure: failure.clone() });
        self.context.tell(Event::Undone { place: task.place.clone(), failure });
        Ok(result)
    }

    async fn undo_attempts(
        &self,
        task: &Task<'w>,
        call: &bascule_workflow::plan::Call,
        with: Value,
    ) -> Result<Result<(), Failure>, Stop> {
        // Undoing goes on when the run is cancelled.
        let never = CancellationToken::new();
        let mut id = AttemptId { role: Role::Undo, look: 1, attempt: 1 };
        loop {
            let call = StepCall {
                place: task.place.clone(),
                id,
                plugin: call.plugin.clone(),
                function: call.function.clone(),
                with: with.clone(),
                timeout: task.step.timeout.unwrap_or(self.call_timeout),
                on_lost: OnLost::Repeat,
                intent: Intent::First,
                cancel: never.clone(),
            };
            let StepEnd::Ended { outcome, key, ended_at, replayed, .. } = self.context.step(call).await?
            else {
                return Ok(Err(Failure::new(
                    Kind::Internal,
                    "the undo was begun and nobody knows how it ended",
                )));
            };
            let failure = match outcome {
                // What is not there needs no undoing.
                Outcome::Done(_) => return Ok(Ok(())),
                Outcome::Failed(failure) if failure.kind == Kind::NotFound => return Ok(Ok(())),
                Outcome::Failed(failure) => failure,
            };
            let again = id.attempt < UNDO_ATTEMPTS && !failure.kind.needs_naming();
            let next_at =
                again.then(|| backoff::due(UNDO_FROM, UNDO_TO, &failure, &key, id.attempt, ended_at));
            if !replayed {
                self.context.tell(Event::AttemptFailed {
                    place: task.place.clone(),
                    role: Role::Undo,
                    attempt: id.attempt,
                    failure: failure.clone(),
                    next_at,
                });
            }
            let Some(due) = next_at else {
                return Ok(Err(failure));
            };
            id.attempt += 1;
            self.context.sleep_until(&task.place, id, due, &never).await?;
        }
    }
}

fn end_of(walk: Walk) -> End {
    let output = walk.output();
    let failure = if walk.status.is_fine() { None } else { walk.failure };
    End { output, failure, inner: walk.ends, ..End::not_begun().with_status(walk.status) }
}
