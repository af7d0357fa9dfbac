//! What goes out, what comes back, and what each way to fail is called.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bascule_capability::http::{Body, CallContext, Method, Request};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::project::{self, Auth};
use tokio::net::TcpListener;

use crate::support::peer::Seen;
use crate::support::{
    Bench, Open, Peer, Reply, context, digest_auth, entry, get, no_params, put, stored, template,
};

async fn open(entry: project::Connection) -> (Bench, Open) {
    let bench = Bench::new().connect("hr", entry);
    let open = bench.open().await;
    open.secret("password", "canary-Pa55word").await;
    (bench, open)
}

fn impatient(url: &str) -> project::Connection {
    let mut entry = entry(url, Auth::None);
    let short = Duration::from_millis(150);
    entry.timeouts = project::Timeouts { connect: short, normal: short, slow: short, bulk: short };
    entry
}

async fn fails(entry: project::Connection, request: Request) -> Failure {
    let (_bench, open) = open(entry).await;
    open.connection("hr").send(request, &context()).await.unwrap_err()
}

#[tokio::test]
async fn a_request_carries_what_it_should_and_nothing_of_the_environment() {
    let peer = Peer::start(|_seen| Reply::new(200, "ok").with("X-A", "1").with("Set-Cookie", "s=1")).await;
    let mut hr = entry(&format!("{}/rest", peer.url()), Auth::None);
    hr.headers.insert("X-Client-Info".to_owned(), "bascule".to_owned());
    let (_bench, open) = open(hr).await;
    let mut request = get("/v1/employees");
    request.query =
        vec![("select".to_owned(), "*,biometrics(*)".to_owned()), ("id".to_owned(), "eq.a&b=c".to_owned())];
    request.headers = vec![("Prefer".to_owned(), "count=exact".to_owned())];
    let connection = open.connection("hr");
    for _ in 0..2 {
        let response = connection.send(request.clone(), &context()).await.unwrap();
        assert_eq!(response.headers.iter().filter(|(name, _)| name == "x-a").count(), 1);
        assert!(response.headers.iter().all(|(name, _)| name != "set-cookie"));
    }
    let seen = peer.seen().pop().unwrap();
    assert_eq!(seen.target, "/rest/v1/employees?select=*,biometrics(*)&id=eq.a%26b%3Dc");
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "prefer", "user-agent", "x-client-info"]);
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!(seen.header("host"), Some(format!("127.0.0.1:{}", peer.port).as_str()));
}

#[tokio::test]
async fn the_origin_names_its_port() {
    let (_bench, open) = open(entry("https://hr.example/rest", Auth::None)).await;
    let connection = open.connection("hr");
    assert_eq!((connection.name(), connection.origin()), ("hr", "https://hr.example:443"));
    assert_eq!(connection.peer(), "https://hr.example:443");
}

#[tokio::test]
async fn no_redirect_is_followed_wherever_it_leads() {
    let stranger = Peer::start(|_seen| Reply::new(200, "stolen")).await;
    let port = stranger.port;
    let locations = [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://user:pass@127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://localhost:{port}/"),
        format!("\\\\127.0.0.1:{port}\\"),
        "http://169.254.169.254/latest".to_owned(),
        "/elsewhere".to_owned(),
        "https://127.0.0.1/".to_owned(),
    ];
    for same_origin in [false, true] {
        for status in [301, 302, 303, 307, 308] {
            for location in &locations {
                let (status, to) = (status, location.clone());
                let peer = Peer::start(move |seen| match seen.target.as_str() {
                    "/elsewhere" => Reply::new(200, "moved"),
                    _ => Reply::new(status, "").with("Location", to.clone()),
                })
                .await;
                let mut hr =
                    entry(&peer.url(), Auth::Basic { user: template("admin"), password: stored("password") });
                hr.redirects_same_origin = same_origin;
                let (_bench, open) = open(hr).await;
                for request in [get("/x"), put("/x", b"1")] {
                    let is_get = request.method == Method::Get;
                    let answer = open.connection("hr").send(request, &context()).await;
                    match answer {
                        Ok(response) if same_origin && is_get && location == "/elsewhere" => {
                            assert_eq!((response.status, &response.body[..]), (200, b"moved".as_slice()));
                        }
                        Ok(response) => assert_eq!(response.status, status, "{location}"),
                        Err(failure) => {
                            assert!(same_origin && is_get, "{location}: {failure}");
                            assert_eq!(failure.kind, Kind::Refused, "{location}: {failure}");
                        }
                    }
                }
            }
        }
    }
    assert!(stranger.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_into_a_forbidden_path_or_a_circle_is_refused() {
    let peer = Peer::start(|seen: &Seen| {
        Reply::new(302, "").with("Location", if seen.target == "/a" { "/b" } else { "/a" })
    })
    .await;
    let mut hr = entry(&peer.url(), Auth::None);
    hr.redirects_same_origin = true;
    assert_eq!(fails(hr.clone(), get("/a")).await.kind, Kind::Protocol);
    hr.allow.paths = vec!["/a".to_owned()];
    assert_eq!(fails(hr, get("/a")).await.kind, Kind::Refused);
}

#[tokio::test]
async fn what_the_policy_forbids_is_not_sent() {
    let peer = Peer::start(|_seen| Reply::new(200, "")).await;
    let mut hr = entry(&peer.url(), Auth::None);
    hr.allow.methods = vec!["GET".to_owned()];
    hr.allow.paths = vec!["/ISAPI/System".to_owned()];
    let (_bench, open) = open(hr).await;
    let connection = open.connection("hr");
    let with_header = |name: &str| Request {
        headers: vec![(name.to_owned(), "1".to_owned())],
        ..get("/ISAPI/System/deviceInfo")
    };
    for request in [
        put("/ISAPI/System/deviceInfo", b""),
        get("/ISAPI/Security/users"),
        get("/ISAPI/System/../Security/users"),
        get("/ISAPI/System/%2e%2e/Security/users"),
        get("http://169.254.169.254/"),
        get("//169.254.169.254/"),
        with_header("Authorization"),
        with_header("Host"),
        with_header("Content-Length"),
    ] {
        let failure = connection.send(request.clone(), &context()).await.unwrap_err();
        assert_eq!((failure.kind, failure.effect), (Kind::Refused, Effect::None), "{request:?}");
    }
    assert!(peer.seen().is_empty());
    connection.send(get("/ISAPI/System/deviceInfo"), &context()).await.unwrap();
}

#[tokio::test]
async fn parameters_are_checked_and_make_the_address() {
    let peer = Peer::start(|_seen| Reply::new(200, "")).await;
    let mut hr = entry("http://${{ device.ip }}:${{ device.port }}", Auth::None);
    hr.params = vec!["device".to_owned()];
    hr.allow.addresses = vec!["127.0.0.1/32".to_owned()];
    let (_bench, open) = open(hr).await;
    let with = |params: serde_json::Value| open.capabilities.connection("hr", params.as_object().unwrap());
    let good = with(serde_json::json!({"device": {"ip": "127.0.0.1", "port": peer.port}})).unwrap();
    assert_eq!(good.send(get("/"), &context()).await.unwrap().status, 200);
    let failure = with(serde_json::json!({})).unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput);
    assert_eq!(failure.message, "connection `hr` needs the parameter `device`");
    let failure = with(serde_json::json!({"device": {}, "x": 1, "y": 2})).unwrap_err();
    assert_eq!(failure.message, "connection `hr` has no parameter `x`, `y`");
    let failure = with(serde_json::json!({"device": {"ip": "10.0.0.7"}})).unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput, "{failure}");
    for ip in
        ["10.0.0.7", "127.0.0.2", "169.254.169.254", "[::1]", "evil.example@10.0.0.7", "127.0.0.1@10.0.0.7"]
    {
        let failure = with(serde_json::json!({"device": {"ip": ip, "port": 80}})).unwrap_err();
        assert!(matches!(failure.kind, Kind::Refused | Kind::InvalidInput), "{ip}: {failure}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused() {
    let peer = Peer::start(|_seen| Reply::new(200, "")).await;
    let mut hr = entry(&format!("http://localhost:{}", peer.port), Auth::None);
    hr.allow.addresses = vec!["10.0.0.0/8".to_owned()];
    let failure = fails(hr, get("/")).await;
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Refused, Some("host:address")), "{failure}");
    assert!(failure.message.contains("outside allow.addresses"), "{failure}");
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn nobody_there_is_offline_and_changed_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = fails(impatient(&format!("http://127.0.0.1:{port}")), put("/x", b"1")).await;
    assert_eq!((failure.kind, failure.effect), (Kind::Offline, Effect::None));
    assert_eq!(failure.message, format!("hr at 127.0.0.1:{port} refuses connections"));
    let failure = fails(impatient("http://no-such-name.invalid"), get("/")).await;
    assert_eq!(failure.kind, Kind::Offline);
    assert_eq!(failure.message, "hr at no-such-name.invalid:80: its name has no address");
}

#[tokio::test]
async fn silence_is_a_timeout_of_unknown_effect_for_a_write() {
    let peer = Peer::start(|_seen| Reply::Hang(Vec::new())).await;
    for (request, effect) in [(get("/x"), Effect::None), (put("/x", b"1"), Effect::Unknown)] {
        let failure = fails(impatient(&peer.url()), request).await;
        assert_eq!((failure.kind, failure.effect), (Kind::Timeout, effect));
        assert!(
            failure.message.contains("did not answer within 0.1 s") || failure.message.contains("0.2 s"),
            "{failure}"
        );
    }
    let half =
        Peer::start(|_seen| Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec())).await;
    let failure = fails(impatient(&half.url()), put("/x", b"1")).await;
    assert_eq!((failure.kind, failure.effect), (Kind::Timeout, Effect::Unknown));
}

#[tokio::test]
async fn a_lost_answer_to_a_probe_without_body_says_that_nothing_was_done() {
    let peer = Peer::start(|_seen| Reply::Raw(Vec::new())).await;
    for (request, effect) in [
        (put("/x", b"1"), Effect::None),
        (Request { method: Method::Delete, ..get("/x") }, Effect::Unknown),
        (get("/x"), Effect::None),
    ] {
        let failure = fails(entry(&peer.url(), digest_auth()), request.clone()).await;
        assert_eq!((failure.kind, failure.effect), (Kind::Offline, effect), "{request:?}: {failure}");
    }
}

#[tokio::test]
async fn a_broken_answer_is_not_asked_for_again() {
    for raw in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"] {
        let peer = Peer::start(move |_seen| Reply::Raw(raw.to_vec())).await;
        let failure = fails(entry(&peer.url(), Auth::None), put("/x", b"1")).await;
        assert_eq!((failure.kind, failure.effect), (Kind::Offline, Effect::Unknown), "{failure}");
        assert_eq!(peer.seen().len(), 1, "sent once");
    }
}

#[tokio::test]
async fn answers_that_are_not_plain_http_are_protocol_failures() {
    let many = (0..300).map(|index| format!("X-{index}: 1\r\n")).collect::<String>();
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    for raw in [
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        long,
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let shown: String = raw.chars().take(60).collect();
        let peer = Peer::start(move |_seen| Reply::Raw(raw.clone().into_bytes())).await;
        let failure = fails(entry(&peer.url(), Auth::None), put("/x", b"1")).await;
        assert_eq!((failure.kind, failure.effect), (Kind::Protocol, Effect::Unknown), "{shown:?}: {failure}");
    }
}

#[tokio::test]
async fn an_answer_over_the_cap_is_refused_whether_announced_or_not() {
    let length = Peer::start(|_seen| Reply::new(200, vec![b'x'; 1001])).await;
    let chunked = Peer::start(|_seen| {
        let mut raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..20 {
            raw.extend_from_slice(b"40\r\n");
            raw.extend_from_slice(&[b'x'; 0x40]);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"0\r\n\r\n");
        Reply::Raw(raw)
    })
    .await;
    let until_close = Peer::start(|_seen| {
        let mut raw = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        raw.extend_from_slice(&[b'x'; 1001]);
        Reply::Raw(raw)
    })
    .await;
    for peer in [length, chunked, until_close] {
        let mut hr = entry(&peer.url(), Auth::None);
        hr.max_response_bytes = 1000;
        let failure = fails(hr, get("/x")).await;
        assert_eq!(
            (failure.kind, failure.code.as_deref()),
            (Kind::Protocol, Some("host:max-response")),
            "{failure}"
        );
    }
    let exact = Peer::start(|_seen| Reply::new(200, vec![b'x'; 1000])).await;
    let mut hr = entry(&exact.url(), Auth::None);
    hr.max_response_bytes = 1000;
    let (_bench, open) = open(hr).await;
    assert_eq!(open.connection("hr").send(get("/x"), &context()).await.unwrap().body.len(), 1000);
}

#[tokio::test]
async fn cancelling_and_the_deadline_end_a_request() {
    let peer = Peer::start(|_seen| Reply::Hang(Vec::new())).await;
    let (_bench, open) = open(entry(&peer.url(), Auth::None)).await;
    let connection = open.connection("hr");
    let cancelled = context();
    let (sent, cancel) = (connection.clone(), cancelled.clone());
    let running = tokio::spawn(async move { sent.send(put("/x", b"1"), &cancel).await.unwrap_err() });
    while peer.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    cancelled.cancel.cancel();
    let failure = running.await.unwrap();
    assert_eq!((failure.kind, failure.effect), (Kind::Cancelled, Effect::Unknown));
    let late =
        CallContext { deadline: tokio::time::Instant::now() + Duration::from_millis(100), ..context() };
    let failure = connection.send(get("/x"), &late).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Timeout, Some("host:deadline")));
}

#[tokio::test]
async fn a_401_without_credentials_to_give_says_so() {
    let peer = Peer::start(|_seen| Reply::new(401, "{\"message\":\"No API key found in request\"}")).await;
    let failure = fails(entry(&peer.url(), Auth::None), get("/x")).await;
    assert_eq!(failure.kind, Kind::Unauthorized);
    assert!(failure.message.contains("`auth: none`"), "{failure}");
    assert_eq!(failure.details.unwrap()["answer"], "{\"message\":\"No API key found in request\"}");
}

#[tokio::test]
async fn only_one_request_is_in_flight_where_parallel_is_one() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (most_seen, now_seen) = (Arc::clone(&most), Arc::clone(&now));
    let server = tokio::spawn(async move {
        let mut sockets = tokio::task::JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (most, now) = (Arc::clone(&most_seen), Arc::clone(&now_seen));
            sockets.spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut buffer = [0; 4096];
                while socket.read(&mut buffer).await.unwrap_or(0) > 0 {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    });
    let mut hr = entry(&format!("http://127.0.0.1:{port}"), Auth::None);
    hr.parallel = 1;
    let (_bench, open) = open(hr).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            // Each run asks for its own connection; they share the peer.
            let connection = open.capabilities.connection("hr", &no_params()).unwrap();
            tokio::spawn(async move { connection.send(get("/x"), &context()).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    server.abort();
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_body_is_sent_whole_with_its_length() {
    let peer = Peer::start(|seen| Reply::new(200, seen.body.len().to_string())).await;
    let (_bench, open) = open(entry(&peer.url(), Auth::None)).await;
    let data = bytes::Bytes::from(vec![7_u8; 3_000_001]);
    let request = Request {
        method: Method::Post,
        body: Body::Content { content_type: "application/octet-stream".to_owned(), data },
        ..get("/x")
    };
    let response = open.connection("hr").send(request, &context()).await.unwrap();
    assert_eq!(response.body, "3000001");
    assert_eq!(peer.seen()[0].header("content-length"), Some("3000001"));
}
