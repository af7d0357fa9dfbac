//! HTTP/1.1 on plain TCP, small, exact, and able to lie.
//!
//! Requests keep their header lines in the order and case they came in, because the digest is checked against the bytes
//! that were received. Answers can carry a wrong length, end early, come in drops, or not come at all.

pub(crate) mod client;
pub(crate) mod door;
pub(crate) mod generated;
pub(crate) mod live;
pub(crate) mod multipart;
pub(crate) mod read;
pub(crate) mod tls;
pub(crate) mod write;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::quirks::{Drip, Length};

/// Something that answers requests.
pub(crate) trait Peer: Send + Sync + 'static {
    /// Answers one request. The future is dropped when the peer goes offline.
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply>;

    /// How long a kept connection may be silent.
    fn idle(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The request target, byte for byte.
    pub(crate) target: String,
    /// In the order and case received.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) chunked: bool,
    /// How many requests this connection has carried, this one included.
    pub(crate) nth: u32,
}

impl Request {
    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The raw query, empty if there is none.
    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The decoded query parameters in order.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.query().as_bytes()).into_owned().collect()
    }

    /// The first query parameter of that name.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What goes back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An answer, possibly a lying one.
    Answer(Answer),
    /// A TCP reset.
    Reset,
    /// Nothing until the client gives up.
    Silence,
    /// These bytes instead of HTTP, then the end.
    Raw(Bytes),
    /// An answer whose body is made while it is sent.
    Generated(generated::Generated),
    /// An answer that goes on while things happen.
    Live(live::Live),
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without Content-Length, Transfer-Encoding and Connection: those follow from `delivery`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) delivery: Delivery,
}

/// How the bytes of an answer reach the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) length: Length,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut_after: Option<usize>,
    pub(crate) slow: Option<Drip>,
    /// Says `Connection: close` and closes.
    pub(crate) close: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { length: Length::Right, cut_after: None, slow: None, close: false }
    }
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = if content_type.is_empty() {
            Vec::new()
        } else {
            vec![("Content-Type".to_owned(), content_type.to_owned())]
        };
        Self { status, headers, body: body.into(), delivery: Delivery::default() }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, "", Bytes::new())
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}
