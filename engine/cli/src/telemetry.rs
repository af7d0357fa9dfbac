//! Traces for OpenTelemetry: where they go, by `telemetry:` of bascule.yaml or by the standard's own environment variables.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_capability::http::{Body, CallContext, Connection, Method, Pace, Request};
use bascule_capability::redact::Redactor;
use bascule_run::clock::SystemClock;
use bascule_telemetry::{Answer, Post, Service, Telemetry};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::Project;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::live::describe;
use crate::paint;

/// How long a collector may take for one batch.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
pub(crate) const LAST_SPANS: Duration = Duration::from_secs(2);

/// Where the standard says that the collector is; its environment variables stand behind bascule.yaml.
pub(crate) fn from_environment(project: &mut Project) {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    if disabled {
        project.telemetry = None;
        return;
    }
    if project.telemetry.is_some() {
        return;
    }
    let Some(url) = variable(ENDPOINT) else { return };
    // Checked by the same rules as in the file; JSON is YAML.
    let text = json!({ "telemetry": { "otlp": { "url": url.trim() } } }).to_string();
    let (told, problems) = bascule_workflow::project::check(ENDPOINT, &text);
    match told {
        Some(told) => project.telemetry = told.telemetry,
        None => {
            let why = problems.iter().next().map(|problem| problem.message.clone()).unwrap_or_default();
            paint::note(format!("{} no traces are sent: {ENDPOINT}: {why}", paint::warn("warning:")));
        }
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Begins to send traces, where the project says to. `collector` is asked for each batch, so that an edit of its entry
/// counts at once.
pub(crate) fn start<C>(project: &Project, redactor: Redactor, collector: C) -> Option<Telemetry>
where
    C: Fn() -> Option<Result<Connection, Failure>> + Send + Sync + 'static,
{
    project.telemetry.as_ref()?;
    let name = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.trim().is_empty());
    let service = Service {
        name: name.unwrap_or_else(|| "bascule".to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let post = Collector { collector, redactor };
    Some(Telemetry::start(Arc::new(post), Arc::new(SystemClock), service))
}

/// Brings spans to the collector by a connection of the host's own.
struct Collector<C> {
    collector: C,
    redactor: Redactor,
}

#[async_trait]
impl<C> Post for Collector<C>
where
    C: Fn() -> Option<Result<Connection, Failure>> + Send + Sync,
{
    async fn post(&self, json: String) -> Answer {
        let connection = match (self.collector)() {
            Some(Ok(connection)) => connection,
            Some(Err(failure)) => return Answer::Never(describe(&failure)),
            None => return Answer::Never("bascule.yaml has no `telemetry` any more".to_owned()),
        };
        // The second net: an item's key or a vendor's code may be anything.
        let json = self.redactor.redact(&json).into_owned();
        let request = Request {
            method: Method::Post,
            path: "/v1/traces".to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Content { content_type: "application/json".to_owned(), data: json.into() },
            pace: Pace::Normal,
        };
        let context = CallContext {
            cancel: CancellationToken::new(),
            deadline: tokio::time::Instant::now() + LIMIT,
            progress: None,
        };
        match connection.send(request, &context).await {
            Ok(response) => Answer::of_status(response.status, &response.body),
            Err(failure) => match failure.kind {
                Kind::Offline | Kind::Timeout | Kind::Busy | Kind::Protocol => {
                    Answer::Later(describe(&failure))
                }
                _ => Answer::Never(describe(&failure)),
            },
        }
    }
}
