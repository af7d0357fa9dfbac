use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::JsonBody;
use crate::access::Role;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::tokens::{TokenError, TokenInfo};

/// What a token is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateBody {
    /// Who or what it is for.
    name: String,
    /// What it may do.
    role: Role,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Created {
    /// What may be shown of it.
    info: TokenInfo,
    /// The token; it is not stored and cannot be shown again.
    token: String,
}

pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<TokenInfo>>, Refusal> {
    let list = shared.parts.tokens.list().await;
    Ok(Json(list.map_err(|error| Refusal::internal("the tokens cannot be read", &error))?))
}

pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<(StatusCode, Json<Created>), Refusal> {
    match shared.parts.tokens.create(&body.name, body.role, shared.parts.clock.now()).await {
        Ok((info, secret)) => {
            let token = secret.expose().to_owned();
            Ok((StatusCode::CREATED, Json(Created { info, token })))
        }
        Err(error @ TokenError::Taken(_)) => Err(Refusal::conflict("name-taken", error.to_string())),
        Err(error @ TokenError::Name(_)) => Err(Refusal::unprocessable("name", error.to_string())),
        Err(error) => Err(Refusal::internal("the token could not be made", &error)),
    }
}

pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(token): Path<String>,
) -> Result<StatusCode, Refusal> {
    match shared.parts.tokens.remove(&token).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(Refusal::not_found("no-such-token", format!("there is no token `{token}`"))
            .help("GET /api/v1/tokens lists them")),
        Err(error) => Err(Refusal::internal("the token could not be removed", &error)),
    }
}
