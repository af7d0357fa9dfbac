//! Schedules around every change of every time zone until 2037, held against two other implementations: a walk through
//! real time over the same zone data, and Python's `zoneinfo`.

use std::fs::{self, File};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::process::{cargo, must, root, say};

const LINES: &str = "engine/trigger/src/schedule/occurrences/lines.txt";
const ORACLE: &str = "xtask/src/zones/oracle.py";

pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    let folder = root().join("target/zones");
    fs::create_dir_all(&folder)?;
    let records = folder.join("records.tsv");
    let mut python = Command::new("python3");
    python.arg(root().join(ORACLE)).arg(root().join(LINES)).stdout(File::create(&records)?);
    must(&mut python)
        .context("Python 3.9 or later with the system's zone data is needed (Debian: python3, tzdata)")?;
    say(&format!("zones: Python has found {} records", fs::read_to_string(&records)?.lines().count()));
    must(
        cargo()
            .args([
                "test",
                "--package",
                "bascule-trigger",
                "--lib",
                "schedule::occurrences",
                "--",
                "--nocapture",
            ])
            .env("BASCULE_EVERY_ZONE", "1")
            .env("BASCULE_ZONE_ORACLE", &records),
    )?;
    say(&format!("zones: no difference, in {} s", begun.elapsed().as_secs()));
    Ok(())
}
