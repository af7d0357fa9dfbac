//! Secrets of a running site. Values come in and never go out, and only from this computer: nothing here is encrypted.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use bascule_capability::secret::{Secret, SecretInfo, SecretsError};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Who;
use crate::listen::Reach;
use crate::refusal::Refusal;
use crate::state::Shared;

/// Headers by which a proxy says that somebody else asks.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// What may be shown about a stored secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    /// Its name.
    name: String,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    set: Timestamp,
    /// When it stops being good, if whoever set it said so.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

impl From<SecretInfo> for SecretView {
    fn from(info: SecretInfo) -> Self {
        Self { name: info.name, set: info.updated_at, expires: info.expires_at }
    }
}

/// A secret. Has no `Debug`, so that no log line can show it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetBody {
    /// The value.
    value: String,
    /// When it stops being good.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<SecretView>>, Refusal> {
    let list = shared.parts.secrets.list().await;
    let list = list.map_err(|error| Refusal::internal("the secrets cannot be read", &error))?;
    Ok(Json(list.into_iter().map(Into::into).collect()))
}

pub(crate) async fn set(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Extension(reach): Extension<Reach>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    if reach != Reach::SameComputer || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "not-from-here",
            "a secret is taken from this computer only",
        )
        .help(
            "run `bascule secret set` where the server runs: over the network it could be read by others",
        ));
    }
    // What is wrong with it is not told in serde's words, which show what stands there.
    let SetBody { value, expires } = serde_json::from_slice(&body).map_err(|_shows_it| {
        Refusal::unprocessable("unfit-body", "this is not `{\"value\": TEXT, \"expires\": TIME}`")
            .help("`expires` may be left out")
    })?;
    let stored = shared.parts.secrets.set(&name, Secret::new(value), expires).await;
    stored.map_err(|error| refused(error, "the secret could not be stored"))?;
    shared.inventory().capabilities.secrets_changed();
    tracing::info!(secret = name, by = who.name, "a secret was set");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
) -> Result<StatusCode, Refusal> {
    let removed = shared.parts.secrets.remove(&name).await;
    if !removed.map_err(|error| refused(error, "the secret could not be removed"))? {
        return Err(Refusal::not_found("no-such-secret", format!("there is no secret `{name}`"))
            .help("GET /api/v1/secrets lists them"));
    }
    shared.inventory().capabilities.secrets_changed();
    tracing::info!(secret = name, by = who.name, "a secret was removed");
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: SecretsError, what: &'static str) -> Refusal {
    match error {
        SecretsError::Name { .. } | SecretsError::Empty { .. } | SecretsError::TooLong { .. } => {
            Refusal::unprocessable("unfit-secret", error.to_string())
        }
        error => Refusal::internal(what, &error),
    }
}
