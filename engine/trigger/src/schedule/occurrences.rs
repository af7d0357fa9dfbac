//! The instants that a cron line means in a time zone. Pure: no clock, no disk.
//!
//! croner finds the local times that match the line, in a calendar without summer time; where these lie on the line of
//! real time is decided here (spec 9):
//!
//! - A schedule of fixed times (neither second, minute nor hour begin with `*`) runs once for each local time. One that
//!   does not exist, because clocks go forward, runs right after the gap; one that exists twice runs the first time.
//! - A schedule by the second, minute or hour follows elapsed time: it runs at each instant whose local time matches.
//!   Where an hour is left out, so are its runs; where one comes twice, they come twice.

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A cron line in a time zone.
#[derive(Clone, Debug)]
pub struct Occurrences {
    cron: Cron,
    zone: TimeZone,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Once for each local time.
    Fixed,
    /// Whenever the local time matches.
    Elapsed,
}

/// A cron line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not a cron line: {reason}")]
pub struct BadLine {
    /// The line.
    pub line: String,
    /// Why.
    pub reason: String,
}

impl Occurrences {
    /// Reads the line: five or six fields, or `@daily` and the like.
    ///
    /// # Errors
    /// [`BadLine`]; a checked workflow has none.
    pub fn new(line: &str, zone: TimeZone) -> Result<Self, BadLine> {
        let cron = line.parse::<Cron>().map_err(|error| BadLine {
            line: line.to_owned(),
            reason: error.to_string().trim_end_matches('.').to_lowercase(),
        })?;
        Ok(Self { cron, zone, pace: pace(line) })
    }

    /// The first occurrence after an instant; `None` where there is none before the year 5000 (or ever).
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self.pace {
            Pace::Fixed => self.fixed_after(after),
            Pace::Elapsed => self.elapsed_after(after),
        }
    }

    /// The occurrences after an instant, in order and without end (unless the line has one).
    pub fn after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
    }

    fn fixed_after(&self, after: Timestamp) -> Option<Timestamp> {
        // What lies before this local time is before `after` as well, so the search begins here. Several local times
        // in a gap are one instant.
        let mut local = self.matching(self.zone.to_datetime(after), Bound::Included)?;
        loop {
            let at = self.instant(local)?;
            if at > after {
                return Some(at);
            }
            local = self.matching(local, Bound::Excluded)?;
        }
    }

    fn elapsed_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after;
        let mut bound = Bound::Excluded;
        // Piece by piece: between two changes of the offset, local time is real time.
        loop {
            let offset = self.zone.to_offset(from);
            let change = self.next_change(from, offset);
            let found =
                self.matching(offset.to_datetime(from), bound).and_then(|local| to_instant(offset, local));
            match (found, change) {
                (Some(at), Some(change)) if at < change => return Some(at),
                (Some(at), None) => return Some(at),
                (None, None) => return None,
                // A line that never comes finds nothing in any piece.
                (None, Some(_)) => return None,
                (Some(_), Some(change)) => {
                    from = change;
                    bound = Bound::Included;
                }
            }
        }
    }

    /// The first local time that matches, in a calendar without summer time.
    fn matching(&self, from: DateTime, bound: Bound) -> Option<DateTime> {
        // croner counts whole seconds; the part of a second that has begun is over.
        let whole = from.with().subsec_nanosecond(0).build().ok()?;
        let bound = if whole == from { bound } else { Bound::Excluded };
        let from = whole.to_zoned(TimeZone::UTC).ok()?;
        let found = self.cron.find_next_occurrence(&from, bound == Bound::Included).ok()?;
        Some(found.datetime())
    }

    /// The instant of a local time: right after the gap, or the first of two.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => to_instant(offset, local),
            AmbiguousOffset::Fold { before, .. } => to_instant(before, local),
            AmbiguousOffset::Gap { after, .. } => {
                // By the offset after the gap, a local time inside it lies before the change.
                let inside = to_instant(after, local)?;
                self.next_change(inside, self.zone.to_offset(inside))
            }
        }
    }

    /// When the offset becomes another one, after an instant.
    fn next_change(&self, after: Timestamp, offset: Offset) -> Option<Timestamp> {
        // Some changes are of the name alone.
        self.zone.following(after).find(|change| change.offset() != offset).map(|change| change.timestamp())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Included,
    Excluded,
}

fn to_instant(offset: Offset, local: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(local).ok()
}

fn pace(line: &str) -> Pace {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let clock = match fields.as_slice() {
        [word] if word.eq_ignore_ascii_case("@hourly") => return Pace::Elapsed,
        [_] => return Pace::Fixed,
        // Without seconds: minute and hour.
        [_, _, _, _, _] => &fields[..2],
        _ => &fields[..fields.len().min(3)],
    };
    match clock.iter().any(|field| field.starts_with(['*', '?'])) {
        true => Pace::Elapsed,
        false => Pace::Fixed,
    }
}

/// A part of `jitter` that is the same for the same slot in every process: from 0 up to, not including, `jitter`.
#[must_use]
pub fn jitter_of(
    workflow: &str,
    trigger: &str,
    slot: Timestamp,
    jitter: std::time::Duration,
) -> SignedDuration {
    use sha2::{Digest, Sha256};
    let milliseconds = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return SignedDuration::ZERO;
    }
    let mut hash = Sha256::new();
    for part in [workflow, "\0", trigger, "\0"] {
        hash.update(part.as_bytes());
    }
    hash.update(slot.as_microsecond().to_be_bytes());
    let digest = hash.finalize();
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    SignedDuration::from_millis(i64::try_from(number % milliseconds).unwrap_or(0))
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how much it has done"
)]
mod tests;
