//! `bascule run export`: recordings into a folder, each under its name when it is whole, with a record beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::command::{Files, data_files, sound, struck};
use super::strace::{Aim, Fault, paths_written};
use super::{Ground, Seen};
use crate::stage::Stage;
use crate::torture::one_run::show;
use crate::torture::serve::Set;

const WORKFLOW: &str = "export";

pub(super) struct Scenario {
    ground: Ground,
    set: Set,
    /// sha256 of what there is to fetch.
    recorded: BTreeSet<String>,
    /// What an undisturbed run leaves, by name.
    expected: BTreeSet<String>,
    /// What it writes to below the folder, as it is called then.
    written: Vec<PathBuf>,
}

impl Scenario {
    pub(super) fn new(ground: &Ground) -> Result<Self> {
        let set = Set::up(&ground.folder.join("export-template"), &ground.binaries, &[WORKFLOW])?;
        set.habits(&json!({ "channels": 2, "segments": 2, "segment_bytes": 40_000, "growing": false }))?;
        let path = set.site.stage.folder.join("workflows/export.yaml");
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains("${{ run.id }}/"), "the workflow names its files otherwise");
        // The same names each time.
        fs::write(&path, text.replace("${{ run.id }}/", "fixed/"))?;
        let recorded = set.recorded()?;
        let mut scenario =
            Self { ground: ground.clone(), set, recorded, expected: BTreeSet::new(), written: Vec::new() };
        let folder = ground.folder.join("export");
        fs::create_dir_all(&folder)?;
        let stage = scenario.stage(&folder)?;
        let files = Files { input: "", output: folder.join("out") };
        let run = stage.bascule(&["run", WORKFLOW, "--json"]);
        scenario.written = paths_written(&run, &stage.folder.join("recordings"), &folder.join("strace"))?;
        scenario.judge(&stage)?;
        scenario.expected = found(&stage)?.into_iter().map(|(name, _)| name).collect();
        ensure!(scenario.expected.len() == 2 * scenario.recorded.len(), "{:?}", scenario.expected);
        let (code, _) = sound(stage.bascule(&["runs", "show", "last"]), &files)?;
        ensure!(code == 0, "`runs show` ended with {code}");
        Ok(scenario)
    }

    fn stage(&self, folder: &Path) -> Result<Stage> {
        let project = folder.join("project");
        copy(&self.set.site.stage.folder, &project)?;
        Ok(Stage::at(&project, &self.ground.binaries))
    }

    /// The run succeeded, and the folder holds each recording once, whole, and nothing else.
    fn judge(&self, stage: &Stage) -> Result<()> {
        let run = show(stage)?.context("there is no run")?;
        let status = run["header"]["status"].as_str().unwrap_or_default();
        ensure!(status == "succeeded", "the run ended {status}: {}", run["failure"]);
        let found = found(stage)?;
        let names: BTreeSet<String> = found.iter().map(|(name, _)| name.clone()).collect();
        ensure!(
            self.expected.is_empty() || names == self.expected,
            "the folder holds {names:?}, not {:?}",
            self.expected
        );
        let hashes: BTreeSet<String> = (found.into_iter())
            .filter(|(name, _)| !name.ends_with(".json"))
            .map(|(_, content)| hex::encode(Sha256::digest(content)))
            .collect();
        ensure!(hashes == self.recorded, "the files are not the recordings");
        Ok(())
    }
}

impl super::Scenario for Scenario {
    fn name(&self) -> &'static str {
        "export"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["recordings", "database"]
    }

    fn round(&mut self, folder: &Path, part: &str, fault: Fault) -> Result<Seen> {
        let stage = self.stage(folder)?;
        let data = stage.folder.join(".bascule");
        let paths = if part == "database" { data_files(&data) } else { self.written.clone() };
        let aim = Aim { paths, log: folder.join("strace") };
        let files = |name: &str| Files { input: "", output: folder.join(name) };
        let run = ["run", WORKFLOW, "--json"];
        let ended = struck(&stage.bascule(&run), fault, &aim, &files("out"))?;
        // Where the folder of the recordings fails, the run fails and the process goes on.
        let usual: &[i32] = if part == "database" { &[0] } else { &[0, 1, 4] };
        ended.judge(usual, &data)?;
        let told = fs::read_to_string(folder.join("out"))?.contains("\"run-started\"");
        let seen = show(&stage)?;
        ensure!(seen.is_some() || !told, "a run had started, it said, and is lost");
        let again: &[&str] = match &seen {
            None => &run,
            Some(run) if run["header"]["ended_at"].is_null() => &["resume", "--json"],
            Some(run) if run["header"]["status"] != "succeeded" => &["runs", "rerun", "last", "--json"],
            Some(_) => {
                ensure!(
                    ended.code() == Some(0) || ended.code().is_none() || ended.code() == Some(70),
                    "the run succeeded, and it ended with {:?}",
                    ended.code()
                );
                &["runs", "show", "last"]
            }
        };
        ensure!(
            ended.code() != Some(0) || again == ["runs", "show", "last"],
            "it ended with 0 and the run did not"
        );
        let (code, _) = sound(stage.bascule(again), &files("again"))?;
        let said = || fs::read_to_string(folder.join("again.errors")).unwrap_or_default();
        ensure!(code == 0, "`{}` ended with {code}: {}", again.join(" "), said());
        self.judge(&stage)?;
        Ok(ended.seen())
    }
}

/// Every file of the recordings, by name.
fn found(stage: &Stage) -> Result<Vec<(String, Vec<u8>)>> {
    let root = stage.folder.join("recordings");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(&root)?.display().to_string();
            found.push((name, fs::read(&path)?));
        }
    }
    Ok(found)
}

/// Copies a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
