//! A clock that stands still until the test moves it, in either direction.

use std::time::Duration;

use async_trait::async_trait;
use bascule_run::clock::{Clock, later};
use jiff::Timestamp;
use tokio::sync::watch;

pub(crate) struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { now: watch::Sender::new("2026-11-21T03:00:00Z".parse().unwrap()) }
    }
}

impl ManualClock {
    pub(crate) fn set(&self, at: Timestamp) {
        self.now.send_replace(at);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = later(*now, by));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut now = self.now.subscribe();
        // The sender lives as long as this clock.
        now.wait_for(|now| *now >= at).await.expect("the clock is there");
    }
}
