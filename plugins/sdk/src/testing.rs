//! Doubles for unit tests on the author's own machine. Not part of a component.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::http::{Body, DownloadOptions, Downloaded, Field, PartData, Request, Response, Transfer};
use crate::peer::{Files, Peer};
use crate::types::Error;

/// A response with that status and body and no headers.
pub fn answer(status: u16, body: impl AsRef<[u8]>) -> Response {
    Response { status, headers: Vec::new(), body: body.as_ref().to_vec() }
}

/// A response with headers.
pub fn answer_with(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Response {
    let headers =
        headers.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() }).collect();
    Response { status, headers, body: body.as_ref().to_vec() }
}

struct Expected {
    line: String,
    outcome: Result<Response, Error>,
}

/// A peer that expects requests in order and answers bytes. What was sent can be looked at afterwards.
///
/// It panics, which is how a test fails, on a request that was not expected.
pub struct Script {
    origin: String,
    expected: RefCell<VecDeque<Expected>>,
    sent: RefCell<Vec<Request>>,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// A script that expects nothing yet; its origin is `https://peer.test:443`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: "https://peer.test:443".into(),
            expected: RefCell::default(),
            sent: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The same script at another origin.
    #[must_use]
    pub fn at(mut self, origin: &str) -> Self {
        self.origin = origin.into();
        self
    }

    /// Next comes a request whose [`Request::line`] is `line`; it is answered with `response`.
    #[must_use]
    pub fn then(self, line: &str, response: Response) -> Self {
        self.expected.borrow_mut().push_back(Expected { line: line.into(), outcome: Ok(response) });
        self
    }

    /// Next comes a request whose line is `line`; the host ends it with `error`.
    #[must_use]
    pub fn then_fails(self, line: &str, error: Error) -> Self {
        self.expected.borrow_mut().push_back(Expected { line: line.into(), outcome: Err(error) });
        self
    }

    /// Puts a file into the folder.
    #[must_use]
    pub fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.files.borrow_mut().insert(name.into(), data.as_ref().to_vec());
        self
    }

    /// The requests so far.
    #[must_use]
    pub fn sent(&self) -> Vec<Request> {
        self.sent.borrow().clone()
    }

    /// The body of the request with that index as text; of a multipart body its parts, one after another.
    #[must_use]
    pub fn body(&self, index: usize) -> String {
        match self.sent.borrow().get(index).map(|request| &request.body) {
            None | Some(Body::Empty) => String::new(),
            Some(Body::Content(content)) => String::from_utf8_lossy(&content.data).into_owned(),
            Some(Body::Form(fields)) => fields.iter().map(|f| format!("{}={}\n", f.name, f.value)).collect(),
            Some(Body::Multipart(parts)) => parts
                .iter()
                .map(|part| {
                    let data = match &part.data {
                        PartData::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        PartData::File => "(file)".into(),
                    };
                    let name = part.filename.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
                    format!("{}{name} [{}]: {data}\n", part.name, part.content_type.as_deref().unwrap_or(""))
                })
                .collect(),
            Some(Body::File(content_type)) => format!("(file) [{content_type}]"),
        }
    }

    /// The file of that name, when it is there.
    #[must_use]
    pub fn stored(&self, name: &str) -> Option<Vec<u8>> {
        self.files.borrow().get(name).cloned()
    }

    /// Fails the test if something that was expected did not come.
    ///
    /// # Panics
    /// Then.
    pub fn finish(&self) {
        let missing: Vec<String> =
            self.expected.borrow().iter().map(|expected| expected.line.clone()).collect();
        assert!(missing.is_empty(), "expected, but never sent: {missing:#?}");
    }
}

impl Peer for Script {
    fn send(&self, request: Request) -> Result<Response, Error> {
        let line = request.line();
        let next = self.expected.borrow_mut().pop_front();
        self.sent.borrow_mut().push(request);
        match next {
            Some(expected) => {
                assert_eq!(line, expected.line, "another request was expected");
                expected.outcome
            }
            None => {
                assert_eq!(line, "", "no further request was expected");
                Err(Error::internal("unexpected request"))
            }
        }
    }

    fn origin(&self) -> String {
        self.origin.clone()
    }
}

impl Files for Script {
    fn size(&self, name: &str) -> Result<u64, Error> {
        match self.files.borrow().get(name) {
            Some(data) => Ok(data.len() as u64),
            None => Err(Error::not_found(format!("there is no file `{name}`"))),
        }
    }

    fn upload(&self, request: Request, name: &str) -> Result<Response, Error> {
        self.size(name)?;
        self.send(request)
    }

    fn download(
        &self,
        request: Request,
        name: &str,
        _options: &DownloadOptions,
    ) -> Result<Downloaded, Error> {
        let response = self.send(request)?;
        if !response.is_success() {
            return Ok(Downloaded::Answered(response));
        }
        let stored = Transfer {
            name: name.into(),
            bytes: response.body.len() as u64,
            sha256: "0".repeat(64),
            content_type: response.header("content-type").map(Into::into),
            head: response.body.iter().copied().take(64).collect(),
        };
        self.files.borrow_mut().insert(name.into(), response.body);
        Ok(Downloaded::Stored(stored))
    }
}
