//! Event streams of many simulated terminals, held at once by the real `bascule serve`, some of which break again and
//! again. Every event that happened is handed on once, whether it was heard, told again, or asked for afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_database::Database;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::machine::{Watch, cpu_of, memory_of, peak_memory_of};
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
    let begun = Instant::now();
    let mut server = Served::start(&plan.engine, &plan.log).await?;
    let before = memory_of(server.process).unwrap_or_default();
    let world = World::open(&plan, &server)?;
    world.all_stand(&mut server).await?;
    let stood = begun.elapsed();

    let quiet = Duration::from_secs(pace.of(12, 60));
    let cpu = cpu_of(server.process);
    tokio::time::sleep(quiet).await;
    let idle_cpu = cpu.zip(cpu_of(server.process)).map(|(before, after)| after - before);
    let idle_memory = memory_of(server.process).unwrap_or_default();
    let each = idle_memory.saturating_sub(before) / plan.terminals.len().max(1) as u64;
    say(&format!(
        "  all stood {} s after the start; resident memory: {} before, {} with all of them, {} KiB for each",
        number(stood.as_secs_f64()),
        mib(before),
        mib(idle_memory),
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

    let (happened, cuts) = world.live(flapping, Duration::from_secs(plan.seconds)).await?;
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
    world.all_stand(&mut server).await?;
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
        "  resident memory: {} at most, {} at the end",
        mib(peak_memory_of(server.process).unwrap_or_default()),
        mib(memory_of(server.process).unwrap_or_default())
    ));
    say(&watch.caveat(&Samples::default()));
    server.kill().await
}

/// Runs that have not ended, and events that wait to become one.
async fn open(database: &Database) -> Result<i64> {
    let sql = "SELECT (SELECT count(*) FROM run WHERE status IN ('queued', 'running')) + (SELECT count(*) FROM bucket)";
    Ok(sqlx::query_scalar(sql).fetch_one(database.readers()).await?)
}

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

    /// Waits until every stream stands and no event is missing.
    async fn all_stand(&self, server: &mut Served) -> Result<()> {
        let begun = Instant::now();
        loop {
            server.check()?;
            let answer = self.client.get(&self.sources).bearer_auth(&self.token).send().await?;
            let sources: Vec<Value> = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
            let stands = |source: &&Value| source["link"] == "connected" && source["missing_since"].is_null();
            let standing = sources.iter().filter(stands).count();
            if standing == self.terminals.len() {
                return Ok(());
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

    /// Events at random terminals, while the first of them come and go. Gives the events' ids, and how many cuts there were.
    async fn live(&self, flapping: usize, time: Duration) -> Result<(BTreeSet<String>, u64)> {
        let begun = Instant::now();
        let mut flaps = JoinSet::new();
        for (number, terminal) in self.terminals.iter().take(flapping).enumerate() {
            let (world, terminal, mut dice) = (self.clone(), terminal.clone(), Dice::new(number as u64 + 1));
            flaps.spawn(async move {
                let mut cuts = 0_u64;
                while begun.elapsed() < time {
                    tokio::time::sleep(dice.part(STAYS)).await;
                    world.order(&terminal, "offline").await?;
                    cuts += 1;
                    tokio::time::sleep(dice.part(AWAY)).await;
                    world.order(&terminal, "online").await?;
                }
                anyhow::Ok(cuts)
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
        let mut cuts = 0;
        while let Some(flapped) = flaps.join_next().await {
            cuts += flapped??;
        }
        Ok((happened, cuts))
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
