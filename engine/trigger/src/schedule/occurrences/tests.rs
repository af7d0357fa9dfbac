//! Against a second implementation that shares nothing with the first: it reads the line itself, and walks real time
//! minute by minute, as the classic daemon does.

use jiff::ToSpan;

use super::*;

/// A cron line as five sets; numbers, lists, ranges, steps.
struct Line {
    minutes: Vec<bool>,
    hours: Vec<bool>,
    days: Vec<bool>,
    months: Vec<bool>,
    weekdays: Vec<bool>,
    any_day: bool,
    any_weekday: bool,
    by_the_clock: bool,
}

fn set(field: &str, from: usize, to: usize) -> Vec<bool> {
    let mut all = vec![false; to + 1];
    for part in field.split(',') {
        let (range, step) =
            part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (from, to),
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        for one in (first..=last).step_by(step) {
            all[one] = true;
        }
    }
    all
}

impl Line {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut weekdays = set(fields[4], 0, 7);
        weekdays[0] |= weekdays[7];
        Self {
            minutes: set(fields[0], 0, 59),
            hours: set(fields[1], 0, 23),
            days: set(fields[2], 1, 31),
            months: set(fields[3], 1, 12),
            weekdays,
            any_day: fields[2].starts_with('*'),
            any_weekday: fields[4].starts_with('*'),
            by_the_clock: fields[0].starts_with('*') || fields[1].starts_with('*'),
        }
    }

    fn matches(&self, local: DateTime) -> bool {
        let is = |set: &[bool], value: i8| set[usize::try_from(value).unwrap()];
        let day = is(&self.days, local.day());
        let weekday = is(&self.weekdays, local.weekday().to_sunday_zero_offset());
        let date = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        is(&self.minutes, local.minute())
            && is(&self.hours, local.hour())
            && is(&self.months, local.month())
            && date
    }
}

/// Real minutes with their local times, and the latest local time that came before them.
struct Walk {
    minutes: Vec<(Timestamp, DateTime)>,
    reached: DateTime,
}

impl Walk {
    fn through(zone: &TimeZone, from: Timestamp, to: Timestamp) -> Self {
        let step = |minutes: i64| move |at: &Timestamp| Some(*at + SignedDuration::from_mins(minutes));
        // No clock is set back by more than that.
        let earlier = std::iter::successors(Some(from - SignedDuration::from_hours(30)), step(15));
        let reached = earlier.take_while(|at| *at < from).map(|at| zone.to_datetime(at)).max().unwrap();
        let last = zone.to_datetime(from - SignedDuration::from_mins(1));
        let minutes = std::iter::successors(Some(from), step(1)).take_while(|at| *at <= to);
        Self { minutes: minutes.map(|at| (at, zone.to_datetime(at))).collect(), reached: reached.max(last) }
    }

    /// The minutes at which a daemon with this line runs. Of fixed times it runs, at every minute, those local times
    /// that have passed and that it has not passed before.
    fn runs(&self, line: &Line) -> Vec<Timestamp> {
        let mut reached = self.reached;
        let mut runs = Vec::new();
        for (at, local) in &self.minutes {
            let runs_now = if line.by_the_clock {
                line.matches(*local)
            } else {
                let mut any = false;
                while reached < *local {
                    reached = reached.checked_add(1.minute()).unwrap();
                    any |= line.matches(reached);
                }
                any
            };
            if runs_now {
                runs.push(*at);
            }
        }
        runs
    }
}

/// Thirty lines of every kind, with times at which clocks change.
const LINES: &str = include_str!("lines.txt");

fn differences(
    zone: &TimeZone,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    found: &mut Vec<String>,
) -> usize {
    let mut checks = 0;
    let walk = Walk::through(zone, from, to);
    for text in LINES.lines() {
        let expected = walk.runs(&Line::read(text));
        let ours: Vec<Timestamp> = Occurrences::new(text, zone.clone())
            .unwrap()
            .after(from - SignedDuration::from_nanos(1))
            .take_while(|at| *at <= to)
            .collect();
        checks += 1;
        if expected != ours {
            found.push(format!("{name}, `{text}`, {from} to {to}:\n  {expected:?}\n  {ours:?}"));
        }
    }
    checks
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Changes of the offset from 2025 to 2037, to the minute before.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let (first, last): (Timestamp, Timestamp) =
        ("2025-01-01T00:00:00Z".parse().unwrap(), "2038-01-01T00:00:00Z".parse().unwrap());
    let mut offset = zone.to_offset(first);
    let mut all = Vec::new();
    for change in zone.following(first) {
        if change.timestamp() >= last {
            break;
        }
        if change.offset() != offset {
            offset = change.offset();
            all.push(change.timestamp());
        }
    }
    all
}

#[test]
fn zones_of_every_kind_agree_with_a_walk_through_real_time() {
    let mut found = Vec::new();
    let names = [
        "Europe/Bucharest",
        "America/New_York",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Africa/Cairo",
        "America/Havana",
        "Asia/Beirut",
        "Atlantic/Azores",
        "Antarctica/Troll",
        "America/Nuuk",
        "Asia/Kathmandu",
        "UTC",
    ];
    for name in names {
        let zone = zone(name);
        let changes = changes(&zone);
        for change in changes.iter().take(4) {
            let hours = SignedDuration::from_hours(6);
            differences(&zone, name, *change - hours, *change + hours, &mut found);
        }
        let plain: Timestamp = "2026-06-10T00:00:00Z".parse().unwrap();
        differences(&zone, name, plain, plain + SignedDuration::from_hours(30), &mut found);
    }
    assert!(found.is_empty(), "{} differences, the first:\n{}", found.len(), found[0]);
}

/// `cargo xtask zones` sets it.
const EVERY_ZONE: &str = "BASCULE_EVERY_ZONE";

/// Zones that change at the same instants by the same amounts have the same occurrences there, so one of each kind is
/// enough, unless every one is asked for.
#[test]
fn all_zones_and_all_changes_until_2037_agree_with_a_walk_through_real_time() {
    let begun = std::time::Instant::now();
    let every = std::env::var_os(EVERY_ZONE).is_some();
    let mut found = Vec::new();
    let mut kinds = std::collections::BTreeSet::new();
    let (mut zones, mut with_changes, mut points, mut checks) = (0, 0, 0, 0);
    for name in jiff::tz::db().available() {
        let zone = zone(name.as_str());
        let changes = changes(&zone);
        zones += 1;
        with_changes += usize::from(!changes.is_empty());
        for change in changes {
            let offset = |at: Timestamp| zone.to_offset(at).seconds();
            let kind = (change, offset(change - SignedDuration::from_secs(1)), offset(change));
            if kinds.insert(kind) || every {
                let (before, behind) = (SignedDuration::from_mins(150), SignedDuration::from_mins(170));
                checks += differences(&zone, name.as_str(), change - before, change + behind, &mut found);
            }
            points += 1;
        }
    }
    println!(
        "{zones} zones, {with_changes} of them with changes, {points} changes, {} kinds of them, {checks} checks in {:?}",
        kinds.len(),
        begun.elapsed()
    );
    assert!(
        zones > 400 && points > 3_000 && checks > 10_000,
        "{zones} zones, {points} changes, {checks} checks"
    );
    assert!(found.is_empty(), "{} differences, the first:\n{}", found.len(), found[0]);
}

/// A file of occurrences that another program has found; `cargo xtask zones` has it written by Python's `zoneinfo`.
const ORACLE: &str = "BASCULE_ZONE_ORACLE";

#[test]
fn occurrences_that_another_program_has_found_are_ours() {
    let own = "Europe/Bucharest\t30 3 * * *\t1774738800\t1774753200\t1774746000\n";
    let text = match std::env::var_os(ORACLE) {
        Some(file) => std::fs::read_to_string(file).unwrap(),
        None => own.to_owned(),
    };
    let instant = |text: &str| Timestamp::from_second(text.parse().unwrap()).unwrap();
    let mut count = 0;
    for record in text.lines() {
        let [name, line, from, to, runs] = record.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let expected: Vec<Timestamp> = runs.split(',').filter(|run| !run.is_empty()).map(instant).collect();
        let (from, to) = (instant(from), instant(to));
        let ours: Vec<Timestamp> = Occurrences::new(line, zone(name))
            .unwrap()
            .after(from - SignedDuration::from_nanos(1))
            .take_while(|at| *at <= to)
            .collect();
        assert_eq!(ours, expected, "{name}, `{line}`, {from} to {to}");
        count += 1;
    }
    println!("{count} records agree");
}

#[test]
fn a_daily_run_in_the_gap_comes_right_after_it_and_one_in_the_overlap_once() {
    let next = |line: &str, after: &str, count: usize| -> Vec<String> {
        let zone = zone("Europe/Bucharest");
        let after: Timestamp = after.parse().unwrap();
        let occurrences = Occurrences::new(line, zone.clone()).unwrap();
        occurrences
            .after(after)
            .take(count)
            .map(|at| at.to_zoned(zone.clone()).strftime("%d %H:%M %:z").to_string())
            .collect()
    };
    // 29 March 2026, 03:00 -> 04:00.
    assert_eq!(next("30 3 * * *", "2026-03-28T12:00:00Z", 2), ["29 04:00 +03:00", "30 03:30 +03:00"]);
    assert_eq!(next("0,30 3 * * *", "2026-03-28T12:00:00Z", 2), ["29 04:00 +03:00", "30 03:00 +03:00"]);
    assert_eq!(
        next("30 3,4 * * *", "2026-03-28T12:00:00Z", 3),
        ["29 04:00 +03:00", "29 04:30 +03:00", "30 03:30 +03:00"]
    );
    assert_eq!(next("30 * * * *", "2026-03-29T00:00:00Z", 2), ["29 02:30 +02:00", "29 04:30 +03:00"]);
    // 25 October 2026, 04:00 -> 03:00.
    assert_eq!(next("30 3 * * *", "2026-10-24T12:00:00Z", 2), ["25 03:30 +03:00", "26 03:30 +02:00"]);
    assert_eq!(
        next("30 * * * *", "2026-10-25T00:00:00Z", 3),
        ["25 03:30 +03:00", "25 03:30 +02:00", "25 04:30 +02:00"]
    );
    // From inside the second of the two hours.
    assert_eq!(next("45 3 * * *", "2026-10-25T01:10:00Z", 1), ["26 03:45 +02:00"]);
}

#[test]
fn six_fields_have_seconds_and_a_line_that_never_comes_gives_nothing() {
    let after: Timestamp = "2026-11-21T03:00:00.25Z".parse().unwrap();
    let every = Occurrences::new("*/20 * * * * *", TimeZone::UTC).unwrap();
    let seconds: Vec<i8> = every.after(after).take(4).map(|at| at.to_zoned(TimeZone::UTC).second()).collect();
    assert_eq!(seconds, [20, 40, 0, 20]);
    for line in ["0 9 30 2 *", "* * 30 2 *"] {
        assert_eq!(Occurrences::new(line, zone("Europe/Bucharest")).unwrap().next_after(after), None);
    }
    assert!(Occurrences::new("61 * * * *", TimeZone::UTC).is_err());
}

#[test]
fn jitter_is_the_same_for_a_slot_and_spread_over_slots() {
    let jitter = std::time::Duration::from_secs(300);
    let slot = |number: i64| Timestamp::from_second(1_790_000_000 + number * 60).unwrap();
    let of = |number| jitter_of("export", "schedule-1", slot(number), jitter);
    assert_eq!(of(7), of(7));
    let all: std::collections::BTreeSet<_> = (0..100).map(of).collect();
    assert!(
        all.len() > 90
            && all.iter().all(|one| *one < SignedDuration::from_mins(5) && *one >= SignedDuration::ZERO)
    );
    assert_eq!(jitter_of("a", "b", slot(0), std::time::Duration::ZERO), SignedDuration::ZERO);
}
