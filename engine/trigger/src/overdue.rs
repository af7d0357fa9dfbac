//! Runs that begin when a workflow has not succeeded for too long: what does not run at all cannot fail, and nobody
//! would hear of it.
//!
//! A lapse begins with the last success (of a workflow that never had one, with the moment from which it is watched), and
//! is told once, whatever crashes: that it was told is stored in the transaction of the run that tells it. The next success ends it.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bascule_database::DatabaseError;
use bascule_run::RunId;
use bascule_run::clock::{Clock, later};
use bascule_workflow::plan::Workflow;
use bascule_workflow::quantity::duration_text;
use bascule_workflow::trigger::{Source, Trigger};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, IntakeError};
use crate::book::Book;
use crate::dispatch::chain;
use crate::intake::Intake;
use rows::{Key, Row, Told};

pub(crate) use rows::note_success;

/// After a failure of the database.
const AGAIN: Duration = Duration::from_secs(5);
/// The clock is looked at so often, in real time: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What is needed to watch.
#[derive(Clone)]
pub struct WatchParts {
    /// Where runs go.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
}

/// Watches over successes. Cheap to clone.
#[derive(Clone)]
pub struct Watcher {
    parts: Arc<WatchParts>,
}

/// A run that ended `succeeded` or `recovered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// The run.
    pub run: RunId,
    /// Its end.
    pub at: Timestamp,
}

/// One workflow that a trigger watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The workflow that is told.
    pub workflow: String,
    /// Its trigger.
    pub trigger: String,
    /// The workflow that is watched.
    pub name: String,
    /// How long it may take to succeed again.
    pub no_success_for: Duration,
    /// When it succeeded last, if it ever did.
    pub last_success: Option<Success>,
    /// From when on the time counts: the last success, else since when it is watched.
    pub since: Timestamp,
    /// When it is overdue unless it succeeds before.
    pub due_at: Timestamp,
    /// When this lapse was told, if it was.
    pub told_at: Option<Timestamp>,
}

/// A watch with what is needed to tell.
struct Wanted {
    workflow: Arc<Workflow>,
    trigger: Trigger,
    name: String,
    no_success_for: Duration,
}

impl Wanted {
    fn key(&self) -> Key {
        Key { workflow: self.workflow.id.clone(), trigger: self.trigger.id.clone(), name: self.name.clone() }
    }

    fn watch(&self, row: &Row, last_success: Option<Success>) -> Watch {
        let since = last_success.map_or(row.since, |success| success.at);
        Watch {
            workflow: self.workflow.id.clone(),
            trigger: self.trigger.id.clone(),
            name: self.name.clone(),
            no_success_for: self.no_success_for,
            last_success,
            since,
            due_at: later(since, self.no_success_for),
            told_at: row.told.filter(|(lapse, _)| *lapse == since).map(|(_, at)| at),
        }
    }
}

impl Watcher {
    /// A watcher; it does nothing before [`Watcher::step`] or [`Watcher::run`].
    #[must_use]
    pub fn new(parts: WatchParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Watches until it is stopped.
    pub async fn run(&self, stop: CancellationToken) {
        let clock = &self.parts.clock;
        let mut changed = self.parts.book.changed();
        loop {
            let next = match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "what is overdue cannot be told now");
                    Some(later(clock.now(), AGAIN))
                }
            };
            // A success meanwhile only puts it off: that is found then.
            let alarm = async {
                match next {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let edited = async {
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = edited => {}
                () = alarm => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Tells every lapse that has not been told, and gives the instant of the next one. Repeated at any moment, in any
    /// process, it tells none twice.
    ///
    /// # Errors
    /// What the database says; what was told before is kept.
    pub async fn step(&self) -> Result<Option<Timestamp>, DatabaseError> {
        let (intake, now) = (&self.parts.intake, self.parts.clock.now());
        let wanted = wanted(&*self.parts.book);
        let keys: BTreeSet<Key> = wanted.iter().map(Wanted::key).collect();
        rows::keep(intake, &keys, now).await?;
        let (rows, successes) = (rows::all(intake).await?, rows::successes(intake).await?);
        let mut next = None;
        for wanted in &wanted {
            let Some(row) = rows.get(&wanted.key()) else { continue };
            let watch = wanted.watch(row, successes.get(&wanted.name).copied());
            if watch.told_at.is_some() {
                continue;
            }
            if watch.due_at > now {
                next = [next, Some(watch.due_at)].into_iter().flatten().min();
            } else {
                self.tell(wanted, &watch, now).await?;
            }
        }
        Ok(next)
    }

    async fn tell(&self, wanted: &Wanted, watch: &Watch, now: Timestamp) -> Result<(), DatabaseError> {
        let intake = &self.parts.intake;
        let told = || Told { key: wanted.key(), lapse: watch.since, at: now };
        // The row alone would do while it is there; the key also covers one that was taken away and came back.
        let dedupe = format!("{}@{}", watch.name, watch.since);
        let reason = match Admission::of_trigger(&wanted.workflow, &wanted.trigger, value(wanted, watch)) {
            Ok(None) => return told().store(intake).await,
            Ok(Some(admission)) => {
                let admission = admission.with_dedupe(dedupe.clone());
                match intake.admit_beside(vec![admission], told()).await {
                    Ok(_) => {
                        tracing::warn!(
                            workflow = %watch.name, since = %watch.since, told = %watch.workflow,
                            "no success for {}", duration_text(watch.no_success_for)
                        );
                        return Ok(());
                    }
                    Err(IntakeError::Unavailable(error)) => return Err(error),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        match intake.refuse(&watch.workflow, &watch.trigger, Some(&dedupe), &reason).await {
            Err(IntakeError::Unavailable(error)) => return Err(error),
            Ok(_) | Err(_) => {
                tracing::error!(workflow = %watch.workflow, %reason, "no run tells what is overdue")
            }
        }
        told().store(intake).await
    }

    /// Every watch, as it stands, by workflow, trigger and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn watches(&self) -> Result<Vec<Watch>, DatabaseError> {
        let intake = &self.parts.intake;
        let (rows, successes) = (rows::all(intake).await?, rows::successes(intake).await?);
        let watches = wanted(&*self.parts.book)
            .into_iter()
            .filter_map(|wanted| {
                Some(wanted.watch(rows.get(&wanted.key())?, successes.get(&wanted.name).copied()))
            })
            .collect();
        Ok(watches)
    }

    /// When each workflow succeeded last; one that never has, and never had before its runs were removed, is left out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn successes(&self) -> Result<BTreeMap<String, Success>, DatabaseError> {
        rows::successes(&self.parts.intake).await
    }
}

/// Every watch of the book, by workflow, trigger and name.
fn wanted(book: &dyn Book) -> Vec<Wanted> {
    let mut all = Vec::new();
    for workflow in book.all() {
        for trigger in &workflow.triggers {
            let Source::Overdue(overdue) = &trigger.source else { continue };
            let names: BTreeSet<&String> = overdue.names.iter().collect();
            all.extend(names.into_iter().map(|name| Wanted {
                workflow: Arc::clone(&workflow),
                trigger: trigger.clone(),
                name: name.clone(),
                no_success_for: overdue.no_success_for,
            }));
        }
    }
    all
}

/// As expressions see `trigger`.
fn value(wanted: &Wanted, watch: &Watch) -> Value {
    let last =
        watch.last_success.map(|success| json!({ "run": success.run, "ended_at": success.at.to_string() }));
    json!({
        "kind": "overdue",
        "id": wanted.trigger.id,
        "workflow": watch.name,
        "no_success_for": duration_text(watch.no_success_for),
        "last_success": last,
        "since": watch.since.to_string(),
        "due_at": watch.due_at.to_string(),
    })
}
