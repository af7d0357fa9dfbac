//! Downloading a recording (`facts/isapi.md` 7.6). The bytes go from the recorder to the folder in the host; what is seen here is
//! their number, their hash and their first 64.

use bascule_sdk::xml::escape;
use bascule_sdk::{DownloadOptions, Downloaded, Error, ErrorKind, Files, Pace, Request, Transfer, log};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::nvr::recordings::{File, Segment};
use crate::keep::{Disk, Memory};
use crate::reply;

/// What is being downloaded has this behind its name; what is complete has lost it.
const UNFINISHED: &str = ".download";

/// What to download.
pub(crate) struct Order<'a> {
    /// Without extension.
    pub(crate) name: &'a str,
    pub(crate) segment: &'a Segment,
    pub(crate) keep_unknown: bool,
}

pub(crate) fn download(
    recorder: &dyn Files,
    disk: &dyn Disk,
    memory: &dyn Memory,
    order: &Order<'_>,
) -> Result<File, Error> {
    if let Some(file) = already(disk, order)? {
        return Ok(file);
    }
    let unfinished = format!("{}{UNFINISHED}", order.name);
    let transfer = fetch(recorder, memory, order, &unfinished)?;
    let Some((format, extension)) = recognise(&transfer.head, order.keep_unknown) else {
        disk.delete(&unfinished)?;
        let error = Error::protocol("what the recorder sent is not a recording: nothing was stored");
        let head: String = transfer.head.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let details = json!({ "segment": order.segment.id, "bytes": transfer.bytes, "begins": head });
        return Err(error.code("nvr:not-a-recording").details(&details));
    };
    if transfer.bytes == 0 {
        disk.delete(&unfinished)?;
        return Err(Error::protocol("the recorder sent an empty file: nothing was stored").code("nvr:empty"));
    }
    let told = order.segment.bytes;
    if let Some(told) = told.filter(|told| *told < transfer.bytes) {
        log::warn(&format!("`{}`: {told} bytes were told and {} came", order.segment.id, transfer.bytes));
    }
    let file = File {
        name: format!("{}.{extension}", order.name),
        bytes: transfer.bytes,
        sha256: transfer.sha256,
        format: format.to_owned(),
        size_checked: told == Some(transfer.bytes),
        downloaded: true,
        segment: order.segment.id.clone(),
        channel: order.segment.channel,
        track: order.segment.track,
        begin: order.segment.begin.clone(),
        end: order.segment.end.clone(),
    };
    // The record first: a recording that has its name has its record.
    let record = record(&file, order.segment);
    disk.write(&record_name(order.name), format!("{record:#}\n").as_bytes())?;
    disk.rename(&unfinished, &file.name)?;
    Ok(file)
}

/// The record's name for a recording without its extension.
pub(crate) fn record_name(name: &str) -> String {
    format!("{name}.json")
}

fn record(file: &File, segment: &Segment) -> Value {
    json!({
        "file": file.name, "bytes": file.bytes, "sha256": file.sha256, "format": file.format,
        "size_checked": file.size_checked, "segment": file.segment, "channel": file.channel, "track": file.track,
        "begin": file.begin, "end": file.end, "recorder_name": segment.name, "codec": segment.codec, "reason": segment.reason,
    })
}

/// The file, if it is there and complete: it has a record, the length that the record says, and the one that the recorder tells.
fn already(disk: &dyn Disk, order: &Order<'_>) -> Result<Option<File>, Error> {
    let record = record_name(order.name);
    if disk.length(&record)?.is_none() {
        return Ok(None);
    }
    let Ok(record) = serde_json::from_slice::<Value>(&disk.read(&record)?) else {
        return Ok(None);
    };
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let (Some(name), Some(bytes), Some(sha256)) = (text("file"), record["bytes"].as_u64(), text("sha256"))
    else {
        return Ok(None);
    };
    let same = record["segment"].as_str() == Some(&order.segment.id);
    let complete = order.segment.bytes.is_none_or(|told| told <= bytes);
    if !same || !complete || disk.length(&name)? != Some(bytes) {
        return Ok(None);
    }
    Ok(Some(File {
        name,
        bytes,
        sha256,
        format: text("format").unwrap_or_default(),
        size_checked: record["size_checked"].as_bool().unwrap_or(false),
        downloaded: false,
        segment: order.segment.id.clone(),
        channel: order.segment.channel,
        track: order.segment.track,
        begin: order.segment.begin.clone(),
        end: order.segment.end.clone(),
    }))
}

/// Asks in the way that worked before, else with GET and a body, then with POST.
fn fetch(
    recorder: &dyn Files,
    memory: &dyn Memory,
    order: &Order<'_>,
    unfinished: &str,
) -> Result<Transfer, Error> {
    let key = format!("download/{}", recorder.origin());
    let known = memory.recall(&key)?.and_then(|known| known.as_str().map(str::to_owned));
    let ways = if known.as_deref() == Some("post") { ["post", "get"] } else { ["get", "post"] };
    let options = DownloadOptions {
        expected_bytes: order.segment.bytes,
        // No recording begins with `<` or `{`; answers do.
        answer_prefixes: vec!["<".to_owned(), "{".to_owned()],
        overwrite: true,
        // Few recorders are known to honour it, and asking costs nothing: the others send the whole again.
        resume: true,
    };
    let mut objection = None;
    for way in ways {
        let request = request(way, &order.segment.playback_uri);
        let line = request.line();
        match recorder.download(request, unfinished, &options)? {
            Downloaded::Stored(transfer) => {
                if known.as_deref() != Some(way) {
                    memory.remember(&key, &json!(way))?;
                }
                return Ok(transfer);
            }
            Downloaded::Answered(response) => {
                let error = reply::instead_of_file(&response, &line);
                // Only what may be about the method is asked again with the other.
                if !matches!(
                    error.kind,
                    ErrorKind::Unsupported | ErrorKind::InvalidInput | ErrorKind::Protocol
                ) {
                    return Err(error);
                }
                let method = matches!(error.kind, ErrorKind::Unsupported);
                objection = Some(match objection {
                    // "Not with this method" says less than the other objection.
                    Some(first) if method => first,
                    _ => error,
                });
            }
        }
    }
    Err(objection.unwrap_or_else(|| Error::internal("there is no way to download")))
}

fn request(way: &str, uri: &str) -> Request {
    let body = format!(
        "<downloadRequest version=\"1.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><playbackURI>{}</playbackURI></downloadRequest>",
        escape(uri)
    );
    let path = "/ISAPI/ContentMgmt/download";
    let request = if way == "post" { Request::post(path) } else { Request::get(path) };
    request.content("application/xml", body).pace(Pace::Bulk)
}

/// What a file is by its first bytes, and its extension.
fn recognise(head: &[u8], keep_unknown: bool) -> Option<(&'static str, &'static str)> {
    match head {
        [b'I', b'M', b'K', b'H', ..] => Some(("hikvision-ps", "ps")),
        [0, 0, 1, 0xba, ..] => Some(("mpeg-ps", "mpg")),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(("mp4", "mp4")),
        _ if keep_unknown || head.is_empty() => Some(("unknown", "bin")),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;
    use crate::keep::doubles::{Desk, Notes};

    const GET: &str = "GET /ISAPI/ContentMgmt/download";
    const POST: &str = "POST /ISAPI/ContentMgmt/download";
    const NAME: &str = "gate/1/2026-11-21/a";

    fn segment(bytes: Option<u64>) -> Segment {
        Segment {
            id: "101-20261121T000000Z-00000004667000100".to_owned(),
            channel: 1,
            track: 101,
            begin: "2026-11-21T02:00:00+02:00".to_owned(),
            end: "2026-11-21T02:15:00+02:00".to_owned(),
            day: "2026-11-21".to_owned(),
            stem: "a".to_owned(),
            name: Some("00000004667000100".to_owned()),
            bytes,
            playback_uri: "rtsp://10.0.0.9/Streaming/tracks/101/?starttime=20261121T020000Z&name=00000004667000100&size=12".to_owned(),
            codec: None,
            reason: None,
            locked: false,
        }
    }

    fn imkh() -> Vec<u8> {
        b"IMKH\x01\x01\0\0\x02\0\0\x01".to_vec()
    }

    fn status(code: u32, sub: &str) -> String {
        format!(
            "<ResponseStatus><statusCode>{code}</statusCode><subStatusCode>{sub}</subStatusCode></ResponseStatus>"
        )
    }

    fn run(desk: &Desk, notes: &Notes, bytes: Option<u64>) -> Result<File, Error> {
        download(desk, desk, notes, &Order { name: NAME, segment: &segment(bytes), keep_unknown: false })
    }

    #[test]
    fn a_recording_is_named_for_what_it_is_and_has_a_record() {
        for (body, format, extension) in [
            (imkh(), "hikvision-ps", "ps"),
            (b"\0\0\x01\xba\x44\0\0\0\0\0\0\0".to_vec(), "mpeg-ps", "mpg"),
            (b"\0\0\0\x1cftypisom".to_vec(), "mp4", "mp4"),
        ] {
            let desk = Desk::of(Script::new().then(GET, answer(200, body)));
            let file = run(&desk, &Notes::default(), Some(12)).unwrap();
            assert_eq!((file.format.as_str(), file.size_checked, file.downloaded), (format, true, true));
            assert_eq!(desk.names(), [format!("{NAME}.json"), format!("{NAME}.{extension}")]);
            assert_eq!(
                desk.script.body(0),
                "<downloadRequest version=\"1.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><playbackURI>\
                 rtsp://10.0.0.9/Streaming/tracks/101/?starttime=20261121T020000Z&amp;name=00000004667000100&amp;size=12\
                 </playbackURI></downloadRequest>"
            );
        }
    }

    #[test]
    fn a_recorder_that_wants_post_is_asked_so_at_once_the_next_time() {
        let desk = Desk::of(
            Script::new()
                .then(GET, answer(405, status(4, "methodNotAllowed")))
                .then(POST, answer(200, imkh()))
                .then(POST, answer(200, imkh())),
        );
        let notes = Notes::default();
        run(&desk, &notes, Some(12)).unwrap();
        desk.files.borrow_mut().clear();
        run(&desk, &notes, Some(12)).unwrap();
        desk.script.finish();
    }

    #[test]
    fn a_complete_file_is_not_asked_for_again_and_a_torn_one_is() {
        let desk = Desk::of(Script::new().then(GET, answer(200, imkh())).then(GET, answer(200, imkh())));
        let notes = Notes::default();
        let first = run(&desk, &notes, Some(12)).unwrap();
        let again = run(&desk, &notes, Some(12)).unwrap();
        assert!(!again.downloaded);
        assert_eq!(File { downloaded: true, ..again }, first);
        desk.files.borrow_mut().insert(format!("{NAME}.ps"), b"IMKH".to_vec());
        assert!(run(&desk, &notes, Some(12)).unwrap().downloaded);
        desk.script.finish();
    }

    #[test]
    fn a_file_that_grew_since_is_downloaded_again() {
        let longer = [imkh(), imkh()].concat();
        let desk = Desk::of(Script::new().then(GET, answer(200, imkh())).then(GET, answer(200, longer)));
        let notes = Notes::default();
        run(&desk, &notes, Some(12)).unwrap();
        assert_eq!(run(&desk, &notes, Some(24)).unwrap().bytes, 24);
    }

    #[test]
    fn an_error_with_http_200_is_an_error_and_leaves_nothing() {
        let desk = Desk::of(
            Script::new()
                .then(GET, answer(200, status(6, "badParameters")))
                .then(POST, answer(405, status(4, "methodNotAllowed"))),
        );
        let error = run(&desk, &Notes::default(), Some(12)).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::InvalidInput, Some("nvr:badParameters")));
        assert!(desk.names().is_empty());
        let desk = Desk::of(Script::new().then(GET, answer(503, status(2, "deviceBusy"))));
        assert_eq!(run(&desk, &Notes::default(), Some(12)).unwrap_err().kind, ErrorKind::Busy);
        desk.script.finish();
    }

    #[test]
    fn what_is_no_recording_is_not_kept() {
        let desk = Desk::of(Script::new().then(GET, answer(200, "garbage here")));
        let error = run(&desk, &Notes::default(), Some(12)).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Protocol, Some("nvr:not-a-recording")));
        assert!(desk.names().is_empty());
        let desk = Desk::of(Script::new().then(GET, answer(200, "")));
        let error = run(&desk, &Notes::default(), None).unwrap_err();
        assert_eq!(error.code.as_deref(), Some("nvr:empty"));
        assert!(desk.names().is_empty());
    }

    #[test]
    fn without_a_told_size_the_file_says_that_nothing_was_checked() {
        let desk = Desk::of(Script::new().then(GET, answer(200, imkh())));
        assert!(!run(&desk, &Notes::default(), None).unwrap().size_checked);
    }
}
