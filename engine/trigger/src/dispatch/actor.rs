//! The one task that begins runs and hears of their ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bascule_database::Room;
use bascule_run::RunId;
use bascule_run::clock::later;
use bascule_run::journal::{PinnedPlugins, PinnedTexts, RunTexts};
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::Trigger;
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

use super::execute::{Finish, execute, why};
use super::{Ended, Shared, header, tables};
use crate::admission::Admission;
use crate::intake::{Arrival, Kind, Sealed, Waiting};

/// After a failure of the journal, or while a group is at work elsewhere.
const AGAIN: Duration = Duration::from_secs(5);
/// How long nothing begins beside a run under suspicion.
const ALONE: Duration = Duration::from_secs(5);
/// Collected events whose trigger is gone are looked at again.
const UNMADE: Duration = Duration::from_secs(60);

/// What the actor alone knows.
struct Actor {
    shared: Arc<Shared>,
    tasks: JoinSet<(RunId, Finish)>,
    /// Which task is which run: a task that panicked does not say.
    runs: std::collections::HashMap<tokio::task::Id, RunId>,
    /// Runs that are tried again then.
    later: BTreeMap<(Timestamp, RunId), Waiting>,
    /// When a bucket is due.
    due: Option<Timestamp>,
    /// Until when nothing begins beside this run.
    alone: Option<(Timestamp, RunId)>,
    /// What is held is to be tried again.
    retry: bool,
}

pub(super) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.parts.book.changed();
    let mut book_lives = true;
    let mut room = shared.parts.intake.database().room();
    let due = match shared.parts.intake.next_due().await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(error = %why(&error), "cannot look for demands that wait");
            Some(later(shared.now(), AGAIN))
        }
    };
    let mut actor = Actor {
        tasks: JoinSet::new(),
        runs: std::collections::HashMap::new(),
        later: BTreeMap::new(),
        due,
        alone: None,
        retry: false,
        shared: Arc::clone(&shared),
    };
    loop {
        actor.hear();
        // While the disk is nearly full, what is left is for the ends of those that have begun.
        if *room.borrow_and_update() == Room::Enough {
            actor.begin();
        }
        let alone = actor.alone.map(|(until, _)| until);
        let next =
            actor.later.keys().next().map(|(at, _)| *at).into_iter().chain(actor.due).chain(alone).min();
        let alarm = async {
            match next {
                Some(at) => shared.parts.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            Some(done) = actor.tasks.join_next_with_id(), if !actor.tasks.is_empty() => actor.done(done).await,
            () = shared.parts.intake.arrivals().rung() => {}
            () = shared.nudge.notified() => {}
            () = shared.bell.notified() => actor.look().await,
            seen = changed.changed(), if book_lives => match seen {
                Ok(()) => actor.try_held(),
                Err(_) => book_lives = false,
            },
            // An error means that the writer is gone, and with it everything that could be done here.
            Ok(()) = room.changed() => {}
            () = alarm => actor.on_time().await,
        }
    }
    while let Some(done) = actor.tasks.join_next_with_id().await {
        actor.done(done).await;
    }
}

impl Actor {
    /// Takes what the intake has committed.
    fn hear(&mut self) {
        let arrivals = self.shared.parts.intake.arrivals().take();
        let mut ended = Vec::new();
        {
            let mut state = self.shared.state();
            for arrival in arrivals {
                match arrival {
                    Arrival::Run(waiting) => state.queue.add(waiting),
                    Arrival::Cancel(run) => {
                        if let Some(token) = state.cancels.get(&run) {
                            token.cancel();
                        }
                    }
                    Arrival::Ended(run) => {
                        if state.queue.remove(run).is_some() {
                            ended.push(run);
                        }
                    }
                    Arrival::Due(at) => self.due = Some(self.due.map_or(at, |due| due.min(at))),
                }
            }
        }
        for run in ended {
            let shared = Arc::clone(&self.shared);
            // Reads the journal, which the actor must not wait for.
            let task = self.tasks.spawn(async move {
                if let Ok(header) = header(&*shared.parts.journal, run).await {
                    shared.ended_unbegun(&header);
                }
                (run, Finish::Gone)
            });
            self.runs.insert(task.id(), run);
        }
    }

    /// Begins as many runs as may be under way.
    fn begin(&mut self) {
        loop {
            let (run, token) = {
                let mut state = self.shared.state();
                if self.shared.stop.is_cancelled() || state.queue.under_way() >= self.shared.parts.at_once {
                    return;
                }
                let Some(waiting) = state.queue.next() else { return };
                let run = waiting.order.run;
                if state.queue.alone() == Some(run) {
                    tracing::warn!(%run, "it was under way each time the process died; it begins alone");
                    self.alone = Some((later(self.shared.now(), ALONE), run));
                }
                let token = tokio_util::sync::CancellationToken::new();
                // Before the run reads its record: a wish to cancel is in one of the two.
                state.cancels.insert(run, token.clone());
                (run, token)
            };
            let task = self.tasks.spawn(execute(Arc::clone(&self.shared), run, token));
            self.runs.insert(task.id(), run);
        }
    }

    async fn done(&mut self, done: Result<(tokio::task::Id, (RunId, Finish)), tokio::task::JoinError>) {
        let (id, finish) = match done {
            Ok((id, (_, finish))) => (id, finish),
            // Tried again at once it would do so again.
            Err(error) => (error.id(), Finish::Held(format!("executing it ended early: {error}"))),
        };
        let Some(run) = self.runs.remove(&id) else { return };
        let waiting = {
            let mut state = self.shared.state();
            state.cancels.remove(&run);
            state.queue.ended(run)
        };
        match finish {
            Finish::Ended(outcome) => {
                self.shared.release(run).await;
                if let Some(alert) = outcome.alert {
                    if let Err(error) = tables::follow(&self.shared.parts.intake, run, alert).await {
                        tracing::error!(run = %alert, error = %why(&error), "cannot store what the run follows");
                    }
                    self.shared.bell.notify_one();
                }
                self.shared.tell(&Ended::from(&*outcome));
            }
            Finish::Gone => self.shared.release(run).await,
            Finish::Suspended => {}
            Finish::Held(reason) => self.shared.hold(run, reason).await,
            Finish::Later(reason) => {
                tracing::warn!(%run, %reason, "the run is tried again");
                if let Some(waiting) = waiting {
                    self.later.insert((later(self.shared.now(), AGAIN), run), waiting);
                }
            }
        }
    }

    /// Looks into the database for runs that came another way.
    async fn look(&mut self) {
        match tables::open_runs(&self.shared.parts.intake).await {
            Ok(all) => {
                let mut state = self.shared.state();
                for waiting in all {
                    let run = waiting.order.run;
                    let put_off = self.later.keys().any(|(_, other)| *other == run);
                    if !state.queue.knows(run) && (self.retry || !state.held.contains_key(&run)) && !put_off {
                        state.queue.add(waiting);
                    }
                }
                self.retry = false;
            }
            Err(error) => tracing::error!(error = %why(&error), "cannot look for runs that wait"),
        }
    }

    /// Workflows or plugins have changed: what was held may go on.
    fn try_held(&mut self) {
        let held: Vec<RunId> = self.shared.state().held.keys().copied().collect();
        if !held.is_empty() {
            self.retry = true;
            self.shared.bell.notify_one();
        }
    }

    /// Something is due.
    async fn on_time(&mut self) {
        let now = self.shared.now();
        if let Some((_, run)) = self.alone.take_if(|(until, _)| *until <= now) {
            self.shared.state().queue.let_others_in(run);
        }
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let waiting = entry.remove();
            self.shared.state().queue.add(waiting);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = match self.empty_buckets().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(error = %why(&error), "demands that wait cannot become runs now");
                    Some(later(now, AGAIN))
                }
            };
        }
    }

    /// Makes runs of the buckets that are due; gives the instant of the next one.
    async fn empty_buckets(&mut self) -> Result<Option<Timestamp>, bascule_database::DatabaseError> {
        let parts = &self.shared.parts;
        for sealed in parts.intake.seal_due().await? {
            let id = sealed.id.clone();
            let outcome = match sealed.kind {
                Kind::Last | Kind::All => {
                    sealed.into_run(self.shared.now()).ok_or_else(|| "nothing was left of it".to_owned())
                }
                Kind::Events => match self.trigger_of(&sealed).await {
                    Ok((workflow, trigger)) => self.batch(&workflow, &trigger, sealed),
                    Err(reason) => {
                        tracing::error!(
                            workflow = %sealed.workflow, trigger = %sealed.source, %reason,
                            "collected events wait: no run can be made of them"
                        );
                        parts.intake.put_off(id, later(self.shared.now(), UNMADE)).await?;
                        continue;
                    }
                },
            };
            parts.intake.finish(id, outcome).await?;
        }
        parts.intake.next_due().await
    }

    /// The trigger that a batch is of: as it stands now, else as it stood.
    async fn trigger_of(&self, sealed: &Sealed) -> Result<(Arc<Workflow>, Trigger), String> {
        let book = &self.shared.parts.book;
        let of = |workflow: Arc<Workflow>| {
            let mut triggers = workflow.triggers.iter();
            let trigger = triggers.find(|trigger| trigger.id == sealed.source).cloned();
            trigger.map(|trigger| (workflow, trigger))
        };
        if let Some(found) = book.current(&sealed.workflow).and_then(of) {
            return Ok(found);
        }
        let texts = RunTexts {
            text: Arc::clone(&sealed.text),
            named: PinnedTexts::default(),
            plugins: PinnedPlugins::default(),
        };
        let found = book.of_text(&sealed.workflow, &sealed.digest, &texts).await;
        let workflow = found.map_err(|failure| {
            format!("the workflow is not there any more, and its text cannot be used: {failure}")
        })?;
        of(workflow).ok_or_else(|| "the trigger is not there any more".to_owned())
    }

    /// The run that a batch of events makes.
    fn batch(
        &self,
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        sealed: Sealed,
    ) -> Result<crate::intake::Ready, String> {
        let event = |item: crate::intake::Item| match item.trigger {
            Value::Object(mut map) => map.remove("event").unwrap_or(Value::Null),
            other => other,
        };
        let events = sealed.items.into_iter().map(event).collect();
        let admission = Admission::of_batch(workflow, trigger, events).map_err(|error| error.to_string())?;
        crate::intake::ready(admission, self.shared.now()).map_err(|error| error.to_string())
    }
}
