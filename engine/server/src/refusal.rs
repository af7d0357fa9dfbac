//! What a caller is told when it does not get what it asked for: one JSON shape for every path.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bascule_database::DatabaseError;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// An answer that is not the one that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Elsewhere, because most answers are none.
    rest: Box<(Problem, HeaderMap)>,
}

/// The body of every answer from 400 on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// What is wrong.
    error: Problem,
}

/// What is wrong and how to mend it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Stable, for programs: `no-such-workflow`.
    pub(crate) code: &'static str,
    /// One sentence.
    pub(crate) message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
    /// Everything that is wrong with the inputs, where it is that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<InputProblem>,
}

/// What is wrong with one input.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct InputProblem {
    /// Its name.
    pub(crate) input: String,
    /// One sentence.
    pub(crate) message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let body = Problem { code, message: message.into(), help: None, problems: Vec::new() };
        Self { status, rest: Box::new((body, HeaderMap::new())) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.rest.0.help = Some(help.into());
        self
    }

    pub(crate) fn problems(mut self, problems: Vec<bascule_workflow::inputs::InputProblem>) -> Self {
        self.rest.0.problems = problems
            .into_iter()
            .map(|problem| InputProblem {
                input: problem.input,
                message: problem.message,
                help: problem.help,
            })
            .collect();
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.rest.1.append(name, value);
        }
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.rest.0.message
    }

    /// 400: the request itself cannot be understood.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// 404
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422: understood, and not possible.
    pub(crate) fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 503: come again.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).header(http::header::RETRY_AFTER, "5")
    }

    /// 503 as long as the disk is full.
    pub(crate) fn disk_full() -> Self {
        Self::unavailable("disk-full", "the disk is full: nothing can be stored at the moment")
            .help("make room on the disk of the data folder; it goes on by itself")
    }

    /// 500, for what nobody outside can mend; the cause goes to the log.
    pub(crate) fn internal(what: &'static str, cause: &(dyn std::error::Error + 'static)) -> Self {
        if is_full_disk(cause) {
            return Self::disk_full();
        }
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(cause = chain, "{what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", what).help("the server's log says more")
    }
}

/// Whether a full disk is why.
fn is_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(DatabaseError::Full)) {
            return true;
        }
        next = error.source();
    }
    false
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (error, headers) = *self.rest;
        let mut response = (self.status, Json(Refused { error })).into_response();
        response.headers_mut().extend(headers);
        response
    }
}
