//! One message of the queue, taken apart (facts B3): JSON or XML inside `alarmData`, which is a text or an object.

use std::collections::BTreeSet;

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Error, json};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::bindings::exports::bascule::hikpartner::messages::{CheckIn, Event};

/// What lets somebody in, by its number under major 5 (facts/isapi.md 5.1).
const PASSAGES: [(u32, &str); 4] = [(1, "card"), (38, "fingerprint"), (75, "face"), (181, "password")];

/// A message as it stands in `list`.
pub(crate) fn read(message: &Value) -> Event {
    let device = text_of(message, "deviceSerial");
    let alarm = json::field(message, "alarmData").cloned().unwrap_or(Value::Null);
    let parsed = match &alarm {
        Value::String(written) => serde_json::from_str(written.trim_start_matches('\u{FEFF}'))
            .ok()
            .filter(|value: &Value| value.is_object()),
        other => Some(other.clone()),
    };
    match (parsed, &alarm) {
        (Some(data), _) => of_json(device, &alarm, data),
        (None, Value::String(written)) => of_xml(device, written),
        (None, _) => of_json(device, &alarm, Value::Null),
    }
}

fn of_json(device: String, alarm: &Value, data: Value) -> Event {
    let inner = json::field(&data, "AccessControllerEvent").cloned().unwrap_or(Value::Null);
    let some = |name: &str| Some(text_of(&inner, name)).filter(|text| !text.is_empty());
    let device = if device.is_empty() { text_of(&data, "deviceSerial") } else { device };
    let at = text_of(&data, "dateTime");
    let serial =
        json::field(&inner, "serialNo").and_then(json::as_integer).and_then(|n| u64::try_from(n).ok());
    let id = match serial {
        Some(serial) if !at.is_empty() => format!("{device}/{serial}/{at}"),
        _ => digest(&device, &alarm.to_string()),
    };
    let picture = ["pictureURL", "visibleLightPicUrl", "thermalPicUrl"].into_iter().find_map(some);
    Event {
        id,
        kind: text_of(&data, "eventType"),
        at,
        state: text_of(&data, "eventState"),
        major: number_of(&inner, "majorEventType"),
        minor: number_of(&inner, "subEventType"),
        employee_no: some("employeeNoString"),
        name: some("name"),
        card_no: some("cardNo"),
        door: number_of(&inner, "doorNo"),
        reader: number_of(&inner, "cardReaderNo"),
        serial,
        attendance: some("attendanceStatus").filter(|status| status != "undefined"),
        verify_mode: some("currentVerifyMode"),
        picture,
        device,
        data: data.to_string(),
    }
}

fn of_xml(device: String, written: &str) -> Event {
    let device = if device.is_empty() { element(written, "deviceSerial") } else { device };
    Event {
        id: digest(&device, written),
        kind: element(written, "eventType"),
        at: element(written, "dateTime"),
        state: element(written, "eventState"),
        major: None,
        minor: None,
        employee_no: None,
        name: None,
        card_no: None,
        door: None,
        reader: None,
        serial: None,
        attendance: None,
        verify_mode: None,
        picture: None,
        device,
        data: Value::from(written).to_string(),
    }
}

/// The text of the first element of that name; these hold plain words and times only.
fn element(xml: &str, name: &str) -> String {
    let inside = xml
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")))
        .map(|(inside, _)| inside.trim());
    inside.filter(|inside| inside.len() <= 128 && !inside.contains('<')).unwrap_or_default().to_owned()
}

/// The same for the same content from the same device.
fn digest(device: &str, content: &str) -> String {
    let hash = Sha256::new().chain_update(device).chain_update([0]).chain_update(content).finalize();
    let short = hash.get(..16).unwrap_or_default();
    format!("{device}/{}", hex::encode(short))
}

/// The event as a value, with the names that a workflow sees.
pub(crate) fn value(event: &Event) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
    json!({
        "id": event.id, "kind": event.kind, "device": event.device, "at": event.at, "state": event.state,
        "major": event.major, "minor": event.minor, "employee_no": event.employee_no, "name": event.name,
        "card_no": event.card_no, "door": event.door, "reader": event.reader, "serial": event.serial,
        "attendance": event.attendance, "verify_mode": event.verify_mode, "picture": event.picture, "data": data,
    })
}

/// The messages of a push to a webhook (facts B4).
pub(crate) fn decode(push: &str) -> Result<Vec<Event>, Error> {
    let push: Value = json::parse(push, "push")?;
    match json::field(&push, "list") {
        Some(Value::Array(list)) => Ok(list.iter().map(read).collect()),
        _ => Err(Error::invalid_input("`push` is not the platform's: it has no `list`")),
    }
}

/// Passages of persons who were let in, each once.
pub(crate) fn check_ins(events: &str) -> Result<Vec<CheckIn>, Error> {
    let events: Vec<Value> = json::parse(events, "events")?;
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for event in &events {
        if !event.is_object() || text_of(event, "id").is_empty() {
            return Err(Error::invalid_input(
                "`events` has something that is no event of this plugin: it has no `id`",
            ));
        }
        if let Some(row) = check_in(event)
            && seen.insert(row.event_id.clone())
        {
            rows.push(row);
        }
    }
    Ok(rows)
}

fn check_in(event: &Value) -> Option<CheckIn> {
    let minor = number_of(event, "minor").filter(|_| number_of(event, "major") == Some(5))?;
    let (_, how) = PASSAGES.iter().find(|(known, _)| *known == minor)?;
    let employee_no = Some(text_of(event, "employee_no")).filter(|number| !number.is_empty())?;
    if text_of(event, "state") == "inactive" {
        return None;
    }
    let leaves = ["checkout", "breakout", "overtimeout"];
    let is_leaving = leaves.contains(&text_of(event, "attendance").to_ascii_lowercase().as_str());
    let mut details = Map::new();
    for name in ["door", "reader", "card_no", "name", "serial", "attendance", "verify_mode"] {
        if let Some(value) = json::field(event, name) {
            details.insert(name.to_owned(), value.clone());
        }
    }
    Some(CheckIn {
        event_id: text_of(event, "id"),
        event: if is_leaving { "check-out" } else { "check-in" }.to_owned(),
        status: (*how).to_owned(),
        occurred_at: Some(text_of(event, "at")).filter(|at| !at.is_empty()),
        device_serial: text_of(event, "device"),
        employee_no,
        details: Value::Object(details).to_string(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;

    use super::*;

    /// The fields of facts B3 (A.3.7), with an invented person.
    fn access(minor: u32, attendance: &str) -> Value {
        json!({
            "dateTime": "2026-11-21T08:00:03Z", "eventType": "AccessControllerEvent", "eventState": "active", "activePostCount": 1,
            "eventDescription": "Access Controller Event", "deviceSerial": "Q12345678", "channelID": 1,
            "AccessControllerEvent": {
                "majorEventType": 5, "subEventType": minor, "employeeNoString": "G1001", "name": "Ana Exemplu", "cardNo": "998877",
                "cardType": 1, "cardReaderNo": 1, "doorNo": 1, "serialNo": 30_203, "userType": "normal",
                "currentVerifyMode": "cardOrFace", "attendanceStatus": attendance, "mask": "no", "pictureURL": "ISAPI_FILES/1.jpg",
            },
        })
    }

    fn message(alarm: &Value) -> Value {
        json!({ "formatType": "JSON", "accountNumber": "a1", "deviceSerial": "Q12345678", "alarmData": alarm })
    }

    #[test]
    fn an_access_event_is_the_same_as_a_text_and_as_an_object() {
        let object = read(&message(&access(75, "undefined")));
        let written = read(&message(&access(75, "undefined").to_string().into()));
        assert_eq!(object, written);
        assert_eq!(object.id, "Q12345678/30203/2026-11-21T08:00:03Z");
        assert_eq!((object.major, object.minor, object.serial), (Some(5), Some(75), Some(30_203)));
        assert_eq!((object.employee_no.as_deref(), object.attendance.as_deref()), (Some("G1001"), None));
        assert_eq!(object.picture.as_deref(), Some("ISAPI_FILES/1.jpg"));
        let shown = value(&object);
        assert_eq!((&shown["employee_no"], &shown["data"]["channelID"]), (&json!("G1001"), &json!(1)));
    }

    #[test]
    fn an_xml_message_keeps_its_text_and_gives_its_kind() {
        let xml = "<?xml version=\"1.0\"?><EventNotificationAlert><dateTime>2026-11-21T08:00:03Z</dateTime><eventType>videoloss</eventType><eventState>active</eventState></EventNotificationAlert>";
        let raw = json!({ "formatType": "XML", "deviceSerial": "Q2", "alarmData": xml });
        let event = read(&raw);
        assert_eq!(
            (event.kind.as_str(), event.state.as_str(), event.device.as_str()),
            ("videoloss", "active", "Q2")
        );
        assert_eq!(event.data, Value::from(xml).to_string());
        assert_eq!(event.id, read(&raw).id);
        let later = json!({ "deviceSerial": "Q2", "alarmData": xml.replace(":03Z", ":04Z") });
        assert_ne!(event.id, read(&later).id);
    }

    #[test]
    fn whatever_stands_in_alarm_data_is_an_event() {
        for alarm in
            [json!(null), json!(""), json!("no"), json!("[1]"), json!(7), json!([]), json!("{\"eventType\":")]
        {
            let event = read(&message(&alarm));
            assert_eq!(event.device, "Q12345678", "{alarm}");
            assert!(event.id.starts_with("Q12345678/") && event.kind.is_empty(), "{alarm}");
        }
        let online =
            read(&message(&json!({ "eventType": "deviceonline", "dateTime": "2026-11-21T08:00:00Z" })));
        assert_eq!((online.kind.as_str(), online.major), ("deviceonline", None));
    }

    #[test]
    fn only_persons_who_were_let_in_become_rows_and_each_once() {
        let event = |minor, attendance: &str| value(&read(&message(&access(minor, attendance))));
        let rows = |events: &Value| check_ins(&events.to_string()).unwrap();
        let passed = rows(&json!([event(75, "undefined"), event(75, "undefined"), event(76, "undefined")]));
        assert_eq!(passed.len(), 1, "{passed:?}");
        let row = passed.first().unwrap();
        assert_eq!((row.event.as_str(), row.status.as_str()), ("check-in", "face"));
        assert_eq!(row.occurred_at.as_deref(), Some("2026-11-21T08:00:03Z"));
        assert_eq!(
            row.details,
            r#"{"door":1,"reader":1,"card_no":"998877","name":"Ana Exemplu","serial":30203,"verify_mode":"cardOrFace"}"#
        );
        // The device's own spelling and the guide's (facts/isapi.md 5.3).
        for leaving in ["checkOut", "breakOut", "overtimeOut", "overTimeOut"] {
            assert_eq!(rows(&json!([event(1, leaving)])).first().unwrap().event, "check-out", "{leaving}");
        }
        assert!(rows(&json!([event(21, "undefined"), event(9, "undefined")])).is_empty());
        for bad in ["{}", "1", "[1]", r#"[{"kind":"x"}]"#] {
            assert_eq!(check_ins(bad).unwrap_err().kind, ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn a_push_is_the_list_of_its_messages() {
        let push = json!({ "batchId": "b1", "list": [{ "messageId": "m1", "accountNumber": "a1", "deviceSerial": "Q12345678", "formatType": "JSON", "alarmData": access(75, "checkIn") }] });
        let events = decode(&push.to_string()).unwrap();
        assert_eq!(events.first().unwrap().attendance.as_deref(), Some("checkIn"));
        assert_eq!(decode("{}").unwrap_err().kind, ErrorKind::InvalidInput);
    }
}
