//! One step (or item) that calls a function: attempts, retry, `poll`, `catch`, `verify`, `once`.

use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::{Call, Catch, Poll, Selector, Step};
use jiff::Timestamp;
use serde_json::Value;

use crate::backoff;
use crate::clock::later;
use crate::context::{Intent, OnLost, Slept, StepCall, StepEnd, Stop};
use crate::interpret::names::as_text;
use crate::interpret::slot::Grip;
use crate::interpret::verify::{Look, Seen};
use crate::interpret::{Around, End, Interpreter, evaluation_failed, failure_value};
use crate::journal::{AttemptId, Entry, Outcome, Role};
use crate::observe::Event;
use crate::place::Place;
use crate::status::Status;

/// A step at work at one place.
pub(crate) struct Unit<'w, 'a> {
    pub(crate) step: &'w Step,
    pub(crate) place: &'a Place,
    pub(crate) around: &'a Around<'w, 'a>,
    pub(crate) grip: &'a mut Grip,
    pub(crate) scope: Scope,
    /// Second looks so far; each has its own number.
    pub(crate) looks: u32,
    /// The most that any attempt so far may have done outside.
    pub(crate) effect: Effect,
    /// What the last successful call gave, even if it was not accepted in the end.
    pub(crate) made: Value,
}

/// How the attempts of a call came out.
enum Tried {
    /// With this output.
    Done(Value),
    /// In vain.
    Failed(Failure),
    /// The run was cancelled meanwhile (or before).
    Cancelled(Failure),
    /// Nobody knows.
    Interrupted(Failure),
}

impl<'w> Interpreter<'w> {
    /// A step that calls a function, from its `once` to its recorded end.
    pub(crate) async fn called(
        &self,
        step: &'w Step,
        call: &'w Call,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
    ) -> Result<End, Stop> {
        let scope = around.names.scope();
        let key = match step.once.as_ref().map(|once| once.evaluate(&scope)) {
            None => None,
            Some(Ok(value)) => Some(as_text(&value)),
            Some(Err(error)) => {
                let end = End::bad(Status::Failed, evaluation_failed(place, "once", None, &error));
                self.close(place, &end, None).await?;
                return Ok(end);
            }
        };
        let _turn = match &key {
            None => None,
            Some(key) => {
                let lock = format!("once:{}:{}:{key}", self.workflow.id, step.id);
                grip.loosen();
                let turn = self.context.keyed(&lock).await;
                grip.tighten().await;
                if !self.context.recall(place).was_begun()
                    && let Some(done) = self.context.done_once(&self.workflow.id, &step.id, key).await?
                {
                    let reason = format!("`once: {key}` was done by run {} at {}", done.run, done.at);
                    let end = End::skipped(Some(reason));
                    self.close(place, &end, None).await?;
                    return Ok(end);
                }
                Some(turn)
            }
        };
        if let Some(list) = around.undo {
            list.begun(self.context, step, place, &around.names);
        }
        let mut unit =
            Unit { step, place, around, grip, scope, looks: 0, effect: Effect::None, made: Value::Null };
        let mut end = self.attempts_and_catch(call, &mut unit).await?;
        if let Some(failure) = &mut end.failure {
            failure.effect = more(failure.effect, unit.effect);
            end.made = unit.made;
        }
        if let Some(list) = around.undo {
            list.ended(place, &end);
        }
        let once = key.filter(|_| matches!(end.status, Status::Succeeded | Status::Recovered));
        self.close(place, &end, once).await?;
        Ok(end)
    }

    async fn attempts_and_catch(&self, call: &'w Call, unit: &mut Unit<'w, '_>) -> Result<End, Stop> {
        let tried = self.tries(Role::Call, call, unit.step.poll.as_ref(), unit).await?;
        let failure = match tried {
            Tried::Failed(failure) => failure,
            other => return Ok(end_of(other, Status::Succeeded)),
        };
        let caught = self.catch(failure.clone(), unit).await?;
        Ok(caught.unwrap_or_else(|| End::bad(Status::Failed, failure)))
    }

    /// The `catch` of a step whose workflow failed.
    pub(crate) async fn caught(
        &self,
        step: &'w Step,
        place: &Place,
        around: &Around<'w, '_>,
        grip: &mut Grip,
        (end, failure): (End, Failure),
    ) -> Result<End, Stop> {
        let scope = around.names.scope();
        let effect = failure.effect;
        let mut unit = Unit { step, place, around, grip, scope, looks: 0, effect, made: Value::Null };
        Ok(self.catch(failure, &mut unit).await?.unwrap_or(end))
    }

    /// The first `catch` that is for the failure; `None` if there is none.
    async fn catch(&self, failure: Failure, unit: &mut Unit<'w, '_>) -> Result<Option<End>, Stop> {
        let matching = |catch: &&Catch| catch.on.iter().any(|on| on.matches(&failure));
        let Some(catch) = unit.step.catch.iter().find(matching) else {
            return Ok(None);
        };
        unit.scope.set("error", failure_value(&failure));
        match (&catch.call, &catch.output) {
            (Some(call), _) => {
                let tried = self.tries(Role::Catch, call, None, unit).await?;
                Ok(Some(end_of(tried, Status::Recovered)))
            }
            (None, Some(output)) => Ok(Some(match output.evaluate(&unit.scope) {
                Ok(output) => End::fine(Status::Recovered, output),
                Err(error) => {
                    End::bad(Status::Failed, evaluation_failed(unit.place, "catch.output", None, &error))
                }
            })),
            (None, None) => Ok(Some(End::fine(Status::Recovered, Value::Null))),
        }
    }

    /// Attempts of one call until it is done and verified, or nothing is left to try.
    async fn tries(
        &self,
        role: Role,
        call: &'w Call,
        poll: Option<&'w Poll>,
        unit: &mut Unit<'w, '_>,
    ) -> Result<Tried, Stop> {
        let word = if role == Role::Catch { "catch.with" } else { "with" };
        let with = match call.with.evaluate(&unit.scope) {
            Ok(with) => with,
            Err(error) => return Ok(Tried::Failed(evaluation_failed(unit.place, word, None, &error))),
        };
        let mut id = AttemptId { role, look: 1, attempt: 1 };
        let mut polling_since: Option<Timestamp> = None;
        loop {
            if let Some(failure) = self.cancelled_before(id, unit) {
                return Ok(Tried::Cancelled(failure));
            }
            let end = match self.attempt(call, with.clone(), id, OnLost::Report, unit).await? {
                StepEnd::Lost { intents } => match self.after_crash(call, &with, id, intents, unit).await? {
                    Ok(end) => end,
                    Err(tried) => return Ok(tried),
                },
                end @ StepEnd::Ended { .. } => end,
            };
            let StepEnd::Ended { outcome, key, started_at, ended_at, replayed } = end else {
                return Ok(Tried::Interrupted(interrupted(unit.place, call, None)));
            };
            let mut last = false;
            let failure = match outcome {
                Outcome::Done(output) => {
                    unit.made = output.clone();
                    unit.effect = Effect::Applied;
                    let since = *polling_since.get_or_insert(started_at);
                    match poll.map_or(Polled::Enough, |poll| polled(poll, &output, since, ended_at, unit)) {
                        Polled::Enough => match self.verified(&output, unit).await? {
                            Ok(()) => return Ok(Tried::Done(output)),
                            Err(failure) => failure,
                        },
                        Polled::Again(due) => {
                            id = AttemptId { look: id.look + 1, attempt: 1, ..id };
                            if self.rest(id, due, unit).await? == Slept::Cancelled {
                                return Ok(Tried::Cancelled(Failure::new(
                                    Kind::Cancelled,
                                    "cancelled while polling",
                                )));
                            }
                            continue;
                        }
                        Polled::Over(failure) => {
                            last = true;
                            failure
                        }
                    }
                }
                Outcome::Failed(failure) => {
                    unit.effect = more(unit.effect, failure.effect);
                    if unit.step.never_repeat
                        && failure.effect == Effect::Unknown
                        && self.confirmed(unit).await?
                    {
                        return Ok(Tried::Done(Value::Null));
                    }
                    failure
                }
            };
            let next = if last { None } else { next_attempt(unit.step, &failure, &key, id, ended_at) };
            if !replayed {
                self.context.tell(Event::AttemptFailed {
                    place: unit.place.clone(),
                    role,
                    attempt: id.attempt,
                    failure: failure.clone(),
                    next_at: next,
                });
            }
            if failure.kind == Kind::Cancelled && unit.around.cancel.is_cancelled() {
                return Ok(Tried::Cancelled(failure));
            }
            let Some(due) = next else {
                return Ok(Tried::Failed(failure));
            };
            id.attempt += 1;
            if self.rest(id, due, unit).await? == Slept::Cancelled {
                let message =
                    format!("cancelled while waiting for another attempt; the last one: {}", failure.message);
                return Ok(Tried::Cancelled(Failure { kind: Kind::Cancelled, message, ..failure }));
            }
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        with: Value,
        id: AttemptId,
        on_lost: OnLost,
        unit: &Unit<'w, '_>,
    ) -> Result<StepEnd, Stop> {
        let on_lost = if unit.step.never_repeat { on_lost } else { OnLost::Repeat };
        let call = StepCall {
            place: unit.place.clone(),
            id,
            plugin: call.plugin.clone(),
            function: call.function.clone(),
            with,
            timeout: unit.step.timeout.unwrap_or(self.call_timeout),
            on_lost,
            intent: Intent::First,
            cancel: unit.around.cancel.clone(),
        };
        self.context.step(call).await
    }

    /// A `repeat: never` call was begun and nobody knows how it ended (spec 4): `verify` decides, or a person.
    async fn after_crash(
        &self,
        call: &Call,
        with: &Value,
        id: AttemptId,
        intents: u32,
        unit: &mut Unit<'w, '_>,
    ) -> Result<Result<StepEnd, Tried>, Stop> {
        let seen = match &unit.step.verify {
            None => Seen::Undecided(None),
            Some(verify) => self.look(Look::after_crash(verify, intents), &Value::Null, unit).await?,
        };
        match seen {
            Seen::True => Ok(Err(Tried::Done(Value::Null))),
            // It was not done, so this is no repetition.
            Seen::False(None) => Ok(Ok(self.attempt(call, with.clone(), id, OnLost::Repeat, unit).await?)),
            Seen::False(why) | Seen::Undecided(why) => {
                Ok(Err(Tried::Interrupted(interrupted(unit.place, call, why.map(|why| why.message)))))
            }
        }
    }

    /// The run was cancelled, and this attempt is not one whose result is known (or has to be found out).
    fn cancelled_before(&self, id: AttemptId, unit: &Unit<'w, '_>) -> Option<Failure> {
        if !unit.around.cancel.is_cancelled() {
            return None;
        }
        let remembered = self.context.recall(unit.place);
        match remembered.attempts.get(&id) {
            None => Some(Failure::new(Kind::Cancelled, "the run was cancelled")),
            Some(attempt) if attempt.ended.is_none() && !unit.step.never_repeat => {
                let message = "the run was cancelled, and what the last attempt did is not known";
                Some(Failure::new(Kind::Cancelled, message).with_effect(Effect::Unknown))
            }
            Some(_) => None,
        }
    }

    /// Waits without a slot.
    pub(crate) async fn rest(
        &self,
        id: AttemptId,
        due: Timestamp,
        unit: &mut Unit<'w, '_>,
    ) -> Result<Slept, Stop> {
        unit.grip.loosen();
        let slept = self.context.sleep_until(unit.place, id, due, &unit.around.cancel).await?;
        unit.grip.tighten().await;
        Ok(slept)
    }
}

fn end_of(tried: Tried, fine: Status) -> End {
    match tried {
        Tried::Done(output) => End::fine(fine, output),
        Tried::Failed(failure) => End::bad(Status::Failed, failure),
        Tried::Cancelled(failure) => End::bad(Status::Cancelled, failure),
        Tried::Interrupted(failure) => End::bad(Status::Interrupted, failure),
    }
}

fn interrupted(place: &Place, call: &Call, why: Option<String>) -> Failure {
    let looked = why.map_or_else(String::new, |why| format!(" (a second look did not tell: {why})"));
    let message = format!(
        "`{}/{}` was under way at `{place}` when the process ended, and it may not be repeated: whether it was done \
         is not known{looked}",
        call.plugin, call.function
    );
    Failure::new(Kind::Internal, message).with_code("bascule:interrupted").with_effect(Effect::Unknown)
}

/// The one of two effects that has to be reckoned with.
fn more(one: Effect, other: Effect) -> Effect {
    let weight = |effect| match effect {
        Effect::None => 0,
        Effect::Unknown => 1,
        Effect::Applied => 2,
    };
    if weight(other) > weight(one) { other } else { one }
}

/// When the next attempt is due, if there is to be one.
fn next_attempt(
    step: &Step,
    failure: &Failure,
    key: &str,
    id: AttemptId,
    ended_at: Timestamp,
) -> Option<Timestamp> {
    let retry = step.retry.as_ref()?;
    let wanted = id.attempt < retry.attempts && retry.on.iter().any(|on: &Selector| on.matches(failure));
    let allowed = !step.never_repeat || failure.effect == Effect::None;
    (wanted && allowed).then(|| backoff::due(retry.from, retry.to, failure, key, id.attempt, ended_at))
}

/// What a `poll` makes of an output.
enum Polled {
    Enough,
    Again(Timestamp),
    Over(Failure),
}

/// What to do after a poll's call gave `output`.
fn polled(poll: &Poll, output: &Value, since: Timestamp, ended_at: Timestamp, unit: &Unit<'_, '_>) -> Polled {
    let mut scope = unit.scope.clone();
    scope.set("result", output.clone());
    match poll.until.is_true(&scope) {
        Ok(true) => Polled::Enough,
        Ok(false) => {
            let due = later(ended_at, poll.every);
            if due <= later(since, poll.within) {
                return Polled::Again(due);
            }
            let message =
                format!("`{}` did not become true within {}", poll.until.source(), told(poll.within));
            Polled::Over(Failure::new(Kind::Timeout, message).with_effect(Effect::Applied))
        }
        Err(error) => {
            let failure = evaluation_failed(unit.place, "poll.until", Some(poll.until.source()), &error);
            Polled::Over(failure.with_effect(Effect::Applied))
        }
    }
}

/// A duration as people write it, to the second where it is at least one.
pub(crate) fn told(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, milliseconds) => format!("{milliseconds}ms"),
        (seconds, _) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, _) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, _) => format!("{seconds}s"),
    }
}

/// Notes that a step with `undo` is about to begin.
pub(crate) fn registered(place: &Place) -> Entry {
    Entry::UndoRegistered { place: place.clone() }
}
