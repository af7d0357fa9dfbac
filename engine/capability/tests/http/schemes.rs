//! Basic, API keys, AK/SK and tokens.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bascule_capability::auth::aksk;
use bascule_capability::http::{Body, DownloadOptions, Downloaded, Method, Request};
use bascule_workflow::failure::Kind;
use bascule_workflow::project::{Auth, HeaderSecret, TokenExchange, TokenField};
use serde_json::json;

use crate::support::peer::Seen;
use crate::support::{Bench, Open, Peer, Reply, context, entry, get, put, stored, template};

async fn open(url: &str, auth: Auth) -> (Bench, Open) {
    let bench = Bench::new().connect("hr", entry(url, auth)).folder("files");
    let open = bench.open().await;
    open.secret("password", "canary-Pa55word").await;
    open.secret("ak", "21000001").await;
    open.secret("sk", "Zk3Vn8QpLr5TwXy1Ba7C").await;
    (bench, open)
}

#[tokio::test]
async fn basic_goes_out_with_the_first_request_and_counts_its_failures() {
    let auth = || Auth::Basic { user: template("Aladdin"), password: stored("password") };
    let good = Peer::start(|seen: &Seen| {
        let right = seen.header("authorization") == Some("Basic QWxhZGRpbjpjYW5hcnktUGE1NXdvcmQ=");
        Reply::new(if right { 200 } else { 401 }, "")
    })
    .await;
    let (_bench, opened) = open(&good.url(), auth()).await;
    assert_eq!(opened.connection("hr").send(put("/x", b"1"), &context()).await.unwrap().status, 200);
    assert_eq!(good.seen().len(), 1);
    let bad = Peer::start(|_seen| Reply::new(401, "")).await;
    let (_bench, opened) = open(&bad.url(), auth()).await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(opened.connection("hr").send(get("/x"), &context()).await.unwrap_err().kind);
    }
    assert_eq!(kinds, [Kind::Unauthorized, Kind::Unauthorized, Kind::LockedOut, Kind::LockedOut]);
    assert_eq!(bad.logins(), 2);
}

#[tokio::test]
async fn api_keys_go_out_as_headers_and_a_401_is_no_login_to_count() {
    let auth = Auth::Headers(vec![
        ("apikey".to_owned(), HeaderSecret { prefix: String::new(), secret: stored("password") }),
        (
            "Authorization".to_owned(),
            HeaderSecret { prefix: "Bearer ".to_owned(), secret: stored("password") },
        ),
    ]);
    let peer = Peer::start(|seen: &Seen| {
        let right = seen.header("apikey") == Some("canary-Pa55word")
            && seen.header("authorization") == Some("Bearer canary-Pa55word");
        let status = if seen.target == "/denied" { 401 } else { 200 };
        Reply::new(if right { status } else { 500 }, "canary-Pa55word")
    })
    .await;
    let (_bench, open) = open(&peer.url(), auth).await;
    let connection = open.connection("hr");
    for _ in 0..5 {
        let failure = connection.send(get("/denied"), &context()).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Unauthorized);
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
    }
    let own = Request { headers: vec![("ApiKey".to_owned(), "mine".to_owned())], ..get("/x") };
    assert_eq!(connection.send(own, &context()).await.unwrap_err().kind, Kind::Refused);
}

/// Checks a signature from what was received alone (facts A1.3).
fn is_signed(seen: &Seen) -> bool {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let pairs = |text: &str| url::form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>();
    let content_type = seen.header("content-type");
    let form = match content_type {
        Some("application/x-www-form-urlencoded") => pairs(&String::from_utf8_lossy(&seen.body)),
        _ => Vec::new(),
    };
    let names = seen.header("x-ca-signature-headers").unwrap();
    assert_eq!(names, "x-ca-key,x-ca-nonce,x-ca-timestamp");
    let mut text = format!("{}\n", seen.method);
    for line in [seen.header("accept"), seen.header("content-md5"), content_type].into_iter().flatten() {
        text.push_str(&format!("{line}\n"));
    }
    for name in names.split(',') {
        text.push_str(&format!("{name}:{}\n", seen.header(name).unwrap()));
    }
    text.push_str(path);
    let mut parameters = std::collections::BTreeMap::new();
    parameters.extend(pairs(query));
    parameters.extend(form);
    let parameters: Vec<_> = parameters
        .into_iter()
        .map(|(name, value)| if value.trim().is_empty() { name } else { format!("{name}={value}") })
        .collect();
    if !parameters.is_empty() {
        text.push_str(&format!("?{}", parameters.join("&")));
    }
    seen.header("x-ca-signature") == Some(aksk::sign("Zk3Vn8QpLr5TwXy1Ba7C", &text).as_str())
}

#[tokio::test]
async fn every_body_kind_is_signed_as_it_is_sent() {
    let peer = Peer::start(|seen: &Seen| Reply::new(if is_signed(seen) { 200 } else { 401 }, "")).await;
    for content_md5 in [false, true] {
        let (_bench, open) =
            open(&peer.url(), Auth::AkSk { key: stored("ak"), secret: stored("sk"), content_md5 }).await;
        let connection = open.connection("hr");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bodies = [
            Body::Empty,
            Body::Content {
                content_type: "application/json;charset=UTF-8".to_owned(),
                data: "{\"a\":1}".into(),
            },
            Body::Form(vec![pair("pageNo", "1"), pair("name", "Ana Núñez&=")]),
            Body::Multipart(Vec::new()),
        ];
        for body in bodies {
            let request = Request {
                method: Method::Post,
                query: vec![pair("pageNo", "9"), pair("Zone", "a/b+c&d"), pair("blank", " ")],
                body,
                ..get("/artemis/api/resource/v1/person/personList")
            };
            connection.send(request, &context()).await.unwrap();
        }
    }
    let with_md5: Vec<_> = peer.seen().iter().map(|seen| seen.header("content-md5").is_some()).collect();
    assert_eq!(with_md5, [false, false, false, false, false, true, true, true]);
    let nonces: std::collections::HashSet<_> =
        peer.seen().iter().map(|seen| seen.header("x-ca-nonce").unwrap().to_owned()).collect();
    assert_eq!(nonces.len(), 8);
}

#[tokio::test]
async fn the_gateways_echo_of_the_app_key_does_not_reach_a_plugin() {
    let peer = Peer::start(|_seen| {
        let text = r#"{"code":"0x02401003","msg":"Invalid Signature! x-ca-key:21000001, secret : Zk3Vn8QpLr5TwXy1Ba7C"}"#;
        Reply::new(200, text).with("X-Ca-Error-Message", "appKey 21000001")
    })
    .await;
    let (_bench, open) =
        open(&peer.url(), Auth::AkSk { key: stored("ak"), secret: stored("sk"), content_md5: false }).await;
    let response = open.connection("hr").send(put("/artemis/x", b"1"), &context()).await.unwrap();
    let shown = format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
    assert!(shown.contains("0x02401003") && shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("21000001") && !shown.contains("Zk3Vn8"), "{shown}");
}

fn exchange(expired_text: Option<&str>, origins: &[&str]) -> Auth {
    Auth::Token(Box::new(TokenExchange {
        path: "/api/token/get".to_owned(),
        body: vec![
            ("appKey".to_owned(), TokenField::Text("key".to_owned())),
            ("secretKey".to_owned(), TokenField::Secret(stored("sk"))),
        ],
        token_pointer: "/data/accessToken".to_owned(),
        expires_pointer: Some("/data/expireTime".to_owned()),
        origin_pointer: Some("/data/areaDomain".to_owned()),
        origin_allow: origins.iter().map(|text| (*text).to_owned()).collect(),
        header: "Authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
        refresh_before: Duration::from_secs(300),
        code_pointer: Some("/errorCode".to_owned()),
        expired: expired_text.map(str::to_owned).into_iter().collect(),
        denied: vec!["LAP300002".to_owned(), "LAP500005".to_owned()],
    }))
}

/// Gives tokens `t1`, `t2`, ..; only the newest is good.
fn cloud(
    expired_status: u16,
    area: Option<String>,
) -> (impl Fn(&Seen) -> Reply + Send + Sync, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let handler = move |seen: &Seen| {
        if seen.target == "/api/token/get" {
            assert_eq!(seen.header("authorization"), None);
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            if body != json!({"appKey": "key", "secretKey": "Zk3Vn8QpLr5TwXy1Ba7C"}) {
                return Reply::new(200, r#"{"errorCode":"LAP500005"}"#);
            }
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let data = json!({"accessToken": format!("canary-t{number}"), "expireTime": 604_800, "areaDomain": area});
            return Reply::new(200, json!({"data": data, "errorCode": "0"}).to_string());
        }
        let newest = format!("Bearer canary-t{}", count.load(Ordering::SeqCst));
        if seen.header("authorization") == Some(newest.as_str()) {
            Reply::new(200, r#"{"errorCode":"0"}"#)
        } else {
            Reply::new(expired_status, r#"{"errorCode":"LAP500004"}"#)
        }
    };
    (handler, given)
}

#[tokio::test]
async fn a_hundred_requests_fetch_one_token() {
    let (handler, given) = cloud(200, None);
    let peer = Peer::start(handler).await;
    let (_bench, open) = open(&peer.url(), exchange(Some("LAP500004"), &[])).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let connection = open.connection("hr");
            tokio::spawn(
                async move { connection.send(put("/api/x", b"1"), &context()).await.unwrap().status },
            )
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(given.load(Ordering::SeqCst), 1);
    assert_eq!(peer.seen().len(), 101);
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_request_repeated_once() {
    for expired_status in [200, 401] {
        let (handler, given) = cloud(expired_status, None);
        let peer = Peer::start(handler).await;
        let (_bench, open) = open(&peer.url(), exchange(Some("LAP500004"), &[])).await;
        let connection = open.connection("hr");
        connection.send(get("/api/x"), &context()).await.unwrap();
        // As if the peer had given a newer one to somebody else.
        given.store(7, Ordering::SeqCst);
        let response = connection.send(put("/api/x", b"1"), &context()).await.unwrap();
        assert_eq!(response.body, r#"{"errorCode":"0"}"#);
        assert_eq!(given.load(Ordering::SeqCst), 8);
        assert_eq!(peer.seen().len(), 5, "token, request, request, token, request");
        given.store(20, Ordering::SeqCst);
        let folder = open.capabilities.folder("files").unwrap();
        let options = DownloadOptions { answer_prefixes: vec!["{".to_owned()], ..DownloadOptions::default() };
        let downloaded = connection.download(get("/api/x"), &folder, "f", options, &context()).await.unwrap();
        let Downloaded::Answered(response) = downloaded else { panic!("it was stored") };
        assert_eq!(response.body, r#"{"errorCode":"0"}"#);
        assert_eq!(given.load(Ordering::SeqCst), 21);
    }
}

#[tokio::test]
async fn requests_move_to_the_declared_area_and_to_no_other() {
    let area = Peer::start(|seen: &Seen| {
        assert_eq!(seen.header("authorization"), Some("Bearer canary-t1"));
        Reply::new(200, "area")
    })
    .await;
    let (handler, _given) = cloud(200, Some(format!("http://127.0.0.1:{}", area.port)));
    let peer = Peer::start(handler).await;
    let (_bench, opened) = open(&peer.url(), exchange(None, &["127.0.0.1"])).await;
    let response = opened.connection("hr").send(get("/api/x"), &context()).await.unwrap();
    assert_eq!(response.body, "area");
    let (_bench, opened) = open(&peer.url(), exchange(None, &["*.hik-partner.com"])).await;
    let failure = opened.connection("hr").send(get("/api/x"), &context()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Refused, Some("host:origin")), "{failure}");
    assert_eq!(area.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_exchange_is_unauthorized_and_made_twice_at_most() {
    let (handler, given) = cloud(200, None);
    let peer = Peer::start(handler).await;
    let (_bench, open) = open(&peer.url(), exchange(None, &[])).await;
    open.secret("sk", "wrong-canary").await;
    let connection = open.connection("hr");
    for kind in [Kind::Unauthorized, Kind::Unauthorized, Kind::LockedOut] {
        let failure = connection.send(get("/api/x"), &context()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(!format!("{failure:?}").contains("canary"));
    }
    assert_eq!((peer.seen().len(), given.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test]
async fn fifty_requests_whose_token_was_revoked_fetch_one_more_between_them() {
    let ended = Arc::new(AtomicUsize::new(0));
    let (asked, newest) = (Arc::clone(&ended), Arc::new(AtomicUsize::new(0)));
    let (given, good) = (Arc::clone(&newest), Arc::clone(&newest));
    let peer = Peer::start(move |seen: &Seen| {
        if seen.target == "/api/token/get" {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let data = json!({"accessToken": format!("canary-r{number}"), "expireTime": 604_800});
            return Reply::new(200, json!({"data": data, "errorCode": "0"}).to_string());
        }
        // The first token is refused whenever it comes.
        if seen.header("authorization") == Some("Bearer canary-r1") {
            asked.fetch_add(1, Ordering::SeqCst);
            return Reply::new(200, r#"{"errorCode":"LAP500004"}"#);
        }
        assert!(good.load(Ordering::SeqCst) == 2);
        Reply::new(200, r#"{"errorCode":"0"}"#)
    })
    .await;
    let (_bench, open) = open(&peer.url(), exchange(Some("LAP500004"), &[])).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let connection = open.connection("hr");
            tokio::spawn(async move { connection.send(put("/api/x", b"1"), &context()).await.unwrap().body })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), r#"{"errorCode":"0"}"#);
    }
    assert_eq!(newest.load(Ordering::SeqCst), 2, "one for all, and one more for all");
    assert!(ended.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn a_limit_on_tokens_is_busy_and_closes_nothing() {
    let limited = Arc::new(AtomicUsize::new(3));
    let left = Arc::clone(&limited);
    let peer = Peer::start(move |seen: &Seen| {
        if seen.target != "/api/token/get" {
            return Reply::new(200, r#"{"errorCode":"0"}"#);
        }
        if left.load(Ordering::SeqCst) > 0 {
            left.fetch_sub(1, Ordering::SeqCst);
            return Reply::new(200, r#"{"errorCode":"LAP500007"}"#);
        }
        Reply::new(200, r#"{"data":{"accessToken":"canary-1","expireTime":604800},"errorCode":"0"}"#)
    })
    .await;
    let (_bench, open) = open(&peer.url(), exchange(Some("LAP500004"), &[])).await;
    let connection = open.connection("hr");
    for _ in 0..3 {
        let failure = connection.send(get("/api/x"), &context()).await.unwrap_err();
        assert_eq!((failure.kind, failure.retry_after), (Kind::Busy, Some(60_000)), "{failure}");
        assert!(failure.message.contains("LAP500007"), "{failure}");
    }
    assert_eq!(connection.send(get("/api/x"), &context()).await.unwrap().status, 200);
}
