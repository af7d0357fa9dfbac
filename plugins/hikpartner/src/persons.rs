//! Persons on the platform; no device hears of them here.

use bascule_sdk::json::text_of;
use bascule_sdk::{Error, ErrorKind, Peer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikpartner::persons::{Changes, Details, Kind, Written};
use crate::bindings::exports::bascule::hikpartner::privileges::State;
use crate::envelope::{self, not_so, one_id};
use crate::privileges;

/// The most bytes of a photo.
const MAX_PHOTO: usize = 204_800;

/// A photo as the platform takes it: base64 of a JPEG.
pub(crate) fn encoded(photo: &[u8]) -> Result<String, Error> {
    if photo.is_empty() || photo.len() > MAX_PHOTO {
        return Err(Error::invalid_input(format!(
            "the photo has {} bytes; it must have 1 to {MAX_PHOTO}",
            photo.len()
        )));
    }
    if !photo.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Err(Error::invalid_input("the photo is not a JPEG"));
    }
    Ok(STANDARD.encode(photo))
}

pub(crate) fn add(server: &dyn Peer, person: &Details, photo: Option<&str>) -> Result<Written, Error> {
    let mut body = fields(&Changes {
        employee_no: Some(person.employee_no.clone()),
        given_name: Some(person.given_name.clone()),
        family_name: Some(person.family_name.clone()),
        kind: Some(person.kind.unwrap_or(Kind::Employee)),
        email: person.email.clone(),
        phone: person.phone.clone(),
        card_no: person.card_no.clone(),
    })?;
    if let Some(photo) = photo {
        body.insert("facePicture".into(), photo.into());
    }
    let data = envelope::write(server, "v1/person/add", &Value::Object(body))?;
    let id = text_of(&data, "personId");
    if id.is_empty() {
        let message = format!("the platform said 0 to employee {}, and gave no personId", person.employee_no);
        return Err(not_so("no-person-id", message, &json!({ "employeeNo": person.employee_no })));
    }
    Ok(Written { id })
}

pub(crate) fn update(
    server: &dyn Peer,
    id: &str,
    changes: &Changes,
    photo: Option<&str>,
) -> Result<(), Error> {
    one_id(id, "id")?;
    let mut body = fields(changes)?;
    if let Some(photo) = photo {
        body.insert("facePicture".into(), photo.into());
    }
    if body.is_empty() {
        return Err(Error::invalid_input("`changes` is empty: there is nothing to change"));
    }
    body.insert("personId".into(), id.into());
    envelope::write(server, "v1/person/update", &Value::Object(body)).map(drop)
}

pub(crate) fn delete(server: &dyn Peer, id: &str) -> Result<(), Error> {
    one_id(id, "id")?;
    let held = match privileges::status(server, &[id.to_owned()]) {
        Ok(held) => held,
        // Whoever the platform does not know has no doors.
        Err(error) if error.kind == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    // Of what failed, nothing may have reached the device, or part of it.
    let mut doors: Vec<&str> = held
        .iter()
        .filter(|one| one.person == id && one.state != State::Unknown)
        .map(|one| one.device.as_str())
        .collect();
    doors.sort_unstable();
    doors.dedup();
    if !doors.is_empty() {
        let message = format!(
            "person {id} is still on {} and would stay there: take the privileges away first",
            doors.join(", ")
        );
        return Err(Error::conflict(message)
            .code("hikpartner:still-on-doors")
            .details(&json!({ "personId": id, "devices": doors })));
    }
    envelope::write(server, "v1/person/delete", &json!({ "personIds": [id] })).map(drop)
}

/// The platform's names and limits (facts B2).
fn fields(person: &Changes) -> Result<Map<String, Value>, Error> {
    let refuse = |what: &str| Err(Error::invalid_input(what.to_owned()));
    let mut body = Map::new();
    if let Some(number) = &person.employee_no {
        if number.is_empty() || number.len() > 32 || !number.chars().all(|c| c.is_ascii_alphanumeric()) {
            return refuse("`employee-no` has 1 to 32 letters and digits");
        }
        body.insert("employeeNo".into(), number.as_str().into());
    }
    if let Some(kind) = person.kind {
        body.insert("type".into(), number_of(kind).into());
    }
    for (name, said, value) in
        [("familyName", "family-name", &person.family_name), ("givenName", "given-name", &person.given_name)]
    {
        let Some(value) = value else { continue };
        if value.trim().is_empty() || value.chars().count() > 32 {
            return refuse(&format!("`{said}` has 1 to 32 characters"));
        }
        body.insert(name.into(), value.as_str().into());
    }
    for (name, value) in [("email", &person.email), ("phone", &person.phone)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            body.insert(name.into(), value.as_str().into());
        }
    }
    if let Some(card) = person.card_no.as_ref().filter(|card| !card.is_empty()) {
        if card.len() > 20 || !card.chars().all(|c| c.is_ascii_digit()) {
            return refuse("`card-no` has 1 to 20 digits");
        }
        body.insert("cardNo".into(), card.as_str().into());
    }
    Ok(body)
}

fn number_of(kind: Kind) -> u8 {
    match kind {
        Kind::Employee => 0,
        Kind::Temporary => 1,
        Kind::Visitor => 2,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::Effect;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE_ADD: &str = "POST /api/hpcgw/v1/person/add";
    const LINE_STATUS: &str = "POST /api/hpcgw/v1/acs/privilege/status";
    const DONE: &str = r#"{"errorCode":"0"}"#;

    fn ana() -> Details {
        Details {
            employee_no: "G1001".into(),
            given_name: "Ana".into(),
            family_name: "Exemplu".into(),
            kind: None,
            email: Some(String::new()),
            phone: Some("0700".into()),
            card_no: Some("998877".into()),
        }
    }

    #[test]
    fn a_person_is_sent_with_the_guides_field_names() {
        let added = answer(200, r#"{"data":{"personId":"5d41402a"},"errorCode":"0"}"#);
        let script = Script::new().then(LINE_ADD, added);
        assert_eq!(add(&script, &ana(), Some("/9j/")).unwrap().id, "5d41402a");
        // familyName, givenName, facePicture: not name, gender, pictures (facts B6).
        assert_eq!(
            script.body(0),
            r#"{"employeeNo":"G1001","type":0,"familyName":"Exemplu","givenName":"Ana","phone":"0700","cardNo":"998877","facePicture":"/9j/"}"#
        );
    }

    #[test]
    fn success_without_an_id_is_a_failure() {
        for body in [DONE, r#"{"data":{},"errorCode":"0"}"#, r#"{"data":{"personId":""},"errorCode":"0"}"#] {
            let error = add(&Script::new().then(LINE_ADD, answer(200, body)), &ana(), None).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref(), error.effect),
                (ErrorKind::VerificationFailed, Some("hikpartner:no-person-id"), Effect::Unknown)
            );
        }
    }

    #[test]
    fn values_that_the_platform_would_refuse_are_not_sent() {
        let with = |change: fn(&mut Details)| {
            let mut person = ana();
            change(&mut person);
            add(&Script::new(), &person, None).unwrap_err().kind
        };
        assert_eq!(with(|person| person.employee_no = "G-1".into()), ErrorKind::InvalidInput);
        assert_eq!(with(|person| person.employee_no = String::new()), ErrorKind::InvalidInput);
        assert_eq!(with(|person| person.given_name = " ".into()), ErrorKind::InvalidInput);
        assert_eq!(with(|person| person.family_name = "x".repeat(33)), ErrorKind::InvalidInput);
        assert_eq!(with(|person| person.card_no = Some("12AB".into())), ErrorKind::InvalidInput);
        for photo in [&b""[..], b"GIF89a", &vec![0xFF; MAX_PHOTO + 1]] {
            assert_eq!(encoded(photo).unwrap_err().kind, ErrorKind::InvalidInput);
        }
        assert_eq!(encoded(&[0xFF, 0xD8, 0xFF, 0xE0]).unwrap(), "/9j/4A==");
        let nothing = Changes {
            employee_no: None,
            given_name: None,
            family_name: None,
            kind: None,
            email: None,
            phone: None,
            card_no: None,
        };
        assert_eq!(update(&Script::new(), "p1", &nothing, None).unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn whoever_is_on_a_door_is_not_deleted() {
        let on = |status: u8| {
            json!({ "errorCode": "0", "data": { "personAuthorities": [{ "personId": "p1", "deviceLists": [{ "deviceSerial": "Q1", "status": status, "subStatus": 7 }] }] } }).to_string()
        };
        for status in [0, 1, 2] {
            let script = Script::new().then(LINE_STATUS, answer(200, on(status)));
            let error = delete(&script, "p1").unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref()),
                (ErrorKind::Conflict, Some("hikpartner:still-on-doors"))
            );
            script.finish();
        }
        for nowhere in
            [r#"{"errorCode":"0","data":{"personAuthorities":[]}}"#, r#"{"errorCode":"LAP000002"}"#]
        {
            let script = Script::new()
                .then(LINE_STATUS, answer(200, nowhere))
                .then("POST /api/hpcgw/v1/person/delete", answer(200, DONE));
            delete(&script, "p1").unwrap();
            assert_eq!(script.body(1), r#"{"personIds":["p1"]}"#);
        }
    }
}
