//! One run, from its pinned text to its end.

use std::sync::Arc;

use bascule_database::DatabaseError;
use bascule_run::invoke::NOT_THERE;
use bascule_run::journal::{JournalError, PinnedPlugins, RunHeader, RunTexts};
use bascule_run::record::RunRecord;
use bascule_run::{RunError, RunId, RunOutcome, Status};
use bascule_workflow::plan::Workflow;
use tokio_util::sync::CancellationToken;

use super::{Ended, Held, Shared, header, tables};

/// What became of executing a run.
pub(super) enum Finish {
    /// It ended now.
    Ended(Box<RunOutcome>),
    /// It had ended before it was begun here, e.g. cancelled a moment ago.
    Gone,
    /// The process is ending.
    Suspended,
    /// It cannot go on until something changes.
    Held(String),
    /// Not now: its group is at work elsewhere, or the journal failed.
    Later(String),
}

pub(super) async fn execute(shared: Arc<Shared>, run: RunId, cancel: CancellationToken) -> (RunId, Finish) {
    let finish = match begin(&shared, run, cancel).await {
        Ok(finish) => finish,
        Err(RunError::Suspended(_)) => Finish::Suspended,
        Err(RunError::Journal(JournalError::HasEnded { .. })) => {
            shared.tell_of_past(run).await;
            Finish::Gone
        }
        Err(RunError::Journal(JournalError::NoSuchRun(_))) => Finish::Gone,
        Err(RunError::Journal(error @ JournalError::Unreadable { .. })) => Finish::Held(chain(&error)),
        Err(error) => Finish::Later(chain(&error)),
    };
    (run, finish)
}

async fn begin(shared: &Shared, run: RunId, cancel: CancellationToken) -> Result<Finish, RunError> {
    let parts = &shared.parts;
    let header = header(&*parts.journal, run).await?;
    if !header.status.is_open() {
        return Err(JournalError::HasEnded { run, status: header.status }.into());
    }
    let workflow = match pinned(shared, &header).await? {
        Ok(workflow) => workflow,
        Err(reason) => return Ok(Finish::Held(reason)),
    };
    let outcome = match parts.runner.execute(run, workflow, cancel.clone()).await {
        // It had begun after all, and gives its group back meanwhile: the texts and plugins of its beginning count.
        Err(RunError::OtherText { .. } | RunError::OtherPlugin { .. }) => {
            match begun_with(shared, &header).await? {
                Ok(workflow) => parts.runner.execute(run, workflow, cancel).await,
                Err(reason) => return Ok(Finish::Held(reason)),
            }
        }
        outcome => outcome,
    };
    match outcome {
        Ok(outcome) => Ok(Finish::Ended(Box::new(outcome))),
        Err(error @ (RunError::OtherText { .. } | RunError::OtherPlugin { .. } | RunError::Held { .. })) => {
            Ok(Finish::Held(chain(&error)))
        }
        Err(error) => Err(error),
    }
}

/// The texts that the run began with, checked; or why that cannot be done.
pub(super) async fn pinned(
    shared: &Shared,
    header: &RunHeader,
) -> Result<Result<Arc<Workflow>, String>, JournalError> {
    let parts = &shared.parts;
    let RunHeader { workflow, digest, .. } = header;
    // Before it begins, a run goes by the present texts of the workflows that it names.
    if header.status == Status::Queued
        && header.attempt == 1
        && let Some(current) = parts.book.current(workflow)
        && current.digest == *digest
    {
        return Ok(Ok(current));
    }
    begun_with(shared, header).await
}

async fn begun_with(
    shared: &Shared,
    header: &RunHeader,
) -> Result<Result<Arc<Workflow>, String>, JournalError> {
    let texts = shared.parts.journal.texts(header.id).await?;
    Ok(checked(shared, header, &texts).await)
}

/// The texts as a run of its own that begins now has them: with the plugins of now.
pub(super) async fn with_present_plugins(
    shared: &Shared,
    header: &RunHeader,
) -> Result<Result<Arc<Workflow>, String>, JournalError> {
    let texts = shared.parts.journal.texts(header.id).await?;
    let texts = RunTexts { plugins: PinnedPlugins::default(), ..texts };
    Ok(checked(shared, header, &texts).await)
}

async fn checked(shared: &Shared, header: &RunHeader, texts: &RunTexts) -> Result<Arc<Workflow>, String> {
    let RunHeader { workflow, digest, .. } = header;
    shared.parts.book.of_text(workflow, digest, texts).await.map_err(|failure| match &failure.code {
        Some(code) if code == NOT_THERE => failure.message,
        _ => format!("the text of `{workflow}` that it began with cannot be used any more: {failure}"),
    })
}

impl Shared {
    /// Keeps a run that cannot go on, with the reason.
    pub(super) async fn hold(&self, run: RunId, reason: String) {
        let now = self.now();
        tracing::warn!(%run, %reason, "the run cannot go on");
        let since = {
            let mut state = self.state();
            let since = state.held.get(&run).map_or(now, |held| held.since);
            state.held.insert(run, Held { run, since, reason: reason.clone() });
            since
        };
        // It is found again on the next start in any case; the row is for people.
        if let Err(error) = tables::note_hold(self.parts.intake.database(), run, since, Some(reason)).await {
            tracing::error!(%run, %error, "cannot store why the run is held");
        }
    }

    /// The run ended elsewhere, e.g. because another process asked to cancel it before it began.
    async fn tell_of_past(&self, run: RunId) {
        match RunRecord::read(&*self.parts.journal, &run.to_string()).await {
            Ok(RunRecord { header, output, failure, .. }) => {
                self.tell(&Ended { run, status: header.status, output, failure });
            }
            Err(error) => tracing::error!(%run, error = %chain(&error), "cannot read how the run ended"),
        }
    }

    /// The run goes on.
    pub(super) async fn release(&self, run: RunId) {
        let was = self.state().held.remove(&run).is_some();
        if was
            && let Err(error) = tables::note_hold(self.parts.intake.database(), run, self.now(), None).await
        {
            tracing::error!(%run, %error, "cannot store that the run goes on");
        }
    }

    /// A run that somebody wants to cancel, that was under way before a crash, and that cannot be executed: it ends
    /// here, and says that nothing of it was undone.
    pub(super) async fn abandon_if_held(&self, run: RunId, who: &str) -> Result<(), JournalError> {
        let Some(reason) = self.state().held.get(&run).map(|held| held.reason.clone()) else {
            // It waits for its turn; its record says that it is to be cancelled.
            return Ok(());
        };
        let why = format!("cancelled by {who} while it could not go on ({reason})");
        let outcome = match self.parts.runner.abandon(run, &why).await {
            Ok(outcome) => outcome,
            Err(RunError::Journal(error)) => return Err(error),
            // It goes on after all, and its record says that it is to be cancelled.
            Err(_) => return Ok(()),
        };
        self.release(run).await;
        self.tell(&Ended::from(&outcome));
        Ok(())
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// As `chain`, for logs.
pub(super) fn why(error: &DatabaseError) -> String {
    chain(error)
}
