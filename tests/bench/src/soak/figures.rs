//! What is kept of each month, and how it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_run::Status;

use crate::mib;
use crate::samples::{Samples, number};

/// A kind of run whose time from the demand to its end is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
pub(crate) enum Kind {
    /// A schedule's, of seven steps.
    Schedule,
    /// A webhook's, of three steps.
    Webhook,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Schedule, Self::Webhook];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Webhook => "webhook",
        }
    }
}

/// Times in seconds, of the site and of its young twin, in turn within the same stretch of real time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    site: BTreeMap<Kind, Samples>,
    twin: BTreeMap<Kind, Samples>,
}

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Site,
    Twin,
}

impl Slice {
    pub(crate) fn push(&mut self, of: Of, kind: Kind, took: Duration) {
        let all = match of {
            Of::Site => &mut self.site,
            Of::Twin => &mut self.twin,
        };
        all.entry(kind).or_default().push(took.as_secs_f64());
    }

    fn at(&self, of: Of, kind: Kind, part: f64) -> f64 {
        let all = match of {
            Of::Site => &self.site,
            Of::Twin => &self.twin,
        };
        all.get(&kind).map_or(0.0, |samples| samples.quantile(part))
    }
}

/// One month.
#[derive(Debug, Default)]
pub(crate) struct Month {
    /// From 1.
    pub(crate) number: u32,
    /// Ends of runs, by workflow and by how.
    pub(crate) runs: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Steps and items that ended.
    pub(crate) steps: u64,
    /// Webhooks that came again.
    pub(crate) again: u64,
    /// Some days each.
    pub(crate) slices: Vec<Slice>,
    /// The most that the database's file, and its write-ahead log, have had, in bytes.
    pub(crate) file_bytes: u64,
    pub(crate) wal_bytes: u64,
    /// Both together, at the same moment.
    pub(crate) disk_bytes: u64,
    /// Resident memory of the process, in bytes, again and again.
    pub(crate) memory: Samples,
    /// Seconds until a process serves that finds this database after a kill.
    pub(crate) starts: Samples,
    /// Seconds for each question to the API.
    pub(crate) reads: BTreeMap<&'static str, Samples>,
    /// Seconds that a round of pruning took, and what went.
    pub(crate) sweeps: Samples,
    pub(crate) runs_removed: u64,
    /// Runs of those that went because the database would have been too large.
    pub(crate) runs_for_space: u64,
    /// Rows of each table at the month's end.
    pub(crate) rows: BTreeMap<String, u64>,
    /// Real seconds.
    pub(crate) seconds: f64,
}

impl Month {
    /// How many runs ended.
    pub(crate) fn ended(&self) -> u64 {
        self.runs.values().flat_map(BTreeMap::values).sum()
    }

    /// How many of a workflow ended, however.
    pub(crate) fn of(&self, workflow: &str) -> u64 {
        self.runs.get(workflow).map_or(0, |ends| ends.values().sum())
    }

    /// How many of a workflow ended like that.
    pub(crate) fn ended_as(&self, workflow: &str, status: Status) -> u64 {
        self.runs.get(workflow).and_then(|ends| ends.get(status.name())).copied().unwrap_or(0)
    }

    fn over_slices(&self, value: impl Fn(&Slice) -> f64) -> Samples {
        let mut all = Samples::default();
        for slice in &self.slices {
            all.push(value(slice));
        }
        all
    }

    /// Seconds: the median over the slices of that part of each.
    pub(crate) fn latency(&self, of: Of, kind: Kind, part: f64) -> f64 {
        self.over_slices(|slice| slice.at(of, kind, part)).median()
    }

    /// The site's time as a multiple of its twin's, slice by slice.
    pub(crate) fn beside_twin(&self, kind: Kind, part: f64) -> Samples {
        self.over_slices(|slice| slice.at(Of::Site, kind, part) / slice.at(Of::Twin, kind, part))
    }

    /// A line of the table.
    pub(crate) fn line(&self) -> String {
        let milli = |seconds: f64| number(seconds * 1e3);
        let latency = |kind| {
            format!(
                "{:>5}/{:<5} ({}/{})",
                milli(self.latency(Of::Site, kind, 0.5)),
                milli(self.latency(Of::Site, kind, 0.99)),
                number(self.beside_twin(kind, 0.5).median()),
                number(self.beside_twin(kind, 0.99).median())
            )
        };
        let reads: Vec<String> = self.reads.values().map(|samples| milli(samples.median())).collect();
        format!(
            "{:>5} {:>6} {:>6} {:>6} {:>9} {:>8} {:>9}  {:22} {:22} {:>6}  {:20} {:>5} {:>6}",
            self.number,
            self.ended(),
            self.steps,
            self.runs_removed,
            mib(self.file_bytes),
            mib(self.wal_bytes),
            mib(whole(self.memory.median())),
            latency(Kind::Schedule),
            latency(Kind::Webhook),
            milli(self.starts.median()),
            reads.join("/"),
            milli(self.sweeps.median()),
            number(self.seconds)
        )
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:>5} {:>6} {:>6} {:>6} {:>9} {:>8} {:>9}  {:22} {:22} {:>6}  {:20} {:>5} {:>6}\n{:>5} {:>6} {:>6} {:>6} {:>9} {:>8} {:>9}  {:22} {:22} {:>6}  {:20} {:>5} {:>6}",
        "month",
        "runs",
        "steps",
        "pruned",
        "database",
        "WAL",
        "memory",
        "schedule p50/p99 ms",
        "webhook p50/p99 ms",
        "start",
        "reads ms",
        "prune",
        "real s",
        "",
        "ended",
        "ended",
        "",
        "most",
        "most",
        "median",
        "(beside the twin)",
        "(beside the twin)",
        "ms",
        super::year::READS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("/"),
        "ms",
        ""
    )
}

/// Without what is behind the point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a process")]
pub(crate) fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
