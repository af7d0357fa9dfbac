//! Everything that makes runs by itself, started and stopped together.

use std::sync::Arc;

use bascule_run::clock::Clock;
use bascule_run::journal::Journal;
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::after::{After, AfterParts};
use crate::book::Book;
use crate::dispatch::Dispatcher;
use crate::event::{Backoff, EventParts, Events, Sources};
use crate::file::{EVERY, FileParts, Files, FolderPaths};
use crate::intake::Intake;
use crate::overdue::{WatchParts, Watcher};
use crate::schedule::{ScheduleParts, Scheduler};

/// What triggers work with.
#[derive(Clone)]
pub struct TriggerParts {
    /// Where runs go.
    pub intake: Intake,
    /// Whose runs' ends are followed.
    pub dispatcher: Dispatcher,
    /// The record of runs.
    pub journal: Arc<dyn Journal>,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// The site's time zone.
    pub zone: TimeZone,
    /// How event sources are run.
    pub sources: Arc<dyn Sources>,
    /// Where folders are.
    pub folders: Arc<dyn FolderPaths>,
}

/// The running triggers. Dropping it stops them without waiting; [`Triggers::stop`] waits.
pub struct Triggers {
    /// Schedules: what is to come and what was missed.
    pub scheduler: Scheduler,
    /// Event sources and how they are.
    pub events: Events,
    /// Watched folders.
    pub files: Files,
    /// Watched successes.
    pub watcher: Watcher,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Triggers {
    /// Starts schedules, event sources, folders, and what follows other runs or their absence. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(parts: TriggerParts) -> Self {
        let TriggerParts { intake, dispatcher, journal, book, clock, zone, sources, folders } = parts;
        let scheduler = Scheduler::new(ScheduleParts {
            intake: intake.clone(),
            book: Arc::clone(&book),
            clock: Arc::clone(&clock),
            zone,
        });
        let events = Events::new(EventParts {
            intake: intake.clone(),
            book: Arc::clone(&book),
            clock: Arc::clone(&clock),
            sources,
            backoff: Backoff::default(),
        });
        let files = Files::new(FileParts {
            intake: intake.clone(),
            book: Arc::clone(&book),
            clock: Arc::clone(&clock),
            folders,
            every: EVERY,
        });
        let watcher = Watcher::new(WatchParts { intake: intake.clone(), book: Arc::clone(&book), clock });
        let after = After::new(AfterParts { intake, book, journal });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        {
            let (scheduler, stop) = (scheduler.clone(), stop.clone());
            tasks.spawn(async move { scheduler.run(stop).await });
        }
        {
            let (events, stop) = (events.clone(), stop.clone());
            tasks.spawn(async move { events.run(stop).await });
        }
        {
            let (files, stop) = (files.clone(), stop.clone());
            tasks.spawn(async move { files.run(stop).await });
        }
        {
            let (watcher, stop) = (watcher.clone(), stop.clone());
            tasks.spawn(async move { watcher.run(stop).await });
        }
        {
            let stop = stop.clone();
            tasks.spawn(async move { after.run(&dispatcher, stop).await });
        }
        Self { scheduler, events, files, watcher, stop, tasks }
    }

    /// No trigger makes a run any more. Returns when all have ended; event sources may take up to 5 s.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a trigger ended early");
            }
        }
    }
}

impl Drop for Triggers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Triggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triggers").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}
