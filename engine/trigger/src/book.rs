//! The workflows as they stand now, and as they stood when a run began.

use std::sync::Arc;

use bascule_run::journal::RunTexts;
use bascule_workflow::failure::Failure;
use bascule_workflow::plan::Workflow;
use tokio::sync::watch;

/// The project's checked workflows. Whoever reads the project folder implements it; a broken edit leaves the last good
/// version in place.
pub trait Book: Send + Sync {
    /// The workflow of that id as it stands now.
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>>;

    /// Every workflow as it stands now, sorted by id.
    fn all(&self) -> Vec<Arc<Workflow>>;

    /// The workflow of this very text, checked against the plugins that are there now: a run goes by the text that it
    /// began with. `digest` is the text's sha256. `texts.named` are the texts of the workflows that it names, by which
    /// it goes as well; where they are empty (the run has not begun), the present ones count. An implementation keeps
    /// what it has checked by these texts.
    ///
    /// # Errors
    /// When the text cannot be checked any more, e.g. because a plugin is gone; the message is shown to the operator.
    fn of_text(&self, workflow: &str, digest: &str, texts: &RunTexts) -> Result<Arc<Workflow>, Failure>;

    /// Counts up whenever [`Book::all`] or the plugins have changed.
    fn changed(&self) -> watch::Receiver<u64>;
}
