//! What the terminal says about an event, on its stream and to receivers (`facts/isapi.md 5.3`).

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp, tz};
use serde_json::{Map, Value, json};

use super::Device;
use super::answer::escaped;
use super::extras::Happening;
use crate::photo::Sketch;
use crate::quirks::Quirks;

/// The device's wall clock with its offset.
pub(super) fn local_time(quirks: &Quirks, at: Timestamp) -> String {
    let minutes = quirks.utc_offset_minutes;
    let shifted = at + SignedDuration::from_mins(i64::from(minutes));
    let local = shifted.to_zoned(tz::TimeZone::UTC).datetime();
    let sign = if minutes < 0 { '-' } else { '+' };
    format!(
        "{}{sign}{:02}:{:02}",
        local.strftime("%Y-%m-%dT%H:%M:%S"),
        minutes.abs() / 60,
        minutes.abs() % 60
    )
}

/// Whether it comes with a picture, and which: generated from its number, so that a judge can draw it again.
pub(super) fn picture(quirks: &Quirks, one: &Happening) -> Option<Bytes> {
    let of_a_person = one.major == 5 && one.employee_no.is_some();
    (quirks.events.pictures && of_a_person).then(|| photo(one.serial))
}

/// The picture of the event with that number.
pub(super) fn photo(serial: u64) -> Bytes {
    Sketch { width: 96, height: 128, ..Sketch::new(77_000 + serial) }.draw().into()
}

/// The document; `current` is whether it happens now.
pub(super) fn document(device: &Device, quirks: &Quirks, one: &Happening, current: bool) -> Value {
    let mut inner = Map::new();
    inner.insert("deviceName".to_owned(), device.name.clone().into());
    inner.insert("majorEventType".to_owned(), one.major.into());
    inner.insert("subEventType".to_owned(), one.minor.into());
    if let Some(number) = &one.employee_no {
        let name = device.library().user(number).map(|user| String::from_utf8_lossy(&user.name).into_owned());
        inner.insert("name".to_owned(), name.unwrap_or_default().into());
        inner.insert("employeeNoString".to_owned(), number.clone().into());
        inner.insert("currentVerifyMode".to_owned(), "cardOrFaceOrFp".into());
        inner.insert("attendanceStatus".to_owned(), "undefined".into());
    }
    inner.extend(one.fields.clone());
    if !quirks.events_without_serial {
        inner.insert("serialNo".to_owned(), one.serial.into());
    }
    inner.insert("currentEvent".to_owned(), current.into());
    if picture(quirks, one).is_some() {
        inner.insert("picturesNumber".to_owned(), 1.into());
    }
    let mut alert = envelope(device, &local_time(quirks, one.at), "AccessControllerEvent", "active");
    alert.insert("eventDescription".to_owned(), "Access Controller Event".into());
    alert.insert("AccessControllerEvent".to_owned(), inner.into());
    alert.into()
}

/// A sign of life: a video loss that is none.
pub(super) fn heartbeat(device: &Device, quirks: &Quirks) -> Value {
    let mut alert = envelope(device, &local_time(quirks, Timestamp::now()), "videoloss", "inactive");
    alert.insert("eventDescription".to_owned(), "videoloss alarm".into());
    alert.into()
}

fn envelope(device: &Device, time: &str, kind: &str, state: &str) -> Map<String, Value> {
    let number = device.number;
    let mac = format!("ac:b9:2f:00:{:02x}:{:02x}", (number >> 8) & 0xff, number & 0xff);
    let Value::Object(alert) = json!({
        "ipAddress": format!("192.168.1.{}", 2 + number % 250), "portNo": 80, "protocol": "HTTP", "macAddress": mac, "channelID": 1,
        "dateTime": time, "activePostCount": 1, "eventType": kind, "eventState": state,
    }) else {
        return Map::new();
    };
    alert
}

/// The same as XML.
pub(super) fn xml(quirks: &Quirks, document: &Value) -> String {
    let namespace = quirks.namespace.uri();
    format!(
        "<EventNotificationAlert version=\"2.0\" xmlns=\"{namespace}\">\n{}</EventNotificationAlert>\n",
        children(document)
    )
}

fn children(value: &Value) -> String {
    let Value::Object(map) = value else {
        return value.as_str().map_or_else(|| value.to_string(), escaped);
    };
    map.iter().map(|(name, value)| format!("<{name}>{}</{name}>\n", children(value))).collect()
}
