//! Steps one after another.

use bascule_workflow::failure::Failure;
use bascule_workflow::plan::Step;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::context::Stop;
use crate::interpret::slot::Grip;
use crate::interpret::{Around, End, Interpreter};
use crate::place::Place;
use crate::status::Status;

/// How a list of steps went.
pub(crate) struct Walk {
    /// The worst of all.
    pub(crate) status: Status,
    /// The first.
    pub(crate) failure: Option<Failure>,
    /// In order, those that were not begun included.
    pub(crate) ends: Vec<(String, End)>,
}

impl Walk {
    /// Outputs by step id.
    pub(crate) fn output(&self) -> Value {
        Value::Object(
            self.ends.iter().map(|(id, end)| (id.clone(), end.output.clone())).collect::<Map<_, _>>(),
        )
    }
}

/// Whether a bad end lets the next step begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Only where the step says `keep-going`.
    AsWritten,
    /// Always: `finally`.
    GoOn,
}

impl<'w> Interpreter<'w> {
    /// Walks `steps`; `place_of` gives each its place. Each step's end is bound in `around` for the next.
    pub(crate) fn sequence<'s>(
        &'s self,
        steps: &'w [Step],
        place_of: &'s (dyn Fn(&str) -> Place + Sync),
        on_failure: OnFailure,
        around: &'s mut Around<'w, '_>,
        grip: &'s mut Grip,
    ) -> BoxFuture<'s, Result<Walk, Stop>> {
        async move {
            let mut walk =
                Walk { status: Status::Succeeded, failure: None, ends: Vec::with_capacity(steps.len()) };
            let mut stopped = false;
            for step in steps {
                let place = place_of(&step.id);
                let cancelled = around.cancel.is_cancelled() && !self.context.touched(&place);
                let end = if stopped || cancelled {
                    let end = End::not_begun();
                    self.close(&place, &end, None).await?;
                    end
                } else {
                    self.step(step, place, around, grip).await?
                };
                if cancelled {
                    walk.status = walk.status.worse(Status::Cancelled);
                }
                if !stopped && !end.status.is_fine() {
                    walk.status = walk.status.worse(end.status);
                    walk.failure = walk.failure.take().or_else(|| end.failure.clone());
                    let goes_on = match on_failure {
                        OnFailure::GoOn => true,
                        OnFailure::AsWritten => {
                            step.keep_going && matches!(end.status, Status::Failed | Status::RolledBack)
                        }
                    };
                    stopped = !goes_on;
                } else if !stopped {
                    walk.status = walk.status.worse(end.status);
                }
                around.names.ended(step, &end);
                walk.ends.push((step.id.clone(), end));
            }
            Ok(walk)
        }
        .boxed()
    }
}
