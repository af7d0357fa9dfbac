#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bascule_sdk::testing::{Script, answer};

use super::*;
use crate::keep::doubles::Notes;

const SEARCH: &str = "POST /ISAPI/ContentMgmt/search";
const TIME: &str = "GET /ISAPI/System/time";
const CLOCK: &str = "<Time><timeMode>NTP</timeMode><localTime>2026-01-15T12:00:00+02:00</localTime><timeZone>CST-2:00:00</timeZone></Time>";
const BAD: &str = "<ResponseStatus><statusCode>6</statusCode><statusString>Invalid XML Content</statusString><subStatusCode>badXmlContent</subStatusCode></ResponseStatus>";

fn item(begin: &str, end: &str) -> String {
    format!(
        "<searchMatchItem><trackID>101</trackID><timeSpan><startTime>2026-01-15T{begin}Z</startTime><endTime>2026-01-15T{end}Z</endTime></timeSpan>\
         <mediaSegmentDescriptor><playbackURI>rtsp://1.2.3.4/Streaming/tracks/101/?name=n{begin}&amp;size=7</playbackURI></mediaSegmentDescriptor></searchMatchItem>"
    )
}

fn result(status: &str, items: &[(&str, &str)]) -> String {
    let items: String = items.iter().map(|(begin, end)| item(begin, end)).collect();
    format!(
        "<CMSearchResult><responseStatusStrg>{status}</responseStatusStrg><matchList>{items}</matchList></CMSearchResult>"
    )
}

/// A memory that knows the clock.
fn notes() -> Notes {
    let notes = Notes::default();
    notes.remember("clock/https://peer.test:443", &json!({ "z": "local", "zone": "CST-2:00:00" })).unwrap();
    notes
}

fn run(script: &Script, notes: &Notes) -> Result<Found, Error> {
    let wanted = Wanted {
        end: "2026-01-15T22:00:00Z".to_owned(),
        hours: Some(24),
        channels: Some(vec![1]),
        not_done: Some("gate".to_owned()),
        ..Wanted::default()
    };
    Searching::new(script, notes, "seed".to_owned()).run(&wanted)
}

#[test]
fn segments_carry_the_recorders_time_and_what_still_grows_is_left_out() {
    let page = result("OK", &[("08:00:00", "08:15:00"), ("11:50:00", "11:59:00")]);
    let script = Script::new().then(TIME, answer(200, CLOCK)).then(SEARCH, answer(200, page));
    let found = run(&script, &notes()).unwrap();
    assert!(script.body(1).contains("<startTime>2026-01-15T00:00:00Z</startTime>"), "{}", script.body(1));
    assert_eq!((found.segments.len(), found.growing, found.done), (1, 1, 0));
    let segment = &found.segments[0];
    assert_eq!(segment.id, "101-20260115T060000Z-n08_00_00");
    assert_eq!((segment.begin.as_str(), segment.bytes), ("2026-01-15T08:00:00+02:00", Some(7)));
    assert_eq!(
        (segment.day.as_str(), segment.stem.as_str()),
        ("2026-01-15", "20260115T080000-20260115T081500")
    );
}

#[test]
fn what_is_done_is_left_out() {
    let page = || answer(200, result("OK", &[("08:00:00", "08:15:00")]));
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, page())
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, page());
    let notes = notes();
    let found = run(&script, &notes).unwrap();
    mark_done(&notes, "gate", &found.segments[0].id, "a.ps", "2026-01-15T10:00:00Z").unwrap();
    let found = run(&script, &notes).unwrap();
    assert_eq!((found.segments.len(), found.done), (0, 1));
}

#[test]
fn the_forms_of_search_are_tried_in_order_and_the_one_that_works_is_remembered() {
    let page = || answer(200, result("NO MATCHES", &[]));
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, answer(400, BAD))
        .then(SEARCH, answer(200, BAD))
        .then(SEARCH, page())
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, page());
    let notes = notes();
    run(&script, &notes).unwrap();
    run(&script, &notes).unwrap();
    script.finish();
    assert!(
        script.body(3).contains("searchResultPosition") && script.body(5).contains("searchResultPosition")
    );
}

#[test]
fn a_recorder_that_takes_no_form_is_unsupported_and_a_busy_one_is_busy() {
    let mut script = Script::new().then(TIME, answer(200, CLOCK));
    for _ in DIALECTS {
        script = script.then(SEARCH, answer(400, BAD));
    }
    let error = run(&script, &notes()).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unsupported, Some("nvr:badXmlContent")));
    let script = Script::new().then(TIME, answer(200, CLOCK)).then(SEARCH, answer(503, ""));
    assert_eq!(run(&script, &notes()).unwrap_err().kind, ErrorKind::Busy);
}

#[test]
fn pages_follow_by_what_was_received_and_a_search_that_was_forgotten_gets_a_new_id() {
    let forgotten = "<ResponseStatus><statusCode>6</statusCode><subStatusCode>invalidSearchConditions</subStatusCode></ResponseStatus>";
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, answer(200, result("MORE", &[("01:00:00", "01:15:00"), ("02:00:00", "02:15:00")])))
        .then(SEARCH, answer(400, forgotten))
        .then(SEARCH, answer(200, result("OK", &[("03:00:00", "03:15:00")])));
    assert_eq!(run(&script, &notes()).unwrap().segments.len(), 3);
    assert!(script.body(2).contains("<searchResultPostion>2<"), "{}", script.body(2));
    let id = |place| script.body(place).split("searchID>").nth(1).map(str::to_owned);
    assert!(id(1) == id(2) && id(2) != id(3));
}

#[test]
fn a_page_that_comes_again_is_asked_for_with_the_other_spelling() {
    let first = || answer(200, result("MORE", &[("01:00:00", "01:15:00")]));
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, first())
        .then(SEARCH, first())
        .then(SEARCH, answer(200, result("OK", &[("02:00:00", "02:15:00")])));
    assert_eq!(run(&script, &notes()).unwrap().segments.len(), 2);
    assert!(script.body(3).contains("<searchResultPosition>1<"));
}

#[test]
fn a_recorder_without_positions_is_asked_anew_from_where_it_stopped() {
    let first = || answer(200, result("MORE", &[("01:00:00", "01:15:00"), ("02:00:00", "02:15:00")]));
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, first())
        .then(SEARCH, first())
        .then(SEARCH, first())
        .then(SEARCH, answer(200, result("MORE", &[("02:00:00", "02:15:00"), ("03:00:00", "03:15:00")])))
        .then(SEARCH, answer(200, result("OK", &[("03:00:00", "03:15:00"), ("04:00:00", "04:15:00")])));
    assert_eq!(run(&script, &notes()).unwrap().segments.len(), 4);
    assert!(script.body(4).contains("<startTime>2026-01-15T02:00:00Z"));
    assert!(script.body(5).contains("<startTime>2026-01-15T03:00:00Z"));
}

#[test]
fn a_search_that_never_ends_is_an_error_and_no_short_list() {
    let same = || answer(200, result("MORE", &[("01:00:00", "01:15:00")]));
    let mut script = Script::new().then(TIME, answer(200, CLOCK));
    for _ in 0..4 {
        script = script.then(SEARCH, same());
    }
    let error = run(&script, &notes()).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Protocol, Some("nvr:search-repeats")));
    script.finish();
}

#[test]
fn what_z_means_is_measured_once() {
    let newest = result("OK", &[("09:00:00", "09:59:00")]);
    let script = Script::new()
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, answer(200, newest))
        .then(SEARCH, answer(200, result("NO MATCHES", &[])))
        .then(TIME, answer(200, CLOCK))
        .then(SEARCH, answer(200, result("NO MATCHES", &[])));
    let notes = Notes::default();
    let found = run(&script, &notes).unwrap();
    assert!(found.clock.measured && found.clock.z == Meaning::Utc);
    // Asked in UTC from then on.
    assert!(script.body(2).contains("<startTime>2026-01-14T22:00:00Z"), "{}", script.body(2));
    assert!(run(&script, &notes).unwrap().clock.measured);
    script.finish();
}
