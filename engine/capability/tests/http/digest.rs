//! Digest auth against a peer that recomputes it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bascule_capability::http::{Method, Request};
use bascule_workflow::failure::{Effect, Kind};
use bascule_workflow::project::Auth;

use crate::support::digest::{Device, Rules, Spent};
use crate::support::{Bench, Open, Peer, Reply, context, digest_auth, entry, get, put, stored, template};

const PASSWORD: &str = "canary-Pa55word";

async fn device(rules: Rules) -> (Peer, Arc<Device>) {
    let device = Arc::new(Device::new(rules));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| served.check(seen).unwrap_or_else(|| Reply::new(200, "{}"))).await;
    (peer, device)
}

async fn terminal(peer: &Peer, auth: Auth) -> (Bench, Open) {
    let bench = Bench::new().connect("terminal", entry(&peer.url(), auth));
    let open = bench.open().await;
    open.secret("password", PASSWORD).await;
    (bench, open)
}

fn reusing() -> Auth {
    Auth::Digest { user: template("admin"), password: stored("password"), reuse_nonces: true }
}

#[tokio::test]
async fn every_form_of_challenge_is_answered_with_one_login_a_request() {
    let forms = [
        Rules::default(),
        Rules { algorithm: Some("MD5"), opaque: Some("799d5"), ..Rules::default() },
        Rules { algorithm: Some("md5"), opaque: Some(""), ..Rules::default() },
        Rules { algorithm: Some("SHA-256"), ..Rules::default() },
        Rules { algorithm: Some("SHA-512-256"), ..Rules::default() },
        Rules { algorithm: Some("MD5-sess"), ..Rules::default() },
        Rules { algorithm: Some("SHA-256-sess"), ..Rules::default() },
        Rules { qop: None, ..Rules::default() },
        Rules { qop: None, algorithm: Some("SHA-256"), ..Rules::default() },
        Rules { qop: Some("auth-int"), ..Rules::default() },
        Rules { qop: Some("auth,auth-int"), ..Rules::default() },
        Rules { userhash: true, algorithm: Some("SHA-256"), ..Rules::default() },
    ];
    for rules in forms {
        let (peer, device) = device(rules.clone()).await;
        let (_bench, open) = terminal(&peer, digest_auth()).await;
        let connection = open.connection("terminal");
        for request in [get("/ISAPI/System/deviceInfo"), put("/ISAPI/x", b"{\"a\":1}"), get("/ISAPI/y")] {
            let response = connection.send(request, &context()).await.unwrap();
            assert_eq!(response.status, 200, "{rules:?}");
        }
        assert_eq!((device.good(), device.failed(), device.spent()), (3, 0, 0), "{rules:?}");
        assert_eq!(peer.seen().len(), 6, "a probe and a login each");
    }
}

#[tokio::test]
async fn a_body_goes_out_once_and_the_probe_names_the_same_address() {
    let (peer, _device) = device(Rules::default()).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let mut request = put("/ISAPI/Intelligent/FDLib/FDModify", b"{\"faceLibType\":\"blackFD\"}");
    request.query = vec![("format".to_owned(), "json".to_owned())];
    open.connection("terminal").send(request, &context()).await.unwrap();
    let seen = peer.seen();
    assert_eq!(seen.len(), 2);
    for one in &seen {
        assert_eq!(
            (one.method.as_str(), one.target.as_str()),
            ("PUT", "/ISAPI/Intelligent/FDLib/FDModify?format=json")
        );
    }
    assert_eq!((seen[0].body.len(), seen[0].header("content-length")), (0, Some("0")));
    assert!(seen[0].header("authorization").is_none() && seen[0].header("content-type").is_none());
    assert_eq!(seen[1].body, b"{\"faceLibType\":\"blackFD\"}");
    assert_eq!(seen[1].header("content-type"), Some("application/json"));
    assert!(seen[1].header("authorization").unwrap().contains("nc=00000001"));
}

#[tokio::test]
async fn a_fresh_nonce_called_stale_is_tried_once_more_and_no_oftener() {
    let device = Arc::new(Device::new(Rules { uses: 0, spent: Spent::Stale, ..Rules::default() }));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| served.check(seen).unwrap_or_else(|| Reply::new(200, ""))).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let failure = open.connection("terminal").send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Unauthorized);
    assert_eq!(peer.logins(), 2, "once, and once more");
    assert_eq!(peer.seen().len(), 3, "the second challenge came with the first refusal");
}

#[tokio::test]
async fn a_wrong_password_is_sent_once_a_request_and_twice_in_all() {
    let (peer, device) = device(Rules { password: "another", ..Rules::default() }).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let connection = open.connection("terminal");
    for count in 1..=2 {
        let failure = connection.send(put("/x", b"1"), &context()).await.unwrap_err();
        assert_eq!((failure.kind, failure.effect), (Kind::Unauthorized, Effect::None));
        assert!(failure.message.contains(&format!("failed {count} of the 2 times")), "{failure}");
        assert!(failure.message.contains("`bascule secret set password`"), "{failure}");
    }
    let before = peer.seen().len();
    let failure = connection.send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::LockedOut);
    assert!(failure.retry_after.unwrap() > 29 * 60_000);
    assert_eq!(peer.seen().len(), before, "nothing is sent");
    assert_eq!(device.failed(), 2);
}

#[tokio::test]
async fn a_hundred_at_once_with_a_wrong_password_make_two_logins_and_a_restart_none() {
    let (peer, device) = device(Rules { password: "another", ..Rules::default() }).await;
    let mut wide = entry(&peer.url(), digest_auth());
    wide.parallel = 50;
    // Two names for one peer share the guard.
    let bench = Bench::new().connect("terminal", wide.clone()).connect("same", wide);
    let open = bench.open().await;
    open.secret("password", PASSWORD).await;
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            let connection = open.connection(if index % 2 == 0 { "terminal" } else { "same" });
            tokio::spawn(async move { connection.send(get("/x"), &context()).await.unwrap_err().kind })
        })
        .collect();
    let mut kinds = Vec::new();
    for task in tasks {
        kinds.push(task.await.unwrap());
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Unauthorized).count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::LockedOut).count(), 98);
    assert_eq!(device.failed(), 2);
    open.database.close().await;
    drop(open);
    let open = bench.open().await;
    let failure = open.connection("terminal").send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::LockedOut);
    assert_eq!(device.failed(), 2);
}

#[tokio::test]
async fn setting_another_secret_ends_the_guards_pause_at_once() {
    let (peer, device) = device(Rules { password: "the right one", ..Rules::default() }).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let connection = open.connection("terminal");
    for _ in 0..3 {
        connection.send(get("/x"), &context()).await.unwrap_err();
    }
    open.secret("password", "the right one").await;
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
    assert_eq!((device.failed(), device.good()), (2, 1));
}

#[tokio::test]
async fn the_devices_own_lock_reaches_the_user_and_nothing_more_is_sent() {
    let body = "<userCheck><statusValue>401</statusValue><lockStatus>lock</lockStatus><unlockTime>1795</unlockTime>\
                <retryLoginTime>0</retryLoginTime></userCheck>";
    let device = Device::new(Rules::default());
    for status in [401, 403] {
        for with_credentials in [false, true] {
            let challenge = device.challenge(false);
            let peer = Peer::start(move |seen| {
                if with_credentials && seen.header("authorization").is_none() {
                    return Reply::new(401, "").with("WWW-Authenticate", challenge.clone());
                }
                Reply::new(status, body).with("WWW-Authenticate", challenge.clone())
            })
            .await;
            let (bench, open) = terminal(&peer, digest_auth()).await;
            let failure = open.connection("terminal").send(get("/x"), &context()).await.unwrap_err();
            assert_eq!(failure.kind, Kind::LockedOut, "{failure}");
            assert_eq!(
                failure.message,
                format!("terminal at 127.0.0.1:{} has locked this account: locked for 29 min", peer.port)
            );
            assert_eq!(failure.retry_after, Some(1_795_000));
            let sent = peer.seen().len();
            assert_eq!(sent, if with_credentials { 2 } else { 1 });
            open.database.close().await;
            drop(open);
            let open = bench.open().await;
            let failure = open.connection("terminal").send(get("/x"), &context()).await.unwrap_err();
            assert_eq!(failure.kind, Kind::LockedOut);
            assert_eq!(peer.seen().len(), sent);
        }
    }
}

#[tokio::test]
async fn a_forbidden_request_is_an_answer_and_no_failed_login() {
    let device = Arc::new(Device::new(Rules::default()));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| {
        served.check(seen).unwrap_or_else(|| Reply::new(403, "<subStatusCode>lowPrivilege</subStatusCode>"))
    })
    .await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    for _ in 0..5 {
        let response = open.connection("terminal").send(get("/x"), &context()).await.unwrap();
        assert_eq!((response.status, &response.body[..16]), (403, b"<subStatusCode>l".as_slice()));
    }
}

#[tokio::test]
async fn a_device_with_only_basic_gets_none_and_the_message_says_what_to_set() {
    let peer = Peer::start(|_seen| Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"")).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let failure = open.connection("terminal").send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Unauthorized);
    assert!(
        failure.message.ends_with("the device offers only Basic; set auth: basic if you accept that"),
        "{failure}"
    );
    assert_eq!(peer.logins(), 0);
}

#[tokio::test]
async fn a_device_that_asks_for_nothing_gets_the_real_request_without_credentials() {
    let peer = Peer::start(|seen| {
        if seen.method == "PUT" && seen.body.is_empty() {
            Reply::new(400, "no body")
        } else {
            Reply::new(200, "ok")
        }
    })
    .await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let connection = open.connection("terminal");
    assert_eq!(connection.send(put("/x", b"data"), &context()).await.unwrap().status, 200);
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
    let bodies: Vec<_> = peer.seen().into_iter().map(|seen| seen.body.len()).collect();
    assert_eq!(bodies, [0, 4, 0]);
    assert_eq!(peer.logins(), 0);
}

#[tokio::test]
async fn sha_256_is_chosen_and_a_later_offer_of_md5_alone_is_refused() {
    let weak = std::sync::atomic::AtomicBool::new(false);
    let weak = Arc::new(weak);
    let device = Arc::new(Device::new(Rules { algorithm: Some("SHA-256"), ..Rules::default() }));
    let (served, weakened) = (Arc::clone(&device), Arc::clone(&weak));
    let peer = Peer::start(move |seen| {
        let md5 = "Digest realm=\"IP Camera(83813)\", nonce=\"aa\", qop=\"auth\", algorithm=MD5";
        if weakened.load(std::sync::atomic::Ordering::SeqCst) {
            return Reply::new(401, "").with("WWW-Authenticate", md5);
        }
        match served.check(seen) {
            Some(refused) => {
                refused.with("WWW-Authenticate", md5).with("WWW-Authenticate", "Basic realm=\"x\"")
            }
            None => Reply::new(200, ""),
        }
    })
    .await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let connection = open.connection("terminal");
    let report = connection.test(&context()).await.unwrap();
    assert_eq!((report.status, report.scheme.as_str()), (200, "digest SHA-256"));
    weak.store(true, std::sync::atomic::Ordering::SeqCst);
    let failure = connection.send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Refused, "{failure}");
    assert_eq!(peer.logins(), 1);
}

#[tokio::test]
async fn reused_nonces_count_up_and_take_one_request_each() {
    let (peer, device) = device(Rules { uses: 1000, ..Rules::default() }).await;
    let mut wide = entry(&peer.url(), reusing());
    wide.parallel = 16;
    let bench = Bench::new().connect("terminal", wide);
    let open = bench.open().await;
    open.secret("password", PASSWORD).await;
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let connection = open.connection("terminal");
            tokio::spawn(async move { connection.send(put("/x", b"1"), &context()).await.unwrap().status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!((device.good(), device.spent(), device.failed()), (40, 0, 0));
    assert_eq!(peer.seen().len(), 41, "one probe for all");
    drop(bench);
}

#[tokio::test]
async fn a_spent_nonce_costs_one_round_and_is_no_failed_login() {
    for (spent, uses, rounds) in [(Spent::Stale, 2, 1), (Spent::Challenge, 5, 1), (Spent::Challenge, 1, 1)] {
        let (peer, device) = device(Rules { uses, spent, ..Rules::default() }).await;
        let (_bench, open) = terminal(&peer, reusing()).await;
        let connection = open.connection("terminal");
        for _ in 0..50 {
            assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
        }
        assert_eq!((device.good(), device.failed()), (50, 0), "{spent:?}");
        assert!(peer.seen().len() <= 51 + 50 * rounds, "{spent:?} {}", peer.seen().len());
    }
}

#[tokio::test]
async fn a_device_that_answers_reuse_with_a_bare_401_is_never_asked_to_again() {
    let (peer, device) = device(Rules { uses: 1, spent: Spent::Nothing, ..Rules::default() }).await;
    let (_bench, open) = terminal(&peer, reusing()).await;
    let connection = open.connection("terminal");
    for _ in 0..20 {
        assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
    }
    assert_eq!(
        (device.good(), device.failed(), device.spent()),
        (20, 0, 1),
        "one try, then fresh challenges"
    );
}

#[tokio::test]
async fn two_thousand_challenges_never_draw_basic_out() {
    use std::sync::Mutex;

    let offers = Arc::new(Mutex::new(Vec::<String>::new()));
    let next = Arc::clone(&offers);
    let peer = Peer::start(move |_seen| {
        next.lock()
            .unwrap()
            .iter()
            .fold(Reply::new(401, ""), |reply, offer| reply.with("WWW-Authenticate", offer))
    })
    .await;
    // A bad login is counted for its user, so each variant is another one.
    let mut many = entry(
        &peer.url(),
        Auth::Digest { user: template("${{ user }}"), password: stored("password"), reuse_nonces: false },
    );
    many.params = vec!["user".to_owned()];
    many.key = Some(template("${{ user }}"));
    many.url = template(&peer.url());
    let bench = Bench::new().connect("terminal", many);
    let open = bench.open().await;
    open.secret("password", PASSWORD).await;

    let basics = ["Basic realm=\"x\"", "basic", "BASIC realm=x", "Basic", "Basic realm=\"Digest\""];
    let digests = [
        "Digest realm=\"x\", nonce=\"1\", qop=\"auth\"",
        "digest realm=x,nonce=2",
        "Digest realm=\"x\", nonce=\"3\", algorithm=SHA-256, qop=\"auth,auth-int\"",
        "Digest realm=\"x\", nonce=\"4\", algorithm=WHAT",
        "Digest realm=\"x\", nonce=\"5, qop=auth",
        "Digest",
        "Digest realm=\"x\"",
        "Digest nonce=\"6\", qop=\"auth-int\", realm=\"\", stale=TRUE",
        "DIGEST  realm = \"y\" , nonce = \"7\" , opaque=\"\"",
        "Digest realm=\"x\", nonce=\"8\", qop=\"\"",
    ];
    let joins = [", ", ",", " , ", "|"];
    let mut variants: Vec<Vec<String>> = Vec::new();
    for basic in basics {
        for digest in digests {
            for join in joins {
                let (one, other) = (basic.to_owned(), digest.to_owned());
                if join == "|" {
                    variants.push(vec![one.clone(), other.clone()]);
                    variants.push(vec![other, one]);
                } else {
                    variants.push(vec![format!("{one}{join}{other}")]);
                    variants.push(vec![format!("{other}{join}{one}")]);
                }
            }
        }
        variants.push(vec![basic.to_owned()]);
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let base = variants.clone();
    while variants.len() < 2_000 {
        let mut variant = base[random(base.len())].clone();
        for text in &mut variant {
            let mut characters: Vec<char> = text.chars().collect();
            for _ in 0..=random(3) {
                let at = random(characters.len());
                match random(3) {
                    0 => characters[at] = ['"', ',', '=', ' ', '\\', 'B', ';'][random(7)],
                    1 => characters.insert(at, ['"', ',', '=', ' ', '\\', 'b', '\t'][random(7)]),
                    _ if characters.len() > 1 => {
                        characters.remove(at);
                    }
                    _ => {}
                }
            }
            *text = characters.into_iter().collect::<String>().trim().to_owned();
        }
        variants.push(variant);
    }
    for (index, variant) in variants.iter().enumerate() {
        offers.lock().unwrap().clone_from(variant);
        let params = serde_json::json!({ "user": format!("u{index}") });
        let connection = open.capabilities.connection("terminal", params.as_object().unwrap()).unwrap();
        let failure = connection.send(get("/x"), &context()).await.unwrap_err();
        assert!(matches!(failure.kind, Kind::Unauthorized | Kind::Refused), "{variant:?}: {failure:?}");
    }
    let seen = peer.seen();
    assert!(seen.len() > variants.len());
    let mut digests = 0;
    for one in seen {
        for (name, value) in &one.headers {
            if name.eq_ignore_ascii_case("authorization") {
                assert!(value.starts_with("Digest "), "{value}");
                digests += 1;
            }
            assert!(!value.contains(PASSWORD));
        }
    }
    assert!(digests > 300, "{digests}");
}

#[tokio::test]
async fn no_secret_stands_in_any_failure_or_debug_text() {
    // A peer that throws back all it is sent.
    let peer = Peer::start(|seen| {
        let echo = seen.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
        let reply = Reply::new(401, format!("{echo} password=canary-Pa55word"));
        reply.with("WWW-Authenticate", "Digest realm=\"canary-Pa55word\", nonce=\"n\", qop=\"auth\"")
    })
    .await;
    let basic = Auth::Basic { user: template("admin"), password: stored("password") };
    for auth in [digest_auth(), basic] {
        let (_bench, open) = terminal(&peer, auth).await;
        let connection = open.connection("terminal");
        let failure = connection.send(get("/x"), &context()).await.unwrap_err();
        let shown =
            format!("{failure} {failure:?} {connection:?} {}", serde_json::to_string(&failure).unwrap());
        let in_base64 =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "admin:canary-Pa55word");
        for form in ["canary", "Pa55word", &in_base64] {
            assert!(!shown.contains(form), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_independent_client_is_let_in_by_the_same_peer() {
    use diqwest::WithDigestAuth;

    let (peer, device) = device(Rules { uses: 1000, algorithm: Some("MD5"), ..Rules::default() }).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client
        .get(format!("{}/ISAPI/System/deviceInfo", peer.url()))
        .send_digest_auth(("admin", PASSWORD))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!((device.good(), device.failed()), (1, 0));
}

#[tokio::test]
async fn every_method_signs_its_own_name() {
    let (peer, device) = device(Rules::default()).await;
    let (_bench, open) = terminal(&peer, digest_auth()).await;
    let methods = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
    ];
    for method in methods {
        let request = Request { method, ..get("/x") };
        assert_eq!(
            open.connection("terminal").send(request, &context()).await.unwrap().status,
            200,
            "{method:?}"
        );
    }
    assert_eq!((device.good(), device.failed()), (7, 0));
}
