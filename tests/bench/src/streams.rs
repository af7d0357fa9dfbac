//! Event streams of many simulated terminals, held at once by the real `bascule serve`, some of which break again and
//! again. Every event that happened is handed on once, whether it was heard, told again, or asked for afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_database::Database;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::machine::{Watch, cpu_of, memory_of, own_memory_of, peak_memory_of};
use crate::receiver::Receiver;
use crate::samples::{Samples, number};
use crate::served::Served;
use crate::{Pace, mib, say};

/// Events of all terminals together, for each second.
const EVENTS_PER_SECOND: u64 = 100;
/// Of so many terminals three flap.
const FLAPPING: usize = 10;
/// How long a flapping terminal stays, and stays away, at most.
const STAYS: Duration = Duration::from_secs(20);
const AWAY: Duration = Duration::from_secs(3);
/// How long all streams may take to stand, and all events to arrive.
const STAND_WITHIN: Duration = Duration::from_secs(300);
const ARRIVE_WITHIN: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(500);

/// Where everything is; `cargo xtask bench` writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Program and arguments that serve the project.
    pub(crate) engine: Vec<String>,
    /// For what it logs.
    pub(crate) log: PathBuf,
    /// The workflow, which is taken away to see what the server takes without it.
    pub(crate) workflow: PathBuf,
    /// The project's `bascule.yaml`, and its data folder.
    pub(crate) inventory: PathBuf,
    pub(crate) data: PathBuf,
    /// The simulator's control port, `http://127.0.0.1:PORT`, and its process.
    pub(crate) control: String,
    pub(crate) simulator: u32,
    /// The ids of the terminals.
    pub(crate) terminals: Vec<String>,
    /// For how long they flap.
    pub(crate) seconds: u64,
}

pub(crate) async fn measure(path: &Path, pace: Pace) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(path)?)?;
    let receiver = Receiver::start().await?;
    let inventory = fs::read_to_string(&plan.inventory)?;
    fs::write(&plan.inventory, inventory.replace("RECEIVER_PORT", &receiver.port.to_string()))?;
    let flapping = (plan.terminals.len() * 3).div_ceil(FLAPPING);
    say(&format!(
        "streams: {} terminals, {flapping} of which flap for {} s (each cut off up to {} s after it came back, for up to {} s), \
         {EVENTS_PER_SECOND} events/s",
        plan.terminals.len(),
        plan.seconds,
        STAYS.as_secs(),
        AWAY.as_secs()
    ));
    let watch = Watch::start(Some(plan.simulator));
    let without = without_streams(&plan).await?;
    let begun = Instant::now();
    let mut server = Served::start(&plan.engine, &plan.log).await?;
    let world = World::open(&plan, &server)?;
    world.all_stand(&mut server).await?;
    let stood = begun.elapsed();

    let quiet = Duration::from_secs(pace.of(12, 60));
    let cpu = cpu_of(server.process);
    tokio::time::sleep(quiet).await;
    let idle_cpu = cpu.zip(cpu_of(server.process)).map(|(before, after)| after - before);
    let idle = Memory::of(&server);
    let each = idle.own.saturating_sub(without.own) / plan.terminals.len().max(1) as u64;
    say(&format!(
        "  all stood {} s after the start; memory without them: {without}; with all of them: {idle}; {} KiB of its own for each",
        number(stood.as_secs_f64()),
        each / 1024
    ));
    say(&format!(
        "  idle (a heartbeat of each every 10 s): {} of one CPU over {} s",
        idle_cpu.map_or_else(
            || "-".to_owned(),
            |used| format!("{} %", number(used / quiet.as_secs_f64() * 100.0))
        ),
        quiet.as_secs()
    ));

    let (happened, cuts, back) = world.live(flapping, Duration::from_secs(plan.seconds)).await?;
    let ended = Instant::now();
    loop {
        server.check()?;
        let seen = receiver.seen();
        let missing = happened.iter().filter(|id| !seen.contains_key(*id)).count();
        if missing == 0 {
            break;
        }
        ensure!(ended.elapsed() < ARRIVE_WITHIN, "{missing} of {} events have not come", happened.len());
        tokio::time::sleep(LOOK).await;
    }
    let arrived = ended.elapsed();
    let sources = world.all_stand(&mut server).await?;
    let waits = waits(&sources, &back)?;
    let database = Database::open_read_only(&plan.data.join("bascule.db")).await?;
    while open(&database).await? > 0 {
        tokio::time::sleep(LOOK).await;
    }
    let seen = receiver.seen();
    let twice = seen.values().filter(|count| **count != 1).count();
    ensure!(twice == 0, "{twice} events were handed on twice");
    ensure!(
        seen.len() == happened.len(),
        "{} events were handed on, {} happened",
        seen.len(),
        happened.len()
    );
    let bad: i64 = sqlx::query_scalar("SELECT count(*) FROM run WHERE status <> 'succeeded'")
        .fetch_one(database.readers())
        .await?;
    ensure!(bad == 0, "{bad} runs did not succeed");
    let (deliveries, again): (i64, i64) =
        sqlx::query_as("SELECT count(*), coalesce(sum(duplicates), 0) FROM delivery")
            .fetch_one(database.readers())
            .await?;
    ensure!(usize::try_from(deliveries)? == happened.len(), "{deliveries} deliveries");
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM run").fetch_one(database.readers()).await?;
    database.close().await;
    say(&format!(
        "  {} events, {cuts} cuts: every event was handed on once, in {runs} runs, the last one {} s after the end; {again} came \
         again and made nothing",
        happened.len(),
        number(arrived.as_secs_f64())
    ));
    say(&format!(
        "  a stream stood again p50 {} s, p90 {} s, at most {} s after its terminal was back (the last cut of each)",
        number(waits.median()),
        number(waits.quantile(0.9)),
        number(waits.quantile(1.0))
    ));
    say(&format!(
        "  memory: {} resident at most; at the end {}",
        mib(peak_memory_of(server.process).unwrap_or_default()),
        Memory::of(&server)
    ));
    // Only the CPU time of children that have ended is known as ours.
    server.kill().await?;
    say(&watch.caveat(&Samples::default()));
    Ok(())
}

/// What a server takes up.
struct Memory {
    resident: u64,
    /// Without code, and without the pages that guests share: those are counted as resident once for each guest.
    own: u64,
}

impl Memory {
    fn of(server: &Served) -> Self {
        let resident = memory_of(server.process).unwrap_or_default();
        Self { resident, own: own_memory_of(server.process).unwrap_or_default() }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} resident, {} of its own", mib(self.resident), mib(self.own))
    }
}

/// The same server with the same plugins, and nothing to listen to.
async fn without_streams(plan: &Plan) -> Result<Memory> {
    let aside = plan.workflow.with_extension("aside");
    fs::rename(&plan.workflow, &aside)?;
    let mut server = Served::start(&plan.engine, &plan.log).await?;
    // Until what starting it has used is given back, or at least not used again.
    tokio::time::sleep(LOOK * 4).await;
    server.check()?;
    let memory = Memory::of(&server);
    server.kill().await?;
    fs::rename(&aside, &plan.workflow)?;
    Ok(memory)
}

/// How long after each terminal was back its stream stood again, in seconds.
fn waits(sources: &[Value], back: &BTreeMap<String, jiff::Timestamp>) -> Result<Samples> {
    let mut waits = Samples::default();
    for source in sources {
        let item = source["item"].as_str().context("a source without an item")?;
        if let Some(at) = back.get(item) {
            let since: jiff::Timestamp = source["since"].as_str().context("no `since`")?.parse()?;
            waits.push(since.duration_since(*at).as_secs_f64().max(0.0));
        }
    }
    Ok(waits)
}

/// Runs that have not ended, and events that wait to become one.
async fn open(database: &Database) -> Result<i64> {
    let sql = "SELECT (SELECT count(*) FROM run WHERE status IN ('queued', 'running')) + (SELECT count(*) FROM bucket)";
    Ok(sqlx::query_scalar(sql).fetch_one(database.readers()).await?)
}

/// Ids of events, cuts, and when each terminal was back for the last time.
type Lived = (BTreeSet<String>, u64, BTreeMap<String, jiff::Timestamp>);

/// The terminals, and the server's own view of them.
#[derive(Clone)]
struct World {
    client: reqwest::Client,
    control: String,
    terminals: Vec<String>,
    sources: String,
    token: String,
}

impl World {
    fn open(plan: &Plan, server: &Served) -> Result<Self> {
        let tokens = fs::read_to_string(plan.data.join("tokens"))?;
        let token = tokens.lines().find_map(|line| line.strip_prefix("viewer ")).context("no token")?;
        Ok(Self {
            client: reqwest::Client::builder().no_proxy().build()?,
            control: plan.control.clone(),
            terminals: plan.terminals.clone(),
            sources: format!("{}/api/v1/sources", server.url),
            token: token.to_owned(),
        })
    }

    /// Waits until every stream stands and no event is missing, and gives what the server says of each.
    async fn all_stand(&self, server: &mut Served) -> Result<Vec<Value>> {
        let begun = Instant::now();
        loop {
            server.check()?;
            let answer = self.client.get(&self.sources).bearer_auth(&self.token).send().await?;
            let sources: Vec<Value> = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
            let stands = |source: &&Value| source["link"] == "connected" && source["missing_since"].is_null();
            let standing = sources.iter().filter(stands).count();
            if standing == self.terminals.len() {
                return Ok(sources);
            }
            let other = sources.iter().find(|source| !stands(source));
            ensure!(
                begun.elapsed() < STAND_WITHIN,
                "only {standing} streams stand; one of the others: {other:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn order(&self, terminal: &str, verb: &str) -> Result<Value> {
        let url = format!("{}/devices/{terminal}/{verb}", self.control);
        let answer = self.client.request(Method::POST, url).body("{}").send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Events at random terminals, while the first of them come and go. Gives the events' ids, how many cuts there were, and
    /// when each of the terminals was back for the last time.
    async fn live(&self, flapping: usize, time: Duration) -> Result<Lived> {
        let begun = Instant::now();
        let mut flaps = JoinSet::new();
        for (number, terminal) in self.terminals.iter().take(flapping).enumerate() {
            let (world, terminal, mut dice) = (self.clone(), terminal.clone(), Dice::new(number as u64 + 1));
            flaps.spawn(async move {
                let (mut cuts, mut back) = (0_u64, jiff::Timestamp::now());
                while begun.elapsed() < time {
                    tokio::time::sleep(dice.part(STAYS)).await;
                    world.order(&terminal, "offline").await?;
                    cuts += 1;
                    tokio::time::sleep(dice.part(AWAY)).await;
                    world.order(&terminal, "online").await?;
                    back = jiff::Timestamp::now();
                }
                anyhow::Ok((terminal, cuts, back))
            });
        }
        let mut happened = BTreeSet::new();
        let mut dice = Dice::new(0);
        let gap = Duration::from_secs(1) / u32::try_from(EVENTS_PER_SECOND)?;
        let mut due = begun;
        while begun.elapsed() < time {
            let place = usize::try_from(dice.next() % self.terminals.len() as u64)?;
            let terminal = self.terminals.get(place).context("no terminal")?;
            let serial = &self.order(terminal, "events").await?["serial"];
            ensure!(happened.insert(format!("{terminal}/{serial}")), "the terminal told a number twice");
            due += gap;
            tokio::time::sleep_until(due.into()).await;
        }
        let (mut all, mut back) = (0, BTreeMap::new());
        while let Some(flapped) = flaps.join_next().await {
            let (terminal, cuts, at) = flapped??;
            all += cuts;
            back.insert(terminal, at);
        }
        Ok((happened, all, back))
    }
}

/// Numbers that look random and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A random part of it.
    fn part(&mut self, whole: Duration) -> Duration {
        Duration::from_micros(self.next() % u64::try_from(whole.as_micros()).unwrap_or(u64::MAX).max(1))
    }
}
