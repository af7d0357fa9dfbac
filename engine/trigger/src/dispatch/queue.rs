//! Who is next: pure, no clock, no disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use bascule_run::RunId;

use crate::intake::{Order, Waiting};

/// The runs that wait and those that are under way.
///
/// A run waits in one of three places: `ready`, behind another one of its concurrency group, or with its paused
/// workflow.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: BTreeMap<Order, RunId>,
    behind: HashMap<String, BTreeMap<Order, RunId>>,
    parked: HashMap<String, BTreeMap<Order, RunId>>,
    waiting: HashMap<RunId, Waiting>,
    running: HashMap<RunId, Waiting>,
    /// Which run has the right to a group; it may still wait, when it was under way before a crash.
    groups: HashMap<String, RunId>,
    paused: Vec<String>,
    /// This one is under suspicion, and nothing begins beside it.
    alone: Option<RunId>,
}

/// Above every priority that a workflow can have.
const RESUMED: i64 = i64::MAX - 1;
const SUSPECTED: i64 = i64::MAX;

/// Before a crash the run was under way: it goes first, and its group is its own.
pub(crate) fn resumed(mut waiting: Waiting) -> Waiting {
    waiting.order.priority = Reverse(RESUMED);
    waiting
}

/// It was under way in several crashes in a row. It goes before all others and alone, so that if it is the one that kills the
/// process, it takes nobody with it.
pub(crate) fn suspected(mut waiting: Waiting) -> Waiting {
    waiting.order.priority = Reverse(SUSPECTED);
    waiting
}

impl Queue {
    /// Adds a run, unless it is known.
    pub(crate) fn add(&mut self, waiting: Waiting) {
        let run = waiting.order.run;
        if self.running.contains_key(&run) || self.waiting.contains_key(&run) {
            return;
        }
        if waiting.order.priority.0 >= RESUMED
            && let Some(group) = &waiting.concurrency_key
        {
            self.groups.entry(group.clone()).or_insert(run);
        }
        self.place(&waiting);
        self.waiting.insert(run, waiting);
    }

    fn place(&mut self, waiting: &Waiting) {
        let Waiting { order, workflow, concurrency_key } = waiting;
        if self.paused.contains(workflow) {
            self.parked.entry(workflow.clone()).or_default().insert(*order, order.run);
        } else if let Some(group) = concurrency_key
            && self.groups.get(group).is_some_and(|holder| *holder != order.run)
        {
            self.behind.entry(group.clone()).or_default().insert(*order, order.run);
        } else {
            self.ready.insert(*order, order.run);
        }
    }

    fn displace(&mut self, waiting: &Waiting) {
        let order = &waiting.order;
        self.ready.remove(order);
        if let Some(group) = &waiting.concurrency_key
            && let Some(behind) = self.behind.get_mut(group)
        {
            behind.remove(order);
        }
        if let Some(parked) = self.parked.get_mut(&waiting.workflow) {
            parked.remove(order);
        }
    }

    /// Takes the next run: from now on it is under way.
    pub(crate) fn next(&mut self) -> Option<Waiting> {
        if self.alone.is_some() {
            return None;
        }
        while let Some((_, run)) = self.ready.pop_first() {
            let Some(waiting) = self.waiting.get(&run).cloned() else { continue };
            if let Some(group) = &waiting.concurrency_key {
                if self.groups.get(group).is_some_and(|holder| *holder != run) {
                    self.place(&waiting);
                    continue;
                }
                self.groups.insert(group.clone(), run);
            }
            self.waiting.remove(&run);
            if waiting.order.priority.0 == SUSPECTED && self.running.is_empty() {
                self.alone = Some(run);
            }
            self.running.insert(run, waiting.clone());
            return Some(waiting);
        }
        None
    }

    /// The run is not under way any more; the next one of its group may begin.
    pub(crate) fn ended(&mut self, run: RunId) -> Option<Waiting> {
        let waiting = self.running.remove(&run)?;
        self.let_others_in(run);
        self.free(&waiting);
        Some(waiting)
    }

    /// The run that is under way and beside which nothing begins.
    pub(crate) fn alone(&self) -> Option<RunId> {
        self.alone
    }

    /// It has been alone for long enough.
    pub(crate) fn let_others_in(&mut self, run: RunId) {
        self.alone.take_if(|alone| *alone == run);
    }

    /// It does not wait any more, e.g. because it was cancelled.
    pub(crate) fn remove(&mut self, run: RunId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&run)?;
        self.displace(&waiting);
        self.free(&waiting);
        Some(waiting)
    }

    fn free(&mut self, waiting: &Waiting) {
        let Some(group) = &waiting.concurrency_key else { return };
        if self.groups.get(group).is_some_and(|holder| *holder != waiting.order.run) {
            return;
        }
        self.groups.remove(group);
        if let Some(behind) = self.behind.get_mut(group)
            && let Some((order, run)) = behind.pop_first()
        {
            self.ready.insert(order, run);
        }
        if self.behind.get(group).is_some_and(BTreeMap::is_empty) {
            self.behind.remove(group);
        }
    }

    /// From now on no run of this workflow begins.
    pub(crate) fn pause(&mut self, workflow: &str) {
        if !self.paused.iter().any(|paused| paused == workflow) {
            self.paused.push(workflow.to_owned());
        }
        self.replace_all_of(workflow);
    }

    /// Its runs begin again.
    pub(crate) fn unpause(&mut self, workflow: &str) {
        self.paused.retain(|paused| paused != workflow);
        self.replace_all_of(workflow);
    }

    fn replace_all_of(&mut self, workflow: &str) {
        let all: Vec<Waiting> =
            self.waiting.values().filter(|waiting| waiting.workflow == workflow).cloned().collect();
        let mut groups = Vec::new();
        for waiting in &all {
            self.displace(waiting);
            self.place(waiting);
            groups.extend(waiting.concurrency_key.clone());
        }
        // A parked run may have been the one of its group that was ready.
        for group in groups {
            if !self.groups.contains_key(&group)
                && let Some(behind) = self.behind.remove(&group)
            {
                self.ready.extend(behind);
            }
        }
    }

    pub(crate) fn knows(&self, run: RunId) -> bool {
        self.waiting.contains_key(&run) || self.running.contains_key(&run)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Waiting> {
        self.running.values()
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
