//! `/api/v1`: one table of routes, from which the router, the guard in front of each route and the OpenAPI document are
//! made. A route that is not in the table does not exist.

mod connections;
mod deliveries;
mod events;
mod extract;
mod health;
mod openapi;
mod project;
mod prune;
mod runs;
mod secrets;
mod tokens;
mod triggers;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use http::Method;

use crate::access::{Access, Guard, Role, guard};
use crate::refusal::Refusal;
use crate::state::Shared;
use openapi::{Answer, answer, body, list};

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) summary: &'static str,
    /// Names of what may stand behind `?`, with what it means.
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) body: Option<Answer>,
    pub(crate) answer: Answer,
    handler: fn() -> MethodRouter<Arc<Shared>>,
}

const VIEWER: Access = Access::AtLeast(Role::Viewer);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const ADMIN: Access = Access::AtLeast(Role::Admin);

/// Every route but the webhooks and the page.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route {
            method: Method::GET,
            path: "/health",
            access: Access::Anybody,
            summary: "Is the process in order?",
            query: &[],
            body: None,
            answer: answer::<health::State>,
            handler: || get(health::health),
        },
        Route {
            method: Method::GET,
            path: "/ready",
            access: Access::Anybody,
            summary: "Does it take deliveries?",
            query: &[],
            body: None,
            answer: answer::<health::State>,
            handler: || get(health::ready),
        },
        Route {
            method: Method::GET,
            path: "/metrics",
            access: VIEWER,
            summary: "What is counted, for Prometheus",
            query: &[],
            body: None,
            answer: openapi::text,
            handler: || get(health::metrics),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/openapi.json",
            access: Access::Anybody,
            summary: "This document",
            query: &[],
            body: None,
            answer: openapi::object,
            handler: || get(openapi::serve),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/project",
            access: VIEWER,
            summary: "What is served, and edits that are not in use because something is wrong with them",
            query: &[],
            body: None,
            answer: answer::<project::ProjectView>,
            handler: || get(project::show),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/project/reload",
            access: OPERATOR,
            summary: "Looks at the project folder at once; what was changed is in use, or refused, when this is answered",
            query: &[],
            body: None,
            answer: answer::<project::ProjectView>,
            handler: || post(project::reload),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/workflows",
            access: VIEWER,
            summary: "The workflows",
            query: &[],
            body: None,
            answer: list::<crate::view::WorkflowSummary>,
            handler: || get(workflows::list),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/workflows/{workflow}",
            access: VIEWER,
            summary: "A workflow: inputs, triggers, text",
            query: &[],
            body: None,
            answer: answer::<crate::view::WorkflowDetail>,
            handler: || get(workflows::show),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/workflows/{workflow}/inputs",
            access: VIEWER,
            summary: "The inputs of a workflow as a JSON Schema",
            query: &[],
            body: None,
            answer: openapi::object,
            handler: || get(workflows::inputs),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/workflows/{workflow}/runs",
            access: OPERATOR,
            summary: "Starts a run; it is on disk when this is answered",
            query: &[],
            body: Some(body::<workflows::StartBody>),
            answer: answer::<workflows::Started>,
            handler: || post(workflows::start),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/workflows/{workflow}/pause",
            access: OPERATOR,
            summary: "No run of it begins from now on, also after a restart",
            query: &[],
            body: Some(body::<workflows::PauseBody>),
            answer: answer::<crate::view::WorkflowSummary>,
            handler: || post(workflows::pause),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/workflows/{workflow}/unpause",
            access: OPERATOR,
            summary: "Runs of it begin again",
            query: &[],
            body: None,
            answer: answer::<crate::view::WorkflowSummary>,
            handler: || post(workflows::unpause),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/runs",
            access: VIEWER,
            summary: "Runs, the newest first",
            query: &[
                ("workflow", "only of this one"),
                ("status", "only with one of these, separated by commas"),
                ("limit", "at most so many, 1 to 1000; by default 50"),
            ],
            body: None,
            answer: list::<crate::view::RunView>,
            handler: || get(runs::list),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/runs/{run}",
            access: VIEWER,
            summary: "A run with its steps",
            query: &[],
            body: None,
            answer: answer::<crate::view::RunDetail>,
            handler: || get(runs::show),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/runs/{run}/steps",
            access: VIEWER,
            summary: "The steps of a run",
            query: &[],
            body: None,
            answer: list::<crate::view::StepView>,
            handler: || get(runs::steps),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/runs/{run}/lines",
            access: VIEWER,
            summary: "The log of a run",
            query: &[],
            body: None,
            answer: list::<crate::view::LineView>,
            handler: || get(runs::lines),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/runs/{run}/events",
            access: VIEWER,
            summary: "What happens in a run, as server-sent events until it ends; first what has ended already",
            query: &[],
            body: None,
            answer: openapi::stream,
            handler: || get(events::of_run),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/runs/{run}/cancel",
            access: OPERATOR,
            summary: "Asks a run to end; `undo` and `finally` still run",
            query: &[],
            body: None,
            answer: answer::<runs::Cancelled>,
            handler: || post(runs::cancel),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/runs/{run}/rerun",
            access: OPERATOR,
            summary: "Does a run again that has ended: what did not succeed, or all of it",
            query: &[],
            body: Some(body::<runs::RerunBody>),
            answer: answer::<workflows::Started>,
            handler: || post(runs::rerun),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/events",
            access: VIEWER,
            summary: "What happens in all runs, as server-sent events",
            query: &[],
            body: None,
            answer: openapi::stream,
            handler: || get(events::all),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/connections",
            access: VIEWER,
            summary: "The connections of bascule.yaml",
            query: &[],
            body: None,
            answer: list::<connections::ConnectionView>,
            handler: || get(connections::list),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/connections/{connection}/test",
            access: OPERATOR,
            summary: "Asks a connection's test path once, with its credentials",
            query: &[],
            body: Some(body::<connections::TestBody>),
            answer: answer::<connections::TestView>,
            handler: || post(connections::test),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/connections/{connection}/pin",
            access: ADMIN,
            summary: "Looks at a peer's certificate and, where it is the expected one, trusts exactly that one from now on",
            query: &[],
            body: Some(body::<connections::PinBody>),
            answer: answer::<connections::PinView>,
            handler: || post(connections::pin),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/secrets",
            access: ADMIN,
            summary: "Names and dates of the stored secrets, never values",
            query: &[],
            body: None,
            answer: list::<secrets::SecretView>,
            handler: || get(secrets::list),
        },
        Route {
            method: Method::PUT,
            path: "/api/v1/secrets/{secret}",
            access: ADMIN,
            summary: "Stores a secret, in place of an earlier one; connections use it at once. From this computer only",
            query: &[],
            body: Some(body::<secrets::SetBody>),
            answer: openapi::nothing,
            handler: || put(secrets::set),
        },
        Route {
            method: Method::DELETE,
            path: "/api/v1/secrets/{secret}",
            access: ADMIN,
            summary: "Forgets a secret",
            query: &[],
            body: None,
            answer: openapi::nothing,
            handler: || delete(secrets::remove),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/triggers",
            access: VIEWER,
            summary: "What starts workflows",
            query: &[
                ("workflow", "only of this one"),
                ("kind", "schedule, webhook, event, workflow, overdue or file"),
            ],
            body: None,
            answer: list::<crate::view::TriggerView>,
            handler: || get(triggers::list),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/triggers/upcoming",
            access: VIEWER,
            summary: "The next occurrences of all schedules, the first ones first",
            query: &[
                ("workflow", "only of this one"),
                ("limit", "at most so many, 1 to 1000; by default 50"),
            ],
            body: None,
            answer: list::<triggers::UpcomingView>,
            handler: || get(triggers::upcoming),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/triggers/overdue",
            access: VIEWER,
            summary: "Workflows that are watched for success, and when each is overdue",
            query: &[],
            body: None,
            answer: list::<triggers::WatchView>,
            handler: || get(triggers::watches),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/slots",
            access: VIEWER,
            summary: "Occurrences of schedules that were planned or decided on, the newest first",
            query: &[
                ("workflow", "only of this one"),
                ("trigger", "only of this one"),
                ("state", "planned, admitted, held, missed, skipped, refused or withdrawn"),
                ("limit", "at most so many, 1 to 1000; by default 50"),
            ],
            body: None,
            answer: list::<triggers::SlotView>,
            handler: || get(triggers::slots),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/sources",
            access: VIEWER,
            summary: "Event sources and how they are",
            query: &[],
            body: None,
            answer: list::<triggers::SourceView>,
            handler: || get(triggers::sources),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/deliveries",
            access: VIEWER,
            summary: "What asked for runs and what became of it, the newest first",
            query: &[
                ("workflow", "only for this one"),
                ("source", "only of this trigger, or `api`"),
                ("verdict", "accepted, skipped, held or refused"),
                ("run", "that became this run"),
                ("limit", "at most so many, 1 to 1000; by default 50"),
            ],
            body: None,
            answer: list::<deliveries::DeliveryView>,
            handler: || get(deliveries::list),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/prune",
            access: ADMIN,
            summary: "Takes away what is over by `retention:` now, not only at the next regular round",
            query: &[],
            body: None,
            answer: answer::<prune::SweptView>,
            handler: || post(prune::prune),
        },
        Route {
            method: Method::GET,
            path: "/api/v1/tokens",
            access: ADMIN,
            summary: "Who may use this API",
            query: &[],
            body: None,
            answer: list::<crate::tokens::TokenInfo>,
            handler: || get(tokens::list),
        },
        Route {
            method: Method::POST,
            path: "/api/v1/tokens",
            access: ADMIN,
            summary: "Makes a token; its text is in this answer and nowhere else",
            query: &[],
            body: Some(body::<tokens::CreateBody>),
            answer: answer::<tokens::Created>,
            handler: || post(tokens::create),
        },
        Route {
            method: Method::DELETE,
            path: "/api/v1/tokens/{token}",
            access: ADMIN,
            summary: "Removes a token by its id or name; it is of no use from then on",
            query: &[],
            body: None,
            answer: openapi::nothing,
            handler: || delete(tokens::remove),
        },
    ]
}

/// The whole router.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router =
        Router::new().route("/hooks/{*path}", any(crate::hooks::receive)).merge(crate::page::router());
    for route in routes() {
        let watch = Guard { shared: Arc::clone(shared), access: route.access };
        router = router.route(route.path, (route.handler)().route_layer(from_fn_with_state(watch, guard)));
    }
    router
        .fallback(|| async {
            Refusal::not_found("no-such-path", "there is nothing at this path")
                .help("/api/v1/openapi.json lists what there is")
                .into_response()
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(http::StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "not with this method")
                .help("/api/v1/openapi.json lists what there is")
                .into_response()
        })
        .with_state(Arc::clone(shared))
}
