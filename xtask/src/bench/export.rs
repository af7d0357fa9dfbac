//! Sets up `export`: one simulated recorder and a project that exports it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::words;
use crate::process::Simulator;
use crate::stage::Stage;

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
    let simulator =
        Simulator::start(binaries, &["--scenario", "empty", "--terminals", "0", "--recorders", "1"])?;
    let (user, password) = (simulator.text("/recorders/user")?, simulator.text("/recorders/password")?);
    let inventory = format!(
        r#"connections:
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {user}, password: {{ secret: recorder-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
folders:
  recordings: {{ path: ./recordings }}
stores:
  exported: {{}}
"#
    );
    let stage = Stage::of_fixture(&ground.join("project"), binaries, "export", &inventory)?;
    stage.secret("recorder-password", password)?;
    let port = simulator.ready.pointer("/recorders/list/0/port").context("the simulator has no recorder")?;
    let input = format!("port={port}");
    let plan = json!({
        "engine": words(&stage.bascule(&["run", "export", "--quiet", "--json", "--input", &input]))?,
        "control": simulator.text("/control")?,
        "simulator": simulator.process(),
        "recorder": simulator.text("/recorders/list/0/url")?,
        "user": user,
        "password": password,
        "recordings": stage.folder.join("recordings"),
        "ground": ground,
        "bytes": bytes,
        "cuts": CUTS,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string())?;
    measure(&path)?;
    simulator.stop();
    Ok(())
}
