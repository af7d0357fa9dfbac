//! A simulated collector of OpenTelemetry: takes traces by OTLP/HTTP with JSON at `/v1/traces` (OTLP specification 1.x) and reads
//! them strictly. What is not valid is answered with 400, a missing key with 401.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wire::door::Door;
use crate::wire::{Answer, Peer, Reply, Request};

/// The value of the header `x-collector-key`. Invented.
pub const COLLECTOR_KEY: &str = "collector-key-71d0c5aa";

/// A running collector on a free port of 127.0.0.1.
pub struct Collector {
    peer: Arc<Taking>,
    door: Door,
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// A span as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedSpan {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// The same of the span around it.
    pub parent: Option<String>,
    /// What it is called.
    pub name: String,
    /// Nanoseconds since 1970.
    pub began: u64,
    /// Nanoseconds since 1970.
    pub ended: u64,
    /// Values as texts.
    pub attributes: BTreeMap<String, String>,
    /// 0 unset, 1 ok, 2 error.
    pub status: u64,
    /// `service.name` of the resource that sent it.
    pub service: String,
}

#[derive(Default)]
struct Taking {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    spans: Vec<CollectedSpan>,
    /// Everything that was taken, as it came.
    text: String,
    /// Why something was not taken.
    refused: Vec<String>,
    wants_key: bool,
}

impl Collector {
    /// Opens it.
    pub async fn start() -> Result<Self> {
        let peer = Arc::new(Taking::default());
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let door = Door::open(Arc::clone(&peer) as _, None, tasks.clone(), ended.clone()).await?;
        Ok(Self { peer, door, tasks, ended })
    }

    /// Where it is, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.door.port())
    }

    /// From now on only requests with [`COLLECTOR_KEY`] are taken.
    pub fn want_key(&self) {
        self.peer.held().wants_key = true;
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.peer.held().spans.clone()
    }

    /// Every body so far.
    pub fn text(&self) -> String {
        self.peer.held().text.clone()
    }

    /// Why requests were not taken.
    pub fn refused(&self) -> Vec<String> {
        self.peer.held().refused.clone()
    }

    /// Refuses connections.
    pub async fn shut(&self) -> Result<()> {
        self.door.shut().await
    }

    /// Accepts connections again.
    pub async fn unshut(&self) -> Result<()> {
        self.door.unshut().await
    }

    /// Ends it.
    pub async fn stop(self) -> Result<()> {
        self.ended.cancel();
        self.tasks.close();
        self.door.shut().await?;
        self.tasks.wait().await;
        Ok(())
    }
}

impl Taking {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: &Request) -> Result<Answer, (u16, String)> {
        if self.held().wants_key && request.header("x-collector-key") != Some(COLLECTOR_KEY) {
            return Err((401, "no or another key".to_owned()));
        }
        if (request.method.as_str(), request.path()) != ("POST", "/v1/traces") {
            return Err((404, format!("nothing at {} {}", request.method, request.path())));
        }
        let kind = request.header("content-type").unwrap_or_default();
        if kind != "application/json" {
            return Err((415, format!("`{kind}` is not application/json")));
        }
        let body: Value = serde_json::from_slice(&request.body).map_err(|error| (400, error.to_string()))?;
        let spans = read(&body).map_err(|why| (400, why))?;
        let mut held = self.held();
        held.spans.extend(spans);
        held.text.push_str(&String::from_utf8_lossy(&request.body));
        held.text.push('\n');
        Ok(Answer::json(200, &json!({ "partialSuccess": {} })))
    }
}

impl Peer for Taking {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            let answer = self.take(&request).unwrap_or_else(|(status, why)| {
                self.held().refused.push(format!("{status} {why}"));
                Answer::json(status, &json!({ "code": 3, "message": why }))
            });
            answer.into()
        }
        .boxed()
    }
}

/// The list below that key; absent is empty, as in protobuf.
fn list<'v>(value: &'v Value, key: &str) -> Result<&'v [Value], String> {
    match value.get(key) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("`{key}` is no list: {other}")),
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, String> {
    value[key].as_str().ok_or_else(|| format!("`{key}` is no text: {}", value[key]))
}

/// Ids are hexadecimal in OTLP's JSON, unlike in protobuf's own; one of zeros is not valid.
fn id(value: &Value, key: &str, digits: usize) -> Result<String, String> {
    let id = text(value, key)?;
    let hexadecimal = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if id.len() != digits || !hexadecimal || id.bytes().all(|byte| byte == b'0') {
        return Err(format!("`{key}` is no id: `{id}`"));
    }
    Ok(id.to_owned())
}

/// 64-bit numbers are texts, or numbers.
fn number(value: &Value, key: &str) -> Result<u64, String> {
    match &value[key] {
        Value::String(text) => text.parse().map_err(|_| format!("`{key}` is no number: {text}")),
        other => other.as_u64().ok_or_else(|| format!("`{key}` is no number: {other}")),
    }
}

fn attributes(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for pair in list(value, "attributes")? {
        let key = text(pair, "key")?;
        let forms = pair["value"].as_object().ok_or_else(|| format!("`{key}` has no value"))?;
        let mut forms = forms.iter();
        let (Some((form, value)), None) = (forms.next(), forms.next()) else {
            return Err(format!("`{key}` has not one value"));
        };
        let value = match (form.as_str(), value) {
            ("stringValue", Value::String(text)) => text.clone(),
            ("intValue", Value::String(text)) => {
                text.parse::<i64>().map_err(|_| format!("`{key}` is no number: {text}"))?.to_string()
            }
            ("boolValue", Value::Bool(truth)) => truth.to_string(),
            _ => return Err(format!("`{key}` has a value of another form: {form} {value}")),
        };
        if all.insert(key.to_owned(), value).is_some() {
            return Err(format!("`{key}` stands there twice"));
        }
    }
    Ok(all)
}

/// The spans of an `ExportTraceServiceRequest`.
fn read(body: &Value) -> Result<Vec<CollectedSpan>, String> {
    let mut spans = Vec::new();
    for group in list(body, "resourceSpans")? {
        let resource = attributes(&group["resource"])?;
        let service = resource.get("service.name").cloned().ok_or("the resource has no `service.name`")?;
        for scope in list(group, "scopeSpans")? {
            for span in list(scope, "spans")? {
                let (began, ended) = (number(span, "startTimeUnixNano")?, number(span, "endTimeUnixNano")?);
                if began == 0 || ended < began {
                    return Err(format!("it ends before it begins: {span}"));
                }
                if !matches!(number(span, "kind")?, 1..=5) {
                    return Err(format!("there is no such kind: {}", span["kind"]));
                }
                let status = match span["status"].get("code") {
                    None => 0,
                    Some(code) => code.as_u64().filter(|code| *code <= 2).ok_or("no such status")?,
                };
                let parent = match span.get("parentSpanId") {
                    None => None,
                    Some(_) => Some(id(span, "parentSpanId", 16)?),
                };
                spans.push(CollectedSpan {
                    trace: id(span, "traceId", 32)?,
                    id: id(span, "spanId", 16)?,
                    parent,
                    name: text(span, "name")?.to_owned(),
                    began,
                    ended,
                    attributes: attributes(span)?,
                    status,
                    service: service.clone(),
                });
            }
        }
    }
    if spans.is_empty() {
        return Err("there is no span in it".to_owned());
    }
    Ok(spans)
}
