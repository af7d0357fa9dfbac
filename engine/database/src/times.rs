//! How long transactions take, counted in steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the steps, in microseconds.
const BOUNDS: [u64; 10] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_000_000, 10_000_000];

/// How long transactions took, from their beginning until they were on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// Upper bound, and how many took at most that long; each includes the ones before it.
    pub buckets: Vec<(Duration, u64)>,
    /// How many there were.
    pub count: u64,
    /// All together.
    pub sum: Duration,
}

/// The same while it is being counted.
#[derive(Default)]
pub(crate) struct Times {
    steps: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Times {
    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
        if let Some((step, _)) = self.steps.iter().zip(BOUNDS).find(|(_, bound)| micros <= *bound) {
            step.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> CommitTimes {
        let mut below = 0;
        let buckets = self
            .steps
            .iter()
            .zip(BOUNDS)
            .map(|(step, bound)| {
                below += step.load(Ordering::Relaxed);
                (Duration::from_micros(bound), below)
            })
            .collect();
        CommitTimes {
            buckets,
            count: self.count.load(Ordering::Relaxed).max(below),
            sum: Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_includes_the_shorter_ones() {
        let times = Times::default();
        for micros in [400, 500, 501, 20_000_000] {
            times.add(Duration::from_micros(micros));
        }
        let read = times.read();
        assert_eq!(read.count, 4);
        assert_eq!(read.buckets.first(), Some(&(Duration::from_micros(500), 2)));
        assert_eq!(read.buckets.get(1), Some(&(Duration::from_millis(1), 3)));
        assert_eq!(read.buckets.last().map(|(_, count)| *count), Some(3));
        assert_eq!(read.sum, Duration::from_micros(20_001_401));
    }
}
