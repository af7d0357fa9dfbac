//! `bascule serve`, from its first start in a project: webhooks that are sent twice, or a schedule of every second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::json;

use super::command::{data_files, ended};
use super::export::copy;
use super::strace::{Aim, Fault, under};
use super::{Ground, Seen};
use crate::process::wait_at_most;
use crate::stage::Stage;
use crate::torture::serve::http::{self, Ask};
use crate::torture::serve::judge::{Evidence, Judgement};
use crate::torture::serve::ledger::Ledger;
use crate::torture::serve::load::HOOK_SECRET;
use crate::torture::serve::records::Records;
use crate::torture::serve::server::{Life, Site};
use crate::torture::serve::{SCHEDULES, Set};

/// How many different deliveries a round sends, each of them twice.
const DELIVERIES: u32 = 3;
/// How long a life lasts where no fault ends it.
const LIFE: Duration = Duration::from_millis(2200);
/// How long a server may take to serve, or to end when its disk is broken.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// What the server has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Deliveries,
    Slots,
}

pub(super) struct Scenario {
    ground: Ground,
    work: Work,
    set: Set,
    template: std::path::PathBuf,
    rounds: u32,
}

impl Scenario {
    pub(super) fn new(ground: &Ground, work: Work) -> Result<Self> {
        let (folder, workflow) = match work {
            Work::Deliveries => ("deliveries-template", "enrol"),
            Work::Slots => ("slots-template", "tick"),
        };
        let set = Set::up(&ground.folder.join(folder), &ground.binaries, &[workflow])?;
        let template = set.site.stage.folder.clone();
        Ok(Self { ground: ground.clone(), work, set, template, rounds: 0 })
    }

    /// Lets the server work until it ends or the time is over; gives the instant from which slots are due.
    fn drive(&self, life: &mut Life, ledger: &Ledger) -> Result<Option<Timestamp>> {
        let begun = Instant::now();
        let ready = Ask { method: "GET", path: "/ready", headers: &[], body: "" };
        while !http::ask(self.set.site.address, &ready).is_ok_and(|answer| answer.status == 200) {
            if life.child().try_wait()?.is_some() {
                return Ok(None);
            }
            ensure!(begun.elapsed() < PATIENCE, "it neither serves nor ends");
            std::thread::sleep(LOOK);
        }
        let planned = self.planned();
        match self.work {
            Work::Slots => {
                let begun = Instant::now();
                while begun.elapsed() < LIFE && life.child().try_wait()?.is_none() {
                    std::thread::sleep(LOOK);
                }
            }
            Work::Deliveries => {
                for number in self.numbers() {
                    for _ in 0..2 {
                        // What is not acknowledged is sent again later.
                        let _sent = self.deliver(&number, ledger)?;
                    }
                }
                self.until_quiet(life)?;
            }
        }
        Ok(planned)
    }

    fn numbers(&self) -> Vec<String> {
        (0..DELIVERIES).map(|number| format!("w{}-{number}", self.rounds)).collect()
    }

    /// Sends a delivery once; whether it was acknowledged.
    fn deliver(&self, number: &str, ledger: &Ledger) -> Result<bool> {
        let body = json!({ "number": number }).to_string();
        let headers = [("X-Key", HOOK_SECRET)];
        let ask = Ask { method: "POST", path: "/hooks/enrol", headers: &headers, body: &body };
        match http::ask(self.set.site.address, &ask) {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let run = answer.body.as_ref().and_then(|body| body["run"].as_str());
                ledger.acknowledged(number, run)?;
                Ok(true)
            }
            Ok(answer) if answer.status == 503 => Ok(false),
            Ok(answer) => {
                bail!("delivery {number} was answered {}: {:?}", answer.status, answer.body)
            }
            Err(_) => Ok(false),
        }
    }

    /// The tokens that were handed out at the first start are good.
    fn tokens_work(&self, data: &Path) -> Result<()> {
        let text = fs::read_to_string(data.join("tokens")).context("nobody was told the first tokens")?;
        let tokens: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        ensure!(tokens.len() == 3, "there are {} first tokens", tokens.len());
        for line in tokens {
            let (role, token) = line.split_once(' ').context("a token without a role")?;
            let token = format!("Bearer {token}");
            let headers = [("Authorization", token.as_str())];
            let ask = Ask { method: "GET", path: "/api/v1/runs", headers: &headers, body: "" };
            let status = http::ask(self.set.site.address, &ask)?.status;
            ensure!(status == 200, "the first token of the {role} is answered with {status}");
        }
        Ok(())
    }

    /// The instant at which a planned slot is seen, where one is.
    fn planned(&self) -> Option<Timestamp> {
        let slots = self.set.site.api_once("GET", "/api/v1/slots?state=planned").ok()?;
        slots.1.as_array().filter(|slots| !slots.is_empty())?;
        Some(Timestamp::now())
    }

    /// Waits until no run is open, the server has ended or the time is over.
    fn until_quiet(&self, life: &mut Life) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < LIFE && life.child().try_wait()?.is_none() {
            let open = self.set.site.api_once("GET", "/api/v1/runs?status=queued,running");
            if open.is_ok_and(|(_, open)| open.as_array().is_some_and(Vec::is_empty)) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn site(&self, folder: &Path) -> Result<Site> {
        let project = folder.join("project");
        copy(&self.template, &project)?;
        let stage = Stage::at(&project, &self.ground.binaries);
        Ok(Site { stage, address: self.set.site.address, log: folder.join("serve.log") })
    }

    /// What the simulators saw since then.
    fn effects(&self, since: Timestamp) -> Result<BTreeMap<String, Vec<i64>>> {
        let mut effects = self.set.effects()?;
        effects.retain(|_, times| {
            times.retain(|time| *time >= since.as_microsecond());
            !times.is_empty()
        });
        Ok(effects)
    }
}

impl super::Scenario for Scenario {
    fn name(&self) -> &'static str {
        match self.work {
            Work::Deliveries => "deliveries",
            Work::Slots => "slots",
        }
    }

    fn parts(&self) -> &'static [&'static str] {
        &["database"]
    }

    fn round(&mut self, folder: &Path, _part: &str, fault: Fault) -> Result<Seen> {
        self.rounds += 1;
        self.set.site = self.site(folder)?;
        let data = self.set.site.stage.folder.join(".bascule");
        let ledger = Ledger::open(&folder.join("acknowledged.jsonl"))?;
        let since = Timestamp::now();
        let aim = Aim { paths: data_files(&data), log: folder.join("strace") };

        let mut life = self.set.site.start_as(|command| under(&command, fault, &aim))?;
        let id = life.child().id();
        let mut due = self.drive(&mut life, &ledger)?;
        if life.child().try_wait()?.is_none() {
            life.terminate()?;
        }
        let status = wait_at_most(life.child(), PATIENCE).context("it does not end")?;
        let dead = Timestamp::now().as_microsecond();
        let first = ended(status, (id, fault, &aim), &self.set.site.log)?;
        first.judge(&[0], &data)?;

        let mut life = self.set.site.start()?;
        life.until_ready(&self.set.site)?;
        match self.work {
            Work::Deliveries => {
                for number in self.numbers() {
                    let begun = Instant::now();
                    while !self.deliver(&number, &ledger)? {
                        ensure!(begun.elapsed() < PATIENCE, "delivery {number} is not acknowledged");
                        std::thread::sleep(LOOK);
                    }
                }
            }
            Work::Slots => {
                let planned = self.set.until_planned(1)?;
                due.get_or_insert(planned);
                std::thread::sleep(Duration::from_millis(1100));
            }
        }
        self.tokens_work(&data)?;
        let last = Timestamp::now();
        let drained = self.set.drain(&ledger)?;
        life.stop()?;
        if let Err(left) = drained {
            bail!("not everything ended: {left}");
        }

        let mut kills: Vec<i64> = first.trace.struck.iter().map(|struck| struck.at).collect();
        kills.push(dead);
        let first_due = due.map_or(last.as_second(), Timestamp::as_second) + 1;
        let schedules: Vec<_> =
            SCHEDULES.into_iter().filter(|(name, ..)| self.work == Work::Slots && *name == "tick").collect();
        let judgement = Judgement::of(&Evidence {
            ledger: &ledger,
            records: &Records::read(&data.join("bascule.db"))?,
            effects: &self.effects(since)?,
            kills: &kills,
            schedules: &schedules,
            due: (Timestamp::from_second(first_due)?, last),
            recordings: folder,
            recorded: &BTreeSet::new(),
        })?;
        ensure!(judgement.faults.is_empty(), "{}", judgement.faults.join("; "));
        let said = fs::read_to_string(&self.set.site.log)?;
        ensure!(!said.contains("panicked"), "it panicked: {said}");
        Ok(first.seen())
    }
}
