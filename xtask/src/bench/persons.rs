//! Sets up `persons`: simulated terminals, a table of persons, and a project that brings them together.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::words;
use crate::process::Simulator;
use crate::stage::Stage;

/// So many persons are read at once where everybody goes everywhere.
const BATCH: usize = 500;

/// What is asked for on the command line.
pub(super) struct Wanted {
    pub(super) persons: usize,
    pub(super) terminals: usize,
    pub(super) everywhere: bool,
    pub(super) at_most_seconds: Option<u64>,
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
    // The simulator names its terminals so.
    let width = wanted.terminals.to_string().len().max(2);
    let terminal = |number: usize| format!("terminal-{:0width$}", number + 1);
    let rows: Vec<Value> = (0..wanted.persons)
        .map(|person| {
            let number = (1_000_000 + person).to_string();
            json!({
                "employee_no": number, "name": format!("Person {person}"), "picture": format!("{number}.jpg"),
                "terminal": terminal(person % wanted.terminals), "batch": person / BATCH,
            })
        })
        .collect();
    let tables = ground.join("tables.json");
    let columns = json!({ "employee_no": "text", "name": "text", "picture": "text", "terminal": "text", "batch": "bigint" });
    let table = json!({ "persons": { "columns": columns, "primary_key": ["employee_no"], "rows": rows } });
    fs::write(&tables, table.to_string())?;
    let simulator = Simulator::start(
        binaries,
        &[
            "--scenario",
            "fresh",
            "--terminals",
            &wanted.terminals.to_string(),
            "--tables",
            tables.to_str().context("the path is not text")?,
        ],
    )?;
    let user = simulator.text("/terminals/user")?;
    let inventory = format!(
        r#"connections:
  hr:
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
  terminal:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {user}, password: {{ secret: terminal-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST, PUT], paths: [/ISAPI/] }}
folders:
  photos: {{ path: ./photos }}
"#,
        supabase = simulator.text("/supabase/url")?,
    );
    let stage = Stage::of_fixture(&ground.join("project"), binaries, "persons", &inventory)?;
    stage.secret("supabase-key", simulator.text("/supabase/service_key")?)?;
    stage.secret("terminal-password", simulator.text("/terminals/password")?)?;
    let list = simulator.ready.pointer("/terminals/list").and_then(Value::as_array);
    let ids: Vec<&Value> = list.context("no terminals")?.iter().map(|terminal| &terminal["id"]).collect();
    let everywhere = format!("everywhere={}", wanted.everywhere);
    let batches = format!("batches={}", if wanted.everywhere { wanted.persons.div_ceil(BATCH) } else { 1 });
    let run = ["run", "persons", "--quiet", "--json", "--input", &everywhere, "--input", &batches];
    let plan = json!({
        "engine": words(&stage.bascule(&run))?,
        "log": ground.join("said.log"),
        "database": stage.folder.join(".bascule/bascule.db"),
        "control": simulator.text("/control")?,
        "simulator": simulator.process(),
        "supabase": simulator.text("/supabase/url")?,
        "key": simulator.text("/supabase/service_key")?,
        "employee": simulator.text("/employees/complete")?,
        "photos": stage.folder.join("photos"),
        "terminals": ids,
        "persons": wanted.persons,
        "everywhere": wanted.everywhere,
        "at_most_seconds": wanted.at_most_seconds,
    });
    let path = ground.join("plan.json");
    fs::write(&path, plan.to_string())?;
    measure(&path)?;
    simulator.stop();
    // Half a gigabyte of pictures.
    fs::remove_dir_all(stage.folder.join("photos"))?;
    Ok(())
}
