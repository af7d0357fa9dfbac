//! `cargo xtask test`: everything built, every test run, then a sweep for secrets in all that was written.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, bail};

use crate::process::{Running, cargo, root, say, tee};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to `cargo test`, e.g. a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the suite.
pub(crate) fn run(options: &Options) -> Result<()> {
    let kept = root().join("target").join("it");
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    say("building plugins and guests");
    xtask::components::plugins()?;
    xtask::components::guests()?;
    fs::create_dir_all(&kept)?;
    let mut suite = Running::start(
        cargo()
            .args(["test", "--workspace"])
            .args(&options.rest)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let status = tee(&mut suite, &kept.join("suite.log"))?;
    if !status.success() {
        bail!("the tests ended with {status}");
    }
    sweep(&kept)
}

/// Looks for canaries in every file below `folder`, in every form they could have leaked in.
fn sweep(folder: &Path) -> Result<()> {
    if !folder.exists() {
        say("canary sweep: no files were kept, nothing to look at");
        return Ok(());
    }
    let sweep = xtask::canary::Sweep::new()?;
    let mut files = 0_usize;
    let mut bytes = 0_u64;
    let mut hits = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let Ok(content) = fs::read(&path) else { continue };
            files += 1;
            bytes += content.len() as u64;
            for found in sweep.hits(&content) {
                hits.push(format!("{}: {} as {}", path.display(), found.name, found.form));
            }
        }
    }
    say(&format!(
        "canary sweep: {files} files, {bytes} bytes, {} forms of {} secrets: {} hits",
        sweep.len(),
        xtask::canary::CANARIES.len(),
        hits.len()
    ));
    if !hits.is_empty() {
        bail!("secrets were written:\n{}", hits.join("\n"));
    }
    if files == 0 {
        bail!("the suite kept no files, so the sweep proves nothing");
    }
    Ok(())
}
