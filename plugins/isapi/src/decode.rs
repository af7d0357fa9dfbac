//! What a terminal sent to a webhook (`facts/isapi.md` 5.4), in the shapes in which a receiver hands it on.

use bascule_sdk::{Error, ErrorKind, json, xml};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::bindings::exports::bascule::isapi::events::{Event, Picture};
use crate::notice;
use crate::stream::parts::{Found, Part, Parts};

/// How deep the parts of a form may lie in what the receiver hands on.
const MAX_DEPTH: usize = 4;
/// A document that was stored as a file may be so long.
const MAX_DOCUMENT: u64 = 256 * 1024;

/// Reads a stored file of the form; none where it cannot be read.
pub(crate) type Open<'a> = &'a dyn Fn(&str, u64) -> Option<Vec<u8>>;

/// The one event of a body.
pub(crate) fn decode(body: &str, device: Option<&str>, open: Open<'_>) -> Result<Event, Error> {
    // A parameter of type `json` is JSON text; a body that is text comes as a JSON string.
    let body: Value = json::parse(body, "body")?;
    let mut form = Form { device, open, events: Vec::new(), pictures: Vec::new() };
    form.read(&body, None, 0);
    let Form { mut events, pictures, .. } = form;
    match events.len() {
        0 => Err(Error::protocol("there is no event of a terminal in the body").code("isapi:no-event")),
        1 => {
            let mut event = events.remove(0);
            event.pictures = pictures;
            Ok(event)
        }
        several => {
            let message = format!("there are {several} events in one body, where terminals send one");
            Err(Error::new(ErrorKind::Protocol, message).code("isapi:several-events"))
        }
    }
}

/// A document in text form: JSON or XML.
pub(crate) fn document(bytes: &[u8]) -> Option<Value> {
    let start = bytes.trim_ascii_start();
    match start.first()? {
        b'{' | b'[' => serde_json::from_slice(start).ok(),
        b'<' => {
            let root = xml::parse(start).ok()?;
            Some(Value::Object(Map::from_iter([(root.name.clone(), notice::of_element(&root))])))
        }
        _ => None,
    }
}

pub(crate) fn is_picture(part: &Part) -> bool {
    let told =
        part.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("image/"));
    told || part.body.starts_with(&[0xFF, 0xD8, 0xFF])
}

/// `name="Picture"` of a part's `Content-Disposition`.
pub(crate) fn name_of(part: &Part) -> Option<String> {
    part.header("content-disposition")?.split(';').find_map(|piece| {
        let (key, text) = piece.split_once('=')?;
        let text = text.trim().trim_matches('"');
        (key.trim().eq_ignore_ascii_case("name") && !text.is_empty()).then(|| text.to_owned())
    })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Form<'a> {
    device: Option<&'a str>,
    open: Open<'a>,
    events: Vec<Event>,
    pictures: Vec<Picture>,
}

impl Form<'_> {
    fn read(&mut self, value: &Value, name: Option<&str>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(text) => self.text(text, depth),
            Value::Array(items) => items.iter().for_each(|item| self.read(item, name, depth + 1)),
            Value::Object(map) => {
                let plain = plain(value);
                if let Some(event) = notice::of_document(&plain, self.device) {
                    self.events.push(event);
                } else if let Some(file) = file(map, name) {
                    self.file(file);
                } else {
                    for (key, value) in map {
                        self.read(value, Some(key), depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, depth: usize) {
        if let Some(document) = document(text.as_bytes()) {
            return self.read(&document, None, depth + 1);
        }
        if !text.trim_start().starts_with("--") {
            return;
        }
        let mut parts = Parts::default();
        let mut found = parts.push(text.as_bytes());
        found.extend(parts.finish());
        for part in found {
            let Found::Part(part) = part else { continue };
            if is_picture(&part) {
                // As text it is not the picture any more: its sha256 would be that of something else.
                let bytes = part.body.len() as u64;
                self.pictures.push(Picture { name: name_of(&part), bytes, sha256: None, file: None });
            } else if let Some(document) = document(&part.body) {
                self.read(&document, None, depth + 1);
            }
        }
    }

    /// Some send the event itself as a file of the form.
    fn file(&mut self, file: Picture) {
        let named = |name: &Option<String>| {
            name.as_deref().is_some_and(|name| {
                let name = name.to_ascii_lowercase();
                name.ends_with(".xml") || name.ends_with(".json")
            })
        };
        let could_be = (named(&file.name) || named(&file.file)) && file.bytes <= MAX_DOCUMENT;
        let content =
            file.file.as_deref().filter(|_| could_be).and_then(|name| (self.open)(name, MAX_DOCUMENT));
        let event = content
            .as_deref()
            .and_then(document)
            .and_then(|document| notice::of_document(&document, self.device));
        match event {
            Some(event) => self.events.push(event),
            None => self.pictures.push(file),
        }
    }
}

/// A stored file as receivers describe one: its name in the folder and its length.
fn file(map: &Map<String, Value>, field: Option<&str>) -> Option<Picture> {
    let value = Value::Object(map.clone());
    let text = |name: &str| json::field(&value, name).and_then(json::as_text).filter(|text| !text.is_empty());
    let bytes = ["bytes", "size", "length"].iter().find_map(|name| {
        json::field(&value, name).and_then(json::as_integer).and_then(|n| u64::try_from(n).ok())
    })?;
    let stored = text("file").or_else(|| text("path")).or_else(|| text("name"))?;
    let name = text("field").or_else(|| field.filter(|name| *name != "files").map(str::to_owned));
    Some(Picture {
        name: name.or_else(|| text("name").filter(|name| *name != stored)),
        bytes,
        sha256: text("sha256"),
        file: Some(stored),
    })
}

/// XML as a map keeps the text of an element with attributes below a name of its own.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            if let Some(text) = ["#text", "$text", "$value"].iter().find_map(|name| map.get(*name))
                && map.keys().all(|key| key.starts_with(['#', '$', '@']))
            {
                return text.clone();
            }
            Value::Object(map.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bindings::exports::bascule::isapi::events::EventKind;

    fn read(body: &Value) -> Result<Event, Error> {
        decode(&body.to_string(), Some("gate"), &|_, _| None)
    }

    /// The fields of `facts/isapi.md` 5.3.
    fn recorded() -> Value {
        json!({ "ipAddress": "192.168.1.64", "portNo": 80, "macAddress": "ac:b9:2f:00:00:01", "channelID": 1,
            "dateTime": "2026-08-02T10:15:30-04:00", "activePostCount": 1, "eventType": "AccessControllerEvent",
            "eventState": "active", "eventDescription": "Access Controller Event",
            "AccessControllerEvent": { "deviceName": "Access Controller", "majorEventType": 5, "subEventType": 75,
                "name": "Ana", "employeeNoString": "17", "currentVerifyMode": "cardOrFaceOrFp",
                "attendanceStatus": "undefined", "serialNo": 30203 } })
    }

    const XML: &str = "<EventNotificationAlert version=\"2.0\" xmlns=\"urn:psialliance-org\"><ipAddress>192.168.1.64</ipAddress><macAddress>ac:b9:2f:00:00:01</macAddress>\
        <dateTime>2026-08-02T10:15:30-04:00</dateTime><eventType>AccessControllerEvent</eventType><eventState>active</eventState>\
        <eventDescription>gates & doors</eventDescription><AccessControllerEvent><majorEventType>5</majorEventType><subEventType>75</subEventType>\
        <name>Ana</name><employeeNoString>17</employeeNoString><currentVerifyMode>cardOrFaceOrFp</currentVerifyMode><serialNo>30203</serialNo></AccessControllerEvent></EventNotificationAlert>";

    #[test]
    fn every_form_of_the_same_push_is_the_same_event() {
        let event = read(&recorded()).unwrap();
        assert_eq!(
            (event.key.as_str(), event.device.as_deref()),
            ("30203/2026-08-02T10:15:30", Some("gate"))
        );
        let picture = json!({ "file": "in/1.jpg", "bytes": 7, "sha256": "ab" });
        let form = format!(
            "--MIME_boundary\r\nContent-Disposition: form-data; name=\"event_log\"\r\n\r\n{}\r\n--MIME_boundary\r\n\
             Content-Disposition: form-data; name=\"Picture\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\n1234\r\n--MIME_boundary--\r\n",
            recorded()
        );
        // No blank line and no content type in front of the event: seen on some firmware.
        let torn = form.replacen("\"event_log\"\r\n\r\n", "\"event_log\"\r\n", 1);
        for body in [
            json!({ "EventNotificationAlert": recorded() }),
            json!(recorded().to_string()),
            json!(XML),
            json!({ "EventNotificationAlert": notice::of_element(&xml::parse(XML.as_bytes()).unwrap()) }),
            notice::of_element(&xml::parse(XML.as_bytes()).unwrap()),
            json!({ "event_log": recorded(), "Picture": picture }),
            json!({ "AccessControllerEvent": recorded().to_string() }),
            json!({ "fields": { "event_log": recorded().to_string() }, "files": [picture] }),
            json!({ "parts": [{ "name": "event_log", "text": recorded().to_string() }] }),
            json!(form),
            json!(torn),
        ] {
            let other = read(&body).unwrap();
            assert_eq!(Event { pictures: Vec::new(), ..other }, event, "{body}");
        }
    }

    #[test]
    fn pictures_of_a_form_are_told() {
        let picture = json!({ "file": "in/1.jpg", "bytes": 7, "sha256": "ab" });
        let told = |name: Option<&str>| Picture {
            name: name.map(str::to_owned),
            bytes: 7,
            sha256: Some("ab".into()),
            file: Some("in/1.jpg".into()),
        };
        let flat = read(&json!({ "event_log": recorded(), "Picture": picture })).unwrap();
        assert_eq!(flat.pictures, [told(Some("Picture"))]);
        let listed = read(&json!({ "fields": { "event_log": recorded() }, "files": [picture] })).unwrap();
        assert_eq!(listed.pictures, [told(None)]);
    }

    #[test]
    fn an_event_that_came_as_a_file_is_read_from_the_folder() {
        let body = json!({ "AccessControllerEvent.xml": { "file": "in/a.xml", "bytes": XML.len() } });
        let open = |name: &str, _: u64| (name == "in/a.xml").then(|| XML.as_bytes().to_vec());
        assert_eq!(decode(&body.to_string(), None, &open).unwrap().serial, Some(30_203));
        assert_eq!(decode(&body.to_string(), None, &|_, _| None).unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn what_is_no_access_event_is_kept_whole() {
        let body = json!({ "dateTime": "2026-08-02T10:15:30-04:00", "eventType": "tamperAlarm", "eventState": "active", "more": 1 });
        let event = read(&body).unwrap();
        assert_eq!(event.kind, EventKind::Other);
        assert_eq!(serde_json::from_str::<Value>(&event.raw.unwrap()).unwrap(), body);
    }

    #[test]
    fn a_body_without_an_event_and_one_with_two_are_refused() {
        for body in
            [json!({}), json!(""), json!("hello"), json!({ "a": 1 }), json!(null), json!("{\"dateTime\":")]
        {
            assert_eq!(read(&body).unwrap_err().code.as_deref(), Some("isapi:no-event"), "{body}");
        }
        let two = json!([recorded(), recorded()]);
        assert_eq!(read(&two).unwrap_err().code.as_deref(), Some("isapi:several-events"));
    }
}
