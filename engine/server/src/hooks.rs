//! `/hooks/..`: what strangers send becomes runs.
//!
//! In this order, each step before the next: which webhook, which method, from where, by whom (as far as headers tell),
//! of what type, how large, by whom (signatures over the body), what it says, what the workflow makes of it. It is on disk
//! before anything but a refusal is answered (`docs/spec/10-webhooks.md`).

mod addresses;
mod body;
mod caller;
mod digest;
mod json;
mod multipart;
mod reply;
mod table;
mod xml;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use bascule_capability::storage::Folder;
use bascule_trigger::{Admission, IntakeError};
use bascule_workflow::trigger::{Trigger, Webhook, WebhookAuth};
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::refusal::Refusal;
use crate::state::Shared;
use caller::Head;
use digest::Nonces;
use table::{Entry, Found, Table};

/// Bodies that are held in memory at one time may take so many KiB together.
const MEMORY_KIB: u32 = 256 << 10;
/// Of a body that is refused unread so much is still taken, in so much time.
const MAX_DRAINED_BYTES: usize = 1 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(2);
/// Headers that say who calls are not kept.
const HIDDEN_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Most bytes of a header that are kept.
const MAX_HEADER_BYTES: usize = 1024;

/// What the receiver keeps from one request to the next.
pub(crate) struct Receiver {
    nonces: Nonces,
    memory: Arc<Semaphore>,
    table: RwLock<(Option<u64>, Arc<Table>)>,
}

impl Receiver {
    pub(crate) fn new() -> std::io::Result<Self> {
        let permits = usize::try_from(MEMORY_KIB).unwrap_or(usize::MAX);
        Ok(Self {
            nonces: Nonces::new()?,
            memory: Arc::new(Semaphore::new(permits)),
            table: RwLock::default(),
        })
    }

    /// The webhooks as they stand now.
    fn table(&self, shared: &Shared) -> Arc<Table> {
        let version = *shared.parts.book.changed().borrow();
        {
            let known = self.table.read().unwrap_or_else(PoisonError::into_inner);
            if known.0 == Some(version) {
                return Arc::clone(&known.1);
            }
        }
        let (table, problems) = Table::of(&shared.parts.book.all());
        let table = Arc::new(table);
        let mut known = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if known.0 != Some(version) {
            for problem in problems {
                tracing::error!("{problem}");
            }
            *known = (Some(version), Arc::clone(&table));
        }
        table
    }
}

/// Reads the table once, so that its problems are told on start; gives how many webhooks there are.
pub(crate) fn prepare(shared: &Shared) -> usize {
    shared.receiver.table(shared).len()
}

/// Takes one delivery.
pub(crate) async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    match take(&shared, peer.ip(), &parts, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            let status = refusal.status().as_u16();
            tracing::info!(path = parts.uri.path(), peer = %peer.ip(), status, reason = refusal.message(), "webhook refused");
            shared.parts.metrics.webhook(status);
            let mut response = refusal.into_response();
            if !drained(body).await {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Reads what is left of a refused body, as far as it is little: where a connection is closed on a sender that is still
/// sending, the answer (a digest challenge, say) is lost with it. False where something may be left.
async fn drained(body: Option<Body>) -> bool {
    let Some(body) = body else { return false };
    let reading = Limited::new(body, MAX_DRAINED_BYTES).collect();
    matches!(tokio::time::timeout(DRAINED_WITHIN, reading).await, Ok(Ok(_)))
}

async fn take(
    shared: &Shared,
    peer: IpAddr,
    parts: &Parts,
    body: &mut Option<Body>,
) -> Result<Response, Refusal> {
    if shared.is_closing() {
        return Err(Refusal::unavailable("closing", "the server is stopping").help("send it again"));
    }
    if shared.is_short_of_room() {
        return Err(Refusal::disk_full());
    }
    let path = parts.uri.path().strip_prefix("/hooks/").unwrap_or_default();
    let (entry, values) = match shared.receiver.table(shared).find(parts.method.as_str(), path) {
        Found::Hook(entry, values) => (entry, values),
        Found::OtherMethods(methods) => {
            let list = methods.join(", ");
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                format!("this webhook does not take {}", parts.method),
            )
            .help(format!("it takes {list}"))
            .header(ALLOW, &list));
        }
        Found::Nothing => {
            return Err(Refusal::not_found("no-such-webhook", "there is no such webhook")
                .help("the path is what the workflow's `webhook: { path: .. }` says, behind /hooks/"));
        }
    };
    let (Some(trigger), Some(webhook)) = (entry.trigger(), entry.webhook()) else {
        return Err(Refusal::not_found("no-such-webhook", "there is no such webhook"));
    };
    if !addresses::is_allowed(&webhook.addresses, peer) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "address-not-allowed",
            format!("calls from {} are not taken", peer.to_canonical()),
        )
        .help("`addresses` of the webhook lists who may call"));
    }
    let now = shared.parts.clock.now();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let head = Head { method: &parts.method, target, headers: &parts.headers, now };
    caller::check_head(&webhook.auth, &head, &shared.parts.secrets, &shared.receiver.nonces).await?;
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    body::check_type(&webhook.body, content_type)?;
    let (bytes, _memory) = read(shared, webhook, &parts.headers, body).await?;
    let replay = caller::check_body(&webhook.auth, &parts.headers, &bytes, &shared.parts.secrets).await?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let delivery = Delivery { entry: &entry, trigger, webhook, sha256: &sha256, replay };
    // From here on the caller is who it says it is, and whatever comes of it can be seen.
    match admit(shared, &delivery, parts, (peer, values, now), content_type, &bytes).await {
        Ok(response) => Ok(response),
        Err(Stopped::Shown(refusal)) => {
            show(shared, &delivery, &refusal).await?;
            Err(refusal)
        }
        Err(Stopped::Plain(refusal)) => Err(refusal),
    }
}

struct Delivery<'d> {
    entry: &'d Entry,
    trigger: &'d Trigger,
    webhook: &'d Webhook,
    sha256: &'d str,
    replay: Option<String>,
}

enum Stopped {
    /// To be recorded as a refused delivery.
    Shown(Refusal),
    /// Nothing can be recorded, or it is not the caller's fault.
    Plain(Refusal),
}

async fn admit(
    shared: &Shared,
    delivery: &Delivery<'_>,
    parts: &Parts,
    (peer, path, now): (IpAddr, Map<String, Value>, Timestamp),
    content_type: Option<&str>,
    bytes: &Bytes,
) -> Result<Response, Stopped> {
    let Delivery { entry, trigger, webhook, sha256, .. } = delivery;
    let workflow = &entry.workflow;
    let folder = folder(shared, entry, webhook).map_err(Stopped::Plain)?;
    let prefix = format!("{}/{}", now.strftime("%Y-%m-%d"), uuid::Uuid::new_v4().simple());
    let mut decoded =
        body::decode(&webhook.body, content_type, bytes, folder, &prefix).await.map_err(|refusal| {
            if refusal.status().is_client_error() { Stopped::Shown(refusal) } else { Stopped::Plain(refusal) }
        })?;
    let value = json!({
        "kind": "webhook",
        "id": trigger.id,
        "method": parts.method.as_str(),
        "path": path,
        "query": query(parts.uri.query().unwrap_or_default()),
        "headers": headers(&parts.headers, &webhook.auth),
        "address": peer.to_canonical().to_string(),
        "received_at": now.to_string(),
        "body": decoded.value.take(),
    });
    let admission = match Admission::of_trigger(workflow, trigger, value) {
        Ok(Some(admission)) => admission,
        Ok(None) => {
            decoded.discard().await;
            shared.parts.metrics.webhook(StatusCode::OK.as_u16());
            return Ok(reply::ignored(webhook));
        }
        Err(error) => {
            decoded.discard().await;
            return Err(Stopped::Shown(Refusal::unprocessable("trigger-failed", error.to_string())));
        }
    };
    let admission = Admission {
        body_sha256: Some((*sha256).to_owned()),
        answer: Some(reply::success(webhook).as_u16()),
        dedupe: admission.dedupe.clone().or_else(|| delivery.replay.clone()),
        ..admission
    };
    let admitted = match shared.parts.intake.admit(admission).await {
        Ok(admitted) => admitted,
        Err(error) => {
            decoded.discard().await;
            return Err(refused_by_intake(error));
        }
    };
    if admitted.verdict == bascule_trigger::Verdict::Duplicate {
        // The first one's files are the ones that its run was given.
        decoded.discard().await;
    }
    let response = reply::admitted(shared, webhook, &admitted).await.map_err(Stopped::Plain)?;
    shared.parts.metrics.webhook(response.status().as_u16());
    Ok(response)
}

fn refused_by_intake(error: IntakeError) -> Stopped {
    match error {
        IntakeError::Inputs { workflow, problems } => Stopped::Shown(
            Refusal::unprocessable("inputs", format!("workflow `{workflow}` does not take these inputs"))
                .help("`problems` says what each one lacks; `inputs:` of the webhook makes inputs of what came in")
                .problems(problems),
        ),
        IntakeError::Key { .. } => Stopped::Shown(Refusal::unprocessable("trigger-failed", error.to_string())),
        IntakeError::Unavailable(cause) => {
            tracing::error!(error = %cause, "a delivery could not be stored");
            Stopped::Plain(
                Refusal::unavailable("not-stored", "nothing can be stored at the moment")
                    .help("nothing was accepted: send it again later"),
            )
        }
    }
}

/// Puts a refused delivery where the operator sees it. The same body again is counted there.
async fn show(shared: &Shared, delivery: &Delivery<'_>, refusal: &Refusal) -> Result<(), Refusal> {
    let key = format!("refused {} {}", refusal.status().as_u16(), delivery.sha256);
    let reason = format!("{} {}", refusal.status().as_u16(), refusal.message());
    let Delivery { entry, trigger, .. } = delivery;
    match shared.parts.intake.refuse(&entry.workflow.id, &trigger.id, Some(&key), &reason).await {
        Ok(_) => Ok(()),
        Err(error) => match refused_by_intake(error) {
            Stopped::Shown(refusal) | Stopped::Plain(refusal) => Err(refusal),
        },
    }
}

/// The whole body, as long as it is within size, time and memory.
async fn read(
    shared: &Shared,
    webhook: &Webhook,
    headers: &HeaderMap,
    body: &mut Option<Body>,
) -> Result<(Bytes, tokio::sync::OwnedSemaphorePermit), Refusal> {
    let most = webhook.max_body_bytes;
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body is longer than {most} bytes"),
        )
        .help("`max-body` of the webhook sets the limit")
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(too_large());
    }
    let kib = u32::try_from(announced.unwrap_or(most).div_ceil(1024)).unwrap_or(u32::MAX).min(MEMORY_KIB);
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let reading = async {
        let memory = Arc::clone(&shared.receiver.memory)
            .acquire_many_owned(kib)
            .await
            .map_err(|_closed| Refusal::unavailable("closing", "the server is stopping"))?;
        let whole = body.take().unwrap_or_default();
        match Limited::new(whole, limit).collect().await {
            Ok(collected) => {
                // Nothing of it is left to be drained.
                *body = Some(Body::empty());
                Ok((collected.to_bytes(), memory))
            }
            Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
            Err(_) => Err(Refusal::malformed("the body ended before it was complete")),
        }
    };
    tokio::time::timeout(webhook.timeout, reading).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            format!("the body took longer than {}", shown(webhook.timeout)),
        )
        .help("`timeout` of the webhook sets the limit"))
    })
}

fn shown(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// The folder for files, under the name that it has in `bascule.yaml`.
fn folder(shared: &Shared, entry: &Entry, webhook: &Webhook) -> Result<Option<Folder>, Refusal> {
    let bascule_workflow::trigger::Body::Multipart { folder } = &webhook.body else { return Ok(None) };
    let name = entry.workflow.folders.get(folder).unwrap_or(folder);
    let found = shared.inventory().capabilities.folder(name);
    found.map(Some).map_err(|failure| {
        tracing::error!(folder = name, reason = failure.message, "a webhook has nowhere to put files");
        Refusal::unavailable("not-ready", "this webhook is not ready: its folder cannot be used")
            .help("the server's log says more")
    })
}

fn query(text: &str) -> Value {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    Value::Object(pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect())
}

/// Headers by lower-case name, those left out that say who calls.
fn headers(headers: &HeaderMap, auth: &WebhookAuth) -> Value {
    let own = match auth {
        WebhookAuth::HmacSha256 { header, .. } => Some(header.as_str()),
        WebhookAuth::Header { name, .. } => Some(name.as_str()),
        WebhookAuth::None | WebhookAuth::Basic { .. } | WebhookAuth::Digest { .. } => None,
    };
    let mut map = Map::new();
    for name in headers.keys() {
        let hidden = HIDDEN_HEADERS.contains(&name.as_str())
            || own.is_some_and(|own| own.eq_ignore_ascii_case(name.as_str()));
        if hidden {
            continue;
        }
        let values: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        let value = values.join(", ");
        if !value.is_empty() && value.len() <= MAX_HEADER_BYTES {
            map.insert(name.as_str().to_owned(), Value::from(value));
        }
    }
    Value::Object(map)
}
