//! The load: senders of webhooks that repeat themselves, and people who pass terminals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use super::http::{self, Ask};
use super::ledger::Ledger;
use crate::torture::Random;

/// What the senders know.
pub(in crate::torture) const HOOK_SECRET: &str = "torture-hook-shared-key";

/// How many send webhooks.
const SENDERS: u64 = 2;
/// How long a sender goes on until a delivery is acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);
/// The wait before a delivery that was not acknowledged is sent again.
const AGAIN: Duration = Duration::from_millis(15);

/// What all of the load shares.
pub(in crate::torture) struct Target {
    pub(in crate::torture) server: SocketAddr,
    pub(in crate::torture) control: SocketAddr,
    pub(in crate::torture) terminals: Vec<String>,
    pub(in crate::torture) ledger: Arc<Ledger>,
    pub(in crate::torture) seed: u64,
}

/// The load under way.
pub(in crate::torture) struct Load {
    threads: Vec<JoinHandle<Result<()>>>,
    signs: Arc<Signs>,
}

#[derive(Default)]
struct Signs {
    stop: AtomicBool,
    /// Something in the load went wrong, so the rest can be left.
    failed: AtomicBool,
    restarts: AtomicU32,
}

impl Load {
    pub(in crate::torture) fn start(target: Target) -> Self {
        let signs = Arc::new(Signs::default());
        let target = Arc::new(target);
        let mut threads = Vec::new();
        for sender in 0..SENDERS {
            let (target, signs) = (Arc::clone(&target), Arc::clone(&signs));
            threads.push(std::thread::spawn(move || signs.watch(send_all(&target, &signs, sender))));
        }
        let watched = Arc::clone(&signs);
        threads.push(std::thread::spawn(move || watched.watch(pass_all(&target, &watched))));
        Self { threads, signs }
    }

    /// The server was started again; copies that were kept back may follow.
    pub(in crate::torture) fn restarted(&self) {
        self.signs.restarts.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether one of its threads has given up.
    pub(in crate::torture) fn has_failed(&self) -> bool {
        self.signs.failed.load(Ordering::SeqCst)
    }

    /// Nothing new; returns when everything that was begun is acknowledged.
    pub(in crate::torture) fn stop(self) -> Result<()> {
        self.signs.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a thread of the load died"))??;
        }
        Ok(())
    }
}

impl Signs {
    fn watch(&self, done: Result<()>) -> Result<()> {
        if done.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        done
    }

    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && !self.failed.load(Ordering::SeqCst)
    }
}

/// Sends delivery after delivery, each one to four times: at once side by side, and again after a later restart.
fn send_all(target: &Target, signs: &Signs, sender: u64) -> Result<()> {
    let mut random = Random::new(target.seed ^ (sender + 1) << 32);
    let mut kept: Vec<(u32, String)> = Vec::new();
    for count in 0_u64.. {
        let restarts = signs.restarts.load(Ordering::SeqCst);
        let ended = !signs.go_on();
        let (due, rest): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|(after, _)| ended || restarts >= *after);
        kept = rest;
        for (_, number) in due {
            deliver(target, &number)?;
        }
        if ended {
            return Ok(());
        }
        let number = format!("w{sender}-{count}");
        let at_once = 1 + random.below(3);
        std::thread::scope(|scope| {
            let copies: Vec<_> = (0..at_once).map(|_| scope.spawn(|| deliver(target, &number))).collect();
            copies.into_iter().try_for_each(|copy| copy.join().map_err(|_| anyhow!("a sender died"))?)
        })?;
        if random.below(2) == 0 {
            kept.push((restarts + 1 + random.below(3), number));
        }
        std::thread::sleep(Duration::from_millis(u64::from(100 + random.below(500))));
    }
    Ok(())
}

/// Sends one delivery until it is acknowledged, as a sender that keeps its word does.
fn deliver(target: &Target, number: &str) -> Result<()> {
    let body = json!({ "number": number }).to_string();
    let headers = [("X-Key", HOOK_SECRET)];
    let ask = Ask { method: "POST", path: "/hooks/enrol", headers: &headers, body: &body };
    let end = Instant::now() + PATIENCE;
    let mut last = "nothing".to_owned();
    while Instant::now() < end {
        match http::ask(target.server, &ask) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let run = answer.body.as_ref().and_then(|body| body["run"].as_str());
                return target.ledger.acknowledged(number, run);
            }
            Ok(answer) if answer.status == 503 => last = "503".to_owned(),
            Ok(answer) => {
                bail!(
                    "delivery {number} was answered {}: {}",
                    answer.status,
                    answer.body.unwrap_or(Value::Null)
                )
            }
            Err(error) => last = format!("{error:#}"),
        }
        std::thread::sleep(AGAIN);
    }
    bail!("delivery {number} is not acknowledged after {PATIENCE:?}: {last}")
}

/// Lets people pass the terminals, each of them once.
fn pass_all(target: &Target, signs: &Signs) -> Result<()> {
    let mut random = Random::new(target.seed ^ 0xface);
    for count in 0_u32.. {
        if !signs.go_on() {
            return Ok(());
        }
        let number = random.below(u32::try_from(target.terminals.len())?);
        let terminal = target.terminals.get(number as usize).context("no such terminal")?;
        let person = format!("p{count}");
        let body = json!({ "employee_no": person }).to_string();
        http::json(target.control, "POST", &format!("/devices/{terminal}/events"), &body)?;
        target.ledger.passed(&person, terminal)?;
        std::thread::sleep(Duration::from_millis(u64::from(50 + random.below(400))));
    }
    Ok(())
}
