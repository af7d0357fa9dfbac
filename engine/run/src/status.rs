//! The status tokens, the same for runs, steps and items.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How far something is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Recorded, not begun. Runs only.
    Queued,
    /// Under way. Runs only; a step or item that is under way has no status yet.
    Running,
    /// All is well.
    Succeeded,
    /// A `catch` made up for a failure.
    Recovered,
    /// It failed and nothing made up for it.
    Failed,
    /// The run was cancelled, or the run (or the `for-each`) stopped before this was begun.
    Cancelled,
    /// Not done on purpose: `if`, `skip-if`, `once`.
    Skipped,
    /// Whether it was done is not known, and it may not be repeated: a person has to decide.
    Interrupted,
    /// Undone.
    RolledBack,
    /// Undoing was tried, and something could not be undone.
    RollbackIncomplete,
}

impl Status {
    /// Every status, in the order in which people read them.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Recovered,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Interrupted,
        Self::RolledBack,
        Self::RollbackIncomplete,
    ];

    /// The token, e.g. `rolled-back`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
            Self::RolledBack => "rolled-back",
            Self::RollbackIncomplete => "rollback-incomplete",
        }
    }

    /// The status of that token.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// True for `queued` and `running`.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// True for `succeeded`, `recovered` and `skipped`: what follows may go on.
    #[must_use]
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Succeeded | Self::Recovered | Self::Skipped)
    }

    /// Which of two is the one to tell of the whole: the worse one. `skipped` is as good as `succeeded`.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.badness() > self.badness() { other } else { self }
    }

    fn badness(self) -> u8 {
        match self {
            Self::Skipped | Self::Queued | Self::Running | Self::Succeeded => 0,
            Self::Recovered => 1,
            Self::RolledBack => 2,
            Self::Failed => 3,
            Self::Cancelled => 4,
            Self::Interrupted => 5,
            Self::RollbackIncomplete => 6,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How many items of a `for-each` ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Ended `succeeded`.
    pub succeeded: u64,
    /// Ended `recovered`.
    pub recovered: u64,
    /// Ended `skipped`.
    pub skipped: u64,
    /// Ended `failed`.
    pub failed: u64,
    /// Ended `cancelled`, or never begun.
    pub cancelled: u64,
    /// Ended `interrupted`.
    pub interrupted: u64,
    /// Ended `rolled-back`.
    pub rolled_back: u64,
    /// Ended `rollback-incomplete`.
    pub rollback_incomplete: u64,
}

impl Counts {
    /// Counts one item.
    pub fn add(&mut self, status: Status) {
        let count = match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Recovered => &mut self.recovered,
            Status::Skipped => &mut self.skipped,
            Status::Failed => &mut self.failed,
            Status::Interrupted => &mut self.interrupted,
            Status::RolledBack => &mut self.rolled_back,
            Status::RollbackIncomplete => &mut self.rollback_incomplete,
            Status::Cancelled | Status::Queued | Status::Running => &mut self.cancelled,
        };
        *count += 1;
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.succeeded
            + self.recovered
            + self.skipped
            + self.failed
            + self.cancelled
            + self.interrupted
            + self.rolled_back
            + self.rollback_incomplete
    }

    /// As expressions see it; `rolled_back` with an underscore so that a dot reaches it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "succeeded": self.succeeded,
            "recovered": self.recovered,
            "skipped": self.skipped,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "total": self.total(),
            "interrupted": self.interrupted,
            "rolled_back": self.rolled_back,
            "rollback_incomplete": self.rollback_incomplete,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_as_its_status() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.name()), Some(status));
            assert_eq!(serde_json::json!(status), status.name());
        }
    }

    #[test]
    fn the_worse_of_two_tells_of_the_whole() {
        assert_eq!(Status::Succeeded.worse(Status::Recovered), Status::Recovered);
        assert_eq!(Status::Interrupted.worse(Status::Failed), Status::Interrupted);
        assert_eq!(Status::Succeeded.worse(Status::Skipped), Status::Succeeded);
    }
}
