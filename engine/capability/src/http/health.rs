//! How peers have been: counted where every request passes, for operators to see without looking into runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_workflow::failure::{Failure, Kind};
use jiff::Timestamp;

/// Most peers that are remembered; beyond, the one that was talked to longest ago is forgotten.
const MOST: usize = 4096;

/// How one peer has been since the connections were opened: with the start, or with the last edit of `bascule.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The connection's name.
    pub connection: String,
    /// What identifies the peer: `key:`, by default scheme, host and port.
    pub peer: String,
    /// Requests that were answered, with a status below 500.
    pub answered: u64,
    /// Requests that were not, or with a status of 500 and more.
    pub failed: u64,
    /// Of those the last ones, with no answer in between.
    pub failed_in_a_row: u64,
    /// When it answered last.
    pub last_answer_at: Option<Timestamp>,
    /// When it failed last, and how.
    pub last_failure: Option<Trouble>,
}

/// A failure that somebody may want to look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// Of what kind; an answer of 500 and more is `busy` where it is 503, else `protocol`.
    pub kind: Kind,
    /// The status, where it was an answer.
    pub status: Option<u16>,
}

impl Health {
    fn last_at(&self) -> Option<Timestamp> {
        self.last_answer_at.max(self.last_failure.map(|trouble| trouble.at))
    }
}

/// What is known of all peers.
#[derive(Default)]
pub(crate) struct Known {
    peers: Mutex<BTreeMap<(String, String), Health>>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Health>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came to its end, with this status or none.
    pub(crate) fn note(&self, connection: &str, peer: &str, at: Timestamp, end: Result<u16, &Failure>) {
        let trouble = match end {
            Ok(status @ 500..) => {
                let kind = if status == 503 { Kind::Busy } else { Kind::Protocol };
                Some(Trouble { at, kind, status: Some(status) })
            }
            Ok(_) => None,
            // The peer had no part in it.
            Err(failure) if matches!(failure.kind, Kind::Cancelled | Kind::InvalidInput) => return,
            Err(failure) => Some(Trouble { at, kind: failure.kind, status: None }),
        };
        let mut peers = self.lock();
        let id = (connection.to_owned(), peer.to_owned());
        if peers.len() >= MOST && !peers.contains_key(&id) {
            let oldest = peers.iter().min_by_key(|(_, health)| health.last_at()).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| peers.remove(&oldest));
        }
        let health = peers.entry(id).or_insert_with(|| Health {
            connection: connection.to_owned(),
            peer: peer.to_owned(),
            answered: 0,
            failed: 0,
            failed_in_a_row: 0,
            last_answer_at: None,
            last_failure: None,
        });
        match trouble {
            None => {
                health.answered += 1;
                health.failed_in_a_row = 0;
                health.last_answer_at = Some(at);
            }
            Some(trouble) => {
                health.failed += 1;
                health.failed_in_a_row += 1;
                health.last_failure = Some(trouble);
            }
        }
    }

    /// All of them, by connection and peer.
    pub(crate) fn all(&self) -> Vec<Health> {
        self.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn answers_and_failures_are_counted_by_peer_and_what_was_given_up_is_not() {
        let known = Known::default();
        let offline = Failure::new(Kind::Offline, "nobody there");
        known.note("terminal", "a", at(1), Ok(200));
        known.note("terminal", "a", at(2), Err(&offline));
        known.note("terminal", "a", at(3), Ok(500));
        known.note("terminal", "a", at(4), Err(&Failure::new(Kind::Cancelled, "enough")));
        known.note("terminal", "b", at(5), Err(&offline));
        known.note("terminal", "b", at(6), Ok(404));
        let all = known.all();
        let [a, b] = all.as_slice() else { unreachable!("{all:?}") };
        assert_eq!((a.answered, a.failed, a.failed_in_a_row), (1, 2, 2));
        assert_eq!(a.last_failure, Some(Trouble { at: at(3), kind: Kind::Protocol, status: Some(500) }));
        assert_eq!((b.answered, b.failed, b.failed_in_a_row, b.last_answer_at), (1, 1, 0, Some(at(6))));
    }

    #[test]
    fn a_flood_of_peers_pushes_out_those_that_were_asked_longest_ago() {
        let known = Known::default();
        for number in 0..=MOST {
            known.note("terminal", &number.to_string(), at(i64::try_from(number).unwrap()), Ok(200));
        }
        let all = known.all();
        assert_eq!(all.len(), MOST);
        assert!(all.iter().all(|health| health.peer != "0"));
    }
}
