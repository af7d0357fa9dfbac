//! The judgement: what was promised, what is on disk, and what the simulators saw, held against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ledger::Ledger;
use super::records::{Place, Records};

/// What the judge is given.
pub(in crate::torture) struct Evidence<'a> {
    pub(in crate::torture) ledger: &'a Ledger,
    pub(in crate::torture) records: &'a Records,
    /// By what it is (`row tick ..`, `user terminal-01 ..`), when it happened.
    pub(in crate::torture) effects: &'a BTreeMap<String, Vec<i64>>,
    /// When the server was killed.
    pub(in crate::torture) kills: &'a [i64],
    /// Workflow, seconds between its slots, whether a slot may be skipped.
    pub(in crate::torture) schedules: &'a [(&'static str, i64, bool)],
    /// Schedules were due from here (included) to there (included).
    pub(in crate::torture) due: (Timestamp, Timestamp),
    /// The folder of the exports.
    pub(in crate::torture) recordings: &'a Path,
    /// sha256 of every recording that the recorder has.
    pub(in crate::torture) recorded: &'a BTreeSet<String>,
}

/// What was found.
#[derive(Default)]
pub(in crate::torture) struct Judgement {
    /// Every breach of a promise, in words.
    pub(in crate::torture) faults: Vec<String>,
    /// What there was to judge.
    pub(in crate::torture) counts: BTreeMap<&'static str, u64>,
}

impl Judgement {
    pub(in crate::torture) fn of(evidence: &Evidence<'_>) -> Result<Self> {
        let mut judgement = Self::default();
        judgement.runs(evidence);
        judgement.deliveries(evidence);
        judgement.slots(evidence);
        judgement.calls(evidence);
        judgement.effects(evidence);
        judgement.exports(evidence)?;
        Ok(judgement)
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    /// Every run has ended, and well: nothing that could fail was ordered. One that was set aside because three kills in a
    /// row hit it was taken up again by the operator, and must have been hit so.
    fn runs(&mut self, evidence: &Evidence<'_>) {
        let records = evidence.records;
        if records.integrity != "ok" {
            self.fault(format!("the database is damaged: {}", records.integrity));
        }
        self.count("runs", records.runs.len() as u64);
        for run in records.runs.values().filter(|run| run.status != "succeeded") {
            let problem = run.problem.as_deref().unwrap_or("no reason given");
            self.fault(format!("run {} of {} is {}: {problem}", run.id, run.workflow, run.status));
        }
        for run in records.runs.values() {
            let Some(reopened) = run.reopened else { continue };
            self.count("runs set aside after three kills and taken up again", 1);
            let kills: Vec<i64> = evidence.kills.iter().copied().filter(|kill| *kill < reopened).collect();
            let results = (records.places.iter())
                .filter(|((of, _), _)| *of == run.id)
                .flat_map(|(_, place)| place.results.iter().copied())
                .filter(|at| *at < reopened);
            // The last life that it got anywhere in may also be the one that the first of the three kills ended.
            let got_on = results.max().unwrap_or(i64::MIN);
            let since = kills.iter().filter(|kill| **kill > got_on).count();
            if since < 3 {
                self.fault(format!("run {} of {} was set aside after {since} kills", run.id, run.workflow));
            }
        }
    }

    /// Each acknowledged delivery has one run, the one that every answer named.
    fn deliveries(&mut self, evidence: &Evidence<'_>) {
        let records = evidence.records;
        let stored: BTreeMap<&str, _> = (records.deliveries.iter())
            .filter(|row| row.workflow == "enrol")
            .map(|row| (row.dedupe.as_str(), row))
            .collect();
        let acknowledged = evidence.ledger.deliveries();
        self.count("deliveries acknowledged", acknowledged.len() as u64);
        for (number, promised) in &acknowledged {
            self.count("copies of them acknowledged", u64::from(promised.acknowledged));
            let Some(row) = stored.get(number.as_str()) else {
                self.fault(format!("delivery {number} was acknowledged and is lost"));
                continue;
            };
            let run = row.run_id.as_deref().and_then(|run| records.runs.get(run));
            let Some(run) = run.filter(|run| run.workflow == "enrol" && row.verdict == "accepted") else {
                self.fault(format!("delivery {number} was acknowledged and has no run: {row:?}"));
                continue;
            };
            if promised.runs.iter().any(|named| *named != run.id) {
                let named = &promised.runs;
                self.fault(format!("delivery {number} has the run {}, and answers named {named:?}", run.id));
            }
            if row.duplicates + 1 < i64::from(promised.acknowledged) {
                let (copies, counted) = (promised.acknowledged, row.duplicates);
                self.fault(format!(
                    "delivery {number} was acknowledged {copies} times, and {counted} duplicates are counted"
                ));
            }
        }
        for number in stored.keys().filter(|number| !acknowledged.contains_key(**number)) {
            self.fault(format!("delivery {number} is stored and nobody sent it"));
        }
        let runs = records.runs.values().filter(|run| run.workflow == "enrol").count();
        if runs != stored.len() {
            self.fault(format!("{runs} runs for {} different deliveries", stored.len()));
        }
    }

    /// Each instant that was due has one row; that of the tick one run, that of the export one run or a reason.
    fn slots(&mut self, evidence: &Evidence<'_>) {
        for &(workflow, every, may_skip) in evidence.schedules {
            let mut rows = BTreeMap::new();
            for slot in evidence.records.slots.iter().filter(|slot| slot.workflow == workflow) {
                rows.insert(slot.slot_at, slot);
            }
            let (from, to) = (evidence.due.0.as_second(), evidence.due.1.as_second());
            for second in (from..=to).filter(|second| second % every == 0) {
                self.count("slots due", 1);
                let named = Timestamp::from_second(second).unwrap_or_default();
                match rows.get(&(second * 1_000_000)) {
                    Some(row) if row.state == "admitted" && row.occurrences == 1 => {}
                    Some(row) if row.state == "skipped" && may_skip => {}
                    Some(row) => self.fault(format!("the slot {named} of {workflow} was due and is {row:?}")),
                    None => self.fault(format!("the slot {named} of {workflow} was due and has no row")),
                }
            }
            let mut begun: BTreeMap<&str, u32> = BTreeMap::new();
            for run in rows.values().filter_map(|row| row.run_id.as_deref()) {
                *begun.entry(run).or_default() += 1;
            }
            for run in evidence.records.runs.values().filter(|run| run.workflow == workflow) {
                match begun.remove(run.id.as_str()) {
                    Some(1) => {}
                    Some(slots) => {
                        self.fault(format!("run {} of {workflow} stands for {slots} slots", run.id))
                    }
                    None => {
                        self.fault(format!("run {} of {workflow} has no slot: a slot was doubled", run.id))
                    }
                }
            }
            for run in begun.keys() {
                self.fault(format!("a slot of {workflow} names the run {run}, which is lost"));
            }
        }
    }

    /// No call was made again after its result was known, nor without a kill while it was under way.
    fn calls(&mut self, evidence: &Evidence<'_>) {
        for ((run, name), place) in &evidence.records.places {
            self.count("calls", place.intents.len() as u64);
            if let (Some(first), Some(last)) = (place.results.first(), place.intents.last())
                && last > first
            {
                self.fault(format!("run {run}: {name} was called again after it had finished"));
            }
            for pair in place.intents.windows(2) {
                let [before, after] = pair else { continue };
                self.count("calls repeated because a kill cut them off", 1);
                if !evidence.kills.iter().any(|kill| before <= kill && kill <= after) {
                    self.fault(format!("run {run}: {name} was called twice, and nothing was killed between"));
                }
            }
        }
    }

    /// What the simulators saw is what the journal says: each write in its own time, and none that is not in it.
    fn effects(&mut self, evidence: &Evidence<'_>) {
        let mut meant: BTreeMap<String, (&str, &Place)> = BTreeMap::new();
        for ((run, name), place) in &evidence.records.places {
            let Some(effect) = effect_of(name, &place.with) else { continue };
            if let Some((other, _)) = meant.insert(effect.clone(), (run, place)) {
                self.fault(format!("{effect} belongs to two places, in the runs {other} and {run}"));
            }
        }
        for (effect, (run, place)) in &meant {
            let seen = evidence.effects.get(effect).map_or(&[][..], Vec::as_slice);
            self.count("writes", seen.len() as u64);
            let most = if effect.starts_with("user ") { 1 } else { place.intents.len() };
            if seen.is_empty() || seen.len() > most {
                let (times, calls) = (seen.len(), place.intents.len());
                self.fault(format!("run {run}: {effect} happened {times} times, by {calls} calls"));
            }
            let ended = place.ended.unwrap_or(i64::MIN);
            if let Some(late) = seen.iter().find(|at| **at > ended) {
                self.fault(format!("run {run}: {effect} happened at {late}, after its end at {ended}"));
            }
        }
        for effect in evidence.effects.keys().filter(|effect| !meant.contains_key(*effect)) {
            self.fault(format!("{effect} happened and is in no journal"));
        }
        let passages = evidence.ledger.passages();
        self.count("events", passages.len() as u64);
        for (person, terminal) in passages {
            if !meant.contains_key(&format!("row passage {person}")) {
                self.fault(format!("{person} passed {terminal}, and no run knows of it"));
            }
        }
    }

    /// Each export fetched every recording, byte for byte, and left nothing half.
    fn exports(&mut self, evidence: &Evidence<'_>) -> Result<()> {
        for run in evidence.records.runs.values().filter(|run| run.workflow == "export") {
            let mut found = BTreeSet::new();
            let mut open = vec![evidence.recordings.join(&run.id)];
            while let Some(folder) = open.pop() {
                let entries = std::fs::read_dir(&folder);
                for entry in entries.with_context(|| format!("no export in {}", folder.display()))? {
                    let path = entry?.path();
                    if path.is_dir() {
                        open.push(path);
                    } else if path.extension().is_none_or(|extension| extension != "json") {
                        found.insert(hex::encode(Sha256::digest(std::fs::read(&path)?)));
                    }
                }
            }
            self.count("recordings exported", found.len() as u64);
            if found != *evidence.recorded {
                let (has, wants) = (found.len(), evidence.recorded.len());
                self.fault(format!("run {}: {has} different files, not the {wants} recordings", run.id));
            }
        }
        Ok(())
    }
}

/// What a call writes, named as the simulators' side names it; `None` for calls that write nothing there.
fn effect_of(place: &str, with: &Value) -> Option<String> {
    if let Some(number) = with["person"]["employee-no"].as_str() {
        let terminal = place.split_once('[')?.1.strip_suffix(']')?;
        return Some(format!("user {terminal} {number}"));
    }
    let row = &with["rows"];
    Some(format!("row {} {}", row["kind"].as_str()?, row["subject"].as_str()?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::super::records::{Delivery, Run, Slot};
    use super::*;

    const KILL: i64 = 1_000_500;

    fn run(id: &str, workflow: &str) -> (String, Run) {
        let (status, problem) = ("succeeded".to_owned(), None);
        (
            id.to_owned(),
            Run { id: id.to_owned(), workflow: workflow.to_owned(), status, problem, reopened: None },
        )
    }

    /// A delivery and a tick, each cut off once by a kill and then finished.
    fn records() -> Records {
        let place = |with: Value| Place {
            with,
            intents: vec![1_000_000, 1_001_000],
            results: vec![1_002_000],
            ended: Some(1_003_000),
        };
        let person = place(json!({ "person": { "employee-no": "w1" } }));
        let row = place(json!({ "rows": { "kind": "tick", "subject": "s" } }));
        Records {
            runs: BTreeMap::from([run("a", "enrol"), run("b", "tick")]),
            deliveries: vec![Delivery {
                workflow: "enrol".to_owned(),
                dedupe: "w1".to_owned(),
                verdict: "accepted".to_owned(),
                run_id: Some("a".to_owned()),
                duplicates: 1,
            }],
            slots: vec![Slot {
                workflow: "tick".to_owned(),
                slot_at: 1_000_000,
                state: "admitted".to_owned(),
                run_id: Some("b".to_owned()),
                occurrences: 1,
            }],
            places: BTreeMap::from([
                (("a".to_owned(), "person[t1]".to_owned()), person),
                (("b".to_owned(), "row".to_owned()), row),
            ]),
            integrity: "ok".to_owned(),
        }
    }

    fn effects() -> BTreeMap<String, Vec<i64>> {
        let rows = vec![1_000_400, 1_001_500];
        BTreeMap::from([("user t1 w1".to_owned(), vec![1_000_400]), ("row tick s".to_owned(), rows)])
    }

    /// The faults of that evidence; everything else is as it should be.
    fn faults(records: &Records, effects: &BTreeMap<String, Vec<i64>>) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger")).unwrap();
        for _ in 0..2 {
            ledger.acknowledged("w1", Some("a")).unwrap();
        }
        let second = Timestamp::from_second(1).unwrap();
        let evidence = Evidence {
            ledger: &ledger,
            records,
            effects,
            kills: &[KILL],
            schedules: &crate::torture::serve::SCHEDULES,
            due: (second, second),
            recordings: folder.path(),
            recorded: &BTreeSet::new(),
        };
        Judgement::of(&evidence).unwrap().faults
    }

    #[test]
    fn what_kept_its_promises_is_acquitted() {
        assert_eq!(faults(&records(), &effects()), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_found() {
        let changed = |change: fn(&mut Records, &mut BTreeMap<String, Vec<i64>>)| {
            let (mut records, mut effects) = (records(), effects());
            change(&mut records, &mut effects);
            faults(&records, &effects).join("\n")
        };
        for (found, expected) in [
            (changed(|records, _| records.deliveries.clear()), "delivery w1 was acknowledged and is lost"),
            (
                changed(|records, _| drop(records.runs.remove("a"))),
                "delivery w1 was acknowledged and has no run",
            ),
            (
                changed(|records, _| records.runs.extend([run("c", "enrol")])),
                "2 runs for 1 different deliveries",
            ),
            (changed(|records, _| records.deliveries[0].run_id = Some("b".to_owned())), "has no run"),
            (
                changed(|records, _| records.deliveries[0].duplicates = 0),
                "acknowledged 2 times, and 0 duplicates",
            ),
            (changed(|records, _| records.runs.extend([run("c", "tick")])), "a slot was doubled"),
            (changed(|records, _| records.slots.clear()), "was due and has no row"),
            (changed(|records, _| records.slots[0].state = "missed".to_owned()), "was due and is"),
            (
                changed(|records, _| records.runs.get_mut("b").unwrap().status = "running".to_owned()),
                "run b of tick is running",
            ),
            (
                changed(|records, _| row_of(records).intents.push(1_002_500)),
                "row was called again after it had finished",
            ),
            (
                changed(|records, _| row_of(records).intents[1] = 1_000_100),
                "row was called twice, and nothing was killed between",
            ),
            (
                changed(|_, effects| effects.get_mut("user t1 w1").unwrap().push(1_001_500)),
                "user t1 w1 happened 2 times",
            ),
            (
                changed(|_, effects| effects.get_mut("row tick s").unwrap().push(1_001_600)),
                "row tick s happened 3 times, by 2 calls",
            ),
            (
                changed(|_, effects| effects.get_mut("row tick s").unwrap()[1] = 1_003_500),
                "after its end at 1003000",
            ),
            (changed(|_, effects| drop(effects.remove("row tick s"))), "row tick s happened 0 times"),
            (
                changed(|_, effects| drop(effects.insert("row tick x".to_owned(), vec![1]))),
                "row tick x happened and is in no journal",
            ),
            (
                changed(|records, _| records.runs.get_mut("a").unwrap().reopened = Some(1_005_000)),
                "run a of enrol was set aside after 0 kills",
            ),
        ] {
            assert!(found.contains(expected), "`{expected}` is not in: {found}");
        }
    }

    fn row_of(records: &mut Records) -> &mut Place {
        records.places.get_mut(&("b".to_owned(), "row".to_owned())).unwrap()
    }
}
