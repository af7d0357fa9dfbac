//! The journal in the project's database. The SQL is such that PostgreSQL runs it too; only `Database` is SQLite's.

mod admit;
mod prune;
mod rows;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use bascule_database::{Database, DatabaseError, Statements};
use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;

use crate::journal::{
    Batch, Claim, Entry, Filter, Journal, JournalError, LogLine, NewRun, OnceDone, Reopening, Revision,
    RunHeader, RunId, Timed,
};
use crate::place::Place;
pub use admit::CancelAsked;
pub use prune::{Aged, Removed};
use rows::{EntryRow, HEADER, RunEffect, header, instant, not_understood, read_failed, run_id, store};
use schema::STEPS;

/// Keeps runs in the project's database.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    database: Database,
}

impl SqliteJournal {
    /// Brings the journal's tables up to date. Claims of an earlier process are given up: the database has one owner
    /// at a time, so that process is gone. Opened read-only, the journal can be read and nothing else.
    ///
    /// # Errors
    /// [`JournalError::Store`] when the tables cannot be made or are of a newer version.
    pub async fn open(database: Database) -> Result<Self, JournalError> {
        database.migrate("journal", STEPS).await.map_err(store)?;
        let released = database
            .write(|tx| {
                async move {
                    sqlx::query("UPDATE run SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL")
                        .execute(tx)
                        .await?;
                    Ok(())
                }
                .boxed()
            })
            .await;
        match released {
            Ok(()) | Err(DatabaseError::ReadOnly) => Ok(Self { database }),
            Err(error) => Err(store(error)),
        }
    }

    /// Asks to cancel a run whose journal another process owns; that one hears of it within a second or so.
    ///
    /// # Errors
    /// [`JournalError::Store`].
    pub async fn ask_cancel_beside(
        path: &std::path::Path,
        run: RunId,
        at: Timestamp,
        who: &str,
    ) -> Result<CancelAsked, JournalError> {
        let who = who.to_owned();
        Database::write_beside(path, move |tx| {
            async move { Self::ask_cancel(tx, run, at, &who).await }.boxed()
        })
        .await
        .map_err(|error| JournalError::Store(Box::new(error)))
    }

    async fn header(&self, run: RunId) -> Result<RunHeader, JournalError> {
        let text = format!("SELECT {HEADER} FROM run WHERE id = $1 AND removing IS NULL");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(run.to_string())
            .fetch_optional(self.database.readers())
            .await
            .map_err(read_failed)?;
        row.map_or_else(|| Err(JournalError::NoSuchRun(run.to_string())), |row| header(&row))
    }
}

const INSERT_TEXT: &str =
    "INSERT INTO workflow_text (digest, text) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";

#[async_trait]
impl Journal for SqliteJournal {
    async fn create(&self, run: NewRun) -> Result<(), JournalError> {
        self.database
            .write(move |tx| {
                async move {
                    let mut all = Statements::default();
                    Self::insert_run(&mut all, &run)?;
                    all.run(tx).await.map(drop)
                }
                .boxed()
            })
            .await
            .map_err(store)
    }

    async fn claim(
        &self,
        run: RunId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, JournalError> {
        let id = run.to_string();
        let owner = owner.to_owned();
        let (at, lease) = (now.as_microsecond(), until.as_microsecond());
        let claimed: Result<Option<(i64, i64)>, DatabaseError> = self
            .database
            .write(move |tx| {
                async move {
                    let row = sqlx::query_as(
                        "UPDATE run SET status = 'running', owner = $2, lease_until = $3, epoch = epoch + 1,
                                        crashes = crashes + CASE WHEN owner = $2 THEN 0 ELSE 1 END
                         WHERE id = $1 AND status IN ('queued', 'running')
                           AND (owner IS NULL OR owner = $2 OR lease_until <= $4)
                         RETURNING epoch, crashes",
                    )
                    .bind(id)
                    .bind(owner)
                    .bind(lease)
                    .bind(at)
                    .fetch_optional(tx)
                    .await?;
                    Ok(row)
                }
                .boxed()
            })
            .await;
        match claimed {
            Ok(Some((epoch, crashes))) => {
                Ok(Claim { run, epoch, crashes: u32::try_from(crashes).unwrap_or(u32::MAX) })
            }
            Ok(None) => Err(self.why_not_claimed(run).await?),
            Err(error) if error.is_constraint() => {
                let key = self.header(run).await?.concurrency_key.unwrap_or_default();
                Err(JournalError::KeyBusy { key })
            }
            Err(error) => Err(store(error)),
        }
    }

    async fn renew(&self, claim: &Claim, until: Timestamp) -> Result<(), JournalError> {
        let text = "UPDATE run SET lease_until = CASE WHEN owner IS NULL THEN NULL ELSE $3 END, crashes = 0
                    WHERE id = $1 AND epoch = $2";
        self.hold_until(claim, text, Some(until)).await
    }

    async fn release(&self, claim: &Claim) -> Result<(), JournalError> {
        let text = "UPDATE run SET owner = NULL, lease_until = $3, crashes = 0 WHERE id = $1 AND epoch = $2";
        self.hold_until(claim, text, None).await
    }

    async fn append(&self, claim: &Claim, batch: Batch) -> Result<(), JournalError> {
        let rows = batch.entries.iter().map(EntryRow::of).collect::<Result<Vec<_>, _>>()?;
        let (run, epoch) = (claim.run.to_string(), claim.epoch);
        let all = Arc::new((run, rows, batch.lines));
        // What has begun comes to its end also on a full disk.
        let kept = self.database.write_pressing(|| {
            let all = Arc::clone(&all);
            move |tx| {
                async move {
                    let (run, rows, lines) = &*all;
                    let gets_on = rows.iter().any(|row| matches!(row.effect, RunEffect::GetsOn));
                    // Also locks the row, so that entries of one run are numbered without gaps.
                    let next: Option<(i64, i64)> = sqlx::query_as(
                        "UPDATE run SET next_entry = next_entry + $3, next_line = next_line + $4,
                                        crashes = CASE WHEN $5 = 1 THEN 0 ELSE crashes END
                         WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL
                         RETURNING next_entry - $3, next_line - $4",
                    )
                    .bind(run)
                    .bind(epoch)
                    .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
                    .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX))
                    .bind(i64::from(gets_on))
                    .fetch_optional(&mut *tx)
                    .await?;
                    let Some((first, first_line)) = next else {
                        return Ok(false);
                    };
                    let mut all = Statements::default();
                    for (row, number) in rows.iter().zip(first..) {
                        row.add_to(&mut all, run, number);
                    }
                    for (line, number) in lines.iter().zip(first_line..) {
                        all.add(
                            "INSERT INTO run_line (run_id, number, at, place, level, message)
                             VALUES ($1, $2, $3, $4, $5, $6)",
                        )
                        .bind(run)
                        .bind(number)
                        .bind(line.at.as_microsecond())
                        .bind(line.place.as_str())
                        .bind(&line.level)
                        .bind(&line.message);
                    }
                    all.run(tx).await?;
                    Ok(true)
                }
                .boxed()
            }
        });
        let kept = kept.await.map_err(store)?;
        if kept { Ok(()) } else { Err(JournalError::Fenced(claim.run)) }
    }

    async fn revise(&self, run: RunId, at: Timestamp, revision: Revision) -> Result<u32, JournalError> {
        let id = run.to_string();
        let revised: Option<i64> = self
            .database
            .write(move |tx| {
                async move {
                    if let Revision::Reopen(Reopening { text: Some((digest, text)), .. }) = &revision {
                        sqlx::query(INSERT_TEXT).bind(digest).bind(text.as_ref()).execute(&mut *tx).await?;
                    }
                    let old: Option<String> =
                        sqlx::query_scalar("SELECT digest FROM run WHERE id = $1 AND status NOT IN ('queued', 'running') AND removing IS NULL")
                            .bind(&id)
                            .fetch_optional(&mut *tx)
                            .await?;
                    let Some(old) = old else { return Ok(None) };
                    let digest = match &revision {
                        Revision::Reopen(Reopening { text: Some((digest, _)), .. }) if *digest != old => {
                            Some(digest.clone())
                        }
                        _ => None,
                    };
                    let change = match &revision {
                        Revision::Reopen(_) => sqlx::query_as(
                            "UPDATE run SET next_entry = next_entry + 1, status = 'queued', attempt = attempt + 1,
                                    crashes = 0, ended_at = NULL, problem = NULL, digest = coalesce($2, digest)
                             WHERE id = $1
                             RETURNING next_entry - 1, attempt",
                        )
                        .bind(&id)
                        .bind(&digest),
                        Revision::Decide { .. } => sqlx::query_as(
                            "UPDATE run SET next_entry = next_entry + 1 WHERE id = $1
                             RETURNING next_entry - 1, attempt",
                        )
                        .bind(&id),
                    };
                    let (number, attempt): (i64, i64) = change.fetch_one(&mut *tx).await?;
                    let entry = match revision {
                        Revision::Reopen(Reopening { texts, inputs, .. }) => {
                            let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
                            Entry::Reopened { attempt, digest, texts, inputs }
                        }
                        Revision::Decide { place, verdict } => Entry::Decided { place, verdict },
                    };
                    let row = EntryRow::of(&Timed { at, entry })
                        .map_err(|error| DatabaseError::Sql(Arc::new(sqlx::Error::Encode(Box::new(error)))))?;
                    row.insert(tx, &id, number).await?;
                    Ok(Some(attempt))
                }
                .boxed()
            })
            .await
            .map_err(store)?;
        match revised {
            Some(attempt) => Ok(u32::try_from(attempt).unwrap_or(u32::MAX)),
            None => Err(JournalError::NotEnded { run, status: self.header(run).await?.status }),
        }
    }

    async fn read(&self, run: RunId) -> Result<Vec<Timed>, JournalError> {
        let rows = sqlx::query(
            "SELECT e.number, e.kind, e.at, coalesce(e.body, v.body) AS body
             FROM journal_entry e LEFT JOIN journal_value v ON v.sha256 = e.value
             WHERE e.run_id = $1 ORDER BY e.number",
        )
        .bind(run.to_string())
        .fetch_all(self.database.readers())
        .await
        .map_err(read_failed)?;
        if rows.is_empty() {
            return Err(JournalError::NoSuchRun(run.to_string()));
        }
        rows.iter()
            .map(|row| {
                let text: &str = row.try_get("body").map_err(read_failed)?;
                let entry = match serde_json::from_str(text) {
                    Ok(entry) => entry,
                    Err(error) => return Err(not_understood(run, row, &error)?),
                };
                Ok(Timed { at: instant(row, "at")?, entry })
            })
            .collect()
    }

    async fn lines(&self, run: RunId) -> Result<Vec<LogLine>, JournalError> {
        let rows =
            sqlx::query("SELECT at, place, level, message FROM run_line WHERE run_id = $1 ORDER BY number")
                .bind(run.to_string())
                .fetch_all(self.database.readers())
                .await
                .map_err(read_failed)?;
        rows.iter()
            .map(|row| {
                Ok(LogLine {
                    at: instant(row, "at")?,
                    place: Place::from_text(row.try_get("place").map_err(read_failed)?),
                    level: row.try_get("level").map_err(read_failed)?,
                    message: row.try_get("message").map_err(read_failed)?,
                })
            })
            .collect()
    }

    async fn find(&self, prefix: &str) -> Result<RunHeader, JournalError> {
        let text = format!(
            "SELECT {HEADER} FROM run WHERE id >= $1 AND id < $2 AND removing IS NULL ORDER BY id LIMIT 5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(prefix)
            .bind(format!("{prefix}~"))
            .fetch_all(self.database.readers())
            .await
            .map_err(read_failed)?;
        match rows.as_slice() {
            [] => Err(JournalError::NoSuchRun(prefix.to_owned())),
            [row] => header(row),
            several => {
                let candidates =
                    several.iter().map(|row| Ok(header(row)?.id)).collect::<Result<_, JournalError>>()?;
                Err(JournalError::Ambiguous { prefix: prefix.to_owned(), candidates })
            }
        }
    }

    async fn text(&self, run: RunId) -> Result<Arc<str>, JournalError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT t.text FROM workflow_text t JOIN run r ON r.digest = t.digest WHERE r.id = $1",
        )
        .bind(run.to_string())
        .fetch_optional(self.database.readers())
        .await
        .map_err(read_failed)?;
        text.map(Arc::from).ok_or_else(|| JournalError::NoSuchRun(run.to_string()))
    }

    async fn cancel_asked(&self, run: RunId) -> Result<bool, JournalError> {
        let last: Option<String> = sqlx::query_scalar(
            "SELECT kind FROM journal_entry WHERE run_id = $1 AND kind IN ('cancel-asked', 'reopened')
             ORDER BY number DESC LIMIT 1",
        )
        .bind(run.to_string())
        .fetch_optional(self.database.readers())
        .await
        .map_err(read_failed)?;
        Ok(last.as_deref() == Some("cancel-asked"))
    }

    async fn free_key(&self, key: &str, now: Timestamp) -> Result<Option<RunId>, JournalError> {
        let (key, at) = (key.to_owned(), now.as_microsecond());
        let freed: Option<String> = self
            .database
            .write(move |tx| {
                async move {
                    let run = sqlx::query_scalar(
                        "UPDATE run SET status = 'queued', owner = NULL, lease_until = NULL
                         WHERE concurrency_key = $1 AND status = 'running'
                           AND (owner IS NULL OR lease_until <= $2)
                         RETURNING id",
                    )
                    .bind(key)
                    .bind(at)
                    .fetch_optional(tx)
                    .await?;
                    Ok(run)
                }
                .boxed()
            })
            .await
            .map_err(store)?;
        let id = |text: String| text.parse().map_err(|error| JournalError::Store(Box::new(error)));
        freed.map(id).transpose()
    }

    async fn runs(&self, filter: &Filter) -> Result<Vec<RunHeader>, JournalError> {
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.name()).collect();
        let wanted = match statuses.as_slice() {
            [] => String::new(),
            // Names of our own; nothing that anybody typed.
            names => format!("AND status IN ('{}')", names.join("', '")),
        };
        let text = format!(
            "SELECT {HEADER} FROM run WHERE ($1 IS NULL OR workflow = $1) AND removing IS NULL {wanted} ORDER BY id DESC LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(&filter.workflow)
            .bind(filter.limit.map_or(i64::MAX, i64::from))
            .fetch_all(self.database.readers())
            .await
            .map_err(read_failed)?;
        rows.iter().map(header).collect()
    }

    async fn once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, JournalError> {
        let row =
            sqlx::query("SELECT run_id, at FROM once_key WHERE workflow = $1 AND step = $2 AND key = $3")
                .bind(workflow)
                .bind(step)
                .bind(key)
                .fetch_optional(self.database.readers())
                .await
                .map_err(read_failed)?;
        row.map(|row| Ok(OnceDone { run: run_id(&row, "run_id")?, at: instant(&row, "at")? })).transpose()
    }

    async fn deliver(&self, run: RunId, at: Timestamp, name: &str, value: Value) -> Result<(), JournalError> {
        let (id, name, body) = (run.to_string(), name.to_owned(), value.to_string());
        self.header(run).await?;
        self.database
            .write(move |tx| {
                async move {
                    sqlx::query(
                        "INSERT INTO run_event (run_id, name, number, at, body)
                         SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4 FROM run_event
                         WHERE run_id = $1 AND name = $2",
                    )
                    .bind(id)
                    .bind(name)
                    .bind(at.as_microsecond())
                    .bind(body)
                    .execute(tx)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
            .map_err(store)
    }

    async fn delivered(&self, run: RunId, name: &str) -> Result<Vec<Value>, JournalError> {
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM run_event WHERE run_id = $1 AND name = $2 ORDER BY number")
                .bind(run.to_string())
                .bind(name)
                .fetch_all(self.database.readers())
                .await
                .map_err(read_failed)?;
        let value = |body: String| {
            serde_json::from_str(&body)
                .map_err(|error| JournalError::Unreadable { run, reason: error.to_string() })
        };
        bodies.into_iter().map(value).collect()
    }
}

impl SqliteJournal {
    async fn hold_until(
        &self,
        claim: &Claim,
        text: &'static str,
        until: Option<Timestamp>,
    ) -> Result<(), JournalError> {
        let (run, epoch) = (claim.run.to_string(), claim.epoch);
        let changed = self
            .database
            .write(move |tx| {
                async move {
                    let until = until.map(Timestamp::as_microsecond);
                    let done = sqlx::query(text).bind(run).bind(epoch).bind(until).execute(tx).await?;
                    Ok(done.rows_affected())
                }
                .boxed()
            })
            .await
            .map_err(store)?;
        if changed == 0 { Err(JournalError::Fenced(claim.run)) } else { Ok(()) }
    }

    async fn why_not_claimed(&self, run: RunId) -> Result<JournalError, JournalError> {
        let status = self.header(run).await?.status;
        if !status.is_open() {
            return Ok(JournalError::HasEnded { run, status });
        }
        let row = sqlx::query(
            "SELECT coalesce(owner, '') AS owner, coalesce(lease_until, 0) AS until FROM run WHERE id = $1",
        )
        .bind(run.to_string())
        .fetch_one(self.database.readers())
        .await
        .map_err(read_failed)?;
        let owner = row.try_get("owner").map_err(read_failed)?;
        Ok(JournalError::Held { run, owner, until: instant(&row, "until")? })
    }
}
