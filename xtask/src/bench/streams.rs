//! Sets up `streams`: simulated terminals, and a project that listens at all of them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::words;
use crate::process::{Simulator, root};
use crate::stage::Stage;

/// In place of the list of terminals.
const LIST: &str = "        TERMINALS\n";

/// What is asked for on the command line.
pub(super) struct Wanted {
    pub(super) terminals: u32,
    /// For how long terminals are cut off and come back.
    pub(super) seconds: u64,
}

/// Sets up simulator and project and hands over a file that says where they are.
pub(super) fn run(
    ground: &Path,
    binaries: &Path,
    wanted: &Wanted,
    measure: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground)?;
    let simulator =
        Simulator::start(binaries, &["--scenario", "empty", "--terminals", &wanted.terminals.to_string()])?;
    let list =
        simulator.ready.pointer("/terminals/list").and_then(Value::as_array).context("no terminals")?;
    let ids: Vec<&str> =
        list.iter().map(|terminal| terminal["id"].as_str().context("no id")).collect::<Result<_>>()?;
    // As short as can be: a file holds at most 20,000 values.
    let items: Vec<String> = list
        .iter()
        .map(|terminal| format!("        - [{}, {}]\n", terminal["id"], terminal["port"]))
        .collect();
    let inventory = format!(
        r#"connections:
  receiver:
    url: http://127.0.0.1:RECEIVER_PORT
    parallel: 16
    allow: {{ methods: [POST], paths: [/passages] }}
  terminal:
    params: [device]
    url: "http://127.0.0.1:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {user}, password: {{ secret: terminal-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
"#,
        user = simulator.text("/terminals/user")?
    );
    let project = ground.join("project");
    let stage = Stage::of_fixture(&project, binaries, "streams", &inventory.replace("RECEIVER_PORT", "9"))?;
    let workflow = fs::read_to_string(root().join("tests/fixtures/bench/streams.yaml"))?;
    ensure!(workflow.contains(LIST), "the workflow no longer has the line `{}`", LIST.trim());
    fs::write(project.join("workflows/streams.yaml"), workflow.replace(LIST, &items.concat()))?;
    stage.secret("terminal-password", simulator.text("/terminals/password")?)?;
    fs::write(project.join("bascule.yaml"), inventory)?;
    let plan = json!({
        "engine": words(&stage.bascule(&["serve", "--listen", "127.0.0.1:0"]))?,
        "log": ground.join("serve.log"),
        "workflow": project.join("workflows/streams.yaml"),
        "inventory": project.join("bascule.yaml"),
        "data": project.join(".bascule"),
        "control": simulator.text("/control")?,
        "simulator": simulator.process(),
        "terminals": ids,
        "seconds": wanted.seconds,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string())?;
    measure(&path)?;
    simulator.stop();
    Ok(())
}
