//! Whom a TLS connection believes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bascule_workflow::failure::{Effect, Kind};
use bascule_workflow::project::{self, Auth, Tls};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use crate::support::{Bench, Peer, Reply, context, entry, get, no_params, put, stored, template};

struct Identity {
    config: Arc<rustls::ServerConfig>,
    fingerprint: String,
    pem: String,
}

/// A self-signed certificate, as devices have.
fn identity(names: &[&str]) -> Identity {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let fingerprint = hex::encode(Sha256::digest(&der));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    Identity { config: Arc::new(config), fingerprint, pem: made.cert.pem() }
}

fn basic(port: u16, tls: Tls) -> project::Connection {
    let auth = Auth::Basic { user: template("admin"), password: stored("password") };
    let mut made = entry(&format!("https://127.0.0.1:{port}"), auth);
    made.tls = tls;
    made
}

async fn opened(bench: &Bench) -> crate::support::Open {
    let open = bench.open().await;
    open.secret("password", "canary-Pa55word").await;
    open
}

#[tokio::test]
async fn an_unpinned_self_signed_certificate_is_refused_with_the_way_out() {
    let identity = identity(&["127.0.0.1"]);
    let peer = Peer::start_tls(identity.config, |_seen| Reply::new(200, "")).await;
    let bench = Bench::new().connect("terminal", basic(peer.port, Tls::default()));
    let open = opened(&bench).await;
    let failure = open.connection("terminal").send(put("/x", b"1"), &context()).await.unwrap_err();
    assert_eq!((failure.kind, failure.effect), (Kind::Refused, Effect::None), "{failure}");
    assert!(
        failure.message.contains(
            "the certificate is not trusted: if this device's certificate is self-signed, look at its fingerprint and \
             run `bascule connection pin terminal`"
        ),
        "{failure}"
    );
    assert!(peer.seen().is_empty(), "no byte of a request, and no credentials");
}

#[tokio::test]
async fn a_pinned_certificate_is_believed_whatever_its_name_and_another_is_not() {
    let identity = identity(&["a-device.invalid"]);
    let peer = Peer::start_tls(identity.config, |_seen| Reply::new(200, "ok")).await;
    let good = Tls { pins: vec![format!("sha256:{}", identity.fingerprint)], ..Tls::default() };
    let bad = Tls { pins: vec![format!("sha256:{}", "00".repeat(32))], ..Tls::default() };
    let bench = Bench::new()
        .connect("good", basic(peer.port, good))
        .connect("bad", basic(peer.port, bad))
        .connect("odd", basic(peer.port, Tls { pins: vec!["sha256:12".to_owned()], ..Tls::default() }));
    let open = opened(&bench).await;
    let report = open.connection("good").test(&context()).await.unwrap();
    assert_eq!(
        (report.status, report.tls_fingerprint.as_deref()),
        (200, Some(identity.fingerprint.as_str()))
    );
    let failure = open.connection("bad").send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert!(failure.message.contains("the certificate is not the pinned one"), "{failure}");
    assert!(failure.message.contains(&identity.fingerprint), "{failure}");
    assert_eq!(
        open.connection("odd").send(get("/x"), &context()).await.unwrap_err().kind,
        Kind::InvalidInput
    );
    assert_eq!(peer.seen().len(), 1);
}

#[tokio::test]
async fn a_fingerprint_is_looked_at_pinned_per_peer_and_survives_a_restart() {
    let first = identity(&["x"]);
    let peer = Peer::start_tls(first.config, |_seen| Reply::new(200, "ok")).await;
    let other = identity(&["x"]);
    let stranger = Peer::start_tls(other.config, |_seen| Reply::new(200, "ok")).await;
    let mut made = basic(peer.port, Tls { stored_pin: true, ..Tls::default() });
    made.url = template("https://127.0.0.1:${{ port }}");
    made.params = vec!["port".to_owned()];
    made.allow.addresses = vec!["127.0.0.1".to_owned()];
    let bench = Bench::new().connect("terminal", made);
    let open = opened(&bench).await;
    let at = |port: u16| serde_json::json!({ "port": port }).as_object().unwrap().clone();
    let connection = open.capabilities.connection("terminal", &at(peer.port)).unwrap();
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap_err().kind, Kind::Refused);
    let shown = open.capabilities.fetch_fingerprint("terminal", &at(peer.port)).await.unwrap();
    assert_eq!(shown, first.fingerprint);
    assert!(peer.seen().is_empty(), "looking sends nothing");
    open.capabilities.store_pin("terminal", connection.peer(), &shown).await.unwrap();
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200, "at once");
    let elsewhere = open.capabilities.connection("terminal", &at(stranger.port)).unwrap();
    assert_eq!(
        elsewhere.send(get("/x"), &context()).await.unwrap_err().kind,
        Kind::Refused,
        "a pin is one peer's"
    );
    // Another certificate behind the same peer key.
    open.capabilities.store_pin("terminal", elsewhere.peer(), &shown).await.unwrap();
    let failure = elsewhere.send(get("/x"), &context()).await.unwrap_err();
    assert!(failure.message.contains("not the pinned one"), "{failure}");
    assert!(stranger.seen().is_empty());
    open.database.close().await;
    drop(open);
    let open = bench.open().await;
    let connection = open.capabilities.connection("terminal", &at(peer.port)).unwrap();
    assert_eq!(connection.send(get("/x"), &context()).await.unwrap().status, 200);
    assert_eq!(
        open.capabilities.store_pin("terminal", "p", "12").await.unwrap_err().kind,
        Kind::InvalidInput
    );
    assert_eq!(open.capabilities.store_pin("none", "p", &shown).await.unwrap_err().kind, Kind::InvalidInput);
}

#[tokio::test]
async fn a_ca_file_stands_in_for_the_systems_roots() {
    let identity = identity(&["127.0.0.1"]);
    let peer = Peer::start_tls(identity.config, |_seen| Reply::new(200, "ok")).await;
    let tls = Tls { ca_file: Some("ca.pem".to_owned()), ..Tls::default() };
    let bench = Bench::new().connect("hr", basic(peer.port, tls));
    std::fs::write(bench.folder.path().join("ca.pem"), &identity.pem).unwrap();
    let open = opened(&bench).await;
    assert_eq!(open.connection("hr").send(get("/x"), &context()).await.unwrap().status, 200);
    let bench = Bench::new()
        .connect("hr", basic(peer.port, Tls { ca_file: Some("no.pem".to_owned()), ..Tls::default() }));
    let open = opened(&bench).await;
    let failure = open.connection("hr").send(get("/x"), &context()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput, "{failure}");
}

#[tokio::test]
async fn there_is_nothing_to_pin_in_clear_text() {
    let peer = Peer::start(|_seen| Reply::new(200, "")).await;
    let bench = Bench::new().connect("terminal", entry(&peer.url(), Auth::None));
    let open = bench.open().await;
    let failure = open.capabilities.fetch_fingerprint("terminal", &no_params()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidInput);
    let bench =
        Bench::new().connect("terminal", entry(&format!("https://127.0.0.1:{}", peer.port), Auth::None));
    let open = bench.open().await;
    let failure = open.capabilities.fetch_fingerprint("terminal", &no_params()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Refused, Some("host:tls")), "{failure}");
    let failure = open.connection("terminal").send(get("/"), &context()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Refused, Some("host:tls")), "{failure}");
}
