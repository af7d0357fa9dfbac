//! `ContentMgmt/download`: recordings, made while they are sent (`facts/isapi.md 7.6`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::answer::Call;
use super::{DownloadMethod, RangeAnswer, Segment, scan};
use crate::ledger::{Kind, Ledger, Note};
use crate::wire::generated::{Generated, Source};
use crate::wire::{Answer, Reply};

pub(super) fn download(call: &Call<'_>) -> Reply {
    let habits = call.habits;
    let fits = matches!(
        (call.request.method.as_str(), habits.download),
        ("GET", DownloadMethod::Both | DownloadMethod::Get)
            | ("POST", DownloadMethod::Both | DownloadMethod::Post)
    );
    if !fits {
        return refuse(call, "-", "methodNotAllowed", call.error("methodNotAllowed"));
    }
    let Some(segment) = wanted(call) else {
        return refuse(call, "-", "badXmlContent", call.error("badXmlContent"));
    };
    if let Some(code) = &habits.xml_in_200 {
        return refuse(call, &segment.name, code, Answer { status: 200, ..call.error(code) });
    }
    let Some(lease) = Lease::take(&call.machine.downloading, habits.max_parallel) else {
        return refuse(call, &segment.name, "deviceBusy", call.error("deviceBusy"));
    };
    let whole = (0, segment.bytes);
    let ((from, to), segment) = match (range(call, segment.bytes), habits.range) {
        (None, _) | (_, RangeAnswer::Ignored) => (whole, segment),
        (Some(part), RangeAnswer::Honoured) => (part, segment),
        (Some(_), RangeAnswer::NotSatisfiable) => {
            let answer = Answer::empty(416).with("Content-Range", format!("bytes */{}", segment.bytes));
            return refuse(call, &segment.name, "416", answer);
        }
        (Some((from, to)), RangeAnswer::OtherPart) => ((0, to - from), segment),
        (Some(part), RangeAnswer::OtherContent) => (part, segment.with_other_content()),
    };
    let partial = (from, to) != whole;
    let mut headers = vec![("Content-Type".to_owned(), "video/mp4".to_owned())];
    if partial {
        headers.push(("Content-Range".to_owned(), format!("bytes {from}-{}/{}", to - 1, segment.bytes)));
    }
    let note = Note {
        subject: Some(segment.name.clone()),
        ..call.machine.note(call.request, Kind::SegmentSent, &call.known)
    };
    let sending = Sending {
        segment,
        from,
        expected: to - from,
        sent: AtomicU64::new(0),
        ledger: call.machine.ledger.clone(),
        note,
        _lease: lease,
    };
    Reply::Generated(Generated {
        status: if partial { 206 } else { 200 },
        headers,
        source: Arc::new(sending),
        from,
        to,
        length: habits.length,
        cut_after: habits.cut_at,
        slow: habits.slow,
        close: false,
    })
}

fn refuse(call: &Call<'_>, subject: &str, code: &str, answer: Answer) -> Reply {
    call.note(Kind::SegmentRefused, subject, Some(code), "");
    answer.into()
}

/// The segment that the body names, by its name, or by track and begin where it tells none.
fn wanted(call: &Call<'_>) -> Option<Segment> {
    let text = String::from_utf8_lossy(&call.request.body);
    let (root, _) = scan::document(&text)?;
    if root.name != "downloadRequest" || !root.attributes.contains("version=\"1.0\"") {
        return None;
    }
    let uri = url::Url::parse(root.at(&["playbackURI"])?).ok()?;
    let parameter =
        |name: &str| uri.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let track = uri.path().trim_matches('/').rsplit('/').next()?.parse().ok()?;
    let start = parameter("starttime")?;
    let name = parameter("name");
    call.machine.track_segments(call.habits, track).into_iter().find(|segment| match &name {
        Some(name) => segment.name == *name,
        None => call.stamp(segment.start) == start,
    })
}

/// `Range: bytes=FROM-` or `bytes=FROM-TO`; the end is not included.
fn range(call: &Call<'_>, bytes: u64) -> Option<(u64, u64)> {
    let (from, to) = call.request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let to = if to.is_empty() { bytes } else { to.parse::<u64>().ok()?.saturating_add(1).min(bytes) };
    (from < to).then_some((from, to))
}

/// One of the few downloads that a recorder allows at once.
#[derive(Debug)]
struct Lease(Arc<AtomicUsize>);

impl Lease {
    fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let taken =
            count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held < most).then_some(held + 1));
        taken.ok().map(|_| Self(Arc::clone(count)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Sending {
    segment: Segment,
    from: u64,
    expected: u64,
    sent: AtomicU64,
    ledger: Ledger,
    note: Note,
    _lease: Lease,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("segment", &self.segment.name).finish_non_exhaustive()
    }
}

impl Source for Sending {
    fn fill(&self, at: u64, into: &mut [u8]) {
        self.segment.fill(at, into);
    }

    fn sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let sent = self.sent.load(Ordering::Relaxed);
        let from = if self.from == 0 { String::new() } else { format!(" from {}", self.from) };
        let text = format!("{sent} of {} bytes{from}", self.expected);
        self.ledger.write(Note { note: Some(text), ..self.note.clone() });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::recorder::{Machine, RecorderHabits};
    use crate::wire::Request;

    fn ask(machine: &Machine, method: &str, range: Option<&str>) -> Reply {
        let habits = RecorderHabits::clone(&machine.habits());
        let name = machine.track_segments(&habits, 101).first().map(|segment| segment.name.clone());
        let uri = format!(
            "rtsp://192.0.2.1/Streaming/tracks/101/?starttime=20261121T000000Z&amp;name={}",
            name.unwrap_or_default()
        );
        let body =
            format!("<downloadRequest version=\"1.0\"><playbackURI>{uri}</playbackURI></downloadRequest>");
        let request = Request {
            method: method.to_owned(),
            target: "/ISAPI/ContentMgmt/download".to_owned(),
            headers: range.map(|range| ("Range".to_owned(), range.to_owned())).into_iter().collect(),
            body: Bytes::from(body),
            chunked: false,
            nth: 1,
        };
        let call = Call { machine, habits: &habits, request: &request, known: "test".to_owned() };
        download(&call)
    }

    fn machine(change: impl FnOnce(&mut RecorderHabits)) -> anyhow::Result<Machine> {
        let machine = Machine::new(0, 7, Ledger::open(None)?);
        let mut habits = RecorderHabits::default();
        change(&mut habits);
        machine.set_habits(habits);
        Ok(machine)
    }

    #[test]
    fn a_range_gets_what_the_recorder_is_told_to_do_with_it() -> anyhow::Result<()> {
        let whole = machine(|_| {})?.track_segments(&RecorderHabits::default(), 101)[0].bytes;
        for (range, expected) in [
            (RangeAnswer::Ignored, Some((200, 0, None))),
            (RangeAnswer::Honoured, Some((206, 100, Some(format!("bytes 100-{}/{whole}", whole - 1))))),
            (RangeAnswer::OtherPart, Some((206, 0, Some(format!("bytes 0-{}/{whole}", whole - 101))))),
            (RangeAnswer::OtherContent, Some((206, 100, Some(format!("bytes 100-{}/{whole}", whole - 1))))),
            (RangeAnswer::NotSatisfiable, None),
        ] {
            let machine = machine(|habits| habits.range = range)?;
            let told = |headers: &[(String, String)]| {
                headers.iter().find(|(name, _)| name == "Content-Range").map(|(_, value)| value.clone())
            };
            let found = match ask(&machine, "GET", Some("bytes=100-")) {
                Reply::Generated(made) => Some((made.status, made.from, told(&made.headers))),
                Reply::Answer(answer) => {
                    assert_eq!(answer.status, 416);
                    None
                }
                _ => anyhow::bail!("{range:?}: neither a recording nor a refusal"),
            };
            assert_eq!(found, expected, "{range:?}");
        }
        Ok(())
    }

    #[test]
    fn more_downloads_at_once_than_allowed_get_503_until_one_has_ended() -> anyhow::Result<()> {
        let machine = machine(|habits| habits.max_parallel = 1)?;
        let first = ask(&machine, "GET", None);
        assert!(matches!(&first, Reply::Generated(_)));
        assert!(matches!(ask(&machine, "GET", None), Reply::Answer(Answer { status: 503, .. })));
        drop(first);
        assert!(matches!(ask(&machine, "POST", None), Reply::Generated(_)));
        Ok(())
    }

    #[test]
    fn the_wrong_method_is_told_so() -> anyhow::Result<()> {
        let machine = machine(|habits| habits.download = DownloadMethod::Post)?;
        assert!(matches!(ask(&machine, "GET", None), Reply::Answer(Answer { status: 405, .. })));
        assert_eq!(machine.ledger.of(Kind::SegmentRefused).len(), 1);
        Ok(())
    }
}
