//! Starting other programs and stopping exactly those.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A line for whoever watches.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end; not ending with success is an error.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the programs `bascule` and `bascule-sim` and returns the folder they are in.
pub(crate) fn build_binaries(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "bascule-cli", "--package", "bascule-sim", "--bins"]);
    if release {
        command.arg("--release");
    }
    must(&mut command)?;
    Ok(root().join("target").join(if release { "release" } else { "debug" }))
}

/// A program that is killed when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts `command` with piped standard input (closing it is how the simulator is told to end).
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        Ok(Self(command.stdin(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?))
    }

    /// The child itself.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub(crate) fn kill(&mut self) {
        // It may have ended already; either way nothing of it is left after `wait`.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The simulator, ready.
pub(crate) struct Simulator {
    running: Running,
    /// What it printed when it was ready: URLs and credentials.
    pub(crate) ready: serde_json::Value,
}

impl Simulator {
    /// Starts `bascule-sim` and waits for its ready line.
    pub(crate) fn start(binaries: &Path, arguments: &[&str]) -> Result<Self> {
        let mut running = Running::start(
            Command::new(binaries.join("bascule-sim")).args(arguments).stdout(Stdio::piped()),
        )?;
        let stdout = running.child().stdout.take().context("the simulator has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = serde_json::from_str(&line).with_context(|| format!("not a ready line: {line:?}"))?;
        Ok(Self { running, ready })
    }

    /// A text of the ready line, by JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> Result<&str> {
        self.ready
            .pointer(pointer)
            .and_then(serde_json::Value::as_str)
            .with_context(|| format!("the simulator's ready line has no {pointer}"))
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.running.0.id()
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        self.running.kill();
    }
}

/// Waits for the child for at most `limit`; then kills it and fails.
pub(crate) fn wait_at_most(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Shows what a program with piped standard output and error says, and keeps it in `log` too.
pub(crate) fn tee(running: &mut Running, log: &Path) -> Result<std::process::ExitStatus> {
    let log = Mutex::new(std::fs::File::create(log)?);
    let child = running.child();
    drop(child.stdin.take());
    let stdout = child.stdout.take().context("standard output is not piped")?;
    let stderr = child.stderr.take().context("standard error is not piped")?;
    std::thread::scope(|scope| {
        let log = &log;
        let out = scope.spawn(move || copy(stdout, &mut std::io::stdout(), log));
        let err = scope.spawn(move || copy(stderr, &mut std::io::stderr(), log));
        for copier in [out, err] {
            copier.join().map_err(|_| anyhow::anyhow!("a copier failed"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(child.wait()?)
}

fn copy(mut from: impl Read, to: &mut dyn std::io::Write, log: &Mutex<std::fs::File>) -> Result<()> {
    let mut buffer = [0_u8; 8192];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
        log.lock().map_err(|_| anyhow::anyhow!("the other copier failed"))?.write_all(&buffer[..count])?;
    }
}
