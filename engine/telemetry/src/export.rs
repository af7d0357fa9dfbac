//! Sends spans in batches, beside the runs and never in their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::otlp::{Service, request};
use crate::span::Span;

/// So many spans wait at most; what comes beyond is dropped.
const WAITING: usize = 4096;
/// So many go together.
const BATCH: usize = 512;
/// So long it is waited for more of them.
const GATHER: Duration = Duration::from_secs(1);
/// The first wait after a failure; each further one is twice as long, up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Brings a batch to the collector.
#[async_trait]
pub trait Post: Send + Sync {
    /// Sends one `ExportTraceServiceRequest` in JSON. Has its own time limit.
    async fn post(&self, json: String) -> Answer;
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken, but for so many spans.
    Taken {
        /// `partialSuccess.rejectedSpans`
        rejected: u64,
    },
    /// It was not, and may be at another time: nobody is there, 429, 502, 503, 504. Why, in words.
    Later(String),
    /// It was not, and will never be. Why, in words.
    Never(String),
}

impl Answer {
    /// What an answer of HTTP means (OTLP specification 1.x, "OTLP/HTTP Response").
    #[must_use]
    pub fn of_status(status: u16, body: &[u8]) -> Self {
        match status {
            200..=299 => Self::Taken { rejected: crate::otlp::rejected(body) },
            429 | 502 | 503 | 504 => Self::Later(format!("the collector answered {status}")),
            _ => Self::Never(format!("the collector answered {status}")),
        }
    }
}

/// How many spans were sent and dropped since the start. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    inner: Arc<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Spans that the collector took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.inner.sent.load(Ordering::Relaxed)
    }

    /// Spans that were lost: the queue was full, or the collector refused them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    fn sending(&self, sent: u64, dropped: u64) {
        self.inner.sent.fetch_add(sent, Ordering::Relaxed);
        self.inner.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

/// The way in.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Span>,
    counts: Counts,
}

impl Queue {
    /// Takes a span, or drops it; never waits.
    pub(crate) fn put(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.counts.sending(0, 1);
        }
    }
}

pub(crate) struct Exporter {
    queue: Queue,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(crate) fn start(post: Arc<dyn Post>, service: Service) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (counts, stop) = (Counts::default(), CancellationToken::new());
        let sending =
            Sending { post, service, receiver, counts: counts.clone(), stop: stop.clone(), trouble: None };
        Self { queue: Queue { sender, counts }, stop, task: tokio::spawn(sending.run()) }
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.queue.counts.clone()
    }

    pub(crate) async fn stop(mut self, limit: Duration) {
        self.stop.cancel();
        match tokio::time::timeout(limit, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "what sends traces ended early"),
            Err(_late) => {
                self.task.abort();
                tracing::warn!("the last traces could not be delivered in time");
            }
        }
    }
}

/// The task that sends.
struct Sending {
    post: Arc<dyn Post>,
    service: Service,
    receiver: mpsc::Receiver<Span>,
    counts: Counts,
    stop: CancellationToken,
    /// Spans that had been dropped when the collector was last known to be well; set while it is not.
    trouble: Option<u64>,
}

impl Sending {
    async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            self.send(&batch).await;
        }
    }

    /// The next batch; `None` when it is over.
    async fn gather(&mut self) -> Option<Vec<Span>> {
        let mut batch = Vec::new();
        let first = tokio::select! {
            biased;
            span = self.receiver.recv() => span?,
            () = self.stop.cancelled() => return None,
        };
        batch.push(first);
        let gathered = tokio::time::sleep(GATHER);
        tokio::pin!(gathered);
        while batch.len() < BATCH {
            let stopping = self.stop.is_cancelled();
            tokio::select! {
                biased;
                span = self.receiver.recv() => match span {
                    Some(span) => batch.push(span),
                    None => break,
                },
                () = &mut gathered => break,
                // What waits already goes along.
                () = self.stop.cancelled(), if !stopping => {}
                () = std::future::ready(()), if stopping => break,
            }
        }
        Some(batch)
    }

    /// Sends until it is taken, refused for good, or the process ends.
    async fn send(&mut self, batch: &[Span]) {
        let number = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = request(&self.service, batch);
        let mut wait = AGAIN.0;
        loop {
            let stopping = self.stop.is_cancelled();
            match self.post.post(body.clone()).await {
                Answer::Taken { rejected } => {
                    let rejected = rejected.min(number);
                    self.counts.sending(number - rejected, rejected);
                    self.well();
                    return;
                }
                Answer::Never(why) => {
                    self.unwell(&why);
                    self.counts.sending(0, number);
                    return;
                }
                Answer::Later(why) => {
                    self.unwell(&why);
                    if stopping {
                        self.counts.sending(0, number);
                        // One try for all that is left: the process is ending.
                        self.receiver.close();
                        while self.receiver.try_recv().is_ok() {
                            self.counts.sending(0, 1);
                        }
                        return;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            wait = wait.saturating_mul(2).min(AGAIN.1);
        }
    }

    /// Told once, not with each batch.
    fn unwell(&mut self, why: &str) {
        if self.trouble.is_none() {
            self.trouble = Some(self.counts.dropped());
            tracing::warn!(
                why,
                "traces cannot be delivered; runs go on, and beyond {WAITING} waiting spans they are dropped"
            );
        }
    }

    fn well(&mut self) {
        if let Some(before) = self.trouble.take() {
            let dropped = self.counts.dropped().saturating_sub(before);
            tracing::info!(dropped, "traces are delivered again");
        }
    }
}
