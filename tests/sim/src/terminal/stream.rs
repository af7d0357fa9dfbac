//! `alertStream`: the terminal tells what happens to whoever listens (`facts/isapi.md 5.2`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::Device;
use super::alarm;
use super::answer::Call;
use super::extras::Happening;
use crate::ledger::{Kind, Note};
use crate::quirks::Quirks;
use crate::wire::live::{Live, Tap};
use crate::wire::{Answer, Reply};

const BOUNDARY: &str = "MIME_boundary";

/// A stream, or the refusal of one too many.
pub(super) fn open(call: &Call<'_>) -> Reply {
    let Some(device) = call.device.myself.get().and_then(std::sync::Weak::upgrade) else {
        return call.error("deviceError", "").into();
    };
    let before = device.streams.fetch_add(1, Ordering::SeqCst);
    // Counted down when it is dropped.
    let listener = Listener {
        note: device.note(call.request, Kind::EventTold, &call.known),
        state: Mutex::new(Listening { waiting: VecDeque::new(), from: None, parts: 0, over: false }),
        device,
    };
    if before >= call.quirks.events.max_streams {
        return Answer { status: 403, ..call.error("invalidOperation", "") }.into();
    }
    let kind = if call.quirks.events.boundary_told {
        format!("multipart/mixed; boundary={BOUNDARY}")
    } else {
        "multipart/mixed".to_owned()
    };
    let headers = vec![("MIME-Version".to_owned(), "1.0".to_owned()), ("Content-Type".to_owned(), kind)];
    Reply::Live(Live { headers, tap: Arc::new(listener) })
}

struct Listener {
    device: Arc<Device>,
    note: Note,
    state: Mutex<Listening>,
}

struct Listening {
    waiting: VecDeque<Bytes>,
    /// The place in the log of the first event that was not told; none before the first look.
    from: Option<usize>,
    /// Whole parts so far.
    parts: u64,
    /// The connection ends when nothing waits any more.
    over: bool,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a listener at {}", self.device.id)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.device.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tap for Listener {
    fn next(&self) -> BoxFuture<'_, Option<Bytes>> {
        async move {
            let mut news = self.device.news.subscribe();
            loop {
                let quirks = self.device.quirks();
                {
                    let mut state = self.state();
                    if let Some(piece) = state.waiting.pop_front() {
                        return Some(piece);
                    }
                    if state.over {
                        return None;
                    }
                }
                if self.is_mute(&quirks) {
                    std::future::pending::<()>().await;
                }
                if self.tell_news(&quirks) {
                    continue;
                }
                let beat = quirks.events.heartbeat_ms;
                let heartbeat = async {
                    match beat {
                        0 => std::future::pending().await,
                        beat => tokio::time::sleep(Duration::from_millis(beat)).await,
                    }
                };
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return None },
                    () = heartbeat => {
                        let document = alarm::heartbeat(&self.device, &quirks);
                        self.tell(&quirks, &part(&quirks, &document, None));
                    }
                }
            }
        }
        .boxed()
    }
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, Listening> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_mute(&self, quirks: &Quirks) -> bool {
        quirks.events.mute_after.is_some_and(|parts| self.state().parts >= parts)
    }

    /// Whether there was anything.
    fn tell_news(&self, quirks: &Quirks) -> bool {
        let log = self.device.extras().log.clone();
        let (from, first) = {
            let mut state = self.state();
            let from = state.from.replace(log.len());
            (from.unwrap_or(log.len().saturating_sub(quirks.events.history)).min(log.len()), from.is_none())
        };
        let Some(news) = log.get(from..).filter(|news| !news.is_empty()) else { return false };
        let news: Vec<&Happening> = news.iter().collect();
        for one in news {
            let document = alarm::document(&self.device, quirks, one, !first);
            let bytes = part(quirks, &document, alarm::picture(quirks, one).as_ref());
            for _ in 0..=u8::from(quirks.events.twice) {
                if self.tell(quirks, &bytes) {
                    let subject = Some(one.serial.to_string());
                    self.device.ledger.write(Note { subject, ..self.note.clone() });
                }
            }
        }
        true
    }

    /// Puts a part in line, whole or cut; whether it is whole.
    fn tell(&self, quirks: &Quirks, bytes: &[u8]) -> bool {
        let mut state = self.state();
        if state.over || quirks.events.mute_after.is_some_and(|parts| state.parts >= parts) {
            return false;
        }
        let cut = quirks.events.cut_after.is_some_and(|parts| state.parts >= parts);
        let shown = if cut { bytes.get(..bytes.len() / 2).unwrap_or_default() } else { bytes };
        let size =
            if quirks.events.piece_bytes == 0 { shown.len().max(1) } else { quirks.events.piece_bytes };
        state.waiting.extend(shown.chunks(size).map(Bytes::copy_from_slice));
        state.over = cut;
        state.parts += u64::from(!cut);
        !cut
    }
}

/// One event with its picture, as this terminal writes them.
fn part(quirks: &Quirks, document: &serde_json::Value, picture: Option<&Bytes>) -> Vec<u8> {
    let habits = &quirks.events;
    let end = if habits.line_feed_only { "\n" } else { "\r\n" };
    let (kind, body) = if habits.xml {
        ("application/xml; charset=\"UTF-8\"", alarm::xml(quirks, document))
    } else {
        ("application/json; charset=\"UTF-8\"", document.to_string())
    };
    let length = |bytes: usize| {
        if habits.content_length { format!("Content-Length: {bytes}{end}") } else { String::new() }
    };
    let mut all = String::new();
    if habits.nested_headers {
        all.push_str(&format!("Content-Type: multipart/mixed; boundary={BOUNDARY}{end}{end}"));
    }
    all.push_str(&format!("--{BOUNDARY}{end}"));
    if habits.nested_headers {
        all.push_str(&format!("Content-Type: multipart/mixed{end}{end}"));
    }
    all.push_str(&format!("Content-Type: {kind}{end}{}{end}{body}{end}", length(body.len())));
    let mut all = all.into_bytes();
    if let Some(picture) = picture {
        let head = format!(
            "--{BOUNDARY}{end}Content-Disposition: form-data; name=\"Picture\"; filename=\"Picture.jpg\"{end}\
             Content-Type: image/pjpeg{end}{}{end}",
            length(picture.len())
        );
        all.extend(head.as_bytes());
        all.extend(picture);
        all.extend(end.as_bytes());
    }
    all
}
