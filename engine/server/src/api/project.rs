use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bascule_trigger::file::FolderProblem;
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

pub(crate) async fn show(State(shared): State<Arc<Shared>>) -> Json<ProjectView> {
    Json(ProjectView {
        version: env!("CARGO_PKG_VERSION"),
        revision: *shared.parts.book.changed().borrow(),
        workflows: shared.parts.book.all().len(),
        refused_edits: shared.inventory().refused.clone(),
        folder_problems: shared.parts.files.problems().into_iter().map(Into::into).collect(),
    })
}
