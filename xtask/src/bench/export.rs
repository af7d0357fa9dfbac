//! Sets up `export`: one simulated recorder and a project that exports it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::words;
use crate::recorder::RecorderScene;

/// How often the transfer is cut.
const CUTS: u32 = 20;

/// Sets up simulator and project and hands over a file that says where they are.
pub(super) fn run(
    ground: &Path,
    binaries: &Path,
    bytes: u64,
    measure: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground)?;
    let scene = RecorderScene::set(ground, binaries)?;
    let simulator = &scene.simulator;
    let plan = json!({
        "engine": words(&scene.export())?,
        "control": simulator.text("/control")?,
        "simulator": simulator.process(),
        "recorder": simulator.text("/recorders/list/0/url")?,
        "user": simulator.text("/recorders/user")?,
        "password": simulator.text("/recorders/password")?,
        "recordings": scene.stage.folder.join("recordings"),
        "ground": ground,
        "bytes": bytes,
        "cuts": CUTS,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string())?;
    measure(&path)?;
    scene.simulator.stop();
    Ok(())
}
