//! A process that dies at the N-th thing it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bascule_run::RunId;
use bascule_run::journal::{
    Batch, Claim, Filter, Journal, JournalError, LogLine, NewRun, OnceDone, Revision, RunHeader, Timed,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

/// Counts points; at the armed one (and ever after) nothing happens any more, and `crashed` is rung.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    left: AtomicU64,
    crashed: Notify,
}

impl Default for Inner {
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX), crashed: Notify::new() }
    }
}

impl Fault {
    /// The process dies at the n-th point from now, from 1.
    pub(crate) fn arm(&self, n: u64) {
        self.inner.left.store(n, Ordering::SeqCst);
    }

    /// The next process lives.
    pub(crate) fn disarm(&self) {
        self.arm(u64::MAX);
    }

    pub(crate) async fn crashed(&self) {
        self.inner.crashed.notified().await;
    }

    /// One thing that may be the last.
    pub(crate) async fn point(&self) {
        let left = self.inner.left.load(Ordering::SeqCst);
        if left == u64::MAX {
            return;
        }
        if left > 1 {
            self.inner.left.store(left - 1, Ordering::SeqCst);
            return;
        }
        if left == 1 {
            self.inner.left.store(0, Ordering::SeqCst);
            self.inner.crashed.notify_one();
        }
        std::future::pending::<()>().await;
    }
}

/// A journal in front of another: every write may be the last thing that happens, before or after it is kept.
pub(crate) struct FaultyJournal {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) fault: Fault,
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn create(&self, run: NewRun) -> Result<(), JournalError> {
        self.inner.create(run).await
    }

    async fn claim(
        &self,
        run: RunId,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, JournalError> {
        self.fault.point().await;
        let claim = self.inner.claim(run, owner, now, until).await;
        self.fault.point().await;
        claim
    }

    async fn renew(&self, claim: &Claim, until: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(claim, until).await
    }

    async fn release(&self, claim: &Claim) -> Result<(), JournalError> {
        self.inner.release(claim).await
    }

    async fn append(&self, claim: &Claim, batch: Batch) -> Result<(), JournalError> {
        self.fault.point().await;
        let kept = self.inner.append(claim, batch).await;
        self.fault.point().await;
        kept
    }

    async fn revise(&self, run: RunId, at: Timestamp, revision: Revision) -> Result<u32, JournalError> {
        self.inner.revise(run, at, revision).await
    }

    async fn read(&self, run: RunId) -> Result<Vec<Timed>, JournalError> {
        self.inner.read(run).await
    }

    async fn lines(&self, run: RunId) -> Result<Vec<LogLine>, JournalError> {
        self.inner.lines(run).await
    }

    async fn find(&self, prefix: &str) -> Result<RunHeader, JournalError> {
        self.inner.find(prefix).await
    }

    async fn text(&self, run: RunId) -> Result<Arc<str>, JournalError> {
        self.inner.text(run).await
    }

    async fn cancel_asked(&self, run: RunId) -> Result<bool, JournalError> {
        self.inner.cancel_asked(run).await
    }

    async fn free_key(&self, key: &str, now: Timestamp) -> Result<Option<RunId>, JournalError> {
        self.inner.free_key(key, now).await
    }

    async fn runs(&self, filter: &Filter) -> Result<Vec<RunHeader>, JournalError> {
        self.inner.runs(filter).await
    }

    async fn once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, JournalError> {
        self.inner.once(workflow, step, key).await
    }

    async fn deliver(&self, run: RunId, at: Timestamp, name: &str, value: Value) -> Result<(), JournalError> {
        self.inner.deliver(run, at, name, value).await
    }

    async fn delivered(&self, run: RunId, name: &str) -> Result<Vec<Value>, JournalError> {
        self.inner.delivered(run, name).await
    }
}
