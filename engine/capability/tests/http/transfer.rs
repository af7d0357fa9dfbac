//! Downloads, uploads and streams.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bascule_capability::http::{
    Body, CallContext, DownloadOptions, Downloaded, Method, Pace, Part, PartData, Request, Transfer,
};
use bascule_workflow::failure::{Effect, Kind};
use bascule_workflow::project::Auth;
use sha2::{Digest, Sha256};

use crate::support::digest::{Device, Rules};
use crate::support::{Bench, Open, Peer, Reply, context, digest_auth, entry, get};

async fn open(peer: &Peer, auth: Auth) -> (Bench, Open) {
    let bench = Bench::new().connect("nvr", entry(&peer.url(), auth)).folder("exports");
    let open = bench.open().await;
    open.secret("password", "canary-Pa55word").await;
    (bench, open)
}

fn options() -> DownloadOptions {
    DownloadOptions {
        expected_bytes: None,
        answer_prefixes: vec!["<?xml".to_owned(), "{".to_owned()],
        overwrite: false,
        resume: false,
    }
}

async fn download(
    open: &Open,
    options: DownloadOptions,
) -> Result<Downloaded, bascule_workflow::failure::Failure> {
    let folder = open.capabilities.folder("exports").unwrap();
    open.connection("nvr").download(get("/f"), &folder, "a/b.mp4", options, &context()).await
}

fn stored(downloaded: Downloaded) -> Transfer {
    match downloaded {
        Downloaded::Stored(transfer) => transfer,
        Downloaded::Answered(response) => panic!("answered {response:?}"),
    }
}

/// Also what has no final name yet.
fn files(bench: &Bench) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![bench.folder.path().join("exports")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    names
}

#[tokio::test]
async fn a_download_is_stored_whole_with_length_hash_and_progress() {
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let served = data.clone();
    let peer =
        Peer::start(move |_seen| Reply::new(200, served.clone()).with("Content-Type", "video/mp4")).await;
    let (bench, open) = open(&peer, Auth::None).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let watched = CallContext {
        progress: Some(Arc::new(move |done, total| ear.lock().unwrap().push((done, total)))),
        ..context()
    };
    let folder = open.capabilities.folder("exports").unwrap();
    let transfer =
        open.connection("nvr").download(get("/f"), &folder, "a/b.mp4", options(), &watched).await.unwrap();
    let transfer = stored(transfer);
    assert_eq!((transfer.name.as_str(), transfer.bytes), ("a/b.mp4", 3_000_000));
    assert_eq!(transfer.sha256, hex::encode(Sha256::digest(&data)));
    assert_eq!(
        (transfer.content_type.as_deref(), transfer.head.as_slice()),
        (Some("video/mp4"), &data[..64])
    );
    assert_eq!(std::fs::read(bench.folder.path().join("exports/a/b.mp4")).unwrap(), data);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.last(), Some(&(3_000_000, Some(3_000_000))));
    assert!(heard.len() > 2 && heard.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[tokio::test]
async fn an_existing_file_is_a_conflict_before_anything_is_sent() {
    let peer = Peer::start(|_seen| Reply::new(200, "new")).await;
    let (bench, open) = open(&peer, Auth::None).await;
    stored(download(&open, options()).await.unwrap());
    let failure = download(&open, options()).await.unwrap_err();
    assert_eq!((failure.kind, failure.effect), (Kind::Conflict, Effect::None));
    assert_eq!(peer.seen().len(), 1);
    stored(download(&open, DownloadOptions { overwrite: true, ..options() }).await.unwrap());
    assert_eq!(files(&bench), ["b.mp4"]);
}

#[tokio::test]
async fn an_answer_in_place_of_the_file_is_handed_on_and_not_stored() {
    let cases = [
        (404, "gone".to_owned()),
        (200, "<?xml version=\"1.0\"?><ResponseStatus/>".to_owned()),
        (200, "\r\n \t{\"statusCode\":4}".to_owned()),
        (200, "\u{feff}<?xml ?>".to_owned()),
        (200, format!("{{{}", "x".repeat(200_000))),
    ];
    for (status, body) in cases {
        let served = body.clone();
        let peer = Peer::start(move |_seen| Reply::new(status, served.clone())).await;
        let (bench, open) = open(&peer, Auth::None).await;
        let Downloaded::Answered(response) = download(&open, options()).await.unwrap() else {
            panic!("{body}")
        };
        assert_eq!(response.status, status);
        assert_eq!(response.body, body.as_bytes()[..body.len().min(64 << 10)]);
        assert!(files(&bench).is_empty());
    }
}

#[tokio::test]
async fn what_only_looks_like_an_answer_at_first_is_a_file() {
    for body in ["", "<", "<?xm", "  ", "<?XML", "IMKH{"] {
        let peer = Peer::start(move |_seen| Reply::new(200, body)).await;
        let (_bench, open) = open(&peer, Auth::None).await;
        assert_eq!(
            stored(download(&open, options()).await.unwrap()).bytes,
            u64::try_from(body.len()).unwrap(),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_short_or_broken_download_leaves_nothing() {
    let cut =
        Peer::start(|_seen| Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nIMKH".to_vec()))
            .await;
    let (bench, opened) = open(&cut, Auth::None).await;
    assert_eq!(download(&opened, options()).await.unwrap_err().kind, Kind::Offline);
    assert!(files(&bench).is_empty());
    let short = Peer::start(|_seen| Reply::new(200, "IMKH")).await;
    let (bench, opened) = open(&short, Auth::None).await;
    let expecting = DownloadOptions { expected_bytes: Some(1000), ..options() };
    let failure = download(&opened, expecting).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Protocol, Some("host:too-short")));
    assert!(files(&bench).is_empty());
    let exact = DownloadOptions { expected_bytes: Some(4), ..options() };
    stored(download(&opened, exact).await.unwrap());
}

#[tokio::test]
async fn a_name_that_leads_out_of_the_folder_is_refused_before_anything_is_sent() {
    let peer = Peer::start(|_seen| Reply::new(200, "x")).await;
    let (_bench, open) = open(&peer, Auth::None).await;
    let folder = open.capabilities.folder("exports").unwrap();
    for name in ["../x", "/etc/x", "a/../../x"] {
        let done = open.connection("nvr").download(get("/f"), &folder, name, options(), &context()).await;
        assert_eq!(done.unwrap_err().kind, Kind::Refused, "{name}");
    }
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn an_uploaded_file_is_sent_once_inside_its_multipart_body() {
    let device = Arc::new(Device::new(Rules::default()));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| served.check(seen).unwrap_or_else(|| Reply::new(200, "{}"))).await;
    let (_bench, open) = open(&peer, digest_auth()).await;
    let folder = open.capabilities.folder("exports").unwrap();
    let picture: Vec<u8> = (0..190_000_u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    folder.write("face.jpg", picture.clone().into()).await.unwrap();
    let part = |name: &str, filename: Option<&str>, content_type: &str, data| Part {
        name: name.to_owned(),
        filename: filename.map(str::to_owned),
        content_type: Some(content_type.to_owned()),
        data,
    };
    let request = Request {
        method: Method::Post,
        query: vec![("format".to_owned(), "json".to_owned())],
        body: Body::Multipart(vec![
            part("FaceDataRecord", None, "application/json", PartData::Bytes("{\"FPID\":\"1\"}".into())),
            part("img", Some("face.jpg"), "image/jpeg", PartData::File),
        ]),
        pace: Pace::Slow,
        ..get("/ISAPI/Intelligent/FDLib/FaceDataRecord")
    };
    let response =
        open.connection("nvr").upload(request.clone(), &folder, "face.jpg", &context()).await.unwrap();
    assert_eq!(response.status, 200);
    let seen = peer.seen();
    assert_eq!(seen.iter().map(|one| one.body.len() > 1000).collect::<Vec<_>>(), [false, true], "sent once");
    let body = &seen[1].body;
    let boundary = seen[1].header("content-type").unwrap().split_once("boundary=").unwrap().1.to_owned();
    let expected_head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"FaceDataRecord\"\r\nContent-Type: application/json\r\n\r\n\
         {{\"FPID\":\"1\"}}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"img\"; filename=\"face.jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    );
    let expected =
        [expected_head.as_bytes(), &picture, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    assert!(*body == expected);
    let missing = open.connection("nvr").upload(request, &folder, "no.jpg", &context()).await.unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_file_can_be_the_whole_body() {
    let peer = Peer::start(|seen| Reply::new(200, seen.body.clone())).await;
    let (_bench, open) = open(&peer, Auth::None).await;
    let folder = open.capabilities.folder("exports").unwrap();
    folder.write("a.bin", vec![9; 100_000].into()).await.unwrap();
    let request = Request {
        method: Method::Put,
        body: Body::File { content_type: "application/octet-stream".to_owned() },
        ..get("/x")
    };
    let response = open.connection("nvr").upload(request, &folder, "a.bin", &context()).await.unwrap();
    assert_eq!(response.body.len(), 100_000);
    let seen = peer.seen().pop().unwrap();
    assert_eq!(seen.header("content-length"), Some("100000"));
    assert_eq!(seen.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn a_stream_is_read_piece_by_piece_survives_silence_and_blocks_nobody() {
    let device = Arc::new(Device::new(Rules::default()));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| match served.check(seen) {
        Some(refused) => refused,
        None if seen.target == "/alertStream" => {
            let mut raw = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n".to_vec();
            raw.extend_from_slice(&[b'e'; 100_000]);
            Reply::Hang(raw)
        }
        None => Reply::new(200, "ok"),
    })
    .await;
    let (_bench, open) = open(&peer, digest_auth()).await;
    let connection = open.connection("nvr");
    let mut stream = connection.open(get("/alertStream"), &context()).await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers(), [("content-type".to_owned(), "multipart/mixed".to_owned())]);
    let mut bytes = 0;
    while bytes < 100_000 {
        let piece = stream.read(Duration::from_secs(5), &context()).await.unwrap().unwrap();
        assert!(!piece.is_empty() && piece.len() <= 64 << 10);
        bytes += piece.len();
    }
    for _ in 0..2 {
        let failure = stream.read(Duration::from_millis(20), &context()).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Timeout);
    }
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap().body, "ok", "although parallel is 1");
}

#[tokio::test]
async fn a_stream_that_ends_says_so() {
    let peer = Peer::start(|_seen| Reply::new(200, "abc")).await;
    let (_bench, open) = open(&peer, Auth::None).await;
    let mut stream = open.connection("nvr").open(get("/x"), &context()).await.unwrap();
    let second = Duration::from_secs(1);
    assert_eq!(stream.read(second, &context()).await.unwrap().unwrap(), "abc");
    assert_eq!(stream.read(second, &context()).await.unwrap(), None);
}
