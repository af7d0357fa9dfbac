//! Values through a real component.

use anyhow::{Context as _, Result};
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Context, Level, Limits, Report};
use bascule_workflow::failure::{Effect, Kind};
use serde_json::{Value, json};

use crate::stage::{Heard, call, host, load, within};

fn everything() -> Value {
    json!({
        "flag": true,
        "tiny": 255,
        "small": -32768,
        "medium": 4_294_967_295_u32,
        "large": u64::MAX,
        "signed": i64::MIN,
        "single": 0.1,
        "double": 1e300,
        "letter": "ä",
        "text": "a \u{0} \" 漢字",
        "any": { "list": [1, 2.5, null, { "deep": "yes" }] },
        "when": "2026-11-21T03:51:00+02:00",
        "raw": "AAH/",
        "points": [{ "x_axis": 1, "y_axis": -1 }, { "x_axis": 0, "y_axis": 2_147_483_647 }],
        "maybe": null,
        "pair": ["left", 65535],
        "color": "dark-red",
        "days": ["monday", "wednesday"],
        "figure": { "named-point": { "x_axis": 3, "y_axis": 4 } },
        "outcome": { "err": "no" },
    })
}

#[tokio::test]
async fn every_type_goes_in_and_comes_out() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let mut value = everything();
    assert_eq!(call(&host, &probe, "values.echo", json!({ "value": value })).await?, value);
    for (key, other) in [
        ("figure", json!("nothing")),
        ("figure", json!({ "circle": 0.5 })),
        ("outcome", json!({ "ok": 7 })),
        ("maybe", json!("there")),
        ("days", json!([])),
        ("points", json!([])),
        ("any", json!(null)),
        ("raw", json!("")),
    ] {
        value[key] = other;
        assert_eq!(call(&host, &probe, "values.echo", json!({ "value": value })).await?, value, "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn names_may_be_written_as_people_write_them() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    for with in [
        json!({ "firstWord": "a" }),
        json!({ "first-word": "a", "second_word": null }),
        json!({ "first_word": "a" }),
    ] {
        assert_eq!(call(&host, &probe, "values.join", with).await?, "a nothing");
    }
    let failure = call(&host, &probe, "values.join", json!({ "firstWord": 12 }))
        .await
        .err()
        .context("it did not fail")?;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (Kind::InvalidInput, "with.first_word: expected string, got number 12")
    );
    let failure = call(&host, &probe, "values.jion", json!({})).await.err().context("it did not fail")?;
    assert_eq!(failure.message, "plugin `probe` has no function `values.jion`, did you mean `values.join`?");
    Ok(())
}

#[tokio::test]
async fn a_failure_arrives_as_the_plugin_made_it() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let with = json!({ "kind": "locked-out", "code": "probe:x", "message": "try later", "effect": "applied", "retry_after": 1500, "details": { "a": [1] } });
    let failure = call(&host, &probe, "values.fail", with).await.err().context("it did not fail")?;
    assert_eq!(
        (failure.kind, failure.effect, failure.retry_after),
        (Kind::LockedOut, Effect::Applied, Some(1500))
    );
    assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some("probe:x"), "try later"));
    assert_eq!(failure.details, Some(json!({ "a": [1] })));
    for kind in Kind::ALL {
        let with = json!({ "kind": kind.name(), "message": "m", "effect": "none" });
        let failure = call(&host, &probe, "values.fail", with).await.err().context("it did not fail")?;
        assert_eq!(failure.kind, kind);
    }
    Ok(())
}

#[tokio::test]
async fn hostile_results_are_failures_of_the_protocol() -> Result<()> {
    let host = host(Limits::default())?;
    let bad = load(&host, "bad_json")?;
    for (function, with, start) in [
        ("values.echo-json", json!({ "value": 1 }), "result: the plugin returned text that is not JSON"),
        ("values.nan", json!({}), "result: the plugin returned NaN"),
        (
            "values.echo",
            json!({ "value": everything() }),
            "result.when: the plugin returned `half past nine`",
        ),
    ] {
        let failure = call(&host, &bad, function, with).await.err().context("it did not fail")?;
        assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Protocol, Some("host:bad-result")));
        assert!(failure.message.starts_with(start), "{failure}");
    }
    let with = json!({ "kind": "busy", "message": "", "effect": "none" });
    let failure = call(&host, &bad, "values.fail", with).await.err().context("it did not fail")?;
    assert!(failure.message.starts_with(r"line one\nline two \u{1b}[2Jxxx") && failure.message.len() < 2100);
    assert!(failure.code.is_some_and(|code| code.len() < 210));
    assert!(
        failure.details.is_some_and(|details| details["text"].as_str().is_some_and(|text| text.len() < 2100))
    );
    Ok(())
}

#[tokio::test]
async fn a_call_knows_what_it_is_part_of() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let context =
        Context { attempt: 3, idempotency_key: "0123456789abcdef0123456789abcdef".into(), ..within(20_000) };
    let nothing = Capabilities::default();
    let info = host.call(&probe, Call::new("info.call", &Value::Null, context, &nothing)).await?;
    assert_eq!(info["attempt"], 3);
    assert_eq!(info["idempotency_key"], "0123456789abcdef0123456789abcdef");
    assert_eq!(info["cancelled"], false);
    assert!(info["remaining"].as_u64().is_some_and(|left| (1..=20_000).contains(&left)), "{info}");
    let now: jiff::Timestamp = info["now"].as_str().context("no time")?.parse()?;
    assert!(jiff::Timestamp::now().duration_since(now).abs() < jiff::SignedDuration::from_secs(60));
    Ok(())
}

#[tokio::test]
async fn what_a_plugin_says_is_heard_in_order() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let (heard, nothing) = (Heard::default(), Capabilities::default());
    let with = json!({ "lines": ["one", "two\n"] });
    let call = Call::new("info.say", &with, within(20_000), &nothing).heard_by(heard.listener());
    assert_eq!(host.call(&probe, call).await?, Value::Null);
    let log = |message: &str| Report::Log { level: Level::Info, message: message.into() };
    let progress = |done| Report::Progress { done, total: Some(2), unit: "lines".into() };
    assert_eq!(heard.reports(), [log("one"), progress(1), log("two\\n"), progress(2)]);
    Ok(())
}

#[tokio::test]
async fn a_large_list_goes_there_and_back() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let value = json!(vec![json!({ "employeeNo": "12345678", "name": "somebody with a name" }); 20_000]);
    assert_eq!(call(&host, &probe, "values.echo-json", json!({ "value": value })).await?, value);
    Ok(())
}

#[tokio::test]
async fn the_bytes_of_a_photo_go_there_and_back() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let mut value = everything();
    // 600 KiB
    value["raw"] = json!("AAECAwQF".repeat(100 * 1024));
    assert_eq!(call(&host, &probe, "values.echo", json!({ "value": value })).await?, value);
    Ok(())
}
