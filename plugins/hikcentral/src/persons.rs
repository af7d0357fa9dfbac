//! Persons and organisations.

use bascule_sdk::json::text_of;
use bascule_sdk::{Effect, Error, ErrorKind, Peer, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikcentral::persons::{Changes, Details, Organisation, Person};
use crate::envelope::{self, after_write, not_so, one_id};

const ADD: &str = "resource/v1/person/single/add";
pub(crate) const UPDATE: &str = "resource/v1/person/single/update";
const DELETE: &str = "resource/v1/person/single/delete";
const BY_ID: &str = "resource/v1/person/personId/personInfo";
const BY_CODE: &str = "resource/v1/person/personCode/personInfo";

/// What an update has to repeat, because the platform clears what is left out.
const KEPT: [&str; 12] = [
    "personGivenName",
    "personFamilyName",
    "orgIndexCode",
    "gender",
    "phoneNo",
    "email",
    "remark",
    "cards",
    "beginTime",
    "endTime",
    "residentRoomNo",
    "residentFloorNo",
];

/// Adds somebody, with a photo in base64 where there is one, and looks again.
pub(crate) fn add(server: &dyn Peer, person: &Details, photo: Option<&str>) -> Result<Person, Error> {
    let mut body = fields(person)?;
    if let Some(photo) = photo {
        body.insert("faces".into(), json!([{ "faceData": photo }]));
    }
    let id = add_raw(server, body)?;
    let found = match by_id(server, &id) {
        Ok(found) => found,
        Err(error) if error.kind == ErrorKind::NotFound => {
            let details = json!({ "personId": id, "personCode": person.code });
            let message =
                format!("the platform said code 0 to adding a person, and person {id} is not there");
            return Err(not_so("not-stored", message, &details).effect(Effect::None));
        }
        Err(error) => return Err(after_write(error)),
    };
    if photo.is_some() && !found.has_photo {
        return Err(without_photo(&found.id).effect(Effect::Applied));
    }
    Ok(found)
}

/// Adds with these fields; the new id.
pub(crate) fn add_raw(server: &dyn Peer, body: Map<String, Value>) -> Result<String, Error> {
    let data = envelope::write(server, ADD, &Value::Object(body))?;
    let id = json::as_text(&data).or_else(|| json::field(&data, "personId").and_then(json::as_text));
    id.filter(|id| !id.is_empty()).ok_or_else(|| {
        Error::protocol("the platform's answer to adding a person has no id").effect(Effect::Unknown)
    })
}

/// Code 0, and no photo.
pub(crate) fn without_photo(id: &str) -> Error {
    not_so(
        "empty-picUri",
        format!("the platform said code 0, and person {id} has no photo: picUri is empty"),
        &json!({ "personId": id }),
    )
}

pub(crate) fn fields(person: &Details) -> Result<Map<String, Value>, Error> {
    let mut body = Map::new();
    body.insert("personGivenName".into(), person.given_name.as_str().into());
    body.insert("personFamilyName".into(), person.family_name.as_str().into());
    body.insert("orgIndexCode".into(), person.organisation.as_str().into());
    for (name, value) in [
        ("personCode", &person.code),
        ("phoneNo", &person.phone),
        ("email", &person.email),
        ("remark", &person.remark),
        ("beginTime", &person.begin),
        ("endTime", &person.end),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), value.as_str().into());
        }
    }
    if let Some(gender) = &person.gender {
        body.insert("gender".into(), number_of(gender)?.into());
    }
    if let Some(cards) = &person.cards {
        body.insert("cards".into(), numbered(cards));
    }
    Ok(body)
}

/// Reads the whole record, sends it back with the changes, and looks again.
pub(crate) fn update(server: &dyn Peer, id: &str, changes: &Changes) -> Result<Person, Error> {
    let mut changed = Map::new();
    for (name, value) in [
        ("personGivenName", &changes.given_name),
        ("personFamilyName", &changes.family_name),
        ("orgIndexCode", &changes.organisation),
        ("phoneNo", &changes.phone),
        ("email", &changes.email),
        ("remark", &changes.remark),
        ("beginTime", &changes.begin),
        ("endTime", &changes.end),
    ] {
        if let Some(value) = value {
            changed.insert(name.into(), value.as_str().into());
        }
    }
    if let Some(gender) = &changes.gender {
        changed.insert("gender".into(), number_of(gender)?.into());
    }
    if let Some(cards) = &changes.cards {
        changed.insert("cards".into(), numbered(cards));
    }
    let mut body = whole(&raw(server, id)?, id);
    body.extend(changed.clone());
    envelope::write(server, UPDATE, &Value::Object(body))?;
    let after = raw(server, id).map_err(after_write)?;
    // Dates and cards may come back in another form; texts may not.
    for (name, value) in changed {
        let is_date = name.ends_with("Time");
        if let Value::String(sent) = value
            && !is_date
            && text_of(&after, &name) != sent
        {
            let message =
                format!("the platform said code 0, and `{name}` of person {id} is not what was sent");
            return Err(not_so("not-stored", message, &json!({ "personId": id, "field": name })));
        }
    }
    Ok(person(&after))
}

/// The record of an update that changes nothing.
pub(crate) fn whole(record: &Value, id: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("personId".into(), id.into());
    for name in KEPT {
        if let Some(value) = json::field(record, name) {
            body.insert(name.into(), value.clone());
        }
    }
    body
}

pub(crate) fn delete(server: &dyn Peer, id: &str) -> Result<(), Error> {
    one_id(id, "id")?;
    envelope::write(server, DELETE, &json!({ "personId": id })).map(drop)
}

pub(crate) fn by_id(server: &dyn Peer, id: &str) -> Result<Person, Error> {
    raw(server, id).map(|record| person(&record))
}

/// PersonInfo as the platform sends it.
pub(crate) fn raw(server: &dyn Peer, id: &str) -> Result<Value, Error> {
    one_id(id, "id")?;
    found(envelope::read(server, BY_ID, &json!({ "personId": id }))?, "personId", id)
}

pub(crate) fn by_code(server: &dyn Peer, code: &str) -> Result<Person, Error> {
    one_id(code, "code")?;
    let record = found(envelope::read(server, BY_CODE, &json!({ "personCode": code }))?, "personCode", code)?;
    Ok(person(&record))
}

/// Nothing found may also be code 0 with an empty `data`.
fn found(record: Value, key: &str, value: &str) -> Result<Value, Error> {
    if !record.is_object() || text_of(&record, "personId").is_empty() {
        return Err(Error::not_found(format!(
            "the platform has no person with {key} `{}`",
            value.escape_debug()
        )));
    }
    if text_of(&record, key) != value {
        return Err(Error::protocol(format!(
            "asked for {key} `{}`, the platform sent another person",
            value.escape_debug()
        )));
    }
    Ok(record)
}

pub(crate) fn list(
    server: &dyn Peer,
    name: Option<&str>,
    organisation: Option<&str>,
    limit: Option<u32>,
) -> Result<Vec<Person>, Error> {
    let mut body = Map::new();
    if let Some(name) = name {
        body.insert("personName".into(), name.into());
    }
    if let Some(organisation) = organisation {
        body.insert("orgIndexCode".into(), organisation.into());
    }
    let plain = body.is_empty();
    let path = if plain { "resource/v1/person/personList" } else { "resource/v1/person/advance/personList" };
    // The organisation filter is undocumented: where it is ignored, it is applied here.
    let asked = if organisation.is_some() { None } else { limit };
    let rows = envelope::pages(server, path, &Value::Object(body), asked)?;
    let mut persons: Vec<Person> = rows.iter().map(person).collect();
    if let Some(organisation) = organisation {
        persons.retain(|person| person.organisation == organisation);
    }
    if let Some(limit) = limit {
        persons.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(persons)
}

pub(crate) fn organisations(server: &dyn Peer, name: Option<&str>) -> Result<Vec<Organisation>, Error> {
    let (path, body) = match name {
        None => ("resource/v1/org/orgList", json!({})),
        Some(name) => ("resource/v1/org/advance/orgList", json!({ "orgName": name })),
    };
    let rows = envelope::pages(server, path, &body, None)?;
    Ok(rows
        .iter()
        .map(|row| Organisation {
            id: text_of(row, "orgIndexCode"),
            name: text_of(row, "orgName"),
            parent: text_of(row, "parentOrgIndexCode"),
        })
        .collect())
}

fn person(record: &Value) -> Person {
    let picture = pic_uri(record);
    let cards = json::items(json::field(record, "cards"));
    Person {
        id: text_of(record, "personId"),
        code: text_of(record, "personCode"),
        name: text_of(record, "personName"),
        given_name: text_of(record, "personGivenName"),
        family_name: text_of(record, "personFamilyName"),
        organisation: text_of(record, "orgIndexCode"),
        phone: text_of(record, "phoneNo"),
        email: text_of(record, "email"),
        remark: text_of(record, "remark"),
        cards: cards
            .into_iter()
            .map(|card| text_of(card, "cardNo"))
            .filter(|number| !number.is_empty())
            .collect(),
        begin: text_of(record, "beginTime"),
        end: text_of(record, "endTime"),
        has_photo: picture.is_some(),
        picture,
    }
}

/// `picUri`, on 3.1.1 also `picBigUri`; empty means that there is no photo.
pub(crate) fn pic_uri(record: &Value) -> Option<String> {
    let photo = json::field(record, "personPhoto")?;
    ["picUri", "picBigUri"].into_iter().map(|name| text_of(photo, name)).find(|uri| !uri.trim().is_empty())
}

fn numbered(cards: &[String]) -> Value {
    cards.iter().map(|number| json!({ "cardNo": number })).collect()
}

fn number_of(gender: &str) -> Result<u8, Error> {
    match gender.to_ascii_lowercase().as_str() {
        "unknown" | "0" => Ok(0),
        "male" | "1" => Ok(1),
        "female" | "2" => Ok(2),
        _ => Err(Error::invalid_input(format!(
            "`gender` is `unknown`, `male` or `female`, this is `{}`",
            gender.escape_debug()
        ))),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE_ADD: &str = "POST /artemis/api/resource/v1/person/single/add";
    const LINE_UPDATE: &str = "POST /artemis/api/resource/v1/person/single/update";
    const LINE_ID: &str = "POST /artemis/api/resource/v1/person/personId/personInfo";

    fn ana() -> Details {
        Details {
            given_name: "Ana".into(),
            family_name: "Exemplu".into(),
            organisation: "1".into(),
            code: Some("V1001".into()),
            gender: Some("female".into()),
            phone: None,
            email: None,
            remark: None,
            cards: Some(vec!["998877".into()]),
            begin: Some("2026-01-01T00:00:00-03:00".into()),
            end: None,
        }
    }

    /// The fields of facts A5, with another person in them.
    fn info(uri: &str) -> String {
        json!({ "code": "0", "msg": "Success", "data": {
            "personId": "1150", "personCode": "V1001", "personName": "Ana Exemplu", "personGivenName": "Ana",
            "personFamilyName": "Exemplu", "gender": 2, "orgIndexCode": "1", "phoneNo": "0700", "email": "", "remark": "vip",
            "cards": [{ "cardNo": "998877" }], "fingerPrint": [], "personPhoto": { "picUri": uri },
            "beginTime": "2026-01-01T00:00:00-03:00", "endTime": "2036-01-01T00:00:00-03:00", "customFieldList": [],
        } }).to_string()
    }

    const ADDED: &str = r#"{"code":"0","msg":"Success","data":"1150"}"#;
    const DONE: &str = r#"{"code":"0","msg":"Success","data":""}"#;
    const GONE: &str = r#"{"code":"128","msg":"The resource does not exist.","data":""}"#;

    #[test]
    fn adding_sends_the_guides_fields_and_looks_again() {
        let script = Script::new().then(LINE_ADD, answer(200, ADDED)).then(LINE_ID, answer(200, info("")));
        let person = add(&script, &ana(), None).unwrap();
        assert_eq!((person.id.as_str(), person.has_photo, person.cards.len()), ("1150", false, 1));
        assert_eq!(
            script.body(0),
            r#"{"personGivenName":"Ana","personFamilyName":"Exemplu","orgIndexCode":"1","personCode":"V1001","beginTime":"2026-01-01T00:00:00-03:00","gender":2,"cards":[{"cardNo":"998877"}]}"#
        );
        script.finish();
    }

    #[test]
    fn a_person_that_is_not_there_after_code_0_is_said() {
        let script = Script::new().then(LINE_ADD, answer(200, ADDED)).then(LINE_ID, answer(200, GONE));
        let error = add(&script, &ana(), None).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikcentral:not-stored"))
        );
    }

    #[test]
    fn a_photo_that_is_not_there_after_code_0_is_said_and_the_person_counts_as_added() {
        let script = Script::new().then(LINE_ADD, answer(200, ADDED)).then(LINE_ID, answer(200, info("")));
        let error = add(&script, &ana(), Some("/9j/")).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikcentral:empty-picUri"))
        );
        assert_eq!(error.effect, Effect::Applied);
        assert!(script.body(0).ends_with(r#""faces":[{"faceData":"/9j/"}]}"#));
    }

    #[test]
    fn an_update_repeats_what_it_does_not_change() {
        let changes = Changes {
            remark: Some("new".into()),
            end: Some("2027-01-01T00:00:00-03:00".into()),
            given_name: None,
            family_name: None,
            organisation: None,
            gender: None,
            phone: None,
            email: None,
            cards: None,
            begin: None,
        };
        let script = Script::new()
            .then(LINE_ID, answer(200, info("u")))
            .then(LINE_UPDATE, answer(200, DONE))
            .then(LINE_ID, answer(200, info("u").replace("vip", "new")));
        update(&script, "1150", &changes).unwrap();
        let sent: Value = serde_json::from_str(&script.body(1)).unwrap();
        assert_eq!(
            (&sent["remark"], &sent["phoneNo"], &sent["cards"][0]["cardNo"]),
            (&json!("new"), &json!("0700"), &json!("998877"))
        );
        assert_eq!(
            (&sent["endTime"], &sent["beginTime"]),
            (&json!("2027-01-01T00:00:00-03:00"), &json!("2026-01-01T00:00:00-03:00"))
        );

        let script = Script::new()
            .then(LINE_ID, answer(200, info("u")))
            .then(LINE_UPDATE, answer(200, DONE))
            .then(LINE_ID, answer(200, info("u")));
        let error = update(&script, "1150", &changes).unwrap_err();
        assert_eq!(error.code.as_deref(), Some("hikcentral:not-stored"));
    }

    #[test]
    fn nobody_is_deleted_by_an_empty_id_and_nobody_found_is_not_found() {
        assert_eq!(delete(&Script::new(), " ").unwrap_err().kind, ErrorKind::InvalidInput);
        assert_eq!(delete(&Script::new(), "1,2").unwrap_err().kind, ErrorKind::InvalidInput);
        for body in [GONE, r#"{"code":"0","msg":"Success","data":""}"#] {
            let error = by_id(&Script::new().then(LINE_ID, answer(200, body)), "9").unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFound, "{body}");
        }
        let error = by_id(&Script::new().then(LINE_ID, answer(200, info(""))), "9").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
    }

    #[test]
    fn an_existing_code_is_a_conflict() {
        let script = Script::new()
            .then(LINE_ADD, answer(200, r#"{"code":"131","msg":"The resource already exists.","data":""}"#));
        let error = add(&script, &ana(), None).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Conflict, Effect::None));
    }
}
