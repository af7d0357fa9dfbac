//! One small write beside the owner, such as a wish that the owner is to find.

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::{DatabaseError, OpenError, open};

/// How long the owner's own write is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `job` in a transaction of its own, on a connection that is closed afterwards. The file must exist and have
/// had every step of the tables that the job writes: the owner has seen to that. What is kept is on disk when this
/// returns. The WAL is left to the owner.
pub(crate) async fn write<T, F>(path: &Path, job: F) -> Result<T, WriteBesideError>
where
    T: Send,
    F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>> + Send,
{
    // Refuses what is missing or not ours.
    open::read_only(path).await?.close().await;
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(DatabaseError::from)?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(DatabaseError::from)?;
    let value = job(&mut transaction).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(value)
}

/// Why a write beside the owner failed; nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum WriteBesideError {
    /// The file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The write failed.
    #[error(transparent)]
    Write(#[from] DatabaseError),
}
