//! What comes back: the head, and a body that is read whole up to a cap or piece by piece. Every wait ends.

use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::CallContext;
use super::wire::{cancelled, explain, seconds, silent, time_is_up};
use crate::policy::is_hidden_response_header;

/// Over which time the least rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// An answer whose body may still be on its way.
pub(crate) struct Received {
    pub(crate) status: u16,
    headers: HeaderMap,
    body: Source,
    /// Of the peer, DER.
    certificate: Option<Vec<u8>>,
    limits: Limits,
    watch: RateWatch,
    /// How the host proved who it is, for people.
    pub(crate) scheme: String,
    /// Which token was used.
    pub(crate) token_generation: Option<u64>,
    /// The turn, given back when the answer is dropped.
    pub(crate) turn: Option<OwnedSemaphorePermit>,
}

enum Source {
    Live(Box<reqwest::Response>),
    Read(Bytes),
}

/// What holds while a body is read.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// For messages.
    pub(crate) peer: String,
    /// Longest time without a byte.
    pub(crate) silence: Duration,
    /// Least bytes per second over [`RATE_WINDOW`]; 0 for none.
    pub(crate) min_rate: u64,
    /// What a failure means for the outside world.
    pub(crate) effect: Effect,
}

struct RateWatch {
    begin: Instant,
    bytes: u64,
}

impl RateWatch {
    fn new() -> Self {
        Self { begin: Instant::now(), bytes: 0 }
    }

    fn end(&self) -> Instant {
        self.begin + RATE_WINDOW
    }

    /// True where the window that has ended held too little.
    fn too_slow(&mut self, min_rate: u64) -> bool {
        if Instant::now() < self.end() {
            return false;
        }
        let slow = self.bytes < min_rate.saturating_mul(RATE_WINDOW.as_secs());
        *self = Self::new();
        slow
    }
}

impl Received {
    pub(crate) fn new(mut response: reqwest::Response, limits: Limits) -> Result<Self, Failure> {
        let encoded = response.headers().get_all(CONTENT_ENCODING).iter().any(|value| {
            let value = value.as_bytes().trim_ascii();
            !value.is_empty() && !value.eq_ignore_ascii_case(b"identity")
        });
        if encoded {
            return Err(Failure::new(
                Kind::Protocol,
                format!("{} sent an encoded (compressed) answer although none was asked for", limits.peer),
            )
            .with_code("host:content-encoding")
            .with_effect(limits.effect));
        }
        let certificate = response
            .extensions()
            .get::<reqwest::tls::TlsInfo>()
            .and_then(|info| info.peer_certificate().map(<[u8]>::to_vec));
        Ok(Self {
            status: response.status().as_u16(),
            headers: copied(&std::mem::take(response.headers_mut())),
            body: Source::Live(Box::new(response)),
            certificate,
            limits,
            watch: RateWatch::new(),
            scheme: String::new(),
            token_generation: None,
            turn: None,
        })
    }

    pub(crate) fn raw_headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Those that a plugin may see.
    pub(crate) fn visible_headers(&self) -> Vec<(String, String)> {
        self.headers
            .iter()
            .filter(|(name, _)| !is_hidden_response_header(name.as_str()))
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect()
    }

    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    pub(crate) fn peer(&self) -> &str {
        &self.limits.peer
    }

    pub(crate) fn effect(&self) -> Effect {
        self.limits.effect
    }

    /// What `Content-Length` says, where it stands.
    pub(crate) fn announced_bytes(&self) -> Option<u64> {
        self.headers.get("content-length")?.to_str().ok()?.trim().parse().ok()
    }

    /// The next piece, `None` at the end.
    pub(crate) async fn piece(&mut self, context: &CallContext) -> Result<Option<Bytes>, Failure> {
        let Self { body, limits, watch, .. } = self;
        let response = match body {
            Source::Live(response) => response,
            Source::Read(bytes) => {
                let bytes = std::mem::take(bytes);
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
        };
        let silent_at = Instant::now() + limits.silence;
        loop {
            let wake = silent_at.min(watch.end()).min(context.deadline);
            tokio::select! {
                biased;
                () = context.cancel.cancelled() => return Err(cancelled().with_effect(limits.effect)),
                piece = response.chunk() => {
                    let piece = piece.map_err(|error| broken(&error, limits))?;
                    watch.bytes += piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(0));
                    if piece.is_some() && watch.too_slow(limits.min_rate) {
                        return Err(too_slow(limits));
                    }
                    return Ok(piece);
                }
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= context.deadline {
                        return Err(time_is_up().with_effect(limits.effect));
                    }
                    if now >= silent_at {
                        return Err(silent(&limits.peer, limits.silence).with_effect(limits.effect));
                    }
                    if watch.too_slow(limits.min_rate) {
                        return Err(too_slow(limits));
                    }
                }
            }
        }
    }

    /// The next piece of a stream that may rest: waits `wait`, and may be called again after a `timeout`.
    pub(crate) async fn piece_within(
        &mut self,
        wait: Duration,
        context: &CallContext,
    ) -> Result<Option<Bytes>, Failure> {
        let Source::Live(response) = &mut self.body else {
            return self.piece(context).await;
        };
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(cancelled()),
            piece = response.chunk() => piece.map_err(|error| broken(&error, &self.limits)),
            () = tokio::time::sleep_until(context.deadline) => Err(time_is_up()),
            () = tokio::time::sleep(wait) => {
                Err(Failure::new(Kind::Timeout, format!("nothing came from {} in {} s", self.limits.peer, seconds(wait)))
                    .with_code("host:silent"))
            }
        }
    }

    /// The whole body; more than `cap` bytes are a failure.
    pub(crate) async fn whole(&mut self, cap: u64, context: &CallContext) -> Result<Bytes, Failure> {
        let too_long = |limits: &Limits| {
            Failure::new(
                Kind::Protocol,
                format!("{} answered more than {cap} bytes (max-response)", limits.peer),
            )
            .with_code("host:max-response")
            .with_effect(limits.effect)
        };
        if matches!(self.body, Source::Live(_)) && self.announced_bytes().is_some_and(|bytes| bytes > cap) {
            return Err(too_long(&self.limits));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece(context).await? {
            if u64::try_from(all.len() + piece.len()).unwrap_or(u64::MAX) > cap {
                return Err(too_long(&self.limits));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The beginning of the body, at most `cap` bytes; the rest is not read.
    pub(crate) async fn beginning(&mut self, cap: usize, context: &CallContext) -> Result<Bytes, Failure> {
        let mut all = BytesMut::new();
        while all.len() < cap {
            let Some(piece) = self.piece(context).await? else {
                break;
            };
            all.extend_from_slice(&piece);
        }
        all.truncate(cap);
        Ok(all.freeze())
    }

    /// Puts back what was read, so that it is read again.
    pub(crate) fn put_back(&mut self, body: Bytes) {
        self.body = Source::Read(body);
    }
}

/// The same headers in memory of their own: as they come, they keep alive the whole piece that was read from the socket, which
/// a stream would hold for months.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        if let Ok(own) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.append(name, own);
        }
    }
    copy
}

fn broken(error: &reqwest::Error, limits: &Limits) -> Failure {
    let mut failure = explain(error, &limits.peer, limits.effect);
    if failure.kind == Kind::Offline {
        failure.message = format!("the connection to {} broke in the middle of the answer", limits.peer);
    }
    failure.with_effect(limits.effect)
}

fn too_slow(limits: &Limits) -> Failure {
    Failure::new(
        Kind::Timeout,
        format!(
            "{} sent less than {} bytes a second over {} s (min-rate)",
            limits.peer,
            limits.min_rate,
            RATE_WINDOW.as_secs()
        ),
    )
    .with_code("host:min-rate")
    .with_effect(limits.effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_repeat_are_all_kept_in_memory_of_their_own() {
        let piece = Bytes::from_static(b"one, two, three");
        let value = |range: std::ops::Range<usize>| HeaderValue::from_maybe_shared(piece.slice(range));
        let mut headers = HeaderMap::new();
        for (name, range) in [("x-list", 0..3), ("content-type", 5..8), ("x-list", 10..15)] {
            headers.append(name, value(range).unwrap_or_else(|_| HeaderValue::from_static("")));
        }
        let copy = copied(&headers);
        assert_eq!(copy, headers);
        assert_eq!(copy.get_all("x-list").iter().collect::<Vec<_>>(), ["one", "three"]);
        let own = copy.get("content-type").map(|value| value.as_bytes().as_ptr());
        assert!(own.is_some_and(|own| !piece.as_ptr_range().contains(&own)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_rate_is_measured_over_thirty_seconds() {
        let mut watch = RateWatch::new();
        watch.bytes = 29 * 1024;
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!watch.too_slow(1024), "the window has not ended");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(watch.too_slow(1024));
        watch.bytes = 30 * 1024;
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!watch.too_slow(1024), "enough, in a new window");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!watch.too_slow(0), "no least rate for streams");
    }
}
