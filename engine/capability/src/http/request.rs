//! The words a plugin talks to a connection in: requests, responses, transfers. See `wit/http.wit`.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// An HTTP method that a plugin may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
}

impl Method {
    /// Upper case, as sent.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// True for GET, HEAD and OPTIONS, which change nothing (RFC 9110 section 9.2.1).
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Head => Self::HEAD,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
            Method::Options => Self::OPTIONS,
        }
    }
}

/// How long the peer may take; the figures are the connection's `timeouts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// 15 s unless told.
    Normal,
    /// 60 s unless told.
    Slow,
    /// 60 s between pieces unless told.
    Bulk,
}

/// What one part of a multipart body holds.
#[derive(Clone, Debug)]
pub enum PartData {
    /// These bytes.
    Bytes(Bytes),
    /// The file given to `Connection::upload`.
    File,
}

/// One part of a multipart body.
#[derive(Clone, Debug)]
pub struct Part {
    /// Field name.
    pub name: String,
    /// `filename="..."`
    pub filename: Option<String>,
    /// `Content-Type` of the part.
    pub content_type: Option<String>,
    /// Its bytes.
    pub data: PartData,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// Bytes of a media type.
    Content {
        /// Sent byte for byte.
        content_type: String,
        /// The bytes.
        data: Bytes,
    },
    /// `application/x-www-form-urlencoded`
    Form(Vec<(String, String)>),
    /// `multipart/form-data`
    Multipart(Vec<Part>),
    /// The whole body is the file given to `Connection::upload`.
    File {
        /// Its media type.
        content_type: String,
    },
}

/// A request below a connection's own address; see `wit/http.wit` for what is refused.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Starts with `/`.
    pub path: String,
    /// Percent-encoded by the host.
    pub query: Vec<(String, String)>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Body,
    /// Pace.
    pub pace: Pace,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Without those that carry credentials or challenges.
    pub headers: Vec<(String, String)>,
    /// At most the connection's cap.
    pub body: Bytes,
}

/// How a download is to be treated.
#[derive(Clone, Debug, Default)]
pub struct DownloadOptions {
    /// Fewer bytes are a failure.
    pub expected_bytes: Option<u64>,
    /// A body that starts with one of these is an answer, not a file.
    pub answer_prefixes: Vec<String>,
    /// Replace an existing file.
    pub overwrite: bool,
    /// Keep what has arrived when the transfer breaks off, and go on from there.
    pub resume: bool,
}

/// A file that is stored under its final name.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Name inside the folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// What the peer said it is.
    pub content_type: Option<String>,
    /// At most 64 bytes.
    pub head: Vec<u8>,
}

/// What a download led to.
#[derive(Clone, Debug)]
pub enum Downloaded {
    /// Stored.
    Stored(Transfer),
    /// The peer answered something else; nothing was stored.
    Answered(Response),
}

/// Hears how many bytes of how many were moved.
pub type ProgressFn = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// What surrounds one call: its end, and who watches.
#[derive(Clone)]
pub struct CallContext {
    /// Ends the request with `cancelled`.
    pub cancel: CancellationToken,
    /// The request ends with `timeout` then.
    pub deadline: tokio::time::Instant,
    /// Hears progress of transfers.
    pub progress: Option<ProgressFn>,
}
