//! What outlives the process: since when a workflow is watched, which lapse was told, and when workflows succeeded last.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::Success;
use crate::intake::{Beside, Intake, instant, parsed};

/// Which watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) workflow: String,
    pub(super) trigger: String,
    pub(super) name: String,
}

/// How far it is.
pub(super) struct Row {
    /// Since when it is watched.
    pub(super) since: Timestamp,
    /// The lapse that was told last, and when.
    pub(super) told: Option<(Timestamp, Timestamp)>,
}

/// A row for each of these watches, and none for others.
pub(super) async fn keep(
    intake: &Intake,
    wanted: &BTreeSet<Key>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let there: BTreeSet<Key> = all(intake).await?.into_keys().collect();
    if there == *wanted {
        return Ok(());
    }
    let gone: Vec<Key> = there.difference(wanted).cloned().collect();
    let new: Vec<Key> = wanted.difference(&there).cloned().collect();
    let since = now.as_microsecond();
    intake
        .database()
        .write(move |tx| {
            async move {
                for key in gone {
                    sqlx::query("DELETE FROM overdue WHERE workflow = $1 AND trigger_id = $2 AND name = $3")
                        .bind(key.workflow)
                        .bind(key.trigger)
                        .bind(key.name)
                        .execute(&mut *tx)
                        .await?;
                }
                for key in new {
                    sqlx::query(
                        "INSERT INTO overdue (workflow, trigger_id, name, since) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (workflow, trigger_id, name) DO NOTHING",
                    )
                    .bind(key.workflow)
                    .bind(key.trigger)
                    .bind(key.name)
                    .bind(since)
                    .execute(&mut *tx)
                    .await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
}

type Stored = (String, String, String, i64, Option<i64>, Option<i64>);

pub(super) async fn all(intake: &Intake) -> Result<BTreeMap<Key, Row>, DatabaseError> {
    let rows: Vec<Stored> =
        sqlx::query_as("SELECT workflow, trigger_id, name, since, told_lapse, told_at FROM overdue")
            .fetch_all(intake.database().readers())
            .await?;
    rows.into_iter()
        .map(|(workflow, trigger, name, since, lapse, at)| {
            let told = match (lapse, at) {
                (Some(lapse), Some(at)) => Some((instant(lapse)?, instant(at)?)),
                _ => None,
            };
            Ok((Key { workflow, trigger, name }, Row { since: instant(since)?, told }))
        })
        .collect()
}

/// Of each workflow; ends that nobody has looked at yet count too.
pub(super) async fn successes(intake: &Intake) -> Result<BTreeMap<String, Success>, DatabaseError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT workflow, run_id, at FROM last_success
         UNION ALL
         SELECT r.workflow, e.run_id, e.at FROM run_end e JOIN run r ON r.id = e.run_id
         WHERE e.status IN ('succeeded', 'recovered')",
    )
    .fetch_all(intake.database().readers())
    .await?;
    let mut all: BTreeMap<String, Success> = BTreeMap::new();
    for (workflow, run, at) in rows {
        let found = Success { run: parsed(&run)?, at: instant(at)? };
        let known = all.entry(workflow).or_insert(found);
        if found.at > known.at {
            *known = found;
        }
    }
    Ok(all)
}

/// Keeps a success, unless a later one is known: runs are removed when they are old.
pub(crate) async fn note_success(
    tx: &mut SqliteConnection,
    workflow: &str,
    run: &str,
    at: i64,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO last_success (workflow, run_id, at) VALUES ($1, $2, $3)
         ON CONFLICT (workflow) DO UPDATE SET run_id = excluded.run_id, at = excluded.at
         WHERE excluded.at > last_success.at",
    )
    .bind(workflow)
    .bind(run)
    .bind(at)
    .execute(tx)
    .await?;
    Ok(())
}

/// That a lapse was told.
pub(super) struct Told {
    pub(super) key: Key,
    /// Its beginning.
    pub(super) lapse: Timestamp,
    pub(super) at: Timestamp,
}

impl Told {
    /// Without a run.
    pub(super) async fn store(mut self, intake: &Intake) -> Result<(), DatabaseError> {
        intake.database().write(move |tx| async move { self.before(tx).await.map(|_| ()) }.boxed()).await
    }
}

#[async_trait]
impl Beside for Told {
    async fn before(&mut self, tx: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "UPDATE overdue SET told_lapse = $1, told_at = $2
             WHERE workflow = $3 AND trigger_id = $4 AND name = $5 AND (told_lapse IS NULL OR told_lapse <> $1)",
        )
        .bind(self.lapse.as_microsecond())
        .bind(self.at.as_microsecond())
        .bind(&self.key.workflow)
        .bind(&self.key.trigger)
        .bind(&self.key.name)
        .execute(tx)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
