//! How long to wait before a source is started again.

use std::time::Duration;

use bascule_workflow::failure::{Failure, Kind};

/// Waits grow from `from` to `to`, doubling; each is a random part of that ("full jitter"), so that a thousand devices
/// behind one switch do not come back at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub from: Duration,
    /// The longest wait.
    pub to: Duration,
}

impl Default for Backoff {
    /// From 1 s to 60 s.
    fn default() -> Self {
        Self { from: Duration::from_secs(1), to: Duration::from_secs(60) }
    }
}

/// What will not mend itself soon is not tried more often than this: a device locks an account after a few wrong
/// logins.
const SLOWLY: Duration = Duration::from_secs(600);

impl Backoff {
    /// The wait after `failures` failures in a row (from 1), given a random number.
    pub(super) fn wait(&self, failures: u32, why: Option<&Failure>, random: u64) -> Duration {
        let asked = why.and_then(|failure| failure.retry_after).map(Duration::from_millis);
        let hopeless = why.is_some_and(|failure| {
            matches!(
                failure.kind,
                Kind::Unauthorized | Kind::LockedOut | Kind::InvalidInput | Kind::Unsupported | Kind::Refused
            )
        });
        let doubled = self.from.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
        let ceiling = doubled.min(self.to);
        let part = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
        let jittered = Duration::from_micros(random % part);
        let least = if hopeless { SLOWLY } else { Duration::ZERO };
        jittered + least.max(asked.unwrap_or_default())
    }
}

/// A random number.
pub(super) fn random() -> u64 {
    // Without randomness, every source waits a different time anyway because they began at different times.
    getrandom::u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let backoff = Backoff::default();
        let longest = |failures| backoff.wait(failures, None, u64::MAX - 7);
        for failures in 1..40 {
            let wait = longest(failures);
            assert!(wait < Duration::from_secs(60) && wait < Duration::from_secs(1 << failures.min(6)));
        }
        let spread: std::collections::BTreeSet<_> =
            (0..50).map(|number| backoff.wait(7, None, number * 1_000_003)).collect();
        assert!(spread.len() > 40);
    }

    #[test]
    fn what_locks_an_account_is_not_repeated_quickly_and_a_wish_is_respected() {
        let backoff = Backoff::default();
        let wrong = Failure::new(Kind::Unauthorized, "wrong password");
        assert!(backoff.wait(1, Some(&wrong), 0) >= Duration::from_secs(600));
        let busy = Failure::new(Kind::Busy, "later").with_retry_after(Duration::from_secs(90));
        assert!(backoff.wait(1, Some(&busy), 0) >= Duration::from_secs(90));
    }
}
