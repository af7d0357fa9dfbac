//! From the intake to the dispatcher: what was committed just now.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use bascule_run::RunId;
use jiff::Timestamp;
use tokio::sync::Notify;

/// Something that was committed.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A run waits.
    Run(Waiting),
    /// A run that may be under way is to be cancelled; the wish is on disk.
    Cancel(RunId),
    /// A run ended without having begun.
    Ended(RunId),
    /// A bucket is due then, at the earliest.
    Due(Timestamp),
}

/// A run that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) order: Order,
    pub(crate) workflow: String,
    pub(crate) concurrency_key: Option<String>,
}

/// Which run comes first: the higher priority, then the one that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Order {
    pub(crate) priority: Reverse<i64>,
    pub(crate) number: i64,
    pub(crate) run: RunId,
}

/// A letter box for one reader.
#[derive(Default)]
pub(crate) struct Arrivals {
    list: Mutex<Vec<Arrival>>,
    bell: Notify,
}

impl Arrivals {
    pub(crate) fn add(&self, arrivals: Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        self.list.lock().unwrap_or_else(PoisonError::into_inner).extend(arrivals);
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when something may have come since the last time.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}
