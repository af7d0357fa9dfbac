//! The machine that measures: how busy it is, and what that means for a figure.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::samples::{Samples, number};

/// What the machine did while something was measured.
pub(crate) struct Watch {
    /// Beside this process and its children: what belongs to the measurement.
    ours: Option<u32>,
    before: Option<Busy>,
}

/// CPU seconds so far.
#[derive(Clone, Copy)]
struct Busy {
    /// Of all programs and the system.
    all: f64,
    /// Of those that belong to the measurement.
    ours: f64,
    /// That a hypervisor kept for others.
    stolen: f64,
    /// That there were, idle or not.
    there: f64,
}

impl Watch {
    /// `ours` is a process, not a child of this one, whose work belongs to the measurement.
    pub(crate) fn start(ours: Option<u32>) -> Self {
        Self { ours, before: busy(ours) }
    }

    /// What to keep in mind with figures whose steadier side is `reference`.
    pub(crate) fn caveat(&self, reference: &Samples) -> String {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut text = format!("  noise: {cpus} CPUs");
        // Where there is no other side, there is nothing to say about it.
        if reference.median() > 0.0 {
            let apart = number(reference.unrest() * 100.0);
            text.push_str(&format!(
                "; the middle half of the rounds without Bascule is {apart} % wide, and a ratio is no surer than that"
            ));
        }
        if let (Some(before), Some(after)) = (self.before, busy(self.ours)) {
            let others = (after.all - before.all) - (after.ours - before.ours);
            let stolen = after.stolen - before.stolen;
            let there = (after.there - before.there).max(0.01);
            let part = ((others + stolen) / there * 100.0).max(0.0);
            text.push_str(&format!("; others (the kernel included) had {part:.0} % of the CPUs"));
            if part > 10.0 {
                text.push_str(": measure again on a quiet machine");
            }
        }
        text
    }
}

/// `None` where the system does not tell.
fn busy(ours: Option<u32>) -> Option<Busy> {
    // proc(5): user nice system idle iowait irq softirq steal; guest time is in user already.
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_ascii_whitespace().skip(1).take(8);
    let fields =
        fields.map(|field| field.parse::<f64>().map(|ticks| ticks / TICKS)).collect::<Result<Vec<_>, _>>();
    let [user, nice, system, idle, waiting, interrupts, soft, stolen] = fields.ok()?.try_into().ok()?;
    let all = user + nice + system + interrupts + soft;
    let ours = cpu_of(std::process::id())? + cpu_of_children()? + ours.and_then(cpu_of).unwrap_or_default();
    Some(Busy { all, ours, stolen, there: all + idle + waiting + stolen })
}

/// USER_HZ, which Linux has fixed at 100 for what `/proc` shows.
const TICKS: f64 = 100.0;

/// Seconds that a small write and its flush take in this folder, some times in a row.
pub(crate) fn flushes(folder: &Path) -> Result<Samples> {
    let path = folder.join("flush");
    let mut file = File::create(&path)?;
    let mut samples = Samples::default();
    for _ in 0..20 {
        let begun = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        samples.push(begun.elapsed().as_secs_f64());
    }
    fs::remove_file(path)?;
    Ok(samples)
}

/// CPU seconds that ended children of this process have used; `None` where the system does not tell.
pub(crate) fn cpu_of_children() -> Option<f64> {
    // cutime and cstime, fields 16 and 17 of proc(5).
    cpu("/proc/self/stat", 15)
}

/// The most resident memory that a running process has had so far, in bytes; `None` where the system does not tell.
pub(crate) fn peak_memory_of(process: u32) -> Option<u64> {
    memory(process, "VmHWM:")
}

/// The resident memory of a running process, in bytes; `None` where the system does not tell.
pub(crate) fn memory_of(process: u32) -> Option<u64> {
    memory(process, "VmRSS:")
}

/// What of it belongs to that process alone, in bytes: without code, and without what its guests share.
pub(crate) fn own_memory_of(process: u32) -> Option<u64> {
    memory(process, "RssAnon:")
}

fn memory(process: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// CPU seconds that a process has used; `None` where the system does not tell.
pub(crate) fn cpu_of(process: u32) -> Option<f64> {
    cpu(&format!("/proc/{process}/stat"), 13)
}

/// Field numbers count from 0; the second field, the program's name, may have blanks in it.
fn cpu(path: &str, field: usize) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(field - 2);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caveat_tells_what_others_had_where_the_system_tells() {
        let watch = Watch::start(None);
        let text = watch.caveat(&Samples::default());
        assert_eq!(text.contains("of the CPUs"), fs::exists("/proc/stat").unwrap_or_default());
    }

    #[test]
    fn this_process_has_used_some_cpu_and_the_past_does_not_shrink() {
        let Some(before) = cpu_of(std::process::id()) else {
            return;
        };
        let mut sum = 0_u64;
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_of(std::process::id()).is_some_and(|after| after > before));
        assert!(cpu_of_children().is_some());
    }
}
