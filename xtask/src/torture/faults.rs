//! The disk fails: in golden scenarios each of the first calls that bring data to disk is made to fail or to kill, one a
//! round, by strace on the real binary. After each the program starts again without faults and must come to where an
//! undisturbed one comes; what it had acknowledged is there, what had finished is not done again, and a failed sync ends the
//! process with exit code 70 and is not repeated.

mod command;
mod export;
mod secret;
mod server;
mod strace;
mod update;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Options, Random};
use crate::process::say;
use strace::{CALLS, Fault, Way};

/// What the program does while its disk fails, and how that is judged.
trait Scenario {
    /// For the command line.
    fn name(&self) -> &'static str;

    /// Its disk, in parts that fail by themselves: a name for each. Number K counts within a part.
    fn parts(&self) -> &'static [&'static str];

    /// One round, in an empty folder. The judge's verdict is the error.
    fn round(&mut self, folder: &Path, part: &str, fault: Fault) -> Result<Seen>;
}

/// What a round showed.
#[derive(Default)]
struct Seen {
    /// Whether the fault came.
    struck: bool,
    /// How many calls of each kind the busiest thread made.
    most: BTreeMap<String, u32>,
}

/// Prepares a scenario.
type Make = fn(&Ground) -> Result<Box<dyn Scenario>>;

/// Where rounds take place.
#[derive(Clone, Debug)]
struct Ground {
    folder: PathBuf,
    binaries: PathBuf,
}

/// Runs every scenario and prints a summary of each.
pub(super) fn run(ground: &Path, binaries: &Path, options: &Options) -> Result<()> {
    strace::provide()?;
    // strace compares paths as the system says them.
    let ground = Ground { folder: ground.canonicalize()?, binaries: binaries.canonicalize()? };
    let all: [Make; 7] = [
        |ground| Ok(Box::new(secret::Scenario::new(ground))),
        |ground| Ok(Box::new(update::Scenario::new(ground, update::Struck::Run)?)),
        |ground| Ok(Box::new(update::Scenario::new(ground, update::Struck::Recovery)?)),
        |ground| Ok(Box::new(update::Scenario::new(ground, update::Struck::Output)?)),
        |ground| Ok(Box::new(export::Scenario::new(ground)?)),
        |ground| Ok(Box::new(server::Scenario::new(ground, server::Work::Deliveries)?)),
        |ground| Ok(Box::new(server::Scenario::new(ground, server::Work::Slots)?)),
    ];
    let mut random = Random::new(options.seed);
    let (mut done, mut broken) = (Vec::new(), Vec::new());
    for (place, name) in NAMES.iter().enumerate() {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        let mut scenario = all.get(place).context("a scenario without a name")?(&ground)?;
        ensure!(scenario.name() == *name, "`{}` is called `{name}`", scenario.name());
        let tally = match options.sample {
            None => each(&ground, &mut *scenario, options.calls, &mut broken)?,
            Some(rounds) => {
                let drawn = Drawn { rounds, calls: options.calls, random: &mut random };
                sample(&ground, &mut *scenario, drawn, &mut broken)?
            }
        };
        tally.say(name);
        done.push(*name);
    }
    if done.is_empty() {
        bail!("there is no such scenario; there are {}", NAMES.join(", "));
    }
    if broken.is_empty() {
        say("faults: 0 acknowledged lost, 0 finished writes repeated, 0 runs stuck, 0 failed syncs repeated");
        return Ok(());
    }
    bail!("{} faults of the disk were not survived:\n  {}", broken.len(), broken.join("\n  "));
}

/// In the order in which they are tortured.
const NAMES: [&str; 7] = ["secret", "run", "recovery", "output", "export", "deliveries", "slots"];

/// What one scenario went through.
#[derive(Default)]
struct Tally {
    rounds: u32,
    struck: u32,
    /// Kinds of faults of which each call of the scenario had its turn.
    complete: u32,
    kinds: u32,
    began: Option<Instant>,
}

impl Tally {
    fn say(&self, name: &str) {
        let Self { rounds, struck, complete, kinds, began } = self;
        let took = began.map(|began| began.elapsed()).unwrap_or_default();
        let end = match complete {
            0 => format!("{kinds} kinds of faults"),
            _ => format!("{complete} of {kinds} kinds of faults came to the scenario's last call"),
        };
        say(&format!("{name}: {struck} faults in {rounds} rounds, {took:.0?}; {end}"));
    }
}

fn kinds(scenario: &dyn Scenario) -> Vec<(&'static str, &'static str, Way)> {
    let mut kinds = Vec::new();
    for part in scenario.parts() {
        for call in CALLS {
            kinds.extend(Way::of(call).iter().map(|way| (*part, call, *way)));
        }
    }
    kinds
}

/// Each of the first calls of each kind.
fn each(ground: &Ground, scenario: &mut dyn Scenario, calls: u32, broken: &mut Vec<String>) -> Result<Tally> {
    let kinds = kinds(scenario);
    let mut tally =
        Tally { kinds: u32::try_from(kinds.len())?, began: Some(Instant::now()), ..Tally::default() };
    for (part, call, way) in kinds {
        for number in 1..=calls {
            let seen = round(ground, scenario, part, Fault { call, way, number }, broken)?;
            tally.rounds += 1;
            tally.struck += u32::from(seen.struck);
            if !seen.struck {
                tally.complete += 1;
                break;
            }
        }
    }
    Ok(tally)
}

/// So many, drawn.
struct Drawn<'r> {
    rounds: u32,
    calls: u32,
    random: &'r mut Random,
}

/// Some of the first calls, of any kind: an undisturbed round for each part shows how many there are.
fn sample(
    ground: &Ground,
    scenario: &mut dyn Scenario,
    drawn: Drawn<'_>,
    broken: &mut Vec<String>,
) -> Result<Tally> {
    let mut tally = Tally { began: Some(Instant::now()), ..Tally::default() };
    let mut kinds = Vec::new();
    for part in scenario.parts() {
        let seen = round(ground, scenario, part, Fault::NONE, broken)?;
        tally.rounds += 1;
        for call in CALLS {
            let calls = seen.most.get(call).copied().unwrap_or_default().min(drawn.calls);
            if calls > 0 {
                kinds.extend(Way::of(call).iter().map(|way| (*part, call, *way, calls)));
            }
        }
    }
    tally.kinds = u32::try_from(kinds.len())?;
    for _ in 0..drawn.rounds {
        let place = drawn.random.below(tally.kinds) as usize;
        let (part, call, way, calls) = kinds.get(place).copied().context("it makes no calls")?;
        let number = 1 + drawn.random.below(calls);
        let seen = round(ground, scenario, part, Fault { call, way, number }, broken)?;
        tally.rounds += 1;
        tally.struck += u32::from(seen.struck);
    }
    Ok(tally)
}

fn round(
    ground: &Ground,
    scenario: &mut dyn Scenario,
    part: &str,
    fault: Fault,
    broken: &mut Vec<String>,
) -> Result<Seen> {
    let folder = ground.folder.join(scenario.name());
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    match scenario.round(&folder, part, fault) {
        Ok(seen) => Ok(seen),
        Err(error) => {
            let what = format!("{}, {part}: {fault}: {error:#}", scenario.name());
            say(&format!("NOT SURVIVED: {what}"));
            let kept = ground.folder.join(format!("broken-{}", broken.len() + 1));
            fs::rename(&folder, &kept)?;
            broken.push(format!("{what} ({})", kept.display()));
            if broken.len() >= MOST {
                bail!("{MOST} faults of the disk were not survived, the last one: {what}");
            }
            Ok(Seen { struck: true, most: BTreeMap::new() })
        }
    }
}

/// After so many it ends.
const MOST: usize = 25;
