//! Executes the runs that wait, by priority and age, and takes up those that a crash cut off.

mod actor;
mod execute;
mod queue;
mod rerun;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_database::DatabaseError;
use bascule_run::clock::{Clock, later};
use bascule_run::journal::{CancelAsked, Journal, JournalError, RunHeader, SqliteJournal};
use bascule_run::record::RunRecord;
use bascule_run::{RunId, RunOutcome, Runner, Status};
use bascule_workflow::failure::Failure;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::intake::Intake;
use queue::Queue;

pub(crate) use execute::chain;
pub use rerun::{Rerun, RerunError};
pub(crate) use tables::depth_of;
pub use tables::{Held, Paused, held_runs, note_hold};

/// How many runs are under way at the same time, unless `bascule.yaml` says otherwise.
pub const AT_ONCE: usize = 64;

/// What a dispatcher works with.
#[derive(Clone)]
pub struct DispatchParts {
    /// The executor; it belongs to the dispatcher from now on.
    pub runner: Runner,
    /// The record of runs, the runner's own.
    pub journal: Arc<dyn Journal>,
    /// Where runs come from.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// How many runs may be under way at the same time; [`AT_ONCE`] is the usual number.
    pub at_once: usize,
}

/// Executes runs. Cheap to clone; all clones are one dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    parts: DispatchParts,
    state: Mutex<State>,
    /// Look into the database again.
    bell: Notify,
    /// Something may be able to begin.
    nudge: Notify,
    /// Counts the ends of runs.
    ends: watch::Sender<u64>,
    stop: CancellationToken,
    actor: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    cancels: HashMap<RunId, CancellationToken>,
    waiters: HashMap<RunId, Vec<oneshot::Sender<Ended>>>,
    /// Runs that cannot go on by themselves.
    held: HashMap<RunId, Held>,
    paused: BTreeMap<String, Paused>,
}

/// How a run ended, for whoever waits for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ended {
    /// Which run.
    pub run: RunId,
    /// How.
    pub status: Status,
    /// `output:`
    pub output: Value,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
}

impl From<&RunOutcome> for Ended {
    fn from(outcome: &RunOutcome) -> Self {
        let RunOutcome { run, status, output, failure, .. } = outcome;
        Self { run: *run, status: *status, output: output.clone(), failure: failure.clone() }
    }
}

/// How much there is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Runs that wait for their turn, those of paused workflows included.
    pub queued: usize,
    /// Runs that are under way.
    pub running: usize,
    /// Runs that cannot go on by themselves; see [`Dispatcher::held`].
    pub held: usize,
    /// Both by workflow: (queued, running).
    pub by_workflow: BTreeMap<String, (usize, usize)>,
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// Runs that were given up in the middle of a call because the time was over; their record is good, and the next
    /// process takes them up.
    pub cut_off: usize,
}

impl Dispatcher {
    /// Takes up every open run and begins to execute. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the database says.
    pub async fn start(parts: DispatchParts) -> Result<Self, DatabaseError> {
        let mut state = State::default();
        for paused in tables::paused(&parts.intake).await? {
            state.queue.pause(&paused.workflow);
            state.paused.insert(paused.workflow.clone(), paused);
        }
        // They are tried again; what holds them may be gone.
        state.held = tables::held_runs(parts.intake.database())
            .await?
            .into_iter()
            .map(|held| (held.run, held))
            .collect();
        for waiting in tables::open_runs(&parts.intake).await? {
            state.queue.add(waiting);
        }
        let shared = Arc::new(Shared {
            parts,
            state: Mutex::new(state),
            bell: Notify::new(),
            nudge: Notify::new(),
            ends: watch::Sender::new(0),
            stop: CancellationToken::new(),
            actor: tokio::sync::Mutex::default(),
        });
        let actor = tokio::spawn(actor::run(Arc::clone(&shared)));
        *shared.actor.lock().await = Some(actor);
        Ok(Self { shared })
    }

    /// Looks for runs that were recorded past the intake, e.g. by [`Runner::start`].
    pub fn wake(&self) {
        self.shared.bell.notify_one();
    }

    /// Waits until the run has ended, at most so long; `None` where it has not by then.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`] and what the journal says.
    pub async fn outcome(&self, run: RunId, within: Duration) -> Result<Option<Ended>, JournalError> {
        let parts = &self.shared.parts;
        let until = later(parts.clock.now(), within);
        let (sender, receiver) = oneshot::channel();
        self.shared.state().waiters.entry(run).or_default().push(sender);
        // Only now, so that an end in between is not missed.
        let open = header(&*parts.journal, run).await.map(|header| header.status.is_open());
        if !matches!(open, Ok(true)) {
            // Nobody will tell this waiter anything: it goes before the others are counted.
            drop(receiver);
            self.shared.forget_waiters(run);
            open?;
            let record = RunRecord::read(&*parts.journal, &run.to_string()).await?;
            let RunRecord { header, output, failure, .. } = record;
            return Ok(Some(Ended { run, status: header.status, output, failure }));
        }
        tokio::select! {
            biased;
            ended = receiver => Ok(ended.ok()),
            () = parts.clock.sleep_until(until) => {
                self.shared.forget_waiters(run);
                Ok(None)
            }
        }
    }

    /// Asks to cancel a run. The wish is on disk when this returns: a run that waits has ended `cancelled`, one that is
    /// under way ends soon, also if the process is killed meanwhile. One that is [`Dispatcher::held`] in the middle ends
    /// `interrupted`, since nothing of it can be undone.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`] and what the journal says.
    pub async fn cancel(&self, run: RunId, who: &str) -> Result<CancelAsked, JournalError> {
        let parts = &self.shared.parts;
        header(&*parts.journal, run).await?;
        let (at, name) = (parts.clock.now(), who.to_owned());
        let asked = parts
            .intake
            .database()
            .write_pressing(|| {
                let name = name.clone();
                move |tx| async move { SqliteJournal::ask_cancel(tx, run, at, &name).await }.boxed()
            })
            .await
            .map_err(|error| JournalError::Store(Box::new(error)))?;
        match asked {
            CancelAsked::Ended => {
                let header = header(&*parts.journal, run).await?;
                self.shared.ended_unbegun(&header);
            }
            CancelAsked::Noted => {
                let token = {
                    let state = self.shared.state();
                    state.cancels.get(&run).cloned()
                };
                match token {
                    Some(token) => token.cancel(),
                    None => self.shared.abandon_if_held(run, who).await?,
                }
            }
            CancelAsked::TooLate => {}
        }
        Ok(asked)
    }

    /// From now on no run of this workflow begins, also after a restart. Those under way go on.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pause(&self, workflow: &str, reason: &str) -> Result<(), DatabaseError> {
        let parts = &self.shared.parts;
        let now = parts.clock.now();
        tables::pause(&parts.intake, workflow, now, reason).await?;
        let mut state = self.shared.state();
        let since = state.paused.get(workflow).map_or(now, |paused| paused.since);
        let paused = Paused { workflow: workflow.to_owned(), since, reason: reason.to_owned() };
        state.paused.insert(workflow.to_owned(), paused);
        state.queue.pause(workflow);
        Ok(())
    }

    /// Runs of this workflow begin again; what came meanwhile has waited.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unpause(&self, workflow: &str) -> Result<(), DatabaseError> {
        tables::unpause(&self.shared.parts.intake, workflow).await?;
        {
            let mut state = self.shared.state();
            state.paused.remove(workflow);
            state.queue.unpause(workflow);
        }
        self.shared.nudge.notify_one();
        Ok(())
    }

    /// The paused workflows, sorted.
    #[must_use]
    pub fn paused(&self) -> Vec<Paused> {
        self.shared.state().paused.values().cloned().collect()
    }

    /// The runs that cannot go on by themselves, the oldest first.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let mut held: Vec<Held> = self.shared.state().held.values().cloned().collect();
        held.sort_by_key(|held| held.run);
        held
    }

    /// How much there is to do.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.shared.state();
        let mut snapshot = Snapshot { held: state.held.len(), ..Snapshot::default() };
        for waiting in state.queue.waiting() {
            snapshot.queued += 1;
            snapshot.by_workflow.entry(waiting.workflow.clone()).or_default().0 += 1;
        }
        for running in state.queue.running() {
            snapshot.running += 1;
            snapshot.by_workflow.entry(running.workflow.clone()).or_default().1 += 1;
        }
        snapshot
    }

    /// Counts up whenever a run has ended.
    #[must_use]
    pub fn ends(&self) -> watch::Receiver<u64> {
        self.shared.ends.subscribe()
    }

    /// The process is ending: nothing new begins, calls under way may finish within `limit`, every run that is not
    /// finished is left in a state from which the next process takes it up. For ever.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.shared.parts.runner.suspend();
        self.shared.stop.cancel();
        let Some(mut actor) = self.shared.actor.lock().await.take() else {
            return Drained { cut_off: 0 };
        };
        let until = later(self.shared.parts.clock.now(), limit);
        tokio::select! {
            biased;
            _ended = &mut actor => Drained { cut_off: 0 },
            () = self.shared.parts.clock.sleep_until(until) => {
                let cut_off = self.shared.state().queue.under_way();
                actor.abort();
                let _aborted = actor.await;
                Drained { cut_off }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who waits for this run.
    fn tell(&self, ended: &Ended) {
        let waiters = self.state().waiters.remove(&ended.run).unwrap_or_default();
        for waiter in waiters {
            // It may have stopped waiting.
            let _unheard = waiter.send(ended.clone());
        }
        self.ends.send_modify(|count| *count += 1);
    }

    /// A run ended that had not begun.
    fn ended_unbegun(&self, header: &RunHeader) {
        {
            let mut state = self.state();
            state.queue.remove(header.id);
            state.held.remove(&header.id);
        }
        let failure = header
            .problem
            .clone()
            .map(|problem| Failure::new(bascule_workflow::failure::Kind::Cancelled, problem));
        self.tell(&Ended { run: header.id, status: header.status, output: Value::Null, failure });
        // Its group may be free.
        self.nudge.notify_one();
    }

    /// Drops those who have stopped waiting.
    fn forget_waiters(&self, run: RunId) {
        let mut state = self.state();
        if let Some(waiters) = state.waiters.get_mut(&run) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                state.waiters.remove(&run);
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

async fn header(journal: &dyn Journal, run: RunId) -> Result<RunHeader, JournalError> {
    journal.find(&run.to_string()).await
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("snapshot", &self.snapshot())
            .field("awaited", &self.shared.state().waiters.len())
            .finish_non_exhaustive()
    }
}
