//! `cargo xtask soak`: months of a small site on a clock that is moved by hand; it fails where the database, the memory or a
//! run's time grows. `docs/benchmarks.md` says what is asked; `tests/bench/src/soak.rs` does it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, must, root, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many months of thirty days.
    #[arg(long, default_value_t = 12)]
    months: u32,
    /// Where the random numbers start: what happens at the site on which day.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Months of one day in the development build: that all is done, that tables keep their size; no latencies, no memory.
    #[arg(long)]
    quick: bool,
    /// Where the databases are made, by default `target/soak`; a folder of its own, which is emptied. In memory (`/dev/shm/..`) a
    /// flush costs nothing, which leaves the engine's own time.
    #[arg(long, value_name = "FOLDER")]
    ground: Option<PathBuf>,
}

/// Builds and runs it; not keeping a bound is an error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--package", "bascule-bench", "--bins"]);
    if !options.quick {
        say("building in release profile (the first time takes many minutes)");
        build.arg("--release");
    }
    let component = xtask::components::guests()?.join("trivial.wasm");
    must(&mut build)?;
    let built = root().join("target").join(if options.quick { "debug" } else { "release" });
    let mut command = Command::new(built.join("bascule-bench"));
    command.arg("soak").arg(component).arg(root().join("tests/fixtures/soak"));
    command.arg(options.ground.clone().unwrap_or_else(|| root().join("target/soak")));
    command.args(["--months", &options.months.to_string(), "--seed", &options.seed.to_string()]);
    if options.quick {
        command.arg("--quick");
    }
    must(&mut command)
}
