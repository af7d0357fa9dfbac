//! `cargo xtask package`: the Debian package, in one command, and a look at whether it installs and starts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, must, output_of, root, say};

/// What the package is made with.
const TOOL: &str = "3.8.0";

/// `cargo xtask package`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install it in a copy of this system that is thrown away, start it by its unit's command line, remove it (needs root).
    #[arg(long)]
    check: bool,
}

/// Makes `target/debian/bascule_*.deb`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tool = tool()?;
    xtask::components::plugins()?;
    must(cargo().args(["build", "--release", "--package", "bascule-cli", "--bin", "bascule"]))?;
    completions()?;
    let package = root().join("target/debian/bascule.deb");
    fs::create_dir_all(root().join("target/debian"))?;
    must(
        Command::new(&tool)
            // Called by itself it is told which subcommand of cargo it is. The profile keeps symbols for backtraces, which a
            // package has no room for.
            .args(["deb", "--no-build", "--strip", "--package", "bascule-cli", "--output"])
            .arg(&package),
    )?;
    say(&format!("package: {}", package.display()));
    print_contents(&package)?;
    if options.check { check(&package) } else { Ok(()) }
}

/// cargo-deb, of a known version, for this project alone.
fn tool() -> Result<std::path::PathBuf> {
    let folder = root().join("target/tools");
    let tool = folder.join("bin/cargo-deb");
    let there = tool.exists()
        && output_of(Command::new(&tool).args(["deb", "--version"])).is_ok_and(|said| said.contains(TOOL));
    if !there {
        must(
            cargo()
                .args(["install", "cargo-deb", "--locked", "--version", TOOL, "--force", "--root"])
                .arg(&folder),
        )?;
    }
    Ok(tool)
}

/// Completion for shells, under the names that Debian has for them.
fn completions() -> Result<()> {
    let folder = root().join("target/package");
    fs::create_dir_all(&folder)?;
    for (shell, file) in [("bash", "bascule"), ("zsh", "_bascule"), ("fish", "bascule.fish")] {
        let bascule = root().join("target/release/bascule");
        let script = output_of(Command::new(bascule).args(["completions", shell]))?;
        fs::write(folder.join(file), script).with_context(|| format!("cannot write `{file}`"))?;
    }
    Ok(())
}

fn print_contents(package: &Path) -> Result<()> {
    let list = output_of(Command::new("dpkg-deb").arg("-c").arg(package))?;
    for wanted in [
        "./usr/bin/bascule",
        "./usr/sbin/bascule-site",
        "./usr/lib/systemd/system/bascule.service",
        "./usr/lib/bascule/plugins/isapi.wasm",
        "./usr/share/doc/bascule/operating.md",
    ] {
        if !list.lines().any(|line| line.ends_with(&format!(" {wanted}"))) {
            bail!("the package lacks `{wanted}`:\n{list}");
        }
    }
    let bytes = fs::metadata(package)?.len();
    say(&format!("{} files, {:.1} MB", list.lines().count(), mb(bytes)));
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    // Exact far beyond the size of any package.
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

/// Runs `packaging/check` on an overlay over this system: what it writes is in memory and gone with the process.
fn check(package: &Path) -> Result<()> {
    let script = r#"set -e
        mount -t tmpfs -o size=1g none "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
        for folder in proc dev; do mount --rbind "/$folder" "$1/root/$folder"; done
        mount -t tmpfs none "$1/root/tmp"
        mount -t tmpfs none "$1/root/run"
        cp "$2" "$1/root/tmp/bascule.deb"
        cp "$3" "$1/root/tmp/check"
        exec chroot "$1/root" /bin/sh /tmp/check /tmp/bascule.deb"#;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    must(command.arg(folder.path()).arg(package).arg(root().join("packaging/check")))?;
    say("the package installs, starts, stops and goes");
    Ok(())
}
