//! `bascule serve` as a process that is started, killed and started again at one address.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{self, Ask};
use crate::process::{Running, wait_at_most};
use crate::stage::Stage;

/// How long a start may take before it counts as none.
const STUCK: Duration = Duration::from_secs(30);
/// How long an orderly end may take.
const ORDERLY: Duration = Duration::from_secs(20);
/// How often it is asked whether it serves.
const OFTEN: Duration = Duration::from_millis(2);

/// Where and how the server runs.
pub(in crate::torture) struct Site {
    pub(in crate::torture) stage: Stage,
    pub(in crate::torture) address: SocketAddr,
    /// Its standard error, of all its lives.
    pub(in crate::torture) log: PathBuf,
}

/// One life.
pub(in crate::torture) struct Life {
    running: Running,
    begun: Instant,
}

impl Site {
    /// Starts it.
    pub(in crate::torture) fn start(&self) -> Result<Life> {
        self.start_as(|command| command)
    }

    /// Starts what `edit` makes of the command.
    pub(in crate::torture) fn start_as(&self, edit: impl FnOnce(Command) -> Command) -> Result<Life> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let address = self.address.to_string();
        let mut command = edit(self.stage.bascule(&["serve", "--listen", &address, "--log-format", "json"]));
        let begun = Instant::now();
        Ok(Life { running: Running::start(command.stdout(Stdio::null()).stderr(log))?, begun })
    }

    /// What the API answers to the operator of this data folder. A server that has just begun may not have written yet
    /// how it is reached.
    pub(in crate::torture) fn api(&self, method: &str, path: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            match self.api_once(method, path) {
                Ok((200..300, body)) => return Ok(body),
                Ok((401, _)) | Err(_) if begun.elapsed() < ORDERLY => std::thread::sleep(OFTEN),
                Ok((status, body)) => bail!("{method} {path}: {status} {body}"),
                Err(error) => return Err(error),
            }
        }
    }

    /// The same, asked once; with the status.
    pub(in crate::torture) fn api_once(&self, method: &str, path: &str) -> Result<(u16, Value)> {
        let file = std::fs::read_to_string(self.stage.folder.join(".bascule/server.json"))?;
        let server: Value = serde_json::from_str(&file)?;
        let token = format!("Bearer {}", server["token"].as_str().context("the address file has no token")?);
        let body = if method == "GET" { "" } else { "{}" };
        let answer =
            http::ask(self.address, &Ask { method, path, headers: &[("Authorization", &token)], body })?;
        let status = answer.status;
        let body = answer.body.with_context(|| format!("{method} {path}: {status} without JSON"))?;
        Ok((status, body))
    }
}

impl Life {
    /// Waits until it serves; gives the time since it was started.
    pub(in crate::torture) fn until_ready(&mut self, site: &Site) -> Result<Duration> {
        let ask = Ask { method: "GET", path: "/ready", headers: &[], body: "" };
        loop {
            if http::ask(site.address, &ask).is_ok_and(|answer| answer.status == 200) {
                return Ok(self.begun.elapsed());
            }
            if let Some(status) = self.child().try_wait()? {
                bail!("the server ended with {status} instead of serving; see {}", site.log.display());
            }
            if self.begun.elapsed() > STUCK {
                bail!("the server does not serve after {STUCK:?}; see {}", site.log.display());
            }
            std::thread::sleep(OFTEN);
        }
    }

    /// kill -9; gives the instant. That it had ended by itself is an error.
    pub(in crate::torture) fn kill(mut self) -> Result<Timestamp> {
        if let Some(status) = self.child().try_wait()? {
            bail!("the server ended by itself, with {status}");
        }
        let at = Timestamp::now();
        self.running.kill();
        Ok(at)
    }

    /// SIGTERM.
    pub(in crate::torture) fn terminate(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child().id())?;
        Ok(kill_process(Pid::from_raw(pid).context("no process id")?, Signal::TERM)?)
    }

    /// SIGTERM, and the end that should follow.
    pub(in crate::torture) fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = wait_at_most(self.child(), ORDERLY)?;
        ensure!(status.success(), "told to stop, the server ended with {status}");
        Ok(())
    }

    pub(in crate::torture) fn child(&mut self) -> &mut Child {
        self.running.child()
    }
}

/// A port that is free now and that the system gives to nobody by itself, so that it is still free after each kill.
pub(in crate::torture) fn address() -> Result<SocketAddr> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = range.split_whitespace().next().context("an empty port range")?.parse()?;
    let ports: Vec<u16> = (first.saturating_sub(10_000).max(1024)..first).collect();
    // Between two lives of the server nobody holds its port: whoever else looks for one at that time begins elsewhere.
    let begin = usize::try_from(std::process::id())?.wrapping_mul(97) % ports.len().max(1);
    let found = ports
        .iter()
        .cycle()
        .skip(begin)
        .take(ports.len())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
        .find(|address| TcpListener::bind(address).is_ok());
    found.with_context(|| format!("no free port below {first}"))
}
