//! Creating, recognising and checking the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use crate::error::{code, primary_code};
use crate::owner::Owner;
use crate::room::Reserve;
use crate::{OpenError, migrate};

/// `PRAGMA application_id`: the letters `BSCL`.
const APPLICATION_ID: i32 = 0x4253_434c;
const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that the writer keeps prepared; each kind of job has a few.
const KEPT_STATEMENTS: usize = 256;

pub(crate) struct Opened {
    pub(crate) connection: SqliteConnection,
    pub(crate) readers: SqlitePool,
    pub(crate) owner: Owner,
}

/// Where the disk is full, with the room that the last owner kept for that ([`crate::Database::keep_room`]).
pub(crate) async fn owned(path: &Path) -> Result<Opened, OpenError> {
    match opened(path).await {
        Err(error) if is_full(&error) && Reserve::new(path, 0).let_go() => {
            tracing::warn!(path = %path.display(), "the disk is full: the reserve was let go");
            opened(path).await
        }
        outcome => outcome,
    }
}

fn is_full(error: &OpenError) -> bool {
    match error {
        OpenError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        OpenError::Sql { source, .. } => primary_code(source) == Some(code::FULL),
        _ => false,
    }
}

async fn opened(path: &Path) -> Result<Opened, OpenError> {
    let prepared = path.to_owned();
    let owner = match tokio::task::spawn_blocking(move || prepare(&prepared)).await {
        Ok(owner) => owner?,
        Err(error) => {
            return Err(OpenError::Io { path: path.to_owned(), source: std::io::Error::other(error) });
        }
    };
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(KEPT_STATEMENTS)
        .pragma("mmap_size", "0")
        // The writer moves the WAL itself, apart from COMMIT, so that a failure there cannot be taken for a failed
        // commit (nor the other way round).
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| told(path, error))?;
    match made_ready(&mut connection, path, &owner).await {
        Ok(readers) => Ok(Opened { connection, readers, owner }),
        Err(error) => {
            if matches!(&error, OpenError::Sql { source, .. } if primary_code(source) == Some(code::IO)) {
                // Closed it would sync once more what a sync has just failed on, and might be told that all is well.
                std::mem::forget(connection);
            }
            Err(error)
        }
    }
}

async fn made_ready(
    connection: &mut SqliteConnection,
    path: &Path,
    owner: &Owner,
) -> Result<SqlitePool, OpenError> {
    recognise(connection, path, Access::Owner).await?;
    if !owner.found_clean {
        check(connection, path).await?;
    }
    migrate::create_table(connection).await.map_err(|error| told(path, error))?;
    pool(path).await
}

pub(crate) async fn read_only(path: &Path) -> Result<SqlitePool, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    let readers = pool(path).await?;
    let mut connection = readers.acquire().await.map_err(|error| told(path, error))?;
    recognise(&mut connection, path, Access::ReadOnly).await?;
    drop(connection);
    Ok(readers)
}

/// The parts that are not SQLite's: the folder, the lock, and a file that nobody else can read from its first moment
/// (SQLite gives the WAL and its index the same mode as the file).
fn prepare(path: &Path) -> Result<Owner, OpenError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
    let owner = Owner::take(path)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed(path))?;
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed(&folder))?;
    Ok(owner)
}

async fn pool(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("mmap_size", "0")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        // A file does not go away as a server may; asking first would double what a small read takes.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| told(path, error))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Owner,
    ReadOnly,
}

/// Refuses a file that another program made; marks a new one as ours.
async fn recognise(connection: &mut SqliteConnection, path: &Path, access: Access) -> Result<(), OpenError> {
    let failed = |error| told(path, error);
    let id: i32 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if id != 0 || objects > 0 || access == Access::ReadOnly {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    // A pragma takes no bound values; this is APPLICATION_ID.
    sqlx::query("PRAGMA application_id = 0x4253434c").execute(connection).await.map_err(failed)?;
    Ok(())
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let finding: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| told(path, error))?;
    if finding == "ok" {
        tracing::info!(path = %path.display(), "the last owner did not close the database; it was checked and is sound");
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), finding })
}

fn told(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&error) {
        Some(code::NOT_A_DATABASE) => OpenError::NotADatabase { path },
        Some(code::CORRUPT) => OpenError::Damaged { path, finding: error.to_string() },
        _ => OpenError::Sql { path, source: error },
    }
}
