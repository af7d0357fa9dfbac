//! WASI is there, so that guests from other toolchains load, and gives nothing away.

use anyhow::{Context as _, Result};
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Limits};
use serde_json::{Value, json};

use crate::stage::{Heard, call, host, load, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_looks_around_finds_nothing() -> Result<()> {
    let host = host(Limits::default())?;
    let nosy = load(&host, "nosy")?;
    let seen = call(&host, &nosy, "nosy.look", Value::Null).await?;
    assert_eq!(
        seen,
        json!([
            "environment []",
            "arguments []",
            "folder None",
            "files 0",
            "lookup of localhost: Err(\"permanent-resolver-failure\")",
            "lookup of example.com: Err(\"permanent-resolver-failure\")",
            "lookup of 127.0.0.1: Err(\"permanent-resolver-failure\")",
            "lookup of 169.254.169.254: Err(\"permanent-resolver-failure\")",
            "tcp v4: Err(\"access-denied\")",
            "udp v4: Err(\"access-denied\")",
            "tcp v6: Err(\"access-denied\")",
            "udp v6: Err(\"access-denied\")",
            "random true",
            "clock true",
        ])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_of_wasi_run_out_too() -> Result<()> {
    let host = host(Limits::default())?;
    let nosy = load(&host, "nosy")?;
    let failure = call(&host, &nosy, "nosy.hoard", Value::Null).await.err().context("it did not fail")?;
    assert_eq!(failure.code.as_deref(), Some("host:handles"), "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_output_and_error_go_to_the_log() -> Result<()> {
    let host = host(Limits::default())?;
    let nosy = load(&host, "nosy")?;
    let (heard, nothing) = (Heard::default(), Capabilities::default());
    let call = Call::new("nosy.print", &Value::Null, within(20_000), &nothing).heard_by(heard.listener());
    host.call(&nosy, call).await?;
    let mut lines = heard.lines();
    lines.sort();
    assert_eq!(lines, [r"info: and \u{1b}[31mmore", "info: to standard output", "warn: to standard error"]);
    Ok(())
}
