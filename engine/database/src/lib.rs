//! One SQLite file, opened the one way that keeps its promises: WAL, `synchronous=FULL`, one writer, a pool of
//! readers, one owner.
//!
//! What it is not: it knows no table but its own list of applied steps. The journal, the stores, the secrets and
//! the lock-out guard each bring their steps to [`Database::migrate`].
//!
//! Start from [`Database::open`] and [`Database::write`].
//!
//! ```
//! use bascule_database::{Database, DatabaseError};
//! use futures_util::FutureExt;
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! let database = Database::open(&folder.join("bascule.db")).await?;
//! database.migrate("notes", &["CREATE TABLE note (text TEXT NOT NULL) STRICT"]).await?;
//! let id = database
//!     .write(|tx| {
//!         async move {
//!             let done = sqlx::query("INSERT INTO note VALUES ('hello')").execute(tx).await?;
//!             Ok(done.last_insert_rowid())
//!         }
//!         .boxed()
//!     })
//!     .await?;
//! assert_eq!(id, 1);
//! database.close().await;
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Runtime::new()?.block_on(example(folder.path()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod beside;
mod error;
mod migrate;
mod open;
mod owner;
mod room;
mod space;
mod statements;
mod times;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::watch;

pub use beside::WriteBesideError;
pub use error::{DatabaseError, OpenError};
pub use room::Room;
pub use space::Space;
pub use statements::Statements;
pub use times::CommitTimes;

use writer::Writer;

/// The opened file. Cheap to clone; all clones share the writer and the readers.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    readers: SqlitePool,
    /// `None` when opened read-only.
    writer: Option<Writer>,
}

impl Database {
    /// Opens the file as its only owner and creates it where there is none (file 0600, a missing folder 0700).
    ///
    /// The owner is whoever holds the lock on `<path>.lock`; it is released when the process ends, however it ends.
    /// Where the previous owner did not close, the file is checked (`quick_check`) before anything is read from it.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = open::owned(path).await?;
        let writer = Writer::start(opened.connection, opened.readers.clone(), opened.owner, path);
        Ok(Self {
            inner: Arc::new(Inner { path: path.to_owned(), readers: opened.readers, writer: Some(writer) }),
        })
    }

    /// Opens an existing file for reading while another process may own it. [`Database::write`] is then
    /// [`DatabaseError::ReadOnly`], and [`Database::migrate`] only compares versions.
    pub async fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let readers = open::read_only(path).await?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), readers, writer: None }) })
    }

    /// One small write while another process may own the file: a wish that the owner is to find, not a second owner.
    /// The tables must be there already. Nothing of it is kept when it fails.
    pub async fn write_beside<T, F>(path: &Path, job: F) -> Result<T, WriteBesideError>
    where
        T: Send,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>> + Send,
    {
        beside::write(path, job).await
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Brings the tables of `component` to the newest version: the steps that are not recorded yet are run, in order
    /// and in one transaction. A step may hold several statements and is never edited once it has been released.
    ///
    /// Fails with [`DatabaseError::NewerSchema`] where the file has had more steps than are known here.
    pub async fn migrate(
        &self,
        component: &'static str,
        steps: &'static [&'static str],
    ) -> Result<(), DatabaseError> {
        if self.inner.writer.is_none() {
            return migrate::compare(&self.inner.readers, component, steps.len()).await;
        }
        self.write(move |tx| Box::pin(migrate::apply(tx, component, steps))).await
    }

    /// Runs `job` inside a transaction and returns when its changes are on disk.
    ///
    /// Jobs that wait at the same moment share a transaction, in the order in which they came, each in a savepoint
    /// of its own: an `Err` of one (or its panic) undoes that one alone. A job must not begin or end a transaction.
    /// Once handed over, a job runs even if the caller stops waiting for it.
    pub async fn write<T, F>(&self, job: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.write(job).await,
            None => Err(DatabaseError::ReadOnly),
        }
    }

    /// As [`Database::write`], and before everything that waits there: for whatever somebody outside is kept waiting for, such
    /// as the answer to a webhook. Among each other these jobs are done in the order in which they came.
    pub async fn write_first<T, F>(&self, job: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.write_first(job).await,
            None => Err(DatabaseError::ReadOnly),
        }
    }

    /// As [`Database::write`], for what must get through: where the disk was full, the reserve of [`Database::keep_room`]
    /// has been let go, and the job is done once more. Nothing was kept of it before, so it is not done twice.
    pub async fn write_pressing<T, F>(&self, job: impl Fn() -> F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        match self.write(job()).await {
            Err(DatabaseError::Full) => self.write(job()).await,
            written => written,
        }
    }

    /// Four read-only connections; each sees what was committed when its statement (or transaction) began.
    #[must_use]
    pub fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    /// How many transactions were committed since the file was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.writer.as_ref().map_or(0, Writer::commits)
    }

    /// How long transactions took since the file was opened.
    #[must_use]
    pub fn commit_times(&self) -> CommitTimes {
        self.inner.writer.as_ref().map_or_else(CommitTimes::default, Writer::commit_times)
    }

    /// Why the file can no longer be written, if so; see [`DatabaseError::Broken`].
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        self.inner.writer.as_ref().and_then(Writer::broken)
    }

    /// Keeps so many bytes on the disk from now on, in the file `<path>.reserve`: where SQLite finds no room, they are let
    /// go, so that small writes (a cancellation, the end of a run) still succeed. While there is less than that beside the
    /// reserve, [`Database::room`] is [`Room::Short`]; it is [`Room::Enough`] again by itself. Must be called inside a
    /// tokio runtime; later calls change nothing.
    pub fn keep_room(&self, bytes: u64) {
        if let Some(writer) = &self.inner.writer {
            writer.keep_room(&self.inner.path, bytes);
        }
    }

    /// Whether there is room on the disk, and word of each change. Always [`Room::Enough`] unless
    /// [`Database::keep_room`] was called.
    #[must_use]
    pub fn room(&self) -> watch::Receiver<Room> {
        match &self.inner.writer {
            Some(writer) => writer.room(),
            None => watch::Sender::new(Room::Enough).subscribe(),
        }
    }

    /// Finishes the jobs that were handed over, moves the WAL into the file, closes all connections, notes that the
    /// end was clean, and gives up ownership. Later writes are [`DatabaseError::Closed`]. Where the disk fails even in
    /// this, [`Database::broken`] says so afterwards; what was stored stays, and the file is checked when it is next opened.
    /// Without it the same happens in the background when the last clone is dropped.
    pub async fn close(&self) {
        match &self.inner.writer {
            Some(writer) => writer.close().await,
            None => self.inner.readers.close().await,
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
