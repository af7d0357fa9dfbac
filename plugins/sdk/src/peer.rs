//! What a plugin talks to, as traits: the host's resources in a component, a script in a test.

use crate::http::{Connection, DownloadOptions, Downloaded, Request, Response};
use crate::storage::Folder;
use crate::types::Error;

/// One system that requests are sent to. [`Connection`] is the real one, [`crate::testing::Script`] the double.
pub trait Peer {
    /// Sends one request and returns the whole response; see `connection.send` in `wit/http.wit` for the errors.
    ///
    /// # Errors
    /// Those of the host, passed on as they are.
    fn send(&self, request: Request) -> Result<Response, Error>;

    /// Scheme, host and port of the peer, e.g. `https://hr.example:443`.
    fn origin(&self) -> String;
}

/// A peer with a folder beside it, for bodies that do not pass through the plugin. [`Shelf`] is the real one.
pub trait Files: Peer {
    /// Length in bytes of the stored file; `not-found` where there is none.
    ///
    /// # Errors
    /// Those of `folder.stat`.
    fn size(&self, name: &str) -> Result<u64, Error>;

    /// Sends the stored file `name` where the request's body says so.
    ///
    /// # Errors
    /// Those of `connection.upload`.
    fn upload(&self, request: Request, name: &str) -> Result<Response, Error>;

    /// Stores the response's body under `name`.
    ///
    /// # Errors
    /// Those of `connection.download`.
    fn download(&self, request: Request, name: &str, options: &DownloadOptions) -> Result<Downloaded, Error>;
}

impl Peer for Connection {
    fn send(&self, request: Request) -> Result<Response, Error> {
        Self::send(self, &request)
    }

    fn origin(&self) -> String {
        Self::origin(self)
    }
}

/// A connection and the folder that its files go to or come from.
#[derive(Clone, Copy)]
pub struct Shelf<'a> {
    /// The peer.
    pub connection: &'a Connection,
    /// Where the files are.
    pub folder: &'a Folder,
}

impl Peer for Shelf<'_> {
    fn send(&self, request: Request) -> Result<Response, Error> {
        self.connection.send(&request)
    }

    fn origin(&self) -> String {
        self.connection.origin()
    }
}

impl Files for Shelf<'_> {
    fn size(&self, name: &str) -> Result<u64, Error> {
        self.folder.stat(name).map(|entry| entry.bytes)
    }

    fn upload(&self, request: Request, name: &str) -> Result<Response, Error> {
        self.connection.upload(&request, self.folder, name)
    }

    fn download(&self, request: Request, name: &str, options: &DownloadOptions) -> Result<Downloaded, Error> {
        self.connection.download(&request, self.folder, name, options)
    }
}
