//! Starting, executing, resuming and rerunning runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::{OnFailure, Workflow};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::{Clock, later};
use crate::context::{Context, Stop};
use crate::interpret::{Ending, Interpreter};
use crate::invoke::Invoke;
use crate::journal::{
    Batch, Entry, Journal, JournalError, Memory, NewRun, Reopening, Revision, RunHeader, RunId, Timed,
    Verdict,
};
use crate::local::{Keys, LocalContext, LocalParts};
use crate::observe::{Event, Observer};
use crate::pins::{Taken, pinned, take};
use crate::place::Place;
use crate::record::RunRecord;
use crate::status::{Counts, Status};

/// How long a claim is good for; it is renewed three times in that time.
const LEASE: Duration = Duration::from_secs(60);
/// A run whose process ended so often in a row without finishing any attempt is not begun again.
const MAX_CRASHES: u32 = 3;
/// How long it takes at most until a run hears that somebody outside of this process asked to cancel it.
const HEARS_WITHIN: Duration = Duration::from_secs(1);
/// For steps without `timeout`, unless the runner is told otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What a runner works with.
#[derive(Clone)]
pub struct Parts {
    /// Where runs are recorded.
    pub journal: Arc<dyn Journal>,
    /// How plugins are called.
    pub invoke: Arc<dyn Invoke>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

/// What starts a run.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Accepted inputs.
    pub inputs: Map<String, Value>,
    /// As expressions see `trigger`, e.g. `{"kind": "manual"}`.
    pub trigger: Value,
    /// At most one run with this key is `running`.
    pub concurrency_key: Option<String>,
}

/// Which text a rerun goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The text that the run began with; another one is refused.
    AsBegun,
    /// The text that is given.
    Latest,
}

/// How a rerun differs from what the run went by.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// Which text.
    pub basis: Basis,
    /// Other inputs, accepted by the workflow; all of them.
    pub inputs: Option<Map<String, Value>>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// Which run.
    pub run: RunId,
    /// How.
    pub status: Status,
    /// `output:`, `null` where it could not be evaluated after a failure.
    pub output: Value,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// The workflow's own steps in order, then its `finally` steps, then those of `on-failure`.
    pub steps: Vec<StepOutcome>,
    /// The run of the `on-failure` workflow, recorded as `queued` in the same journal, if one follows.
    pub alert: Option<RunId>,
}

/// How a step of the workflow ended.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Where.
    pub place: Place,
    /// How.
    pub status: Status,
    /// With `for-each`: how many items ended how.
    pub counts: Option<Counts>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Why a run could not be started or went no further. Its record is as good as before: it can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal refused or failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The process is ending; [`Runner::suspend`] was called.
    #[error("run `{0}` was put aside because the process is ending; resume it later")]
    Suspended(RunId),
    /// The run went by another text.
    #[error("run `{run}` began with another text of workflow `{workflow}` (sha256 {digest})")]
    OtherText {
        /// The run.
        run: RunId,
        /// The workflow's id.
        workflow: String,
        /// The text that it began with.
        digest: String,
    },
    /// The run goes by other components than those that the workflow was checked against.
    #[error("run `{run}` began with another build of plugin `{plugin}` (sha256 {component})")]
    OtherPlugin {
        /// The run.
        run: RunId,
        /// The plugin's name.
        plugin: String,
        /// The component that it began with.
        component: String,
    },
    /// A component cannot be kept for the run, which therefore does not begin.
    #[error("run `{run}` cannot begin: {reason}")]
    NotKept {
        /// The run.
        run: RunId,
        /// Why.
        reason: Box<Failure>,
    },
    /// Something that the run goes by is missing; once it is back, the run goes on.
    #[error("{reason}")]
    Held {
        /// The run.
        run: RunId,
        /// What is missing, and how to bring it back.
        reason: Box<Failure>,
    },
    /// This runner is executing it already.
    #[error("run `{0}` is being executed")]
    Active(RunId),
    /// There is nothing to decide.
    #[error("`{place}` of run `{run}` is not `interrupted`")]
    NothingToDecide {
        /// The run.
        run: RunId,
        /// What was named.
        place: Place,
    },
}

/// Executes runs. Cheap to clone; all clones are one runner.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    owner: String,
    call_timeout: Duration,
    keys: Keys,
    suspend: CancellationToken,
    active: Mutex<HashMap<RunId, Arc<Notify>>>,
}

/// A run that this runner is executing.
struct Active<'r> {
    inner: &'r Inner,
    run: RunId,
    bell: Arc<Notify>,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.inner.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

impl Inner {
    fn activate(&self, run: RunId) -> Result<Active<'_>, RunError> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.contains_key(&run) {
            return Err(RunError::Active(run));
        }
        let bell = Arc::new(Notify::new());
        active.insert(run, Arc::clone(&bell));
        Ok(Active { inner: self, run, bell })
    }
}

impl Runner {
    /// A runner that gives calls 60 seconds where the step says nothing.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self::with_call_timeout(parts, CALL_TIMEOUT)
    }

    /// A runner that gives calls so long where the step has no `timeout`.
    #[must_use]
    pub fn with_call_timeout(parts: Parts, call_timeout: Duration) -> Self {
        let inner = Inner {
            parts,
            owner: Uuid::new_v4().to_string(),
            call_timeout,
            keys: Keys::default(),
            suspend: CancellationToken::new(),
            active: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Records a run as `queued`. It is on disk when this returns.
    ///
    /// # Errors
    /// [`RunError::Journal`].
    pub async fn start(&self, workflow: &Workflow, start: Start) -> Result<RunId, RunError> {
        let now = self.inner.parts.clock.now();
        let id = RunId::new(now);
        let run = NewRun {
            id,
            workflow: workflow.id.clone(),
            digest: workflow.digest.clone(),
            text: Arc::clone(&workflow.text),
            inputs: start.inputs,
            trigger: start.trigger,
            concurrency_key: start.concurrency_key,
            started_at: now,
        };
        self.inner.parts.journal.create(run).await?;
        Ok(id)
    }

    /// Executes a run that is `queued`, or resumes one that is `running` and that nobody works on: finished calls
    /// are answered from the record, and the run goes on from there.
    ///
    /// Dropping the future at any moment leaves a record from which the run can be resumed. `cancel` ends the run as
    /// `cancelled`: nothing new begins, running calls are told to end, `undo` and `finally` still run.
    ///
    /// # Errors
    /// [`RunError::OtherText`] and [`RunError::OtherPlugin`] unless `workflow` is the text that the run began with,
    /// checked against the components that it began with; [`RunError::NotKept`], [`RunError::Held`]; [`JournalError::HasEnded`],
    /// [`JournalError::Held`], [`JournalError::KeyBusy`] when it may not be executed now; [`RunError::Suspended`]
    /// and journal failures when it could not go on.
    pub async fn execute(
        &self,
        run: RunId,
        workflow: Arc<Workflow>,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        let inner = &*self.inner;
        let active = inner.activate(run)?;
        let Parts { journal, clock, .. } = &inner.parts;
        let header = journal.find(&run.to_string()).await?;
        if header.digest != workflow.digest {
            return Err(RunError::OtherText { run, workflow: header.workflow, digest: header.digest });
        }
        let now = clock.now();
        let claim = journal.claim(run, &inner.owner, now, later(now, LEASE)).await?;
        let Taken { memory, texts, plugins } = match take(&inner.parts, run, &workflow).await {
            Ok(taken) => taken,
            Err(error) => {
                // Nothing was begun. Where it cannot be given back it stays with this runner, which may take it again.
                let _given_back = journal.release(&claim).await;
                return Err(error);
            }
        };
        let resumed = header.status == Status::Running || memory.attempt > 1;
        let context = LocalContext::new(LocalParts {
            run,
            started_at: header.started_at,
            memory,
            plugins: plugins.clone(),
            journal: Arc::clone(journal),
            invoke: Arc::clone(&inner.parts.invoke),
            clock: Arc::clone(clock),
            observer: Arc::clone(&inner.parts.observer),
            keys: inner.keys.clone(),
            suspend: inner.suspend.clone(),
            bell: Arc::clone(&active.bell),
            claim,
        });
        if context.memory().texts.is_empty() && !texts.is_empty() {
            context.note(Entry::TextsPinned { texts });
        }
        if context.memory().plugins.is_none() && !plugins.is_empty() {
            context.note(Entry::PluginsPinned { plugins });
        }
        let attempt = context.memory().attempt;
        context.tell(Event::RunStarted { workflow: header.workflow.clone(), attempt, resumed });
        let outcome = self.guarded(&context, &header, &workflow, cancel).await;
        match outcome {
            Ok(outcome) => {
                context.tell(Event::RunEnded { status: outcome.status, failure: outcome.failure.clone() });
                Ok(outcome)
            }
            Err(Stop::Suspended) => {
                context.flush().await.map_err(|stop| stopped(run, stop))?;
                journal.release(context.claim()).await?;
                Err(RunError::Suspended(run))
            }
            Err(Stop::Held(reason)) => {
                context.flush().await.map_err(|stop| stopped(run, stop))?;
                journal.release(context.claim()).await?;
                Err(stopped(run, Stop::Held(reason)))
            }
            Err(stop) => Err(stopped(run, stop)),
        }
    }

    /// The walk, and beside it what keeps the claim and listens for `cancel`.
    async fn guarded(
        &self,
        context: &LocalContext,
        header: &RunHeader,
        workflow: &Workflow,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, Stop> {
        let Parts { journal, clock, .. } = &self.inner.parts;
        let inner_cancel = CancellationToken::new();
        let mut cancelled = context.memory().cancel_asked;
        if cancelled {
            inner_cancel.cancel();
        }
        let walk = self.walk(context, header, workflow, inner_cancel.clone());
        tokio::pin!(walk);
        let mut renew_at = later(clock.now(), LEASE / 3);
        loop {
            let look_at = later(clock.now(), HEARS_WITHIN);
            tokio::select! {
                biased;
                () = cancel.cancelled(), if !cancelled => {
                    // Recorded first, so that a resumed run knows why its calls were cancelled.
                    unless_fenced(context.record(Entry::CancelAsked).await)?;
                    cancelled = true;
                    inner_cancel.cancel();
                }
                outcome = &mut walk => return outcome,
                () = clock.sleep_until(renew_at) => {
                    journal.renew(context.claim(), later(clock.now(), LEASE)).await?;
                    unless_fenced(context.flush().await)?;
                    renew_at = later(clock.now(), LEASE / 3);
                }
                // Somebody in another process, who has recorded it.
                () = clock.sleep_until(look_at), if !cancelled => {
                    if journal.cancel_asked(header.id).await? {
                        cancelled = true;
                        inner_cancel.cancel();
                    }
                }
            }
        }
    }

    async fn walk(
        &self,
        context: &LocalContext,
        header: &RunHeader,
        workflow: &Workflow,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, Stop> {
        let run = header.id;
        if context.claim().crashes > MAX_CRASHES {
            let message =
                format!("the process ended {MAX_CRASHES} times in a row while this run was being executed");
            let failure = Failure::new(Kind::Internal, message)
                .with_code("bascule:quarantined")
                .with_effect(Effect::Unknown);
            let outcome = RunOutcome {
                run,
                status: Status::Interrupted,
                output: Value::Null,
                failure: Some(failure),
                steps: vec![],
                alert: None,
            };
            return self.end(context, workflow, Ending { outcome, alert: None }).await;
        }
        let memory = context.memory();
        let mut scope = Scope::new();
        scope.set("inputs", Value::Object(memory.inputs.clone()));
        scope.set("trigger", memory.trigger.clone());
        let about_run = json!({
            "id": run,
            "started_at": context.now().to_string(),
            "workflow": header.workflow,
            "attempt": memory.attempt,
        });
        scope.set("run", about_run.clone());
        let interpreter = Interpreter {
            context,
            workflow,
            call_timeout: self.inner.call_timeout,
            depth: 1,
            calls: Arc::default(),
            about_run,
        };
        let ending = interpreter.run(scope, cancel).await?;
        self.end(context, workflow, ending).await
    }

    /// Puts the last entry on disk, with all that was noted before it. The alert is announced, recorded as a run, and
    /// only then does this one end: wherever the process dies, there is one alert.
    async fn end(
        &self,
        context: &LocalContext,
        workflow: &Workflow,
        ending: Ending,
    ) -> Result<RunOutcome, Stop> {
        let Ending { mut outcome, alert } = ending;
        if let (Some(trigger), Some(OnFailure::Workflow(alert))) = (alert, &workflow.on_failure) {
            outcome.alert = self.announce(context, alert, trigger, &mut outcome.failure).await?;
        }
        let RunOutcome { status, output, failure, .. } = &outcome;
        let entry = Entry::RunEnded { status: *status, output: output.clone(), failure: failure.clone() };
        context.record(entry).await?;
        Ok(outcome)
    }

    async fn announce(
        &self,
        context: &LocalContext,
        workflow: &Workflow,
        trigger: Value,
        failure: &mut Option<Failure>,
    ) -> Result<Option<RunId>, Stop> {
        let Parts { journal, clock, .. } = &self.inner.parts;
        let inputs = workflow.accept_inputs(Map::new()).ok();
        let key = inputs.as_ref().map(|inputs| workflow.concurrency_key(inputs, &trigger));
        let (Some(inputs), Some(Ok(concurrency_key))) = (inputs, key) else {
            if let Some(failure) = failure {
                failure.message.push_str(&format!("; and `{}` could not be started", workflow.id));
            }
            return Ok(None);
        };
        let id = match context.memory().alert {
            Some(id) => id,
            None => {
                let id = RunId::new(clock.now());
                context.record(Entry::AlertDue { run: id }).await?;
                id
            }
        };
        match journal.find(&id.to_string()).await {
            Ok(_) => {}
            Err(JournalError::NoSuchRun(_)) => {
                let run = NewRun {
                    id,
                    workflow: workflow.id.clone(),
                    digest: workflow.digest.clone(),
                    text: Arc::clone(&workflow.text),
                    inputs,
                    trigger,
                    concurrency_key,
                    started_at: clock.now(),
                };
                journal.create(run).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Some(id))
    }

    /// [`Runner::execute`] for a run that was begun before: after a crash, or after [`Runner::suspend`].
    ///
    /// # Errors
    /// As `execute`.
    pub async fn resume(
        &self,
        run: RunId,
        workflow: Arc<Workflow>,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        self.execute(run, workflow, cancel).await
    }

    /// Ends a run `interrupted` that cannot go on and that somebody wants to be rid of. Nothing of it is undone, and its
    /// failure says so; it can be taken up again like any run that has ended. `why` says who wants it, and what holds it.
    ///
    /// # Errors
    /// [`RunError::Active`] while this runner executes it; [`RunError::Journal`].
    pub async fn abandon(&self, run: RunId, why: &str) -> Result<RunOutcome, RunError> {
        let inner = &*self.inner;
        let _active = inner.activate(run)?;
        let Parts { journal, clock, .. } = &inner.parts;
        let now = clock.now();
        let claim = journal.claim(run, &inner.owner, now, later(now, LEASE)).await?;
        let failure =
            Failure::new(Kind::Cancelled, format!("{why}; nothing was undone")).with_effect(Effect::Unknown);
        let (status, output) = (Status::Interrupted, Value::Null);
        let entry = Entry::RunEnded { status, output: output.clone(), failure: Some(failure.clone()) };
        journal.append(&claim, Batch { entries: vec![Timed { at: now, entry }], lines: Vec::new() }).await?;
        Ok(RunOutcome { run, status, output, failure: Some(failure), steps: Vec::new(), alert: None })
    }

    /// Takes up a run that has ended, as its next attempt (spec 6): what succeeded stays as it is, all else is done.
    ///
    /// # Errors
    /// [`JournalError::NotEnded`]; else as `execute`.
    pub async fn rerun(
        &self,
        run: RunId,
        workflow: Arc<Workflow>,
        basis: Basis,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        self.rerun_with(run, workflow, Rerun { basis, inputs: None }, cancel).await
    }

    /// [`Runner::rerun`] with other inputs, if there are any: what succeeded stays as it is all the same, lists of
    /// `for-each` steps that had not succeeded are evaluated again.
    ///
    /// # Errors
    /// As `rerun`.
    pub async fn rerun_with(
        &self,
        run: RunId,
        workflow: Arc<Workflow>,
        rerun: Rerun,
        cancel: CancellationToken,
    ) -> Result<RunOutcome, RunError> {
        self.reopen(run, &workflow, rerun).await?;
        self.execute(run, workflow, cancel).await
    }

    /// The first half of [`Runner::rerun_with`]: the run is `queued` again, as its next attempt, and [`Runner::execute`]
    /// takes it up, by the workflow given here.
    ///
    /// # Errors
    /// [`RunError::OtherText`], [`JournalError::NotEnded`].
    pub async fn reopen(&self, run: RunId, workflow: &Workflow, rerun: Rerun) -> Result<(), RunError> {
        let Parts { journal, clock, .. } = &self.inner.parts;
        let header = journal.find(&run.to_string()).await?;
        let Rerun { basis, inputs } = rerun;
        let texts = (basis == Basis::Latest).then(|| pinned(workflow));
        let text = match basis {
            Basis::AsBegun if header.digest != workflow.digest => {
                return Err(RunError::OtherText { run, workflow: header.workflow, digest: header.digest });
            }
            Basis::AsBegun => None,
            Basis::Latest => Some((workflow.digest.clone(), Arc::clone(&workflow.text))),
        };
        journal.revise(run, clock.now(), Revision::Reopen(Reopening { text, texts, inputs })).await?;
        Ok(())
    }

    /// Records what a person found out about a step that ended `interrupted`; [`Runner::rerun`] then goes by it.
    ///
    /// # Errors
    /// [`RunError::NothingToDecide`], [`JournalError::NotEnded`].
    pub async fn decide(&self, run: RunId, place: Place, verdict: Verdict) -> Result<(), RunError> {
        let Parts { journal, clock, .. } = &self.inner.parts;
        let memory = Memory::of(journal.read(run).await?).of_place(&place);
        let interrupted = memory.ended.as_ref().is_some_and(|ended| ended.status == Status::Interrupted);
        if !interrupted || !memory.was_begun() {
            return Err(RunError::NothingToDecide { run, place });
        }
        journal.revise(run, clock.now(), Revision::Decide { place, verdict }).await?;
        Ok(())
    }

    /// Keeps an event for a run, and wakes the run if it waits for it.
    ///
    /// # Errors
    /// [`RunError::Journal`].
    pub async fn deliver(&self, run: RunId, name: &str, value: Value) -> Result<(), RunError> {
        self.inner.parts.journal.deliver(run, self.inner.parts.clock.now(), name, value).await?;
        if let Some(bell) = self.inner.active.lock().unwrap_or_else(PoisonError::into_inner).get(&run) {
            bell.notify_waiters();
        }
        Ok(())
    }

    /// The process is ending: calls that are under way are waited for, nothing new begins, and `execute` returns
    /// [`RunError::Suspended`] for each run that is not finished by then. For ever; a new runner starts afresh.
    pub fn suspend(&self) {
        self.inner.suspend.cancel();
    }

    /// Everything about a run, by its id or an unambiguous beginning of it.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`], [`JournalError::Ambiguous`].
    pub async fn record(&self, id: &str) -> Result<RunRecord, JournalError> {
        RunRecord::read(&*self.inner.parts.journal, id).await
    }
}

/// The walk may just have ended the run, and then nothing can be added; if it was not that, the walk finds out by
/// itself.
fn unless_fenced(result: Result<(), Stop>) -> Result<(), Stop> {
    match result {
        Err(Stop::Journal(JournalError::Fenced(_))) => Ok(()),
        other => other,
    }
}

fn stopped(run: RunId, stop: Stop) -> RunError {
    match stop {
        Stop::Journal(error) => RunError::Journal(error),
        Stop::Suspended => RunError::Suspended(run),
        Stop::Held(reason) => RunError::Held { run, reason: Box::new(reason) },
    }
}
