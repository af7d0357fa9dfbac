//! What the dispatcher keeps on disk beside the runs themselves: pauses, and runs that cannot go on.

use std::cmp::Reverse;

use bascule_database::{Database, DatabaseError};
use bascule_run::{RunId, Status};
use futures_util::FutureExt;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row as _;

use super::queue::{resumed, suspected};
use crate::intake::{Intake, Order, Waiting, instant, parsed};

/// So many deaths of the process in a row make a run suspicious that was under way in all of them and finished nothing.
const SUSPICIOUS: i64 = 2;

/// A workflow of which no run begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paused {
    /// The workflow's id.
    pub workflow: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, as somebody said.
    pub reason: String,
}

/// A run that cannot go on by itself, e.g. because a plugin is gone. It is tried again whenever workflows or plugins
/// change, and when the process starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// Which run.
    pub run: RunId,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// Every run that is `queued` or `running`.
pub(super) async fn open_runs(intake: &Intake) -> Result<Vec<Waiting>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT r.id, r.workflow, r.status, r.concurrency_key, r.crashes, o.number, o.priority
         FROM run r LEFT JOIN run_order o ON o.run_id = r.id
         WHERE r.status IN ('queued', 'running')",
    )
    .fetch_all(intake.database().readers())
    .await?;
    rows.iter()
        .map(|row| {
            let status: &str = row.try_get("status")?;
            let number: Option<i64> = row.try_get("number")?;
            let priority: Option<i64> = row.try_get("priority")?;
            let order = Order {
                priority: Reverse(priority.unwrap_or(0)),
                number: number.unwrap_or(0),
                run: parsed(row.try_get("id")?)?,
            };
            let waiting = Waiting {
                order,
                workflow: row.try_get("workflow")?,
                concurrency_key: row.try_get("concurrency_key")?,
            };
            Ok(match row.try_get::<i64, _>("crashes")? {
                _ if status != Status::Running.name() => waiting,
                ..SUSPICIOUS => resumed(waiting),
                _ => suspected(waiting),
            })
        })
        .collect()
}

pub(super) async fn paused(intake: &Intake) -> Result<Vec<Paused>, DatabaseError> {
    let rows = sqlx::query("SELECT workflow, since, reason FROM workflow_pause ORDER BY workflow")
        .fetch_all(intake.database().readers())
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Paused {
                workflow: row.try_get("workflow")?,
                since: instant(row.try_get("since")?)?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

pub(super) async fn pause(
    intake: &Intake,
    workflow: &str,
    at: Timestamp,
    reason: &str,
) -> Result<(), DatabaseError> {
    let (workflow, reason) = (workflow.to_owned(), reason.to_owned());
    intake
        .database()
        .write(move |tx| {
            async move {
                sqlx::query(
                    "INSERT INTO workflow_pause (workflow, since, reason) VALUES ($1, $2, $3)
                     ON CONFLICT (workflow) DO UPDATE SET reason = excluded.reason",
                )
                .bind(workflow)
                .bind(at.as_microsecond())
                .bind(reason)
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

pub(super) async fn unpause(intake: &Intake, workflow: &str) -> Result<(), DatabaseError> {
    let workflow = workflow.to_owned();
    intake
        .database()
        .write(move |tx| {
            async move {
                sqlx::query("DELETE FROM workflow_pause WHERE workflow = $1")
                    .bind(workflow)
                    .execute(tx)
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Runs that are held, of those that are still open, sorted by their ids.
///
/// # Errors
/// What the database says.
pub async fn held_runs(database: &Database) -> Result<Vec<Held>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT h.run_id, h.since, h.reason FROM run_hold h JOIN run r ON r.id = h.run_id
         WHERE r.status IN ('queued', 'running') ORDER BY h.run_id",
    )
    .fetch_all(database.readers())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Held {
                run: parsed(row.try_get("run_id")?)?,
                since: instant(row.try_get("since")?)?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

/// Notes why a run cannot go on, or that it can again; for people.
///
/// # Errors
/// What the database says.
pub async fn note_hold(
    database: &Database,
    run: RunId,
    at: Timestamp,
    reason: Option<String>,
) -> Result<(), DatabaseError> {
    database
        .write(move |tx| {
            async move {
                let Some(reason) = reason else {
                    sqlx::query("DELETE FROM run_hold WHERE run_id = $1")
                        .bind(run.to_string())
                        .execute(tx)
                        .await?;
                    return Ok(());
                };
                sqlx::query(
                    "INSERT INTO run_hold (run_id, since, reason) VALUES ($1, $2, $3)
                     ON CONFLICT (run_id) DO UPDATE SET reason = excluded.reason",
                )
                .bind(run.to_string())
                .bind(at.as_microsecond())
                .bind(reason)
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// The place in the queue that a run had.
pub(super) async fn order_of(intake: &Intake, run: RunId) -> Result<Order, DatabaseError> {
    let row: Option<(i64, i64)> = sqlx::query_as("SELECT priority, number FROM run_order WHERE run_id = $1")
        .bind(run.to_string())
        .fetch_optional(intake.database().readers())
        .await?;
    let (priority, number) = row.unwrap_or((0, 0));
    Ok(Order { priority: Reverse(priority), number, run })
}

/// How many runs started each other before this one.
pub(crate) async fn depth_of(intake: &Intake, run: RunId) -> Result<u32, DatabaseError> {
    let depth: Option<i64> = sqlx::query_scalar("SELECT depth FROM run_order WHERE run_id = $1")
        .bind(run.to_string())
        .fetch_optional(intake.database().readers())
        .await?;
    Ok(depth.and_then(|depth| u32::try_from(depth).ok()).unwrap_or(0))
}

/// Notes that a run was started by the end of another one.
pub(super) async fn follow(intake: &Intake, before: RunId, run: RunId) -> Result<(), DatabaseError> {
    intake
        .database()
        .write(move |tx| {
            async move {
                sqlx::query(
                    "INSERT INTO run_order (run_id, number, priority, depth)
                     SELECT $1, coalesce(max(number), 0) + 1, 0,
                            1 + coalesce((SELECT depth FROM run_order WHERE run_id = $2), 0)
                     FROM run_order WHERE true
                     ON CONFLICT (run_id) DO NOTHING",
                )
                .bind(run.to_string())
                .bind(before.to_string())
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}
