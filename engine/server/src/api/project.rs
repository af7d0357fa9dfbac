use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bascule_capability::secret::Term;
use bascule_trigger::file::FolderProblem;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::{RefusedEdit, Shared};

/// What is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectView {
    /// The program's version.
    version: &'static str,
    /// Counts up with every change that came into use.
    revision: u64,
    /// How many workflows there are.
    workflows: usize,
    /// Edits that are not in use.
    refused_edits: Vec<RefusedEdit>,
    /// Watched folders that cannot be looked at.
    folder_problems: Vec<FolderProblemView>,
    /// Secrets that have expired or soon will (`limits: expiry-warning`).
    expiring_secrets: Vec<ExpiringView>,
}

/// A secret that has expired or soon will.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpiringView {
    /// Its name.
    name: String,
    /// `expiring` or `expired`; an expired one is not used any more.
    state: &'static str,
    /// When it stops being good.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A watched folder that cannot be looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FolderProblemView {
    /// The workflow's id.
    workflow: String,
    /// The trigger's id.
    trigger: String,
    /// Why.
    reason: String,
}

impl From<FolderProblem> for FolderProblemView {
    fn from(problem: FolderProblem) -> Self {
        Self { workflow: problem.workflow, trigger: problem.trigger, reason: problem.reason }
    }
}

/// Looks at the folder now, not only at the next regular look.
pub(crate) async fn reload(state: State<Arc<Shared>>) -> Json<ProjectView> {
    state.0.parts.reload.reload().await;
    show(state).await
}

/// What cannot be read is told in the log, and the rest is shown.
async fn expiring(shared: &Shared) -> Vec<ExpiringView> {
    let secrets = match shared.parts.secrets.list().await {
        Ok(secrets) => secrets,
        Err(error) => {
            tracing::error!(%error, "the secrets cannot be listed");
            return Vec::new();
        }
    };
    let (now, warning) = (shared.parts.clock.now(), shared.inventory().project.limits.expiry_warning);
    let stands = secrets.into_iter().map(|info| (info.term(now, warning), info));
    stands
        .filter(|(term, _)| *term != Term::Good)
        .map(|(term, info)| ExpiringView { name: info.name, state: term.name(), expires_at: info.expires_at })
        .collect()
}

pub(crate) async fn show(State(shared): State<Arc<Shared>>) -> Json<ProjectView> {
    let expiring_secrets = expiring(&shared).await;
    Json(ProjectView {
        version: env!("CARGO_PKG_VERSION"),
        revision: *shared.parts.book.changed().borrow(),
        workflows: shared.parts.book.all().len(),
        refused_edits: shared.inventory().refused.clone(),
        folder_problems: shared.parts.files.problems().into_iter().map(Into::into).collect(),
        expiring_secrets,
    })
}
