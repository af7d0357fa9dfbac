//! What has arrived of a resumable download: an unfinished file, its hash, and the record from which another call goes on.
//!
//! Pieces are gathered and hashed and written beside the receiving. Now and then the file is synced and the record
//! written, also beside it, so that a crash costs at most [`KEEP_EVERY`] bytes. Only what a record vouches for, length and
//! hash, is believed by the next call.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bascule_workflow::failure::{Failure, Kind};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::CallContext;
use crate::storage::{Entry, Folder, Keeper, PartialFile};

/// So much is gathered before it is hashed and written, in bytes.
const WRITE_BYTES: usize = 256 << 10;
/// So much may be lost by a crash, in bytes.
const KEEP_EVERY: u64 = 64 << 20;
/// The end of what is there is fetched again and compared, in bytes.
const OVERLAP_BYTES: u64 = 16 << 10;

/// What is known about the content that the bytes belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Known {
    /// Of all of it; only what a `Content-Range` told.
    pub(super) total: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) content_type: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Record {
    /// Of the request; another one's bytes are of no use.
    identity: String,
    /// So many bytes are on the disk.
    bytes: u64,
    /// Theirs.
    sha256: String,
    known: Known,
}

pub(super) struct Landing {
    part: PartialFile,
    keeper: Keeper,
    file: Arc<File>,
    identity: String,
    pub(super) known: Known,
    /// `None` while it is on its way with pieces that are being written.
    hash: Option<Sha256>,
    writing: Option<JoinHandle<(Sha256, std::io::Result<()>)>>,
    keeping: Option<JoinHandle<std::io::Result<()>>>,
    gathered: Vec<u8>,
    /// Arrived, gathered ones included.
    bytes: u64,
    kept: u64,
}

impl Landing {
    /// Opens what an earlier call left, as far as its record vouches for it.
    pub(super) async fn open(
        folder: &Folder,
        name: &str,
        identity: String,
        context: &CallContext,
    ) -> Result<Self, Failure> {
        let (part, found) = folder.open_partial(name).await?;
        let record = found.record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        let record = record.filter(|record| record.identity == identity && record.bytes <= found.bytes);
        let (keeper, file) = (part.keeper(), part.file());
        let mut landing = Self {
            part,
            keeper,
            file,
            identity,
            known: Known::default(),
            hash: Some(Sha256::new()),
            writing: None,
            keeping: None,
            gathered: Vec::with_capacity(WRITE_BYTES),
            bytes: 0,
            kept: 0,
        };
        if let Some(record) = record {
            let hash = landing.hash_of(record.bytes, context).await?;
            if hex::encode(hash.clone().finalize()) == record.sha256 {
                landing.hash = Some(hash);
                landing.bytes = record.bytes;
                landing.kept = record.bytes;
                landing.known = record.known;
            }
        }
        landing.cut_to(landing.bytes).await?;
        Ok(landing)
    }

    /// How much is there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From where to ask on: a little before the end of what is there. 0 where nothing is.
    pub(super) fn resume_at(&self) -> u64 {
        self.bytes.saturating_sub(OVERLAP_BYTES)
    }

    /// What is there from `at` on.
    pub(super) async fn tail(&mut self, at: u64) -> Result<Vec<u8>, Failure> {
        self.settle().await?;
        let length = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        self.read_at(at, length).await
    }

    /// The first bytes, at most `length`.
    pub(super) async fn head(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        self.settle().await?;
        let length = length.min(usize::try_from(self.bytes).unwrap_or(length));
        self.read_at(0, length).await
    }

    /// Appends.
    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        let mut rest = data;
        while !rest.is_empty() {
            let room = WRITE_BYTES.saturating_sub(self.gathered.len()).min(rest.len());
            let (now, later) = rest.split_at(room);
            self.gathered.extend_from_slice(now);
            self.bytes += u64::try_from(now.len()).unwrap_or(0);
            rest = later;
            if self.gathered.len() >= WRITE_BYTES {
                self.write_out().await?;
            }
        }
        if self.bytes >= self.kept + KEEP_EVERY {
            self.keep_beside().await?;
        }
        Ok(())
    }

    /// Forgets what is there.
    pub(super) async fn clear(&mut self) -> Result<(), Failure> {
        self.settle().await?;
        self.hash = Some(Sha256::new());
        (self.bytes, self.kept) = (0, 0);
        self.known = Known::default();
        self.cut_to(0).await
    }

    /// Makes what is there durable, with its record. A failure to do so costs only bytes.
    pub(super) async fn keep(&mut self) {
        let kept = match self.keep_beside().await {
            Ok(()) => self.kept_beside().await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = kept {
            tracing::warn!(
                file = self.part.name(),
                error = failure.message,
                "an unfinished file is not kept"
            );
        }
    }

    /// Gives the file its name; returns its entry and sha256.
    pub(super) async fn finish(mut self, overwrite: bool) -> Result<(Entry, String), Failure> {
        self.settle().await?;
        self.kept_beside().await?;
        let hash = self.hash.take().unwrap_or_default();
        let entry = self.part.finish(overwrite).await?;
        Ok((entry, hex::encode(hash.finalize())))
    }

    /// Removes it.
    pub(super) async fn discard(mut self) -> Result<(), Failure> {
        self.settle().await?;
        let _of_no_use = self.kept_beside().await;
        self.part.discard().await
    }

    /// Hands what is gathered to the writer, once it is done with what it had.
    async fn write_out(&mut self) -> Result<(), Failure> {
        self.written().await?;
        if self.gathered.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.gathered, Vec::with_capacity(WRITE_BYTES));
        let at = self.bytes - u64::try_from(data.len()).unwrap_or(0);
        let (file, mut hash) = (Arc::clone(&self.file), self.hash.take().unwrap_or_default());
        self.writing = Some(spawn_blocking(move || {
            hash.update(&data);
            let written = file.write_all_at(&data, at);
            (hash, written)
        }));
        Ok(())
    }

    /// Waits for the writer.
    async fn written(&mut self) -> Result<(), Failure> {
        if let Some(writing) = self.writing.take() {
            let (hash, written) = writing.await.map_err(ended_early)?;
            self.hash = Some(hash);
            written.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// All that has arrived is written.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.write_out().await?;
        self.written().await
    }

    /// Begins to make durable what has arrived, once the last time is over.
    async fn keep_beside(&mut self) -> Result<(), Failure> {
        self.settle().await?;
        self.kept_beside().await?;
        let record = Record {
            identity: self.identity.clone(),
            bytes: self.bytes,
            sha256: hex::encode(self.hash.clone().unwrap_or_default().finalize()),
            known: self.known.clone(),
        };
        let record = serde_json::to_vec(&record).map_err(|error| self.failed(error.into()))?;
        let keeper = self.keeper.clone();
        self.keeping = Some(spawn_blocking(move || keeper.keep(&record)));
        self.kept = self.bytes;
        Ok(())
    }

    async fn kept_beside(&mut self) -> Result<(), Failure> {
        if let Some(keeping) = self.keeping.take() {
            keeping.await.map_err(ended_early)?.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    async fn cut_to(&self, bytes: u64) -> Result<(), Failure> {
        let file = Arc::clone(&self.file);
        let cut = spawn_blocking(move || file.set_len(bytes)).await.map_err(ended_early)?;
        cut.map_err(|error| self.failed(error))
    }

    async fn read_at(&self, at: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let file = Arc::clone(&self.file);
        let read = spawn_blocking(move || {
            let mut data = vec![0; length];
            file.read_exact_at(&mut data, at)?;
            Ok(data)
        });
        read.await.map_err(ended_early)?.map_err(|error| self.failed(error))
    }

    /// The hash of the first bytes of the file.
    async fn hash_of(&self, bytes: u64, context: &CallContext) -> Result<Sha256, Failure> {
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < bytes {
            if context.cancel.is_cancelled() {
                return Err(Failure::new(Kind::Cancelled, "the call was cancelled"));
            }
            let file = Arc::clone(&self.file);
            let length = bytes.saturating_sub(at).min(4 << 20);
            let step = spawn_blocking(move || {
                let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
                file.read_exact_at(&mut data, at)?;
                hash.update(&data);
                std::io::Result::Ok(hash)
            });
            hash = step.await.map_err(ended_early)?.map_err(|error| self.failed(error))?;
            at += length;
        }
        Ok(hash)
    }

    fn failed(&self, error: std::io::Error) -> Failure {
        crate::storage::failed("write", self.part.name())(error)
    }
}

fn ended_early(error: tokio::task::JoinError) -> Failure {
    Failure::new(Kind::Internal, format!("file work ended early: {error}"))
}
