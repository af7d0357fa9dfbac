//! `cargo xtask torture`: the engine is killed (SIGKILL) at random instants and started again, or its disk fails at one call
//! after the other, and a judge that saw nothing of its memory compares what it promised with what the simulators saw.

mod faults;
mod one_run;
mod serve;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::{build_binaries, root, say};

#[derive(clap::Args)]
#[command(
    after_help = "Without `--run`, `--serve` and `--faults` one run and the server are tortured, each with so many kills."
)]
pub(crate) struct Options {
    /// Only `bascule run` and `bascule resume`: one run, killed at random instants, must come to the same final table.
    #[arg(long, conflicts_with = "serve")]
    run: bool,
    /// Only `bascule serve`, killed and restarted under mixed load (schedules, webhooks with duplicates, events of terminals,
    /// exports): what was acknowledged happens once, nothing is stuck, and each restart serves in time.
    #[arg(long)]
    serve: bool,
    /// The disk instead: each of the first calls that bring data to it fails (EIO, ENOSPC, nothing written) or kills, by
    /// strace, in short golden scenarios; then the program starts again without faults, and must come to the same end.
    #[arg(long, conflicts_with_all = ["run", "serve"])]
    faults: bool,
    /// With `--faults`: how many calls of each kind, where a scenario makes so many.
    #[arg(long, default_value_t = 40, requires = "faults")]
    calls: u32,
    /// With `--faults`: so many faults of each scenario, chosen at random, instead of each one.
    #[arg(long, requires = "faults")]
    sample: Option<u32>,
    /// With `--faults`: only this scenario (more than once for several).
    #[arg(long, value_name = "SCENARIO", requires = "faults")]
    only: Vec<String>,
    /// How many times to kill.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Where the random numbers start.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many terminals to simulate for one run; the server has three.
    #[arg(long, default_value_t = 25)]
    terminals: u32,
    /// Seconds within which each restart has to serve; more where other work has the processors.
    #[arg(long, default_value_t = 2)]
    start_within: u64,
    /// The optimised build.
    #[arg(long)]
    release: bool,
    /// Torture the programs `bascule` and `bascule-sim` of this folder, and build nothing.
    #[arg(long, value_name = "FOLDER", conflicts_with = "release")]
    binaries: Option<PathBuf>,
}

/// Runs the tortures and prints a summary of each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (built, said) = match (&options.binaries, options.release) {
        (Some(folder), _) => (folder.clone(), "the programs of that folder"),
        (None, true) => (build_all(options)?, "the optimised build"),
        (None, false) => (build_all(options)?, "the development build (`--release` takes the optimised one)"),
    };
    let ground = root().join("target").join("torture");
    if ground.exists() {
        fs::remove_dir_all(&ground)?;
    }
    let binaries = ground.join("bin");
    fs::create_dir_all(&binaries)?;
    // A build that somebody starts meanwhile does not change what is tortured.
    for name in ["bascule", "bascule-sim"] {
        fs::copy(built.join(name), binaries.join(name))?;
    }
    say(&format!("torture of {said}"));
    if options.faults {
        return faults::run(&below(&ground, "faults")?, &binaries, options);
    }
    if !options.serve {
        one_run::run(&below(&ground, "run")?, &binaries, options)?;
    }
    if !options.run {
        serve::run(&below(&ground, "serve")?, &binaries, options)?;
    }
    Ok(())
}

fn build_all(options: &Options) -> Result<PathBuf> {
    xtask::components::plugins()?;
    build_binaries(options.release)
}

fn below(ground: &Path, name: &str) -> Result<PathBuf> {
    let folder = ground.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// xorshift64*: enough to choose instants, and the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // The state 0 would stay 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// From 0 (included) to `end` (excluded).
    fn below(&mut self, end: u32) -> u32 {
        let drawn = (self.fraction() * f64::from(end)).floor();
        (0..end).rev().find(|number| f64::from(*number) <= drawn).unwrap_or_default()
    }

    /// From 0 (included) to 1 (excluded).
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        f64::from(u32::try_from(bits).unwrap_or_default()) / 4_294_967_296.0
    }
}
