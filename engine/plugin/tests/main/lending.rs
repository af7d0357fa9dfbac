//! What a call is lent, and that there is no way around it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Limits, Sink};
use bascule_workflow::failure::{Failure, Kind};
use serde_json::{Value, json};

use crate::stage::{Peer, Stage, host, load, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_lent_by_name() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let peer = Peer::start().await?;
    let stage = Stage::open(peer.port).await?;
    for name in [json!("peer"), json!({ "connection": "peer" })] {
        let with = json!({ "peer": name, "path": "/a/b" });
        let answer =
            host.call(&probe, Call::new("lent.get", &with, within(20_000), &stage.capabilities)).await?;
        assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")));
        let headers = answer["headers"].to_string().to_lowercase();
        assert!(headers.contains("x-kind") && !headers.contains("cookie"), "{headers}");
    }
    let with = json!({ "peer": "peer" });
    let described =
        host.call(&probe, Call::new("lent.describe", &with, within(20_000), &stage.capabilities)).await?;
    assert_eq!(described, format!("peer at http://127.0.0.1:{}", peer.port));
    assert!(
        peer.requests().iter().all(|head| head.starts_with("GET /a/b HTTP/1.1\r\n")),
        "{:?}",
        peer.requests()
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_in_the_inventory_cannot_be_lent() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let nothing = Capabilities::default();
    for (function, with, message) in [
        (
            "lent.describe",
            json!({ "peer": "pear" }),
            "with.peer: there is no connection `pear` in bascule.yaml",
        ),
        (
            "lent.files",
            json!({ "in": "x", "name": "a", "data": "" }),
            "with.in: there is no folder `x` in bascule.yaml",
        ),
        (
            "lent.remember",
            json!({ "in": "x", "key": "a", "value": 1 }),
            "with.in: there is no store `x` in bascule.yaml",
        ),
        ("lent.describe", json!({}), "with: `peer` is missing"),
        (
            "lent.count-up",
            json!({ "count": 1 }),
            "with: this function takes a sink: it is an event source, which a trigger starts, not a step",
        ),
    ] {
        let failure = host.call(&probe, Call::new(function, &with, within(20_000), &nothing)).await;
        let failure = failure.err().context("it did not fail")?;
        assert_eq!((failure.kind, failure.message.as_str()), (Kind::InvalidInput, message));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_leads_to_another_address() -> Result<()> {
    let host = host(Limits::default())?;
    let smuggle = load(&host, "smuggle")?;
    let (peer, other) = (Peer::start().await?, Peer::start().await?);
    let stage = Stage::open(peer.port).await?;
    let with = json!({ "peer": "peer", "argument": other.port.to_string() });
    let seen =
        host.call(&smuggle, Call::new("device.run", &with, within(60_000), &stage.capabilities)).await?;
    let seen = seen.as_array().context("no list")?;
    assert_eq!(seen.len(), 41);
    for attempt in seen {
        let attempt = attempt.as_str().context("no text")?;
        assert!(attempt.starts_with("ErrorKind::Refused for "), "{attempt}");
    }
    assert_eq!((other.connections(), peer.requests().len()), (0, 0), "{:?}", peer.requests());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_and_stores_are_lent_by_name() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let stage = Stage::open(9).await?;
    let with = json!({ "in": "files", "name": "sub/a.bin", "data": "AAEC" });
    let seen = host.call(&probe, Call::new("lent.files", &with, within(20_000), &stage.capabilities)).await?;
    assert_eq!(seen, json!(["sub/a.bin 3 true", "sub/a.bin"]));
    let with = json!({ "in": "files", "name": "../out", "data": "AAEC" });
    let out = host.call(&probe, Call::new("lent.files", &with, within(20_000), &stage.capabilities)).await;
    assert_eq!(out.err().map(|failure| failure.kind), Some(Kind::Refused));

    for version in 1..=2 {
        let with = json!({ "in": { "store": "notes" }, "key": "k", "value": { "a": version } });
        let stored =
            host.call(&probe, Call::new("lent.remember", &with, within(20_000), &stage.capabilities)).await?;
        assert_eq!(stored, json!([{ "a": version }, version]));
    }
    Ok(())
}

#[derive(Default)]
struct Events {
    emitted: Mutex<Vec<(Value, Option<String>)>>,
    cursor: Mutex<Option<Value>>,
    notes: Mutex<Vec<String>>,
}

#[async_trait]
impl Sink for Events {
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).push((event, key));
        Ok(())
    }

    async fn cursor(&self) -> Result<Option<Value>, Failure> {
        Ok(self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save_cursor(&self, cursor: Value) -> Result<(), Failure> {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = Some(cursor);
        Ok(())
    }

    fn state(&self, connected: bool, note: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{connected} {note}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_source_is_lent_the_sink_of_its_trigger() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let (events, nothing) = (Arc::new(Events::default()), Capabilities::default());
    let with = json!({ "count": 2 });
    for _ in 0..2 {
        let call = Call::new("lent.count-up", &with, within(20_000), &nothing).with_sink(events.clone());
        assert_eq!(host.call(&probe, call).await?, Value::Null);
    }
    let emitted = events.emitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expected: Vec<_> =
        (0..4).map(|number| (json!({ "number": number }), Some(number.to_string()))).collect();
    assert_eq!(emitted, expected);
    assert_eq!(*events.cursor.lock().unwrap_or_else(PoisonError::into_inner), Some(json!(4)));
    assert_eq!(
        *events.notes.lock().unwrap_or_else(PoisonError::into_inner),
        ["true counting", "true counting"]
    );
    Ok(())
}
