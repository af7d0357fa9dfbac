//! Downloads that go on where they broke off.
//!
//! An answer is appended only where it is proven to be the rest: 206, a `Content-Range` that begins where it was asked to,
//! no other total and no other validator than before, and its first bytes the same as the last ones that are there. A peer
//! that does not honour `Range` is known by its 200, 416 or wrong `Content-Range`, and sends the whole again.

use std::time::Duration;

use bascule_workflow::failure::{Failure, Kind};
use bytes::Bytes;
use reqwest::header::{HeaderValue, IF_RANGE, RANGE};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::content_range::ContentRange;
use super::landing::{Known, Landing};
use super::{Attempt, Download, HEAD_BYTES, answered};
use crate::http::{CallContext, Downloaded, Inner, Payload, Prepared, Received, Transfer};

/// So many attempts in a row may bring nothing new.
const MOST_IDLE: u32 = 4;
/// So often may the content be another one than before.
const MOST_CHANGES: u32 = 2;
/// What counts as something new, in bytes.
const LEAST_NEWS: u64 = 64 << 10;
/// The first pause; it doubles with each attempt that brings nothing new. Recorders free a session only a while after
/// its end (facts/isapi.md 7.6).
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How one attempt ended, where the call goes on.
enum End {
    /// All of it is there.
    Whole,
    /// Something else came.
    Other(Attempt),
    /// It broke off; what is there may be of use.
    Broken(Failure),
    /// The peer has other content by now; nothing is there any more.
    Changed(Failure),
}

/// One download and what it has come to.
struct Resuming<'a> {
    download: &'a Download<'a>,
    inner: &'a Inner,
    request: &'a Prepared,
    context: &'a CallContext,
    landing: Landing,
    /// The peer has shown that it does not honour `Range`.
    sends_only_whole: bool,
}

/// Runs a download with `resume`.
pub(super) async fn run(
    download: &Download<'_>,
    inner: &Inner,
    request: &Prepared,
    context: &CallContext,
) -> Result<Downloaded, Failure> {
    if request.headers.contains_key(RANGE) {
        let text = "a download with `resume` writes the header `Range` itself";
        return Err(Failure::new(Kind::InvalidInput, text));
    }
    let identity = identity(request, download.options.expected_bytes);
    let landing = Landing::open(download.folder, download.name, identity, context).await?;
    let mut resuming = Resuming { download, inner, request, context, landing, sends_only_whole: false };
    let outcome = resuming.go_on().await;
    let Resuming { mut landing, sends_only_whole, .. } = resuming;
    let answer = match outcome {
        Ok(None) => {
            let head = landing.head(HEAD_BYTES).await?;
            let (bytes, content_type) = (landing.bytes(), landing.known.content_type.clone());
            let (entry, sha256) = landing.finish(download.options.overwrite).await?;
            let transfer = Transfer { name: entry.name, bytes, sha256, content_type, head };
            return Ok(Downloaded::Stored(transfer));
        }
        Ok(Some(answer)) => Ok(answer),
        Err(failure) => Err(failure),
    };
    // Whoever sends only the whole makes what is there useless; so does an end that is not the transfer's fault.
    if landing.bytes() == 0 || sends_only_whole {
        landing.discard().await?;
    } else {
        landing.keep().await;
    }
    answer
}

impl Resuming<'_> {
    /// Attempts until all is there (`None`), something else was answered, or nothing new comes any more.
    async fn go_on(&mut self) -> Result<Option<Downloaded>, Failure> {
        let (mut reached, mut idle, mut changes, mut renewed) = (self.landing.bytes(), 0, 0, false);
        loop {
            let failure = match self.attempt().await? {
                End::Whole => return Ok(None),
                End::Other(Attempt::Done(done)) => return Ok(Some(*done)),
                End::Other(Attempt::TokenExpired(answer)) if renewed => {
                    return Ok(Some(Downloaded::Answered(answer)));
                }
                End::Other(Attempt::TokenExpired(_)) => {
                    renewed = true;
                    continue;
                }
                End::Changed(_) if changes < MOST_CHANGES => {
                    (reached, idle, changes) = (0, 0, changes + 1);
                    self.pause(FIRST_PAUSE).await?;
                    continue;
                }
                End::Changed(failure) => return Err(failure),
                End::Broken(failure) => failure,
            };
            let there = self.landing.bytes();
            if there >= reached + LEAST_NEWS {
                (reached, idle) = (there, 0);
            } else {
                idle += 1;
            }
            // What never began is the caller's to repeat, and so is what begins anew each time; only where a part was
            // refused the whole is asked for once.
            let goes_on = if self.sends_only_whole { there == 0 && idle == 1 } else { there > 0 };
            if !goes_on || idle >= MOST_IDLE {
                return Err(failure);
            }
            tracing::info!(
                file = self.download.name,
                bytes = there,
                idle,
                "a transfer broke off and goes on"
            );
            self.pause(FIRST_PAUSE * 2_u32.pow(idle)).await?;
        }
    }

    async fn attempt(&mut self) -> Result<End, Failure> {
        let from = if self.sends_only_whole { 0 } else { self.landing.resume_at() };
        let asks_on = from > 0;
        let mut request = self.request.clone();
        if asks_on {
            let range = HeaderValue::from_str(&format!("bytes={from}-")).map_err(unsendable)?;
            request.headers.insert(RANGE, range);
            // Only a strong one vouches for bytes (RFC 9110 section 13.1.5).
            if let Some(etag) = self.landing.known.etag.as_ref().filter(|etag| etag.starts_with('"')) {
                request.headers.insert(IF_RANGE, HeaderValue::from_str(etag).map_err(unsendable)?);
            }
        }
        let mut received = match self.inner.run(request, self.context).await {
            Ok(received) => received,
            Err(failure) if self.is_break(&failure) => return Ok(End::Broken(failure)),
            Err(failure) => return Err(failure),
        };
        match received.status {
            206 => self.rest(&mut received, from, asks_on).await,
            416 if asks_on => {
                self.forget().await?;
                Ok(End::Broken(protocol(&received, "has no such part of it any more")))
            }
            200..=299 => self.whole(&mut received, asks_on).await,
            // Busy with the session that has just ended.
            status @ (408 | 429 | 500 | 502 | 503 | 504) if asks_on => {
                let text = format!("{} answered {status} when it was asked for the rest", received.peer());
                Ok(End::Broken(Failure::new(Kind::Busy, text).with_code("host:not-resumed")))
            }
            _ => {
                let body = received.beginning(super::ANSWER_BYTES, self.context).await?;
                Ok(End::Other(answered(self.inner, &received, body.into()).await))
            }
        }
    }

    /// 200: the whole from its beginning, whatever was asked for.
    async fn whole(&mut self, received: &mut Received, asks_on: bool) -> Result<End, Failure> {
        let (first, ended) = match self.download.beginning(received, self.context).await {
            Ok(beginning) => beginning,
            Err(failure) if self.is_break(&failure) => return Ok(End::Broken(failure)),
            Err(failure) => return Err(failure),
        };
        if self.download.is_answer(&first) {
            return Ok(End::Other(self.download.answer(self.inner, received, first, self.context).await?));
        }
        self.sends_only_whole |= asks_on;
        self.landing.clear().await?;
        self.landing.known = known(received, None);
        self.landing.write(&first).await?;
        let total = received.announced_bytes().or(self.download.options.expected_bytes);
        if !ended && let Err(broken) = self.receive(received, total).await? {
            return Ok(End::Broken(broken));
        }
        self.complete(received)
    }

    /// 206: a part; only the one that was asked for is of use.
    async fn rest(&mut self, received: &mut Received, from: u64, asked: bool) -> Result<End, Failure> {
        let range = received.header("content-range").as_deref().and_then(ContentRange::parse);
        let overlap = self.landing.bytes() - from;
        let fits = |range: &ContentRange| asked && range.first == from && range.bytes() >= overlap;
        let Some(range) = range.filter(fits) else {
            if !asked {
                return Err(protocol(received, "sent a part although the whole was asked for"));
            }
            self.forget().await?;
            return Ok(End::Broken(protocol(received, "sent another part than it was asked for")));
        };
        let (before, now) = (&self.landing.known, known(received, range.total));
        let differs = |one: &Option<String>, other: &Option<String>| {
            one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one != other)
        };
        let changed = before.total.zip(now.total).is_some_and(|(before, now)| before != now)
            || differs(&before.etag, &now.etag)
            || differs(&before.last_modified, &now.last_modified);
        if changed {
            return self.anew(received).await;
        }
        let mut expected = Bytes::from(self.landing.tail(from).await?);
        let total = range.total.or(self.download.options.expected_bytes);
        // First what is there already.
        while !expected.is_empty() {
            let data = match received.piece(self.context).await {
                Ok(Some(data)) => data,
                Ok(None) => return Ok(End::Broken(too_short(received, self.landing.bytes(), total))),
                Err(failure) if self.is_break(&failure) => return Ok(End::Broken(failure)),
                Err(failure) => return Err(failure),
            };
            let same = data.len().min(expected.len());
            if expected.split_to(same)[..] != data[..same] {
                return self.anew(received).await;
            }
            let Some(news) = data.get(same..).filter(|news| !news.is_empty()) else { continue };
            self.landing.write(news).await?;
        }
        self.landing.known.total = self.landing.known.total.or(range.total);
        let end = self.receive(received, total).await?;
        match (range.total, end) {
            // However the connection ended: it is all there.
            (Some(total), _) if self.landing.bytes() == total => self.complete(received),
            (Some(total), _) if self.landing.bytes() > total => self.anew(received).await,
            (_, Err(broken)) => Ok(End::Broken(broken)),
            (Some(total), Ok(())) => Ok(End::Broken(too_short(received, self.landing.bytes(), Some(total)))),
            (None, Ok(())) => self.complete(received),
        }
    }

    /// Writes what comes until the end; the inner failure is a break.
    async fn receive(
        &mut self,
        received: &mut Received,
        total: Option<u64>,
    ) -> Result<Result<(), Failure>, Failure> {
        loop {
            if let Some(progress) = &self.context.progress {
                progress(self.landing.bytes(), total);
            }
            match received.piece(self.context).await {
                Ok(Some(data)) => self.landing.write(&data).await?,
                Ok(None) => return Ok(Ok(())),
                Err(failure) if self.is_break(&failure) => return Ok(Err(failure)),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The body came to its end; is it all?
    fn complete(&self, received: &Received) -> Result<End, Failure> {
        let bytes = self.landing.bytes();
        match self.download.options.expected_bytes.filter(|expected| bytes < *expected) {
            None => Ok(End::Whole),
            // The peer itself says that there is no more.
            Some(expected) if self.landing.known.total == Some(bytes) => {
                Err(too_short(received, bytes, Some(expected)))
            }
            Some(expected) => Ok(End::Broken(too_short(received, bytes, Some(expected)))),
        }
    }

    /// The content is another one by now.
    async fn anew(&mut self, received: &Received) -> Result<End, Failure> {
        self.landing.clear().await?;
        Ok(End::Changed(protocol(received, "has other content there by now")))
    }

    /// The peer does not do ranges, or not rightly.
    async fn forget(&mut self) -> Result<(), Failure> {
        self.sends_only_whole = true;
        self.landing.clear().await
    }

    /// True for what another attempt may mend.
    fn is_break(&self, failure: &Failure) -> bool {
        matches!(failure.kind, Kind::Offline | Kind::Timeout)
            && Instant::now() < self.context.deadline
            && !self.context.cancel.is_cancelled()
    }

    async fn pause(&self, time: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(crate::http::cancelled()),
            () = tokio::time::sleep_until(self.context.deadline) => Err(crate::http::time_is_up()),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// What makes two requests ask for the same bytes. The method is not in it: recorders differ in which one they take.
fn identity(request: &Prepared, expected_bytes: Option<u64>) -> String {
    let mut hash = Sha256::new();
    let body = match &request.payload {
        Payload::Whole(data) => data.as_ref(),
        Payload::Empty | Payload::File(_) => b"",
    };
    for part in [request.path.as_bytes(), request.query.as_bytes(), body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.update(format!("{expected_bytes:?}"));
    hex::encode(hash.finalize())
}

fn known(received: &Received, total: Option<u64>) -> Known {
    Known {
        total,
        etag: received.header("etag"),
        last_modified: received.header("last-modified"),
        content_type: received.header("content-type"),
    }
}

fn too_short(received: &Received, bytes: u64, expected: Option<u64>) -> Failure {
    let of = expected.map(|expected| format!(" of {expected}")).unwrap_or_default();
    Failure::new(Kind::Protocol, format!("{} sent {bytes}{of} bytes; nothing was stored", received.peer()))
        .with_code("host:too-short")
        .with_effect(received.effect())
}

fn protocol(received: &Received, what: &str) -> Failure {
    Failure::new(Kind::Protocol, format!("{} {what}; nothing was stored", received.peer()))
        .with_code("host:not-resumed")
        .with_effect(received.effect())
}

fn unsendable(error: reqwest::header::InvalidHeaderValue) -> Failure {
    Failure::new(Kind::Internal, format!("a header cannot be sent: {error}"))
}
