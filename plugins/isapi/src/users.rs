//! The people on a terminal: searched page by page (`facts/isapi.md` 3.2).

use std::collections::BTreeSet;

use bascule_sdk::{Error, Peer, Request, call, json, log};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::isapi::users::{Counts, User, Validity};
use crate::reply::{self, Page, path_of};

/// What terminals accept as a page, and as a list of employee numbers.
const PAGE: usize = 30;
/// More than any terminal holds.
const MAX_USERS: u64 = 200_000;

pub(crate) struct Wanted {
    pub(crate) matching: Option<String>,
    pub(crate) employee_nos: Option<Vec<String>>,
    pub(crate) has_face: Option<bool>,
    pub(crate) limit: Option<u32>,
}

impl Wanted {
    /// Terminals ignore conditions that they do not know, so every one is checked again here.
    fn fits(&self, user: &User) -> bool {
        let text = self.matching.as_deref().map(str::to_lowercase);
        text.is_none_or(|text| {
            user.name.to_lowercase().contains(&text) || user.employee_no.to_lowercase().contains(&text)
        }) && self.employee_nos.as_ref().is_none_or(|numbers| numbers.contains(&user.employee_no))
            && self.has_face.is_none_or(|wanted| user.faces.is_none_or(|faces| (faces > 0) == wanted))
    }
}

/// Everyone that is wanted. `seed` makes the search ids of this call differ from those of others.
pub(crate) fn search(terminal: &dyn Peer, wanted: &Wanted, seed: &str) -> Result<Vec<User>, Error> {
    let limit = wanted.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Vec::new();
    let mut scan = |conditions: Value, index: usize| -> Result<bool, Error> {
        let id = search_id(seed, index);
        each_user(terminal, &conditions, &id, &mut |record| {
            let user = user(record);
            if found.len() < limit && wanted.fits(&user) {
                found.push(user);
            }
            found.len() < limit
        })?;
        Ok(found.len() < limit)
    };
    let mut conditions = json!({});
    if let Some(text) = &wanted.matching {
        conditions["fuzzySearch"] = text.as_str().into();
    }
    if let Some(has_face) = wanted.has_face {
        conditions["hasFace"] = has_face.into();
    }
    match &wanted.employee_nos {
        // To the terminal an empty list means everybody.
        Some(numbers) => {
            for (index, numbers) in numbers.chunks(PAGE).enumerate() {
                let mut conditions = conditions.clone();
                conditions["EmployeeNoList"] = list(numbers);
                if !scan(conditions, index)? {
                    break;
                }
            }
        }
        None => {
            scan(conditions, 0)?;
        }
    }
    Ok(found)
}

/// The person with exactly that number, with the terminal's own record.
pub(crate) fn get(terminal: &dyn Peer, employee_no: &str, seed: &str) -> Result<User, Error> {
    check_employee_no(employee_no)?;
    let numbers = [employee_no.to_owned()];
    let mut found = None;
    each_user(terminal, &json!({ "EmployeeNoList": list(&numbers) }), &search_id(seed, 0), &mut |record| {
        let mut user = user(record);
        if user.employee_no == employee_no {
            user.raw = Some(record.to_string());
            found = Some(user);
        }
        found.is_none()
    })?;
    found.ok_or_else(|| {
        Error::not_found(format!(
            "no person with employee number `{employee_no}` is enrolled on this terminal"
        ))
    })
}

/// Only the numbers, in the terminal's order.
pub(crate) fn employee_nos(
    terminal: &dyn Peer,
    has_face: Option<bool>,
    seed: &str,
) -> Result<Vec<String>, Error> {
    let wanted = Wanted { matching: None, employee_nos: None, has_face, limit: None };
    Ok(search(terminal, &wanted, seed)?.into_iter().map(|user| user.employee_no).collect())
}

pub(crate) fn count(terminal: &dyn Peer) -> Result<Counts, Error> {
    let request = Request::get("/ISAPI/AccessControl/UserInfo/Count").query("format", "json");
    let line = request.line();
    let document = reply::accept(&terminal.send(request)?, &line)?;
    let unexpected = || reply::unexpected(&line, "a UserInfoCount with userNumber");
    let value = document.json().ok_or_else(unexpected)?;
    let counts = json::field(value, "UserInfoCount").unwrap_or(value);
    Ok(Counts {
        users: small(counts, "userNumber").ok_or_else(unexpected)?,
        with_face: small(counts, "bindFaceUserNumber"),
        with_fingerprint: small(counts, "bindFingerprintUserNumber"),
        with_card: small(counts, "bindCardUserNumber"),
    })
}

/// An employee number that no terminal would take for something else.
pub(crate) fn check_employee_no(number: &str) -> Result<(), Error> {
    if number.trim().is_empty() {
        return Err(Error::invalid_input("the employee number is empty"));
    }
    if number.len() > 32 || number.chars().any(char::is_control) {
        return Err(Error::invalid_input(format!(
            "the employee number `{}` is longer than 32 bytes or has control characters",
            number.escape_debug()
        )));
    }
    Ok(())
}

/// Calls `visit` with each record until it says false or there are no more. Goes on by what was received, never by
/// what was asked for; a page that brings nobody new ends the search with an error.
fn each_user(
    terminal: &dyn Peer,
    conditions: &Value,
    search_id: &str,
    visit: &mut dyn FnMut(&Value) -> bool,
) -> Result<(), Error> {
    let mut received = 0_u64;
    let mut seen = BTreeSet::new();
    loop {
        let mut condition =
            json!({ "searchID": search_id, "searchResultPosition": received, "maxResults": PAGE });
        if let (Some(condition), Some(more)) = (condition.as_object_mut(), conditions.as_object()) {
            condition.extend(more.clone());
        }
        let request = Request::post("/ISAPI/AccessControl/UserInfo/Search")
            .query("format", "json")
            .json(&json!({ "UserInfoSearchCond": condition }));
        let line = request.line();
        let document = reply::accept(&terminal.send(request)?, &line)?;
        let value = document.json().ok_or_else(|| reply::unexpected(&line, "a UserInfoSearch"))?;
        let search = json::field(value, "UserInfoSearch")
            .ok_or_else(|| reply::unexpected(&line, "a UserInfoSearch"))?;
        let records = json::items(json::field(search, "UserInfo"));
        received += records.len() as u64;
        let page = Page::read(search, received);
        let mut news = false;
        for record in &records {
            let number = json::field(record, "employeeNo").and_then(json::as_text).unwrap_or_default();
            if !seen.insert(number) {
                continue;
            }
            news = true;
            if !visit(record) {
                return Ok(());
            }
        }
        if !page.more || records.is_empty() {
            return Ok(());
        }
        if !news || received > MAX_USERS {
            return Err(Error::protocol("the terminal sends the same page of people again and again"));
        }
        log::progress(received, page.total, "people");
    }
}

fn list(numbers: &[String]) -> Value {
    numbers.iter().map(|number| json!({ "employeeNo": number })).collect()
}

fn user(record: &Value) -> User {
    let text = |name: &str| json::field(record, name).and_then(json::as_text);
    User {
        employee_no: text("employeeNo").unwrap_or_default(),
        name: text("name").unwrap_or_default(),
        user_type: text("userType"),
        gender: text("gender"),
        valid: json::field(record, "Valid").map(|valid| Validity {
            enabled: json::field(valid, "enable").and_then(json::as_truth).unwrap_or(false),
            begin: json::field(valid, "beginTime").and_then(json::as_text),
            end: json::field(valid, "endTime").and_then(json::as_text),
            time_type: json::field(valid, "timeType").and_then(json::as_text),
        }),
        door_right: text("doorRight"),
        cards: small(record, "numOfCard"),
        fingerprints: small(record, "numOfFP"),
        faces: small(record, "numOfFace"),
        face_path: text("faceURL").as_deref().and_then(path_of),
        raw: None,
    }
}

fn small(value: &Value, name: &str) -> Option<u32> {
    json::field(value, name).and_then(json::as_integer).and_then(|number| u32::try_from(number).ok())
}

/// A seed that differs with every call, also with the retries of one: terminals cache a search under its id.
pub(crate) fn seed() -> String {
    format!("{}/{}/{}", call::idempotency_key(), call::attempt(), call::now())
}

/// A UUID-shaped id, the same for all pages of one scan (FNV-1a over the seed, twice).
pub(crate) fn search_id(seed: &str, index: usize) -> String {
    let half = |salt: u64| {
        let start = 0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = seed.bytes().chain(index.to_le_bytes());
        bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let digits = format!("{:016x}{:016x}", half(1), half(2));
    format!("{}-{}-4{}-8{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const SEARCH: &str = "POST /ISAPI/AccessControl/UserInfo/Search?format=json";

    fn page(status: &str, total: usize, numbers: std::ops::Range<usize>) -> bascule_sdk::Response {
        let users: Vec<Value> = numbers
            .clone()
            .map(|n| json!({ "employeeNo": n.to_string(), "name": format!("P{n}") }))
            .collect();
        let body = json!({ "UserInfoSearch": {
            "searchID": "1", "responseStatusStrg": status, "numOfMatches": numbers.len(), "totalMatches": total, "UserInfo": users,
        } });
        answer(200, body.to_string())
    }

    fn all() -> Wanted {
        Wanted { matching: None, employee_nos: None, has_face: None, limit: None }
    }

    fn position(script: &Script, index: usize) -> Value {
        let body: Value = serde_json::from_str(&script.body(index)).unwrap();
        body["UserInfoSearchCond"]["searchResultPosition"].clone()
    }

    #[test]
    fn the_recorded_paging_of_87_people_is_followed() {
        let script = Script::new()
            .then(SEARCH, page("MORE", 87, 0..30))
            .then(SEARCH, page("MORE", 87, 30..60))
            .then(SEARCH, page("OK", 87, 60..87));
        let users = search(&script, &all(), "s").unwrap();
        script.finish();
        assert_eq!(users.len(), 87);
        assert_eq!(
            [position(&script, 0), position(&script, 1), position(&script, 2)],
            [json!(0), json!(30), json!(60)]
        );
        let ids: BTreeSet<String> = (0..3)
            .map(|index| {
                serde_json::from_str::<Value>(&script.body(index)).unwrap()["UserInfoSearchCond"]["searchID"]
                    .to_string()
            })
            .collect();
        assert_eq!(ids.len(), 1, "one search id per scan");
    }

    #[test]
    fn a_short_page_moves_the_position_by_what_came() {
        let script = Script::new().then(SEARCH, page("MORE", 12, 0..10)).then(SEARCH, page("OK", 12, 10..12));
        assert_eq!(search(&script, &all(), "s").unwrap().len(), 12);
        assert_eq!(position(&script, 1), json!(10));
    }

    #[test]
    fn a_terminal_that_ignores_the_position_is_found_out() {
        let script =
            Script::new().then(SEARCH, page("MORE", 87, 0..30)).then(SEARCH, page("MORE", 87, 0..30));
        assert_eq!(search(&script, &all(), "s").unwrap_err().kind, ErrorKind::Protocol);
        script.finish();
    }

    #[test]
    fn an_empty_terminal_has_no_user_info_key() {
        let body = r#"{"UserInfoSearch":{"searchID":"1","responseStatusStrg":"NO MATCH","numOfMatches":0,"totalMatches":0}}"#;
        let script = Script::new().then(SEARCH, answer(200, body));
        assert_eq!(search(&script, &all(), "s").unwrap(), []);
    }

    #[test]
    fn an_empty_list_of_numbers_asks_nothing_and_finds_nobody() {
        let wanted = Wanted { employee_nos: Some(Vec::new()), ..all() };
        assert_eq!(search(&Script::new(), &wanted, "s").unwrap(), []);
    }

    #[test]
    fn many_numbers_are_asked_for_in_portions() {
        let numbers: Vec<String> = (0..31).map(|n| n.to_string()).collect();
        let script = Script::new().then(SEARCH, page("OK", 30, 0..30)).then(SEARCH, page("OK", 1, 30..31));
        let wanted = Wanted { employee_nos: Some(numbers), ..all() };
        assert_eq!(search(&script, &wanted, "s").unwrap().len(), 31);
        script.finish();
    }

    #[test]
    fn a_limit_ends_the_search() {
        let script = Script::new().then(SEARCH, page("MORE", 87, 0..30));
        assert_eq!(search(&script, &Wanted { limit: Some(7), ..all() }, "s").unwrap().len(), 7);
        script.finish();
    }

    #[test]
    fn get_compares_exactly_and_searches_on_when_the_filter_is_ignored() {
        let script = Script::new().then(SEARCH, page("MORE", 40, 0..30)).then(SEARCH, page("OK", 40, 30..40));
        assert_eq!(get(&script, "35", "s").unwrap().name, "P35");
        let script = Script::new().then(SEARCH, page("OK", 1, 7..8));
        let error = get(&script, "007", "s").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(get(&Script::new(), " ", "s").unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn numbers_written_as_texts_and_missing_keys_are_tolerated() {
        let body = json!({ "UserInfoSearch": { "responseSearchStatusStrg": "OK", "UserInfo": {
            "employeeNo": 1001, "name": "Ana", "Valid": { "enable": "true", "beginTime": "2026-01-01T00:00:00" },
            "doorRight": "1", "numOfFace": "1", "numOfCard": 0,
            "faceURL": "http://192.168.1.7:80/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010",
        } } });
        let user = get(&Script::new().then(SEARCH, answer(200, body.to_string())), "1001", "s").unwrap();
        assert_eq!((user.faces, user.cards, user.fingerprints), (Some(1), Some(0), None));
        assert!(user.valid.unwrap().enabled);
        assert_eq!(user.face_path.as_deref(), Some("/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010"));
        assert!(user.raw.unwrap().contains("doorRight"));
    }

    #[test]
    fn the_recorded_count_is_read() {
        let body = r#"{"UserInfoCount":{"userNumber":87,"bindFaceUserNumber":1,"bindFingerprintUserNumber":81,"bindCardUserNumber":0}}"#;
        let script =
            Script::new().then("GET /ISAPI/AccessControl/UserInfo/Count?format=json", answer(200, body));
        let counts = count(&script).unwrap();
        assert_eq!(
            (counts.users, counts.with_face, counts.with_fingerprint, counts.with_card),
            (87, Some(1), Some(81), Some(0))
        );
    }

    #[test]
    fn search_ids_are_uuids_and_differ() {
        let id = search_id("a", 0);
        assert_eq!(id.len(), 36);
        assert_eq!(id.chars().filter(|c| *c == '-').count(), 4);
        assert_ne!(id, search_id("b", 0));
        assert_ne!(id, search_id("a", 1));
        assert_eq!(id, search_id("a", 0));
    }
}
