//! Walks a checked workflow. Reaches the world only through [`Context`], so that walking again over the same record
//! comes to the same point.

mod block;
mod called;
mod for_each;
mod names;
mod run;
mod sequence;
mod slot;
mod unit;
mod verify;
mod whole;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bascule_workflow::failure::Failure;
use bascule_workflow::plan::{Action, Step, Workflow};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Stop};
use crate::journal::{Ended, Entry};
use crate::observe::Event;
use crate::place::Place;
use crate::status::{Counts, Status};

pub(crate) use block::UndoList;
use names::Names;
use slot::Grip;

pub(crate) use names::{evaluation_failed, failure_value};
pub(crate) use run::Ending;

/// How a step or item ended, as the rest of the walk sees it.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) output: Value,
    pub(crate) failure: Option<Failure>,
    pub(crate) reason: Option<String>,
    /// Of a `for-each`.
    pub(crate) items: Option<Vec<ItemEnd>>,
    /// What a failed step's last successful call gave, for its `undo`; `null` if nothing. Not recorded here, for it
    /// is in the record of the attempt.
    pub(crate) made: Value,
    /// Of a block: its steps by id.
    pub(crate) inner: Vec<(String, Self)>,
}

/// How an item ended.
#[derive(Clone, Debug)]
pub(crate) struct ItemEnd {
    pub(crate) key: String,
    pub(crate) end: End,
}

impl End {
    pub(crate) fn fine(status: Status, output: Value) -> Self {
        Self {
            status,
            output,
            failure: None,
            reason: None,
            items: None,
            made: Value::Null,
            inner: Vec::new(),
        }
    }

    pub(crate) fn bad(status: Status, failure: Failure) -> Self {
        Self {
            status,
            output: Value::Null,
            failure: Some(failure),
            reason: None,
            items: None,
            made: Value::Null,
            inner: Vec::new(),
        }
    }

    pub(crate) fn skipped(reason: Option<String>) -> Self {
        Self {
            status: Status::Skipped,
            output: Value::Null,
            failure: None,
            reason,
            items: None,
            made: Value::Null,
            inner: Vec::new(),
        }
    }

    /// Never begun.
    pub(crate) fn not_begun() -> Self {
        Self {
            status: Status::Cancelled,
            output: Value::Null,
            failure: None,
            reason: None,
            items: None,
            made: Value::Null,
            inner: Vec::new(),
        }
    }

    pub(crate) fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn counts(&self) -> Option<Counts> {
        self.items.as_ref().map(|items| {
            let mut counts = Counts::default();
            items.iter().for_each(|item| counts.add(item.end.status));
            counts
        })
    }
}

impl From<&Ended> for End {
    fn from(ended: &Ended) -> Self {
        Self {
            status: ended.status,
            output: ended.output.clone(),
            failure: ended.failure.clone(),
            reason: ended.reason.clone(),
            items: None,
            made: Value::Null,
            inner: Vec::new(),
        }
    }
}

/// What surrounds a step.
pub(crate) struct Around<'w, 'a> {
    pub(crate) names: Names,
    pub(crate) cancel: CancellationToken,
    /// The nearest all-or-nothing block around.
    pub(crate) undo: Option<&'a UndoList<'w>>,
}

impl Clone for Around<'_, '_> {
    fn clone(&self) -> Self {
        Self { names: self.names.clone(), cancel: self.cancel.clone(), undo: self.undo }
    }
}

pub(crate) struct Interpreter<'w> {
    pub(crate) context: &'w dyn Context,
    pub(crate) workflow: &'w Workflow,
    /// For steps without `timeout`.
    pub(crate) call_timeout: Duration,
    /// How many workflows stand inside each other here, from 1.
    pub(crate) depth: usize,
    /// How many workflows were called so far, in the whole run.
    pub(crate) calls: Arc<AtomicUsize>,
    /// `run` as expressions see it.
    pub(crate) about_run: Value,
}

impl<'w> Interpreter<'w> {
    /// One step, with all of its items.
    pub(crate) async fn step(
        &self,
        step: &'w Step,
        place: Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let wanted = match &step.condition {
            None => Ok(true),
            Some(condition) => condition
                .is_true(&around.names.scope())
                .map_err(|error| evaluation_failed(&place, "if", Some(condition.source()), &error)),
        };
        let remembered = self.context.recall(&place).ended.is_some();
        let end = match (wanted, &step.for_each) {
            (Err(failure), _) => End::bad(Status::Failed, failure),
            (Ok(false), _) => {
                End::skipped(step.condition.as_ref().map(|c| format!("`if: {}` is false", c.source())))
            }
            (Ok(true), Some(each)) => self.for_each(step, each, &place, around, grip).await?,
            (Ok(true), None) => {
                if !remembered {
                    self.context.tell(Event::StepStarted { place: place.clone(), items: None });
                }
                return self.single(step, &place, around, grip).await;
            }
        };
        self.close(&place, &end, None).await?;
        Ok(end)
    }

    /// A step without `for-each`, or one item of a step with it.
    pub(crate) async fn single(
        &self,
        step: &'w Step,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let remembered = self.context.recall(place);
        let ended = remembered.ended.as_ref();
        // A block that was begun is walked again: its steps have names, and may have to be undone.
        let walk_again = match &step.action {
            Action::Block { steps, .. } => {
                steps.iter().any(|inner| self.context.touched(&place.inner(&inner.id)))
            }
            // The inner steps may have to be undone; nobody else sees them.
            Action::Workflow(_) => {
                around.undo.is_some() && step.undo.is_none() && self.context.recall(place).called.is_some()
            }
            Action::Call(_) => false,
        };
        if let Some(ended) = ended.filter(|_| !walk_again) {
            let end = End::from(ended);
            if let Some(list) = around.undo {
                list.found(self.context, step, place, &around.names, &end);
            }
            self.tell_end(place, &end, true);
            return Ok(end);
        }
        let begun = self.context.touched(place);
        if around.cancel.is_cancelled() && !begun {
            let end = End::not_begun();
            self.close(place, &end, None).await?;
            return Ok(end);
        }
        if let Some(end) = self.skip(step, place, &around.names) {
            self.close(place, &end, None).await?;
            return Ok(end);
        }
        match &step.action {
            Action::Call(call) => self.called(step, call, place, around, grip).await,
            Action::Workflow(call) => self.called_workflow(step, call, place, around, grip).await,
            Action::Block { steps, all_or_nothing } => {
                let end = self.block(steps, *all_or_nothing, place, around, grip).await?;
                self.close(place, &end, None).await?;
                Ok(end)
            }
        }
    }

    /// `skip-if`: an end if it is not to be done, or if that cannot be told.
    fn skip(&self, step: &Step, place: &Place, names: &Names) -> Option<End> {
        let skip = step.skip_if.as_ref()?;
        let failed = |word: &str, source: Option<&str>, error: &_| {
            Some(End::bad(Status::Failed, evaluation_failed(place, word, source, error)))
        };
        let scope = names.scope();
        match skip.when.is_true(&scope) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => return failed("skip-if", Some(skip.when.source()), &error),
        }
        match skip.reason.as_ref().map(|reason| reason.evaluate(&scope)) {
            None => Some(End::skipped(Some(format!("`skip-if: {}` is true", skip.when.source())))),
            Some(Ok(reason)) => Some(End::skipped(Some(names::as_text(&reason)))),
            Some(Err(error)) => failed("skip-if.reason", None, &error),
        }
    }

    /// Notes the end of a place, unless it is remembered, and tells of it.
    pub(crate) async fn close(&self, place: &Place, end: &End, once: Option<String>) -> Result<(), Stop> {
        let remembered = self.context.recall(place).ended.is_some();
        if !remembered {
            let durable = once.is_some();
            let entry = Entry::PlaceEnded {
                place: place.clone(),
                status: end.status,
                output: if end.items.is_some() { Value::Null } else { end.output.clone() },
                failure: end.failure.clone(),
                reason: end.reason.clone(),
                counts: end.counts(),
                once_of: once.as_ref().filter(|_| self.depth > 1).map(|_| self.workflow.id.clone()),
                once,
            };
            if durable {
                self.context.record(entry).await?;
            } else {
                self.context.note(entry);
            }
        }
        self.tell_end(place, end, remembered);
        Ok(())
    }

    fn tell_end(&self, place: &Place, end: &End, replayed: bool) {
        self.context.tell(Event::Ended {
            place: place.clone(),
            status: end.status,
            counts: end.counts(),
            failure: end.failure.clone(),
            reason: end.reason.clone(),
            replayed,
        });
    }
}
