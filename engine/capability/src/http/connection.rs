//! A connection: what a plugin holds, and what `bascule.yaml` makes it of.

use std::sync::Arc;
use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::address::AddressPolicy;
use super::exchange::Prepared;
use super::outgoing::{Payload, Upload};
use super::peer::{Peer, Shared};
use super::receive::Received;
use super::target::{Target, encode_query};
use super::tls::fingerprint;
use super::{Body, CallContext, DownloadOptions, Downloaded, Method, Pace, Request, Response};
use crate::auth::Scheme;
use crate::credential::text;
use crate::guard::Account;
use crate::policy;
use crate::storage::Folder;
use crate::transfer;

/// What a piece of an [`Incoming`] holds at most.
const PIECE_BYTES: usize = 64 << 10;

/// One peer, ready to be talked to. Cheap to clone; all connections to the same peer under the same name share pace,
/// lock-out guard, digest sessions, token and sockets.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.inner.name)
            .field("origin", &self.inner.target.origin)
            .finish()
    }
}

/// A connection with its templates evaluated.
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) entry: Arc<project::Connection>,
    pub(crate) scheme: Scheme,
    pub(crate) account: Account,
    pub(crate) addresses: Arc<AddressPolicy>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) shared: Arc<Shared>,
    /// `terminal at 10.0.0.7:80`
    pub(crate) label: String,
}

/// What `bascule connection test` shows.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// HTTP status of the answer.
    pub status: u16,
    /// From the first byte sent to the last received, waiting for a turn included.
    pub elapsed: Duration,
    /// How the host proved who it is, e.g. `digest SHA-256`, `basic`, `none asked for`.
    pub scheme: String,
    /// SHA-256 of the peer's certificate in lower-case hexadecimal, where TLS was spoken.
    pub tls_fingerprint: Option<String>,
    /// The peer's `Date`. Of devices it is the local time, whatever zone it names (facts/isapi.md 1.1).
    pub server_date: Option<String>,
    /// The peer's `Server`.
    pub server: Option<String>,
    /// The beginning of the answer, at most 64 KiB.
    pub body: Bytes,
}

impl Connection {
    pub(crate) fn evaluate(
        name: &str,
        entry: &Arc<project::Connection>,
        params: &Map<String, Value>,
        shared: &Arc<Shared>,
    ) -> Result<Self, Failure> {
        let scope = scope(name, &entry.params, params)?;
        let target = Target::parse(&text(&entry.url, &scope, name, "url")?, name)?;
        let host_is_fixed = entry.has_fixed_host();
        let key = match &entry.key {
            Some(key) => text(key, &scope, name, "key")?,
            None => target.origin.clone(),
        };
        let scheme = Scheme::evaluate(&entry.auth, &scope, name)?;
        let addresses = AddressPolicy::new(name, &entry.allow.addresses, host_is_fixed, &target.host)?;
        let inner = Inner {
            name: name.to_owned(),
            label: format!("{name} at {}", target.authority),
            account: Account { peer: key.clone(), user: scheme.user().to_owned() },
            peer: shared.peer(name, &key, entry),
            target,
            entry: Arc::clone(entry),
            scheme,
            addresses: Arc::new(addresses),
            shared: Arc::clone(shared),
        };
        inner.check_literal(&inner.target)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name in `bascule.yaml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Scheme, host and port, e.g. `https://hr.example:443`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.target.origin
    }

    /// What identifies the peer for pacing, pins and the lock-out guard: `key:`, by default the origin.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.inner.account.peer
    }

    /// Sends one request and reads the whole response, at most `max-response` bytes.
    pub async fn send(&self, request: Request, context: &CallContext) -> Result<Response, Failure> {
        let prepared = self.inner.prepare(request, None)?;
        self.inner.send(&prepared, context).await
    }

    /// Streams the response's body into a folder.
    pub async fn download(
        &self,
        request: Request,
        folder: &Folder,
        name: &str,
        options: DownloadOptions,
        context: &CallContext,
    ) -> Result<Downloaded, Failure> {
        let prepared = self.inner.prepare(request, None)?;
        let download = transfer::Download { folder, name, options };
        download.run(&self.inner, &prepared, context).await
    }

    /// Streams a stored file out as (part of) the body.
    pub async fn upload(
        &self,
        request: Request,
        folder: &Folder,
        name: &str,
        context: &CallContext,
    ) -> Result<Response, Failure> {
        let bytes = folder.stat(name).await?.bytes;
        let prepared = self.inner.prepare(request, Some(&Upload { folder, name, bytes }))?;
        self.inner.send(&prepared, context).await
    }

    /// Opens a long-lived response. Its turn ends with the head: other requests may follow beside it.
    pub async fn open(&self, request: Request, context: &CallContext) -> Result<Incoming, Failure> {
        let mut prepared = self.inner.prepare(request, None)?;
        prepared.min_rate = 0;
        let mut received = self.inner.run(prepared, context).await?;
        received.turn = None;
        Ok(Incoming { headers: received.visible_headers(), received, rest: Bytes::new() })
    }

    /// Asks for the connection's `test` path (by default `/`) with GET and tells what happened.
    pub async fn test(&self, context: &CallContext) -> Result<TestReport, Failure> {
        let begin = Instant::now();
        let test = self.inner.entry.test_path.as_deref().unwrap_or("/");
        let (path, query) = test.split_once('?').unwrap_or((test, ""));
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let request = Request {
            method: Method::Get,
            path: path.to_owned(),
            query,
            headers: Vec::new(),
            body: Body::Empty,
            pace: Pace::Normal,
        };
        let prepared = self.inner.prepare(request, None)?;
        let mut received = self.inner.run(prepared, context).await?;
        let body = received.beginning(PIECE_BYTES, context).await?;
        Ok(TestReport {
            status: received.status,
            elapsed: begin.elapsed(),
            scheme: received.scheme.clone(),
            tls_fingerprint: received.certificate().map(fingerprint),
            server_date: received.header("date"),
            server: received.header("server"),
            body: self.inner.scrubbed(body),
        })
    }

    /// The SHA-256 of the certificate that the peer shows, in lower-case hexadecimal. Makes a TLS handshake and sends
    /// nothing over it.
    pub(crate) async fn fetch_fingerprint(&self) -> Result<String, Failure> {
        super::pins::look(&self.inner).await
    }
}

fn scope(name: &str, declared: &[String], given: &Map<String, Value>) -> Result<Scope, Failure> {
    let listed =
        |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> =
        declared.iter().map(String::as_str).filter(|name| !given.contains_key(*name)).collect();
    let unknown: Vec<_> =
        given.keys().map(String::as_str).filter(|name| !declared.iter().any(|d| d == name)).collect();
    if !missing.is_empty() {
        let text = format!("connection `{name}` needs the parameter {}", listed(missing));
        return Err(Failure::new(Kind::InvalidInput, text));
    }
    if !unknown.is_empty() {
        let text = format!("connection `{name}` has no parameter {}", listed(unknown));
        return Err(Failure::new(Kind::InvalidInput, text));
    }
    let mut scope = Scope::new();
    for (name, value) in given {
        scope.set(name.clone(), value.clone());
    }
    Ok(scope)
}

impl Inner {
    /// A host that is an address is not resolved, so it is checked here.
    pub(crate) fn check_literal(&self, target: &Target) -> Result<(), Failure> {
        let Ok(address) = target.host.trim_matches(['[', ']']).parse() else {
            return Ok(());
        };
        self.addresses.check(&target.host, address).map_err(|refused| {
            Failure::new(Kind::Refused, format!("connection `{}`: {refused}", self.name))
                .with_code("host:address")
        })
    }

    /// The headers of every request.
    pub(crate) fn standing_headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("bascule/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.entry.headers {
            let wrong = |why: &str| {
                let text = format!("connection `{}`: headers: `{}` {why}", self.name, name.escape_debug());
                Failure::new(Kind::InvalidInput, text)
            };
            if policy::is_host_header(&name.to_ascii_lowercase()) {
                return Err(wrong("is written by the host"));
            }
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_bad| wrong("is not a header name"))?;
            let value =
                HeaderValue::from_bytes(value.as_bytes()).map_err(|_bad| wrong("has a control character"))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn prepare(&self, request: Request, upload: Option<&Upload<'_>>) -> Result<Prepared, Failure> {
        policy::check(&self.name, &self.entry.allow, request.method, &request.path)?;
        let mut reserved = self.scheme.own_headers();
        reserved.extend(self.entry.headers.keys().map(|name| name.to_ascii_lowercase()));
        if !matches!(request.body, Body::Empty) {
            reserved.push("content-type".to_owned());
        }
        policy::check_headers(&self.name, &request.headers, &reserved)?;
        let refuse = |what: &str| {
            let text = format!("connection `{}`: {what} cannot be sent as a header", self.name);
            Failure::new(Kind::Refused, text).with_code("host:header")
        };
        let mut headers = self.standing_headers()?;
        let mut seen = std::collections::HashSet::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_bad| refuse("a name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_bad| refuse("a value"))?;
            // The first of a name replaces the host's own, later ones are added.
            if seen.insert(name.clone()) {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        let form_fields = match &request.body {
            Body::Form(fields) => fields.clone(),
            _ => Vec::new(),
        };
        let (payload, content_type) = Payload::prepare(request.body, upload)?;
        let content_type = match content_type {
            Some(text) if text.chars().any(char::is_control) => return Err(refuse("the media type")),
            Some(text) => {
                Some(HeaderValue::from_bytes(text.as_bytes()).map_err(|_bad| refuse("the media type"))?)
            }
            None => None,
        };
        let timeouts = &self.entry.timeouts;
        Ok(Prepared {
            method: request.method,
            path: format!("{}{}", self.target.base_path, request.path),
            query: encode_query(&request.query),
            query_fields: request.query,
            form_fields,
            headers,
            content_type,
            payload,
            silence: match request.pace {
                Pace::Normal => timeouts.normal,
                Pace::Slow => timeouts.slow,
                Pace::Bulk => timeouts.bulk,
            },
            min_rate: self.entry.min_bytes_per_second,
        })
    }

    async fn send(&self, prepared: &Prepared, context: &CallContext) -> Result<Response, Failure> {
        let mut received = self.run(prepared.clone(), context).await?;
        let mut body = received.whole(self.entry.max_response_bytes, context).await?;
        if self.is_expired_token(&received, &body).await {
            drop(received);
            received = self.run(prepared.clone(), context).await?;
            body = received.whole(self.entry.max_response_bytes, context).await?;
        }
        Ok(self.response(&received, body))
    }

    /// True where the answer says that the token is no longer good; it is then not used again.
    pub(crate) async fn is_expired_token(&self, received: &Received, body: &[u8]) -> bool {
        let (Scheme::Token(exchange), Some(generation)) = (&self.scheme, received.token_generation) else {
            return false;
        };
        let says_so = exchange.says_expired(body);
        if says_so {
            self.spend_token(generation).await;
        }
        says_so
    }

    /// What a plugin gets to see.
    pub(crate) fn response(&self, received: &Received, body: Bytes) -> Response {
        let mut headers = received.visible_headers();
        if matches!(self.scheme, Scheme::AkSk { .. }) {
            for (_name, value) in headers.iter_mut().filter(|(name, _)| name.starts_with("x-ca-")) {
                *value = self.shared.secrets.redactor().redact(value).into_owned();
            }
        }
        Response { status: received.status, headers, body: self.scrubbed(body) }
    }

    /// The gateway's errors quote the AppKey, and maybe more (facts A2).
    fn scrubbed(&self, body: Bytes) -> Bytes {
        let is_gateway_error = matches!(self.scheme, Scheme::AkSk { .. })
            && body.len() <= PIECE_BYTES
            && body.windows(6).any(|window| window.eq_ignore_ascii_case(b"0x0240"));
        if !is_gateway_error {
            return body;
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        self.shared.secrets.redactor().redact(&text).into_owned().into()
    }
}

/// A response that is read piece by piece; dropping it closes the socket.
pub struct Incoming {
    received: Received,
    headers: Vec<(String, String)>,
    rest: Bytes,
}

impl Incoming {
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.received.status
    }

    /// Headers, filtered.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The next piece, at most 64 KiB; `None` at the end; `timeout` after `wait` of silence, and it may be called again.
    pub async fn read(&mut self, wait: Duration, context: &CallContext) -> Result<Option<Bytes>, Failure> {
        while self.rest.is_empty() {
            match self.received.piece_within(wait, context).await? {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE_BYTES))))
    }
}
