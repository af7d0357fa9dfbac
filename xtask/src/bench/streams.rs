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

/// Where the trigger begins.
const TRIGGER: &str = "  - event:\n";
/// A list in a workflow is an expression of at most 4,096 bytes: so many terminals are in each of several triggers.
const LISTED: usize = 50;

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
    let items: Vec<String> = list
        .iter()
        .map(|terminal| {
            format!("        - {{ id: {}, ip: 127.0.0.1, port: {} }}\n", terminal["id"], terminal["port"])
        })
        .collect();
    let inventory = format!(
        r#"connections:
  receiver:
    url: http://127.0.0.1:RECEIVER_PORT
    parallel: 16
    allow: {{ methods: [POST], paths: [/passages] }}
  terminal:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
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
    let (head, rest) = workflow.split_once(TRIGGER).context("the workflow has no trigger")?;
    let (trigger, steps) = rest.split_once("steps:\n").context("the workflow has no steps")?;
    let triggers =
        items.chunks(LISTED).map(|items| format!("{TRIGGER}{}", trigger.replace(LIST, &items.concat())));
    let text = format!("{head}{}steps:\n{steps}", triggers.collect::<String>());
    fs::write(project.join("workflows/streams.yaml"), text)?;
    stage.secret("terminal-password", simulator.text("/terminals/password")?)?;
    fs::write(project.join("bascule.yaml"), inventory)?;
    let plan = json!({
        "engine": words(&stage.bascule(&["serve", "--listen", "127.0.0.1:0"]))?,
        "log": ground.join("serve.log"),
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
