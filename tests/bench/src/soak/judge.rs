//! The verdict on a year.
//!
//! The bounds, and why these: the database with its log stays below `max-size` of the inventory at each moment; no table has
//! noticeably more rows at the end than when everything had been kept, and had gone, once; the straight line through the
//! memory of the months rises by no more than a few MiB, which is some tens of bytes for each run; and a run takes no more
//! than 1.2 times as long as in the first month, as a multiple of what a young twin takes on the same machine in the
//! same minutes.

use crate::samples::{Samples, number};

use super::figures::{Kind, Month, whole};

/// The first month in which everything is kept as long as it is going to be: `failed-runs` are three months.
const FULL: u32 = 4;
/// The first month whose memory counts: caches of connections and allocator have filled.
const WARM: u32 = 3;
/// What resident memory may rise by from there to the end, in bytes: less than 100 for each run.
const RISE_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// What the last month may take, as a multiple of the first.
const SLOWER: f64 = 1.2;
/// Rows of a table, as a multiple; the days of two months differ a little by chance.
const ROWS: f64 = 1.1;
/// And so many more for tables with few.
const FEW_ROWS: f64 = 200.0;
/// Seconds until a process serves.
const STARTS_WITHIN: f64 = 2.0;

/// What is asked of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `max-size`
    pub(crate) cap_bytes: u64,
    /// Months were long enough for memory and latencies.
    pub(crate) timed: bool,
}

/// A sentence for each thing that was looked at; an `Err` says what is wrong.
pub(crate) fn judge(months: &[Month], asked: Asked) -> Vec<Result<String, String>> {
    let mut all = vec![database(months, asked.cap_bytes), rows(months)];
    if asked.timed {
        all.push(memory(months));
        all.push(starts(months));
        for kind in Kind::ALL {
            for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
                all.push(latency(months, kind, name, part));
            }
        }
    } else {
        all.push(Ok("memory and latency: not judged, these months are too short".to_owned()));
    }
    all
}

fn database(months: &[Month], cap: u64) -> Result<String, String> {
    let most = months.iter().map(|month| month.disk_bytes).max().unwrap_or(0);
    let for_space: u64 = months.iter().map(|month| month.runs_for_space).sum();
    let text = format!(
        "database: at most {} with its write-ahead log, of {}; {for_space} runs went before their time to keep it so",
        crate::mib(most),
        crate::mib(cap)
    );
    if most <= cap { Ok(text) } else { Err(text) }
}

fn rows(months: &[Month]) -> Result<String, String> {
    let full = months.iter().find(|month| month.number == FULL);
    let (Some(full), Some(last)) = (full, months.last().filter(|last| last.number > FULL + 1)) else {
        return Ok("tables: not judged, there are too few months".to_owned());
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let grown: Vec<String> = last
        .rows
        .iter()
        .filter_map(|(table, rows)| {
            let before = full.rows.get(table).copied().unwrap_or(0);
            let grew = *rows as f64 > before as f64 * ROWS + FEW_ROWS;
            grew.then(|| format!("`{table}` from {before} to {rows}"))
        })
        .collect();
    let sum = |month: &Month| month.rows.values().sum::<u64>();
    if grown.is_empty() {
        Ok(format!(
            "tables: {} rows at the end of month {FULL}, {} at the end of month {}; none of {} tables grew",
            sum(full),
            sum(last),
            last.number,
            last.rows.len()
        ))
    } else {
        Err(format!("tables: rows are kept for ever: {}", grown.join(", ")))
    }
}

fn memory(months: &[Month]) -> Result<String, String> {
    let points: Vec<(f64, f64)> = months
        .iter()
        .filter(|month| month.number >= WARM)
        .map(|month| (f64::from(month.number), month.memory.median()))
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last().filter(|_| points.len() > 2)) else {
        return Ok("memory: not judged, there are too few months".to_owned());
    };
    let rise = slope(&points) * (last.0 - first.0);
    let text = format!(
        "memory: {} in month {}, {} in month {}; the line through them rises by {} MiB, {} may be",
        crate::mib(whole(first.1)),
        first.0,
        crate::mib(whole(last.1)),
        last.0,
        number(rise / f64::from(1 << 20)),
        number(RISE_BYTES / f64::from(1 << 20))
    );
    if rise <= RISE_BYTES { Ok(text) } else { Err(text) }
}

/// Of the straight line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.iter().fold(0.0, |count, _| count + 1.0);
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    if below == 0.0 { 0.0 } else { above / below }
}

fn starts(months: &[Month]) -> Result<String, String> {
    let slowest = months.iter().map(|month| month.starts.median()).fold(0.0, f64::max);
    let text = format!("start after a kill: at most {} s, {STARTS_WITHIN} may be", number(slowest));
    if slowest <= STARTS_WITHIN { Ok(text) } else { Err(text) }
}

fn latency(months: &[Month], kind: Kind, name: &str, part: f64) -> Result<String, String> {
    let (Some(first), Some(last)) = (months.first(), months.last().filter(|last| last.number > 1)) else {
        return Ok("latency: not judged, there is one month only".to_owned());
    };
    let (before, after) = (first.beside_twin(kind, part), last.beside_twin(kind, part));
    let ratio = after.median() / before.median();
    let half = |samples: &Samples| {
        format!("{} .. {}", number(samples.quantile(0.25)), number(samples.quantile(0.75)))
    };
    let text = format!(
        "{} {name}: {} x of month 1, {SLOWER} may be; beside the twin {} ({}) in month 1, {} ({}) in month {}",
        kind.name(),
        number(ratio),
        number(before.median()),
        half(&before),
        number(after.median()),
        half(&after),
        last.number
    );
    if ratio.is_finite() && ratio <= SLOWER { Ok(text) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::figures::{Of, Slice};
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// A year of a site that stays as it is, with one thing changed by the test.
    fn year(mut change: impl FnMut(&mut Month)) -> Vec<Month> {
        (1..=12)
            .map(|number| {
                let mut month = Month { number, disk_bytes: 100 << 20, ..Month::default() };
                month.memory.push(50.0 * MIB);
                month.starts.push(0.3);
                month.rows = BTreeMap::from([("run".to_owned(), 9_000)]);
                let mut slice = Slice::default();
                for kind in Kind::ALL {
                    slice.push(Of::Site, kind, Duration::from_millis(10));
                    slice.push(Of::Twin, kind, Duration::from_millis(9));
                }
                month.slices.push(slice);
                change(&mut month);
                month
            })
            .collect()
    }

    fn wrong(months: &[Month]) -> Vec<String> {
        let asked = Asked { cap_bytes: 256 << 20, timed: true };
        judge(months, asked).into_iter().filter_map(Result::err).collect()
    }

    #[test]
    fn a_site_that_stays_as_it_is_passes() {
        assert_eq!(wrong(&year(|_| {})), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_growth_is_told_by_its_name() {
        let larger = year(|month| month.disk_bytes = (u64::from(month.number) * 24) << 20);
        assert!(matches!(&*wrong(&larger), [one] if one.starts_with("database: at most 288 MiB")));
        let leaks = year(|month| {
            month.memory = Samples::default();
            month.memory.push((50.0 + f64::from(month.number)) * MIB);
        });
        assert!(matches!(&*wrong(&leaks), [one] if one.starts_with("memory: 53.0 MiB in month 3")));
        let keeps = year(|month| {
            month.rows.insert("slot".to_owned(), u64::from(month.number) * 500);
        });
        assert!(matches!(&*wrong(&keeps), [one] if one.ends_with("`slot` from 2000 to 6000")));
        let late = year(|month| month.starts.push(f64::from(month.number)));
        assert!(matches!(&*wrong(&late), [one] if one.starts_with("start")));
    }

    #[test]
    fn slower_runs_are_told_and_a_slower_machine_is_not() {
        let slow = |of: &'static [Of]| {
            year(move |month| {
                let times = if month.number == 12 { 15 } else { 10 };
                let mut slice = Slice::default();
                for kind in Kind::ALL {
                    for side in [Of::Site, Of::Twin] {
                        let times = if of.contains(&side) { times } else { 10 };
                        slice.push(side, kind, Duration::from_millis(times));
                    }
                }
                month.slices = vec![slice];
            })
        };
        assert_eq!(wrong(&slow(&[Of::Site])).len(), 4);
        assert_eq!(wrong(&slow(&[Of::Site, Of::Twin])), Vec::<String>::new());
    }

    #[test]
    fn a_line_through_noise_has_the_slope_of_its_middle() {
        assert!((slope(&[(1.0, 2.0), (2.0, 5.0), (3.0, 8.0)]) - 3.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0), (2.0, 9.0), (3.0, 5.0)]).abs() < 1e-9);
    }
}
