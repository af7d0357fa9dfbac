//! The only way in which a trigger becomes a run.
//!
//! A demand and its run are one transaction, on disk before [`Intake::admit`] returns. The same (workflow, source, key)
//! makes one run, however often and however closely together it comes. `concurrency` and `debounce` are decided here,
//! inside the same transaction, so that two demands at the same moment cannot both find a group idle.

mod arrivals;
mod beside;
mod bucket;
mod deliveries;
mod prune;
mod store;

use std::sync::Arc;

use bascule_database::{Database, DatabaseError, Room};
use bascule_run::RunId;
use bascule_run::clock::Clock;
use bascule_run::journal::{NewRun, SqliteJournal};
use bascule_workflow::admission::{Priority, WhenBusy};
use bascule_workflow::trigger::Collect;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;

use crate::admission::{Admission, Admitted, DeliveryId, IntakeError, MAX_DEPTH, Timing, Verdict};
use crate::schema::STEPS;

pub(crate) use arrivals::{Arrival, Arrivals, Order, Waiting};
pub(crate) use beside::{Alone, Beside};
pub use bucket::Bucket;
pub(crate) use bucket::json;
pub(crate) use bucket::{Item, Kind, Sealed};
pub(crate) use deliveries::instant;
pub use deliveries::{Delivery, DeliveryFilter};
pub use prune::Pruned;
pub(crate) use store::parsed;
#[cfg(test)]
pub(crate) use store::rank;

/// Takes demands for runs. Cheap to clone; all clones are one intake.
#[derive(Clone)]
pub struct Intake {
    database: Database,
    clock: Arc<dyn Clock>,
    arrivals: Arc<Arrivals>,
}

/// A demand that has been looked at: nothing in it can fail any more, except storing it.
pub(crate) struct Ready {
    delivery: DeliveryId,
    body_sha256: Option<String>,
    answer: Option<u16>,
    dedupe: Option<String>,
    source: String,
    depth: u32,
    priority: Priority,
    busy: Option<WhenBusy>,
    /// Bucket key, the quiet time and the longest delay.
    debounce: Option<bucket::Wait>,
    run: NewRun,
}

impl Intake {
    /// Brings the tables up to date. The journal's are, since there is a journal.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(
        database: Database,
        _journal: &SqliteJournal,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DatabaseError> {
        database.migrate("trigger", STEPS).await?;
        Ok(Self { database, clock, arrivals: Arc::new(Arrivals::default()) })
    }

    /// Takes one demand; when this returns, it is on disk, and so is its run if it becomes one.
    ///
    /// Once called it is carried out, even if the caller stops waiting.
    ///
    /// # Errors
    /// [`IntakeError`]; nothing is stored then.
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, IntakeError> {
        let admitted = self.admit_all(vec![admission]).await?;
        admitted.into_iter().next().ok_or(IntakeError::Unavailable(DatabaseError::Undone))
    }

    /// Takes several demands in one transaction, in order: all of them or, after an error, none.
    ///
    /// # Errors
    /// [`IntakeError`] of the first that cannot be taken; nothing is stored then.
    pub async fn admit_all(&self, admissions: Vec<Admission>) -> Result<Vec<Admitted>, IntakeError> {
        let admitted = self.admit_beside(admissions, Alone).await?;
        admitted.ok_or(IntakeError::Unavailable(DatabaseError::Undone))
    }

    /// As `admit_all`, with something else in the same transaction; `None` where that said no and nothing was stored.
    pub(crate) async fn admit_beside(
        &self,
        admissions: Vec<Admission>,
        mut beside: impl Beside + 'static,
    ) -> Result<Option<Vec<Admitted>>, IntakeError> {
        self.room()?;
        let now = self.clock.now();
        let ready =
            admissions.into_iter().map(|admission| ready(admission, now)).collect::<Result<Vec<_>, _>>()?;
        let stored = self
            .database
            .write_first(move |tx| {
                async move {
                    if !beside.before(&mut *tx).await? {
                        return Ok(None);
                    }
                    let mut all = Vec::with_capacity(ready.len());
                    let mut arrivals = Vec::new();
                    for one in &ready {
                        all.push(admit_one(&mut *tx, one, now, &mut arrivals).await?);
                    }
                    beside.after(tx, &all).await?;
                    Ok(Some((all, arrivals)))
                }
                .boxed()
            })
            .await
            .map_err(IntakeError::Unavailable)?;
        Ok(stored.map(|(all, arrivals)| {
            self.arrivals.add(arrivals);
            all
        }))
    }

    /// Whether a demand fits: its inputs and keys.
    ///
    /// # Errors
    /// [`IntakeError::Inputs`], [`IntakeError::Key`].
    pub fn check(&self, admission: &Admission) -> Result<(), IntakeError> {
        ready(admission.clone(), self.clock.now()).map(|_| ())
    }

    /// Takes an event that waits for more; it is a part of a batch when this returns.
    pub(crate) async fn collect(
        &self,
        admission: Admission,
        collect: Collect,
        mut beside: impl Beside + 'static,
    ) -> Result<(), IntakeError> {
        self.room()?;
        let now = self.clock.now();
        let ready = Ready::of_event(admission, collect, now);
        let arrivals = self
            .database
            .write_first(move |tx| {
                async move {
                    let mut arrivals = Vec::new();
                    if beside.before(&mut *tx).await? {
                        let admitted = admit_one(&mut *tx, &ready, now, &mut arrivals).await?;
                        beside.after(tx, &[admitted]).await?;
                    }
                    Ok(arrivals)
                }
                .boxed()
            })
            .await
            .map_err(IntakeError::Unavailable)?;
        self.arrivals.add(arrivals);
        Ok(())
    }

    /// Records that a demand could not become a run, so that it can be seen.
    ///
    /// # Errors
    /// [`IntakeError::Unavailable`].
    pub async fn refuse(
        &self,
        workflow: &str,
        source: &str,
        dedupe: Option<&str>,
        reason: &str,
    ) -> Result<Admitted, IntakeError> {
        self.room()?;
        let now = self.clock.now();
        let delivery = DeliveryId::new(now);
        let row = store::Row {
            id: delivery,
            workflow: workflow.to_owned(),
            source: source.to_owned(),
            dedupe: dedupe.map(str::to_owned),
            received_at: now,
            body_sha256: None,
            answer: None,
            verdict: Verdict::Refused,
            reason: Some(reason.to_owned()),
            run: None,
        };
        self.database
            .write(move |tx| {
                async move {
                    if let Some(first) = store::seen(&mut *tx, &row).await? {
                        return Ok(first);
                    }
                    store::insert(tx, &row).await?;
                    let Row { id, verdict, reason, .. } = row;
                    Ok(Admitted { delivery: id, run: None, verdict, reason })
                }
                .boxed()
            })
            .await
            .map_err(IntakeError::Unavailable)
    }

    /// Nothing new is taken while the disk is nearly full: what is left is for the ends of what has begun.
    fn room(&self) -> Result<(), IntakeError> {
        match *self.database.room().borrow() {
            Room::Enough => Ok(()),
            Room::Short => Err(IntakeError::Unavailable(DatabaseError::Full)),
        }
    }

    /// The database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// What the dispatcher is to know about.
    pub(crate) fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }
}

use store::Row;

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Ready {
    /// An event that becomes a part of a batch; inputs and group are the batch's.
    fn of_event(admission: Admission, collect: Collect, now: Timestamp) -> Self {
        let Admission { workflow, source, trigger, dedupe, body_sha256, answer, depth, .. } = admission;
        Self {
            delivery: DeliveryId::new(now),
            body_sha256,
            answer,
            dedupe,
            depth,
            priority: workflow.priority,
            busy: None,
            debounce: Some(bucket::Wait::of_events(&source, collect)),
            source,
            run: NewRun {
                id: RunId::new(now),
                workflow: workflow.id.clone(),
                digest: workflow.digest.clone(),
                text: Arc::clone(&workflow.text),
                inputs: serde_json::Map::new(),
                trigger,
                concurrency_key: None,
                started_at: now,
            },
        }
    }
}

/// Everything about a demand that needs no database.
pub(crate) fn ready(admission: Admission, now: Timestamp) -> Result<Ready, IntakeError> {
    let Admission { workflow, source, trigger, inputs, dedupe, body_sha256, answer, depth, timing } =
        admission;
    let inputs = workflow
        .accept_inputs(inputs)
        .map_err(|problems| IntakeError::Inputs { workflow: workflow.id.clone(), problems })?;
    let failed = |key: &'static str| {
        let workflow = workflow.id.clone();
        move |error| IntakeError::Key { workflow, key, error }
    };
    let concurrency_key = workflow.concurrency_key(&inputs, &trigger).map_err(failed("concurrency.group"))?;
    let debounce = match timing {
        Timing::AtOnce => None,
        Timing::AsWritten => {
            bucket::Wait::of(&workflow, &inputs, &trigger).map_err(failed("debounce.key"))?
        }
    };
    Ok(Ready {
        delivery: DeliveryId::new(now),
        body_sha256,
        answer,
        dedupe,
        source,
        depth,
        priority: workflow.priority,
        busy: workflow.concurrency.as_ref().map(|concurrency| concurrency.when_busy),
        debounce,
        run: NewRun {
            id: RunId::new(now),
            workflow: workflow.id.clone(),
            digest: workflow.digest.clone(),
            text: Arc::clone(&workflow.text),
            inputs,
            trigger,
            concurrency_key,
            started_at: now,
        },
    })
}

/// Decides on a demand and stores it. Reads and writes happen in one transaction of the one writer, so nothing comes
/// between.
fn admit_one<'t>(
    tx: &'t mut SqliteConnection,
    ready: &'t Ready,
    now: Timestamp,
    arrivals: &'t mut Vec<Arrival>,
) -> BoxFuture<'t, Result<Admitted, DatabaseError>> {
    async move {
        let mut row = Row {
            id: ready.delivery,
            workflow: ready.run.workflow.clone(),
            source: ready.source.clone(),
            dedupe: ready.dedupe.clone(),
            received_at: now,
            body_sha256: ready.body_sha256.clone(),
            answer: ready.answer,
            verdict: Verdict::Accepted,
            reason: None,
            run: None,
        };
        if let Some(first) = store::seen(&mut *tx, &row).await? {
            return Ok(first);
        }
        if ready.depth > MAX_DEPTH {
            row.verdict = Verdict::Refused;
            row.reason = Some(format!(
                "{MAX_DEPTH} runs in a row started each other; this would be the next one of a loop"
            ));
        } else if let Some(wait) = &ready.debounce {
            row.verdict = Verdict::Held;
            store::insert(&mut *tx, &row).await?;
            let due = bucket::put(&mut *tx, ready, wait, now).await?;
            arrivals.push(Arrival::Due(due));
            return Ok(Admitted { delivery: row.id, run: None, verdict: Verdict::Held, reason: None });
        } else {
            row.run = Some(ready.run.id);
            match store::begin(&mut *tx, ready, Some(&row), now, arrivals).await? {
                Ok(_) => return Ok(row.into_admitted()),
                Err(reason) => {
                    row.run = None;
                    row.verdict = Verdict::Skipped;
                    row.reason = Some(reason);
                }
            }
        }
        store::insert(tx, &row).await?;
        Ok(row.into_admitted())
    }
    .boxed()
}

impl Row {
    /// What became of it.
    fn into_admitted(self) -> Admitted {
        let Self { id, run, verdict, reason, .. } = self;
        Admitted { delivery: id, run, verdict, reason }
    }
}

/// The `trigger` of the run that several demands become: that of the last one, with the list of all beside it.
pub(crate) fn collected(mut triggers: Vec<Value>) -> Value {
    let last = triggers.last().cloned().unwrap_or(Value::Null);
    match last {
        Value::Object(mut map) => {
            map.insert("collected".to_owned(), Value::Array(std::mem::take(&mut triggers)));
            Value::Object(map)
        }
        other => other,
    }
}
