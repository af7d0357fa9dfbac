//! One event, however a terminal tells it: as a row of its log, as JSON or XML on a stream or in a push
//! (`facts/isapi.md` 5.1, 5.3).

use bascule_sdk::json;
use bascule_sdk::xml::Element;
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::isapi::events::{Event, EventKind};
use crate::reply::path_of;
use crate::scan::{small, text};

/// A row of the log.
pub(crate) fn of_row(row: &Value, device: Option<&str>) -> Option<Event> {
    let (major, minor) = (small(row, "major")?, small(row, "minor")?);
    let mut event = access(row, &text(row, "time")?, Some(major), Some(minor));
    event.device = device.map(str::to_owned);
    Some(event)
}

/// A document of a stream or a push: an `EventNotificationAlert`, bare or below its own name, with the
/// `AccessControllerEvent` inside or spread out in it.
pub(crate) fn of_document(document: &Value, device: Option<&str>) -> Option<Event> {
    let alert = json::field(document, "EventNotificationAlert").unwrap_or(document);
    let time = text(alert, "dateTime").or_else(|| text(alert, "time"))?;
    let kind = text(alert, "eventType");
    let inner = json::field(alert, "AccessControllerEvent").filter(|inner| inner.is_object());
    if kind.is_none() && inner.is_none() {
        return None;
    }
    let told = kind.as_deref().unwrap_or("AccessControllerEvent");
    let state = text(alert, "eventState");
    let words = text(alert, "eventDescription");
    let mut event = if inner.is_some() || told.eq_ignore_ascii_case("AccessControllerEvent") {
        let fields = inner.unwrap_or(alert);
        let number = |one, other| small(fields, one).or_else(|| small(fields, other));
        access(fields, &time, number("majorEventType", "major"), number("subEventType", "minor"))
    } else {
        let is_idle = state.as_deref().is_some_and(|state| state.eq_ignore_ascii_case("inactive"));
        let says_heartbeat = |text: &str| text.eq_ignore_ascii_case("heartBeat");
        let heartbeat = says_heartbeat(told)
            || told.eq_ignore_ascii_case("videoloss") && is_idle
            || told.eq_ignore_ascii_case("other") && words.as_deref().is_some_and(says_heartbeat);
        Event {
            kind: if heartbeat { EventKind::Heartbeat } else { EventKind::Other },
            key: other_key(alert, told, &time),
            raw: (!heartbeat).then(|| alert.to_string()),
            what: words,
            ..blank(time)
        }
    };
    event.device = device.map(str::to_owned).or_else(|| text(alert, "macAddress"));
    event.type_ = Some(told.to_owned());
    event.state = state;
    Some(event)
}

/// XML as the JSON that the terminal might have sent: texts, maps, and lists where a name comes twice.
pub(crate) fn of_element(element: &Element) -> Value {
    if element.children.is_empty() {
        return Value::String(element.text.clone());
    }
    let mut map = Map::new();
    for child in &element.children {
        let value = of_element(child);
        match map.get_mut(&child.name) {
            None => drop(map.insert(child.name.clone(), value)),
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(map)
}

fn access(fields: &Value, time: &str, major: Option<u32>, minor: Option<u32>) -> Event {
    let serial =
        json::field(fields, "serialNo").and_then(json::as_integer).and_then(|n| u64::try_from(n).ok());
    let (employee_no, card_no) =
        (text(fields, "employeeNoString"), text(fields, "cardNo").filter(|number| number != "0"));
    let door = small(fields, "doorNo");
    let moment = moment(time);
    let key = match serial {
        Some(serial) => format!("{serial}/{moment}"),
        None => format!(
            "{moment}/{}/{}/{}/{}/{}",
            major.unwrap_or(0),
            minor.unwrap_or(0),
            employee_no.as_deref().unwrap_or_default(),
            card_no.as_deref().unwrap_or_default(),
            door.unwrap_or(0)
        ),
    };
    let numbers = major.zip(minor);
    Event {
        kind: EventKind::Access,
        serial,
        major,
        minor,
        what: numbers.and_then(|(major, minor)| words(major, minor)).map(str::to_owned),
        granted: numbers.and_then(|(major, minor)| granted(major, minor)),
        employee_no,
        name: text(fields, "name"),
        user_type: text(fields, "userType"),
        card_no,
        door,
        reader: small(fields, "cardReaderNo"),
        verify_mode: text(fields, "currentVerifyMode").filter(|mode| mode != "invalid"),
        attendance: text(fields, "attendanceStatus").filter(|status| status != "undefined").map(|status| {
            // The guide and the devices spell this one differently.
            if status.eq_ignore_ascii_case("overtimeOut") { "overtimeOut".to_owned() } else { status }
        }),
        mask: text(fields, "mask").filter(|mask| mask != "unknown"),
        picture_path: text(fields, "pictureURL").as_deref().and_then(path_of),
        current: json::field(fields, "currentEvent").and_then(json::as_truth),
        key,
        ..blank(time.to_owned())
    }
}

fn blank(time: String) -> Event {
    Event {
        kind: EventKind::Other,
        device: None,
        serial: None,
        time,
        major: None,
        minor: None,
        what: None,
        granted: None,
        employee_no: None,
        name: None,
        user_type: None,
        card_no: None,
        door: None,
        reader: None,
        verify_mode: None,
        attendance: None,
        mask: None,
        picture_path: None,
        pictures: Vec::new(),
        current: None,
        type_: None,
        state: None,
        raw: None,
        key: String::new(),
    }
}

/// The log writes the same moment as `2022-02-03 14:49:19` and the stream as `2022-02-03T14:49:19+06:00` on some models.
fn moment(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace(' ', "T")
}

fn other_key(alert: &Value, told: &str, time: &str) -> String {
    let channel = text(alert, "channelID").or_else(|| text(alert, "dynChannelID")).unwrap_or_default();
    let state = text(alert, "eventState").unwrap_or_default();
    let count = text(alert, "activePostCount").unwrap_or_default();
    format!("{}/{told}/{channel}/{state}/{count}", moment(time))
}

/// Whether somebody was let in or turned away, where it is one of the two.
fn granted(major: u32, minor: u32) -> Option<bool> {
    match (major, minor) {
        (5, 1 | 38 | 75 | 181) => Some(true),
        (5, 6 | 8 | 9 | 39 | 76 | 80 | 112 | 148 | 150) => Some(false),
        _ => None,
    }
}

fn words(major: u32, minor: u32) -> Option<&'static str> {
    Some(match (major, minor) {
        (5, 1) => "card accepted",
        (5, 6) => "no permission",
        (5, 8) => "expired",
        (5, 9) => "unknown card",
        (5, 21) => "door unlocked",
        (5, 22) => "door locked",
        (5, 23) => "exit button",
        (5, 25) => "door opened",
        (5, 26) => "door closed",
        (5, 38) => "fingerprint accepted",
        (5, 39) => "fingerprint mismatch",
        (5, 75) => "face accepted",
        (5, 76) => "face refused",
        (5, 80) => "face not recognised",
        (5, 104) => "nobody detected",
        (5, 112) => "person and identity do not match",
        (5, 148) => "too many passwords",
        (5, 150) => "wrong password",
        (5, 181) => "password accepted",
        (5, 214) => "unlocked",
        (2, 38) => "address conflict",
        (2, 39) => "network disconnected",
        (2, 1024) => "power on",
        (3, 80) => "local login",
        (3, 112) => "remote login",
        (3, 1024) => "door opened remotely",
        _ => return None,
    })
}

/// The record as the engine writes it, for a sink.
pub(crate) fn to_json(event: &Event) -> Value {
    let kind = match event.kind {
        EventKind::Access => "access",
        EventKind::Heartbeat => "heartbeat",
        EventKind::Other => "other",
    };
    let pictures: Vec<Value> = event
        .pictures
        .iter()
        .map(|one| json!({ "name": one.name, "bytes": one.bytes, "sha256": one.sha256, "file": one.file }))
        .collect();
    let raw: Value = event.raw.as_deref().and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    json!({
        "kind": kind, "device": event.device, "serial": event.serial, "time": event.time, "major": event.major,
        "minor": event.minor, "what": event.what, "granted": event.granted, "employee_no": event.employee_no,
        "name": event.name, "user_type": event.user_type, "card_no": event.card_no, "door": event.door,
        "reader": event.reader, "verify_mode": event.verify_mode, "attendance": event.attendance, "mask": event.mask,
        "picture_path": event.picture_path, "pictures": pictures, "current": event.current, "type": event.type_,
        "state": event.state, "raw": raw, "key": event.key,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::xml;

    use super::*;

    /// Verbatim from a DS-K1T341CMFW V3.3.8 but for what the fact sheet leaves out (5.3).
    const RECORDED: &str = r#"{"ipAddress":"192.168.1.64","portNo":80,"macAddress":"ac:b9:2f:00:00:01","channelID":1,"dateTime":"2026-08-02T10:15:30-04:00","activePostCount":1,"eventType":"AccessControllerEvent","eventState":"active","eventDescription":"Access Controller Event","AccessControllerEvent":{"deviceName":"Access Controller","majorEventType":5,"subEventType":75,"name":"Ana","employeeNoString":"17","currentVerifyMode":"cardOrFaceOrFp","attendanceStatus":"undefined","serialNo":30203}}"#;

    fn read(text: &str) -> Option<Event> {
        of_document(&serde_json::from_str(text).unwrap(), None)
    }

    #[test]
    fn the_recorded_event_is_read_as_it_stands() {
        let event = read(RECORDED).unwrap();
        assert_eq!((event.kind, event.serial), (EventKind::Access, Some(30_203)));
        assert_eq!((event.major, event.minor, event.granted), (Some(5), Some(75), Some(true)));
        assert_eq!((event.employee_no.as_deref(), event.name.as_deref()), (Some("17"), Some("Ana")));
        assert_eq!((event.attendance, event.current), (None, None));
        assert_eq!(event.device.as_deref(), Some("ac:b9:2f:00:00:01"));
        assert_eq!(event.key, "30203/2026-08-02T10:15:30");
        assert_eq!((event.state.as_deref(), event.raw), (Some("active"), None));
    }

    #[test]
    fn both_shapes_and_xml_give_the_same_event() {
        let bare = read(RECORDED).unwrap();
        assert_eq!(read(&format!("{{\"EventNotificationAlert\":{RECORDED}}}")).unwrap(), bare);
        let xml = "<EventNotificationAlert version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><ipAddress>192.168.1.64</ipAddress>\
            <macAddress>ac:b9:2f:00:00:01</macAddress><dateTime>2026-08-02T10:15:30-04:00</dateTime><eventType>AccessControllerEvent</eventType>\
            <eventState>active</eventState><AccessControllerEvent><majorEventType>5</majorEventType><subEventType>75</subEventType><name>Ana</name>\
            <employeeNoString>17</employeeNoString><currentVerifyMode>cardOrFaceOrFp</currentVerifyMode><serialNo>30203</serialNo>\
            </AccessControllerEvent></EventNotificationAlert>";
        let root = xml::parse(xml.as_bytes()).unwrap();
        assert_eq!(of_document(&of_element(&root), None).unwrap(), bare);
    }

    #[test]
    fn all_heartbeats_are_known_and_a_real_video_loss_is_none() {
        let alert = |kind: &str, state: &str, words: &str| json!({ "dateTime": "2026-08-02T10:15:30-04:00", "eventType": kind, "eventState": state, "eventDescription": words });
        for (value, kind) in [
            (alert("videoloss", "inactive", "videoloss alarm"), EventKind::Heartbeat),
            (alert("heartBeat", "active", ""), EventKind::Heartbeat),
            (alert("other", "active", "Heartbeat"), EventKind::Heartbeat),
            (alert("videoloss", "active", "videoloss alarm"), EventKind::Other),
            (alert("other", "active", "tamper"), EventKind::Other),
        ] {
            let event = of_document(&value, None).unwrap();
            assert_eq!(event.kind, kind, "{value}");
            assert_eq!(event.raw.is_some(), kind == EventKind::Other);
        }
        for text in
            ["{}", r#"{"dateTime":"2026-08-02T10:15:30-04:00"}"#, r#"{"eventType":"videoloss"}"#, "[]"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn log_and_stream_name_an_event_alike() {
        let row = json!({ "major": 5, "minor": 75, "time": "2026-08-02T10:15:30-04:00", "serialNo": 30203 });
        assert_eq!(of_row(&row, Some("gate")).unwrap().key, read(RECORDED).unwrap().key);
        // A model without numbers, whose log has no offset.
        let row = json!({ "major": 5, "minor": 75, "time": "2026-08-02 10:15:30", "employeeNoString": "17" });
        let told = json!({ "dateTime": "2026-08-02T10:15:30+03:00", "eventType": "AccessControllerEvent",
            "AccessControllerEvent": { "majorEventType": 5, "subEventType": 75, "employeeNoString": "17", "currentEvent": false } });
        let told = of_document(&told, Some("gate")).unwrap();
        assert_eq!(of_row(&row, Some("gate")).unwrap().key, told.key);
        assert_eq!((told.current, told.device.as_deref()), (Some(false), Some("gate")));
    }

    #[test]
    fn both_spellings_of_overtime_and_history_as_a_text_are_read() {
        for spelling in ["overtimeOut", "overTimeOut"] {
            let value = json!({ "dateTime": "2026-08-02T10:15:30-04:00", "eventType": "AccessControllerEvent",
                "AccessControllerEvent": { "majorEventType": "5", "subEventType": "1", "cardNo": "00058561930892349",
                    "attendanceStatus": spelling, "currentEvent": "false" } });
            let event = of_document(&value, None).unwrap();
            assert_eq!(event.attendance.as_deref(), Some("overtimeOut"));
            assert_eq!((event.card_no.as_deref(), event.current), (Some("00058561930892349"), Some(false)));
            assert_eq!((event.major, event.minor), (Some(5), Some(1)));
        }
    }
}
