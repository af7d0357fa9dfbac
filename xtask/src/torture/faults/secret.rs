//! `bascule secret set` in a folder that nothing has run in: key file and database are made.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::command::{Files, data_files, sound, struck};
use super::strace::{Aim, Fault, Way};
use super::{Ground, Seen};

/// The first calls of the first thread are the key's: one for the file, one for its folder.
const KEY_CALLS: u32 = 2;

/// Whether that fault comes to the key. Other threads' writes go to no file: with them they wake each other.
fn is_of_key(fault: Fault) -> bool {
    let is_among_first = fault.number <= KEY_CALLS && (fault.call != "write" || fault.way == Way::Kill);
    is_among_first || fault == Fault::NONE
}

pub(super) struct Scenario {
    ground: Ground,
}

impl Scenario {
    pub(super) fn new(ground: &Ground) -> Self {
        Self { ground: ground.clone() }
    }

    fn bascule(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.ground.binaries.join("bascule"));
        let project = folder.join("project");
        command.arg("-C").arg(project).arg("--key-file").arg(folder.join("keys/key")).args(arguments);
        command
    }
}

impl super::Scenario for Scenario {
    fn name(&self) -> &'static str {
        "secret"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["key", "database"]
    }

    fn round(&mut self, folder: &Path, part: &str, fault: Fault) -> Result<Seen> {
        if part == "key" && !is_of_key(fault) {
            return Ok(Seen::default());
        }
        let project = folder.join("project");
        fs::create_dir_all(&project)?;
        fs::write(project.join("bascule.yaml"), "connections: {}\n")?;
        let data = project.join(".bascule");
        let paths = match part {
            // The file has another name as long as it is not whole.
            "key" => Vec::new(),
            _ => data_files(&data),
        };
        let aim = Aim { paths, log: folder.join("strace") };
        let files = |name: &str| Files { input: "invented", output: folder.join(name) };
        let first = struck(&self.bascule(folder, &["secret", "set", "first"]), fault, &aim, &files("first"))?;
        first.judge(if part == "key" { &[0, 3] } else { &[0] }, &data)?;

        let (code, _) = sound(self.bascule(folder, &["secret", "set", "second"]), &files("second"))?;
        let said = || fs::read_to_string(folder.join("second.errors")).unwrap_or_default();
        ensure!(code == 0, "afterwards nothing can be stored any more ({code}): {}", said());
        let (code, list) = sound(self.bascule(folder, &["secret", "list", "--json"]), &files("list"))?;
        ensure!(code == 0, "afterwards the secrets cannot be listed ({code})");
        let list: Value = serde_json::from_str(&list)?;
        let has = |name: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == name));
        ensure!(has("second"), "the second secret is not there");
        let told = fs::read_to_string(folder.join("first"))?.contains("stored first");
        ensure!(
            has("first") || (!told && first.code() != Some(0)),
            "a secret was stored, it said, and is lost"
        );
        let mut seen = first.seen();
        if part == "key" {
            seen.most.retain(|call, calls| {
                *calls = KEY_CALLS.min(*calls);
                call == "fsync"
            });
        }
        Ok(seen)
    }
}
