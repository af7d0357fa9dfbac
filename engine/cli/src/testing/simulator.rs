//! `given: { simulator: demo }`: the simulator as a child process, and the connections that lead to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_workflow::cases::Simulator;
use bascule_workflow::project::{Auth, Connection, Project};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::project::Inventory;
use crate::exit::{Exit, coded_with_help};

const NAME: &str = "bascule-sim";
const VARIABLE: &str = "BASCULE_SIM";
/// How long it may take until everything answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running simulator; it ends with its standard input.
pub(super) struct Running {
    _child: Child,
    /// Its ready line: addresses, credentials, who is in the database.
    pub(super) ready: Value,
}

impl Running {
    /// Starts it and waits until everything answers.
    pub(super) async fn start(given: &Simulator) -> Result<Self> {
        let program = find()?;
        let mut child = Command::new(&program)
            .args(["--scenario", &given.scenario])
            .args(["--terminals", &given.terminals.to_string()])
            .args(["--recorders", &given.recorders.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let out = child.stdout.take().context("the simulator has no standard output")?;
        let mut line = String::new();
        let mut reader = BufReader::new(out);
        tokio::time::timeout(PATIENCE, reader.read_line(&mut line))
            .await
            .context("the simulator is not ready after 60 s")??;
        let ready = serde_json::from_str(&line)
            .with_context(|| format!("`{}` did not print its addresses", program.display()))?;
        Ok(Self { _child: child, ready })
    }

    /// Leads the connections of the case to it; returns which.
    pub(super) fn connect(
        &self,
        given: &Simulator,
        site: &Project,
        inventory: &mut Inventory,
    ) -> Result<Vec<String>> {
        let text = |pointer: &str| self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut led = Vec::new();
        for (name, entry) in &site.connections {
            let Some(system) = given.connections.get(name).copied().or_else(|| system_of(entry)) else {
                continue;
            };
            match system {
                "supabase" => {
                    inventory.lead_to(
                        name,
                        Some(text("/supabase/url")),
                        None,
                        &[text("/supabase/service_key")],
                    )?;
                }
                "hikcentral" => {
                    let secrets = [text("/hikcentral/app_key"), text("/hikcentral/app_secret")];
                    inventory.lead_to(name, Some(text("/hikcentral/url")), None, &secrets)?;
                }
                // Which one of them says the row of the database, as at the site.
                system => {
                    let (user, password) = (format!("/{system}/user"), format!("/{system}/password"));
                    inventory.lead_to(name, None, Some(text(&user)), &[text(&password)])?;
                }
            }
            led.push(name.clone());
        }
        Ok(led)
    }
}

/// What a connection's `auth` hints at.
fn system_of(entry: &Connection) -> Option<&'static str> {
    match entry.auth {
        Auth::Headers(_) => Some("supabase"),
        Auth::AkSk { .. } => Some("hikcentral"),
        Auth::Digest { .. } => Some("terminals"),
        _ => None,
    }
}

/// By the environment, beside this program, or on the PATH.
fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        if named.is_file() {
            return Ok(named);
        }
        return Err(coded_with_help(
            Exit::Unusable,
            format!("`{}` of {VARIABLE} is not there", named.display()),
            "name the simulator's program, or unset it",
        ));
    }
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&paths))
        .map(|folder| folder.join(NAME))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            coded_with_help(
                Exit::Unusable,
                format!("this case needs the simulator, and there is no `{NAME}`"),
                format!(
                    "build it in the source tree with `cargo build -p {NAME}`, and put it beside `bascule`, on the PATH, or name it \
                     with {VARIABLE}; cases with `connections:` stubs need none"
                ),
            )
        })
}
