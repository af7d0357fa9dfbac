//! Which files have made a run.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::admission::Admitted;
use crate::intake::{Beside, Intake};

/// What can be told about a file from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) bytes: u64,
    /// Microseconds since 1970.
    pub(super) modified: i64,
}

impl Look {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{name}/{}/{}", self.bytes, self.modified)
    }

    pub(super) fn modified_at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.modified).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The files of a trigger.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) workflow: String,
    pub(super) trigger: String,
}

impl Seen {
    pub(super) async fn load(&self, intake: &Intake) -> Result<BTreeMap<String, Look>, DatabaseError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT name, bytes, modified FROM file_seen WHERE workflow = $1 AND trigger_id = $2",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .fetch_all(intake.database().readers())
        .await?;
        let look = |bytes, modified| Look { bytes: u64::try_from(bytes).unwrap_or(0), modified };
        Ok(rows.into_iter().map(|(name, bytes, modified)| (name, look(bytes, modified))).collect())
    }

    /// Forgets files that are gone.
    pub(super) async fn forget(&self, intake: &Intake, names: Vec<String>) -> Result<(), DatabaseError> {
        if names.is_empty() {
            return Ok(());
        }
        let Self { workflow, trigger } = self.clone();
        intake
            .database()
            .write(move |tx| {
                async move {
                    for name in names {
                        sqlx::query(
                            "DELETE FROM file_seen WHERE workflow = $1 AND trigger_id = $2 AND name = $3",
                        )
                        .bind(&workflow)
                        .bind(&trigger)
                        .bind(name)
                        .execute(&mut *tx)
                        .await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    pub(super) fn mark(&self, name: &str, look: Look, at: Timestamp) -> Mark {
        Mark { seen: self.clone(), name: name.to_owned(), look, at }
    }
}

/// That a file has had its run; stored with the run.
#[derive(Clone)]
pub(super) struct Mark {
    seen: Seen,
    name: String,
    look: Look,
    at: Timestamp,
}

impl Mark {
    async fn store(&self, tx: &mut SqliteConnection) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO file_seen (workflow, trigger_id, name, bytes, modified, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (workflow, trigger_id, name) DO UPDATE SET
                 bytes = excluded.bytes, modified = excluded.modified, seen_at = excluded.seen_at",
        )
        .bind(&self.seen.workflow)
        .bind(&self.seen.trigger)
        .bind(&self.name)
        .bind(i64::try_from(self.look.bytes).unwrap_or(i64::MAX))
        .bind(self.look.modified)
        .bind(self.at.as_microsecond())
        .execute(tx)
        .await?;
        Ok(())
    }

    pub(super) async fn store_alone(self, intake: &Intake) -> Result<(), DatabaseError> {
        intake.database().write(move |tx| async move { self.store(tx).await }.boxed()).await
    }
}

#[async_trait]
impl Beside for Mark {
    async fn after(&mut self, tx: &mut SqliteConnection, _all: &[Admitted]) -> Result<(), DatabaseError> {
        self.store(tx).await
    }
}
