//! Entries and headers as rows.

use bascule_database::{DatabaseError, Statements};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::journal::{Entry, JournalError, MAX_ENTRY_BYTES, RunHeader, RunId, Timed};
use crate::status::Status;

/// The columns of [`header`].
pub(super) const HEADER: &str =
    "id, workflow, digest, status, attempt, concurrency_key, started_at, ended_at, problem";

/// An entry as the table holds it.
pub(super) struct EntryRow {
    at: i64,
    kind: &'static str,
    place: Option<String>,
    body: Option<String>,
    /// sha256 and text of a body that is kept apart.
    apart: Option<(String, String)>,
    /// Step, key, and the workflow where it is not the run's own.
    once: Option<(String, String, Option<String>)>,
    pub(super) effect: RunEffect,
}

/// What an entry changes in the run's own row.
pub(super) enum RunEffect {
    None,
    GetsOn,
    Ends {
        status: Status,
        problem: Option<String>,
    },
    /// The components that it goes by, as JSON.
    Pins(Option<String>),
}

impl EntryRow {
    pub(super) fn of(timed: &Timed) -> Result<Self, JournalError> {
        let text = json_text(&timed.entry)?;
        let (body, apart) = if text.len() > MAX_ENTRY_BYTES {
            (None, Some((hex::encode(Sha256::digest(&text)), text)))
        } else {
            (Some(text), None)
        };
        let mut once = None;
        let effect = match &timed.entry {
            Entry::AttemptEnded { .. } => RunEffect::GetsOn,
            Entry::RunEnded { status, failure, .. } => RunEffect::Ends {
                status: *status,
                problem: failure.as_ref().map(|failure| failure.message.clone()),
            },
            Entry::PlaceEnded { place, once: Some(key), once_of, .. } => {
                once = Some((place.id().to_owned(), key.clone(), once_of.clone()));
                RunEffect::None
            }
            Entry::PluginsPinned { plugins } => RunEffect::Pins(Some(json_text(plugins)?)),
            Entry::Reopened { texts: Some(_), .. } => RunEffect::Pins(None),
            _ => RunEffect::None,
        };
        let place = timed.entry.place().map(ToString::to_string);
        Ok(Self { at: timed.at.as_microsecond(), kind: timed.entry.kind(), place, body, apart, once, effect })
    }

    /// By itself.
    pub(super) async fn insert(
        &self,
        tx: &mut SqliteConnection,
        run: &str,
        number: i64,
    ) -> Result<(), DatabaseError> {
        let mut all = Statements::default();
        self.add_to(&mut all, run, number);
        all.run(tx).await.map(drop)
    }

    /// Together with others.
    pub(super) fn add_to(&self, all: &mut Statements, run: &str, number: i64) {
        if let Some((sha256, text)) = &self.apart {
            all.add(
                "INSERT INTO journal_value (sha256, body) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING",
            )
            .bind(sha256)
            .bind(text);
        }
        all.add(
            "INSERT INTO journal_entry (run_id, number, at, kind, place, body, value)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(run)
        .bind(number)
        .bind(self.at)
        .bind(self.kind)
        .bind(&self.place)
        .bind(&self.body)
        .bind(self.apart.as_ref().map(|(sha256, _)| sha256));
        if let Some((step, key, workflow)) = &self.once {
            all.add(
                "INSERT INTO once_key (workflow, step, key, run_id, at)
                 SELECT coalesce($5, workflow), $2, $3, id, $4 FROM run WHERE id = $1
                 ON CONFLICT (workflow, step, key) DO NOTHING",
            )
            .bind(run)
            .bind(step)
            .bind(key)
            .bind(self.at)
            .bind(workflow);
        }
        match &self.effect {
            RunEffect::Ends { status, problem } => {
                all.add(
                    "UPDATE run SET status = $2, ended_at = $3, problem = $4, owner = NULL, lease_until = NULL
                     WHERE id = $1",
                )
                .bind(run)
                .bind(status.name())
                .bind(self.at)
                .bind(problem);
                all.add(
                    "INSERT INTO run_end (run_id, attempt, status, at)
                     SELECT id, attempt, $2, $3 FROM run WHERE id = $1
                     ON CONFLICT (run_id, attempt) DO NOTHING",
                )
                .bind(run)
                .bind(status.name())
                .bind(self.at);
            }
            RunEffect::Pins(plugins) => {
                all.add("UPDATE run SET plugins = $2 WHERE id = $1").bind(run).bind(plugins);
            }
            RunEffect::GetsOn | RunEffect::None => {}
        }
    }
}

fn json_text(value: &impl serde::Serialize) -> Result<String, JournalError> {
    serde_json::to_string(value).map_err(|error| JournalError::Store(Box::new(error)))
}

pub(super) fn header(row: &SqliteRow) -> Result<RunHeader, JournalError> {
    let id = run_id(row, "id")?;
    let status: &str = row.try_get("status").map_err(read_failed)?;
    let attempt: i64 = row.try_get("attempt").map_err(read_failed)?;
    let ended: Option<i64> = row.try_get("ended_at").map_err(read_failed)?;
    Ok(RunHeader {
        id,
        workflow: row.try_get("workflow").map_err(read_failed)?,
        digest: row.try_get("digest").map_err(read_failed)?,
        status: Status::from_name(status).ok_or_else(|| JournalError::Unreadable {
            run: id,
            reason: format!("unknown status `{status}`"),
        })?,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        concurrency_key: row.try_get("concurrency_key").map_err(read_failed)?,
        started_at: instant(row, "started_at")?,
        ended_at: ended.map(|_| instant(row, "ended_at")).transpose()?,
        problem: row.try_get("problem").map_err(read_failed)?,
    })
}

/// Why an entry cannot be read: most often because a later version has written it.
pub(super) fn not_understood(
    run: RunId,
    row: &SqliteRow,
    error: &serde_json::Error,
) -> Result<JournalError, JournalError> {
    let number: i64 = row.try_get("number").map_err(read_failed)?;
    let kind: &str = row.try_get("kind").map_err(read_failed)?;
    let reason = if Entry::KINDS.contains(&kind) {
        format!(
            "entry {number} (`{kind}`): {error}; a later version of Bascule may have written it: go on with that one"
        )
    } else {
        format!(
            "entry {number} is of the kind `{kind}`, which only a later version of Bascule knows: go on with that one"
        )
    };
    Ok(JournalError::Unreadable { run, reason })
}

pub(super) fn run_id(row: &SqliteRow, column: &str) -> Result<RunId, JournalError> {
    let text: &str = row.try_get(column).map_err(read_failed)?;
    text.parse().map_err(|error| JournalError::Store(Box::new(error)))
}

pub(super) fn instant(row: &SqliteRow, column: &str) -> Result<Timestamp, JournalError> {
    let microseconds: i64 = row.try_get(column).map_err(read_failed)?;
    Timestamp::from_microsecond(microseconds).map_err(|error| JournalError::Store(Box::new(error)))
}

pub(super) fn read_failed(error: sqlx::Error) -> JournalError {
    JournalError::Store(Box::new(error))
}

pub(super) fn store(error: DatabaseError) -> JournalError {
    JournalError::Store(Box::new(error))
}
