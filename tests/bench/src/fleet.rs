//! The shipped photo workflow over many simulated terminals, through the real program `bascule`, against a plain client
//! that sends the same requests.
//!
//! Both sides are processes of their own and are timed from start to exit. The simulator, a third process, counts what
//! each sent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use crate::machine::{Watch, cpu_of, cpu_of_children};
use crate::plain::Pass;
use crate::samples::{Row, Samples, number, table};
use crate::{Pace, say};

/// The longest a side may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Where everything is; `cargo xtask bench` writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Program and arguments that run the workflow once.
    pub(crate) engine: Vec<String>,
    /// Program and arguments that print the last run as JSON.
    pub(crate) show: Vec<String>,
    /// The simulator's control port, `http://127.0.0.1:PORT`.
    pub(crate) control: String,
    /// The simulator's process.
    pub(crate) simulator: u32,
    /// The file with what the simulator was asked to change.
    pub(crate) ledger: PathBuf,
    /// How many terminals there are.
    pub(crate) terminals: u64,
    /// How many are served at once.
    pub(crate) parallel: usize,
    /// The database's address.
    pub(crate) supabase: String,
    /// Its key.
    pub(crate) key: String,
    /// The terminals' user.
    pub(crate) user: String,
    /// And password.
    pub(crate) password: String,
    /// Whose photo it is.
    pub(crate) employee: String,
}

/// One side in all rounds.
#[derive(Default)]
struct Side {
    seconds: Samples,
    per_second: Samples,
    cpu_ms: Samples,
    simulator_cpu_ms: Samples,
    /// What the side itself measured, without its start and end.
    work_seconds: Samples,
    counted: Counted,
}

/// What the simulator saw of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    requests: u64,
    face_writes: u64,
}

pub(crate) async fn measure(path: &Path, pace: Pace) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(path)?)?;
    let rounds = pace.of(2, 7);
    let mut plain = vec![std::env::current_exe()?.display().to_string(), "plain".to_owned()];
    plain.push(path.display().to_string());

    // Once unmeasured: compiled plugins are cached, and every terminal has a face to replace.
    let meter = Meter { plan: &plan, client: reqwest::Client::builder().no_proxy().build()? };
    meter.pass(&plan.engine, &mut Side::default()).await?;
    meter.pass(&plain, &mut Side::default()).await?;
    let watch = Watch::start(Some(plan.simulator));
    let (mut ours, mut theirs) = (Side::default(), Side::default());
    for _ in 0..rounds {
        meter.pass(&plan.engine, &mut ours).await?;
        ours.work_seconds.push(meter.run_seconds().await?);
        let said = meter.pass(&plain, &mut theirs).await?;
        let pass: Pass = serde_json::from_str(&said).with_context(|| format!("not a pass: {said:?}"))?;
        ensure!(pass.devices == plan.terminals, "the plain client served {} terminals", pass.devices);
        theirs.work_seconds.push(pass.seconds);
    }
    report(&plan, rounds, &ours, &theirs);
    say(&watch.caveat(&theirs.seconds));
    Ok(())
}

fn report(plan: &Plan, rounds: u32, ours: &Side, theirs: &Side) {
    let Plan { terminals, parallel, .. } = plan;
    let devices = |side: &Side| {
        let mut rates = Samples::default();
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        side.seconds.each(|seconds| rates.push(*terminals as f64 / seconds));
        rates
    };
    say(&format!(
        "fleet: update-face-photo, {terminals} simulated terminals, {parallel} at a time, {rounds} rounds"
    ));
    for (who, side) in [("bascule run", ours), ("plain client", theirs)] {
        let Counted { requests, face_writes } = side.counted;
        say(&format!(
            "  {who:12}  the terminals counted {requests} requests and {face_writes} face writes in a pass"
        ));
    }
    say(&table(&[
        Row { what: "bascule run, whole process", unit: "s", samples: &ours.seconds },
        Row { what: "plain client, whole process", unit: "s", samples: &theirs.seconds },
        Row { what: "bascule run, terminals", unit: "/s", samples: &devices(ours) },
        Row { what: "plain client, terminals", unit: "/s", samples: &devices(theirs) },
        Row { what: "bascule run, requests", unit: "/s", samples: &ours.per_second },
        Row { what: "plain client, requests", unit: "/s", samples: &theirs.per_second },
        Row { what: "ratio of time, whole process", unit: "x", samples: &ours.seconds.over(&theirs.seconds) },
        Row {
            what: "ratio of time, from first step to last",
            unit: "x",
            samples: &ours.work_seconds.over(&theirs.work_seconds),
        },
        Row { what: "bascule run, CPU for each terminal", unit: "ms", samples: &ours.cpu_ms },
        Row { what: "plain client, CPU for each terminal", unit: "ms", samples: &theirs.cpu_ms },
        Row { what: "ratio of CPU", unit: "x", samples: &ours.cpu_ms.over(&theirs.cpu_ms) },
    ]));
    say(&format!(
        "  the simulator, on the same CPUs, used {} ms for each terminal beside bascule and {} ms beside the plain client",
        number(ours.simulator_cpu_ms.median()),
        number(theirs.simulator_cpu_ms.median())
    ));
}

/// Runs sides and measures them.
struct Meter<'a> {
    plan: &'a Plan,
    client: reqwest::Client,
}

impl Meter<'_> {
    /// One pass of a side; returns what it printed.
    async fn pass(&self, command: &[String], side: &mut Side) -> Result<String> {
        let before = self.counted().await?;
        let (cpu, simulator_cpu) = (cpu_of_children(), cpu_of(self.plan.simulator));
        let begun = Instant::now();
        let said = output_of(command).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = self.counted().await?;
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let (terminals, requests) = (self.plan.terminals as f64, (after.requests - before.requests) as f64);
        let ms_each = |before: Option<f64>, after: Option<f64>| {
            before.zip(after).map_or(0.0, |(before, after)| (after - before) * 1e3 / terminals)
        };
        side.cpu_ms.push(ms_each(cpu, cpu_of_children()));
        side.simulator_cpu_ms.push(ms_each(simulator_cpu, cpu_of(self.plan.simulator)));
        side.seconds.push(seconds);
        side.per_second.push(requests / seconds);
        side.counted = Counted {
            requests: after.requests - before.requests,
            face_writes: after.face_writes - before.face_writes,
        };
        ensure!(
            side.counted.face_writes == self.plan.terminals,
            "{} of {} terminals accepted a face: {command:?} did not do the job",
            side.counted.face_writes,
            self.plan.terminals
        );
        Ok(said)
    }

    /// All that the terminals have seen so far.
    async fn counted(&self) -> Result<Counted> {
        let answer =
            self.client.get(format!("{}/devices", self.plan.control)).send().await?.error_for_status()?;
        let terminals: Vec<Value> = serde_json::from_slice(&answer.bytes().await?)?;
        let requests = terminals.iter().filter_map(|terminal| terminal["requests"].as_u64());
        ensure!(requests.clone().count() == terminals.len(), "the simulator does not count requests");
        let ledger = fs::read_to_string(&self.plan.ledger)?;
        let mut face_writes = 0;
        for line in ledger.lines() {
            let entry: Value = serde_json::from_str(line)?;
            face_writes += u64::from(entry["kind"] == "face-write");
        }
        Ok(Counted { requests: requests.sum(), face_writes })
    }

    /// How long the last run took by its own journal.
    async fn run_seconds(&self) -> Result<f64> {
        let run: Value = serde_json::from_str(&output_of(&self.plan.show).await?)?;
        let at = |name: &str| -> Result<jiff::Timestamp> {
            Ok(run["header"][name].as_str().with_context(|| format!("the run has no {name}"))?.parse()?)
        };
        Ok(at("ended_at")?.duration_since(at("started_at")?).as_secs_f64())
    }
}

async fn output_of(command: &[String]) -> Result<String> {
    let Some((program, arguments)) = command.split_first() else { bail!("an empty command") };
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, child)
        .await
        .with_context(|| format!("{program} takes longer than {LIMIT:?}"))?
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
