//! Hears what happens in runs: which have ended and when, and which wait for a later instant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bascule_run::observe::{Event, Observer};
use bascule_run::{RunId, Status};
use jiff::Timestamp;
use tokio::sync::watch;

/// An [`Observer`] that remembers no more than what has not been taken from it.
pub(crate) struct Ear {
    heard: Mutex<Heard>,
    /// Counts up with every end and every wait.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Heard {
    names: HashMap<RunId, String>,
    waiting: HashMap<RunId, Timestamp>,
    ended: Vec<End>,
    steps: u64,
}

/// A run that ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) run: RunId,
    pub(crate) workflow: String,
    pub(crate) status: Status,
    /// In real time.
    pub(crate) at: Instant,
}

impl Ear {
    pub(crate) fn new() -> Self {
        Self { heard: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How many runs wait beyond this instant, and the first instant at which one goes on.
    pub(crate) fn waiting(&self, now: Timestamp) -> (usize, Option<Timestamp>) {
        let heard = self.heard();
        let later = || heard.waiting.values().filter(|at| **at > now);
        (later().count(), later().min().copied())
    }

    /// How many runs have begun of whose end nothing was heard. An end is in the database a moment before it is told.
    pub(crate) fn begun(&self) -> usize {
        self.heard().names.len()
    }

    /// The ends since it was asked last.
    pub(crate) fn take_ends(&self) -> Vec<End> {
        std::mem::take(&mut self.heard().ended)
    }

    /// Steps and items that ended since it was asked last.
    pub(crate) fn take_steps(&self) -> u64 {
        std::mem::take(&mut self.heard().steps)
    }

    /// What is under way, for people.
    pub(crate) fn under_way(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for name in self.heard().names.values() {
            *all.entry(name.clone()).or_default() += 1;
        }
        all
    }
}

impl Observer for Ear {
    fn event(&self, run: RunId, event: &Event) {
        let mut heard = self.heard();
        match event {
            Event::RunStarted { workflow, .. } => {
                heard.names.insert(run, workflow.clone());
                return;
            }
            Event::Ended { .. } => {
                heard.steps += 1;
                return;
            }
            Event::AttemptFailed { next_at: Some(at), .. } => {
                heard.waiting.insert(run, *at);
            }
            Event::RunEnded { status, .. } => {
                heard.waiting.remove(&run);
                let workflow = heard.names.remove(&run).unwrap_or_default();
                heard.ended.push(End { run, workflow, status: *status, at: Instant::now() });
            }
            _ => return,
        }
        drop(heard);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Tells several observers.
pub(crate) struct Together(pub(crate) Vec<Arc<dyn Observer>>);

impl Observer for Together {
    fn event(&self, run: RunId, event: &Event) {
        for observer in &self.0 {
            observer.event(run, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_under_way_until_its_end_is_told() {
        let ear = Ear::new();
        let (run, now) = (RunId::new(Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
        let started = Event::RunStarted { workflow: "passage".to_owned(), attempt: 1, resumed: false };
        ear.event(run, &started);
        assert_eq!((ear.begun(), ear.waiting(now)), (1, (0, None)));
        ear.event(run, &Event::RunEnded { status: Status::Succeeded, failure: None });
        assert_eq!((ear.begun(), ear.take_ends().len()), (0, 1));
    }
}
