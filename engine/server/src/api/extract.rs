//! Reading what clients of the API send, with refusals in the one shape.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// A JSON body; an empty one is `{}`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let empty = http_body::Body::size_hint(request.body()).exact() == Some(0);
        if empty {
            let read = serde_json::from_str("{}");
            return read.map(Self).map_err(|error| unfit(error.to_string()));
        }
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonDataError(error)) => Err(unfit(error.body_text())),
            Err(error) => Err(Refusal::new(error.status(), "malformed-body", error.body_text())
                .help("send JSON, with `Content-Type: application/json`")),
        }
    }
}

fn unfit(message: String) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit-body", message)
        .help("/api/v1/openapi.json says what this takes")
}

/// What stands behind `?`.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(Refusal::malformed(error.body_text()).help("/api/v1/openapi.json says what this takes"))
            }
            Err(error) => Err(Refusal::malformed(error.body_text())),
        }
    }
}
