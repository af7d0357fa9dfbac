//! Guests that misbehave: each ends its own call, with its own code, and nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Host, Limits, Plugin};
use bascule_workflow::failure::{Effect, Failure, Kind};
use serde_json::{Value, json};

use crate::stage::{self, Begun, Heard, Heartbeat, Peer, Stage, call, guest, host, load, within};

const MIB: u64 = 1024 * 1024;
/// The bar of the design: what guests may delay the host's timers by.
const MOST_LAG: Duration = Duration::from_millis(50);

/// Grows a table without end, which Rust cannot be told to do.
fn grow_table() -> Result<Vec<u8>> {
    let wat = r#"
        (module
            (table $t 1 funcref)
            (memory (export "memory") 1)
            (func (export "bascule:attack/attack@0.1.0#run") (param i64) (result i32)
                (loop $again
                    (drop (table.grow $t (ref.null func) (i32.const 10000)))
                    (br $again))
                (unreachable))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable)))
    "#;
    stage::component_of(wat, include_str!("../../../../tests/guests/wit/attack/plugin.wit"))
}

async fn attack(host: &Host, plugin: &Plugin, amount: u64, milliseconds: u64) -> Result<Value, Failure> {
    let (nothing, with) = (Capabilities::default(), json!({ "amount": amount }));
    host.call(plugin, Call::new("attack.run", &with, within(milliseconds), &nothing)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hostile_guest_ends_one_call_and_nothing_else() -> Result<()> {
    let host = host(Limits { result_bytes: 4 * 1024 * 1024, ..Limits::default() })?;
    let probe = load(&host, "probe")?;
    let table: &[(&str, u64, u64, Kind, &str)] = &[
        ("spin", 0, 300, Kind::Timeout, "host:deadline"),
        ("grow_memory", 0, 30_000, Kind::Internal, "host:memory-limit"),
        ("grow_table", 0, 30_000, Kind::Internal, "host:table-limit"),
        ("recurse", 0, 30_000, Kind::Internal, "host:stack-overflow"),
        ("trap", 0, 30_000, Kind::Internal, "host:trap"),
        ("host_calls", u64::MAX, 30_000, Kind::Internal, "host:host-calls"),
        ("hand_over", 40 * MIB, 30_000, Kind::Internal, "host:fuel"),
        ("big_result", 5 * MIB, 30_000, Kind::Protocol, "host:result-limit"),
    ];
    let mut plugins = Vec::new();
    for (name, ..) in table {
        let bytes = if *name == "grow_table" { grow_table()? } else { guest(name)? };
        plugins.push(host.load(name, &bytes, None)?);
    }
    let heartbeat = Heartbeat::start();
    for ((name, amount, milliseconds, kind, code), plugin) in table.iter().zip(&plugins) {
        let begun = Instant::now();
        let failure = attack(&host, plugin, *amount, *milliseconds).await.err().context("it did not fail")?;
        assert_eq!(
            (failure.kind, failure.code.as_deref(), failure.effect),
            (*kind, Some(*code), Effect::None),
            "{name}: {failure}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} took {:?}", begun.elapsed());
        let joined = call(&host, &probe, "values.join", json!({ "first_word": "still" })).await?;
        assert_eq!(joined, "still nothing", "after {name}");
    }
    let lag = heartbeat.lag();
    assert!(lag < MOST_LAG, "the heartbeat was {lag:?} late");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_says_where_it_happened() -> Result<()> {
    let host = host(Limits::default())?;
    let trap = load(&host, "trap")?;
    let failure = attack(&host, &trap, 0, 30_000).await.err().context("it did not fail")?;
    assert_eq!(failure.message, "the plugin trapped: wasm `unreachable` instruction executed");
    let details = failure.details.context("no details")?.to_string();
    assert!(details.contains("panic_in_a_function_with_a_name"), "{details}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_spinners_end_in_time_and_delay_nobody() -> Result<()> {
    let host = host(Limits::default())?;
    let spin = load(&host, "spin")?;
    let probe = load(&host, "probe")?;
    let heartbeat = Heartbeat::start();
    let begun = Instant::now();
    let all = futures(64, || attack(&host, &spin, 0, 500));
    let innocent = call(&host, &probe, "values.join", json!({ "first_word": "let me through" }));
    let (ended, innocent) = tokio::join!(all, innocent);
    let took = begun.elapsed();
    assert_eq!(innocent?, "let me through nothing");
    for failure in ended {
        let failure = failure.err().context("a spinner ended well")?;
        assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Timeout, Some("host:deadline")));
    }
    assert!(took < Duration::from_secs(5), "they took {took:?}");
    let lag = heartbeat.lag();
    assert!(lag < MOST_LAG, "the heartbeat was {lag:?} late");
    Ok(())
}

/// Runs so many at once.
async fn futures<F: Future>(count: usize, make: impl Fn() -> F) -> Vec<F::Output> {
    let mut running: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut ended = Vec::new();
    std::future::poll_fn(|context| {
        running.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                ended.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_flood_is_cut_and_the_call_goes_on() -> Result<()> {
    let host = host(Limits::default())?;
    let flood = load(&host, "flood_log")?;
    let (heard, nothing, with) = (Heard::default(), Capabilities::default(), json!({ "amount": 3000 }));
    let call = Call::new("attack.run", &with, within(30_000), &nothing).heard_by(heard.listener());
    assert_eq!(host.call(&flood, call).await?, "done");
    let lines = heard.lines();
    assert!(lines.len() < 1100, "{} lines", lines.len());
    assert!(lines[0].starts_with(r"info: \n2026-11-21 ERROR \u{1b}[31mforged"), "{}", lines[0]);
    let total: usize = lines.iter().map(String::len).sum();
    assert!(total < 1_200_000, "{total} bytes");
    let last = lines.last().context("no lines")?;
    assert!(
        last.starts_with("warn: host:log-flood: 19") && last.ends_with("log lines were dropped"),
        "{last}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_its_peer_ends_in_time() -> Result<()> {
    let host = host(Limits::default())?;
    let slow = load(&host, "slow_host_call")?;
    let peer = Peer::start().await?;
    let stage = Stage::open(peer.port).await?;
    // The connection's own failure reaches the run where the guest is still there to pass it on.
    let (of_connection, of_host) = ("the step's own time was up", "the plugin did not end within 1s");
    for (how, message, effect) in [
        ("get", of_connection, Effect::None),
        ("post", of_connection, Effect::Unknown),
        ("get-then-spin", of_host, Effect::None),
        ("post-then-spin", of_host, Effect::Unknown),
    ] {
        let begun = Instant::now();
        let with = json!({ "peer": "peer", "argument": how });
        let failure =
            host.call(&slow, Call::new("device.run", &with, within(1000), &stage.capabilities)).await;
        let failure = failure.err().context("it did not fail")?;
        assert_eq!((failure.kind, failure.effect), (Kind::Timeout, effect), "{how}: {failure:?}");
        assert_eq!(
            (failure.code.as_deref(), failure.message.as_str()),
            (Some("host:deadline"), message),
            "{how}"
        );
        assert!(begun.elapsed() < Duration::from_secs(3), "{how} took {:?}", begun.elapsed());
    }
    assert_eq!(peer.requests().len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_never_dropped_run_out() -> Result<()> {
    let host = host(Limits { handles: 20, ..Limits::default() })?;
    let many = load(&host, "many_handles")?;
    let peer = Peer::start().await?;
    let stage = Stage::open(peer.port).await?;
    let with = json!({ "peer": "peer", "argument": "" });
    let failure = host.call(&many, Call::new("device.run", &with, within(30_000), &stage.capabilities)).await;
    let failure = failure.err().context("it did not fail")?;
    assert_eq!(
        (failure.kind, failure.code.as_deref()),
        (Kind::Internal, Some("host:handles")),
        "{failure:?}"
    );
    assert!(peer.requests().len() <= 21);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_lets_a_guest_end_in_order_and_ends_one_that_does_not() -> Result<()> {
    let host = host(Limits { host_calls: u64::MAX, ..Limits::default() })?;
    let nothing = Capabilities::default();
    let with =
        [("probe", "info.until-cancelled", Value::Null), ("spin", "attack.run", json!({ "amount": 0 }))];
    let mut ended = Vec::new();
    for (name, function, with) in &with {
        let plugin = load(&host, name)?;
        let (context, begun) = (within(60_000), Begun::default());
        let cancel = context.cancel.clone();
        let call = Call::new(function, with, context.clone(), &nothing).heard_by(begun.listener());
        let (outcome, cancelled_at) = tokio::join!(host.call(&plugin, call), async {
            begun.wait().await;
            cancel.cancel();
            Instant::now()
        });
        assert!(cancelled_at.elapsed() < Duration::from_secs(10), "{name}");
        ended.push(outcome.map_err(|failure| (failure.kind, failure.code)));
        let never = host.call(&plugin, Call::new(function, with, context, &nothing)).await;
        assert_eq!(never.err().map(|failure| failure.kind), Some(Kind::Cancelled), "{name}");
    }
    assert_eq!(
        ended,
        [Ok(json!("ended in order")), Err((Kind::Cancelled, Some("host:cancelled".to_owned())))]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_call_ends_its_guest() -> Result<()> {
    let host = host(Limits::default())?;
    let spin = load(&host, "spin")?;
    let (nothing, with, begun) = (Capabilities::default(), json!({ "amount": 0 }), Begun::default());
    let call = Call::new("attack.run", &with, within(3_600_000), &nothing).heard_by(begun.listener());
    tokio::select! {
        ended = host.call(&spin, call) => anyhow::bail!("it ended: {ended:?}"),
        () = begun.wait() => {}
    }
    // The ticker is joined here, and it ends only after the last guest.
    let dropped_at = Instant::now();
    drop(host);
    assert!(dropped_at.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_the_cap_wait_and_time_out_in_the_queue() -> Result<()> {
    let host = host(Limits { live_calls: 1, ..Limits::default() })?;
    let spin = load(&host, "spin")?;
    let (first, second) = tokio::join!(attack(&host, &spin, 0, 1500), attack(&host, &spin, 0, 300));
    assert_eq!(first.err().and_then(|failure| failure.code).as_deref(), Some("host:deadline"));
    let second = second.err().context("it did not fail")?;
    assert_eq!(
        (second.kind, second.code.as_deref(), second.effect),
        (Kind::Timeout, Some("host:queue"), Effect::None)
    );
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_calls_took_comes_back() -> Result<()> {
    let host = host(Limits::default())?;
    let attackers = [load(&host, "grow_memory")?, load(&host, "recurse")?, load(&host, "trap")?];
    for attacker in &attackers {
        attack(&host, attacker, 0, 30_000).await.err().context("it did not fail")?;
    }
    let before = stage::resident_mib()?;
    for _ in 0..30 {
        for attacker in &attackers {
            attack(&host, attacker, 0, 30_000).await.err().context("it did not fail")?;
        }
    }
    // Other tests run in this process at the same time: wait until there is one moment without their memory.
    for _ in 0..100 {
        if stage::resident_mib()? < before + 48 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(false, "{} MiB before, {} MiB after 90 failed calls", before, stage::resident_mib()?);
    Ok(())
}
