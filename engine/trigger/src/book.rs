//! The workflows as they stand now, and as they stood when a run began.

use std::sync::Arc;

use async_trait::async_trait;
use bascule_run::journal::RunTexts;
use bascule_workflow::failure::Failure;
use bascule_workflow::plan::Workflow;
use tokio::sync::watch;

/// The project's checked workflows. Whoever reads the project folder implements it; a broken edit leaves the last good
/// version in place.
#[async_trait]
pub trait Book: Send + Sync {
    /// The workflow of that id as it stands now.
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>>;

    /// Every workflow as it stands now, sorted by id.
    fn all(&self) -> Vec<Arc<Workflow>>;

    /// The workflow of this very text, checked against the components of `texts.plugins`: a run goes by what it began
    /// with. Plugins that are not in there are the present ones. `digest` is the text's sha256. `texts.named` are the
    /// texts of the workflows that it names, by which it goes as well; where they are empty (the run has not begun), the
    /// present ones count. An implementation keeps what it has checked by these texts.
    ///
    /// # Errors
    /// When the text cannot be checked any more, because a plugin or the component of that time is gone; the message is
    /// shown to the operator and says how to mend it.
    async fn of_text(&self, workflow: &str, digest: &str, texts: &RunTexts)
    -> Result<Arc<Workflow>, Failure>;

    /// Counts up whenever [`Book::all`] or the plugins have changed.
    fn changed(&self) -> watch::Receiver<u64>;
}
