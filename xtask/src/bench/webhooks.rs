//! Sets up `webhooks`: a project of one workflow that hands on what comes in.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::words;
use crate::stage::Stage;

/// The webhook's key.
const KEY: &str = "invented-key-of-the-bench";

/// What is asked for on the command line.
pub(super) struct Wanted {
    /// Requests for each second.
    pub(super) rate: u32,
    pub(super) seconds: u64,
}

/// Sets up the project and hands over a file that says where it is. Whoever measures brings the receiver and puts its port
/// into `bascule.yaml`.
pub(super) fn run(
    ground: &Path,
    binaries: &Path,
    wanted: &Wanted,
    measure: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground.join("plain"))?;
    let inventory = "connections:\n  receiver:\n    url: http://127.0.0.1:RECEIVER_PORT\n    parallel: 64\n    allow: { methods: [POST], paths: [/passages] }\n";
    // Setting the secret reads the inventory too: the port is a number until the receiver is there.
    let project = ground.join("project");
    let stage = Stage::of_fixture(&project, binaries, "webhooks", &inventory.replace("RECEIVER_PORT", "9"))?;
    stage.secret("hook-key", KEY)?;
    fs::write(project.join("bascule.yaml"), inventory)?;
    let plan = json!({
        "engine": words(&stage.bascule(&["serve", "--listen", "127.0.0.1:0"]))?,
        "log": ground.join("serve.log"),
        "inventory": project.join("bascule.yaml"),
        "database": project.join(".bascule/bascule.db"),
        "plain": ground.join("plain"),
        "key": KEY,
        "rate": wanted.rate,
        "seconds": wanted.seconds,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string()).context("cannot write the plan")?;
    measure(&path)
}
