//! `bascule:host/http`: requests to the peer that the call was lent.

use std::sync::Arc;
use std::time::Duration;

use bascule_capability::http::{
    Body, Connection, DownloadOptions, Downloaded, Incoming, Method, Pace, Part, PartData, Request, Response,
    Transfer,
};
use bascule_capability::storage::Folder;
use tokio::sync::Mutex;
use wasmtime::component::Resource;

use super::bindings::bascule::host::http;
use super::{Refusal, State, Touch};

/// A response that a guest reads piece by piece.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct IncomingHandle {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Mutex<Incoming>>,
}

impl State {
    fn connection(&self, connection: &Resource<Connection>) -> wasmtime::Result<Connection> {
        self.enter()?;
        Ok(self.table.get(connection)?.clone())
    }
}

impl http::Host for State {}

impl http::HostConnection for State {
    async fn name(&mut self, connection: Resource<Connection>) -> wasmtime::Result<String> {
        Ok(self.connection(&connection)?.name().to_owned())
    }

    async fn origin(&mut self, connection: Resource<Connection>) -> wasmtime::Result<String> {
        Ok(self.connection(&connection)?.origin().to_owned())
    }

    async fn send(
        &mut self,
        connection: Resource<Connection>,
        request: http::Request,
    ) -> Result<http::Response, Refusal> {
        let connection = self.connection(&connection)?;
        let request = Request::from(request);
        let context = self.shared.requests.clone();
        let response = self
            .io(touch(&request), Box::pin(async move { connection.send(request, &context).await }))
            .await?;
        Ok(response.into())
    }

    async fn download(
        &mut self,
        connection: Resource<Connection>,
        request: http::Request,
        folder: Resource<Folder>,
        name: String,
        options: http::DownloadOptions,
    ) -> Result<http::Downloaded, Refusal> {
        let connection = self.connection(&connection)?;
        let folder = self.folder(&folder)?;
        let request = Request::from(request);
        let context = self.shared.requests.clone();
        // A download that fails leaves nothing under its name: only the request itself can change something.
        let touch = touch(&request);
        let work =
            Box::pin(
                async move { connection.download(request, &folder, &name, options.into(), &context).await },
            );
        Ok(self.io(touch, work).await?.into())
    }

    async fn upload(
        &mut self,
        connection: Resource<Connection>,
        request: http::Request,
        folder: Resource<Folder>,
        name: String,
    ) -> Result<http::Response, Refusal> {
        let connection = self.connection(&connection)?;
        let folder = self.folder(&folder)?;
        let request = Request::from(request);
        let context = self.shared.requests.clone();
        let work = Box::pin(async move { connection.upload(request, &folder, &name, &context).await });
        Ok(self.io(Touch::Changes, work).await?.into())
    }

    async fn open(
        &mut self,
        connection: Resource<Connection>,
        request: http::Request,
    ) -> Result<Resource<IncomingHandle>, Refusal> {
        let connection = self.connection(&connection)?;
        let request = Request::from(request);
        let context = self.shared.requests.clone();
        let incoming = self
            .io(touch(&request), Box::pin(async move { connection.open(request, &context).await }))
            .await?;
        Ok(self.table.push(IncomingHandle {
            status: incoming.status(),
            headers: incoming.headers().to_vec(),
            body: Arc::new(Mutex::new(incoming)),
        })?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl http::HostIncoming for State {
    async fn status(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<u16> {
        self.enter()?;
        Ok(self.table.get(&incoming)?.status)
    }

    async fn headers(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Vec<http::Field>> {
        self.enter()?;
        Ok(fields(self.table.get(&incoming)?.headers.clone()))
    }

    async fn read(
        &mut self,
        incoming: Resource<IncomingHandle>,
        wait: u32,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        self.enter()?;
        let body = self.table.get(&incoming)?.body.clone();
        let context = self.shared.requests.clone();
        let wait = Duration::from_millis(wait.into());
        let piece = self
            .io(Touch::Reads, Box::pin(async move { body.lock().await.read(wait, &context).await }))
            .await?;
        Ok(piece.map(Into::into))
    }

    async fn drop(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<()> {
        // Its socket closes on the runtime that it was opened on.
        let handle = self.table.delete(incoming)?;
        let _entered = self.shared.io.enter();
        std::mem::drop(handle);
        Ok(())
    }
}

fn touch(request: &Request) -> Touch {
    match request.method {
        Method::Get | Method::Head | Method::Options => Touch::Reads,
        Method::Post | Method::Put | Method::Patch | Method::Delete => Touch::Changes,
    }
}

fn pairs(fields: Vec<http::Field>) -> Vec<(String, String)> {
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

fn fields(pairs: Vec<(String, String)>) -> Vec<http::Field> {
    pairs.into_iter().map(|(name, value)| http::Field { name, value }).collect()
}

impl From<http::Request> for Request {
    fn from(request: http::Request) -> Self {
        Self {
            method: match request.method {
                http::Method::Get => Method::Get,
                http::Method::Head => Method::Head,
                http::Method::Post => Method::Post,
                http::Method::Put => Method::Put,
                http::Method::Patch => Method::Patch,
                http::Method::Delete => Method::Delete,
                http::Method::Options => Method::Options,
            },
            path: request.path,
            query: pairs(request.query),
            headers: pairs(request.headers),
            body: match request.body {
                http::Body::Empty => Body::Empty,
                http::Body::Content(content) => {
                    Body::Content { content_type: content.content_type, data: content.data.into() }
                }
                http::Body::Form(form) => Body::Form(pairs(form)),
                http::Body::Multipart(parts) => Body::Multipart(parts.into_iter().map(Into::into).collect()),
                http::Body::File(content_type) => Body::File { content_type },
            },
            pace: match request.pace {
                http::Pace::Normal => Pace::Normal,
                http::Pace::Slow => Pace::Slow,
                http::Pace::Bulk => Pace::Bulk,
            },
        }
    }
}

impl From<http::Part> for Part {
    fn from(part: http::Part) -> Self {
        Self {
            name: part.name,
            filename: part.filename,
            content_type: part.content_type,
            data: match part.data {
                http::PartData::Bytes(bytes) => PartData::Bytes(bytes.into()),
                http::PartData::File => PartData::File,
            },
        }
    }
}

impl From<http::DownloadOptions> for DownloadOptions {
    fn from(options: http::DownloadOptions) -> Self {
        Self {
            expected_bytes: options.expected_bytes,
            answer_prefixes: options.answer_prefixes,
            overwrite: options.overwrite,
            resume: options.resume,
        }
    }
}

impl From<Response> for http::Response {
    fn from(response: Response) -> Self {
        Self { status: response.status, headers: fields(response.headers), body: response.body.into() }
    }
}

impl From<Transfer> for http::Transfer {
    fn from(transfer: Transfer) -> Self {
        Self {
            name: transfer.name,
            bytes: transfer.bytes,
            sha256: transfer.sha256,
            content_type: transfer.content_type,
            head: transfer.head,
        }
    }
}

impl From<Downloaded> for http::Downloaded {
    fn from(downloaded: Downloaded) -> Self {
        match downloaded {
            Downloaded::Stored(transfer) => Self::Stored(transfer.into()),
            Downloaded::Answered(response) => Self::Answered(response.into()),
        }
    }
}
