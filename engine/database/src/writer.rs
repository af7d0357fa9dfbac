//! The one task that writes: group commit, savepoints, who comes first, moving the WAL, the end.

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
/// Every eighth job is an ordinary one, however many come first: a flood of those must not stop all else.
const ORDINARY: usize = 8;
/// Once a job is in a transaction that somebody waits for, ordinary ones follow it for so long, or for as long as a commit
/// takes where that is more.
const SHORT: Duration = Duration::from_millis(2);
/// Most jobs that wait before `write` itself waits.
const WAITING: usize = 1024;
/// The WAL is moved into the file when it has grown by this many bytes.
const WAL_BYTES: u64 = 4 << 20;
/// How long a clean end waits for readers that are still at work.
const READERS_END: Duration = Duration::from_secs(5);

/// The handle to the writer task.
pub(crate) struct Writer {
    messages: mpsc::Sender<Message>,
    first: mpsc::Sender<Box<dyn Job>>,
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
        let (messages, rest) = mpsc::channel(WAITING);
        let (first, ahead) = mpsc::channel(WAITING);
        let state = Arc::new(State::default());
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let task = Task {
            connection,
            state: Arc::clone(&state),
            wal: PathBuf::from(wal),
            next_checkpoint_bytes: WAL_BYTES,
            commit: Duration::ZERO,
        };
        let task = tokio::spawn(task.run(Inbox { first: ahead, rest }, readers, owner));
        Self { messages, first, state, task: Mutex::new(Some(task)) }
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        self.state.check()?;
        let (job, answer) = TypedJob::boxed(work);
        if self.messages.send(Message::Job(job)).await.is_err() {
            return Err(DatabaseError::Closed);
        }
        answer.await.unwrap_or(Err(DatabaseError::Closed))
    }

    pub(crate) async fn write_first<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>>
            + Send
            + 'static,
    {
        self.state.check()?;
        let (job, answer) = TypedJob::boxed(work);
        if self.first.send(job).await.is_err() {
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

impl<T, F> TypedJob<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut SqliteConnection) -> BoxFuture<'t, Result<T, DatabaseError>> + Send + 'static,
{
    /// The job, and where its answer comes.
    fn boxed(work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, DatabaseError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { work: Some(work), outcome: None, reply }), answer)
    }
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

/// A job that is about to be done.
struct Taken {
    job: Box<dyn Job>,
    /// It came by `write_first`.
    pressing: bool,
}

/// The jobs that wait.
struct Inbox {
    first: mpsc::Receiver<Box<dyn Job>>,
    rest: mpsc::Receiver<Message>,
}

impl Inbox {
    /// Waits for a job; `None` where there will be none any more.
    async fn wait(&mut self) -> Option<Taken> {
        loop {
            tokio::select! {
                biased;
                Some(job) = self.first.recv() => return Some(Taken { job, pressing: true }),
                message = self.rest.recv() => match message {
                    Some(Message::Job(job)) => return Some(Taken { job, pressing: false }),
                    Some(Message::Close) => self.close(),
                    None => return self.first.recv().await.map(|job| Taken { job, pressing: true }),
                },
            }
        }
    }

    /// A job that waits now.
    fn waiting(&mut self, turn: Turn) -> Option<Taken> {
        match turn {
            Turn::First => self.pressing(),
            Turn::FirstThenRest => self.pressing().or_else(|| self.ordinary()),
            Turn::RestThenFirst => self.ordinary().or_else(|| self.pressing()),
        }
    }

    fn pressing(&mut self) -> Option<Taken> {
        self.first.try_recv().ok().map(|job| Taken { job, pressing: true })
    }

    fn ordinary(&mut self) -> Option<Taken> {
        loop {
            match self.rest.try_recv() {
                Ok(Message::Job(job)) => return Some(Taken { job, pressing: false }),
                Ok(Message::Close) => self.close(),
                Err(_) => return None,
            }
        }
    }

    /// Whoever still wants to write hears why that cannot be, until nobody is left who could.
    async fn refuse(mut self, carried: Option<Taken>, reason: &Arc<str>) {
        let mut next = carried;
        loop {
            let taken = match next.take() {
                Some(taken) => Some(taken),
                None => self.wait().await,
            };
            let Some(Taken { job, .. }) = taken else { return };
            job.deliver(Err(DatabaseError::Broken { reason: Arc::clone(reason) }));
        }
    }

    /// What was sent before is still received, nothing new is taken.
    fn close(&mut self) {
        self.first.close();
        self.rest.close();
    }
}

/// Whose turn it is in a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is no time for ordinary jobs any more.
    First,
    FirstThenRest,
    RestThenFirst,
}

struct Task {
    connection: SqliteConnection,
    state: Arc<State>,
    wal: PathBuf,
    next_checkpoint_bytes: u64,
    /// How long the last commit took.
    commit: Duration,
}

impl Task {
    async fn run(mut self, mut inbox: Inbox, readers: SqlitePool, owner: Owner) {
        let mut carried = None;
        loop {
            let taken = match carried.take() {
                Some(taken) => taken,
                None => match inbox.wait().await {
                    Some(taken) => taken,
                    None => break,
                },
            };
            let mut done = Vec::new();
            let begun = Instant::now();
            let outcome = self.transaction(taken, &mut inbox, &mut done, &mut carried).await;
            if outcome.is_ok() {
                self.state.commits.fetch_add(1, Ordering::Relaxed);
                self.state.times.add(begun.elapsed());
            } else if matches!(outcome, Err(DatabaseError::Full)) {
                self.state.ran_out();
            }
            for job in done {
                job.deliver(outcome.clone());
            }
            self.move_wal_if_long().await;
            if let Some(reason) = self.state.broken.get().cloned() {
                // Closing the last connection would move and sync the WAL once more, and a second sync can claim success
                // for data that the first one lost. However the process ends, it does not come to that.
                std::mem::forget(self.connection);
                return inbox.refuse(carried, &reason).await;
            }
        }
        self.end(readers, owner).await;
    }

    /// One transaction, over this job and those that wait meanwhile; those that took part are in `done`. One that was taken
    /// and not begun is `carried` over to the next transaction.
    async fn transaction(
        &mut self,
        taken: Taken,
        inbox: &mut Inbox,
        done: &mut Vec<Box<dyn Job>>,
        carried: &mut Option<Taken>,
    ) -> Result<(), DatabaseError> {
        if let Err(error) = self.begin().await {
            // Nobody who waits has to find out again.
            done.push(taken.job);
            while done.len() < GROUP
                && let Some(taken) = inbox.waiting(Turn::FirstThenRest)
            {
                done.push(taken.job);
            }
            return Err(error);
        }
        let mut commit_at = None;
        let mut next = Some(taken);
        while let Some(Taken { mut job, pressing }) = next {
            if pressing {
                commit_at.get_or_insert_with(|| Instant::now() + SHORT.max(self.commit));
            }
            let run = self.in_savepoint(&mut *job).await;
            done.push(job);
            let turn = match done.len() {
                count if count % ORDINARY == 0 => Turn::RestThenFirst,
                _ if commit_at.is_some_and(|at| Instant::now() >= at) => Turn::First,
                _ => Turn::FirstThenRest,
            };
            next = if done.len() < GROUP { inbox.waiting(turn) } else { None };
            let kept = match run {
                // Fails only where SQLite undid the transaction during the job and the job did not pass that on.
                Ok(()) => {
                    let ended = if next.is_some() { "RELEASE job; SAVEPOINT job" } else { "RELEASE job" };
                    self.command(ended).await.map_err(|error| self.lost(error.into()))
                }
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                self.roll_back().await;
                *carried = next;
                return Err(error);
            }
        }
        let committing = Instant::now();
        let Err(error) = self.command("COMMIT").await else {
            self.commit = committing.elapsed();
            return Ok(());
        };
        let outcome = match primary_code(&error) {
            Some(code::FULL | code::CONSTRAINT | code::BUSY) => DatabaseError::from(error),
            _ => self.state.break_with(error.to_string().into()),
        };
        self.roll_back().await;
        Err(outcome)
    }

    /// Begins a transaction and the savepoint of its first job.
    async fn begin(&mut self) -> Result<(), DatabaseError> {
        self.state.check()?;
        let Err(error) = self.command("BEGIN IMMEDIATE; SAVEPOINT job").await else {
            return Ok(());
        };
        match primary_code(&error) {
            Some(code::FULL | code::BUSY) => Err(DatabaseError::from(error)),
            _ => Err(self.state.break_with(error.to_string().into())),
        }
    }

    /// Runs one job in the savepoint that is open; where it fails, nothing of it is left there. An error means that the
    /// transaction as a whole is gone; the job's own failure is not one.
    async fn in_savepoint(&mut self, job: &mut dyn Job) -> Result<(), DatabaseError> {
        let Err(failed) = job.run(&mut self.connection).await else {
            return Ok(());
        };
        if failed.fatal().is_some() {
            return Err(self.lost(failed));
        }
        if matches!(failed, DatabaseError::Full) {
            self.state.ran_out();
        }
        match self.command("ROLLBACK TO job").await {
            Ok(()) => Ok(()),
            Err(_) if matches!(failed, DatabaseError::Full) => Err(DatabaseError::Full),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    /// Statements without values that return nothing.
    async fn command(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statements).execute(&mut self.connection).await.map(drop)
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
        if let Err(error) = self.command("ROLLBACK").await {
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
        // The readers first: the last connection to close removes the WAL, and a read-only one cannot.
        if tokio::time::timeout(READERS_END, readers.close()).await.is_err() {
            tracing::warn!("a reader of the database did not end in time");
        }
        let moved = match self.checkpoint().await {
            Err(error) => {
                let failed = DatabaseError::from(error);
                if let Some(reason) = failed.fatal() {
                    self.state.break_with(reason);
                    std::mem::forget(self.connection);
                    return;
                }
                Err(failed)
            }
            Ok(_) => Ok(()),
        };
        let closed = self.connection.close().await.map_err(DatabaseError::from);
        match moved.and(closed).map_err(std::io::Error::other).and_then(|()| owner.closed_cleanly()) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the database was not closed cleanly; it is checked on the next start")
            }
        }
    }
}
