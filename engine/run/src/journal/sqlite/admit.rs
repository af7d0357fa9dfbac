//! What whoever admits runs does inside a transaction of its own: a run and the record of who asked for it are stored
//! together, or neither is.

use std::sync::Arc;

use bascule_database::{DatabaseError, Statements};
use bascule_workflow::failure::{Failure, Kind};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::rows::EntryRow;
use super::{INSERT_TEXT, SqliteJournal};
use crate::journal::{Entry, JournalError, NewRun, RunId, Timed};
use crate::place::Place;
use crate::status::Status;

/// What became of the wish to cancel a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAsked {
    /// It had not begun; it has ended `cancelled`.
    Ended,
    /// It is under way; its executor is to be told as well. After a crash the resumed run knows it.
    Noted,
    /// It ended before, or there is no such run; nothing was changed.
    TooLate,
}

impl SqliteJournal {
    /// What records a new run as `queued`, as part of a transaction. It returns no rows.
    ///
    /// # Errors
    /// Where its inputs have no form as JSON.
    pub fn insert_run(all: &mut Statements, run: &NewRun) -> Result<(), DatabaseError> {
        let created = Entry::Created { inputs: run.inputs.clone(), trigger: run.trigger.clone() };
        let entry = row(run.started_at, created)?;
        let id = run.id.to_string();
        all.add(INSERT_TEXT).bind(&run.digest).bind(run.text.as_ref());
        all.add(
            "INSERT INTO run (id, workflow, digest, status, attempt, concurrency_key, started_at, epoch, crashes,
                              next_entry, next_line)
             VALUES ($1, $2, $3, 'queued', 1, $4, $5, 0, 0, 2, 1)",
        )
        .bind(&id)
        .bind(&run.workflow)
        .bind(&run.digest)
        .bind(&run.concurrency_key)
        .bind(run.started_at.as_microsecond());
        entry.add_to(all, &id, 1);
        Ok(())
    }

    /// Ends a run that is `queued` and that nobody works on, as part of the transaction. False where it is not
    /// `queued` any more.
    ///
    /// # Errors
    /// What the database says; the transaction is to be undone.
    pub async fn end_queued(
        tx: &mut SqliteConnection,
        run: RunId,
        at: Timestamp,
        status: Status,
        failure: Failure,
    ) -> Result<bool, DatabaseError> {
        let id = run.to_string();
        let number: Option<i64> = sqlx::query_scalar(
            "UPDATE run SET next_entry = next_entry + 1 WHERE id = $1 AND status = 'queued'
             RETURNING next_entry - 1",
        )
        .bind(&id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(number) = number else {
            return Ok(false);
        };
        let ended = Entry::RunEnded { status, output: Value::Null, failure: Some(failure) };
        row(at, ended)?.insert(tx, &id, number).await?;
        Ok(true)
    }

    /// Asks to cancel a run, as part of the transaction: one that has not begun ends at once, one that is under way
    /// gets the wish into its record. `who` is for the run's log.
    ///
    /// # Errors
    /// What the database says; the transaction is to be undone.
    pub async fn ask_cancel(
        tx: &mut SqliteConnection,
        run: RunId,
        at: Timestamp,
        who: &str,
    ) -> Result<CancelAsked, DatabaseError> {
        let failure = Failure::new(Kind::Cancelled, format!("cancelled by {who} before it began"));
        if Self::end_queued(&mut *tx, run, at, Status::Cancelled, failure).await? {
            return Ok(CancelAsked::Ended);
        }
        let id = run.to_string();
        let numbers: Option<(i64, i64)> = sqlx::query_as(
            "UPDATE run SET next_entry = next_entry + 1, next_line = next_line + 1
             WHERE id = $1 AND status = 'running'
             RETURNING next_entry - 1, next_line - 1",
        )
        .bind(&id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((number, line)) = numbers else {
            return Ok(CancelAsked::TooLate);
        };
        row(at, Entry::CancelAsked)?.insert(&mut *tx, &id, number).await?;
        sqlx::query(
            "INSERT INTO run_line (run_id, number, at, place, level, message) VALUES ($1, $2, $3, $4, 'info', $5)",
        )
        .bind(&id)
        .bind(line)
        .bind(at.as_microsecond())
        .bind(Place::step("run").as_str())
        .bind(format!("{who} asked to cancel the run"))
        .execute(tx)
        .await?;
        Ok(CancelAsked::Noted)
    }
}

fn row(at: Timestamp, entry: Entry) -> Result<EntryRow, DatabaseError> {
    EntryRow::of(&Timed { at, entry })
        .map_err(|error: JournalError| DatabaseError::Sql(Arc::new(sqlx::Error::Encode(Box::new(error)))))
}
