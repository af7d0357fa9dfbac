//! The one task that writes: group commit, savepoints, moving the WAL, the end.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::DatabaseError;
use crate::error::{code, primary_code};
use crate::owner::Owner;
use crate::room::{self, Reserve, Room};
use crate::times::{CommitTimes, Times};

/// Most jobs in one transaction; the rest waits for the next.
const GROUP: usize = 256;
/// Most jobs that wait before `write` itself waits.
const WAITING: usize = 1024;
/// The WAL is moved into the file when it has grown by this many bytes.
const WAL_BYTES: u64 = 4 << 20;
/// How long a clean end waits for readers that are still at work.
const READERS_END: Duration = Duration::from_secs(5);

/// The handle to the writer task.
pub(crate) struct Writer {
    messages: mpsc::Sender<Message>,
    state: Arc<State>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(crate) struct State {
    commits: AtomicU64,
    times: Times,
    broken: OnceLock<Arc<str>>,
    pub(crate) room: watch::Sender<Room>,
    /// Where somebody asked for one.
    pub(crate) reserve: OnceLock<Reserve>,
}

impl State {
    fn check(&self) -> Result<(), DatabaseError> {
        match self.broken.get() {
            Some(reason) => Err(DatabaseError::Broken { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn break_with(&self, reason: Arc<str>) -> DatabaseError {
        if self.broken.set(Arc::clone(&reason)).is_ok() {
            tracing::error!(%reason, "the database can no longer be written");
        }
        DatabaseError::Broken { reason }
    }

    pub(crate) fn set_room(&self, room: Room) {
        let changed = self.room.send_if_modified(|known| std::mem::replace(known, room) != room);
        match (changed, room) {
            (false, _) => {}
            (true, Room::Short) => {
                tracing::error!("the disk is nearly full: nothing new is taken until there is room")
            }
            (true, Room::Enough) => tracing::info!("the disk has room again"),
        }
    }

    /// SQLite found no room: whoever writes next gets the reserve.
    fn ran_out(&self) {
        let Some(reserve) = self.reserve.get() else { return };
        self.set_room(Room::Short);
        if reserve.let_go() {
            tracing::warn!("the disk is full: the reserve was let go");
        }
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close,
}

impl Writer {
    pub(crate) fn start(
        connection: SqliteConnection,
        readers: SqlitePool,
        owner: Owner,
        path: &Path,
    ) -> Self {
        let (messages, inbox) = mpsc::channel(WAITING);
        let state = Arc::new(State::default());
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let task = Task {
            connection,
            state: Arc::clone(&state),
            wal: PathBuf::from(wal),
            next_checkpoint_bytes: WAL_BYTES,
        };
        let task = tokio::spawn(task.run(inbox, readers, owner));
        Self { messages, state, task: Mutex::new(Some(task)) }
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        self.state.check()?;
        let (reply, answer) = oneshot::channel();
        let job = Message::Job(Box::new(TypedJob { work: Some(work), outcome: None, reply }));
        if self.messages.send(job).await.is_err() {
            return Err(DatabaseError::Closed);
        }
        answer.await.unwrap_or(Err(DatabaseError::Closed))
    }

    pub(crate) fn commits(&self) -> u64 {
        self.state.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn commit_times(&self) -> CommitTimes {
        self.state.times.read()
    }

    pub(crate) fn broken(&self) -> Option<String> {
        self.state.broken.get().map(|reason| reason.to_string())
    }

    /// Keeps that many bytes for a full disk, from now on.
    pub(crate) fn keep_room(&self, path: &Path, bytes: u64) {
        if self.state.reserve.set(Reserve::new(path, bytes)).is_ok() {
            tokio::spawn(room::watch(Arc::downgrade(&self.state)));
        }
    }

    pub(crate) fn room(&self) -> watch::Receiver<Room> {
        self.state.room.subscribe()
    }

    pub(crate) async fn close(&self) {
        let mut task = self.task.lock().await;
        // An error means that the task has ended already.
        let _ended = self.messages.send(Message::Close).await;
        if let Some(task) = task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the database writer ended early");
        }
    }
}

/// A job of any type. It is run once and then told what became of the transaction that it was part of.
trait Job: Send {
    fn run<'t>(&'t mut self, tx: &'t mut SqliteConnection) -> BoxFuture<'t, Result<(), DatabaseError>>;
    fn deliver(self: Box<Self>, transaction: Result<(), DatabaseError>);
}

struct TypedJob<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, DatabaseError>>,
    reply: oneshot::Sender<Result<T, DatabaseError>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>> + Send + 'static,
{
    fn run<'t>(&'t mut self, tx: &'t mut SqliteConnection) -> BoxFuture<'t, Result<(), DatabaseError>> {
        async move {
            let Some(work) = self.work.take() else {
                return Ok(());
            };
            let outcome = match AssertUnwindSafe(async move { work(tx).await }).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(_panic) => Err(DatabaseError::Panicked),
            };
            let told = outcome.as_ref().map(|_value| ()).map_err(Clone::clone);
            self.outcome = Some(outcome);
            told
        }
        .boxed()
    }

    fn deliver(self: Box<Self>, transaction: Result<(), DatabaseError>) {
        let answer = match (self.outcome, transaction) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(DatabaseError::Undone),
        };
        // The caller may have stopped waiting.
        let _unheard = self.reply.send(answer);
    }
}

struct Task {
    connection: SqliteConnection,
    state: Arc<State>,
    wal: PathBuf,
    next_checkpoint_bytes: u64,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, readers: SqlitePool, owner: Owner) {
        let mut messages = Vec::new();
        while inbox.recv_many(&mut messages, GROUP).await > 0 {
            let mut jobs = VecDeque::new();
            for message in messages.drain(..) {
                match message {
                    Message::Job(job) => jobs.push_back(job),
                    // What was sent before and after is still received, nothing new is taken.
                    Message::Close => inbox.close(),
                }
            }
            self.all(jobs).await;
            self.move_wal_if_long().await;
        }
        self.end(readers, owner).await;
    }

    /// Runs the jobs in as few transactions as possible: one, unless SQLite undoes it as a whole.
    async fn all(&mut self, mut jobs: VecDeque<Box<dyn Job>>) {
        while !jobs.is_empty() {
            let mut done = Vec::with_capacity(jobs.len());
            let begun = Instant::now();
            let outcome = self.transaction(&mut jobs, &mut done).await;
            if outcome.is_ok() {
                self.state.commits.fetch_add(1, Ordering::Relaxed);
                self.state.times.add(begun.elapsed());
            } else if matches!(outcome, Err(DatabaseError::Full)) {
                self.state.ran_out();
            }
            for job in done {
                job.deliver(outcome.clone());
            }
        }
    }

    /// One transaction over `jobs`; those that took part are moved to `done`.
    async fn transaction(
        &mut self,
        jobs: &mut VecDeque<Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), DatabaseError> {
        if let Err(error) = self.begin().await {
            done.extend(jobs.drain(..));
            return Err(error);
        }
        while let Some(mut job) = jobs.pop_front() {
            let kept = self.savepoint(&mut *job).await;
            done.push(job);
            if let Err(error) = kept {
                self.roll_back().await;
                return Err(error);
            }
        }
        let Err(error) = sqlx::query("COMMIT").execute(&mut self.connection).await else {
            return Ok(());
        };
        let outcome = match primary_code(&error) {
            Some(code::FULL | code::CONSTRAINT | code::BUSY) => DatabaseError::from(error),
            _ => self.state.break_with(error.to_string().into()),
        };
        self.roll_back().await;
        Err(outcome)
    }

    async fn begin(&mut self) -> Result<(), DatabaseError> {
        self.state.check()?;
        let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await else {
            return Ok(());
        };
        match primary_code(&error) {
            Some(code::FULL | code::BUSY) => Err(DatabaseError::from(error)),
            _ => Err(self.state.break_with(error.to_string().into())),
        }
    }

    /// Runs one job. An error means that the transaction as a whole is gone; the job's own failure is not one.
    async fn savepoint(&mut self, job: &mut dyn Job) -> Result<(), DatabaseError> {
        let connection = &mut self.connection;
        let failed = match sqlx::query("SAVEPOINT job").execute(&mut *connection).await {
            Ok(_) => job.run(&mut *connection).await.err(),
            Err(error) => return Err(self.lost(error.into())),
        };
        let Some(failed) = failed else {
            // Fails only where SQLite undid the transaction during the job and the job did not pass that on.
            return match sqlx::query("RELEASE job").execute(&mut *connection).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.lost(error.into())),
            };
        };
        if failed.fatal().is_some() {
            return Err(self.lost(failed));
        }
        if matches!(failed, DatabaseError::Full) {
            self.state.ran_out();
        }
        let undone = match sqlx::query("ROLLBACK TO job").execute(&mut *connection).await {
            Ok(_) => sqlx::query("RELEASE job").execute(&mut *connection).await,
            error => error,
        };
        match undone {
            Ok(_) => Ok(()),
            Err(_) if matches!(failed, DatabaseError::Full) => Err(DatabaseError::Full),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    /// What the other jobs of a transaction are told that this error ended.
    fn lost(&self, error: DatabaseError) -> DatabaseError {
        match (error.fatal(), error) {
            (Some(reason), _) => self.state.break_with(reason),
            (None, DatabaseError::Full) => DatabaseError::Full,
            (None, _) => DatabaseError::Undone,
        }
    }

    /// SQLite may have done it already; that is the only error expected here, and `begin` notices every other.
    async fn roll_back(&mut self) {
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.connection).await {
            tracing::debug!(%error, "the transaction was rolled back by SQLite");
        }
    }

    async fn move_wal_if_long(&mut self) {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        if bytes < self.next_checkpoint_bytes || self.state.broken.get().is_some() {
            return;
        }
        self.next_checkpoint_bytes = match self.checkpoint().await {
            Ok(true) => WAL_BYTES,
            // A reader still needs the WAL, or there is no space: again when it has grown further.
            Ok(false) => bytes + WAL_BYTES,
            Err(error) => match DatabaseError::from(error) {
                DatabaseError::Full => {
                    tracing::warn!("the disk is full: the write-ahead log stays where it is");
                    bytes + WAL_BYTES
                }
                other => {
                    self.state.break_with(other.fatal().unwrap_or_else(|| other.to_string().into()));
                    bytes
                }
            },
        };
    }

    /// True where the whole WAL was moved and cut to nothing. Waits for no reader.
    async fn checkpoint(&mut self) -> Result<bool, sqlx::Error> {
        sqlx::query("PRAGMA busy_timeout = 0").execute(&mut self.connection).await?;
        let moved: Result<(i64, i64, i64), _> =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await;
        sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut self.connection).await?;
        moved.map(|(busy, _, _)| busy == 0)
    }

    async fn end(mut self, readers: SqlitePool, owner: Owner) {
        if self.state.broken.get().is_some() {
            // Closing the last connection would move and sync the WAL once more, and a second sync can claim success
            // for data that the first one lost. The process is about to end anyway; the next one recovers.
            std::mem::forget(self.connection);
            return;
        }
        // The readers first: the last connection to close removes the WAL, and a read-only one cannot.
        if tokio::time::timeout(READERS_END, readers.close()).await.is_err() {
            tracing::warn!("a reader of the database did not end in time");
        }
        let moved = self.checkpoint().await;
        let closed = self.connection.close().await;
        match moved.and(closed).map_err(std::io::Error::other).and_then(|()| owner.closed_cleanly()) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the database was not closed cleanly; it is checked on the next start")
            }
        }
    }
}
