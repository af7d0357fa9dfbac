//! Who may do what: bearer tokens, and the role that each route asks for.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::Refusal;
use crate::state::Shared;

/// What a token may do; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Starts, cancels, pauses, tests.
    Operator,
    /// Sets secrets, pins certificates, prunes, makes and removes tokens.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == word)
    }
}

/// Whom a route serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever gets through to the port.
    Anybody,
    /// Holders of a token of this role or a higher one.
    AtLeast(Role),
}

/// Who asks, for handlers that record it.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// The token's name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
}

/// What the guard in front of a route knows.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) access: Access,
}

/// Lets through who may, and tells the others why not.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Access::AtLeast(least) = guard.access else {
        return next.run(request).await;
    };
    let challenge = || {
        Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "this takes a token")
            .help("send `Authorization: Bearer TOKEN`; `bascule token create NAME --role ROLE` makes one")
            .header(WWW_AUTHENTICATE, r#"Bearer realm="bascule""#)
            .into_response()
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(who) = given.and_then(|token| guard.shared.parts.tokens.holder(token)) else {
        return challenge();
    };
    if who.role < least {
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "role",
            format!("this takes the role {}; the token `{}` is {}", least.name(), who.name, who.role.name()),
        )
        .help("an admin makes tokens: `bascule token create NAME --role ROLE`")
        .into_response();
    }
    request.extensions_mut().insert(who);
    next.run(request).await
}
