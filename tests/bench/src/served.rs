//! A `bascule serve` that is measured: its own process, its log in a file.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// The server; killed when dropped.
pub(crate) struct Served {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    pub(crate) process: u32,
}

impl Served {
    /// Starts it and waits until it says that it is ready. It logs as it does by default.
    pub(crate) async fn start(words: &[String], log: &Path) -> Result<Self> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
        let mut child =
            command.kill_on_drop(true).spawn().with_context(|| format!("cannot start {program}"))?;
        let process = child.id().context("it has ended already")?;
        let begun = std::time::Instant::now();
        loop {
            let said = std::fs::read_to_string(log)?;
            let ready =
                said.lines().filter(|_| said.ends_with('\n')).find_map(|line| line.strip_prefix("ready: "));
            if let Some(url) = ready.and_then(|rest| rest.split(' ').next()) {
                return Ok(Self { url: url.to_owned(), process, child });
            }
            if child.try_wait()?.is_some() || begun.elapsed() > READY_WITHIN {
                bail!("the server is not ready: {said}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Fails where it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended with {status}"),
            None => Ok(()),
        }
    }

    /// Ends it at once; all that counts is on disk.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
