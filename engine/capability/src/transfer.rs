//! Downloads: a body streamed into a folder under a temporary name, hashed on its way, named when it is complete.

mod content_range;
mod landing;
mod resume;

use bascule_workflow::failure::{Failure, Kind};
use bytes::BytesMut;
use sha2::{Digest, Sha256};

use crate::http::{CallContext, DownloadOptions, Downloaded, Inner, Prepared, Received, Response, Transfer};
use crate::storage::Folder;

/// An answer that is not the file is cut here, in bytes.
const ANSWER_BYTES: usize = 64 << 10;
/// How much of the beginning is kept, in bytes.
const HEAD_BYTES: usize = 64;
/// White space before an answer that is looked past, in bytes.
const BLANK_BYTES: usize = 4 << 10;

/// Where a download goes.
pub(crate) struct Download<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a str,
    pub(crate) options: DownloadOptions,
}

impl Download<'_> {
    pub(crate) async fn run(
        self,
        inner: &Inner,
        request: &Prepared,
        context: &CallContext,
    ) -> Result<Downloaded, Failure> {
        self.check_name().await?;
        if self.options.resume {
            return resume::run(&self, inner, request, context).await;
        }
        if let Attempt::Done(done) = self.attempt(inner, request, context).await? {
            return Ok(*done);
        }
        match self.attempt(inner, request, context).await? {
            Attempt::Done(done) => Ok(*done),
            Attempt::TokenExpired(answer) => Ok(Downloaded::Answered(answer)),
        }
    }

    async fn attempt(
        &self,
        inner: &Inner,
        request: &Prepared,
        context: &CallContext,
    ) -> Result<Attempt, Failure> {
        let mut received = inner.run(request.clone(), context).await?;
        if !matches!(received.status, 200..=299) {
            let body = received.beginning(ANSWER_BYTES, context).await?;
            return Ok(answered(inner, &received, body.into()).await);
        }
        let (first, ended) = self.beginning(&mut received, context).await?;
        if self.is_answer(&first) {
            return self.answer(inner, &mut received, first, context).await;
        }
        let total = received.announced_bytes().or(self.options.expected_bytes);
        let mut file = self.folder.create_temporary(self.name).await?;
        let mut hash = Sha256::new();
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let mut bytes = 0_u64;
        let mut piece = (!first.is_empty()).then(|| first.freeze());
        if piece.is_none() && !ended {
            piece = received.piece(context).await?;
        }
        while let Some(data) = piece {
            let room = HEAD_BYTES - head.len();
            head.extend_from_slice(data.get(..room).unwrap_or(&data));
            hash.update(&data);
            file.write(&data).await?;
            bytes += u64::try_from(data.len()).unwrap_or(0);
            if let Some(progress) = &context.progress {
                progress(bytes, total);
            }
            piece = if ended { None } else { received.piece(context).await? };
        }
        if let Some(expected) = self.options.expected_bytes.filter(|expected| bytes < *expected) {
            return Err(Failure::new(
                Kind::Protocol,
                format!("{} sent {bytes} of {expected} bytes; nothing was stored", received.peer()),
            )
            .with_code("host:too-short")
            .with_effect(received.effect()));
        }
        let content_type = received.header("content-type");
        // The peer is done; it need not wait for our disk.
        drop(received);
        let entry = file.finish(self.options.overwrite).await?;
        let sha256 = hex::encode(hash.finalize());
        let transfer = Transfer { name: entry.name, bytes, sha256, content_type, head };
        Ok(Attempt::Done(Box::new(Downloaded::Stored(transfer))))
    }

    /// So much of the body that a file can be told from an answer, and whether that was all.
    async fn beginning(
        &self,
        received: &mut Received,
        context: &CallContext,
    ) -> Result<(BytesMut, bool), Failure> {
        let mut first = BytesMut::new();
        while !self.is_decidable(&first) {
            match received.piece(context).await? {
                Some(piece) => first.extend_from_slice(&piece),
                None => return Ok((first, true)),
            }
        }
        Ok((first, false))
    }

    /// The rest of an answer that came in place of the file.
    async fn answer(
        &self,
        inner: &Inner,
        received: &mut Received,
        first: BytesMut,
        context: &CallContext,
    ) -> Result<Attempt, Failure> {
        let mut body = first;
        while body.len() < ANSWER_BYTES {
            let Some(piece) = received.piece(context).await? else {
                break;
            };
            body.extend_from_slice(&piece);
        }
        body.truncate(ANSWER_BYTES);
        Ok(answered(inner, received, body).await)
    }

    /// Before anything is sent: a name that can be used and, unless it may be replaced, is free.
    async fn check_name(&self) -> Result<(), Failure> {
        match self.folder.stat(self.name).await {
            Ok(_there) if self.options.overwrite => Ok(()),
            Ok(_there) => Err(Failure::new(
                Kind::Conflict,
                format!("there is already a file `{}` in the folder `{}`", self.name, self.folder.name()),
            )),
            Err(failure) if failure.kind == Kind::NotFound => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// True once there is enough to tell a file from an answer.
    fn is_decidable(&self, first: &[u8]) -> bool {
        let longest = self.options.answer_prefixes.iter().map(String::len).max().unwrap_or(0);
        longest == 0 || first.len() >= BLANK_BYTES || without_blanks(first).len() >= longest
    }

    fn is_answer(&self, first: &[u8]) -> bool {
        let first = without_blanks(first);
        self.options
            .answer_prefixes
            .iter()
            .any(|prefix| !prefix.is_empty() && first.starts_with(prefix.as_bytes()))
    }
}

enum Attempt {
    Done(Box<Downloaded>),
    /// The next attempt takes a new token.
    TokenExpired(Response),
}

async fn answered(inner: &Inner, received: &Received, body: BytesMut) -> Attempt {
    let body = body.freeze();
    let is_expired = inner.is_expired_token(received, &body).await;
    let response = inner.response(received, body);
    if is_expired {
        Attempt::TokenExpired(response)
    } else {
        Attempt::Done(Box::new(Downloaded::Answered(response)))
    }
}

/// Past a byte order mark and white space.
fn without_blanks(first: &[u8]) -> &[u8] {
    first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start()
}
