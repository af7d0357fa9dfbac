//! Why the host's digest auth is its own and diqwest's session is not used (`docs/decisions/digest.md`). If one of
//! these fails after an update of diqwest, the decision is due again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "this target needs a part of it")]
#[path = "http/support/mod.rs"]
mod support;

use std::sync::Arc;

use diqwest::{DigestAuthSession, WithDigestAuth};
use futures_util::stream;
use support::digest::{Device, Rules};
use support::{Peer, Reply};

const PASSWORD: &str = "canary-Pa55word";

/// Accepts what RFC 7616 has a client send, without insisting on the echo of `algorithm`.
async fn device(rules: Rules) -> (Peer, Arc<Device>) {
    let device = Arc::new(Device::new(rules));
    let served = Arc::clone(&device);
    let peer = Peer::start(move |seen| {
        // What the challenge named must come back; without it the answer is over another hash and wrong.
        match seen.header("authorization") {
            Some(header) if !header.contains("algorithm=SHA-256") => served.unauthorized(false),
            _ => served.check(seen).unwrap_or_else(|| Reply::new(200, "")),
        }
    })
    .await;
    (peer, device)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn its_session_forgets_sha_256_after_the_first_call_and_is_refused_once_in_every_later_one() {
    let rules = Rules { uses: 1000, algorithm: Some("SHA-256"), ..Rules::default() };
    let (peer, device) = device(rules).await;
    let session = DigestAuthSession::new("admin", PASSWORD);
    let (client, url) = (client(), format!("{}/x", peer.url()));
    assert_eq!(client.get(&url).send_digest_auth(&session).await.unwrap().status(), 200);
    assert_eq!(peer.seen().len(), 2);
    for call in 1..=5 {
        let before = peer.seen().len();
        assert_eq!(client.get(&url).send_digest_auth(&session).await.unwrap().status(), 200);
        let sent = peer.seen().split_off(before);
        let first = sent[0].header("authorization").unwrap();
        assert!(!first.contains("algorithm=SHA-256"), "call {call} kept the algorithm: {first}");
        assert!(sent.len() > 1, "call {call} was let in at once");
    }
    assert_eq!(device.good(), 6);
}

#[tokio::test]
async fn it_does_not_send_a_streamed_body() {
    let (peer, _device) = device(Rules { algorithm: Some("SHA-256"), ..Rules::default() }).await;
    let body =
        reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"x"))]));
    let sent = client().put(peer.url()).body(body).send_digest_auth(("admin", PASSWORD)).await;
    assert!(sent.is_err());
    assert!(peer.seen().is_empty(), "it failed before sending anything");
}

#[tokio::test]
async fn it_sends_a_body_twice() {
    let (peer, _device) = device(Rules { algorithm: Some("SHA-256"), ..Rules::default() }).await;
    let body = vec![0_u8; 100_000];
    client().put(peer.url()).body(body).send_digest_auth(("admin", PASSWORD)).await.unwrap();
    let bytes: usize = peer.seen().iter().map(|seen| seen.body.len()).sum();
    assert_eq!(bytes, 200_000);
}

#[tokio::test]
async fn it_reads_only_the_first_challenge_and_only_upper_case() {
    let basic_first = Peer::start(|_seen| {
        Reply::new(401, "")
            .with("WWW-Authenticate", "Basic realm=\"x\"")
            .with("WWW-Authenticate", "Digest realm=\"x\", nonce=\"n\", qop=\"auth\"")
    })
    .await;
    let lower_case = Peer::start(|_seen| {
        Reply::new(401, "")
            .with("WWW-Authenticate", "Digest realm=\"x\", nonce=\"n\", qop=\"auth\", algorithm=md5")
    })
    .await;
    for peer in [basic_first, lower_case] {
        assert!(client().get(peer.url()).send_digest_auth(("admin", PASSWORD)).await.is_err());
        assert_eq!(peer.logins(), 0);
    }
}
