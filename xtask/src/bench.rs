//! `cargo xtask bench`: builds in release profile and measures; `docs/benchmarks.md` says what each figure means.

mod export;
mod persons;
mod streams;
mod webhooks;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::process::{Simulator, cargo, must, root, say};
use crate::stage::Stage;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; by default everything.
    figures: Vec<Figure>,
    /// Fewer and shorter rounds: to see that it works, not for figures to keep.
    #[arg(long)]
    quick: bool,
    /// How many terminals `fleet` simulates.
    #[arg(long, default_value_t = 1000)]
    terminals: u32,
    /// How many persons `persons` brings to 100 terminals.
    #[arg(long, default_value_t = 10_000)]
    persons: usize,
    /// In `persons`, everybody to every terminal: a hundred times as much. Takes hours.
    #[arg(long)]
    everywhere: bool,
    /// Stop `persons` after so many minutes, wherever it is then.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many requests a second `webhooks` sends.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// For how long `webhooks` sends, and `streams` flaps.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// How many terminals `streams` listens at.
    #[arg(long, default_value_t = 1000)]
    streams: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Figure {
    /// A warm call of a trivial function, against wasmtime alone.
    Call,
    /// Journaled steps, against plain inserts.
    Journal,
    /// The photo workflow over simulated terminals, against a plain client.
    Fleet,
    /// One recording of 5 GB with 20 cuts, against `curl --digest`.
    Export,
    /// 10,000 persons with faces to 100 simulated terminals: rate, requests, memory.
    Persons,
    /// Webhooks into the server at a fixed rate, against a plain program that keeps a row for each.
    Webhooks,
    /// Many event streams at once, some of which break again and again: every event once, memory, idle CPU.
    Streams,
}

/// Of the shipped workflow.
const WORKFLOW: &str = "update-face-photo";
const PARALLEL: u32 = 16;

/// Builds, then measures one figure after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |figure: Figure| options.figures.is_empty() || options.figures.contains(&figure);
    say("building in release profile (the first time takes many minutes)");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "bascule-bench", "--bins"]);
    let whole = [Figure::Fleet, Figure::Export, Figure::Persons, Figure::Webhooks, Figure::Streams];
    if whole.into_iter().any(wanted) {
        xtask::components::plugins()?;
        build.args(["--package", "bascule-cli", "--package", "bascule-sim"]);
    }
    must(&mut build)?;
    let binaries = root().join("target").join("release");
    let ground = root().join("target").join("bench");
    fs::create_dir_all(&ground)?;

    let bench = |figure: &str, subject: &Path| {
        let mut command = Command::new(binaries.join("bascule-bench"));
        command.arg(figure).arg(subject);
        if options.quick {
            command.arg("--quick");
        }
        must(&mut command)
    };
    if wanted(Figure::Call) {
        say("");
        bench("call", &xtask::components::guests()?.join("trivial.wasm"))?;
    }
    if wanted(Figure::Journal) {
        say("");
        bench("journal", &ground.join("journal"))?;
    }
    if wanted(Figure::Fleet) {
        say("");
        fleet(&ground.join("fleet"), &binaries, options.terminals, |plan| bench("fleet", plan))?;
    }
    if wanted(Figure::Export) {
        say("");
        let bytes = if options.quick { 300_000_000 } else { 5_000_000_000 };
        export::run(&ground.join("export"), &binaries, bytes, |plan| bench("export", plan))?;
    }
    if wanted(Figure::Persons) {
        say("");
        let (persons, terminals) = if options.quick { (200, 10) } else { (options.persons, 100) };
        let wanted = persons::Wanted {
            persons,
            terminals,
            everywhere: options.everywhere,
            at_most_seconds: options.minutes.map(|minutes| minutes * 60),
        };
        persons::run(&ground.join("persons"), &binaries, &wanted, |plan| bench("persons", plan))?;
    }
    if wanted(Figure::Webhooks) {
        say("");
        let (rate, seconds) = if options.quick { (100, 6) } else { (options.rate.max(1), options.seconds) };
        let wanted = webhooks::Wanted { rate, seconds };
        webhooks::run(&ground.join("webhooks"), &binaries, &wanted, |plan| bench("webhooks", plan))?;
    }
    if wanted(Figure::Streams) {
        say("");
        let (terminals, seconds) = if options.quick { (40, 10) } else { (options.streams, options.seconds) };
        let wanted = streams::Wanted { terminals, seconds };
        streams::run(&ground.join("streams"), &binaries, &wanted, |plan| bench("streams", plan))?;
    }
    Ok(())
}

/// Sets up simulator and project and hands over a file that says where they are.
fn fleet(
    ground: &Path,
    binaries: &Path,
    terminals: u32,
    measure: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground)?;
    let ledger = ground.join("ledger.jsonl");
    let simulator = Simulator::start(
        binaries,
        &[
            "--scenario",
            "calm",
            "--terminals",
            &terminals.to_string(),
            "--write-ledger",
            ledger.to_str().context("the path is not text")?,
        ],
    )?;
    let stage = Stage::set(&ground.join("project"), binaries, &simulator, |text| {
        let parallel = format!("parallel: {PARALLEL}\n");
        ensure!(text.contains(&parallel), "the shipped workflow no longer says `{}`", parallel.trim());
        Ok(text)
    })?;
    let employee = simulator.text("/employees/complete")?;
    let input = format!("employee_id={employee}");
    let plan = json!({
        "engine": words(&stage.bascule(&["run", WORKFLOW, "--quiet", "--input", &input]))?,
        "show": words(&stage.bascule(&["runs", "show", "last", "--json"]))?,
        "control": simulator.text("/control")?,
        "simulator": simulator.process(),
        "ledger": ledger,
        "terminals": terminals,
        "parallel": PARALLEL,
        "supabase": simulator.text("/supabase/url")?,
        "key": simulator.text("/supabase/service_key")?,
        "user": simulator.text("/terminals/user")?,
        "password": simulator.text("/terminals/password")?,
        "employee": employee,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string())?;
    measure(&path)?;
    simulator.stop();
    Ok(())
}

/// Program and arguments.
fn words(command: &Command) -> Result<Vec<&str>> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_str().context("the path is not text")).collect()
}
