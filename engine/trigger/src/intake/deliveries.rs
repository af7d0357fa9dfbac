//! Reading what came in, for the API and the page.

use bascule_database::DatabaseError;
use bascule_run::RunId;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Intake;
use super::store::parsed;
use crate::admission::{DeliveryId, Verdict};

/// One demand and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id, or `api`.
    pub source: String,
    /// Its key.
    pub dedupe: Option<String>,
    /// When it came first.
    pub received_at: Timestamp,
    /// sha256 of what came in.
    pub body_sha256: Option<String>,
    /// The HTTP status that it was answered with.
    pub answer: Option<u16>,
    /// What became of it; never `duplicate`.
    pub verdict: Verdict,
    /// Why there is no run.
    pub reason: Option<String>,
    /// The run.
    pub run: Option<RunId>,
    /// How often it came again.
    pub duplicates: u64,
    /// When it came last.
    pub last_at: Timestamp,
}

/// Which deliveries to list; the newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// For this workflow only.
    pub workflow: Option<String>,
    /// Of this trigger only.
    pub source: Option<String>,
    /// With this verdict only.
    pub verdict: Option<Verdict>,
    /// That became this run.
    pub run: Option<RunId>,
    /// At most so many; by default all.
    pub limit: Option<u32>,
}

impl Intake {
    /// Deliveries, the newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, DatabaseError> {
        let rows = sqlx::query(
            "SELECT id, workflow, source, dedupe, received_at, body_sha256, answer, verdict, reason, run_id,
                    duplicates, last_at
             FROM delivery
             WHERE ($1 IS NULL OR workflow = $1) AND ($2 IS NULL OR source = $2) AND ($3 IS NULL OR verdict = $3)
               AND ($4 IS NULL OR run_id = $4)
             ORDER BY id DESC LIMIT $5",
        )
        .bind(&filter.workflow)
        .bind(&filter.source)
        .bind(filter.verdict.map(Verdict::name))
        .bind(filter.run.map(|run| run.to_string()))
        .bind(filter.limit.map_or(i64::MAX, i64::from))
        .fetch_all(self.database.readers())
        .await?;
        rows.iter().map(delivery).collect()
    }
}

fn delivery(row: &SqliteRow) -> Result<Delivery, DatabaseError> {
    let verdict: &str = row.try_get("verdict")?;
    let run: Option<&str> = row.try_get("run_id")?;
    let answer: Option<i64> = row.try_get("answer")?;
    let duplicates: i64 = row.try_get("duplicates")?;
    Ok(Delivery {
        id: parsed(row.try_get("id")?)?,
        workflow: row.try_get("workflow")?,
        source: row.try_get("source")?,
        dedupe: row.try_get("dedupe")?,
        received_at: instant(row.try_get("received_at")?)?,
        body_sha256: row.try_get("body_sha256")?,
        answer: answer.and_then(|answer| u16::try_from(answer).ok()),
        verdict: Verdict::from_name(verdict)
            .ok_or_else(|| sqlx::Error::Decode(format!("unknown verdict `{verdict}`").into()))?,
        reason: row.try_get("reason")?,
        run: run.map(parsed).transpose()?,
        duplicates: u64::try_from(duplicates).unwrap_or(0),
        last_at: instant(row.try_get("last_at")?)?,
    })
}

/// An instant that we wrote ourselves.
pub(crate) fn instant(microseconds: i64) -> Result<Timestamp, DatabaseError> {
    Ok(Timestamp::from_microsecond(microseconds).map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
