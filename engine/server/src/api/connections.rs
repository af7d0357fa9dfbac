use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use bascule_capability::http::{CallContext, Connection, Health};
use bascule_workflow::project::Auth;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::extract::JsonBody;
use crate::refusal::Refusal;
use crate::state::{Inventory, Shared};
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
    /// How its peers have been since the start, or since the last edit of bascule.yaml; those that were never asked are
    /// left out.
    health: Vec<HealthView>,
}

/// How one peer of a connection has been.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthView {
    /// What tells it from the others: `key:`, by default scheme, host and port.
    peer: String,
    /// Whether the last request was answered.
    answering: bool,
    /// Requests that were answered with a status below 500.
    answered: u64,
    /// The others.
    failed: u64,
    /// Of those the last ones, with no answer in between.
    failed_in_a_row: u64,
    /// When it answered last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_answer_at: Option<Timestamp>,
    /// When it failed last.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_failure_at: Option<Timestamp>,
    /// The kind of that failure, e.g. `offline`, `timeout`, `unauthorized`, `locked-out`.
    last_failure: Option<&'static str>,
    /// Its status, where it was an answer of 500 or more.
    last_failure_status: Option<u16>,
}

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        Self {
            answering: health.failed_in_a_row == 0,
            peer: health.peer,
            answered: health.answered,
            failed: health.failed,
            failed_in_a_row: health.failed_in_a_row,
            last_answer_at: health.last_answer_at,
            last_failure_at: health.last_failure.map(|trouble| trouble.at),
            last_failure: health.last_failure.map(|trouble| trouble.kind.name()),
            last_failure_status: health.last_failure.and_then(|trouble| trouble.status),
        }
    }
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
    let mut health: BTreeMap<String, Vec<HealthView>> = BTreeMap::new();
    for one in inventory.capabilities.health() {
        health.entry(one.connection.clone()).or_default().push(one.into());
    }
    let views = inventory.project.connections.iter().map(|(name, entry)| ConnectionView {
        name: name.clone(),
        description: entry.description.clone(),
        auth: scheme(&entry.auth),
        params: entry.params.clone(),
        health: health.remove(name).unwrap_or_default(),
    });
    Json(views.collect())
}

pub(crate) async fn test(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<TestBody>,
) -> Result<Json<TestView>, Refusal> {
    let connection = known(&shared.inventory(), &name, &body.params)?;
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

/// The connection of that name, for these parameters.
fn known(inventory: &Inventory, name: &str, params: &Map<String, Value>) -> Result<Connection, Refusal> {
    let Some(entry) = inventory.project.connections.get(name) else {
        let names: Vec<&str> = inventory.project.connections.keys().map(String::as_str).collect();
        return Err(Refusal::not_found("no-such-connection", format!("there is no connection `{name}`"))
            .help(format!(
                "there is {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
    };
    if let Some(missing) = entry.params.iter().find(|param| !params.contains_key(*param)) {
        return Err(Refusal::unprocessable("params", format!("connection `{name}` needs `{missing}`"))
            .help("send `{\"params\": {\"NAME\": ..}}` as a use in a workflow would"));
    }
    let found = inventory.capabilities.connection(name, params);
    found.map_err(|failure| Refusal::unprocessable("params", failure.message))
}

/// Whose certificate is to be pinned.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinBody {
    /// The connection's `params`, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// SHA-256 of the certificate that is to be trusted, 64 hexadecimal digits; without it nothing is pinned, and the
    /// answer says which one the peer shows.
    #[serde(default)]
    expect: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PinView {
    /// Scheme, host and port that were asked.
    origin: String,
    /// SHA-256 of the certificate that the peer shows.
    found: Option<String>,
    /// Whether exactly this one is trusted from now on.
    pinned: bool,
    /// Whether the connection goes by stored pins (`tls: { pin: stored }`).
    uses_stored_pin: bool,
    /// Why the certificate could not be seen.
    error: Option<FailureView>,
}

/// Digits without what people write between them.
fn digits(fingerprint: &str) -> String {
    fingerprint.trim_start_matches("sha256:").chars().filter(|c| *c != ':').collect()
}

pub(crate) async fn pin(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<PinBody>,
) -> Result<Json<PinView>, Refusal> {
    let inventory = shared.inventory();
    let connection = known(&inventory, &name, &body.params)?;
    let entry = inventory.project.connections.get(&name);
    let mut view = PinView {
        origin: connection.origin().to_owned(),
        found: None,
        pinned: false,
        uses_stored_pin: entry.is_some_and(|entry| entry.tls.stored_pin),
        error: None,
    };
    let found = match inventory.capabilities.fetch_fingerprint(&name, &body.params).await {
        Ok(found) => found,
        Err(failure) => {
            view.error = Some(failure.into());
            return Ok(Json(view));
        }
    };
    if body.expect.is_some_and(|expected| digits(&expected).eq_ignore_ascii_case(&found)) {
        let stored = inventory.capabilities.store_pin(&name, connection.peer(), &found).await;
        stored.map_err(|failure| Refusal::unavailable("not-stored", failure.message))?;
        view.pinned = true;
    }
    view.found = Some(found);
    Ok(Json(view))
}
