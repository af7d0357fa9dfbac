//! What `docs/decisions/cron.md` rests on: croner's answers for New York in 2026, where clocks go from 02:00 to 03:00
//! on 8 March and from 02:00 back to 01:00 on 1 November.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use croner::Cron;
use jiff::Zoned;

/// The next occurrences of `pattern` after a local time in New York, as local times with their offset.
fn next(pattern: &str, after: &str, count: usize) -> Vec<String> {
    let cron: Cron = pattern.parse().unwrap();
    let after: Zoned = format!("{after}[America/New_York]").parse().unwrap();
    cron.iter_after(after)
        .take(count)
        .map(|time| time.strftime("%a %Y-%m-%d %H:%M %:z").to_string())
        .collect()
}

#[test]
fn one_is_monday_and_zero_and_seven_are_sunday() {
    assert_eq!(next("0 9 * * 1", "2026-06-01T12:00", 1), ["Mon 2026-06-08 09:00 -04:00"]);
    for sunday in ["0 9 * * 0", "0 9 * * 7", "0 9 * * SUN"] {
        assert_eq!(next(sunday, "2026-06-01T12:00", 1), ["Sun 2026-06-07 09:00 -04:00"], "{sunday}");
    }
}

#[test]
fn a_time_in_the_gap_runs_on_the_same_day_right_after_it() {
    assert_eq!(
        next("30 2 * * *", "2026-03-07T00:00", 3),
        ["Sat 2026-03-07 02:30 -05:00", "Sun 2026-03-08 03:00 -04:00", "Mon 2026-03-09 02:30 -04:00"]
    );
}

#[test]
fn a_time_before_the_gap_does_not_run_once_more_after_it() {
    assert_eq!(
        next("30 1 * * *", "2026-03-08T00:00", 2),
        ["Sun 2026-03-08 01:30 -05:00", "Mon 2026-03-09 01:30 -04:00"]
    );
}

#[test]
fn a_time_in_the_fold_runs_once_the_first_time_that_it_comes() {
    assert_eq!(
        next("30 1 * * *", "2026-10-31T12:00", 2),
        ["Sun 2026-11-01 01:30 -04:00", "Mon 2026-11-02 01:30 -05:00"]
    );
}

#[test]
fn an_interval_goes_on_through_the_fold_in_order() {
    assert_eq!(
        next("*/30 * * * *", "2026-11-01T00:45", 6),
        [
            "Sun 2026-11-01 01:00 -04:00",
            "Sun 2026-11-01 01:30 -04:00",
            "Sun 2026-11-01 01:00 -05:00",
            "Sun 2026-11-01 01:30 -05:00",
            "Sun 2026-11-01 02:00 -05:00",
            "Sun 2026-11-01 02:30 -05:00"
        ]
    );
}

#[test]
fn an_interval_goes_on_through_the_gap_in_order() {
    assert_eq!(
        next("*/30 * * * *", "2026-03-08T01:15", 3),
        ["Sun 2026-03-08 01:30 -05:00", "Sun 2026-03-08 03:00 -04:00", "Sun 2026-03-08 03:30 -04:00"]
    );
}

#[test]
fn day_of_month_and_weekday_are_alternatives_as_in_vixie_cron() {
    assert_eq!(
        next("0 9 13 * FRI", "2026-07-09T12:00", 3),
        ["Fri 2026-07-10 09:00 -04:00", "Mon 2026-07-13 09:00 -04:00", "Fri 2026-07-17 09:00 -04:00"]
    );
}

#[test]
fn the_last_day_and_the_second_friday_can_be_written() {
    assert_eq!(next("0 9 L * *", "2026-02-01T00:00", 1), ["Sat 2026-02-28 09:00 -05:00"]);
    assert_eq!(next("0 9 * * FRI#2", "2026-06-01T00:00", 1), ["Fri 2026-06-12 09:00 -04:00"]);
}

#[test]
fn a_date_that_never_comes_is_an_error_when_it_is_looked_for() {
    let cron: Cron = "0 9 30 2 *".parse().unwrap();
    let after: Zoned = "2026-01-01T00:00[America/New_York]".parse().unwrap();
    assert!(cron.find_next_occurrence(&after, false).is_err());
}
