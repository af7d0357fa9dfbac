use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bascule_run::journal::{CancelAsked, Filter, JournalError, RunHeader};
use bascule_run::record::RunRecord;
use bascule_run::{Basis, RunError, Status};
use bascule_trigger::dispatch::{Rerun, RerunError};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{Asked, JsonBody};
use super::workflows::{Started, not_taken};
use crate::access::Who;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::view::{LineView, RunDetail, RunView, StepView};

/// Most entries of a list.
const MOST: u32 = 1000;
/// Entries of a list where nobody says how many.
const USUAL: u32 = 50;

/// How many entries of a list.
pub(crate) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(USUAL).clamp(1, MOST)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    workflow: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
}

/// What became of the wish.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// `ended`: it had not begun and is `cancelled`. `asked`: it ends soon. `too-late`: it had ended.
    outcome: &'static str,
}

/// How a run is done again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RerunBody {
    /// By default what did not succeed.
    #[serde(default)]
    what: What,
    /// By default the text that it began with.
    #[serde(default)]
    text: Text,
    /// All inputs, where they are to be others.
    #[schema(value_type = Option<Object>)]
    inputs: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// What did not succeed, as the next attempt of the same run.
    #[default]
    Failed,
    /// All of it, as a run of its own.
    All,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Text {
    /// The text that it began with.
    #[default]
    AsBegun,
    /// The text as it stands now.
    Latest,
}

/// The run whose id begins so; `last` is the newest.
pub(crate) async fn find(shared: &Shared, name: &str) -> Result<RunHeader, Refusal> {
    if name == "last" {
        let filter = Filter { limit: Some(1), ..Filter::default() };
        let newest = shared.parts.journal.runs(&filter).await.map_err(unreadable)?;
        return newest
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::not_found("no-such-run", "nothing has run here yet"));
    }
    shared.parts.journal.find(name).await.map_err(unreadable)
}

/// A journal's error, for the caller.
pub(crate) fn unreadable(error: JournalError) -> Refusal {
    match &error {
        JournalError::NoSuchRun(_) => {
            Refusal::not_found("no-such-run", error.to_string()).help("GET /api/v1/runs lists the latest")
        }
        JournalError::Ambiguous { .. } => Refusal::conflict("ambiguous", error.to_string()),
        JournalError::NotEnded { .. } => {
            Refusal::conflict("not-ended", error.to_string()).help("cancel it first, or wait")
        }
        JournalError::HasEnded { .. } => Refusal::conflict("has-ended", error.to_string()),
        _ => Refusal::internal("the record of runs cannot be read", &error),
    }
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(which): Asked<Which>,
) -> Result<Json<Vec<RunView>>, Refusal> {
    let mut statuses = Vec::new();
    for word in which.status.iter().flat_map(|words| words.split(',')) {
        let known = || Status::ALL.into_iter().map(Status::name).collect::<Vec<_>>().join(", ");
        let status = Status::from_name(word.trim()).ok_or_else(|| {
            Refusal::malformed(format!("`{word}` is not a status")).help(format!("one of {}", known()))
        })?;
        statuses.push(status);
    }
    let filter = Filter { workflow: which.workflow, statuses, limit: Some(limit(which.limit)) };
    let runs = shared.parts.journal.runs(&filter).await.map_err(unreadable)?;
    Ok(Json(runs.into_iter().map(Into::into).collect()))
}

async fn record(shared: &Shared, name: &str) -> Result<RunRecord, Refusal> {
    let header = find(shared, name).await?;
    RunRecord::read(&*shared.parts.journal, &header.id.to_string()).await.map_err(unreadable)
}

pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(run): Path<String>,
) -> Result<Json<RunDetail>, Refusal> {
    let record = record(&shared, &run).await?;
    let held = shared.parts.dispatcher.held().into_iter().find(|held| held.run == record.header.id);
    Ok(Json(RunDetail { held: held.map(Into::into), ..record.into() }))
}

pub(crate) async fn steps(
    State(shared): State<Arc<Shared>>,
    Path(run): Path<String>,
) -> Result<Json<Vec<StepView>>, Refusal> {
    Ok(Json(record(&shared, &run).await?.steps.into_iter().map(Into::into).collect()))
}

pub(crate) async fn lines(
    State(shared): State<Arc<Shared>>,
    Path(run): Path<String>,
) -> Result<Json<Vec<LineView>>, Refusal> {
    let header = find(&shared, &run).await?;
    let lines = shared.parts.journal.lines(header.id).await.map_err(unreadable)?;
    Ok(Json(lines.into_iter().map(Into::into).collect()))
}

pub(crate) async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(run): Path<String>,
    Extension(who): Extension<Who>,
) -> Result<Json<Cancelled>, Refusal> {
    let header = find(&shared, &run).await?;
    let asked = shared.parts.dispatcher.cancel(header.id, &who.name).await.map_err(unreadable)?;
    let outcome = match asked {
        CancelAsked::Ended => "ended",
        CancelAsked::Noted => "asked",
        CancelAsked::TooLate => "too-late",
    };
    Ok(Json(Cancelled { outcome }))
}

pub(crate) async fn rerun(
    State(shared): State<Arc<Shared>>,
    Path(run): Path<String>,
    JsonBody(body): JsonBody<RerunBody>,
) -> Result<(StatusCode, Json<Started>), Refusal> {
    if shared.is_closing() {
        return Err(Refusal::unavailable("closing", "the server is stopping"));
    }
    let header = find(&shared, &run).await?;
    let basis = match body.text {
        Text::AsBegun => Basis::AsBegun,
        Text::Latest => Basis::Latest,
    };
    let what = match body.what {
        What::Failed => Rerun::Failed { basis, inputs: body.inputs },
        What::All => Rerun::FromStart { basis, inputs: body.inputs },
    };
    match shared.parts.dispatcher.rerun(header.id, what).await {
        Ok(run) => Ok((StatusCode::ACCEPTED, Json(Started { run, duplicate: false }))),
        Err(RerunError::Journal(error) | RerunError::Run(RunError::Journal(error))) => Err(unreadable(error)),
        Err(RerunError::Intake(error)) => Err(not_taken(error)),
        Err(error @ (RerunError::Run(_) | RerunError::Text(_) | RerunError::Skipped(_))) => {
            Err(Refusal::conflict("not-possible", error.to_string()))
        }
        Err(RerunError::Database(error)) => Err(Refusal::internal("the queue cannot be read", &error)),
    }
}
