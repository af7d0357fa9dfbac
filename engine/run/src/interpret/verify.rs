//! The second look: what a device said is not believed until it is read back.

use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::Verify;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::later;
use crate::context::{Intent, OnLost, Slept, StepCall, StepEnd, Stop};
use crate::interpret::unit::{Unit, told};
use crate::interpret::{Interpreter, evaluation_failed};
use crate::journal::{AttemptId, Outcome, Role};

/// A series of looks.
pub(crate) struct Look<'w> {
    verify: &'w Verify,
    role: Role,
    /// The number of the first look, where it does not simply count on.
    first: Option<u32>,
}

/// Looks after a crash are numbered apart for each crash.
const LOOKS_PER_CRASH: u32 = 1_000_000;

impl<'w> Look<'w> {
    fn after_call(verify: &'w Verify) -> Self {
        Self { verify, role: Role::Verify, first: None }
    }

    pub(crate) fn after_crash(verify: &'w Verify, intents: u32) -> Self {
        Self { verify, role: Role::Check, first: Some(intents.saturating_mul(LOOKS_PER_CRASH)) }
    }
}

/// What a series of looks showed.
pub(crate) enum Seen {
    /// It is so.
    True,
    /// It was not so until the time was over; with the failure of the last look if that failed.
    False(Option<Failure>),
    /// Looking is not possible.
    Undecided(Option<Failure>),
}

impl<'w> Interpreter<'w> {
    /// The step's `verify`, if it has one.
    pub(crate) async fn verified(
        &self,
        output: &Value,
        unit: &mut Unit<'w, '_>,
    ) -> Result<Result<(), Failure>, Stop> {
        let Some(verify) = &unit.step.verify else {
            return Ok(Ok(()));
        };
        let seen = self.look(Look::after_call(verify), output, unit).await?;
        let name = format!("`{}/{}`", verify.call.plugin, verify.call.function);
        let within = told(verify.within);
        let assert = verify.assert.source();
        let verification = |message, details| {
            Failure::new(Kind::VerificationFailed, message).with_effect(Effect::Applied).with_details(details)
        };
        Ok(match seen {
            Seen::True => Ok(()),
            Seen::False(None) => Err(verification(
                format!("it was accepted, but {name} did not confirm it within {within}"),
                json!({ "assert": assert }),
            )),
            Seen::False(Some(last)) => Err(verification(
                format!(
                    "it was accepted, but could not be confirmed by {name} within {within}: {}",
                    last.message
                ),
                json!({ "assert": assert, "last": last }),
            )),
            Seen::Undecided(Some(failure)) => Err(failure.with_effect(Effect::Applied)),
            Seen::Undecided(None) => {
                Err(verification(format!("{name} could not be asked"), json!({ "assert": assert })))
            }
        })
    }

    /// Whether a second look shows that a call was done although it failed with unknown effect.
    pub(crate) async fn confirmed(&self, unit: &mut Unit<'w, '_>) -> Result<bool, Stop> {
        let Some(verify) = &unit.step.verify else {
            return Ok(false);
        };
        if unit.around.cancel.is_cancelled() {
            return Ok(false);
        }
        Ok(matches!(self.look(Look::after_call(verify), &Value::Null, unit).await?, Seen::True))
    }

    pub(crate) async fn look(
        &self,
        look: Look<'w>,
        output: &Value,
        unit: &mut Unit<'w, '_>,
    ) -> Result<Seen, Stop> {
        let Look { verify, role, first } = look;
        let mut number = first.unwrap_or(unit.looks);
        let mut scope = unit.scope.clone();
        scope.set("output", output.clone());
        let with = match verify.call.with.evaluate(&scope) {
            Ok(with) => with,
            Err(error) => {
                return Ok(Seen::Undecided(Some(evaluation_failed(unit.place, "verify.with", None, &error))));
            }
        };
        let mut since: Option<Timestamp> = None;
        loop {
            number += 1;
            if first.is_none() {
                unit.looks = number;
            }
            let id = AttemptId { role, look: number, attempt: 1 };
            let known = self.context.recall(unit.place).attempts.contains_key(&id);
            if unit.around.cancel.is_cancelled() && !known {
                let message = "cancelled before a second look";
                return Ok(Seen::Undecided(Some(Failure::new(Kind::Cancelled, message))));
            }
            let call = StepCall {
                place: unit.place.clone(),
                id,
                plugin: verify.call.plugin.clone(),
                function: verify.call.function.clone(),
                with: with.clone(),
                timeout: unit.step.timeout.unwrap_or(self.call_timeout),
                on_lost: OnLost::Repeat,
                intent: Intent::Later,
                cancel: unit.around.cancel.clone(),
            };
            let StepEnd::Ended { outcome, started_at, ended_at, .. } = self.context.step(call).await? else {
                return Ok(Seen::Undecided(None));
            };
            let last = match outcome {
                Outcome::Done(result) => {
                    scope.set("result", result);
                    match verify.assert.is_true(&scope) {
                        Ok(true) => return Ok(Seen::True),
                        Ok(false) => None,
                        Err(error) => {
                            let source = Some(verify.assert.source());
                            let failure = evaluation_failed(unit.place, "verify.assert", source, &error);
                            return Ok(Seen::Undecided(Some(failure)));
                        }
                    }
                }
                Outcome::Failed(failure) if is_final(failure.kind) => {
                    return Ok(Seen::Undecided(Some(failure)));
                }
                Outcome::Failed(failure) => Some(failure),
            };
            let asked = last.as_ref().and_then(|failure| failure.retry_after).map(Duration::from_millis);
            let due = later(ended_at, asked.unwrap_or(verify.every).max(verify.every));
            if due > later(*since.get_or_insert(started_at), verify.within) {
                return Ok(Seen::False(last));
            }
            let next = AttemptId { look: number + 1, ..id };
            if self.rest(next, due, unit).await? == Slept::Cancelled {
                let message = "cancelled while waiting for a second look";
                return Ok(Seen::Undecided(Some(Failure::new(Kind::Cancelled, message))));
            }
        }
    }
}

/// Kinds that no later look changes, or that must not be tried again unasked (spec 8).
fn is_final(kind: Kind) -> bool {
    kind.needs_naming() || matches!(kind, Kind::InvalidInput | Kind::Unsupported)
}
