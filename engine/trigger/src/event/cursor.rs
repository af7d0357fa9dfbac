//! What outlives the process about a source: where it stopped, and until when nothing was missed.

use async_trait::async_trait;
use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Row as _, SqliteConnection};

use super::SourceId;
use crate::intake::{Beside, Intake, instant, json};

/// What is known about a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) cursor: Option<Value>,
    /// Until then nothing was missed.
    pub(super) complete_until: Option<Timestamp>,
}

pub(super) async fn load(intake: &Intake, id: &SourceId) -> Result<Known, DatabaseError> {
    let row = sqlx::query(
        "SELECT cursor_value, complete_until FROM event_source
         WHERE workflow = $1 AND trigger_id = $2 AND item = $3",
    )
    .bind(&id.workflow)
    .bind(&id.trigger)
    .bind(&id.item)
    .fetch_optional(intake.database().readers())
    .await?;
    let Some(row) = row else {
        return Ok(Known::default());
    };
    let cursor: Option<&str> = row.try_get("cursor_value")?;
    let until: Option<i64> = row.try_get("complete_until")?;
    Ok(Known { cursor: cursor.map(json).transpose()?, complete_until: until.map(instant).transpose()? })
}

pub(super) async fn save(intake: &Intake, id: &SourceId, cursor: Value) -> Result<(), DatabaseError> {
    let (id, cursor) = (id.clone(), cursor.to_string());
    intake
        .database()
        .write(move |tx| {
            async move {
                sqlx::query(
                    "INSERT INTO event_source (workflow, trigger_id, item, cursor_value) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (workflow, trigger_id, item) DO UPDATE SET cursor_value = excluded.cursor_value",
                )
                .bind(id.workflow)
                .bind(id.trigger)
                .bind(id.item)
                .bind(cursor)
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Nothing was missed until then; stored by itself, or with an event.
pub(super) struct CompleteUntil {
    pub(super) id: SourceId,
    /// `None` while something is missing.
    pub(super) at: Option<Timestamp>,
}

impl CompleteUntil {
    async fn store(&self, tx: &mut SqliteConnection) -> Result<(), DatabaseError> {
        let Some(at) = self.at else {
            return Ok(());
        };
        sqlx::query(
            "INSERT INTO event_source (workflow, trigger_id, item, complete_until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (workflow, trigger_id, item) DO UPDATE SET complete_until = excluded.complete_until",
        )
        .bind(&self.id.workflow)
        .bind(&self.id.trigger)
        .bind(&self.id.item)
        .bind(at.as_microsecond())
        .execute(tx)
        .await?;
        Ok(())
    }

    pub(super) async fn store_alone(self, intake: &Intake) -> Result<(), DatabaseError> {
        intake.database().write(move |tx| async move { self.store(tx).await }.boxed()).await
    }
}

#[async_trait]
impl Beside for CompleteUntil {
    async fn before(&mut self, tx: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        self.store(tx).await?;
        Ok(true)
    }
}
