//! The data folder stays as large as `retention:` says: what is over goes, in many small transactions between which
//! others write, and the file becomes smaller.

use std::sync::Arc;
use std::time::Duration;

use bascule_database::{DatabaseError, Space};
use bascule_run::RunId;
use bascule_run::clock::Clock;
use bascule_run::journal::{Aged, Removed, SqliteJournal};
use bascule_workflow::project::Retention;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use crate::dispatch::chain;
use crate::intake::Intake;

/// How long after one round the next one begins, in real time.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// So many runs go at a time where space is short.
const AT_ONCE: u32 = 16;
/// Free space that is kept for what comes next, so that the file does not shrink and grow all the time.
const KEEP_FREE_BYTES: u64 = 8 << 20;

/// Takes away what is over. Cheap to clone; rounds of several at the same time do no harm.
#[derive(Clone)]
pub struct Janitor {
    intake: Intake,
    journal: Arc<SqliteJournal>,
    clock: Arc<dyn Clock>,
}

/// What a round took away, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Runs that were older than `runs` or `failed-runs`.
    pub runs: u64,
    /// Runs that were not, and went for `max-size`.
    pub runs_for_space: u64,
    /// Deliveries and past occurrences of schedules.
    pub deliveries: u64,
    /// `once` keys.
    pub once: u64,
    /// Bytes in use when it was over.
    pub used_bytes: u64,
    /// Bytes that the file became smaller by.
    pub given_back_bytes: u64,
    /// What is in use beyond `max-size`, where nothing was left that could go.
    pub over_bytes: u64,
}

impl Swept {
    /// True if something went.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.runs + self.runs_for_space + self.deliveries + self.once > 0
    }
}

impl Janitor {
    /// Does nothing before [`Janitor::sweep`] or [`Janitor::run`].
    #[must_use]
    pub fn new(intake: Intake, journal: Arc<SqliteJournal>, clock: Arc<dyn Clock>) -> Self {
        Self { intake, journal, clock }
    }

    /// One round after another until it is stopped, the first one at once. `retention` is asked before each.
    pub async fn run(&self, retention: impl Fn() -> Retention + Send, stop: CancellationToken) {
        loop {
            let retention = retention();
            let round = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                round = self.sweep(&retention) => round,
            };
            match round {
                Ok(swept) if swept.over_bytes > 0 => tracing::warn!(
                    used_bytes = swept.used_bytes,
                    over_bytes = swept.over_bytes,
                    "the database is larger than `retention: max-size`, and nothing is left that may go: raise it, or end runs \
                     that are open"
                ),
                Ok(swept) if swept.is_anything() => tracing::info!(
                    runs = swept.runs,
                    runs_for_space = swept.runs_for_space,
                    deliveries = swept.deliveries,
                    once = swept.once,
                    used_bytes = swept.used_bytes,
                    given_back_bytes = swept.given_back_bytes,
                    "took away what is over"
                ),
                Ok(_) => {}
                Err(error) => tracing::error!(error = %chain(&error), "what is over cannot be taken away"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Takes away everything that is over by now.
    ///
    /// # Errors
    /// What the database says; what went before is gone.
    pub async fn sweep(&self, retention: &Retention) -> Result<Swept, DatabaseError> {
        let limits = Limits::of(retention, self.clock.now());
        let mut swept = Swept::default();
        // What an earlier process had begun to take away.
        swept.runs += self.finish_removing().await?;
        while self.journal.choose(limits.aged()).await? > 0 {
            swept.runs += self.finish_removing().await?;
        }
        loop {
            let pruned = self.intake.prune(limits.deliveries).await?;
            swept.deliveries += pruned.deliveries + pruned.slots;
            if pruned.deliveries + pruned.slots == 0 {
                break;
            }
        }
        loop {
            let forgotten = self.journal.forget_once(limits.once).await?;
            swept.once += forgotten;
            if forgotten == 0 {
                break;
            }
        }
        let database = self.intake.database();
        while database.space().await?.used_bytes > retention.max_size_bytes {
            if self.journal.choose(Aged::Oldest(AT_ONCE)).await? == 0 {
                break;
            }
            swept.runs_for_space += self.finish_removing().await?;
        }
        if swept.is_anything() {
            self.forget_texts().await?;
        }
        swept.given_back_bytes = database.give_back(KEEP_FREE_BYTES).await?;
        let Space { used_bytes, .. } = database.space().await?;
        swept.used_bytes = used_bytes;
        swept.over_bytes = used_bytes.saturating_sub(retention.max_size_bytes);
        Ok(swept)
    }

    /// What a round would take away now because of its age. What `max-size` asks for beyond that is not known before.
    ///
    /// # Errors
    /// What the database says.
    pub async fn look(&self, retention: &Retention) -> Result<Swept, DatabaseError> {
        let limits = Limits::of(retention, self.clock.now());
        let used_bytes = self.intake.database().space().await?.used_bytes;
        Ok(Swept {
            runs: self.journal.count_aged(limits.fine, limits.failed).await?,
            deliveries: self.intake.count_old(limits.deliveries).await?,
            once: self.journal.count_once(limits.once).await?,
            used_bytes,
            over_bytes: used_bytes.saturating_sub(retention.max_size_bytes),
            ..Swept::default()
        })
    }

    /// Takes away marked runs, piece by piece; gives how many.
    async fn finish_removing(&self) -> Result<u64, DatabaseError> {
        let mut runs = 0;
        loop {
            let removed = self
                .intake
                .database()
                .write(|tx| {
                    async move {
                        let removed = SqliteJournal::remove_marked(&mut *tx).await?;
                        forget_runs(tx, &removed.runs).await?;
                        Ok(removed)
                    }
                    .boxed()
                })
                .await?;
            let Removed { runs: gone, rows } = removed;
            runs += u64::try_from(gone.len()).unwrap_or(u64::MAX);
            if rows == 0 {
                return Ok(runs);
            }
        }
    }

    /// Texts that neither a run nor a demand goes by.
    async fn forget_texts(&self) -> Result<(), DatabaseError> {
        self.intake
            .database()
            .write(|tx| {
                async move {
                    sqlx::query(
                        "DELETE FROM workflow_text
                         WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.digest = workflow_text.digest)
                           AND NOT EXISTS (SELECT 1 FROM bucket WHERE bucket.digest = workflow_text.digest)",
                    )
                    .execute(tx)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

/// What the queue kept about them.
async fn forget_runs(tx: &mut SqliteConnection, runs: &[RunId]) -> Result<(), DatabaseError> {
    for run in runs {
        let id = run.to_string();
        sqlx::query("DELETE FROM run_order WHERE run_id = $1").bind(&id).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM run_hold WHERE run_id = $1").bind(&id).execute(&mut *tx).await?;
    }
    Ok(())
}

/// The instants before which things are over.
#[derive(Clone, Copy)]
struct Limits {
    fine: Timestamp,
    failed: Timestamp,
    deliveries: Timestamp,
    once: Timestamp,
}

impl Limits {
    fn of(retention: &Retention, now: Timestamp) -> Self {
        let before = |time: Duration| {
            let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            now.checked_sub(time).unwrap_or(Timestamp::MIN)
        };
        Self {
            fine: before(retention.runs),
            failed: before(retention.failed_runs),
            deliveries: before(retention.deliveries),
            once: before(retention.once),
        }
    }

    fn aged(&self) -> Aged {
        Aged::Ended { fine_before: self.fine, failed_before: self.failed }
    }
}
