//! A clock that stands still until it is moved by hand.
//!
//! The engine takes all of its time from one clock, so a site on this one lives through a month as fast as it can work it
//! off. It must be moved only when nothing is under way that the next instant would find late: `drive.rs` sees to that.

use async_trait::async_trait;
use bascule_run::clock::Clock;
use jiff::Timestamp;
use tokio::sync::watch;

pub(crate) struct HandClock {
    now: watch::Sender<Timestamp>,
}

impl HandClock {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Never goes back.
    pub(crate) fn move_to(&self, at: Timestamp) {
        self.now.send_modify(|now| *now = at.max(*now));
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // An error means that the clock is gone, and with it everything that could go on.
        let mut now = self.now.subscribe();
        let _gone = now.wait_for(|now| *now >= at).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bascule_run::clock::later;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn whoever_sleeps_wakes_when_the_clock_is_moved_and_not_before() {
        let begin = Timestamp::UNIX_EPOCH;
        let clock = Arc::new(HandClock::at(begin));
        let due = later(begin, Duration::from_secs(600));
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { clock.sleep_until(due).await }
        });
        clock.move_to(later(begin, Duration::from_secs(599)));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.move_to(due);
        assert!(sleeper.await.is_ok());
        clock.move_to(begin);
        assert_eq!(clock.now(), due);
    }
}
