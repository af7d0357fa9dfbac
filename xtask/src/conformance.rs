//! `cargo xtask conformance`: the real binary and the real plugins against programs that we did not write: Apache's
//! mod_auth_digest, ImageMagick, ffprobe, Python and Chromium (Debian's packages), OpenTelemetry's own types (PyPI) and Supabase's own `@supabase/lite` (npm).
//! All are installed here if missing.

mod apache;
mod judge;
mod lite;
mod outputs;
mod page;
mod signatures;
mod traces;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{build_binaries, must, root, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only `apache`, `supabase`, `signatures`, `outputs`, `traces` or `page`.
    #[arg(long)]
    only: Option<String>,
}

/// Runs the checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    xtask::components::plugins()?;
    let binaries = build_binaries(false)?;
    let ground = root().join("target").join("conformance");
    std::fs::create_dir_all(&ground)?;
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut passed = 0;
    if wanted("apache") {
        passed += apache::check(&ground.join("apache"), &binaries)?;
    }
    if wanted("supabase") {
        passed += lite::check(&ground.join("lite"), &binaries)?;
    }
    if wanted("signatures") {
        passed += signatures::check(&ground.join("signatures"), &binaries)?;
    }
    if wanted("outputs") {
        passed += outputs::check(&ground.join("outputs"), &binaries)?;
    }
    if wanted("traces") {
        passed += traces::check(&ground.join("traces"), &binaries)?;
    }
    if wanted("page") {
        passed += page::check(&ground.join("page"), &binaries)?;
    }
    say(&format!("conformance: {passed} passed, 0 failed"));
    Ok(())
}

/// Installs Debian packages where their program is missing.
pub(crate) fn install(program: &str, packages: &[&str]) -> Result<()> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| folder.join(program).exists()) {
        return Ok(());
    }
    say(&format!("installing Debian's {}", packages.join(", ")));
    must(Command::new("apt-get").args(["update", "-q"]).stdout(Stdio::null()))?;
    must(
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()),
    )
}

/// A port that was free a moment ago; for programs that cannot be given port 0.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until something listens there.
fn until_listening(port: u16, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on port {port} after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A project for `bascule` in `folder`.
struct Site {
    folder: PathBuf,
    bascule: PathBuf,
}

impl Site {
    fn new(folder: &Path, binaries: &Path, inventory: &str, workflows: &[(&str, &str)]) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder.join("workflows"))?;
        std::fs::write(folder.join("bascule.yaml"), inventory)?;
        for (name, text) in workflows {
            std::fs::write(folder.join("workflows").join(format!("{name}.yaml")), text)?;
        }
        Ok(Self { folder: folder.to_owned(), bascule: binaries.join("bascule") })
    }

    fn bascule(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bascule);
        command
            .arg("-C")
            .arg(&self.folder)
            .arg("--key-file")
            .arg(self.folder.join("..").join("master.key"))
            .arg("--plugins")
            .arg(root().join("target").join("components"))
            .args(arguments);
        command
    }

    /// Runs a workflow and returns its output; `ends` is the status it must come to.
    fn run_with(
        &self,
        workflow: &str,
        ends: &str,
        environment: &[(&str, &str)],
    ) -> Result<serde_json::Value> {
        let output = self
            .bascule(&["run", workflow, "--quiet", "--json"])
            .envs(environment.iter().copied())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let result: serde_json::Value = serde_json::from_str(last).map_err(|error| {
            anyhow::anyhow!(
                "`bascule run {workflow}` printed no result ({error}): {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        if result["status"] != ends {
            bail!("`{workflow}` ended {}, not {ends}: {result:#}", result["status"]);
        }
        Ok(result["output"].clone())
    }
}
