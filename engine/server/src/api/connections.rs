use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use bascule_capability::http::CallContext;
use bascule_workflow::project::Auth;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::extract::JsonBody;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::view::FailureView;

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An entry of `connections:`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionView {
    /// Its name.
    name: String,
    /// `description:`
    description: Option<String>,
    /// How the host proves who it is.
    auth: &'static str,
    /// What each use supplies.
    params: Vec<String>,
}

/// What a test is made with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    /// The connection's `params`, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestView {
    /// Whether the peer answered below 400.
    ok: bool,
    /// Scheme, host and port that were asked.
    origin: Option<String>,
    /// HTTP status of the answer.
    status: Option<u16>,
    /// Milliseconds until the answer was complete.
    elapsed_ms: Option<u64>,
    /// How the host proved who it is, e.g. `digest SHA-256`.
    login: Option<String>,
    /// SHA-256 of the peer's certificate.
    tls_fingerprint: Option<String>,
    /// The peer's `Date`.
    server_date: Option<String>,
    /// Why there was no answer.
    error: Option<FailureView>,
}

fn scheme(auth: &Auth) -> &'static str {
    match auth {
        Auth::None => "none",
        Auth::Basic { .. } => "basic",
        Auth::Digest { .. } => "digest",
        Auth::AkSk { .. } => "ak-sk",
        Auth::Token(_) => "token",
        Auth::Headers(_) => "headers",
    }
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<ConnectionView>> {
    let inventory = shared.inventory();
    let views = inventory.project.connections.iter().map(|(name, entry)| ConnectionView {
        name: name.clone(),
        description: entry.description.clone(),
        auth: scheme(&entry.auth),
        params: entry.params.clone(),
    });
    Json(views.collect())
}

pub(crate) async fn test(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<TestBody>,
) -> Result<Json<TestView>, Refusal> {
    let inventory = shared.inventory();
    let Some(entry) = inventory.project.connections.get(&name) else {
        let names: Vec<&str> = inventory.project.connections.keys().map(String::as_str).collect();
        return Err(Refusal::not_found("no-such-connection", format!("there is no connection `{name}`"))
            .help(format!(
                "there is {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
    };
    if let Some(missing) = entry.params.iter().find(|param| !body.params.contains_key(*param)) {
        return Err(Refusal::unprocessable("params", format!("connection `{name}` needs `{missing}`"))
            .help("send `{\"params\": {\"NAME\": ..}}` as a use in a workflow would"));
    }
    let connection = inventory
        .capabilities
        .connection(&name, &body.params)
        .map_err(|failure| Refusal::unprocessable("params", failure.message))?;
    let context = CallContext {
        cancel: CancellationToken::new(),
        deadline: tokio::time::Instant::now() + LIMIT,
        progress: None,
    };
    let origin = Some(connection.origin().to_owned());
    Ok(Json(match connection.test(&context).await {
        Ok(report) => TestView {
            ok: report.status < 400,
            origin,
            status: Some(report.status),
            elapsed_ms: u64::try_from(report.elapsed.as_millis()).ok(),
            login: Some(report.scheme),
            tls_fingerprint: report.tls_fingerprint,
            server_date: report.server_date,
            error: None,
        },
        Err(failure) => TestView {
            ok: false,
            origin,
            status: None,
            elapsed_ms: None,
            login: None,
            tls_fingerprint: None,
            server_date: None,
            error: Some(failure.into()),
        },
    }))
}
