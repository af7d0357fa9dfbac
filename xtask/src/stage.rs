//! A project folder wired to a running simulator, as an integrator would write it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process::{Simulator, root};

/// A project on disk, ready for `bascule`.
pub(crate) struct Stage {
    /// The folder with `bascule.yaml`.
    pub(crate) folder: PathBuf,
    bascule: PathBuf,
}

impl Stage {
    /// Writes `bascule.yaml` for the simulator, copies the shipped workflows through `edit`, and stores the secrets.
    pub(crate) fn set(
        folder: &Path,
        binaries: &Path,
        simulator: &Simulator,
        edit: impl Fn(String) -> Result<String>,
    ) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("workflows"))?;
        fs::write(folder.join("bascule.yaml"), inventory(simulator)?)?;
        for name in ["update-face-photo", "update-face-photo-upload"] {
            let file = format!("{name}.yaml");
            let text = fs::read_to_string(root().join("workflows").join(&file))?;
            fs::write(folder.join("workflows").join(&file), edit(text)?)?;
        }
        let stage = Self { folder: folder.to_owned(), bascule: binaries.join("bascule") };
        stage.secret("supabase-key", simulator.text("/supabase/service_key")?)?;
        stage.secret("terminal-password", simulator.text("/terminals/password")?)?;
        Ok(stage)
    }

    /// Writes a project of one workflow, `tests/fixtures/bench/NAME.yaml`, with that inventory.
    pub(crate) fn of_fixture(folder: &Path, binaries: &Path, name: &str, inventory: &str) -> Result<Self> {
        let text = fs::read_to_string(root().join("tests/fixtures/bench").join(format!("{name}.yaml")))?;
        Self::of_texts(folder, binaries, inventory, &[(name, text)])
    }

    /// Writes a project of these workflows, each a name and its text, with that inventory.
    pub(crate) fn of_texts(
        folder: &Path,
        binaries: &Path,
        inventory: &str,
        workflows: &[(&str, String)],
    ) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("workflows"))?;
        fs::write(folder.join("bascule.yaml"), inventory)?;
        let stage = Self { folder: folder.to_owned(), bascule: binaries.join("bascule") };
        for (name, text) in workflows {
            stage.workflow(name, text)?;
        }
        Ok(stage)
    }

    /// A project that is in `folder` already.
    pub(crate) fn at(folder: &Path, binaries: &Path) -> Self {
        Self { folder: folder.to_owned(), bascule: binaries.join("bascule") }
    }

    /// Writes a workflow, whole or not at all.
    pub(crate) fn workflow(&self, name: &str, text: &str) -> Result<()> {
        let unfinished = self.folder.join(format!("{name}.unfinished"));
        fs::write(&unfinished, text)?;
        Ok(fs::rename(&unfinished, self.folder.join("workflows").join(format!("{name}.yaml")))?)
    }

    /// `bascule` for this project.
    pub(crate) fn bascule(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bascule);
        command
            .arg("-C")
            .arg(&self.folder)
            .arg("--key-file")
            .arg(key_file())
            .arg("--cache")
            .arg(root().join("target").join("stage-compiled"))
            .arg("--plugins")
            .arg(root().join("target").join("components"))
            .args(arguments);
        command
    }

    /// Stores a secret, through standard input.
    pub(crate) fn secret(&self, name: &str, value: &str) -> Result<()> {
        let mut child = self
            .bascule(&["secret", "set", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start bascule")?;
        child.stdin.take().context("no standard input")?.write_all(value.as_bytes())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("`bascule secret set {name}` ended with {status}");
        }
        Ok(())
    }
}

/// The key of every stage: shared, as the compiled plugins that it seals are, which take longer to make than most runs.
pub(crate) fn key_file() -> PathBuf {
    root().join("target").join("stage.key")
}

/// The inventory for the simulator's addresses.
fn inventory(simulator: &Simulator) -> Result<String> {
    Ok(format!(
        r#"connections:
  hr:
    description: The HR database (simulated Supabase)
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
    test: /rest/v1/devices

  terminal:
    description: Any access terminal of the devices table
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest:
        user: {user}
        password: {{ secret: terminal-password }}
    allow:
      addresses: [127.0.0.0/8]      # the database says where a terminal is; this says where one may be
      methods: [GET, POST, PUT]
      paths: [/ISAPI/, /LOCALS/pic/]
    test: /ISAPI/System/deviceInfo

folders:
  photos: {{ path: ./photos }}
"#,
        supabase = simulator.text("/supabase/url")?,
        user = simulator.text("/terminals/user")?,
    ))
}
