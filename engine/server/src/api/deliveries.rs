use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bascule_run::RunId;
use bascule_trigger::Verdict;
use bascule_trigger::intake::{Delivery, DeliveryFilter};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Asked;
use super::runs::{self, limit};
use crate::refusal::Refusal;
use crate::state::Shared;

/// One demand for a run and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Its id.
    #[schema(value_type = String, example = "0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e")]
    id: bascule_trigger::DeliveryId,
    /// The workflow's id.
    workflow: String,
    /// The trigger's id, or `api`.
    source: String,
    /// The key by which it is known again.
    dedupe: Option<String>,
    /// When it came first.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// sha256 of what came in.
    body_sha256: Option<String>,
    /// The HTTP status that it was answered with.
    answer: Option<u16>,
    /// `accepted`, `skipped`, `held`, `refused`
    verdict: &'static str,
    /// Why there is no run.
    reason: Option<String>,
    /// The run.
    #[schema(value_type = Option<String>, example = "0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e")]
    run: Option<RunId>,
    /// How often it came again.
    duplicates: u64,
    /// When it came last.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            workflow: delivery.workflow,
            source: delivery.source,
            dedupe: delivery.dedupe,
            received_at: delivery.received_at,
            body_sha256: delivery.body_sha256,
            answer: delivery.answer,
            verdict: delivery.verdict.name(),
            reason: delivery.reason,
            run: delivery.run,
            duplicates: delivery.duplicates,
            last_at: delivery.last_at,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    workflow: Option<String>,
    source: Option<String>,
    verdict: Option<String>,
    run: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(which): Asked<Which>,
) -> Result<Json<Vec<DeliveryView>>, Refusal> {
    let verdict = which
        .verdict
        .map(|word| {
            Verdict::from_name(&word).ok_or_else(|| {
                Refusal::malformed(format!("`{word}` is not a verdict"))
                    .help("one of accepted, skipped, held, refused")
            })
        })
        .transpose()?;
    let run = match which.run {
        Some(name) => Some(runs::find(&shared, &name).await?.id),
        None => None,
    };
    let filter = DeliveryFilter {
        workflow: which.workflow,
        source: which.source,
        verdict,
        run,
        limit: Some(limit(which.limit)),
    };
    let deliveries = shared.parts.intake.deliveries(&filter).await;
    let deliveries =
        deliveries.map_err(|error| Refusal::internal("the deliveries cannot be read", &error))?;
    Ok(Json(deliveries.into_iter().map(Into::into).collect()))
}
