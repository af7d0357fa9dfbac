//! What the handlers work with.

use std::sync::Arc;

use bascule_capability::Capabilities;
use bascule_capability::secret::Secrets;
use bascule_database::{Database, Room};
use bascule_run::clock::Clock;
use bascule_run::journal::Journal;
use bascule_run::observe::Broadcast;
use bascule_trigger::{Book, Dispatcher, Events, Files, Intake, Janitor, Scheduler, Watcher};
use bascule_workflow::project::Project;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::hooks::Receiver;
use crate::metrics::Metrics;
use crate::tokens::Tokens;

/// What a server works with. Cheap to clone.
#[derive(Clone)]
pub struct ServerParts {
    /// Takes demands for runs.
    pub intake: Intake,
    /// Executes them.
    pub dispatcher: Dispatcher,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// Looks at the project folder.
    pub reload: Arc<dyn Reload>,
    /// What `bascule.yaml` says, as it stands now.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// The record of runs.
    pub journal: Arc<dyn Journal>,
    /// The data folder's database, to tell whether it can be written.
    pub database: Database,
    /// Secrets of webhooks, and the redactor.
    pub secrets: Secrets,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// What happens in runs.
    pub events: Broadcast,
    /// Who may use the API.
    pub tokens: Tokens,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Schedules: what is to come and what was missed.
    pub scheduler: Scheduler,
    /// Event sources and how they are.
    pub sources: Events,
    /// Watched folders.
    pub files: Files,
    /// Watched successes.
    pub watcher: Watcher,
    /// Takes away what is over.
    pub janitor: Janitor,
    /// What became of spans, where traces are sent.
    pub telemetry: Option<bascule_telemetry::Counts>,
}

/// Looks at the project folder at once, for whoever has just changed something in it.
#[async_trait::async_trait]
pub trait Reload: Send + Sync {
    /// When this returns, what is in the folder is in use, or refused.
    async fn reload(&self);
}

/// The operator's inventory, opened.
#[derive(Default)]
pub struct Inventory {
    /// `bascule.yaml`
    pub project: Project,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Edits that are not in use because something is wrong with them.
    pub refused: Vec<RefusedEdit>,
}

/// A file that was changed and cannot be used; what was there before stays in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedEdit {
    /// Which file.
    pub file: String,
    /// Its problems with their places, as `bascule check` prints them.
    pub problems: String,
}

/// The server's insides.
pub(crate) struct Shared {
    pub(crate) parts: ServerParts,
    pub(crate) receiver: Receiver,
    /// Everything that is asked for is done: what starts before it is complete says so.
    pub(crate) open: CancellationToken,
    /// Nothing new is taken.
    pub(crate) closing: CancellationToken,
}

impl Shared {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Whether the disk is so full that nothing new is taken.
    pub(crate) fn is_short_of_room(&self) -> bool {
        *self.parts.database.room().borrow() == Room::Short
    }

    pub(crate) fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.parts.inventory.borrow())
    }
}
