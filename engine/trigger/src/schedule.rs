//! Schedules: when they are due, and what becomes of what was missed.
//!
//! [`Occurrences`] is pure: a cron line in a time zone. [`Scheduler`] keeps a row for each planned occurrence before it
//! is due, and decides on it when it is: in one transaction the row gets its run. Rows outlive the process, so an
//! occurrence that passed while nothing ran is found, and becomes a run or a visible `missed`, as the workflow says.

mod occurrences;
mod plan;
mod slots;
mod upcoming;

use std::sync::Arc;
use std::time::Duration;

use bascule_database::DatabaseError;
use bascule_run::clock::{Clock, later};
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{Missed, Schedule, Source, Trigger};
use futures_util::FutureExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Admitted, IntakeError, Verdict};
use crate::book::Book;
use crate::dispatch::chain;
use crate::intake::Intake;
use slots::{Decision, Planned, Settle};

pub use occurrences::{BadLine, Occurrences, jitter_of};
pub use slots::{MissedSince, Slot, SlotFilter, SlotState, missed_since};
pub use upcoming::{Next, Upcoming, upcoming};

/// An occurrence that is found so much later than it was due has been missed.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// After a failure of the database.
const AGAIN: Duration = Duration::from_secs(5);
/// The clock is looked at so often, in real time: it may have been set back.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a scheduler works with.
#[derive(Clone)]
pub struct ScheduleParts {
    /// Where its runs go.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// The zone of schedules that name none.
    pub zone: TimeZone,
}

/// Makes runs of schedules. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    parts: Arc<ScheduleParts>,
    /// Whether a step has come to its end.
    planned: watch::Sender<bool>,
}

/// A schedule of a workflow.
pub(crate) struct Entry {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) trigger: Trigger,
    pub(crate) schedule: Schedule,
    pub(crate) zone_name: String,
    pub(crate) occurrences: Occurrences,
}

impl Entry {
    /// What the rows of this schedule are planned by; rows of another text are not its own.
    fn line(&self) -> String {
        format!("{} {}", self.schedule.cron, self.zone_name)
    }

    /// When a slot is due.
    pub(crate) fn due(&self, slot: Timestamp) -> Timestamp {
        let jitter = jitter_of(&self.workflow.id, &self.trigger.id, slot, self.schedule.jitter);
        slot.checked_add(jitter).unwrap_or(slot)
    }
}

/// Every schedule of the book; one whose line or zone cannot be used (which `check` refuses) is left out with a log
/// line.
pub(crate) fn entries(book: &dyn Book, site: &TimeZone) -> Vec<Entry> {
    let mut all = Vec::new();
    for workflow in book.all() {
        for trigger in &workflow.triggers {
            let Source::Schedule(schedule) = &trigger.source else { continue };
            let zone = match &schedule.time_zone {
                Some(name) => TimeZone::get(name).map_err(|error| error.to_string()),
                None => Ok(site.clone()),
            };
            let occurrences = zone
                .and_then(|zone| Occurrences::new(&schedule.cron, zone).map_err(|error| error.to_string()));
            match occurrences {
                Ok(occurrences) => all.push(Entry {
                    workflow: Arc::clone(&workflow),
                    trigger: trigger.clone(),
                    schedule: schedule.clone(),
                    zone_name: schedule
                        .time_zone
                        .clone()
                        .or_else(|| site.iana_name().map(str::to_owned))
                        .unwrap_or_else(|| "local".to_owned()),
                    occurrences,
                }),
                Err(reason) => tracing::error!(
                    workflow = %workflow.id, trigger = %trigger.id, %reason, "the schedule cannot be used"
                ),
            }
        }
    }
    all
}

impl Scheduler {
    /// A scheduler; it does nothing before [`Scheduler::step`] or [`Scheduler::run`].
    #[must_use]
    pub fn new(parts: ScheduleParts) -> Self {
        Self { parts: Arc::new(parts), planned: watch::Sender::new(false) }
    }

    /// Returns once every schedule has its row: from then on no occurrence is lost, whatever becomes of the process.
    pub async fn planned(&self) {
        let mut planned = self.planned.subscribe();
        // An error means that the sender is gone, and this is one.
        let _seen = planned.wait_for(|planned| *planned).await;
    }

    /// Makes runs of schedules until it is stopped.
    pub async fn run(&self, stop: CancellationToken) {
        let clock = &self.parts.clock;
        let mut changed = self.parts.book.changed();
        loop {
            let next = match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "schedules wait for the database");
                    Some(later(clock.now(), AGAIN))
                }
            };
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

    /// Plans what is to come, decides on what is due now, and gives the instant of the next one. Repeated at any
    /// moment, in any process, it makes no second run of a slot.
    ///
    /// # Errors
    /// What the database says; what was decided before is kept.
    pub async fn step(&self) -> Result<Option<Timestamp>, DatabaseError> {
        let entries = entries(&*self.parts.book, &self.parts.zone);
        let now = self.parts.clock.now();
        plan::withdraw(&self.parts.intake, &entries, now).await?;
        let mut next = None;
        for entry in &entries {
            plan::ahead(&self.parts.intake, entry, now).await?;
            let due = self.decide(entry, now).await?;
            next = [next, due].into_iter().flatten().min();
        }
        self.planned.send_replace(true);
        Ok(next)
    }

    /// Decides on the rows of a schedule that are due; gives the instant of its next one.
    async fn decide(&self, entry: &Entry, now: Timestamp) -> Result<Option<Timestamp>, DatabaseError> {
        let planned = slots::planned(&self.parts.intake, &entry.workflow.id, &entry.trigger.id).await?;
        let next = planned.iter().map(|row| row.due_at).filter(|due| *due > now).min();
        let due: Vec<Planned> = planned.into_iter().filter(|row| row.due_at <= now).collect();
        if due.is_empty() {
            return Ok(next);
        }
        let decisions = policy(&entry.schedule, &due, now);
        let (to_run, missed): (Vec<_>, Vec<_>) =
            due.into_iter().zip(decisions).partition(|(_, decision)| matches!(decision, Choice::Run { .. }));
        let missed = missed.into_iter().filter_map(|(row, choice)| match choice {
            Choice::Miss(reason) => Some((row, reason)),
            Choice::Run { .. } => None,
        });
        // The runs first: a crash in between leaves rows that are still planned.
        for (row, choice) in to_run {
            if let Choice::Run { missed } = choice {
                self.begin(entry, &row, missed).await?;
            }
        }
        slots::miss(&self.parts.intake, &entry.workflow.id, &entry.trigger.id, missed.collect(), now).await?;
        Ok(next)
    }

    async fn begin(&self, entry: &Entry, row: &Planned, missed: u64) -> Result<(), DatabaseError> {
        let trigger = value(entry, row.slot_at, missed);
        let settle = |decision| Settle {
            workflow: entry.workflow.id.clone(),
            trigger: entry.trigger.id.clone(),
            slot_at: row.slot_at,
            at: self.parts.clock.now(),
            decision,
        };
        let admission = match Admission::of_trigger(&entry.workflow, &entry.trigger, trigger) {
            Ok(Some(admission)) => admission.with_dedupe(row.slot_at.to_string()),
            Ok(None) => {
                let decision = Decision::new(SlotState::Skipped, "`if` of the trigger says no");
                return self.settle(settle(Some(decision))).await;
            }
            Err(error) => {
                let decision = Decision::new(SlotState::Refused, error.to_string());
                return self.settle(settle(Some(decision))).await;
            }
        };
        match self.parts.intake.admit_beside(vec![admission], settle(None)).await {
            Ok(_) => Ok(()),
            Err(IntakeError::Unavailable(error)) => Err(error),
            Err(error) => {
                let decision = Decision::new(SlotState::Refused, error.to_string());
                self.settle(settle(Some(decision))).await
            }
        }
    }

    /// Stores what became of a slot that makes no run.
    async fn settle(&self, settle: Settle) -> Result<(), DatabaseError> {
        self.parts
            .intake
            .database()
            .write(move |tx| async move { settle.store(tx, None).await }.boxed())
            .await
    }

    /// The next occurrences of schedules, the first ones first.
    #[must_use]
    pub fn upcoming(&self, next: &Next) -> Vec<Upcoming> {
        upcoming(&*self.parts.book, &self.parts.zone, self.parts.clock.now(), next)
    }

    /// Slots that were planned or decided on, the newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn slots(&self, filter: &SlotFilter) -> Result<Vec<Slot>, DatabaseError> {
        slots::list(&self.parts.intake, filter).await
    }

    /// How many occurrences were missed, by workflow.
    ///
    /// # Errors
    /// What the database says.
    pub async fn missed(&self) -> Result<Vec<(String, u64)>, DatabaseError> {
        slots::missed(&self.parts.intake).await
    }
}

/// As expressions see `trigger`: `scheduled_at` is the instant that the schedule meant, whenever it runs.
fn value(entry: &Entry, slot: Timestamp, missed: u64) -> Value {
    json!({
        "kind": "schedule",
        "id": entry.trigger.id,
        "scheduled_at": slot.to_string(),
        "time_zone": entry.zone_name,
        "missed": missed,
    })
}

/// What becomes of a slot.
enum Choice {
    /// A run, which makes up for so many other ones.
    Run { missed: u64 },
    /// No run, and why.
    Miss(String),
}

/// One choice for each slot that is due, in order.
fn policy(schedule: &Schedule, due: &[Planned], now: Timestamp) -> Vec<Choice> {
    let age = |at: Timestamp| now.duration_since(at);
    let seconds = |limit: Duration| SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
    let on_time = |row: &Planned| age(row.due_at) <= seconds(ON_TIME);
    let too_old =
        |row: &Planned| schedule.missed_within.is_some_and(|within| age(row.slot_at) > seconds(within));
    let miss = |row: &Planned| {
        let reason = match (schedule.missed, schedule.missed_within) {
            (Missed::Skip, _) | (_, None) => "nothing ran at the time",
            (_, Some(_)) if too_old(row) => "nothing ran at the time, and it is older than `within`",
            (_, Some(_)) => "nothing ran at the time",
        };
        Choice::Miss(reason.to_owned())
    };
    match schedule.missed {
        Missed::Skip => {
            due.iter().map(|row| if on_time(row) { Choice::Run { missed: 0 } } else { miss(row) }).collect()
        }
        Missed::All => due
            .iter()
            .map(|row| match on_time(row) || !too_old(row) {
                true => Choice::Run { missed: u64::from(!on_time(row)) },
                false => miss(row),
            })
            .collect(),
        Missed::Once => {
            // The newest one stands for all that were missed, also if it is itself on time.
            let late = due.iter().filter(|row| !on_time(row) && !too_old(row)).count();
            let last = due.iter().rposition(|row| on_time(row) || !too_old(row));
            let slot = last.and_then(|last| due.get(last)).map(|row| row.slot_at);
            due.iter()
                .enumerate()
                .map(|(index, row)| {
                    if Some(index) == last {
                        Choice::Run { missed: u64::try_from(late).unwrap_or(u64::MAX) }
                    } else if on_time(row) {
                        Choice::Run { missed: 0 }
                    } else if too_old(row) {
                        miss(row)
                    } else {
                        let slot = slot.map(|slot| slot.to_string()).unwrap_or_default();
                        Choice::Miss(format!("nothing ran at the time; the run of {slot} is for all of them"))
                    }
                })
                .collect()
        }
    }
}

/// What became of the demand for a slot.
fn decision(admitted: &Admitted) -> Decision {
    let state = match admitted.verdict {
        Verdict::Accepted | Verdict::Duplicate if admitted.run.is_some() => SlotState::Admitted,
        Verdict::Accepted | Verdict::Duplicate | Verdict::Held => SlotState::Held,
        Verdict::Skipped => SlotState::Skipped,
        Verdict::Refused => SlotState::Refused,
    };
    Decision { state, reason: admitted.reason.clone(), run: admitted.run }
}
