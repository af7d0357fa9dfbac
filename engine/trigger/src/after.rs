//! Runs that begin when a run of another workflow has ended.
//!
//! The journal notes every end in `run_end`, in the transaction of the end itself. The note is taken away in the
//! transaction that stores what follows, so each end is followed once, whenever the process dies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_database::DatabaseError;
use bascule_run::RunId;
use bascule_run::journal::{Journal, JournalError};
use bascule_run::record::RunRecord;
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{Source, Trigger};
use futures_util::FutureExt;
use serde_json::json;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, IntakeError};
use crate::book::Book;
use crate::dispatch::{Dispatcher, chain, depth_of};
use crate::intake::{Beside, Intake, parsed};
use crate::overdue::note_success;

/// So many ends are looked at together.
const BATCH: i64 = 256;
/// After a failure of the database.
const AGAIN: Duration = Duration::from_secs(5);

/// What is needed to follow ends.
#[derive(Clone)]
pub struct AfterParts {
    /// Where runs go.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The record of runs.
    pub journal: Arc<dyn Journal>,
}

/// Starts runs after other runs.
#[derive(Clone)]
pub struct After {
    parts: AfterParts,
}

/// An end that nobody has looked at.
struct End {
    run: RunId,
    workflow: String,
    attempt: i64,
    status: String,
    at: i64,
}

impl End {
    fn note(&self) -> TakeAway {
        let succeeded = matches!(self.status.as_str(), "succeeded" | "recovered");
        TakeAway {
            run: self.run.to_string(),
            attempt: self.attempt,
            success: succeeded.then(|| (self.workflow.clone(), self.at)),
        }
    }
}

/// Why an end could not be followed now.
#[derive(Debug, thiserror::Error)]
pub enum AfterError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database failed.
    #[error("the ends of runs cannot be read or stored")]
    Database(#[from] DatabaseError),
}

impl After {
    /// Does nothing before [`After::step`] or [`After::run`].
    #[must_use]
    pub fn new(parts: AfterParts) -> Self {
        Self { parts }
    }

    /// Follows ends until it is stopped: those of this dispatcher, and those that an earlier process left.
    pub async fn run(&self, dispatcher: &Dispatcher, stop: CancellationToken) {
        let mut ends = dispatcher.ends();
        loop {
            ends.mark_unchanged();
            let again = match self.step().await {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "what follows other runs has to wait");
                    Some(AGAIN)
                }
            };
            let alarm = async {
                match again {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                seen = ends.changed() => if seen.is_err() { return },
                () = alarm => {}
            }
        }
    }

    /// Looks at every end that nobody has looked at.
    ///
    /// # Errors
    /// [`AfterError`]; what was not followed yet is followed the next time.
    pub async fn step(&self) -> Result<(), AfterError> {
        loop {
            let ends = self.ends().await?;
            if ends.is_empty() {
                return Ok(());
            }
            let mut unfollowed = Vec::new();
            for end in ends {
                let followers = self.followers(&end);
                if followers.is_empty() {
                    unfollowed.push(end.note());
                } else {
                    self.follow(&end, followers).await?;
                }
            }
            if !unfollowed.is_empty() {
                self.forget(unfollowed).await?;
            }
        }
    }

    async fn ends(&self) -> Result<Vec<End>, DatabaseError> {
        let rows: Vec<(String, String, i64, String, i64)> = sqlx::query_as(
            "SELECT e.run_id, r.workflow, e.attempt, e.status, e.at FROM run_end e JOIN run r ON r.id = e.run_id
             ORDER BY e.at, e.run_id, e.attempt LIMIT $1",
        )
        .bind(BATCH)
        .fetch_all(self.parts.intake.database().readers())
        .await?;
        rows.into_iter()
            .map(|(run, workflow, attempt, status, at)| {
                Ok(End { run: parsed(&run)?, workflow, attempt, status, at })
            })
            .collect()
    }

    /// The triggers that wait for such an end.
    fn followers(&self, end: &End) -> Vec<(Arc<Workflow>, Trigger)> {
        let mut followers = Vec::new();
        for workflow in self.parts.book.all() {
            for trigger in &workflow.triggers {
                if let Source::Workflow(after) = &trigger.source
                    && after.names.contains(&end.workflow)
                    && after.statuses.contains(&end.status.as_str())
                {
                    followers.push((Arc::clone(&workflow), trigger.clone()));
                }
            }
        }
        followers
    }

    async fn follow(&self, end: &End, followers: Vec<(Arc<Workflow>, Trigger)>) -> Result<(), AfterError> {
        let intake = &self.parts.intake;
        let record = RunRecord::read(&*self.parts.journal, &end.run.to_string()).await?;
        let depth = depth_of(intake, end.run).await?.saturating_add(1);
        let dedupe = format!("{}/{}", end.run, end.attempt);
        // The same names as in the `trigger` of an `on-failure` workflow.
        let run = json!({
            "id": end.run,
            "workflow": end.workflow,
            "status": end.status,
            "attempt": end.attempt,
            "started_at": record.header.started_at.to_string(),
            "inputs": record.inputs,
            "trigger": record.trigger,
            "output": record.output,
        });
        let mut admissions = Vec::new();
        for (workflow, trigger) in followers {
            let value = json!({
                "kind": "workflow",
                "id": trigger.id,
                "run": run,
                "error": record.failure,
                "depth": depth,
            });
            let admission = match Admission::of_trigger(&workflow, &trigger, value) {
                Ok(None) => continue,
                Ok(Some(admission)) => {
                    let admission = Admission { depth, ..admission.with_dedupe(dedupe.clone()) };
                    intake.check(&admission).map(|()| admission).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            match admission {
                Ok(admission) => admissions.push(admission),
                Err(reason) => {
                    intake
                        .refuse(&workflow.id, &trigger.id, Some(&dedupe), &reason)
                        .await
                        .map_err(unavailable)?;
                }
            }
        }
        let admitted = intake.admit_beside(admissions, end.note()).await.map_err(unavailable)?;
        for refused in admitted.into_iter().flatten().filter(|admitted| admitted.run.is_none()) {
            tracing::warn!(run = %end.run, reason = refused.reason, "no run follows this one");
        }
        Ok(())
    }

    async fn forget(&self, notes: Vec<TakeAway>) -> Result<(), DatabaseError> {
        self.parts
            .intake
            .database()
            .write(move |tx| {
                async move {
                    for mut note in notes {
                        note.before(&mut *tx).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}

fn unavailable(error: IntakeError) -> AfterError {
    match error {
        IntakeError::Unavailable(error) => AfterError::Database(error),
        // They were checked a moment ago.
        other => AfterError::Journal(JournalError::Store(Box::new(other))),
    }
}

/// The note of an end, which is taken away once; a success is kept as the workflow's last.
struct TakeAway {
    run: String,
    attempt: i64,
    /// Which workflow succeeded, and when.
    success: Option<(String, i64)>,
}

#[async_trait]
impl Beside for TakeAway {
    async fn before(&mut self, tx: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        let done = sqlx::query("DELETE FROM run_end WHERE run_id = $1 AND attempt = $2")
            .bind(&self.run)
            .bind(self.attempt)
            .execute(&mut *tx)
            .await?;
        if let Some((workflow, at)) = &self.success {
            note_success(tx, workflow, &self.run, *at).await?;
        }
        Ok(done.rows_affected() > 0)
    }
}
