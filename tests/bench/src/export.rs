//! One large recording through the real program `bascule`, whole and with cuts, against `curl --digest`.
//!
//! All sides download from the same simulated recorder, which makes the bytes while it sends them. curl does it without cuts
//! and in one request: it is the best that can be hoped for. Whatever was stored is hashed by `sha256sum` and compared with
//! the recorder's own hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::machine::{Watch, cpu_of_children, peak_memory_of};
use crate::samples::{Row, Samples, number, table};
use crate::{Pace, say};

/// The longest a side may take.
const LIMIT: Duration = Duration::from_secs(3600);
/// How much more memory than for a small recording a large one may take, in bytes.
const ROOM: u64 = 32 << 20;
/// The small one, in bytes.
const SMALL: u64 = 200_000;
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Where everything is; `cargo xtask bench` writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Program and arguments that export what the recorder has.
    pub(crate) engine: Vec<String>,
    /// The simulator's control port, `http://127.0.0.1:PORT`.
    pub(crate) control: String,
    /// The simulator's process.
    pub(crate) simulator: u32,
    /// The recorder's address, user and password.
    pub(crate) recorder: String,
    pub(crate) user: String,
    pub(crate) password: String,
    /// The folder that is exported to.
    pub(crate) recordings: PathBuf,
    /// For what curl writes.
    pub(crate) ground: PathBuf,
    /// The recording's size.
    pub(crate) bytes: u64,
    /// How often the transfer is cut.
    pub(crate) cuts: u64,
}

/// What one export came to.
struct Pass {
    seconds: f64,
    cpu_seconds: f64,
    /// Of resident memory, in bytes.
    peak: u64,
    /// How often the recorder began to send.
    sendings: u64,
}

/// The recording as the simulator knows it.
struct Recording {
    name: String,
    bytes: u64,
    sha256: String,
}

pub(crate) async fn measure(path: &Path, pace: Pace) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(path)?)?;
    let rounds = pace.of(1, 3);
    let meter = Meter { plan: &plan, client: reqwest::Client::builder().no_proxy().build()? };

    // Once unmeasured, so that compiled plugins are cached; then what the program needs for a recording that is nothing.
    let small = meter.record(SMALL, None).await?;
    meter.engine(&small).await?;
    let idle = meter.engine(&small).await?.peak;
    say(&format!(
        "export: one recording of {} MB, {} cuts, {rounds} rounds; a small one first: {} of resident memory at most",
        plan.bytes / 1_000_000,
        plan.cuts,
        mib(idle)
    ));

    let watch = Watch::start(Some(plan.simulator));
    let [mut whole, mut cut, mut curl, mut hashed] = [(); 4].map(|()| Samples::default());
    let [mut engine_cpu, mut curl_cpu] = [(); 2].map(|()| Samples::default());
    let mut peak = 0;
    for round in 1..=rounds {
        let recording = meter.record(plan.bytes, None).await?;
        let bytes = as_float(recording.bytes);
        let rate = |seconds: f64| bytes / 1e6 / seconds;
        let pass = meter.engine(&recording).await?;
        ensure!(pass.sendings == 1, "the recorder was asked {} times without cuts", pass.sendings);
        whole.push(rate(pass.seconds));
        engine_cpu.push(pass.cpu_seconds / bytes * 1e9);
        peak = peak.max(pass.peak);

        let (alone, with_hash, cpu) = meter.curl(&recording).await?;
        curl.push(rate(alone));
        hashed.push(rate(with_hash));
        curl_cpu.push(cpu / bytes * 1e9);

        // Each sending loses a little that is fetched again and compared, less than this.
        let cut_at = recording.bytes / (plan.cuts + 1) + (64 << 10);
        let recording = meter.record(plan.bytes, Some(cut_at)).await?;
        let pass = meter.engine(&recording).await?;
        ensure!(
            pass.sendings == plan.cuts + 1,
            "there were {} cuts, not {}",
            pass.sendings.saturating_sub(1),
            plan.cuts
        );
        cut.push(rate(pass.seconds));
        peak = peak.max(pass.peak);
        say(&format!(
            "  round {round}: {} bytes, sha256 {} on all sides; {} of resident memory at most",
            recording.bytes,
            recording.sha256.get(..16).unwrap_or_default(),
            mib(pass.peak)
        ));
    }
    say(&table(&[
        Row { what: "bascule run", unit: "MB/s", samples: &whole },
        Row { what: &format!("bascule run, {} cuts", plan.cuts), unit: "MB/s", samples: &cut },
        Row { what: "curl --digest, no cuts", unit: "MB/s", samples: &curl },
        Row { what: "curl --digest, no cuts, then sha256sum", unit: "MB/s", samples: &hashed },
        Row { what: "ratio to curl", unit: "x", samples: &whole.over(&curl) },
        Row { what: "ratio to curl, with cuts", unit: "x", samples: &cut.over(&curl) },
        Row { what: "ratio to curl and sha256sum, with cuts", unit: "x", samples: &cut.over(&hashed) },
        Row { what: "bascule run, CPU", unit: "s/GB", samples: &engine_cpu },
        Row { what: "curl and sha256sum, CPU", unit: "s/GB", samples: &curl_cpu },
    ]));
    let more = peak.saturating_sub(idle);
    say(&format!(
        "  resident memory of bascule: at most {}, {} more than with {} kB (at most {} allowed)",
        mib(peak),
        mib(more),
        SMALL / 1000,
        mib(ROOM)
    ));
    say(&watch.caveat(&curl));
    ensure!(more <= ROOM, "a large recording takes {} more memory than a small one", mib(more));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "gigabytes")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", number(as_float(bytes) / f64::from(1 << 20)))
}

/// Runs sides and measures them.
struct Meter<'a> {
    plan: &'a Plan,
    client: reqwest::Client,
}

impl Meter<'_> {
    /// Has the recorder hold one recording of that size.
    async fn record(&self, bytes: u64, cut_at: Option<u64>) -> Result<Recording> {
        let habits = json!({
            "channels": 1, "segments": 1, "growing": false, "segment_bytes": bytes, "cut_at": cut_at, "range": "honoured",
        });
        let address = format!("{}/recorders/0/habits", self.plan.control);
        let request = self.client.put(address).body(habits.to_string());
        request.send().await?.error_for_status()?;
        let segments = self.control("/recorders/0/segments").await?;
        let name = segments[0]["name"].as_str().context("the recorder has nothing")?.to_owned();
        let told = self.control(&format!("/recorders/0/segments/{name}")).await?;
        let bytes = told["segment"]["bytes"].as_u64().context("a recording without size")?;
        let sha256 = told["sha256"].as_str().context("a recording without hash")?.to_owned();
        Ok(Recording { name, bytes, sha256 })
    }

    async fn control(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.plan.control)).send().await?;
        Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
    }

    /// How often a recorder has begun to send so far. It notes one when it ends.
    async fn sendings(&self) -> Result<u64> {
        let entries = self.control("/ledger?kind=segment-sent").await?;
        Ok(u64::try_from(entries.as_array().map_or(0, Vec::len))?)
    }

    /// One export by the program; its file is looked at and deleted.
    async fn engine(&self, recording: &Recording) -> Result<Pass> {
        if self.plan.recordings.exists() {
            fs::remove_dir_all(&self.plan.recordings)?;
        }
        let (program, arguments) = self.plan.engine.split_first().context("an empty command")?;
        let before = self.sendings().await?;
        let cpu = cpu_of_children();
        let begun = Instant::now();
        let mut child = Command::new(program);
        child.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let child = child.spawn().with_context(|| format!("cannot start {program}"))?;
        let process = child.id().context("it has ended already")?;
        let mut peak = 0;
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        let output = loop {
            tokio::select! {
                output = &mut ended => break output?,
                () = tokio::time::sleep(LOOK) => peak = peak.max(peak_memory_of(process).unwrap_or_default()),
            }
            ensure!(begun.elapsed() < LIMIT, "{program} takes longer than {LIMIT:?}");
        };
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_seconds = cpu.zip(cpu_of_children()).map_or(0.0, |(before, after)| after - before);
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "the export ended with {}: {text}", output.status);
        let result: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
        let file = &result["output"]["files"][0];
        ensure!(
            file["sha256"] == recording.sha256.as_str() && file["bytes"] == recording.bytes,
            "the export says {file}, the recorder {} bytes with sha256 {}",
            recording.bytes,
            recording.sha256
        );
        let stored = self.plan.recordings.join(file["name"].as_str().unwrap_or_default());
        ensure!(sha256sum(&stored).await? == recording.sha256, "the file is not what the recorder sent");
        fs::remove_dir_all(&self.plan.recordings)?;
        Ok(Pass { seconds, cpu_seconds, peak, sendings: self.sendings().await? - before })
    }

    /// One download by curl: seconds without and with hashing, and CPU seconds with it.
    async fn curl(&self, recording: &Recording) -> Result<(f64, f64, f64)> {
        let order = self.plan.ground.join("order.xml");
        let uri = format!("rtsp://127.0.0.1/Streaming/tracks/101/?starttime=0&amp;name={}", recording.name);
        fs::write(
            &order,
            format!("<downloadRequest version=\"1.0\"><playbackURI>{uri}</playbackURI></downloadRequest>"),
        )?;
        let stored = self.plan.ground.join("curl.ps");
        let cpu = cpu_of_children();
        let begun = Instant::now();
        let output = Command::new("curl")
            .args(["--digest", "--silent", "--show-error", "--fail", "--noproxy", "*", "--request", "GET"])
            .args(["--header", "Content-Type: application/xml", "--user"])
            .arg(format!("{}:{}", self.plan.user, self.plan.password))
            .arg("--data-binary")
            .arg(format!("@{}", order.display()))
            .arg("--output")
            .arg(&stored)
            .arg(format!("{}/ISAPI/ContentMgmt/download", self.plan.recorder))
            .output()
            .await
            .context("cannot start curl")?;
        ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        let alone = begun.elapsed().as_secs_f64();
        ensure!(sha256sum(&stored).await? == recording.sha256, "curl did not get what the recorder sent");
        let hashed = begun.elapsed().as_secs_f64();
        let cpu = cpu.zip(cpu_of_children()).map_or(0.0, |(before, after)| after - before);
        fs::remove_file(&stored)?;
        Ok((alone, hashed, cpu))
    }
}

/// By the program of that name, which is none of ours.
async fn sha256sum(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output().await.context("cannot start sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_ascii_whitespace().next().unwrap_or_default().to_owned())
}
