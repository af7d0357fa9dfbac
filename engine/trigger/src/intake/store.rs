//! Deliveries and new runs as rows.

use std::cmp::Reverse;

use bascule_database::{DatabaseError, Statements};
use bascule_run::journal::{CancelAsked, SqliteJournal};
use bascule_run::{RunId, Status};
use bascule_workflow::admission::{Priority, WhenBusy};
use bascule_workflow::failure::{Failure, Kind};
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::Ready;
use super::arrivals::{Arrival, Order, Waiting};
use crate::admission::{Admitted, DeliveryId, Verdict};

/// A delivery that is to be stored.
pub(super) struct Row {
    pub(super) id: DeliveryId,
    pub(super) workflow: String,
    pub(super) source: String,
    pub(super) dedupe: Option<String>,
    pub(super) received_at: Timestamp,
    pub(super) body_sha256: Option<String>,
    pub(super) answer: Option<u16>,
    pub(super) verdict: Verdict,
    pub(super) reason: Option<String>,
    pub(super) run: Option<RunId>,
}

/// Counts this delivery on the first one with its key, if there is one.
pub(super) async fn seen(tx: &mut SqliteConnection, row: &Row) -> Result<Option<Admitted>, DatabaseError> {
    let Some(dedupe) = &row.dedupe else {
        return Ok(None);
    };
    let first = sqlx::query(
        "UPDATE delivery SET duplicates = duplicates + 1, last_at = $4
         WHERE workflow = $1 AND source = $2 AND dedupe = $3
         RETURNING id, run_id, reason",
    )
    .bind(&row.workflow)
    .bind(&row.source)
    .bind(dedupe)
    .bind(row.received_at.as_microsecond())
    .fetch_optional(tx)
    .await?;
    first
        .map(|first| {
            let run: Option<&str> = first.try_get("run_id")?;
            Ok(Admitted {
                delivery: parsed(first.try_get("id")?)?,
                run: run.map(parsed).transpose()?,
                verdict: Verdict::Duplicate,
                reason: first.try_get("reason")?,
            })
        })
        .transpose()
}

/// Stores a delivery by itself.
pub(super) async fn insert(tx: &mut SqliteConnection, row: &Row) -> Result<(), DatabaseError> {
    let mut all = Statements::default();
    row.add_to(&mut all);
    all.run(tx).await.map(drop)
}

impl Row {
    /// What stores it; it returns no rows.
    fn add_to(&self, all: &mut Statements) {
        let at = self.received_at.as_microsecond();
        all.add(
            "INSERT INTO delivery (id, workflow, source, dedupe, received_at, body_sha256, answer, verdict, reason,
                                   run_id, duplicates, last_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $5)",
        )
        .bind(self.id.to_string())
        .bind(&self.workflow)
        .bind(&self.source)
        .bind(&self.dedupe)
        .bind(at)
        .bind(&self.body_sha256)
        .bind(self.answer.map(i64::from))
        .bind(self.verdict.name())
        .bind(&self.reason)
        .bind(self.run.map(|run| run.to_string()));
    }
}

/// Stores the run as `queued`, with its delivery where it has one of its own, unless its group is at work and it is not to
/// wait: then nothing, and the reason.
pub(super) async fn begin(
    tx: &mut SqliteConnection,
    ready: &Ready,
    delivery: Option<&Row>,
    now: Timestamp,
    arrivals: &mut Vec<Arrival>,
) -> Result<Result<RunId, String>, DatabaseError> {
    let run = &ready.run;
    if let (Some(key), Some(busy)) = (&run.concurrency_key, ready.busy)
        && busy != WhenBusy::Queue
    {
        let others = open_with_key(&mut *tx, key).await?;
        if busy == WhenBusy::Skip
            && let Some((other, status)) = others.first()
        {
            return Ok(Err(format!("run {other} of `{key}` is {status}, and `when-busy` is `skip`")));
        }
        for (other, _) in &others {
            arrivals.push(replace(&mut *tx, *other, run.id, now).await?);
        }
    }
    let mut all = Statements::default();
    SqliteJournal::insert_run(&mut all, run)?;
    all.add(
        "INSERT INTO run_order (run_id, number, priority, depth)
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM run_order
         RETURNING number",
    )
    .bind(run.id.to_string())
    .bind(rank(ready.priority))
    .bind(i64::from(ready.depth));
    if let Some(delivery) = delivery {
        delivery.add_to(&mut all);
    }
    let rows = all.run(tx).await?;
    let number: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("number")?;
    let order = Order { priority: Reverse(rank(ready.priority)), number, run: run.id };
    let concurrency_key = run.concurrency_key.clone();
    arrivals.push(Arrival::Run(Waiting { order, workflow: run.workflow.clone(), concurrency_key }));
    Ok(Ok(run.id))
}

/// `when-busy: replace`: what waits ends, what is under way is asked to.
async fn replace(
    tx: &mut SqliteConnection,
    other: RunId,
    by: RunId,
    now: Timestamp,
) -> Result<Arrival, DatabaseError> {
    let failure = Failure::new(Kind::Cancelled, format!("replaced by run {by} before it began"));
    if SqliteJournal::end_queued(&mut *tx, other, now, Status::Skipped, failure).await? {
        return Ok(Arrival::Ended(other));
    }
    match SqliteJournal::ask_cancel(tx, other, now, &format!("run {by}, which replaces it,")).await? {
        CancelAsked::Ended | CancelAsked::TooLate => Ok(Arrival::Ended(other)),
        CancelAsked::Noted => Ok(Arrival::Cancel(other)),
    }
}

async fn open_with_key(tx: &mut SqliteConnection, key: &str) -> Result<Vec<(RunId, String)>, DatabaseError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, status FROM run WHERE concurrency_key = $1 AND status IN ('queued', 'running') ORDER BY id",
    )
    .bind(key)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|(id, status)| Ok((parsed(&id)?, status))).collect()
}

/// `priority` as a number that sorts.
pub(crate) fn rank(priority: Priority) -> i64 {
    match priority {
        Priority::Low => -1,
        Priority::Normal => 0,
        Priority::High => 1,
    }
}

/// An id that we wrote ourselves.
pub(crate) fn parsed<T>(text: &str) -> Result<T, DatabaseError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    Ok(text.parse().map_err(|error: T::Err| sqlx::Error::Decode(Box::new(error)))?)
}
