//! `tests/fixtures/conformance/judge.py`: a gateway and a terminal in Python, none of whose code is ours.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{Running, root};

/// The judge, listening.
pub(super) struct Judge {
    _running: Running,
    pub(super) port: u16,
    folder: PathBuf,
}

impl Judge {
    /// Starts it in a new folder.
    pub(super) fn start(folder: &Path, secret: &str) -> Result<Self> {
        super::install("python3", &["python3"])?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let mut running =
            Running::start(script().arg("serve").arg(folder).arg(secret).stdout(Stdio::piped()))?;
        let stdout = running.child().stdout.take().context("the judge has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("not a port: {line:?}"))?;
        Ok(Self { _running: running, port, folder: folder.to_owned() })
    }

    /// What it saw so far, oldest first.
    pub(super) fn seen(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("judged.jsonl")).unwrap_or_default();
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The picture that came as the how-manieth, from 1.
    pub(super) fn picture(&self, number: usize) -> PathBuf {
        self.folder.join(format!("received-{number}.jpg"))
    }
}

/// Its command line.
pub(super) fn script() -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/fixtures/conformance/judge.py"));
    command
}
