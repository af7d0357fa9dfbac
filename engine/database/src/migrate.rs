//! Numbered steps per component, recorded in `bascule_step`.

use std::sync::Arc;

use sqlx::{SqliteConnection, SqlitePool};

use crate::DatabaseError;

pub(crate) async fn create_table(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS bascule_step (
             component  TEXT NOT NULL,
             step       INTEGER NOT NULL,
             applied_at TEXT NOT NULL,
             PRIMARY KEY (component, step)
         ) STRICT, WITHOUT ROWID",
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn apply(
    tx: &mut SqliteConnection,
    component: &'static str,
    steps: &'static [&'static str],
) -> Result<(), DatabaseError> {
    let found = applied(&mut *tx, component).await?;
    if found > steps.len() {
        return Err(DatabaseError::NewerSchema { component, found, known: steps.len() });
    }
    for (index, text) in steps.iter().enumerate().skip(found) {
        let step = index + 1;
        sqlx::raw_sql(*text).execute(&mut *tx).await.map_err(|source| match DatabaseError::from(source) {
            DatabaseError::Sql(source) => DatabaseError::Migration { component, step, source },
            other => other,
        })?;
        sqlx::query("INSERT INTO bascule_step (component, step, applied_at) VALUES (?, ?, ?)")
            .bind(component)
            .bind(i64::try_from(step).unwrap_or(i64::MAX))
            .bind(jiff::Timestamp::now().to_string())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

pub(crate) async fn compare(
    readers: &SqlitePool,
    component: &'static str,
    known: usize,
) -> Result<(), DatabaseError> {
    let found = applied(readers, component).await?;
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(DatabaseError::NewerSchema { component, found, known }),
        std::cmp::Ordering::Less => Err(DatabaseError::OlderSchema { component, found, known }),
    }
}

async fn applied<'c>(
    executor: impl sqlx::SqliteExecutor<'c>,
    component: &'static str,
) -> Result<usize, DatabaseError> {
    let found: i64 =
        sqlx::query_scalar("SELECT coalesce(max(step), 0) FROM bascule_step WHERE component = ?")
            .bind(component)
            .fetch_one(executor)
            .await
            .map_err(|error| DatabaseError::Sql(Arc::new(error)))?;
    Ok(usize::try_from(found).unwrap_or(0))
}
