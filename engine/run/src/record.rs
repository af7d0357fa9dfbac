//! A run as people read it: steps, items, attempts with times, failures in full, undo.

use std::collections::HashMap;

use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::journal::{
    Entry, Journal, JournalError, LogLine, Outcome, PinnedPlugins, Role, RunHeader, RunId, Timed, Verdict,
};
use crate::place::Place;
use crate::status::{Counts, Status};

/// Everything about a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunRecord {
    /// The run itself.
    pub header: RunHeader,
    /// Accepted inputs.
    pub inputs: Map<String, Value>,
    /// What started it.
    pub trigger: Value,
    /// The components that it goes by: sha256 by plugin name. Empty as long as it has not begun.
    pub plugins: PinnedPlugins,
    /// `output:`, once it ended.
    pub output: Value,
    /// Why it did not succeed, once it ended.
    pub failure: Option<Failure>,
    /// When somebody asked to cancel it.
    pub cancel_asked_at: Option<Timestamp>,
    /// When it has to have ended, where the workflow has a `deadline`.
    pub deadline: Option<Timestamp>,
    /// The runs of the `on-failure` workflow that followed it, one for each attempt that ended badly.
    pub alerts: Vec<RunId>,
    /// When it was taken up again after it had ended, in order.
    pub reopened_at: Vec<Timestamp>,
    /// Steps in the order in which they began; inner steps and items are inside of them.
    pub steps: Vec<StepRecord>,
    /// The log.
    pub lines: Vec<LogLine>,
}

/// A step or an item.
#[derive(Clone, Debug, Serialize)]
pub struct StepRecord {
    /// Where.
    pub place: Place,
    /// The step's id.
    pub id: String,
    /// The item's key, if this is an item.
    pub key: Option<String>,
    /// The item's value, if this is an item.
    pub item: Option<Value>,
    /// How it ended; `None` while it is under way. A step that was undone is `rolled-back`.
    pub status: Option<Status>,
    /// The first entry about it.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The workflow that it calls, with its inputs; that one's steps are `inner`.
    pub called: Option<CalledRecord>,
    /// Its output.
    pub output: Value,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// With `for-each`, once it ended.
    pub counts: Option<Counts>,
    /// When the next attempt is due, while it waits for one.
    pub waiting_until: Option<Timestamp>,
    /// Calls in the order in which they began; repeated after a crash, one appears again.
    pub attempts: Vec<AttemptRecord>,
    /// What became of its undo.
    pub undo: Option<UndoRecord>,
    /// A person's verdicts on calls of unknown outcome.
    pub verdicts: Vec<(Timestamp, Verdict)>,
    /// Items of a `for-each`, and the steps of a block (or of a block's item).
    pub inner: Vec<StepRecord>,
}

/// A workflow that was called.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalledRecord {
    /// Its id.
    pub workflow: String,
    /// Its accepted inputs.
    pub inputs: Map<String, Value>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    /// Which call.
    pub role: Role,
    /// From 1, for calls that are repeated on purpose.
    pub look: u32,
    /// From 1.
    pub attempt: u32,
    /// The run's attempt that it belongs to.
    pub run_attempt: u32,
    /// The idempotency key.
    pub key: String,
    /// `plugin/function`
    pub function: String,
    /// sha256 of the evaluated `with`.
    pub with_digest: String,
    /// The evaluated `with`, unless it was too long to keep.
    pub with: Option<Value>,
    /// When its intent was recorded.
    pub started_at: Timestamp,
    /// When its result was recorded; `None` while it is under way, or when the process ended meanwhile.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What became of an undo.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndoRecord {
    /// Ready, should the block fail.
    Registered,
    /// Done.
    Undone,
    /// Tried in vain.
    Failed(Failure),
}

impl RunRecord {
    /// Reads a run by its id or an unambiguous beginning of it.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`], [`JournalError::Ambiguous`], [`JournalError::Unreadable`].
    pub async fn read(journal: &dyn Journal, id: &str) -> Result<Self, JournalError> {
        let header = journal.find(id).await?;
        let entries = journal.read(header.id).await?;
        let lines = journal.lines(header.id).await?;
        Ok(Self::of(header, entries, lines))
    }

    /// Puts a run together from its entries.
    #[must_use]
    pub fn of(header: RunHeader, entries: Vec<Timed>, lines: Vec<LogLine>) -> Self {
        let mut record = Self {
            header,
            inputs: Map::new(),
            trigger: Value::Null,
            plugins: PinnedPlugins::new(),
            output: Value::Null,
            failure: None,
            cancel_asked_at: None,
            deadline: None,
            alerts: Vec::new(),
            reopened_at: Vec::new(),
            steps: Vec::new(),
            lines,
        };
        let mut tree = Tree::default();
        for Timed { at, entry } in entries {
            match entry {
                Entry::Created { inputs, trigger } => {
                    record.inputs = inputs;
                    record.trigger = trigger;
                }
                Entry::CancelAsked => record.cancel_asked_at = Some(at),
                Entry::Reopened { inputs, texts, .. } => {
                    record.reopened_at.push(at);
                    if texts.is_some() {
                        record.plugins.clear();
                    }
                    record.inputs = inputs.unwrap_or(record.inputs);
                    record.deadline = None;
                    record.output = Value::Null;
                    record.failure = None;
                }
                Entry::RunEnded { output, failure, .. } => {
                    record.output = output;
                    record.failure = failure;
                }
                Entry::DeadlineSet { place: None, due_at } => record.deadline = Some(due_at),
                Entry::AlertDue { run } => record.alerts.push(run),
                Entry::PluginsPinned { plugins } => record.plugins = plugins,
                Entry::EventTaken { .. } | Entry::TextsPinned { .. } | Entry::DeadlineSet { .. } => {}
                entry => {
                    let run_attempt =
                        u32::try_from(record.reopened_at.len()).unwrap_or(u32::MAX).saturating_add(1);
                    tree.add(at, run_attempt, entry);
                }
            }
        }
        record.steps = tree.into_steps();
        record
    }

    /// The step or item at a place.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<&StepRecord> {
        fn search<'r>(steps: &'r [StepRecord], place: &Place) -> Option<&'r StepRecord> {
            steps.iter().find_map(
                |step| {
                    if step.place == *place { Some(step) } else { search(&step.inner, place) }
                },
            )
        }
        search(&self.steps, place)
    }
}

/// Records by place, in the order in which they began.
#[derive(Default)]
struct Tree {
    records: Vec<StepRecord>,
    by_place: HashMap<Place, usize>,
    /// Values of items that have not begun yet.
    items: HashMap<Place, Value>,
}

impl Tree {
    fn at(&mut self, at: Timestamp, place: &Place) -> &mut StepRecord {
        if let Some(index) = self.by_place.get(place) {
            return &mut self.records[*index];
        }
        if let Some(parent) = place.parent() {
            self.at(at, &parent);
        }
        let index = self.records.len();
        self.by_place.insert(place.clone(), index);
        self.records.push(StepRecord {
            place: place.clone(),
            id: place.id().to_owned(),
            key: place.key(),
            item: self.items.remove(place),
            status: None,
            started_at: at,
            ended_at: None,
            called: None,
            output: Value::Null,
            failure: None,
            reason: None,
            counts: None,
            waiting_until: None,
            attempts: Vec::new(),
            undo: None,
            verdicts: Vec::new(),
            inner: Vec::new(),
        });
        &mut self.records[index]
    }

    fn add(&mut self, at: Timestamp, run_attempt: u32, entry: Entry) {
        let Some(place) = entry.place().cloned() else {
            return;
        };
        if let Entry::ItemsListed { items, .. } = entry {
            self.at(at, &place);
            for item in items {
                self.items.insert(place.item(&item.key), item.value);
            }
            return;
        }
        let record = self.at(at, &place);
        match entry {
            Entry::AttemptStarted { id, key, plugin, function, with_digest, with, .. } => {
                record.waiting_until = None;
                if record.attempts.last().is_none_or(|last| last.run_attempt != run_attempt) {
                    // Taken up again: what it ended as before is history.
                    record.status = None;
                    record.ended_at = None;
                    record.failure = None;
                    record.reason = None;
                    record.undo = record.undo.take().filter(|undo| *undo == UndoRecord::Registered);
                }
                record.attempts.push(AttemptRecord {
                    role: id.role,
                    look: id.look,
                    attempt: id.attempt,
                    run_attempt,
                    key,
                    function: format!("{plugin}/{function}"),
                    with_digest,
                    with,
                    started_at: at,
                    ended_at: None,
                    outcome: None,
                });
            }
            Entry::AttemptEnded { id, outcome, .. } => {
                let same = |attempt: &&mut AttemptRecord| {
                    (attempt.role, attempt.look, attempt.attempt) == (id.role, id.look, id.attempt)
                };
                if let Some(attempt) = record.attempts.iter_mut().rev().find(same) {
                    attempt.ended_at = Some(at);
                    attempt.outcome = Some(outcome);
                }
            }
            Entry::WorkflowCalled { workflow, inputs, .. } => {
                record.called = Some(CalledRecord { workflow, inputs });
            }
            Entry::Waiting { due_at, .. } => record.waiting_until = Some(due_at),
            Entry::UndoRegistered { .. } => record.undo = Some(UndoRecord::Registered),
            Entry::PlaceEnded { status, output, failure, reason, counts, .. } => {
                record.waiting_until = None;
                record.status = Some(status);
                record.ended_at = Some(at);
                record.output = output;
                record.failure = failure;
                record.reason = reason;
                record.counts = counts;
            }
            Entry::Undone { failure: None, .. } => {
                record.undo = Some(UndoRecord::Undone);
                record.status = Some(Status::RolledBack);
            }
            Entry::Undone { failure: Some(failure), .. } => record.undo = Some(UndoRecord::Failed(failure)),
            Entry::Decided { verdict, .. } => record.verdicts.push((at, verdict)),
            _ => {}
        }
    }

    /// Hangs every record into the one that it is inside of.
    fn into_steps(self) -> Vec<StepRecord> {
        let mut slots: Vec<Option<StepRecord>> = self.records.into_iter().map(Some).collect();
        let mut steps = Vec::new();
        // A place comes after what it is inside of, so going backwards every record is complete when it is moved.
        for index in (0..slots.len()).rev() {
            let Some(mut record) = slots[index].take() else {
                continue;
            };
            record.inner.reverse();
            let parent = record.place.parent().and_then(|parent| self.by_place.get(&parent).copied());
            match parent.and_then(|parent| slots[parent].as_mut()) {
                Some(parent) => parent.inner.push(record),
                None => steps.push(record),
            }
        }
        steps.reverse();
        steps
    }
}
