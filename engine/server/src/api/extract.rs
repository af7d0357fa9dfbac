//! Reading what clients of the API send, with refusals in the one shape.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(30);

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
        let Ok(read) = tokio::time::timeout(BODY_WITHIN, axum::Json::<T>::from_request(request, state)).await
        else {
            let slow = format!("the body took longer than {} s", BODY_WITHIN.as_secs());
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too-slow", slow).help("send it again"));
        };
        match read {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::body::Body;
    use serde_json::Value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_dribbles_in_is_given_up_with_408() {
        let endless = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::convert::Infallible>(" "), ()))
        });
        let request = Request::builder()
            .header("content-type", "application/json")
            .body(Body::from_stream(endless))
            .unwrap();
        let begun = tokio::time::Instant::now();
        let Err(refusal) = JsonBody::<Value>::from_request(request, &()).await else {
            unreachable!("it never ends")
        };
        assert_eq!(refusal.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(begun.elapsed(), BODY_WITHIN);
    }
}
