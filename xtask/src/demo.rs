//! `cargo xtask demo`: the main job, on simulated devices, with the real engine and the real plugins.

use anyhow::Result;

use crate::process::{Simulator, build_binaries, must, root, say};
use crate::stage::{Stage, key_file};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many terminals to simulate.
    #[arg(long, default_value_t = 25)]
    terminals: u32,
    /// Send the picture's bytes instead of its URL.
    #[arg(long)]
    upload: bool,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    say("building (the first time takes some minutes)");
    xtask::components::plugins()?;
    let binaries = build_binaries(false)?;
    let terminals = options.terminals.to_string();
    let simulator = Simulator::start(&binaries, &["--scenario", "demo", "--terminals", &terminals])?;
    let folder = root().join("target").join("demo");
    let stage = Stage::set(&folder, &binaries, &simulator, Ok)?;
    say(&format!(
        "\nA simulated Supabase and {terminals} simulated terminals are up. Among the terminals some refuse FDModify as long as they\n\
         have no face for a person, one is offline, one has locked our account, and one says OK and stores nothing.\n\
         The project is in {}.\n",
        folder.display()
    ));
    say("$ bascule check");
    must(&mut stage.bascule(&["check"]))?;
    let workflow = if options.upload { "update-face-photo-upload" } else { "update-face-photo" };
    let input = format!("employee_id={}", simulator.text("/employees/complete")?);
    say(&format!("\n$ bascule run {workflow} --input {input}"));
    let status = stage.bascule(&["run", workflow, "--input", &input]).status()?;
    let code = status.code();
    anyhow::ensure!(
        code == Some(1),
        "the run should end with exit code 1 (three terminals cannot be served), not with {status}"
    );
    let skipped = format!("employee_id={}", simulator.text("/employees/without_photo")?);
    say(&format!(
        "\nAn employee without a photo is skipped with a reason, not an error:\n$ bascule run {workflow} --input {skipped}"
    ));
    must(&mut stage.bascule(&["run", workflow, "--input", &skipped]))?;
    say("\n$ bascule runs list");
    must(&mut stage.bascule(&["runs", "list"]))?;
    say(&format!(
        "\nThe run above ended `failed` because three terminals could not be served, which is the truth; exit code 1 says so too.\n\
         Look around: target/debug/bascule -C {} --key-file {} runs show last",
        folder.display(),
        key_file().display()
    ));
    simulator.stop();
    Ok(())
}
