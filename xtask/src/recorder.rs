//! One simulated recorder, and a project that exports it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::Simulator;
use crate::stage::Stage;

/// The simulator with its recorder, and the project beside it.
pub(crate) struct RecorderScene {
    pub(crate) simulator: Simulator,
    pub(crate) stage: Stage,
    /// The input of the workflow `export`: where the recorder is.
    pub(crate) input: String,
}

impl RecorderScene {
    /// Starts the simulator and writes the project below `ground`.
    pub(crate) fn set(ground: &Path, binaries: &Path) -> Result<Self> {
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
        let port =
            simulator.ready.pointer("/recorders/list/0/port").context("the simulator has no recorder")?;
        let input = format!("port={port}");
        Ok(Self { simulator, stage, input })
    }

    /// `bascule run export` for it, with the result as JSON in the last line.
    pub(crate) fn export(&self) -> Command {
        self.stage.bascule(&["run", "export", "--quiet", "--json", "--input", &self.input])
    }
}
