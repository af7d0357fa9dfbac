use std::sync::Arc;

use axum::Json;
use axum::extract::State as Of;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics;
use crate::state::Shared;

/// In order or not, and nothing else: anybody may ask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct State {
    /// `ok`, `starting`, `stopping`, `disk-full`, `broken`
    status: &'static str,
}

/// 503 once the database cannot be written any more.
pub(crate) async fn health(Of(shared): Of<Arc<Shared>>) -> Response {
    if shared.parts.database.broken().is_some() { told("broken") } else { told("ok") }
}

/// 503 also before every schedule is planned and other commands find the server, while it stops, and while the disk is full.
pub(crate) async fn ready(Of(shared): Of<Arc<Shared>>) -> Response {
    if shared.parts.database.broken().is_some() {
        told("broken")
    } else if shared.is_closing() {
        told("stopping")
    } else if shared.is_short_of_room() {
        told("disk-full")
    } else if !shared.open.is_cancelled() {
        told("starting")
    } else {
        told("ok")
    }
}

fn told(status: &'static str) -> Response {
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(State { status })).into_response()
}

pub(crate) async fn metrics(Of(shared): Of<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render(&shared).await)
        .into_response()
}
