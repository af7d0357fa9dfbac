//! Taking away what is over. Each step is a transaction of its own, short enough that nobody who writes beside it waits
//! long: a run with very many rows goes in several, and from the first of them on nobody finds it any more.

use std::collections::BTreeSet;

use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::SqliteJournal;
use crate::journal::{PinnedPlugins, RunId};
use crate::status::Status;

/// Which runs are old enough to go. One that is `queued` or `running` never is.
#[derive(Clone, Copy, Debug)]
pub enum Aged {
    /// Those that ended before an instant.
    Ended {
        /// `succeeded`, `recovered`, `skipped` or `cancelled`, and ended before this.
        fine_before: Timestamp,
        /// Ended in any other way before this.
        failed_before: Timestamp,
    },
    /// So many of those that ended first, however long ago; those that went well before those that failed.
    Oldest(u32),
}

/// What one step took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Runs of which nothing is left. What others keep about them can go as well.
    pub runs: Vec<RunId>,
    /// Rows, of these runs and of one that is not gone yet.
    pub rows: u64,
}

/// Most runs that are chosen in one step.
const RUNS: i64 = 64;
/// Most rows that are taken away in one step, roughly.
const ROWS: i64 = 1_000;

impl SqliteJournal {
    /// Marks runs that are to go, at most a few at a time, and gives how many. From now on they are not found any more.
    ///
    /// # Errors
    /// What the database says; nothing is changed then.
    pub async fn choose(&self, aged: Aged) -> Result<u64, DatabaseError> {
        let chosen = match aged {
            Aged::Ended { fine_before, failed_before } => {
                let fine = self.ended_before(Ends::Fine, fine_before, RUNS).await?;
                if fine.is_empty() {
                    self.ended_before(Ends::Failed, failed_before, RUNS).await?
                } else {
                    fine
                }
            }
            Aged::Oldest(count) => {
                let limit = i64::from(count).min(RUNS);
                let fine = self.ended_before(Ends::Fine, Timestamp::MAX, limit).await?;
                if fine.is_empty() {
                    self.ended_before(Ends::Failed, Timestamp::MAX, limit).await?
                } else {
                    fine
                }
            }
        };
        if chosen.is_empty() {
            return Ok(0);
        }
        self.database
            .write(move |tx| {
                async move {
                    let mut marked = 0;
                    for id in chosen {
                        // It may have been reopened meanwhile.
                        let done = sqlx::query(
                            "UPDATE run SET removing = 1
                             WHERE id = $1 AND status NOT IN ('queued', 'running') AND removing IS NULL",
                        )
                        .bind(&id)
                        .execute(&mut *tx)
                        .await?;
                        if done.rows_affected() > 0 {
                            // Nothing follows any more from the end of a run that nobody finds.
                            sqlx::query("DELETE FROM run_end WHERE run_id = $1")
                                .bind(id)
                                .execute(&mut *tx)
                                .await?;
                            marked += 1;
                        }
                    }
                    Ok(marked)
                }
                .boxed()
            })
            .await
    }

    /// Those that ended first.
    async fn ended_before(
        &self,
        ends: Ends,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<String>, DatabaseError> {
        let text = format!(
            "SELECT id FROM run WHERE ended_at < $1 AND removing IS NULL AND {} ORDER BY ended_at LIMIT $2",
            ends.condition()
        );
        let ids = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(before.as_microsecond())
            .bind(limit)
            .fetch_all(self.database.readers())
            .await?;
        Ok(ids)
    }

    /// How many runs are old enough to go, with those that are going already.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_aged(
        &self,
        fine_before: Timestamp,
        failed_before: Timestamp,
    ) -> Result<u64, DatabaseError> {
        let text = format!(
            "SELECT count(*) FROM run WHERE ({} AND ended_at < $1) OR ({} AND ended_at < $2)",
            Ends::Fine.condition(),
            Ends::Failed.condition()
        );
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(fine_before.as_microsecond())
            .bind(failed_before.as_microsecond())
            .fetch_one(self.database.readers())
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Takes away rows of marked runs; nothing is marked any more where `rows` is 0. Part of a transaction, so that
    /// whoever keeps something about the runs can take it away together with them.
    ///
    /// # Errors
    /// What the database says; the transaction is to be undone.
    pub async fn remove_marked(tx: &mut SqliteConnection) -> Result<Removed, DatabaseError> {
        let marked: Vec<String> =
            sqlx::query_scalar("SELECT id FROM run WHERE removing IS NOT NULL ORDER BY id LIMIT $1")
                .bind(RUNS)
                .fetch_all(&mut *tx)
                .await?;
        let mut removed = Removed::default();
        let mut left = ROWS;
        for id in marked {
            if left <= 0 {
                break;
            }
            let taken = remove_rows(&mut *tx, &id, left).await?;
            left -= taken;
            removed.rows += u64::try_from(taken).unwrap_or(0);
            if left > 0 {
                removed.rows += remove_run(&mut *tx, &id).await?;
                removed
                    .runs
                    .push(id.parse().map_err(|error: uuid::Error| sqlx::Error::Decode(Box::new(error)))?);
            }
        }
        Ok(removed)
    }

    /// Forgets `once` keys that were done before an instant, at most a few thousand; gives how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget_once(&self, before: Timestamp) -> Result<u64, DatabaseError> {
        let before = before.as_microsecond();
        self.database
            .write(move |tx| {
                async move {
                    let done = sqlx::query(
                        "DELETE FROM once_key WHERE (workflow, step, key) IN (
                             SELECT workflow, step, key FROM once_key WHERE at < $1 ORDER BY at LIMIT $2)",
                    )
                    .bind(before)
                    .bind(ROWS)
                    .execute(tx)
                    .await?;
                    Ok(done.rows_affected())
                }
                .boxed()
            })
            .await
    }

    /// The sha256 of every component that a run may still ask for: one that has not ended, or that did not end well and
    /// may be taken up again.
    ///
    /// # Errors
    /// What the database says, and what is no JSON.
    pub async fn needed_components(&self) -> Result<BTreeSet<String>, DatabaseError> {
        let all: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT plugins FROM run
             WHERE plugins IS NOT NULL AND status NOT IN ('succeeded', 'recovered', 'skipped')",
        )
        .fetch_all(self.database.readers())
        .await?;
        let mut needed = BTreeSet::new();
        for text in all {
            let plugins: PinnedPlugins =
                serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            needed.extend(plugins.into_values());
        }
        Ok(needed)
    }

    /// How many `once` keys were done before an instant.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_once(&self, before: Timestamp) -> Result<u64, DatabaseError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM once_key WHERE at < $1")
            .bind(before.as_microsecond())
            .fetch_one(self.database.readers())
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// How a run ended, for whoever asks how long it is kept.
#[derive(Clone, Copy)]
enum Ends {
    /// Nobody has to do anything.
    Fine,
    /// Somebody may want to do it again.
    Failed,
}

impl Ends {
    /// Names of our own; nothing that anybody typed.
    fn condition(self) -> String {
        let names = |fine: bool| {
            let fits = |status: &Status| {
                !status.is_open() && (status.is_fine() || *status == Status::Cancelled) == fine
            };
            let names: Vec<&str> = Status::ALL.into_iter().filter(fits).map(Status::name).collect();
            format!("status IN ('{}')", names.join("', '"))
        };
        names(matches!(self, Self::Fine))
    }
}

/// At most so many lines and entries of a run; gives how many there were.
async fn remove_rows(tx: &mut SqliteConnection, id: &str, most: i64) -> Result<i64, DatabaseError> {
    let lines = sqlx::query(
        "DELETE FROM run_line WHERE run_id = $1 AND number IN (
             SELECT number FROM run_line WHERE run_id = $1 ORDER BY number LIMIT $2)",
    )
    .bind(id)
    .bind(most)
    .execute(&mut *tx)
    .await?;
    let lines = i64::try_from(lines.rows_affected()).unwrap_or(i64::MAX);
    if lines >= most {
        return Ok(lines);
    }
    let values: Vec<Option<String>> = sqlx::query_scalar(
        "DELETE FROM journal_entry WHERE run_id = $1 AND number IN (
             SELECT number FROM journal_entry WHERE run_id = $1 ORDER BY number LIMIT $2)
         RETURNING value",
    )
    .bind(id)
    .bind(most - lines)
    .fetch_all(&mut *tx)
    .await?;
    let entries = i64::try_from(values.len()).unwrap_or(i64::MAX);
    for value in values.into_iter().flatten() {
        // Two runs with the same large value share it.
        sqlx::query(
            "DELETE FROM journal_value WHERE sha256 = $1
                AND NOT EXISTS (SELECT 1 FROM journal_entry WHERE value = $1)",
        )
        .bind(value)
        .execute(&mut *tx)
        .await?;
    }
    Ok(lines + entries)
}

/// What is left of a run without lines and entries.
async fn remove_run(tx: &mut SqliteConnection, id: &str) -> Result<u64, DatabaseError> {
    let events = sqlx::query("DELETE FROM run_event WHERE run_id = $1").bind(id).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM run WHERE id = $1").bind(id).execute(tx).await?;
    Ok(events.rows_affected() + 1)
}
