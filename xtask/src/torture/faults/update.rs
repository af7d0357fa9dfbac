//! `bascule run update-face-photo` on terminals, and `bascule resume` of such a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::command::{Files, data_files, sound, struck};
use super::strace::{Aim, Fault, Way};
use super::{Ground, Seen};
use crate::process::Simulator;
use crate::stage::Stage;
use crate::torture::one_run::{WORKFLOW, baseline, fresh, input, show, table, writes};

/// Few: each makes some twenty calls. Two of the scenario's are lazy or broken, so the run ends `failed`.
const TERMINALS: u32 = 5;
/// How an undisturbed run ends.
const FAILED: i32 = 1;

/// What the fault comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Struck {
    /// The data folder, while the run goes on.
    Run,
    /// The data folder, while a run goes on that was killed in its middle.
    Recovery,
    /// Standard output, while the run goes on.
    Output,
}

pub(super) struct Scenario {
    ground: Ground,
    struck: Struck,
    expected: BTreeMap<String, String>,
}

impl Scenario {
    pub(super) fn new(ground: &Ground, struck: Struck) -> Result<Self> {
        let folder = ground.folder.join("baseline");
        let (expected, _) = baseline(&folder, &ground.binaries, TERMINALS)?;
        Ok(Self { ground: ground.clone(), struck, expected })
    }
}

/// A round under way.
struct Round {
    folder: PathBuf,
    stage: Stage,
    ledger: PathBuf,
    input: String,
    simulator: Simulator,
}

impl Round {
    fn aim(&self, struck: Struck) -> Aim {
        let log = self.folder.join("strace");
        match struck {
            Struck::Output => Aim { paths: vec![self.folder.join("out")], log },
            _ => Aim { paths: data_files(&self.data()), log },
        }
    }

    fn data(&self) -> PathBuf {
        self.stage.folder.join(".bascule")
    }

    fn files(&self, name: &str) -> Files<'static> {
        Files { input: "", output: self.folder.join(name) }
    }

    /// Items that have ended, with the writes that their devices know of.
    fn finished(&self) -> Result<BTreeMap<String, usize>> {
        let Some(run) = show(&self.stage)? else { return Ok(BTreeMap::new()) };
        let writes = writes(&self.ledger)?;
        Ok(table(&run)?
            .into_keys()
            .map(|device| {
                let count = writes.get(&device).copied().unwrap_or_default();
                (device, count)
            })
            .collect())
    }
}

impl super::Scenario for Scenario {
    fn name(&self) -> &'static str {
        match self.struck {
            Struck::Run => "run",
            Struck::Recovery => "recovery",
            Struck::Output => "output",
        }
    }

    fn parts(&self) -> &'static [&'static str] {
        match self.struck {
            Struck::Output => &["standard output"],
            _ => &["database"],
        }
    }

    fn round(&mut self, folder: &Path, _part: &str, fault: Fault) -> Result<Seen> {
        let (simulator, stage, ledger) = fresh(folder, &self.ground.binaries, TERMINALS)?;
        let input = input(&simulator)?;
        let round = Round { folder: folder.to_owned(), stage, ledger, input, simulator };
        let run = ["run", WORKFLOW, "--json", "--input", &round.input];
        let mut finished = BTreeMap::new();
        let ended = if self.struck == Struck::Recovery {
            // In the middle of the items; which of them have ended by then is up to the terminals.
            let kill = Fault { call: "fsync", way: Way::Kill, number: 14 };
            let killed =
                struck(&round.stage.bascule(&run), kill, &round.aim(self.struck), &round.files("killed"))?;
            ensure!(killed.is_struck(), "the run was over before it could be killed");
            finished.extend(round.finished()?);
            let open = show(&round.stage)?.is_some_and(|run| run["header"]["ended_at"].is_null());
            ensure!(open, "the run had ended, or not begun, when it was killed");
            struck(
                &round.stage.bascule(&["resume", "--json"]),
                fault,
                &round.aim(self.struck),
                &round.files("out"),
            )?
        } else {
            struck(&round.stage.bascule(&run), fault, &round.aim(self.struck), &round.files("out"))?
        };
        ended.judge(&[FAILED], &round.data())?;
        let told = fs::read_to_string(folder.join("out"))?.contains("\"run-started\"");
        let seen = show(&round.stage)?;
        ensure!(seen.is_some() || !told, "a run had started, it said, and is lost");
        finished.extend(round.finished()?);
        let is_open = seen.as_ref().is_some_and(|run| run["header"]["ended_at"].is_null());
        ensure!(
            ended.code() != Some(FAILED) || (seen.is_some() && !is_open),
            "it ended as if the run had ended: {:?}",
            seen.map(|run| run["header"].clone())
        );
        if seen.is_none() {
            let (code, _) = sound(round.stage.bascule(&run), &round.files("again"))?;
            ensure!(code == FAILED, "the second run ended with {code}");
        } else if is_open {
            let (code, _) = sound(round.stage.bascule(&["resume", "--json"]), &round.files("resumed"))?;
            ensure!(code == FAILED, "`resume` ended with {code}");
        }
        let run = show(&round.stage)?.context("there is no run")?;
        let status = run["header"]["status"].as_str().unwrap_or_default();
        ensure!(status == "failed", "the run ended {status}, not failed");
        let table = table(&run)?;
        ensure!(table == self.expected, "the final table is {table:?}, not {:?}", self.expected);
        let writes = writes(&round.ledger)?;
        for (device, before) in &finished {
            let after = writes.get(device).copied().unwrap_or_default();
            ensure!(
                after == *before,
                "{device}: {before} writes when its item had ended, {after} afterwards"
            );
        }
        round.simulator.stop();
        Ok(ended.seen())
    }
}
