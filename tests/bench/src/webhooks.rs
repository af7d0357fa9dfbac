//! Webhooks into the real `bascule serve` at a fixed rate, against a plain program that keeps a row for each; afterwards
//! everything that was accepted is looked for: one delivery, one run, one effect.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_database::Database;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::load::{Answered, Load};
use crate::machine::{Watch, cpu_of, flushes, memory_of, peak_memory_of};
use crate::receiver::Receiver;
use crate::samples::{Samples, number};
use crate::served::Served;
use crate::{Pace, mib, say};

/// How often it is looked how many runs wait.
const LOOK: Duration = Duration::from_millis(500);
/// How long the queue may take to drain after the last request.
const DRAINS_WITHIN: Duration = Duration::from_secs(900);
/// What stands in `bascule.yaml` in place of the receiver's port.
const PORT: &str = "RECEIVER_PORT";

/// Where everything is; `cargo xtask bench` writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Program and arguments that serve the project.
    pub(crate) engine: Vec<String>,
    /// For what it logs.
    pub(crate) log: PathBuf,
    /// The project's `bascule.yaml`.
    pub(crate) inventory: PathBuf,
    /// The project's database.
    pub(crate) database: PathBuf,
    /// For the plain program's database.
    pub(crate) plain: PathBuf,
    /// The webhook's key.
    pub(crate) key: String,
    /// Requests for each second, and for how long.
    pub(crate) rate: u32,
    pub(crate) seconds: u64,
}

pub(crate) async fn measure(path: &Path, pace: Pace) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(path)?)?;
    // The plain side has a part of the time before and another one after.
    let part = (plan.seconds / pace.of(2, 4)).max(1);
    say(&format!(
        "webhooks: {} /s for {} s at fixed times, every tenth a repetition; latencies count from the time at which a request \
         was due",
        plan.rate, plan.seconds
    ));
    let watch = Watch::start(None);
    let mut flush = Samples::default();
    flush.push(flushes(&plan.plain)?.median() * 1e3);
    let before = plain(&plan, "before", part).await?;
    let ours = engine(&plan).await?;
    let after = plain(&plan, "after", part).await?;
    flush.push(flushes(&plan.plain)?.median() * 1e3);

    let mut plain = before;
    plain.latencies.extend(&after.latencies);
    say(&row("bascule serve", &ours));
    say(&row("axum and a row in SQLite", &plain));
    let at = |part: f64| ours.latencies.quantile(part) / plain.latencies.quantile(part);
    say(&format!(
        "  ratio: {} x of the median, {} x of the 99th percentile",
        number(at(0.5)),
        number(at(0.99))
    ));
    say(&format!("  a write of 4 KiB and its flush: {} ms", number(flush.median())));
    say(&watch.caveat(&Samples::default()));
    Ok(())
}

fn row(what: &str, answered: &Answered) -> String {
    let at = |part| number(answered.latencies.quantile(part) * 1e3);
    format!(
        "  {what:26} {:>6} answered, {:>5} /s: p50 {} ms, p90 {} ms, p99 {} ms, p99.9 {} ms, max {} ms (begun at most {} ms \
         late)",
        answered.count(),
        number(count(answered.count()) / answered.seconds),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        number(answered.late * 1e3)
    )
}

/// The load against `bascule serve`, and the judgement of what is left.
async fn engine(plan: &Plan) -> Result<Answered> {
    let receiver = Receiver::start().await?;
    let inventory = fs::read_to_string(&plan.inventory)?;
    fs::write(&plan.inventory, inventory.replace(PORT, &receiver.port.to_string()))?;
    let mut server = Served::start(&plan.engine, &plan.log).await?;
    let idle = memory_of(server.process).unwrap_or_default();
    let database = Database::open_read_only(&plan.database).await?;
    let load = Load {
        url: format!("{}/hooks/passage", server.url),
        key: plan.key.clone(),
        rate: plan.rate,
        seconds: plan.seconds,
        name: "hook",
    };
    let cpu = cpu_of(server.process);
    let begun = Instant::now();
    let sending = load.send();
    tokio::pin!(sending);
    let mut most_open = 0;
    let answered = loop {
        tokio::select! {
            answered = &mut sending => break answered?,
            () = tokio::time::sleep(LOOK) => most_open = most_open.max(open_runs(&database).await?),
        }
    };
    let ended = Instant::now();
    let left = open_runs(&database).await?;
    while open_runs(&database).await? > 0 {
        server.check()?;
        ensure!(ended.elapsed() < DRAINS_WITHIN, "runs still wait {DRAINS_WITHIN:?} after the last request");
        tokio::time::sleep(LOOK / 10).await;
    }
    let drained = ended.elapsed();
    let used = cpu.zip(cpu_of(server.process)).map(|(before, after)| after - before);
    let peak = peak_memory_of(server.process).unwrap_or_default();
    let now = memory_of(server.process).unwrap_or_default();
    judge(&load, &answered, &database, &receiver.seen()).await?;
    database.close().await;
    server.kill().await?;

    let runs = count(answered.accepted.len());
    say(&format!(
        "  {} accepted ids of {} requests: each has one delivery, one run that succeeded, and was handed on once: 0 lost",
        answered.accepted.len(),
        load.requests()
    ));
    say(&format!(
        "  runs: {left} were open at the last answer ({most_open} at most), all had ended {} s later; {} runs/s over all",
        number(drained.as_secs_f64()),
        number(runs / begun.elapsed().as_secs_f64())
    ));
    say(&format!(
        "  resident memory: {} before, {} at most, {} at the end; CPU: {} ms for each run with its requests",
        mib(idle),
        mib(peak),
        mib(now),
        used.map_or_else(|| "-".to_owned(), |used| number(used * 1e3 / runs))
    ));
    Ok(answered)
}

async fn open_runs(database: &Database) -> Result<i64> {
    let sql = "SELECT count(*) FROM run WHERE status IN ('queued', 'running')";
    Ok(sqlx::query_scalar(sql).fetch_one(database.readers()).await?)
}

/// A delivery as it is on disk, with its run: key, id, how often it came again, the run and its status.
type Row = (Option<String>, String, i64, Option<String>, Option<String>);

/// Everything that was accepted is there once, and nothing else is.
async fn judge(
    load: &Load,
    answered: &Answered,
    database: &Database,
    seen: &BTreeMap<String, u64>,
) -> Result<()> {
    ensure!(answered.refused.is_empty(), "not all were accepted: {:?}", answered.refused);
    ensure!(answered.count() as u64 == load.requests(), "{} answers", answered.count());
    ensure!(answered.accepted.len() as u64 == load.ids(), "{} ids", answered.accepted.len());
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT d.dedupe, d.id, d.duplicates, d.run_id AS run, r.status
         FROM delivery d LEFT JOIN run r ON r.id = d.run_id",
    )
    .fetch_all(database.readers())
    .await?;
    ensure!(
        rows.len() == answered.accepted.len(),
        "{} deliveries of {} ids",
        rows.len(),
        answered.accepted.len()
    );
    for (key, delivery, duplicates, run, status) in &rows {
        let id = key.as_deref().context("a delivery without a key")?;
        let bodies = answered.accepted.get(id).with_context(|| format!("nobody sent {id}"))?;
        for body in bodies {
            let body: Value = serde_json::from_str(body)?;
            ensure!(
                body["delivery"] == delivery.as_str() && body["run"].as_str() == run.as_deref(),
                "{id} was answered with {body}, and on disk are {delivery} and {run:?}"
            );
        }
        ensure!(status.as_deref() == Some("succeeded"), "the run of {id} is {status:?}");
        ensure!(duplicates + 1 == i64::try_from(bodies.len())?, "{id}: {duplicates} duplicates");
        ensure!(seen.get(id) == Some(&1), "{id} was handed on {:?} times", seen.get(id));
    }
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM run").fetch_one(database.readers()).await?;
    ensure!(
        usize::try_from(runs)? == rows.len() && seen.len() == rows.len(),
        "{runs} runs, {} handed on",
        seen.len()
    );
    Ok(())
}

/// The same load against the plain program.
async fn plain(plan: &Plan, name: &'static str, seconds: u64) -> Result<Answered> {
    let folder = plan.plain.join(name);
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("plain-hooks").arg(&folder).arg(&plan.key).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let process = child.id().context("it has ended already")?;
    let said = child.stdout.take().context("no standard output")?;
    let url = BufReader::new(said).lines().next_line().await?.context("the plain program said nothing")?;
    let load = Load { url: format!("{url}/passage"), key: plan.key.clone(), rate: plan.rate, seconds, name };
    let cpu = cpu_of(process);
    let answered = load.send().await?;
    let used = cpu.zip(cpu_of(process)).map(|(before, after)| (after - before) * 1e3);
    // It stores one at a time: on a disk that takes longer for a flush than lies between two requests it cannot keep up. That is
    // a finding about it and no reason to throw away what was measured.
    if !answered.refused.is_empty() {
        say(&format!("  the plain program {name} did not keep up: {:?}", answered.refused));
    }
    say(&format!(
        "  the plain program {name}: {} ids; p50 {} ms, p99 {} ms, CPU {} ms for each request, {} of resident memory",
        answered.accepted.len(),
        number(answered.latencies.median() * 1e3),
        number(answered.latencies.quantile(0.99) * 1e3),
        used.map_or_else(|| "-".to_owned(), |used| number(used / count(answered.count()))),
        mib(peak_memory_of(process).unwrap_or_default())
    ));
    child.kill().await?;
    fs::remove_dir_all(&folder)?;
    Ok(answered)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
