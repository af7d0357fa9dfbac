//! `bascule init`: a new project folder.

use std::fs;

use anyhow::{Context as _, Result};

use crate::arguments::Init;
use crate::exit::{Exit, coded_with_help};
use crate::paint;

const INVENTORY: &str = include_str!("init/bascule.yaml");
const WORKFLOW: &str = include_str!("init/terminal-info.yaml");
const IGNORED: &str = "# The journal, stores and encrypted secrets of this machine.\n.bascule/\n";

/// Writes the files; an existing project is left as it is.
pub(crate) fn run(options: &Init) -> Result<Exit> {
    let folder = &options.folder;
    let inventory = folder.join("bascule.yaml");
    if inventory.exists() {
        return Err(coded_with_help(
            Exit::Unusable,
            format!("`{}` is there already", inventory.display()),
            "choose another folder; nothing was changed",
        ));
    }
    let workflows = folder.join("workflows");
    fs::create_dir_all(&workflows).with_context(|| format!("cannot make `{}`", workflows.display()))?;
    for (path, text) in [
        (inventory, INVENTORY),
        (workflows.join("terminal-info.yaml"), WORKFLOW),
        (folder.join(".gitignore"), IGNORED),
    ] {
        if !path.exists() {
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
            paint::line(format!("{} {}", paint::good("made"), path.display()));
        }
    }
    let at = folder.display();
    paint::line(format!(
        "\nNext:\n  1. put your device's address into {at}/bascule.yaml\n  2. bascule -C {at} secret set terminal-password\n  \
         3. bascule -C {at} check\n  4. bascule -C {at} connection test terminal\n  5. bascule -C {at} run terminal-info\n  \
         6. bascule -C {at} schema                    (completion in editors)"
    ));
    Ok(Exit::Success)
}
