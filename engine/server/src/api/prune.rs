use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bascule_trigger::Swept;
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::Refusal;
use crate::state::Shared;

/// What was taken away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SweptView {
    /// Runs that were older than `runs` or `failed-runs`.
    runs: u64,
    /// Runs that were not, and went for `max-size`.
    runs_for_space: u64,
    /// Deliveries and past occurrences of schedules.
    deliveries: u64,
    /// `once` keys.
    once: u64,
    /// Bytes of the database in use now.
    used_bytes: u64,
    /// Bytes that the file became smaller by.
    given_back_bytes: u64,
    /// What is in use beyond `max-size`, where nothing is left that could go.
    over_bytes: u64,
}

impl From<Swept> for SweptView {
    fn from(swept: Swept) -> Self {
        Self {
            runs: swept.runs,
            runs_for_space: swept.runs_for_space,
            deliveries: swept.deliveries,
            once: swept.once,
            used_bytes: swept.used_bytes,
            given_back_bytes: swept.given_back_bytes,
            over_bytes: swept.over_bytes,
        }
    }
}

pub(crate) async fn prune(State(shared): State<Arc<Shared>>) -> Result<Json<SweptView>, Refusal> {
    let retention = shared.inventory().project.retention.clone();
    let swept = shared.parts.janitor.sweep(&retention).await;
    let swept = swept.map_err(|error| Refusal::internal("what is over cannot be taken away", &error))?;
    Ok(Json(swept.into()))
}
