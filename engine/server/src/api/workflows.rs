use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bascule_run::RunId;
use bascule_trigger::{Admission, IntakeError, Verdict};
use bascule_workflow::plan::Workflow;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::JsonBody;
use crate::access::Who;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::view::{InputView, TriggerView, WorkflowDetail, WorkflowSummary, input_schema};

/// What a run is started with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartBody {
    /// By name.
    #[serde(default)]
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// The same key again makes no second run, so that a start whose answer was lost can be sent once more.
    dedupe: Option<String>,
}

/// A run that is recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Started {
    /// Its id.
    #[schema(value_type = String, example = "0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e")]
    pub(crate) run: RunId,
    /// `dedupe` was known: it was started before.
    pub(crate) duplicate: bool,
}

/// Why a workflow is paused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseBody {
    /// For whoever wonders later.
    #[serde(default)]
    reason: String,
}

fn find(shared: &Shared, id: &str) -> Result<Arc<Workflow>, Refusal> {
    shared.parts.book.current(id).ok_or_else(|| {
        let all = shared.parts.book.all();
        let names: Vec<&str> = all.iter().map(|workflow| workflow.id.as_str()).collect();
        Refusal::not_found("no-such-workflow", format!("there is no workflow `{id}`"))
            .help(format!("there is {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }))
    })
}

fn summary(shared: &Shared, workflow: &Workflow) -> WorkflowSummary {
    let open = shared.parts.dispatcher.snapshot();
    let (queued, running) = open.by_workflow.get(&workflow.id).copied().unwrap_or_default();
    let paused = shared.parts.dispatcher.paused().into_iter().find(|paused| paused.workflow == workflow.id);
    WorkflowSummary {
        id: workflow.id.clone(),
        name: workflow.name.clone(),
        description: workflow.description.clone(),
        digest: workflow.digest.clone(),
        triggers: workflow.triggers.iter().map(|trigger| trigger.id.clone()).collect(),
        queued,
        running,
        paused: paused.map(|paused| crate::view::PausedView { since: paused.since, reason: paused.reason }),
    }
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<WorkflowSummary>> {
    Json(shared.parts.book.all().iter().map(|workflow| summary(&shared, workflow)).collect())
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<WorkflowDetail>, Refusal> {
    let workflow = find(&shared, &id)?;
    Ok(Json(WorkflowDetail {
        inputs: workflow.inputs.iter().map(InputView::from).collect(),
        triggers: workflow.triggers.iter().map(|trigger| TriggerView::of(&workflow, trigger)).collect(),
        text: workflow.text.to_string(),
        workflow: summary(&shared, &workflow),
    }))
}

pub(crate) async fn inputs(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(input_schema(&*find(&shared, &id)?)))
}

pub(crate) async fn start(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Extension(who): Extension<Who>,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<(StatusCode, Json<Started>), Refusal> {
    if shared.is_closing() {
        return Err(Refusal::unavailable("closing", "the server is stopping"));
    }
    let workflow = find(&shared, &id)?;
    let mut admission = Admission::by_hand(workflow, &who.name, body.inputs);
    admission.dedupe = body.dedupe;
    let admitted = shared.parts.intake.admit(admission).await.map_err(not_taken)?;
    let duplicate = admitted.verdict == Verdict::Duplicate;
    match admitted.run {
        Some(run) => Ok((StatusCode::ACCEPTED, Json(Started { run, duplicate }))),
        None => {
            let reason = admitted.reason.unwrap_or_else(|| admitted.verdict.name().to_owned());
            Err(Refusal::conflict("not-started", format!("no run was made: {reason}")))
        }
    }
}

/// Why a demand was not taken, for the caller.
pub(crate) fn not_taken(error: IntakeError) -> Refusal {
    match error {
        IntakeError::Inputs { workflow, problems } => {
            Refusal::unprocessable("inputs", format!("workflow `{workflow}` does not take these inputs"))
                .help("`problems` says what each one lacks")
                .problems(problems)
        }
        IntakeError::Key { .. } => Refusal::unprocessable("key", error.to_string()),
        IntakeError::Unavailable(cause) => {
            tracing::error!(error = %cause, "a run could not be recorded");
            Refusal::unavailable("not-stored", "nothing can be stored at the moment")
        }
    }
}

pub(crate) async fn pause(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Extension(who): Extension<Who>,
    JsonBody(body): JsonBody<PauseBody>,
) -> Result<Json<WorkflowSummary>, Refusal> {
    let workflow = find(&shared, &id)?;
    let reason = if body.reason.is_empty() { format!("by {}", who.name) } else { body.reason };
    let paused = shared.parts.dispatcher.pause(&workflow.id, &reason).await;
    paused.map_err(|error| Refusal::internal("the pause could not be stored", &error))?;
    Ok(Json(summary(&shared, &workflow)))
}

pub(crate) async fn unpause(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<WorkflowSummary>, Refusal> {
    let workflow = find(&shared, &id)?;
    let unpaused = shared.parts.dispatcher.unpause(&workflow.id).await;
    unpaused.map_err(|error| Refusal::internal("the end of the pause could not be stored", &error))?;
    Ok(Json(summary(&shared, &workflow)))
}
