//! A journal that forgets when the process ends: for tests, and for runs that nobody needs to resume.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::journal::{
    Batch, Claim, Entry, Filter, Journal, JournalError, LogLine, NewRun, OnceDone, Reopening, Revision,
    RunHeader, RunId, Timed,
};
use crate::status::Status;

/// Keeps everything in memory. Cheap to clone; all clones are one journal.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<RunId, Run>,
    texts: HashMap<String, Arc<str>>,
    once: HashMap<(String, String, String), OnceDone>,
}

#[derive(Debug)]
struct Run {
    header: RunHeader,
    entries: Vec<Timed>,
    lines: Vec<LogLine>,
    events: Vec<(String, Value)>,
    lease: Option<(String, Timestamp)>,
    epoch: i64,
    crashes: u32,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens when the process that held the claims is gone: nobody holds any.
    pub fn restart(&self) {
        for run in self.state().runs.values_mut() {
            run.lease = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn run(&mut self, id: RunId) -> Result<&mut Run, JournalError> {
        self.runs.get_mut(&id).ok_or_else(|| JournalError::NoSuchRun(id.to_string()))
    }

    /// The run, if nobody has claimed it since.
    fn claimed(&mut self, claim: &Claim) -> Result<&mut Run, JournalError> {
        let run = self.run(claim.run)?;
        if run.epoch == claim.epoch { Ok(run) } else { Err(JournalError::Fenced(claim.run)) }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn create(&self, run: NewRun) -> Result<(), JournalError> {
        let mut state = self.state();
        state.texts.insert(run.digest.clone(), run.text);
        let header = RunHeader {
            id: run.id,
            workflow: run.workflow,
            digest: run.digest,
            status: Status::Queued,
            attempt: 1,
            concurrency_key: run.concurrency_key,
            started_at: run.started_at,
            ended_at: None,
            problem: None,
        };
        let created = Entry::Created { inputs: run.inputs, trigger: run.trigger };
        let entries = vec![Timed { at: run.started_at, entry: created }];
        let run = Run { header, entries, lines: vec![], events: vec![], lease: None, epoch: 0, crashes: 0 };
        state.runs.insert(run.header.id, run);
        Ok(())
    }

    async fn claim(
        &self,
        id: RunId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, JournalError> {
        let mut state = self.state();
        let key = state.run(id)?.header.concurrency_key.clone();
        let busy = key.filter(|key| {
            let other = |run: &&Run| run.header.id != id && run.header.status == Status::Running;
            state.runs.values().filter(other).any(|run| run.header.concurrency_key.as_ref() == Some(key))
        });
        let run = state.run(id)?;
        if !run.header.status.is_open() {
            return Err(JournalError::HasEnded { run: id, status: run.header.status });
        }
        if let Some((holder, held)) = &run.lease
            && holder != owner
            && *held > now
        {
            return Err(JournalError::Held { run: id, owner: holder.clone(), until: *held });
        }
        if let Some(key) = busy {
            return Err(JournalError::KeyBusy { key });
        }
        // Whoever takes its own claim over has not died.
        let own = run.lease.as_ref().is_some_and(|(holder, _)| holder == owner);
        run.crashes += u32::from(!own);
        run.lease = Some((owner.to_owned(), until));
        run.epoch += 1;
        run.header.status = Status::Running;
        Ok(Claim { run: id, epoch: run.epoch, crashes: run.crashes })
    }

    async fn renew(&self, claim: &Claim, until: Timestamp) -> Result<(), JournalError> {
        let mut state = self.state();
        let run = state.claimed(claim)?;
        run.crashes = 0;
        if let Some((_, held)) = &mut run.lease {
            *held = until;
        }
        Ok(())
    }

    async fn release(&self, claim: &Claim) -> Result<(), JournalError> {
        let mut state = self.state();
        let run = state.claimed(claim)?;
        run.lease = None;
        run.crashes = 0;
        Ok(())
    }

    async fn append(&self, claim: &Claim, batch: Batch) -> Result<(), JournalError> {
        let mut state = self.state();
        let run = state.claimed(claim)?;
        if run.lease.is_none() {
            return Err(JournalError::Fenced(claim.run));
        }
        let mut done = Vec::new();
        for timed in batch.entries {
            match &timed.entry {
                Entry::AttemptEnded { .. } => run.crashes = 0,
                Entry::PlaceEnded { place, once: Some(key), once_of, .. } => {
                    let workflow = once_of.as_ref().unwrap_or(&run.header.workflow).clone();
                    let key = (workflow, place.id().to_owned(), key.clone());
                    done.push((key, OnceDone { run: claim.run, at: timed.at }));
                }
                Entry::RunEnded { status, failure, .. } => {
                    run.header.status = *status;
                    run.header.ended_at = Some(timed.at);
                    run.header.problem = failure.as_ref().map(|failure| failure.message.clone());
                    run.lease = None;
                }
                _ => {}
            }
            run.entries.push(timed);
        }
        run.lines.extend(batch.lines);
        for (key, by) in done {
            state.once.entry(key).or_insert(by);
        }
        Ok(())
    }

    async fn revise(&self, id: RunId, at: Timestamp, revision: Revision) -> Result<u32, JournalError> {
        let mut state = self.state();
        let run = state.run(id)?;
        if run.header.status.is_open() {
            return Err(JournalError::NotEnded { run: id, status: run.header.status });
        }
        let (entry, added) = match revision {
            Revision::Decide { place, verdict } => (Entry::Decided { place, verdict }, None),
            Revision::Reopen(Reopening { text, texts, inputs }) => {
                run.header.status = Status::Queued;
                run.header.ended_at = None;
                run.header.problem = None;
                run.header.attempt += 1;
                run.crashes = 0;
                let digest =
                    text.as_ref().map(|(digest, _)| digest.clone()).filter(|new| *new != run.header.digest);
                if let Some(digest) = &digest {
                    run.header.digest.clone_from(digest);
                }
                (Entry::Reopened { attempt: run.header.attempt, digest, texts, inputs }, text)
            }
        };
        run.entries.push(Timed { at, entry });
        let attempt = run.header.attempt;
        if let Some((digest, text)) = added {
            state.texts.insert(digest, text);
        }
        Ok(attempt)
    }

    async fn read(&self, run: RunId) -> Result<Vec<Timed>, JournalError> {
        Ok(self.state().run(run)?.entries.clone())
    }

    async fn lines(&self, run: RunId) -> Result<Vec<LogLine>, JournalError> {
        Ok(self.state().run(run)?.lines.clone())
    }

    async fn find(&self, prefix: &str) -> Result<RunHeader, JournalError> {
        let state = self.state();
        let found: Vec<&Run> =
            state.runs.values().filter(|run| run.header.id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [] => Err(JournalError::NoSuchRun(prefix.to_owned())),
            [run] => Ok(run.header.clone()),
            several => Err(JournalError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: several.iter().take(5).map(|run| run.header.id).collect(),
            }),
        }
    }

    async fn text(&self, run: RunId) -> Result<Arc<str>, JournalError> {
        let mut state = self.state();
        let digest = state.run(run)?.header.digest.clone();
        let missing = || JournalError::Unreadable { run, reason: format!("there is no text `{digest}`") };
        state.texts.get(&digest).cloned().ok_or_else(missing)
    }

    async fn cancel_asked(&self, run: RunId) -> Result<bool, JournalError> {
        let mut state = self.state();
        let entries = &state.run(run)?.entries;
        let last = entries
            .iter()
            .rev()
            .find(|timed| matches!(timed.entry, Entry::CancelAsked | Entry::Reopened { .. }));
        Ok(last.is_some_and(|timed| timed.entry == Entry::CancelAsked))
    }

    async fn free_key(&self, key: &str, now: Timestamp) -> Result<Option<RunId>, JournalError> {
        let mut state = self.state();
        let gone = state.runs.values_mut().find(|run| {
            run.header.status == Status::Running
                && run.header.concurrency_key.as_deref() == Some(key)
                && run.lease.as_ref().is_none_or(|(_, until)| *until <= now)
        });
        Ok(gone.map(|run| {
            run.header.status = Status::Queued;
            run.lease = None;
            run.header.id
        }))
    }

    async fn runs(&self, filter: &Filter) -> Result<Vec<RunHeader>, JournalError> {
        let state = self.state();
        let wanted = |header: &&RunHeader| {
            filter.workflow.as_ref().is_none_or(|workflow| *workflow == header.workflow)
                && (filter.statuses.is_empty() || filter.statuses.contains(&header.status))
        };
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(state.runs.values().rev().map(|run| &run.header).filter(wanted).take(limit).cloned().collect())
    }

    async fn once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, JournalError> {
        let key = (workflow.to_owned(), step.to_owned(), key.to_owned());
        Ok(self.state().once.get(&key).cloned())
    }

    async fn deliver(
        &self,
        run: RunId,
        _at: Timestamp,
        name: &str,
        value: Value,
    ) -> Result<(), JournalError> {
        self.state().run(run)?.events.push((name.to_owned(), value));
        Ok(())
    }

    async fn delivered(&self, run: RunId, name: &str) -> Result<Vec<Value>, JournalError> {
        let mut state = self.state();
        let events = &state.run(run)?.events;
        Ok(events.iter().filter(|(of, _)| of == name).map(|(_, value)| value.clone()).collect())
    }
}
