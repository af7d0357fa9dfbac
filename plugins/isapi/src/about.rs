//! How a terminal is, what it can do, and how it is on the network (`facts/isapi.md` 2.3, 2.5).

use bascule_sdk::xml::Element;
use bascule_sdk::{Error, ErrorKind, Peer, Request, json};
use serde_json::Value;

use crate::bindings::exports::bascule::isapi::device::{Abilities, NetworkInterface, State};
use crate::reply::{self, Document};
use crate::scan::small;

pub(crate) fn status(terminal: &dyn Peer) -> Result<State, Error> {
    let request = Request::get("/ISAPI/System/status");
    let line = request.line();
    let Document::Xml(root) = reply::accept(&terminal.send(request)?, &line)? else {
        return Err(reply::unexpected(&line, "a DeviceStatus"));
    };
    let status = root.find("DeviceStatus").ok_or_else(|| reply::unexpected(&line, "a DeviceStatus"))?;
    let number = |list: &str, name: &str| status.find(list).and_then(|one| one.text_of(name)?.parse().ok());
    Ok(State {
        device_time: status.text_of("currentDeviceTime").map(str::to_owned),
        up_seconds: status.text_of("deviceUpTime").and_then(|text| text.parse().ok()),
        cpu_percent: status.find("CPU").and_then(|cpu| cpu.text_of("cpuUtilization")?.parse().ok()),
        memory_used: number("Memory", "memoryUsage"),
        memory_free: number("Memory", "memoryAvailable"),
    })
}

/// What is not told is none.
pub(crate) fn capabilities(terminal: &dyn Peer) -> Result<Abilities, Error> {
    let ask = |path: &str, json: bool| -> Result<Document, Error> {
        let request = Request::get(path);
        let request = if json { request.query("format", "json") } else { request };
        let line = request.line();
        match reply::accept(&terminal.send(request)?, &line) {
            Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused) => {
                Ok(Document::Empty)
            }
            other => other,
        }
    };
    let people = ask("/ISAPI/AccessControl/UserInfo/capabilities", true)?;
    let faces = ask("/ISAPI/Intelligent/FDLib/capabilities", true)?;
    let access = ask("/ISAPI/AccessControl/capabilities", false)?;
    let empty = Value::Null;
    let people = people.json().map_or(&empty, |value| json::field(value, "UserInfo").unwrap_or(value));
    let faces = faces.json().map_or(&empty, |value| json::field(value, "FDLib").unwrap_or(value));
    let most = |value: Option<&Value>| value.and_then(|value| small(value, "@max"));
    let flag = |name: &str| match &access {
        Document::Xml(root) => root.find(name).and_then(|one| one.text.parse().ok()),
        Document::Json(value) => {
            json::field(json::field(value, "AccessControl").unwrap_or(value), name).and_then(json::as_truth)
        }
        Document::Empty => None,
    };
    Ok(Abilities {
        users: small(people, "maxRecordNum"),
        name_bytes: most(json::field(people, "name")),
        page: most(
            json::field(people, "UserInfoSearchCond").and_then(|cond| json::field(cond, "maxResults")),
        ),
        user_set_up: options(json::field(people, "supportFunction")).map(|words| has(&words, "setUp")),
        faces: small(faces, "FDRecordDataMaxNum"),
        face_set_up: options(json::field(faces, "supportFDFunction")).map(|words| has(&words, "setUp")),
        face_url_bytes: small(faces, "faceURLLen"),
        credentials_delete: flag("isSupportUserInfoDetailDelete"),
    })
}

/// `{"@opt": "a,b"}`, `{"@opt": ["a", "b"]}` or plainly `"a,b"`.
fn options(value: Option<&Value>) -> Option<String> {
    let value = value?;
    match json::field(value, "@opt").unwrap_or(value) {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(json::as_text).collect::<Vec<_>>().join(",")),
        _ => None,
    }
}

fn has(words: &str, wanted: &str) -> bool {
    words.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted))
}

pub(crate) fn network(terminal: &dyn Peer) -> Result<Vec<NetworkInterface>, Error> {
    let request = Request::get("/ISAPI/System/Network/interfaces");
    let line = request.line();
    let Document::Xml(root) = reply::accept(&terminal.send(request)?, &line)? else {
        return Err(reply::unexpected(&line, "a NetworkInterfaceList"));
    };
    if !root.name.eq_ignore_ascii_case("NetworkInterfaceList") {
        return Err(reply::unexpected(&line, "a NetworkInterfaceList"));
    }
    Ok(root.children_named("NetworkInterface").map(interface).collect())
}

fn interface(one: &Element) -> NetworkInterface {
    let address = one.child("IPAddress");
    let text = |name: &str| address.and_then(|address| address.text_of(name)).map(str::to_owned);
    let inner =
        |name: &str| address.and_then(|address| address.child(name)?.text_of("ipAddress")).map(str::to_owned);
    NetworkInterface {
        id: one.text_of("id").unwrap_or("1").to_owned(),
        addressing: text("addressingType"),
        address: text("ipAddress"),
        mask: text("subnetMask"),
        gateway: inner("DefaultGateway"),
        name_servers: [inner("PrimaryDNS"), inner("SecondaryDNS")]
            .into_iter()
            .flatten()
            .filter(|server| server != "0.0.0.0")
            .collect(),
        mac: one.find("MACAddress").map(|mac| mac.text.clone()).filter(|mac| !mac.is_empty()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    #[test]
    fn the_recorded_status_is_read_as_it_stands() {
        let body = "<DeviceStatus version=\"2.0\"><currentDeviceTime>2026-11-21T05:30:00+02:00</currentDeviceTime><deviceUpTime>86400</deviceUpTime>\
            <CPUList><CPU><cpuDescription>0</cpuDescription><cpuUtilization>12</cpuUtilization></CPU></CPUList>\
            <MemoryList><Memory><memoryDescription>0</memoryDescription><memoryUsage>67</memoryUsage><memoryAvailable>48896</memoryAvailable></Memory></MemoryList></DeviceStatus>";
        let state = status(&Script::new().then("GET /ISAPI/System/status", answer(200, body))).unwrap();
        assert_eq!((state.up_seconds, state.cpu_percent), (Some(86_400), Some(12)));
        assert_eq!((state.memory_used, state.memory_free), (Some(67.0), Some(48_896.0)));
        let none = Script::new().then("GET /ISAPI/System/status", answer(404, ""));
        assert_eq!(status(&none).unwrap_err().kind, ErrorKind::Unsupported);
    }

    #[test]
    fn capabilities_are_read_where_there_are_any() {
        let people = r#"{"UserInfo":{"supportFunction":{"@opt":"post,delete,put,get,setUp"},"UserInfoSearchCond":{"maxResults":{"@min":1,"@max":30}},"name":{"@min":0,"@max":128},"maxRecordNum":3000}}"#;
        let access = "<AccessControl><isSupportUserInfoDetailDelete>true</isSupportUserInfoDetailDelete></AccessControl>";
        let script = Script::new()
            .then("GET /ISAPI/AccessControl/UserInfo/capabilities?format=json", answer(200, people))
            .then("GET /ISAPI/Intelligent/FDLib/capabilities?format=json", answer(404, ""))
            .then("GET /ISAPI/AccessControl/capabilities", answer(200, access));
        let abilities = capabilities(&script).unwrap();
        assert_eq!(
            (abilities.users, abilities.name_bytes, abilities.page),
            (Some(3000), Some(128), Some(30))
        );
        assert_eq!((abilities.user_set_up, abilities.face_set_up), (Some(true), None));
        assert_eq!(abilities.credentials_delete, Some(true));
    }

    #[test]
    fn the_network_is_read() {
        let body = "<NetworkInterfaceList><NetworkInterface><id>1</id><IPAddress><ipVersion>dual</ipVersion><addressingType>static</addressingType>\
            <ipAddress>192.168.1.64</ipAddress><subnetMask>255.255.255.0</subnetMask><DefaultGateway><ipAddress>192.168.1.1</ipAddress></DefaultGateway>\
            <PrimaryDNS><ipAddress>8.8.8.8</ipAddress></PrimaryDNS><SecondaryDNS><ipAddress>0.0.0.0</ipAddress></SecondaryDNS></IPAddress>\
            <Link><MACAddress>ac:b9:2f:00:00:01</MACAddress></Link></NetworkInterface></NetworkInterfaceList>";
        let list =
            network(&Script::new().then("GET /ISAPI/System/Network/interfaces", answer(200, body))).unwrap();
        assert_eq!(list[0].gateway.as_deref(), Some("192.168.1.1"));
        assert_eq!(list[0].name_servers, ["8.8.8.8"]);
        assert_eq!(list[0].mac.as_deref(), Some("ac:b9:2f:00:00:01"));
    }
}
