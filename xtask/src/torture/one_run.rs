//! One run, by the command line: `bascule run` is killed at random instants and resumed; a judge that saw nothing of the
//! engine's memory compares the simulators' own ledger and the final table with a run that was let be.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{Options, Random};
use crate::process::{Running, Simulator, output_of, say, wait_at_most};
use crate::stage::Stage;

pub(super) const WORKFLOW: &str = "update-face-photo";

/// The longest a run, a resume or a look may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Runs the torture and prints a summary.
pub(super) fn run(ground: &Path, binaries: &Path, options: &Options) -> Result<()> {
    let (expected, whole) = baseline(ground, binaries, options.terminals)?;
    say(&format!("left alone the run takes {whole:?}: {}", tally(&expected)));

    let mut random = Random::new(options.seed);
    let mut tally_of =
        BTreeMap::from([("before the run was accepted", 0), ("during the run", 0), ("after its end", 0)]);
    let mut again = 0;
    let mut finished_at_kill = 0;
    for round in 1..=options.kills {
        // One in twelve comes while the program starts; the others at a random instant of the run itself.
        let instant = if random.fraction() < 1.0 / 12.0 {
            Moment::Start(Duration::from_secs_f64(random.fraction() * whole.as_secs_f64()))
        } else {
            Moment::Run(Duration::from_secs_f64(random.fraction() * whole.as_secs_f64()))
        };
        let judged = kill_once(ground, binaries, options, round, instant, &mut random)
            .and_then(|seen| judge(&expected, &seen).map(|()| seen))
            .with_context(|| {
                format!("kill {round} of {} at {instant:?} (seed {})", options.kills, options.seed)
            })?;
        *tally_of.entry(judged.when).or_default() += 1;
        again += u32::from(judged.killed_again);
        finished_at_kill += judged.finished_before.len();
        if round % 20 == 0 || round == options.kills {
            say(&format!("{round} kills judged"));
        }
        fs::remove_dir_all(ground.join("round"))?;
    }
    say(&format!(
        "{} kills: {tally_of:?}; in {again} of them the resume was killed too. Every run came to the same final table; of {finished_at_kill} \
         writes that were finished when the kill came, none was sent again",
        options.kills
    ));
    Ok(())
}

/// When a kill comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the program was started.
    Start(Duration),
    /// So long after the run was accepted.
    Run(Duration),
}

/// Waits for the first event that the run tells of, then goes on reading so that it is never held up by a full pipe.
fn until_started(running: &mut Running) -> Result<()> {
    let stdout = running.child().stdout.take().context("standard output is not piped")?;
    let mut lines = BufReader::new(stdout);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(())
}

/// What one round showed.
struct Seen {
    when: &'static str,
    killed_again: bool,
    /// Devices whose item had ended in the journal when the kill came, with the writes the ledger knew of then.
    finished_before: BTreeMap<String, usize>,
    writes_after: BTreeMap<String, usize>,
    table: BTreeMap<String, String>,
}

fn judge(expected: &BTreeMap<String, String>, seen: &Seen) -> Result<()> {
    for (device, status) in expected {
        let got = seen.table.get(device).map_or("nothing", String::as_str);
        ensure!(got == status, "{device} ended {got}, not {status}");
    }
    ensure!(
        seen.table.len() == expected.len(),
        "the table has {} rows, not {}",
        seen.table.len(),
        expected.len()
    );
    for (device, before) in &seen.finished_before {
        let after = seen.writes_after.get(device).copied().unwrap_or_default();
        ensure!(after == *before, "{device}: {before} writes when its item had ended, {after} afterwards");
    }
    Ok(())
}

/// One run that nobody disturbs: its final table and how long it takes.
pub(super) fn baseline(
    ground: &Path,
    binaries: &Path,
    terminals: u32,
) -> Result<(BTreeMap<String, String>, Duration)> {
    let (simulator, stage, _) = fresh(ground, binaries, terminals)?;
    let mut command = stage.bascule(&["run", WORKFLOW, "--json", "--input", &input(&simulator)?]);
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    until_started(&mut running)?;
    let started = Instant::now();
    wait_at_most(running.child(), LIMIT)?;
    let whole = started.elapsed();
    let table = table(&show(&stage)?.context("the run left no trace")?)?;
    ensure!(table.len() == terminals as usize, "the table has {} rows", table.len());
    simulator.stop();
    fs::remove_dir_all(ground.join("round"))?;
    Ok((table, whole))
}

fn kill_once(
    ground: &Path,
    binaries: &Path,
    options: &Options,
    round: u32,
    instant: Moment,
    random: &mut Random,
) -> Result<Seen> {
    let (simulator, stage, ledger) = fresh(ground, binaries, options.terminals)?;
    let input = input(&simulator)?;
    let arguments = ["run", WORKFLOW, "--json", "--input", &input];
    let mut victim = Running::start(stage.bascule(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()))?;
    match instant {
        Moment::Start(after) => std::thread::sleep(after),
        Moment::Run(after) => {
            until_started(&mut victim)?;
            std::thread::sleep(after);
        }
    }
    let ended = victim.child().try_wait()?.is_some();
    victim.kill();

    let before = show(&stage)?;
    let mut finished_before = BTreeMap::new();
    let when = match &before {
        None => "before the run was accepted",
        Some(_) if ended => "after its end",
        Some(run) => {
            let writes = writes(&ledger)?;
            for (device, _) in table(run)? {
                finished_before.insert(device.clone(), writes.get(&device).copied().unwrap_or_default());
            }
            "during the run"
        }
    };
    let mut killed_again = false;
    if before.is_none() {
        let status = wait_at_most(
            Running::start(stage.bascule(&arguments).stdout(Stdio::null()).stderr(Stdio::null()))?.child(),
            LIMIT,
        )?;
        ensure!(status.code() == Some(1), "the second run ended with {status}");
    } else if !ended {
        if random.fraction() < 0.3 {
            killed_again = true;
            let mut victim = Running::start(
                stage.bascule(&["resume", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()),
            )?;
            std::thread::sleep(Duration::from_secs_f64(random.fraction()));
            victim.kill();
        }
        let log = fs::File::create(ground.join("resume.log"))?;
        let status = wait_at_most(
            Running::start(stage.bascule(&["resume", "--quiet"]).stdout(Stdio::null()).stderr(log))?.child(),
            LIMIT,
        )?;
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "resume ended with {status}: {}",
            fs::read_to_string(ground.join("resume.log"))?
        );
    }
    let run = show(&stage)?.with_context(|| format!("round {round} left no run"))?;
    let status = run["header"]["status"].as_str().unwrap_or_default();
    ensure!(status == "failed", "the run ended {status}, not failed");
    let seen =
        Seen { when, killed_again, finished_before, writes_after: writes(&ledger)?, table: table(&run)? };
    simulator.stop();
    Ok(seen)
}

/// A new simulator with its ledger, and a new project.
pub(super) fn fresh(
    ground: &Path,
    binaries: &Path,
    terminals: u32,
) -> Result<(Simulator, Stage, std::path::PathBuf)> {
    let folder = ground.join("round");
    fs::create_dir_all(&folder)?;
    let ledger = folder.join("ledger.jsonl");
    let path = ledger.to_str().context("the path is not text")?;
    let terminals = terminals.to_string();
    let simulator = Simulator::start(
        binaries,
        &["--scenario", "demo", "--terminals", &terminals, "--write-ledger", path],
    )?;
    let stage = Stage::set(&folder.join("project"), binaries, &simulator, quick)?;
    Ok((simulator, stage, ledger))
}

/// The shipped workflow with shorter waits, so that two hundred kills take minutes and not hours.
fn quick(text: String) -> Result<String> {
    let mut text = text;
    for (shipped, short) in [("from: 2s, to: 30s", "from: 100ms, to: 300ms"), ("within: 15s", "within: 1s")] {
        ensure!(text.contains(shipped), "the shipped workflow no longer says `{shipped}`");
        text = text.replace(shipped, short);
    }
    Ok(text)
}

pub(super) fn input(simulator: &Simulator) -> Result<String> {
    Ok(format!("employee_id={}", simulator.text("/employees/complete")?))
}

/// The latest run as the journal has it; `None` where there is none.
pub(super) fn show(stage: &Stage) -> Result<Option<Value>> {
    let list: Value = serde_json::from_str(&output_of(&mut stage.bascule(&["runs", "list", "--json"]))?)?;
    if list.as_array().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&output_of(&mut stage.bascule(&["runs", "show", "last", "--json"]))?)?))
}

/// Device -> status of the items that have ended.
pub(super) fn table(run: &Value) -> Result<BTreeMap<String, String>> {
    let Some(steps) = run["steps"].as_array() else { bail!("`runs show --json` has no steps: {run}") };
    let mut table = BTreeMap::new();
    for step in steps.iter().filter(|step| step["id"] == "photo") {
        for item in step["inner"].as_array().into_iter().flatten() {
            // An item that has not ended has no status yet.
            if let (Some(key), Some(status)) = (item["key"].as_str(), item["status"].as_str()) {
                table.insert(key.to_owned(), status.to_owned());
            }
        }
    }
    Ok(table)
}

/// Device -> how many face writes it accepted, from the simulators' ledger.
pub(super) fn writes(ledger: &Path) -> Result<BTreeMap<String, usize>> {
    let mut writes = BTreeMap::new();
    for line in fs::read_to_string(ledger)?.lines() {
        let entry: Value =
            serde_json::from_str(line).with_context(|| format!("not a ledger line: {line}"))?;
        if entry["kind"] == "face-write" {
            let device = entry["device"].as_str().context("a ledger line without a device")?;
            *writes.entry(device.to_owned()).or_default() += 1;
        }
    }
    Ok(writes)
}

fn tally(table: &BTreeMap<String, String>) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for status in table.values() {
        *counts.entry(status).or_default() += 1;
    }
    counts.iter().map(|(status, count)| format!("{count} {status}")).collect::<Vec<_>>().join(", ")
}
