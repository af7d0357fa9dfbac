//! Downloads that break off and go on, against peers that honour `Range`, ignore it, or lie about it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bascule_capability::http::{CallContext, DownloadOptions, Downloaded, Request, Transfer};
use bascule_capability::storage::Folder;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::Auth;
use sha2::{Digest, Sha256};

use crate::support::peer::Seen;
use crate::support::{Bench, Open, Peer, Reply, context, entry, get};

const BYTES: usize = 1_000_000;
/// Each answer ends after so many bytes.
const CUT: usize = 300_000;

fn content(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let noise = (4..BYTES).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).unwrap()
    });
    b"IMKH".iter().copied().chain(noise).collect()
}

async fn open(peer: &Peer) -> (Bench, Open) {
    let bench = Bench::new().connect("nvr", entry(&peer.url(), Auth::None)).folder("exports");
    let open = bench.open().await;
    (bench, open)
}

fn options() -> DownloadOptions {
    DownloadOptions {
        expected_bytes: None,
        answer_prefixes: vec!["<".to_owned()],
        overwrite: false,
        resume: true,
    }
}

async fn download(
    open: &Open,
    request: Request,
    options: DownloadOptions,
    context: &CallContext,
) -> Result<Downloaded, Failure> {
    let folder = open.capabilities.folder("exports").unwrap();
    open.connection("nvr").download(request, &folder, "a/b.ps", options, context).await
}

fn stored(downloaded: Result<Downloaded, Failure>) -> Transfer {
    match downloaded {
        Ok(Downloaded::Stored(transfer)) => transfer,
        Ok(Downloaded::Answered(response)) => panic!("answered {}", response.status),
        Err(failure) => panic!("{failure:?}"),
    }
}

/// Names at the root of the folder: those of unfinished files are hidden there.
fn hidden(bench: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(bench.folder.path().join("exports")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    names.sort();
    names
}

/// The first byte that a request asks for.
fn asked(seen: &Seen) -> Option<usize> {
    let range = seen.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?;
    Some(range.parse().unwrap())
}

/// An answer that ends, and its connection with it, after `most` bytes of the body.
fn cut(status: u16, headers: &str, body: &[u8], most: usize) -> Reply {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Reply::Raw([head.as_bytes(), &body[..body.len().min(most)]].concat())
}

/// As RFC 9110 section 14 has it, except that each answer is cut.
fn honour(seen: &Seen, data: &[u8], most: usize) -> Reply {
    match asked(seen) {
        Some(from) if from >= data.len() => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{}", data.len()))
        }
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", data.len() - 1, data.len());
            cut(206, &range, &data[from..], most)
        }
        None => cut(200, "", data, most),
    }
}

fn assert_is(bench: &Bench, transfer: &Transfer, data: &[u8]) {
    assert_eq!(transfer.bytes, u64::try_from(data.len()).unwrap());
    assert_eq!(transfer.sha256, hex::encode(Sha256::digest(data)));
    assert_eq!(transfer.head, data[..64]);
    assert!(std::fs::read(bench.folder.path().join("exports/a/b.ps")).unwrap() == data);
    assert!(hidden(bench).is_empty(), "{:?}", hidden(bench));
}

/// Serves, and counts down: which answer a request gets follows from how many came before.
async fn serving(answers: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Peer {
    let count = AtomicUsize::new(0);
    Peer::start(move |seen| answers(count.fetch_add(1, Ordering::Relaxed), seen)).await
}

#[tokio::test]
async fn a_transfer_that_breaks_off_again_and_again_goes_on_each_time() {
    let data = content(1);
    let served = data.clone();
    let peer = serving(move |_, seen| honour(seen, &served, CUT)).await;
    let (bench, open) = open(&peer).await;
    let transfer = stored(download(&open, get("/f"), options(), &context()).await);
    assert_is(&bench, &transfer, &data);
    // A little is asked for twice, and compared.
    let asked: Vec<_> = peer.seen().iter().map(asked).collect();
    let overlap = 16 << 10;
    let second = CUT - overlap;
    assert_eq!(asked, [None, Some(second), Some(second + CUT - overlap), Some(second + 2 * (CUT - overlap))]);
}

#[tokio::test]
async fn more_cuts_than_idle_attempts_are_allowed_because_each_brings_news() {
    let data = content(2);
    let served = data.clone();
    let peer = serving(move |_, seen| honour(seen, &served, 120_000)).await;
    let (bench, open) = open(&peer).await;
    assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
    assert_eq!(peer.seen().len(), 10);
}

#[tokio::test]
async fn the_whole_file_in_place_of_the_rest_is_never_appended() {
    let data = content(3);
    let served = data.clone();
    let peer = serving(move |nth, _| cut(200, "", &served, if nth == 0 { CUT } else { BYTES })).await;
    let (bench, open) = open(&peer).await;
    assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
    let asked: Vec<_> = peer.seen().iter().map(asked).collect();
    assert!(matches!(asked.as_slice(), [None, Some(_)]), "{asked:?}");
}

#[tokio::test]
async fn a_peer_that_sends_only_the_whole_and_breaks_off_again_is_left_to_the_caller() {
    let data = content(3);
    let peer = serving(move |_, _| cut(200, "", &data, CUT)).await;
    let (bench, open) = open(&peer).await;
    let failure = download(&open, get("/f"), options(), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Offline);
    assert_eq!(peer.seen().len(), 2);
    assert!(hidden(&bench).is_empty(), "what is of no use is not kept");
}

#[tokio::test]
async fn a_part_that_is_not_the_rest_is_never_appended() {
    let wrong: [fn(usize) -> String; 5] = [
        |_| String::new(),
        |_| format!("Content-Range: bytes 0-{}/{BYTES}\r\n", BYTES - 1),
        |from| format!("Content-Range: bytes {}-{}/{BYTES}\r\n", from + 1, BYTES - 1),
        |from| format!("Content-Range: bytes {from}-{}/{}\r\n", from + 9, BYTES),
        |_| "Content-Range: nonsense\r\n".to_owned(),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let data = content(4);
        let served = data.clone();
        let peer = serving(move |_, seen| match asked(seen) {
            Some(from) => cut(206, &wrong(from), &served[from..], BYTES),
            None => cut(200, "", &served, BYTES),
        });
        let peer = peer.await;
        let (bench, open) = open(&peer).await;
        leave_unfinished(&bench, &open, &peer, &data).await;
        assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
        let seen: Vec<_> = peer.seen().iter().map(asked).collect();
        assert!(matches!(seen.as_slice(), [Some(_), None]), "{number}: {seen:?}");
    }
}

#[tokio::test]
async fn not_satisfiable_means_from_the_beginning() {
    let data = content(5);
    let served = data.clone();
    let peer = serving(move |_, seen| match asked(seen) {
        Some(_) => Reply::new(416, ""),
        None => cut(200, "", &served, BYTES),
    });
    let peer = peer.await;
    let (bench, open) = open(&peer).await;
    leave_unfinished(&bench, &open, &peer, &data).await;
    assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
}

#[tokio::test]
async fn other_content_under_the_same_address_is_fetched_whole() {
    for headers in ["", "ETag: \"two\"\r\n", "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n"] {
        let (old, new) = (content(6), content(7));
        let served = new.clone();
        let peer = serving(move |nth, seen| match asked(seen) {
            None if nth == 0 => {
                let known = "ETag: \"one\"\r\nLast-Modified: Sat, 21 Nov 2026 09:00:00 GMT\r\nAccept-Ranges: bytes\r\n";
                cut(200, known, &old, CUT)
            }
            None => cut(200, headers, &served, BYTES),
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{BYTES}\r\n{headers}", BYTES - 1);
                cut(206, &range, &served[from..], BYTES)
            }
        });
        let peer = peer.await;
        let (bench, open) = open(&peer).await;
        assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &new);
        let seen = peer.seen();
        assert_eq!(seen.len(), 3, "{headers}");
        assert_eq!(seen[1].header("if-range"), Some("\"one\""));
    }
}

#[tokio::test]
async fn a_length_that_lies_does_not_matter_once_a_part_tells_the_total() {
    let data = content(8);
    let served = data.clone();
    let peer = serving(move |_, seen| {
        let from = asked(seen).unwrap_or(0);
        let range = format!("Content-Range: bytes {from}-{}/{BYTES}\r\n", BYTES - 1);
        let (status, range) = if from == 0 { (200, String::new()) } else { (206, range) };
        let rest = &served[from..];
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{range}\r\n", rest.len() + 4_000);
        Reply::Raw([head.as_bytes(), rest].concat())
    });
    let peer = peer.await;
    let (bench, open) = open(&peer).await;
    assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
}

#[tokio::test]
async fn a_clean_end_before_the_told_size_is_a_break() {
    let data = content(9);
    let served = data.clone();
    let peer = serving(move |nth, seen| match asked(seen) {
        // Closed without a length: nothing tells that there was more.
        None => {
            assert_eq!(nth, 0);
            Reply::Raw([b"HTTP/1.1 200 X\r\n\r\n".as_slice(), &served[..CUT]].concat())
        }
        Some(_) => honour(seen, &served, BYTES),
    });
    let peer = peer.await;
    let (bench, open) = open(&peer).await;
    let told = DownloadOptions { expected_bytes: Some(1_000_000), ..options() };
    assert_is(&bench, &stored(download(&open, get("/f"), told, &context()).await), &data);
}

#[tokio::test]
async fn a_peer_that_is_busy_with_the_last_session_is_asked_again() {
    let data = content(10);
    let served = data.clone();
    let peer = serving(move |nth, seen| match nth {
        1 => Reply::new(503, "busy"),
        _ => honour(seen, &served, if nth == 0 { CUT } else { BYTES }),
    });
    let peer = peer.await;
    let (bench, open) = open(&peer).await;
    assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
    assert_eq!(peer.seen().len(), 3);
}

#[tokio::test]
async fn attempts_that_bring_nothing_new_come_to_an_end_and_the_next_call_goes_on() {
    let data = content(11);
    let served = data.clone();
    let peer = serving(move |nth, seen| match nth {
        0 => honour(seen, &served, CUT),
        1..=4 => Reply::Raw(Vec::new()),
        _ => honour(seen, &served, BYTES),
    });
    let peer = peer.await;
    let (bench, opened) = open(&peer).await;
    let failure = download(&opened, get("/f"), options(), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Offline);
    assert_eq!(peer.seen().len(), 5);
    assert_eq!(hidden(&bench).len(), 2, "the bytes and their record: {:?}", hidden(&bench));
    assert!(!bench.folder.path().join("exports/a/b.ps").exists());
    // Also where another process does it: nothing is left of this one but files.
    let folder = Folder::open("exports", &bench.folder.path().join("exports")).await.unwrap();
    let connection = opened.connection("nvr");
    let again = connection.download(get("/f"), &folder, "a/b.ps", options(), &context()).await;
    assert_is(&bench, &stored(again), &data);
    assert_eq!(asked(&peer.seen()[5]), Some(CUT - (16 << 10)));
}

#[tokio::test]
async fn an_answer_in_place_of_the_rest_is_handed_on_and_what_is_there_is_kept() {
    for (status, body) in [(200, "<ResponseStatus/>"), (403, "not now")] {
        let data = content(12);
        let served = data.clone();
        let peer = serving(move |nth, seen| match nth {
            0 => Reply::new(status, body),
            _ => honour(seen, &served, BYTES),
        });
        let peer = peer.await;
        let (bench, open) = open(&peer).await;
        leave_unfinished(&bench, &open, &peer, &data).await;
        match download(&open, get("/f"), options(), &context()).await.unwrap() {
            Downloaded::Answered(response) => assert_eq!(response.status, status),
            Downloaded::Stored(transfer) => panic!("{transfer:?}"),
        }
        assert_eq!(hidden(&bench).len(), 2);
        assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
        assert_eq!(peer.seen().len(), 2);
        assert!(asked(&peer.seen()[1]).is_some());
    }
}

#[tokio::test]
async fn bytes_that_the_record_does_not_vouch_for_are_not_believed() {
    let spoil: [fn(&std::path::Path); 4] = [
        // A bit that fell over.
        |part| {
            let mut data = std::fs::read(part).unwrap();
            data[1_000] ^= 1;
            std::fs::write(part, data).unwrap();
        },
        // A file that the disk lost the end of.
        |part| std::fs::File::options().write(true).open(part).unwrap().set_len(1_000).unwrap(),
        // A torn record.
        |part| std::fs::write(part.with_extension("json"), "{\"identity\":").unwrap(),
        |part| std::fs::remove_file(part.with_extension("json")).unwrap(),
    ];
    for spoil in spoil {
        let data = content(13);
        let served = data.clone();
        let peer = serving(move |_, seen| honour(seen, &served, BYTES)).await;
        let (bench, open) = open(&peer).await;
        leave_unfinished(&bench, &open, &peer, &data).await;
        let part = hidden(&bench).into_iter().find(|name| !name.ends_with(".json")).unwrap();
        spoil(&bench.folder.path().join("exports").join(part));
        assert_is(&bench, &stored(download(&open, get("/f"), options(), &context()).await), &data);
        assert_eq!(peer.seen().iter().map(asked).collect::<Vec<_>>(), [None]);
    }
}

#[tokio::test]
async fn what_another_request_left_is_not_gone_on_with() {
    let data = content(14);
    for (request, told) in [(get("/other"), None), (get("/f"), Some(1_000_000))] {
        let served = data.clone();
        let peer = serving(move |_, seen| honour(seen, &served, BYTES)).await;
        let (bench, open) = open(&peer).await;
        leave_unfinished(&bench, &open, &peer, &data).await;
        let options = DownloadOptions { expected_bytes: told, ..options() };
        assert_is(&bench, &stored(download(&open, request, options, &context()).await), &data);
        assert_eq!(peer.seen().iter().map(asked).collect::<Vec<_>>(), [None]);
    }
}

#[tokio::test]
async fn two_calls_at_once_do_not_share_a_file() {
    let data = content(15);
    let peer = serving(move |_, _| {
        let head = format!("HTTP/1.1 200 X\r\nContent-Length: {BYTES}\r\n\r\n");
        Reply::Hang([head.as_bytes(), &data[..CUT]].concat())
    });
    let peer = peer.await;
    let (_bench, open) = open(&peer).await;
    let (begun, begins) = tokio::sync::oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let first = CallContext {
        progress: Some(Arc::new(move |_, _| {
            if let Some(begun) = begun.lock().unwrap().take() {
                begun.send(()).unwrap();
            }
        })),
        ..context()
    };
    let (done, second) = tokio::join!(download(&open, get("/f"), options(), &first), async {
        begins.await.unwrap();
        let second = download(&open, get("/f"), options(), &context()).await;
        first.cancel.cancel();
        second
    });
    assert_eq!(done.unwrap_err().kind, Kind::Cancelled);
    let failure = second.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Conflict, Some("host:being-downloaded")));
}

#[tokio::test]
async fn a_range_of_the_callers_own_is_refused() {
    let peer = serving(|_, _| Reply::new(200, "x")).await;
    let (_bench, open) = open(&peer).await;
    let request = Request { headers: vec![("Range".to_owned(), "bytes=5-".to_owned())], ..get("/f") };
    let failure = download(&open, request, options(), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput);
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn what_nobody_went_on_with_for_a_week_is_given_up() {
    let data = content(16);
    let peer = serving(|_, _| Reply::new(200, "x")).await;
    let (bench, open) = open(&peer).await;
    leave_unfinished(&bench, &open, &peer, &data).await;
    let reopen = async || drop(Folder::open("exports", &bench.folder.path().join("exports")).await.unwrap());
    let aged = |days: u64| {
        for name in hidden(&bench) {
            let file = std::fs::File::options()
                .write(true)
                .open(bench.folder.path().join("exports").join(name))
                .unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        }
    };
    aged(6);
    reopen().await;
    assert_eq!(hidden(&bench).len(), 2);
    aged(8);
    reopen().await;
    assert!(hidden(&bench).is_empty());
}

/// Leaves what a call leaves that was cancelled in the middle, without the tested peer: of another one at the same address
/// nothing is known but the request.
async fn leave_unfinished(bench: &Bench, open: &Open, peer: &Peer, data: &[u8]) {
    let served = data.to_vec();
    let other = serving(move |_, _| {
        let head = format!("HTTP/1.1 200 X\r\nContent-Length: {BYTES}\r\n\r\n");
        Reply::Hang([head.as_bytes(), &served[..CUT]].concat())
    });
    let other = other.await;
    let elsewhere = Bench::new().connect("nvr", entry(&other.url(), Auth::None)).folder("exports");
    let elsewhere = elsewhere.open().await;
    let cancel = context();
    let token = cancel.cancel.clone();
    let watched = CallContext {
        progress: Some(Arc::new(move |done, _| {
            if done == u64::try_from(CUT).unwrap() {
                token.cancel();
            }
        })),
        ..cancel
    };
    let folder = open.capabilities.folder("exports").unwrap();
    let left = elsewhere.connection("nvr").download(get("/f"), &folder, "a/b.ps", options(), &watched).await;
    assert_eq!(left.unwrap_err().kind, Kind::Cancelled);
    assert_eq!(hidden(bench).len(), 2);
    assert!(peer.seen().is_empty());
}
