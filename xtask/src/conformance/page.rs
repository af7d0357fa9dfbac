//! The web page in Chromium: what an operator does, on the real server and simulated systems.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::install;
use crate::process::{Running, Simulator, must, output_of, root, say};
use crate::stage::Stage;

/// Drives the browser; brings none of its own.
const PACKAGE: &str = "playwright-core@1.64.1";

/// Runs the checks; returns how many passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    install("chromium", &["chromium"])?;
    fs::create_dir_all(ground.join("pictures"))?;
    if !ground.join("node_modules/playwright-core").exists() {
        say(&format!("installing {PACKAGE}"));
        fs::write(ground.join("package.json"), r#"{ "name": "page", "private": true, "type": "module" }"#)?;
        must(
            Command::new("npm")
                .args(["install", "--no-fund", "--no-audit", "--loglevel=error", PACKAGE])
                .current_dir(ground)
                .stdout(Stdio::null()),
        )?;
    }
    fs::copy(root().join("tests/fixtures/conformance/page.mjs"), ground.join("page.mjs"))?;

    let simulator =
        Simulator::start(binaries, &["--scenario", "demo", "--terminals", "6", "--recorders", "1"])?;
    let stage = Stage::set(&ground.join("project"), binaries, &simulator, |text| {
        Ok(text.replace("from: 2s, to: 30s", "from: 100ms, to: 1s").replace("within: 15s", "within: 2s"))
    })?;
    for name in ["recorder-overview", "export-range"] {
        let file = format!("{name}.yaml");
        fs::copy(root().join("workflows").join(&file), stage.folder.join("workflows").join(&file))?;
    }
    let inventory = stage.folder.join("bascule.yaml");
    let text = fs::read_to_string(&inventory)?;
    let recorder = format!(
        r#"connections:
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth: {{ digest: {{ user: {}, password: {{ secret: recorder-password }} }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
stores:
  exported: {{}}
"#,
        simulator.text("/recorders/user")?
    );
    let text = text.replacen("connections:\n", &recorder.replace("stores:\n  exported: {}\n", ""), 1)
        + "\nstores:\n  exported: {}\n";
    let text = text.replacen("folders:\n", "folders:\n  recordings: { path: ./recordings }\n", 1);
    fs::write(&inventory, text)?;
    stage.secret("recorder-password", simulator.text("/recorders/password")?)?;
    stage.secret("photo-hook", "a-secret-for-hooks-only")?;

    let mut serving = Running::start(
        stage.bascule(&["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()),
    )?;
    let url = until_ready(&mut serving)?;
    let tokens = fs::read_to_string(stage.folder.join(".bascule/tokens"))?;
    let token = |role: &str| {
        let line = tokens.lines().find_map(|line| line.strip_prefix(role).map(str::trim));
        line.with_context(|| format!("no token of the role {role}"))
    };
    let port = simulator.ready["recorders"]["list"][0]["port"].as_u64().context("no recorder")?;
    let plan = json!({
        "url": url, "token": token("operator ")?, "viewer": token("viewer ")?,
        "employee": simulator.text("/employees/complete")?,
        "recorder": { "ip": "127.0.0.1", "port": port },
        "chromium": "/usr/bin/chromium", "pictures": ground.join("pictures"),
    });
    fs::write(ground.join("plan.json"), plan.to_string())?;
    say("the web page in Chromium");
    let said = output_of(Command::new("node").args(["page.mjs", "plan.json"]).current_dir(ground))?;
    say(said.trim_end());
    serving.kill();
    simulator.stop();
    let held = said.lines().count();
    ensure!(held >= 9, "only {held} things were looked at");
    Ok(u32::try_from(held)?)
}

/// The address that the server says once it answers.
fn until_ready(serving: &mut Running) -> Result<String> {
    let out = serving.child().stdout.take().context("no standard output")?;
    let errors = serving.child().stderr.take().context("no standard error")?;
    let (send, lines) = std::sync::mpsc::channel::<String>();
    for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(errors)] {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known.
                let _unheard = send.send(line);
            }
        });
    }
    drop(send);
    let mut said = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("ready: ") {
            let url = rest.split_whitespace().next().context("`ready:` without an address")?;
            return Ok(url.to_owned());
        }
        said.push_str(&line);
        said.push('\n');
    }
    anyhow::bail!("`bascule serve` ended before it was ready:\n{said}")
}
