//! One exchange: a turn, the login that the connection's scheme asks for, and the answer.
//!
//! Digest auth takes a fresh challenge for each request (facts/isapi.md 1.4): the request goes out without credentials
//! first, without its body if it has one; what then goes out with credentials goes out once, and once more only where
//! the peer says that its own nonce was stale.

mod bearer;
mod digest;
mod login;
mod signed;

use bascule_workflow::failure::{Effect, Failure, Kind};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};

use super::connection::Inner;
use super::detour;
use super::outgoing::Payload;
use super::receive::{Limits, Received};
use super::target::Target;
use super::wire::Shot;
use super::{CallContext, Method};
use crate::auth::{Scheme, header, lock};
use crate::credential::Source;
use crate::policy;
use crate::secret::Secret;
use login::Freshness;

/// Most redirects of one request, where the connection follows its own.
const MAX_REDIRECTS: usize = 3;
/// Most bytes of a peer's own words in a failure.
const MAX_WORDS: usize = 500;

/// A checked request.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) method: Method,
    /// With the connection's base path.
    pub(crate) path: String,
    /// Encoded.
    pub(crate) query: String,
    /// Decoded, for signatures.
    pub(crate) query_fields: Vec<(String, String)>,
    /// Decoded, for signatures.
    pub(crate) form_fields: Vec<(String, String)>,
    /// Without those that the scheme adds and those of the body.
    pub(crate) headers: HeaderMap,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) payload: Payload,
    pub(crate) silence: std::time::Duration,
    /// 0 for streams that may rest.
    pub(crate) min_rate: u64,
}

impl Prepared {
    /// What a login signs: path and query as sent.
    fn uri(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// What it means if the answer to this request gets lost.
    fn effect_if_lost(&self) -> Effect {
        if self.method.is_safe() { Effect::None } else { Effect::Unknown }
    }
}

/// How much of a request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Method and address, no body: to be given a challenge.
    Probe,
}

impl Inner {
    /// Sends a request with all that its connection asks for. A 401 does not come back as an answer.
    pub(crate) async fn run(&self, request: Prepared, context: &CallContext) -> Result<Received, Failure> {
        let received = self.taken(request, context).await;
        let (shared, end) = (&self.shared, received.as_ref().map(|received| received.status));
        shared.health.note(&self.name, &self.account.peer, (shared.clock)(), end);
        received
    }

    async fn taken(&self, request: Prepared, context: &CallContext) -> Result<Received, Failure> {
        let turn = self.peer.politeness.turn(context).await?;
        let mut request = request;
        for _hop in 0..MAX_REDIRECTS {
            let mut received = self.authenticated(&request, context).await?;
            let Some(next) = self.redirected(&request, &received)? else {
                received.turn = Some(turn);
                return Ok(received);
            };
            // Read to its end, the answer frees its socket for the next request.
            let _unread = received.beginning(lock::SCAN_BYTES, context).await;
            request = next;
        }
        Err(Failure::new(Kind::Protocol, format!("{} redirects in circles", self.label))
            .with_code("host:redirect"))
    }

    /// The next request where the answer is a redirect that the connection follows.
    fn redirected(&self, request: &Prepared, received: &Received) -> Result<Option<Prepared>, Failure> {
        let follows =
            self.entry.redirects_same_origin && matches!(request.method, Method::Get | Method::Head);
        if !follows || !matches!(received.status, 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = received.raw_headers().get(LOCATION).and_then(|value| value.to_str().ok())
        else {
            return Ok(None);
        };
        let refuse = |why: &str| {
            Failure::new(Kind::Refused, format!("{} redirects {why}", self.label)).with_code("host:redirect")
        };
        let here = self.target.url(&request.path, &request.query)?;
        let next =
            here.join(location).map_err(|_unreadable| refuse("to something that is not an address"))?;
        if next.origin() != here.origin() || !next.username().is_empty() || next.password().is_some() {
            return Err(refuse("to another origin, which is never followed"));
        }
        let Some(below) = next.path().strip_prefix(&self.target.base_path) else {
            return Err(refuse("to a path outside the connection's own"));
        };
        policy::check(&self.name, &self.entry.allow, request.method, below)?;
        let mut again = request.clone();
        next.path().clone_into(&mut again.path);
        again.query = next.query().unwrap_or_default().to_owned();
        again.query_fields = next.query_pairs().into_owned().collect();
        Ok(Some(again))
    }

    async fn authenticated(&self, request: &Prepared, context: &CallContext) -> Result<Received, Failure> {
        let (received, described) = match &self.scheme {
            Scheme::None => (self.plain(request, Vec::new(), context).await?, "none"),
            Scheme::Headers(secrets) => {
                let mut headers = Vec::with_capacity(secrets.len());
                for one in secrets {
                    let secret = self.reveal(&one.secret).await?;
                    let name = HeaderName::from_bytes(one.name.as_bytes()).map_err(|_bad| {
                        let text = format!("connection `{}`: `{}` is not a header name", self.name, one.name);
                        Failure::new(Kind::InvalidInput, text)
                    })?;
                    headers.push((name, header::value(&one.name, &one.prefix, &secret)?));
                }
                (self.plain(request, headers, context).await?, "headers")
            }
            Scheme::AkSk { key, secret, content_md5 } => {
                let headers = self.signed_headers(request, key, secret, *content_md5).await?;
                (self.plain(request, headers, context).await?, "ak-sk")
            }
            Scheme::Basic { user, password } => {
                (self.basic(request, user, password, context).await?, "basic")
            }
            Scheme::Token(exchange) => (self.bearer(request, exchange, context).await?, "token"),
            Scheme::Digest { user, password, reuse_nonces } => {
                let login = self.login(user, password, Freshness::Kept).await?;
                return if *reuse_nonces && !self.peer.refuses_reuse() {
                    self.digest_reusing(request, login, password, context).await
                } else {
                    self.digest_fresh(request, login, password, context).await
                };
            }
        };
        let mut received = received;
        described.clone_into(&mut received.scheme);
        Ok(received)
    }

    /// Sends with these headers; a 401 is a failure.
    async fn plain(
        &self,
        request: &Prepared,
        headers: Vec<(HeaderName, HeaderValue)>,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let mut received = self.once(request, headers, Extent::Whole, &self.target, context).await?;
        if received.status == 401 {
            let why = match self.scheme {
                Scheme::None => "asks for credentials, and the connection has `auth: none`",
                _ => "refused the credentials",
            };
            let body = received.beginning(lock::SCAN_BYTES, context).await.unwrap_or_default();
            return Err(self.unauthorized(format!("{} {why}", self.label), &received, &body));
        }
        Ok(received)
    }

    /// One request on the wire.
    async fn once(
        &self,
        request: &Prepared,
        headers: Vec<(HeaderName, HeaderValue)>,
        extent: Extent,
        target: &Target,
        context: &CallContext,
    ) -> Result<Received, Failure> {
        let mut all = request.headers.clone();
        let (payload, effect) = match extent {
            Extent::Whole => {
                if let Some(content_type) = &request.content_type {
                    all.insert(reqwest::header::CONTENT_TYPE, content_type.clone());
                }
                (&request.payload, request.effect_if_lost())
            }
            Extent::Probe if request.payload.is_empty() && !self.peer.has_challenged() => {
                // The peer may turn out to ask for no credentials and do it.
                (&Payload::Empty, request.effect_if_lost())
            }
            Extent::Probe => (&Payload::Empty, Effect::None),
        };
        for (name, value) in headers {
            all.insert(name, value);
        }
        let mut url = target.url(&request.path, &request.query)?;
        if let Some(detour) = &self.shared.detour {
            detour::lead(&**detour, &self.name, target, &mut url, &mut all)?;
        }
        let shot = Shot {
            method: request.method.into(),
            url,
            headers: all,
            payload,
            silence: request.silence,
            effect,
            peer: &self.label,
            report_progress: matches!(payload, Payload::File(_)),
        };
        let client = self.peer.client(&self.shared, self).await?;
        let response = shot.send(&client, context).await?;
        let limits =
            Limits { peer: self.label.clone(), silence: request.silence, min_rate: request.min_rate, effect };
        Received::new(response, limits)
    }

    async fn reveal(&self, source: &Source) -> Result<Secret, Failure> {
        self.shared.reveal(source).await
    }

    fn unauthorized(&self, text: String, received: &Received, body: &Bytes) -> Failure {
        Failure::new(Kind::Unauthorized, text)
            .with_code("host:unauthorized")
            .with_details(serde_json::json!({ "status": received.status, "answer": self.words(body) }))
    }

    /// The beginning of what a peer said, without secrets.
    fn words(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let clean = self.shared.secrets.redactor().redact(&text);
        clean.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
    }
}
