//! A recorder's clock, and what the times in its searches mean (`facts/isapi.md` 2.4 and 7.8).
//!
//! Recorders write `2026-11-21T03:00:00Z` and mean, as a rule, three o'clock on their own wall.

use bascule_sdk::{Error, Peer, Request};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::bindings::exports::bascule::nvr::recordings::{Clock as Told, Meaning};
use crate::reply;

/// How far the end of the newest recording may be from now.
const NEAR: SignedDuration = SignedDuration::from_mins(20);

/// A recorder's clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// What it shows.
    pub(crate) now: Timestamp,
    zone: TimeZone,
    /// What it calls its zone, to notice when somebody changes it.
    pub(crate) label: String,
    pub(crate) z: Meaning,
    pub(crate) measured: bool,
}

/// Reads `/ISAPI/System/time`.
pub(crate) fn read(recorder: &dyn Peer) -> Result<Clock, Error> {
    let root = reply::ask(recorder, Request::get("/ISAPI/System/time"))?;
    let told = root.text_of("localTime").unwrap_or_default();
    let label = root.text_of("timeZone").unwrap_or_default().to_owned();
    let unclear = || Error::protocol(format!("the recorder's clock cannot be read: `{told}` in `{label}`"));
    let local = wall(told).ok_or_else(unclear)?;
    let by_rule = zone(&label);
    let zone = match (offset(told), by_rule) {
        // The rule knows about the days when clocks change; what the time itself says is right today.
        (Some(offset), Some(rule)) if rule.to_ambiguous_zoned(local).offset_is(offset) => rule,
        (Some(offset), _) => TimeZone::fixed(offset),
        (None, Some(rule)) => rule,
        (None, None) => return Err(unclear()),
    };
    let now = zone.to_timestamp(local).map_err(|_out_of_range| unclear())?;
    Ok(Clock { now, zone, label, z: Meaning::Local, measured: false })
}

trait Offsets {
    fn offset_is(&self, offset: Offset) -> bool;
}

impl Offsets for jiff::tz::AmbiguousZoned {
    fn offset_is(&self, offset: Offset) -> bool {
        use jiff::tz::AmbiguousOffset::{Fold, Gap, Unambiguous};
        match self.offset() {
            Unambiguous { offset: only } => only == offset,
            Gap { before, after } | Fold { before, after } => before == offset || after == offset,
        }
    }
}

impl Clock {
    pub(crate) fn told(&self) -> Told {
        let offset = self.zone.to_offset(self.now);
        Told {
            now: self.instant(self.now),
            offset_minutes: offset.seconds() / 60,
            z: self.z,
            measured: self.measured,
        }
    }

    /// RFC 3339 with the recorder's offset.
    pub(crate) fn instant(&self, moment: Timestamp) -> String {
        moment.display_with_offset(self.zone.to_offset(moment)).to_string()
    }

    /// What the recorder's wall clock shows at that moment.
    pub(crate) fn local(&self, moment: Timestamp) -> DateTime {
        self.zone.to_datetime(moment)
    }

    /// The moment as a search writes it.
    pub(crate) fn written(&self, moment: Timestamp) -> String {
        let time = match self.z {
            Meaning::Local => self.local(moment),
            Meaning::Utc => Offset::UTC.to_datetime(moment),
        };
        as_search(time)
    }

    /// The moment that a search result means.
    pub(crate) fn meant(&self, text: &str) -> Option<Timestamp> {
        let time = wall(text)?;
        match (offset(text), self.z) {
            (Some(offset), _) => offset.to_timestamp(time).ok(),
            (None, Meaning::Utc) if text.trim().ends_with(['Z', 'z']) => Offset::UTC.to_timestamp(time).ok(),
            (None, _) => self.zone.to_timestamp(time).ok(),
        }
    }

    /// The times between which the newest recording ends, whatever `Z` means.
    pub(crate) fn lately(&self) -> (String, String) {
        let (local, utc) = (self.local(self.now), Offset::UTC.to_datetime(self.now));
        let hours =
            |time: DateTime, hours: i64| time.checked_add(SignedDuration::from_hours(hours)).unwrap_or(time);
        (as_search(hours(local.min(utc), -2)), as_search(hours(local.max(utc), 1)))
    }

    /// Settles what `Z` means from the ends of the latest recordings, as they were written. False where they do not tell.
    pub(crate) fn settle(&mut self, ends: &[String]) -> bool {
        if ends.iter().any(|end| offset(end).is_some()) || self.zone.to_offset(self.now) == Offset::UTC {
            // Nothing to choose from: times carry their offset, or local time is UTC.
            self.measured = true;
            return true;
        }
        let Some(newest) = ends.iter().filter_map(|end| wall(end)).max() else {
            return false;
        };
        let distance = |time: DateTime| newest.duration_since(time).abs();
        let (local, utc) = (distance(self.local(self.now)), distance(Offset::UTC.to_datetime(self.now)));
        let (z, near) = if utc < local { (Meaning::Utc, utc) } else { (Meaning::Local, local) };
        if near > NEAR || local == utc {
            return false;
        }
        self.z = z;
        self.measured = true;
        true
    }
}

fn as_search(time: DateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Date and time without what follows them.
fn wall(text: &str) -> Option<DateTime> {
    text.trim().get(..19)?.parse().ok()
}

/// `+02:00` behind a time; `Z` is none.
fn offset(text: &str) -> Option<Offset> {
    let rest = text.trim().get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    Offset::from_seconds(sign * duration(rest.get(1..)?)?).ok()
}

/// `2`, `2:00` or `02:00:00` in seconds.
fn duration(text: &str) -> Option<i32> {
    let mut seconds = 0;
    for (piece, unit) in text.split(':').zip([3_600, 60, 1]) {
        seconds += i32::from(piece.parse::<u8>().ok()?) * unit;
    }
    Some(seconds)
}

/// The device's form of a zone, POSIX with its turned sign but with the length of summer time instead of its offset:
/// `CST-2:00:00DST01:00:00,M4.1.0/02:00:00,M10.5.0/02:00:00`.
fn zone(label: &str) -> Option<TimeZone> {
    let rest = label.trim().trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let (standard, summer) = rest.split_once("DST").map_or((rest, None), |(one, two)| (one, Some(two)));
    let (sign, digits) = match standard.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, standard.strip_prefix('+').unwrap_or(standard)),
    };
    let west = sign * duration(digits)?;
    let Some(summer) = summer else {
        return Offset::from_seconds(-west).ok().map(TimeZone::fixed);
    };
    let (length, rules) = summer.split_once(',')?;
    let posix = format!("CST{}DST{},{rules}", hours(west), hours(west - duration(length)?));
    TimeZone::posix(&posix).ok()
}

fn hours(seconds: i32) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let seconds = seconds.abs();
    format!("{sign}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    fn clock(local: &str, zone: &str) -> Clock {
        let body = format!(
            "<Time><timeMode>NTP</timeMode><localTime>{local}</localTime><timeZone>{zone}</timeZone></Time>"
        );
        read(&Script::new().then("GET /ISAPI/System/time", answer(200, body))).unwrap()
    }

    const WITH_SUMMER: &str = "CST-2:00:00DST01:00:00,M4.1.0/02:00:00,M10.5.0/02:00:00";

    #[test]
    fn the_zone_of_a_real_device_knows_summer_and_winter() {
        let clock = clock("2026-07-15T12:00:00+03:00", WITH_SUMMER);
        assert_eq!(clock.now, "2026-07-15T09:00:00Z".parse().unwrap());
        assert_eq!(clock.told().offset_minutes, 180);
        // Searched in winter, the same recorder is two hours ahead.
        assert_eq!(clock.written("2026-12-01T10:00:00Z".parse().unwrap()), "2026-12-01T12:00:00Z");
        assert_eq!(clock.meant("2026-12-01T12:00:00Z"), Some("2026-12-01T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn signs_are_turned_round() {
        assert_eq!(
            clock("2026-01-15T12:00:00+08:00", "CST-8:00:00").now,
            "2026-01-15T04:00:00Z".parse().unwrap()
        );
        assert_eq!(clock("2026-01-15T12:00:00", "CST+4:00:00").now, "2026-01-15T16:00:00Z".parse().unwrap());
        // The zone says one thing and the time another: the time is right.
        assert_eq!(
            clock("2026-01-15T12:00:00+01:00", "CST-8:00:00").now,
            "2026-01-15T11:00:00Z".parse().unwrap()
        );
    }

    #[test]
    fn the_newest_recording_tells_what_z_means() {
        let ends = |text: &str| vec!["2026-01-15T09:00:00Z".to_owned(), text.to_owned()];
        let mut local = clock("2026-01-15T12:00:00+02:00", "CST-2:00:00");
        assert!(local.settle(&ends("2026-01-15T11:58:00Z")) && local.z == Meaning::Local && local.measured);
        let mut utc = clock("2026-01-15T12:00:00+02:00", "CST-2:00:00");
        assert!(utc.settle(&ends("2026-01-15T09:58:00Z")) && utc.z == Meaning::Utc);
        assert_eq!(utc.written("2026-01-15T09:00:00Z".parse().unwrap()), "2026-01-15T09:00:00Z");
        // Nothing was recorded for an hour: it is not told, and local is assumed.
        let mut unknown = clock("2026-01-15T12:00:00+02:00", "CST-2:00:00");
        assert!(
            !unknown.settle(&ends("2026-01-15T11:00:00Z"))
                && unknown.z == Meaning::Local
                && !unknown.measured
        );
        assert!(!unknown.settle(&[]));
    }

    #[test]
    fn a_time_with_its_own_offset_means_just_that() {
        let mut clock = clock("2026-01-15T12:00:00+02:00", "CST-2:00:00");
        assert!(clock.settle(&["2026-01-15T11:58:00+02:00".to_owned()]));
        assert_eq!(clock.meant("2026-01-15T11:58:00+02:00"), Some("2026-01-15T09:58:00Z".parse().unwrap()));
        assert_eq!(clock.instant("2026-01-15T09:58:00Z".parse().unwrap()), "2026-01-15T11:58:00+02:00");
    }
}
