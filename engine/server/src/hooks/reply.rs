//! What the sender of a delivery is told. The same delivery again is answered the same.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bascule_run::{RunId, Status};
use bascule_trigger::{Admitted, DeliveryId};
use bascule_workflow::failure::Failure;
use bascule_workflow::trigger::{Respond, Webhook};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::state::Shared;

/// What became of this very delivery, beside the answer that is always the same.
static VERDICT: HeaderName = HeaderName::from_static("bascule-verdict");

/// `respond: accepted`, and `respond: result` where there is no result yet.
#[derive(Serialize)]
struct Accepted<'a> {
    delivery: DeliveryId,
    run: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// `respond: result`
#[derive(Serialize)]
struct Finished {
    run: RunId,
    status: Status,
    output: Value,
    error: Option<Failure>,
}

/// The status that a delivery is answered with when all is well.
pub(super) fn success(webhook: &Webhook) -> StatusCode {
    match webhook.respond {
        Respond::Accepted => StatusCode::ACCEPTED,
        Respond::Result { .. } | Respond::Empty => StatusCode::OK,
    }
}

/// The trigger's `if` said no.
pub(super) fn ignored(webhook: &Webhook) -> Response {
    let body = serde_json::json!({ "delivery": null, "run": null, "reason": "the trigger's `if` says no" });
    let response = match webhook.respond {
        Respond::Empty => StatusCode::OK.into_response(),
        Respond::Accepted | Respond::Result { .. } => (StatusCode::OK, Json(body)).into_response(),
    };
    with_verdict(response, "ignored")
}

/// It is on disk.
pub(super) async fn admitted(
    shared: &Shared,
    webhook: &Webhook,
    admitted: &Admitted,
) -> Result<Response, Refusal> {
    let Admitted { delivery, run, verdict, reason } = admitted;
    let accepted = |status: StatusCode| {
        let body = Accepted { delivery: *delivery, run: *run, reason: reason.as_deref() };
        (status, Json(body)).into_response()
    };
    let response = match (webhook.respond, run) {
        (Respond::Empty, _) => StatusCode::OK.into_response(),
        (Respond::Accepted, _) | (Respond::Result { .. }, None) => accepted(StatusCode::ACCEPTED),
        (Respond::Result { within }, Some(run)) => {
            let waiting = shared.parts.dispatcher.outcome(*run, within);
            let ended = tokio::select! {
                biased;
                ended = waiting => ended,
                () = shared.closing.cancelled() => Ok(None),
            };
            match ended {
                Ok(Some(ended)) => {
                    let body = Finished {
                        run: ended.run,
                        status: ended.status,
                        output: ended.output,
                        error: ended.failure,
                    };
                    (StatusCode::OK, Json(body)).into_response()
                }
                Ok(None) => accepted(StatusCode::ACCEPTED),
                // It is on disk all the same; only how it ended cannot be read.
                Err(error) => {
                    tracing::error!(%error, %run, "the end of a run cannot be read");
                    accepted(StatusCode::ACCEPTED)
                }
            }
        }
    };
    Ok(with_verdict(response, verdict.name()))
}

fn with_verdict(mut response: Response, word: &'static str) -> Response {
    response.headers_mut().insert(VERDICT.clone(), HeaderValue::from_static(word));
    response
}
