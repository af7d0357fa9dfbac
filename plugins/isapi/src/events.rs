//! What happened at a terminal: `AcsEvent` (`facts/isapi.md` 5.1).

use std::collections::{BTreeMap, BTreeSet};

use bascule_sdk::{Error, Peer};
use serde_json::json;

use crate::bindings::exports::bascule::isapi::events::Event;
use crate::civil;
use crate::notice;
use crate::scan::{self, Ended, Search};
use crate::users::search_id;

const SEARCH: Search<'static> = Search {
    path: "/ISAPI/AccessControl/AcsEvent",
    condition: "AcsEventCond",
    result: "AcsEvent",
    list: "InfoList",
    unit: "events",
};

/// What is looked for.
pub(crate) struct Wanted {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) employee_no: Option<String>,
    pub(crate) limit: Option<u32>,
    pub(crate) device: Option<String>,
}

pub(crate) fn search(terminal: &dyn Peer, wanted: &Wanted, seed: &str) -> Result<Vec<Event>, Error> {
    let read = |text: &str| {
        civil::instant(text).map(|(seconds, _)| seconds).ok_or_else(|| {
            Error::invalid_input(format!(
                "`{}` is not a time with offset, e.g. 2026-11-20T00:00:00+02:00",
                text.escape_debug()
            ))
        })
    };
    if read(&wanted.from)? > read(&wanted.to)? {
        return Err(Error::invalid_input("the period ends before it begins"));
    }
    let limit = wanted.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    // Terminals know no fractions of a second.
    let whole = |text: &str| match text.split_at_checked(19) {
        Some((core, rest)) => {
            let rest = rest
                .strip_prefix('.')
                .map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            format!("{core}{rest}")
        }
        None => text.to_owned(),
    };
    let (mut from, to) = (whole(&wanted.from), whole(&wanted.to));
    for round in 0.. {
        let mut conditions = json!({
            "major": wanted.major.unwrap_or(0), "minor": wanted.minor.unwrap_or(0), "startTime": from, "endTime": to,
        });
        if let Some(number) = &wanted.employee_no {
            conditions["employeeNoString"] = number.as_str().into();
        }
        // Two rows may be the same in everything; each of a round counts.
        let mut twins: BTreeMap<String, u32> = BTreeMap::new();
        let mut latest: Option<String> = None;
        let ended = scan::each(terminal, &SEARCH, &conditions, &search_id(seed, round), &mut |item| {
            let Some(mut event) = notice::of_row(item, wanted.device.as_deref()) else { return true };
            if latest.as_ref().is_none_or(|latest| *latest < event.time) {
                latest = Some(event.time.clone());
            }
            let twin = twins.entry(event.key.clone()).or_insert(0);
            *twin += 1;
            if *twin > 1 {
                event.key = format!("{}/{twin}", event.key);
            }
            let fits = wanted.major.is_none_or(|major| event.major == Some(major))
                && wanted.minor.is_none_or(|minor| event.minor == Some(minor))
                && wanted
                    .employee_no
                    .as_ref()
                    .is_none_or(|number| event.employee_no.as_ref() == Some(number));
            if fits && found.len() < limit && seen.insert(event.key.clone()) {
                found.push(event);
            }
            found.len() < limit
        })?;
        let Ended::Refused(refusal) = ended else { break };
        // It does not count beyond some position: go on from the last time seen, in the offset that was asked in.
        let offset = from.get(19..).filter(|offset| !offset.is_empty()).unwrap_or("Z").to_owned();
        let next = latest.map(|latest| match civil::instant(&latest) {
            Some(_) => latest,
            None => format!("{}{offset}", latest.replace(' ', "T")),
        });
        match next {
            Some(next) if read(&next).is_ok_and(|next| read(&from).is_ok_and(|from| next > from)) => {
                from = next
            }
            _ => return Err(refusal),
        }
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};
    use bascule_sdk::{ErrorKind, Response};
    use serde_json::Value;

    use super::*;

    const LINE: &str = "POST /ISAPI/AccessControl/AcsEvent?format=json";

    fn wanted() -> Wanted {
        Wanted {
            from: "2022-02-03T00:00:00+06:00".into(),
            to: "2022-02-03T23:59:59+06:00".into(),
            major: None,
            minor: None,
            employee_no: None,
            limit: None,
            device: None,
        }
    }

    fn page(status: &str, list: &Value) -> Response {
        let body = json!({ "AcsEvent": { "searchID": "1", "totalMatches": 101, "responseStatusStrg": status, "numOfMatches": list.as_array().map(Vec::len), "InfoList": list } });
        answer(200, body.to_string())
    }

    #[test]
    fn the_recorded_fields_are_read() {
        let list = json!([{
            "major": 5, "minor": 75, "time": "2022-02-03T14:49:19+06:00", "cardType": 1, "name": "Ana", "cardReaderNo": 1,
            "doorNo": 1, "employeeNoString": "17", "type": 0, "serialNo": 25, "userType": "normal",
            "currentVerifyMode": "cardOrFaceOrFp", "mask": "no", "attendanceStatus": "overTimeOut",
            "pictureURL": "http://192.168.1.64/LOCALS/pic/acsLinkCap/202202_00/03_144915_30076_0.jpeg@WEB000000000061",
        }, { "major": 5, "minor": 21, "time": "2022-02-03T14:49:20+06:00", "serialNo": 26, "doorNo": 1, "currentVerifyMode": "invalid" }]);
        let events = search(&Script::new().then(LINE, page("OK", &list)), &wanted(), "s").unwrap();
        assert_eq!((events[0].serial, events[0].what.as_deref()), (Some(25), Some("face accepted")));
        assert_eq!(
            (events[0].employee_no.as_deref(), events[0].attendance.as_deref()),
            (Some("17"), Some("overtimeOut"))
        );
        assert_eq!(
            events[0].picture_path.as_deref(),
            Some("/LOCALS/pic/acsLinkCap/202202_00/03_144915_30076_0.jpeg@WEB000000000061")
        );
        assert_eq!((events[1].employee_no.as_deref(), events[1].verify_mode.as_deref()), (None, None));
    }

    #[test]
    fn times_are_asked_for_in_whole_seconds() {
        let script = Script::new().then(LINE, page("NO MATCH", &json!([])));
        let fine = Wanted {
            from: "2022-02-03T00:00:00.123456Z".into(),
            to: "2022-02-04T00:00:00.5+06:00".into(),
            ..wanted()
        };
        assert!(search(&script, &fine, "s").unwrap().is_empty());
        let body = script.body(0);
        assert!(
            body.contains(r#""startTime":"2022-02-03T00:00:00Z""#)
                && body.contains(r#""endTime":"2022-02-04T00:00:00+06:00""#),
            "{body}"
        );
    }

    #[test]
    fn identical_rows_without_a_number_all_count() {
        let row = json!({ "major": 5, "minor": 75, "time": "2022-02-03 14:49:19", "employeeNoString": "17" });
        let events =
            search(&Script::new().then(LINE, page("OK", &json!([row, row]))), &wanted(), "s").unwrap();
        assert_eq!(events.len(), 2);
        assert_ne!(events[0].key, events[1].key);
    }

    #[test]
    fn a_terminal_that_counts_only_so_far_is_asked_again_from_there() {
        let row =
            |serial: u64, time: &str| json!({ "major": 5, "minor": 75, "time": time, "serialNo": serial });
        let first = json!([row(1, "2022-02-03T08:00:00+06:00"), row(2, "2022-02-03T09:00:00+06:00")]);
        let rest = json!([row(2, "2022-02-03T09:00:00+06:00"), row(3, "2022-02-03T10:00:00+06:00")]);
        let refusal = answer(
            400,
            r#"{"statusCode":6,"subStatusCode":"badJsonContent","errorMsg":"searchResultPosition"}"#,
        );
        let script =
            Script::new().then(LINE, page("MORE", &first)).then(LINE, refusal).then(LINE, page("OK", &rest));
        let serials: Vec<_> =
            search(&script, &wanted(), "s").unwrap().iter().map(|event| event.serial).collect();
        assert_eq!(serials, [Some(1), Some(2), Some(3)]);
        assert!(script.body(2).contains(r#""startTime":"2022-02-03T09:00:00+06:00""#));
    }

    #[test]
    fn the_same_page_again_and_a_period_without_offset_are_errors() {
        let list = json!([{ "major": 5, "minor": 75, "time": "2022-02-03T14:49:19+06:00", "serialNo": 1 }]);
        let script = Script::new().then(LINE, page("MORE", &list)).then(LINE, page("MORE", &list));
        assert_eq!(search(&script, &wanted(), "s").unwrap_err().kind, ErrorKind::Protocol);
        let local = Wanted { from: "2022-02-03T00:00:00".into(), ..wanted() };
        assert_eq!(search(&Script::new(), &local, "s").unwrap_err().kind, ErrorKind::InvalidInput);
    }
}
