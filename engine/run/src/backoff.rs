//! How long to wait before the next attempt.

use std::time::Duration;

use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::clock::later;

/// A peer's own `retry-after` is followed up to this long.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// When attempt `attempt + 1` is due, after attempt `attempt` (from 1) failed at `ended_at`.
///
/// Exponential with full jitter: between nothing and `from` doubled per attempt, at most `to`. The jitter is drawn
/// from the idempotency key, so a replay waits for the same instant. A `retry-after` in the failure overrules it.
pub(crate) fn due(
    from: Duration,
    to: Duration,
    failure: &Failure,
    key: &str,
    attempt: u32,
    ended_at: Timestamp,
) -> Timestamp {
    let wait = match failure.retry_after {
        Some(asked) => Duration::from_millis(asked).min(LONGEST_ASKED),
        None => jittered(from, to, key, attempt),
    };
    later(ended_at, wait)
}

fn jittered(from: Duration, to: Duration, key: &str, attempt: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let longest = from.saturating_mul(doubled).min(to);
    let digest = Sha256::digest(format!("{key}:{attempt}"));
    let drawn = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    let microseconds = u128::from(drawn) * longest.as_micros() / u128::from(u32::MAX);
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use bascule_workflow::failure::Kind;

    use super::*;

    const FROM: Duration = Duration::from_secs(2);
    const TO: Duration = Duration::from_secs(30);

    #[test]
    fn the_wait_stays_within_its_bounds_and_is_the_same_on_replay() {
        for attempt in 1..100 {
            let key = format!("key-{attempt}");
            let wait = jittered(FROM, TO, &key, attempt);
            assert!(
                wait <= TO.min(FROM.saturating_mul(2_u32.saturating_pow(attempt - 1))),
                "{attempt}: {wait:?}"
            );
            assert_eq!(wait, jittered(FROM, TO, &key, attempt));
        }
    }

    #[test]
    fn different_items_do_not_come_back_at_the_same_instant() {
        let waits: std::collections::HashSet<_> =
            (0..100).map(|item| jittered(FROM, TO, &format!("item-{item}"), 4)).collect();
        assert!(waits.len() > 95);
    }

    #[test]
    fn what_the_peer_asks_for_overrules_the_backoff() {
        let failure = Failure::new(Kind::Busy, "busy").with_retry_after(Duration::from_secs(90));
        let at = due(FROM, TO, &failure, "key", 1, Timestamp::UNIX_EPOCH);
        assert_eq!(at.as_second(), 90);
        let absurd = Failure::new(Kind::Busy, "busy").with_retry_after(Duration::MAX);
        assert_eq!(due(FROM, TO, &absurd, "key", 1, Timestamp::UNIX_EPOCH).as_second(), 86_400);
    }
}
