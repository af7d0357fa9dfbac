//! The system that runs hand things on to: it counts what comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A hundred events are much less.
const MAX_BODY_BYTES: usize = 16 << 20;

type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

/// A receiver on a free port of this computer; it ends with this.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Result<Self> {
        let seen = Seen::default();
        let router = Router::new()
            .route("/passages", post(take))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        // It is aborted; that it failed before would be seen in what is missing.
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { port, seen, task })
    }

    /// How often each id came: a request has one (`id`), or a list of events, each named `TERMINAL/NUMBER`.
    pub(crate) fn seen(&self) -> BTreeMap<String, u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(seen): State<Seen>, Json(body): Json<Value>) -> Json<Value> {
    let ids: Vec<String> = match &body["events"] {
        Value::Array(events) => events.iter().map(id_of_event).collect(),
        _ => vec![body["id"].as_str().unwrap_or_default().to_owned()],
    };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    for id in ids {
        *seen.entry(id).or_default() += 1;
    }
    Json(json!({ "ok": true }))
}

/// Terminal and number.
fn id_of_event(event: &Value) -> String {
    format!("{}/{}", event["device"].as_str().unwrap_or_default(), event["serial"])
}
