//! One request over one socket: sent once, never repeated, ended by silence, deadline or the run's end.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use reqwest::header::HeaderMap;
use tokio::time::Instant;
use url::Url;

use super::CallContext;
use super::address::AddressRefused;
use super::outgoing::{Activity, Payload};
use super::tls::PinMismatch;

/// Waits for `work` until the call is cancelled or its time is up; nothing was sent then.
pub(crate) async fn within<T>(context: &CallContext, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(cancelled()),
        () = tokio::time::sleep_until(context.deadline) => Err(time_is_up()),
        done = work => Ok(done),
    }
}

pub(crate) fn cancelled() -> Failure {
    Failure::new(Kind::Cancelled, "the run was cancelled")
}

pub(crate) fn time_is_up() -> Failure {
    Failure::new(Kind::Timeout, "the step's own time was up").with_code("host:deadline")
}

/// What is sent, and how long it may stay silent.
pub(crate) struct Shot<'a> {
    pub(crate) method: reqwest::Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: &'a Payload,
    /// Longest time without a byte in either direction.
    pub(crate) silence: Duration,
    /// What it means for the outside world if the answer gets lost.
    pub(crate) effect: Effect,
    /// For messages: `terminal at 10.0.0.7:80`.
    pub(crate) peer: &'a str,
    /// Told how much of the body is sent.
    pub(crate) report_progress: bool,
}

impl Shot<'_> {
    /// Sends and waits for the head of the answer.
    pub(crate) async fn send(
        mut self,
        client: &reqwest::Client,
        context: &CallContext,
    ) -> Result<reqwest::Response, Failure> {
        let activity = Activity::new();
        let progress = context.progress.clone().filter(|_progress| self.report_progress);
        let body = self.payload.open(&activity, progress).await?;
        let has_length = body.is_some() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if has_length {
            self.headers.insert(reqwest::header::CONTENT_LENGTH, self.payload.bytes().into());
        }
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = std::mem::take(&mut self.headers);
        *request.body_mut() = body;
        let sending = client.execute(request);
        tokio::pin!(sending);
        loop {
            let silent_at = activity.last() + self.silence;
            tokio::select! {
                biased;
                () = context.cancel.cancelled() => return Err(cancelled().with_effect(self.effect)),
                answer = &mut sending => return answer.map_err(|error| explain(&error, self.peer, self.effect)),
                () = tokio::time::sleep_until(context.deadline) => return Err(time_is_up().with_effect(self.effect)),
                () = tokio::time::sleep_until(silent_at) => {
                    if activity.last() + self.silence <= Instant::now() {
                        return Err(silent(self.peer, self.silence).with_effect(self.effect));
                    }
                }
            }
        }
    }
}

pub(crate) fn silent(peer: &str, time: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("{peer} did not answer within {} s", seconds(time)))
        .with_code("host:silent")
}

/// `1.5` or `15`, for messages.
pub(crate) fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 { time.as_secs().to_string() } else { format!("{:.1}", time.as_secs_f64()) }
}

/// What the HTTP library's error means. `effect` is what it means where the request may have been sent.
pub(crate) fn explain(error: &reqwest::Error, peer: &str, effect: Effect) -> Failure {
    let chain = chain(error);
    if let Some(refused) = chain.iter().find_map(|error| error.downcast_ref::<AddressRefused>()) {
        return Failure::new(Kind::Refused, format!("{peer}: {refused}")).with_code("host:address");
    }
    if let Some(tls) = chain.iter().find_map(|error| error.downcast_ref::<rustls::Error>()) {
        let failure = explain_tls(tls, peer);
        return if error.is_connect() { failure } else { failure.with_effect(effect) };
    }
    // The payload's own stream failed: the file could not be read.
    let io_kind = chain.iter().find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    if error.is_connect() {
        let text = if error.is_dns() {
            format!("{peer}: its name has no address")
        } else if error.is_timeout() {
            format!("{peer} could not be reached in time")
        } else {
            match io_kind {
                Some(io::ErrorKind::ConnectionRefused) => format!("{peer} refuses connections"),
                Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                    format!("{peer} cannot be reached: no way to that network")
                }
                Some(
                    io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe,
                ) => {
                    format!("{peer} broke the connection while it was being made")
                }
                _ => format!("{peer} could not be reached: {}", innermost(&chain)),
            }
        };
        return Failure::new(Kind::Offline, text).with_code("host:offline");
    }
    let inner = innermost(&chain);
    let text = chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let is_malformed = text.contains(" parsed")
        || text.contains("message head is too large")
        || matches!(io_kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    if is_malformed {
        return Failure::new(Kind::Protocol, format!("{peer} answered something that is not HTTP: {inner}"))
            .with_code("host:http")
            .with_effect(effect);
    }
    if error.is_builder() {
        return Failure::new(Kind::Internal, format!("the request to {peer} could not be put together"));
    }
    Failure::new(Kind::Offline, format!("the connection to {peer} broke before the answer: {inner}"))
        .with_code("host:broken")
        .with_effect(effect)
}

fn explain_tls(error: &rustls::Error, peer: &str) -> Failure {
    use rustls::{CertificateError, Error as Tls};
    let text = match error {
        Tls::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<PinMismatch>() {
                Some(mismatch) => format!(
                    "{peer}: {mismatch}; nothing was sent. If the device was replaced or reset, run `bascule connection \
                 pin` for it again"
                ),
                None => untrusted(peer, &other.to_string()),
            }
        }
        Tls::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("{peer}: its certificate has expired")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{peer}: its certificate is for another name")
            }
            why => untrusted(peer, &format!("{why:?}")),
        },
        other => format!("{peer}: no encrypted connection could be made: {other}"),
    };
    Failure::new(Kind::Refused, text).with_code("host:tls")
}

fn untrusted(peer: &str, why: &str) -> String {
    // A peer is told as `NAME at HOST:PORT`.
    let name = peer.split_once(" at ").map_or("NAME", |(name, _)| name);
    format!(
        "{peer}: the certificate is not trusted: if this device's certificate is self-signed, look at its fingerprint \
         and run `bascule connection pin {name}` ({why})"
    )
}

/// The error and everything below it, also what hides inside an `io::Error`.
pub(crate) fn chain<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut all: Vec<&'e (dyn Error + 'static)> = Vec::new();
    let mut next = Some(error);
    while let Some(current) = next.filter(|_next| all.len() < 32) {
        all.push(current);
        // `source` of an `io::Error` passes over the error that it wraps.
        let wrapped: Option<&(dyn Error + 'static)> = match current.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => None,
        };
        next = wrapped.or_else(|| current.source());
    }
    all
}

fn innermost(chain: &[&(dyn Error + 'static)]) -> String {
    let text = chain.last().map(ToString::to_string).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
