//! A command under a fault, to its end, and what is asked of every end.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Seen;
use super::strace::{Aim, Fault, Trace, Way, under};
use crate::process::{Running, wait_at_most};

/// The longest a command may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// `the data folder cannot be read or written`
pub(super) const STORAGE: i32 = 70;

/// How a program under a fault ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) trace: Trace,
    fault: Fault,
    /// What it said on standard error.
    pub(super) said: String,
}

impl Ended {
    /// Whether the fault came.
    pub(super) fn is_struck(&self) -> bool {
        match self.fault.way {
            Way::Kill => self.status.signal() == Some(9),
            _ => !self.trace.struck.is_empty(),
        }
    }

    /// For whoever chooses the next fault.
    pub(super) fn seen(self) -> Seen {
        Seen { struck: self.is_struck(), most: self.trace.most }
    }

    /// The exit code; none where it was killed.
    pub(super) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What holds for every program: it does not panic, it ends as it would have or says that the disk is at fault, and
    /// after a failed sync of the database it does that, and syncs no second time.
    pub(super) fn judge(&self, usual: &[i32], data: &Path) -> Result<()> {
        let Self { status, trace, said, .. } = self;
        ensure!(!said.contains("panicked"), "it panicked: {said}");
        ensure!(trace.synced_again.is_empty(), "synced again after a failure: {:?}", trace.synced_again);
        let Some(code) = status.code() else {
            ensure!(self.is_struck(), "it ended with {status}: {said}");
            return Ok(());
        };
        ensure!(code == STORAGE || usual.contains(&code), "it ended with {code}: {said}");
        if code == STORAGE {
            ensure!(self.is_struck(), "it ended with {STORAGE} on a sound disk: {said}");
            ensure!(
                said.contains("disk") || said.contains("error") || said.contains("cannot"),
                "it does not say why it ended: {said}"
            );
        }
        // SQLite does not look at what becomes of syncing a folder.
        let failed = trace.struck.iter().find(|struck| {
            struck.call.starts_with('f') && struck.path.starts_with(data) && !struck.path.is_dir()
        });
        if let Some(failed) = failed {
            ensure!(
                code == STORAGE,
                "a sync of {} failed, and it ended with {code}: {said}",
                failed.path.display()
            );
        }
        Ok(())
    }
}

/// The database's files, as strace is to watch them.
pub(super) fn data_files(data: &Path) -> Vec<PathBuf> {
    let names =
        ["bascule.db", "bascule.db-wal", "bascule.db-journal", "bascule.db.lock", "server.new", "tokens.new"];
    let mut paths = vec![data.to_owned()];
    paths.extend(names.iter().map(|name| data.join(name)));
    paths
}

/// What a command reads and where it writes.
pub(super) struct Files<'a> {
    /// Its standard input.
    pub(super) input: &'a str,
    /// Its standard output.
    pub(super) output: PathBuf,
}

/// Runs `command` with the fault to its end.
pub(super) fn struck(command: &Command, fault: Fault, aim: &Aim, files: &Files<'_>) -> Result<Ended> {
    let errors = files.output.with_extension("errors");
    let mut traced = under(command, fault, aim);
    let mut running =
        Running::start(traced.stdout(File::create(&files.output)?).stderr(File::create(&errors)?))?;
    feed(&mut running, files.input)?;
    let id = running.child().id();
    let status = wait_at_most(running.child(), LIMIT).context("it hangs")?;
    ended(status, (id, fault, aim), &errors)
}

/// Gathers what is known about a program that has ended.
pub(super) fn ended(
    status: ExitStatus,
    (id, fault, aim): (u32, Fault, &Aim),
    errors: &Path,
) -> Result<Ended> {
    let trace = Trace::read(aim, id)?;
    Ok(Ended { status, trace, fault, said: String::from_utf8_lossy(&fs::read(errors)?).into_owned() })
}

/// Runs `command` on a sound disk; gives its exit code and what it wrote on standard output.
pub(super) fn sound(mut command: Command, files: &Files<'_>) -> Result<(i32, String)> {
    let errors = files.output.with_extension("errors");
    let mut running =
        Running::start(command.stdout(File::create(&files.output)?).stderr(File::create(&errors)?))?;
    feed(&mut running, files.input)?;
    let status = wait_at_most(running.child(), LIMIT).context("it hangs on a sound disk")?;
    let said = String::from_utf8_lossy(&fs::read(&errors)?).into_owned();
    ensure!(!said.contains("panicked"), "it panicked on a sound disk: {said}");
    let code = status.code().with_context(|| format!("it ended with {status}: {said}"))?;
    ensure!(code != STORAGE, "it ended with {STORAGE} on a sound disk: {said}");
    Ok((code, fs::read_to_string(&files.output)?))
}

fn feed(running: &mut Running, input: &str) -> Result<()> {
    let mut pipe = running.child().stdin.take().context("standard input is not piped")?;
    // One that ended before it read this has not been asked for it.
    drop(std::io::Write::write_all(&mut pipe, input.as_bytes()));
    Ok(())
}
