//! The one clock of a runner.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, Unit};

/// Tells the time and waits. Instants are whole microseconds, as the journal keeps them.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Returns when `now()` is `at` or later.
    async fn sleep_until(&self, at: Timestamp);
}

/// The computer's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Longest single wait: the clock is read again after it, so that a clock that was set, or a computer that slept,
/// is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        in_microseconds(Timestamp::now())
    }

    async fn sleep_until(&self, at: Timestamp) {
        while let Some(left) = left(self.now(), at) {
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }
}

/// A clock that follows tokio's: under `start_paused` it stands still until everything waits, and then jumps.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    base: Timestamp,
    begun: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `base` now.
    #[must_use]
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base: in_microseconds(base), begun: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        in_microseconds(later(self.base, self.begun.elapsed()))
    }

    async fn sleep_until(&self, at: Timestamp) {
        while let Some(left) = left(self.now(), at) {
            tokio::time::sleep(left).await;
        }
    }
}

/// `at` plus `by`, at most the last instant there is.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `at`; `None` when that is past.
fn left(now: Timestamp, at: Timestamp) -> Option<Duration> {
    Duration::try_from(at.duration_since(now)).ok().filter(|left| !left.is_zero())
}

fn in_microseconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Microsecond).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_jumps_to_the_instant_that_is_waited_for() {
        let clock = TokioClock::starting_at(Timestamp::UNIX_EPOCH);
        let at = later(Timestamp::UNIX_EPOCH, Duration::from_secs(3600));
        clock.sleep_until(at).await;
        assert!(clock.now() >= at);
        clock.sleep_until(Timestamp::UNIX_EPOCH).await;
    }
}
