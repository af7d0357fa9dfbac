//! `bascule serve` under mixed load, killed at random instants and restarted at once. This process keeps the ledger of what was
//! acknowledged, the simulators that of what was done; after a phase without faults everything must have ended.

pub(super) mod http;
pub(super) mod judge;
pub(super) mod ledger;
pub(super) mod load;
pub(super) mod records;
pub(super) mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Options, Random};
use crate::process::{Simulator, root, say};
use crate::stage::Stage;
use judge::{Evidence, Judgement};
use ledger::Ledger;
use load::{HOOK_SECRET, Load, Target};
use records::Records;
use server::{Life, Site};

/// Workflow, seconds between its slots, whether a slot may be skipped because the one before is at work.
pub(super) const SCHEDULES: [(&str, i64, bool); 2] = [("tick", 1, false), ("export", 5, true)];

const TERMINALS: u32 = 3;
/// The longest life from the moment it serves.
const LONGEST_LIFE: Duration = Duration::from_millis(2500);
/// How long everything may take to end once nothing is killed any more.
const DRAIN: Duration = Duration::from_secs(90);
/// How many faults are told.
const TOLD: usize = 20;

/// When a kill comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the program was started.
    Start(Duration),
    /// Right after the next delivery is acknowledged.
    Acknowledgement,
    /// So long after it began to serve.
    Serving(Duration),
}

/// Runs the torture and prints a summary.
pub(super) fn run(ground: &Path, binaries: &Path, options: &Options) -> Result<()> {
    let set = Set::up(ground, binaries, &["enrol", "tick", "passage", "export"])?;
    let ledger = Arc::new(Ledger::open(&ground.join("acknowledged.jsonl"))?);
    let begun = Instant::now();
    let mut life = set.site.start()?;
    life.until_ready(&set.site)?;
    let first = set.until_planned(2)?;
    let load = Load::start(Target {
        server: set.site.address,
        control: set.control,
        terminals: set.terminals.clone(),
        ledger: Arc::clone(&ledger),
        seed: options.seed,
    });
    let mut killing =
        Killing { set: &set, ledger: &ledger, load: &load, starts: Vec::new(), kills: Vec::new() };
    let mut random = Random::new(options.seed);
    for number in 1..=options.kills {
        life = killing
            .kill_once(life, number == 1, moment(&mut random))
            .with_context(|| format!("kill {number} of {} (seed {})", options.kills, options.seed))?;
        if load.has_failed() {
            load.stop()?;
            bail!("the load gave up");
        }
        if number % 20 == 0 || number == options.kills {
            say(&format!("server: {number} kills after {:.0?}", begun.elapsed()));
        }
    }
    killing.serve(&mut life)?;
    let Killing { starts, kills, .. } = killing;
    load.stop()?;
    let last = Timestamp::now();
    let drained = set.drain(&ledger)?;
    life.stop()?;

    let records = Records::read(&set.site.stage.folder.join(".bascule/bascule.db"))?;
    let mut judgement = Judgement::of(&Evidence {
        ledger: &ledger,
        records: &records,
        effects: &set.effects()?,
        kills: &kills,
        schedules: &SCHEDULES,
        due: (Timestamp::from_second(first.as_second() + 1)?, last),
        recordings: &set.site.stage.folder.join("recordings"),
        recorded: &set.recorded()?,
    })?;
    match drained {
        Ok(time) => say(&format!("server: everything had ended {time:.1?} after the last kill's load")),
        Err(left) => judgement.faults.push(format!("not everything ended within {DRAIN:?}: {left}")),
    }
    set.simulator.stop();
    report(&judgement, starts, kills.len(), Duration::from_secs(options.start_within))
}

fn report(judgement: &Judgement, mut starts: Vec<Duration>, kills: usize, bound: Duration) -> Result<()> {
    starts.sort_unstable();
    let at = |part: f64| {
        let place = (part * starts.len().saturating_sub(1) as f64).round();
        starts
            .iter()
            .enumerate()
            .find(|(number, _)| *number as f64 >= place)
            .map_or(Duration::ZERO, |(_, time)| *time)
    };
    let max = at(1.0);
    say(&format!(
        "server: {kills} kills, {} of them after it served again: ready after {:.0?} (median), {:.0?} (p99), {max:.0?} (max)",
        starts.len(),
        at(0.5),
        at(0.99),
    ));
    let counts: Vec<String> =
        judgement.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    say(&format!("server: {}", counts.join(", ")));
    let mut faults: Vec<&str> = judgement.faults.iter().map(String::as_str).collect();
    let slow = format!("a start took {max:?}; the bound is {bound:?}");
    if max >= bound {
        faults.push(&slow);
    }
    if faults.is_empty() {
        say(
            "server: 0 acknowledged triggers lost, 0 slots doubled, 0 finished writes repeated, 0 runs stuck",
        );
        return Ok(());
    }
    let told = faults.iter().take(TOLD).copied().collect::<Vec<_>>().join("\n  ");
    bail!("{} faults:\n  {told}", faults.len());
}

fn moment(random: &mut Random) -> Moment {
    match random.below(8) {
        0 => Moment::Start(Duration::from_secs_f64(random.fraction())),
        1..=3 => Moment::Acknowledgement,
        _ => Moment::Serving(LONGEST_LIFE.mul_f64(random.fraction())),
    }
}

/// The kills so far and what they showed.
struct Killing<'a> {
    set: &'a Set,
    ledger: &'a Ledger,
    load: &'a Load,
    starts: Vec<Duration>,
    kills: Vec<i64>,
}

impl Killing<'_> {
    /// Waits until `life` serves, unless it is the first one, which did.
    fn serve(&mut self, life: &mut Life) -> Result<()> {
        self.starts.push(life.until_ready(&self.set.site)?);
        self.load.restarted();
        Ok(())
    }

    fn kill_once(&mut self, mut life: Life, is_first: bool, moment: Moment) -> Result<Life> {
        match moment {
            Moment::Start(after) if !is_first => std::thread::sleep(after),
            _ => {
                if !is_first {
                    self.serve(&mut life)?;
                }
                match moment {
                    Moment::Start(after) | Moment::Serving(after) => std::thread::sleep(after),
                    Moment::Acknowledgement => self.until_acknowledged()?,
                }
            }
        }
        let at = life.kill()?;
        self.ledger.killed(at)?;
        self.kills.push(at.as_microsecond());
        self.set.site.start()
    }

    /// Returns as soon as one more delivery is acknowledged.
    fn until_acknowledged(&self) -> Result<()> {
        let (before, begun) = (self.ledger.answers(), Instant::now());
        while self.ledger.answers() == before {
            ensure!(
                !self.load.has_failed() && begun.elapsed() < DRAIN,
                "no delivery is acknowledged any more"
            );
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }
}

/// Simulators and project.
pub(super) struct Set {
    pub(super) simulator: Simulator,
    control: SocketAddr,
    terminals: Vec<String>,
    pub(super) site: Site,
    /// What the simulators saw, line by line.
    seen: PathBuf,
}

impl Set {
    /// With these workflows of the fixtures.
    pub(super) fn up(ground: &Path, binaries: &Path, names: &[&'static str]) -> Result<Self> {
        fs::create_dir_all(ground)?;
        let fixtures = root().join("tests/fixtures/torture");
        let seen = ground.join("ledger.jsonl");
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is not text");
        let count = TERMINALS.to_string();
        let simulator = Simulator::start(
            binaries,
            &[
                "--scenario",
                "fresh",
                "--terminals",
                &count,
                "--recorders",
                "1",
                "--tables",
                &text(&fixtures.join("tables.json"))?,
                "--write-ledger",
                &text(&seen)?,
            ],
        )?;
        let control: SocketAddr = simulator.text("/control")?.trim_start_matches("http://").parse()?;
        // Recordings that take long enough to be cut off.
        let habits = json!({
            "channels": 2, "segments": 2, "segment_bytes": 150_000, "growing": false,
            "slow": { "bytes": 15_000, "every_ms": 40 },
        });
        habituate(control, &habits)?;
        // Every delivery enrols somebody else, and a thousand kills take more of them than a terminal usually has room for.
        let room = json!({ "user_capacity": 1_000_000 }).to_string();
        for number in 0..TERMINALS {
            http::json(control, "PUT", &format!("/devices/{number}/quirks"), &room)?;
        }
        let list =
            simulator.ready["terminals"]["list"].as_array().context("the simulator has no terminals")?;
        let devices: Vec<Value> = list
            .iter()
            .map(|one| json!({ "id": one["id"], "ip": "127.0.0.1", "port": one["port"] }))
            .collect();
        let terminals = list.iter().filter_map(|one| one["id"].as_str()).map(str::to_owned).collect();
        let recorder =
            simulator.ready.pointer("/recorders/list/0/port").context("the simulator has no recorder")?;
        let mut workflows = Vec::new();
        for &name in names {
            let text = fs::read_to_string(fixtures.join(format!("{name}.yaml")))?;
            let text = text.replace("TERMINALS", &Value::from(devices.clone()).to_string());
            workflows.push((name, text.replace("RECORDER", &recorder.to_string())));
        }
        let stage = Stage::of_texts(&ground.join("project"), binaries, &inventory(&simulator)?, &workflows)?;
        stage.secret("supabase-key", simulator.text("/supabase/service_key")?)?;
        stage.secret("terminal-password", simulator.text("/terminals/password")?)?;
        stage.secret("recorder-password", simulator.text("/recorders/password")?)?;
        stage.secret("torture-hook", HOOK_SECRET)?;
        let site = Site { stage, address: server::address()?, log: ground.join("serve.log") };
        Ok(Self { simulator, control, terminals, site, seen })
    }

    /// Gives the recorder other habits.
    pub(super) fn habits(&self, habits: &Value) -> Result<()> {
        habituate(self.control, habits)
    }

    /// Waits until so many schedules are known to the server; from then on each of their instants is due.
    pub(super) fn until_planned(&self, schedules: usize) -> Result<Timestamp> {
        let begun = Instant::now();
        let planned = |all: &Value| all.as_array().is_some_and(|all| all.len() >= schedules);
        while !planned(&self.site.api("GET", "/api/v1/slots?state=planned")?) {
            ensure!(begun.elapsed() < DRAIN, "the schedules are not planned");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Timestamp::now())
    }

    /// Takes the schedules away and waits until every run has ended and every event has been written; says how long that
    /// took, or what is left.
    pub(super) fn drain(&self, ledger: &Ledger) -> Result<Result<Duration, String>> {
        for (name, ..) in SCHEDULES {
            let path = self.site.stage.folder.join("workflows").join(format!("{name}.yaml"));
            if !path.exists() {
                continue;
            }
            let text = fs::read_to_string(path)?;
            let (before, rest) = text.split_once("triggers:\n").context("a workflow without triggers")?;
            let (_, after) = rest.split_once("steps:\n").context("a workflow without steps")?;
            self.site.stage.workflow(name, &format!("{before}steps:\n{after}"))?;
        }
        let begun = Instant::now();
        let mut taken_up = BTreeSet::new();
        loop {
            let planned = self.site.api("GET", "/api/v1/slots?state=planned")?;
            let open = self.site.api("GET", "/api/v1/runs?status=queued,running&limit=1000")?;
            let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
            let is_quiet = is_empty(&planned) && is_empty(&open);
            if is_quiet && self.take_up(&mut taken_up)? {
                continue;
            }
            let rows = http::json(self.control, "GET", "/supabase/tables/effects", "")?;
            let rows = rows.as_array().into_iter().flatten();
            let written: BTreeSet<&str> = rows.filter_map(|row| row["subject"].as_str()).collect();
            let missing =
                ledger.passages().keys().filter(|person| !written.contains(person.as_str())).count();
            if is_quiet && missing == 0 {
                return Ok(Ok(begun.elapsed()));
            }
            if begun.elapsed() > DRAIN {
                return Ok(Err(format!("{missing} events unwritten; schedules {planned}; runs {open}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// As an operator does, has the runs that were set aside done again, each once; says whether there were any.
    fn take_up(&self, before: &mut BTreeSet<String>) -> Result<bool> {
        let interrupted = self.site.api("GET", "/api/v1/runs?status=interrupted&limit=1000")?;
        let mut any = false;
        for run in interrupted.as_array().into_iter().flatten().filter_map(|run| run["id"].as_str()) {
            if before.insert(run.to_owned()) {
                self.site.api("POST", &format!("/api/v1/runs/{run}/rerun"))?;
                any = true;
            }
        }
        Ok(any)
    }

    /// What was written, by what it is, and when.
    pub(super) fn effects(&self) -> Result<BTreeMap<String, Vec<i64>>> {
        let mut effects: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut note = |name: String, at: &Value| -> Result<()> {
            let at: Timestamp = at.as_str().context("an effect without a time")?.parse()?;
            effects.entry(name).or_default().push(at.as_microsecond());
            Ok(())
        };
        let rows = http::json(self.control, "GET", "/supabase/tables/effects", "")?;
        for row in rows.as_array().into_iter().flatten() {
            let (kind, subject) =
                (row["kind"].as_str().unwrap_or("?"), row["subject"].as_str().unwrap_or("?"));
            note(format!("row {kind} {subject}"), &row["at"])?;
        }
        for line in fs::read_to_string(&self.seen)?.lines() {
            let entry: Value =
                serde_json::from_str(line).with_context(|| format!("not a ledger line: {line}"))?;
            if entry["kind"] == "user-write" {
                let (device, subject) =
                    (entry["device"].as_str().unwrap_or("?"), entry["subject"].as_str().unwrap_or("?"));
                note(format!("user {device} {subject}"), &entry["at"])?;
            }
        }
        Ok(effects)
    }

    /// sha256 of every recording of the recorder.
    pub(super) fn recorded(&self) -> Result<BTreeSet<String>> {
        let list = http::json(self.control, "GET", "/recorders/0/segments", "")?;
        let names = list.as_array().into_iter().flatten().filter_map(|segment| segment["name"].as_str());
        names
            .map(|name| {
                let one = http::json(self.control, "GET", &format!("/recorders/0/segments/{name}"), "")?;
                Ok(one["sha256"].as_str().context("a recording without sha256")?.to_owned())
            })
            .collect()
    }
}

fn habituate(control: SocketAddr, habits: &Value) -> Result<()> {
    http::json(control, "PUT", "/recorders/0/habits", &habits.to_string()).map(drop)
}

/// The inventory for the simulator's addresses.
fn inventory(simulator: &Simulator) -> Result<String> {
    Ok(format!(
        r#"connections:
  hr:
    url: {supabase}
    auth:
      headers:
        apikey: {{ secret: supabase-key }}
        Authorization: {{ prefix: "Bearer ", secret: supabase-key }}
  terminal:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {user}, password: {{ secret: terminal-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST, PUT], paths: [/ISAPI/] }}
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth:
      digest: {{ user: {recorder}, password: {{ secret: recorder-password }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
folders:
  recordings: {{ path: ./recordings }}
stores:
  exported: {{}}
"#,
        supabase = simulator.text("/supabase/url")?,
        user = simulator.text("/terminals/user")?,
        recorder = simulator.text("/recorders/user")?,
    ))
}
