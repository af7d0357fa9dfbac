//! What a run remembers of itself: its entries, folded by place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bascule_workflow::failure::{Effect, Failure};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::journal::{
    AttemptId, Entry, Item, Outcome, PinnedPlugins, PinnedTexts, Role, RunId, Timed, Verdict,
};
use crate::place::Place;
use crate::status::{Counts, Status};

/// A run's record, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Accepted inputs.
    pub inputs: Map<String, Value>,
    /// What started it.
    pub trigger: Value,
    /// The run's attempt, from 1.
    pub attempt: u32,
    /// Somebody asked to cancel it.
    pub cancel_asked: bool,
    /// The texts of the workflows that the run's own one names, once it has begun.
    pub texts: PinnedTexts,
    /// The components that it goes by, once it has begun; `None` as well where an earlier version began it.
    pub plugins: Option<PinnedPlugins>,
    /// When the run (`None`), or a workflow that is called at a place, has to have ended.
    pub deadlines: HashMap<Option<Place>, Timestamp>,
    /// The run of the `on-failure` workflow that was announced.
    pub alert: Option<RunId>,
    /// Values that were taken, by event name, in order.
    pub events: HashMap<String, Vec<Option<Value>>>,
    places: HashMap<Place, Arc<PlaceMemory>>,
    /// Places with entries, and all that they are inside of.
    touched: HashSet<Place>,
    registered: u64,
}

/// What is remembered of one step or item.
#[derive(Clone, Debug, Default)]
pub struct PlaceMemory {
    /// The list of a `for-each`.
    pub items: Option<Arc<Vec<Item>>>,
    /// The inputs of the workflow that is called here.
    pub called: Option<Map<String, Value>>,
    /// Attempts by their id.
    pub attempts: HashMap<AttemptId, Attempt>,
    /// When attempts that were waited for are due.
    pub waits: HashMap<AttemptId, Timestamp>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// The order in which its undo was registered.
    pub undo: Option<u64>,
    /// A block has begun to undo.
    pub rollback: bool,
    /// Undone: `Some(None)`, or tried in vain.
    pub undone: Option<Option<Failure>>,
    /// Grows when earlier attempts are put aside; part of new idempotency keys.
    pub generation: u32,
    /// Keys of attempts that were put aside although nobody knows what they did, and how often they were begun.
    keys: HashMap<(Role, u32), (String, u32)>,
}

/// An attempt as remembered.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its idempotency key.
    pub key: String,
    /// How often its intent was recorded; more than once after a crash.
    pub intents: u32,
    /// The first intent.
    pub started_at: Timestamp,
    /// Its result.
    pub ended: Option<(Timestamp, Outcome)>,
}

/// How a step or item ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// Its output.
    pub output: Value,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// Of a `for-each`.
    pub counts: Option<Counts>,
}

impl PlaceMemory {
    /// The idempotency key of a call that was attempted before.
    #[must_use]
    pub fn key(&self, role: Role, look: u32) -> Option<&str> {
        let attempted = self.attempts.iter().find(|(id, _)| id.role == role && id.look == look);
        attempted
            .map(|(_, attempt)| attempt.key.as_str())
            .or_else(|| self.keys.get(&(role, look)).map(|(key, _)| key.as_str()))
    }

    /// How often a call may have been made by attempts that were put aside although nobody knows what they did.
    #[must_use]
    pub fn made_unknown(&self, role: Role, look: u32) -> u32 {
        self.keys.get(&(role, look)).map_or(0, |(_, times)| *times)
    }

    /// What the last successful call of the step gave.
    #[must_use]
    pub fn made(&self) -> Option<Value> {
        let calls = self.attempts.iter().filter(|(id, _)| matches!(id.role, Role::Call | Role::Catch));
        let done = calls.filter_map(|(_, attempt)| match &attempt.ended {
            Some((at, Outcome::Done(value))) => Some((*at, value)),
            _ => None,
        });
        done.max_by_key(|(at, _)| *at).map(|(_, value)| value.clone())
    }

    /// Whether the step's own call (or its catch) was ever begun.
    #[must_use]
    pub fn was_begun(&self) -> bool {
        self.attempts.keys().any(|id| matches!(id.role, Role::Call | Role::Catch))
    }
}

impl Memory {
    /// Folds entries, in their order.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = Timed>) -> Self {
        let mut memory = Self { attempt: 1, ..Self::default() };
        for Timed { at, entry } in entries {
            memory.add(at, entry);
        }
        memory
    }

    /// What is remembered of a place.
    #[must_use]
    pub fn of_place(&self, place: &Place) -> Arc<PlaceMemory> {
        self.places.get(place).cloned().unwrap_or_default()
    }

    /// Whether anything was recorded about the place or about what is inside it.
    #[must_use]
    pub fn touched(&self, place: &Place) -> bool {
        self.touched.contains(place)
    }

    /// How many undos were registered.
    #[must_use]
    pub fn registered(&self) -> u64 {
        self.registered
    }

    fn at_place(&mut self, place: &Place) -> &mut PlaceMemory {
        let mut around = Some(place.clone());
        while let Some(one) = around.take_if(|one| !self.touched.contains(one)) {
            around = one.parent();
            self.touched.insert(one);
        }
        Arc::make_mut(self.places.entry(place.clone()).or_default())
    }

    fn add(&mut self, at: Timestamp, entry: Entry) {
        match entry {
            Entry::Created { inputs, trigger } => {
                self.inputs = inputs;
                self.trigger = trigger;
            }
            Entry::TextsPinned { texts } => self.texts = texts,
            Entry::PluginsPinned { plugins } => self.plugins = Some(plugins),
            Entry::DeadlineSet { place, due_at } => {
                self.deadlines.insert(place, due_at);
            }
            Entry::WorkflowCalled { place, inputs, .. } => self.at_place(&place).called = Some(inputs),
            Entry::AlertDue { run } => self.alert = Some(run),
            Entry::ItemsListed { place, items } => self.at_place(&place).items = Some(Arc::new(items)),
            Entry::AttemptStarted { place, id, key, .. } => {
                let fresh = Attempt { key, intents: 0, started_at: at, ended: None };
                self.at_place(&place).attempts.entry(id).or_insert(fresh).intents += 1;
            }
            Entry::AttemptEnded { place, id, outcome } => {
                if let Some(attempt) = self.at_place(&place).attempts.get_mut(&id) {
                    attempt.ended = Some((at, outcome));
                }
            }
            Entry::Waiting { place, id, due_at } => {
                self.at_place(&place).waits.insert(id, due_at);
            }
            Entry::UndoRegistered { place } => {
                self.registered += 1;
                let order = self.registered;
                self.at_place(&place).undo.get_or_insert(order);
            }
            Entry::PlaceEnded { place, status, output, failure, reason, counts, once: _, once_of: _ } => {
                self.at_place(&place).ended = Some(Ended { status, output, failure, reason, counts });
            }
            Entry::RollbackStarted { place } => self.at_place(&place).rollback = true,
            Entry::Undone { place, failure } => self.at_place(&place).undone = Some(failure),
            Entry::EventTaken { name, value } => self.events.entry(name).or_default().push(value),
            Entry::CancelAsked => self.cancel_asked = true,
            Entry::Reopened { attempt, digest, texts, inputs } => {
                let changed = digest.is_some()
                    || inputs.is_some()
                    || texts.as_ref().is_some_and(|texts| *texts != self.texts);
                if texts.is_some() {
                    self.plugins = None;
                }
                self.texts = texts.unwrap_or_else(|| std::mem::take(&mut self.texts));
                self.inputs = inputs.unwrap_or_else(|| std::mem::take(&mut self.inputs));
                self.reopen(attempt, changed);
            }
            Entry::Decided { place, verdict } => self.decide(&place, verdict),
            Entry::RunEnded { .. } => {}
        }
    }

    /// A new attempt of the run: what succeeded stays, all else is done again (spec 6). With another text or other
    /// inputs the lists of `for-each` steps that had not succeeded are evaluated again; items are still known by their
    /// keys.
    fn reopen(&mut self, attempt: u32, text_changed: bool) {
        self.attempt = attempt;
        self.cancel_asked = false;
        self.deadlines.clear();
        self.alert = None;
        let is_kept = |memory: &PlaceMemory| {
            matches!(
                &memory.ended,
                Some(Ended { status: Status::Succeeded | Status::Recovered, .. }) if memory.undone.is_none()
            )
        };
        let stays: HashSet<Place> = self
            .places
            .iter()
            .filter(|(_, memory)| is_kept(memory))
            .map(|(place, _)| place.clone())
            .collect();
        for (place, memory) in &mut self.places {
            let again = place.is_finally() || place.finally_of().any(|call| !stays.contains(&call));
            // Cut off between the result of its call and its own end, it goes on from there, as in a resume (spec 4).
            if !again && !text_changed && memory.is_cut_off_after_its_call() {
                continue;
            }
            if again || !stays.contains(place) {
                let memory = Arc::make_mut(memory);
                memory.put_aside();
                if text_changed {
                    memory.items = None;
                }
            }
        }
        let places = &self.places;
        let still: Vec<Place> =
            places.iter().filter(|(_, memory)| memory.says_something()).map(|(p, _)| p.clone()).collect();
        self.touched.clear();
        for place in still {
            self.at_place(&place);
        }
    }

    fn decide(&mut self, place: &Place, verdict: Verdict) {
        let memory = self.at_place(place);
        match verdict {
            Verdict::Done => {
                memory.ended = Some(Ended {
                    status: Status::Succeeded,
                    output: Value::Null,
                    failure: None,
                    reason: None,
                    counts: None,
                });
            }
            Verdict::NotDone => {
                memory.ended = None;
                memory.attempts.clear();
                memory.waits.clear();
                memory.generation += 1;
            }
        }
    }
}

impl PlaceMemory {
    fn is_cut_off_after_its_call(&self) -> bool {
        self.ended.is_none() && self.undone.is_none() && !self.rollback && self.made().is_some()
    }

    fn says_something(&self) -> bool {
        self.ended.is_some() || !self.attempts.is_empty()
    }

    fn put_aside(&mut self) {
        let undone = self.undone.take().is_some();
        let interrupted = matches!(&self.ended, Some(Ended { status: Status::Interrupted, .. })) && !undone;
        self.ended = None;
        self.called = None;
        self.rollback = false;
        self.generation += 1;
        if interrupted {
            // Still of unknown outcome: only a second look or a person's verdict opens it again.
            self.attempts.retain(|id, _| matches!(id.role, Role::Call | Role::Catch));
            return;
        }
        if !undone {
            for (id, attempt) in &self.attempts {
                let unknown = match &attempt.ended {
                    None => true,
                    Some((_, Outcome::Failed(failure))) => failure.effect == Effect::Unknown,
                    Some((_, Outcome::Done(_))) => false,
                };
                if unknown && id.role != Role::Undo {
                    let known = self.keys.entry((id.role, id.look)).or_default();
                    *known = (attempt.key.clone(), known.1.saturating_add(attempt.intents));
                }
            }
        }
        self.undo = None;
        self.waits.clear();
        self.attempts.clear();
    }
}
