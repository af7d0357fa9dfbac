//! Devices of sites.

use bascule_sdk::json::text_of;
use bascule_sdk::{Error, ErrorKind, Peer, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::hikpartner::devices::{Device, Presence};
use crate::codes;
use crate::envelope::{self, after_write, in_words, not_so, one_id};

const LIST: &str = "v1/device/list";

pub(crate) fn list(server: &dyn Peer, site: Option<&str>, limit: Option<u32>) -> Result<Vec<Device>, Error> {
    let body = match site {
        Some(site) => {
            one_id(site, "site")?;
            json!({ "siteId": site })
        }
        None => json!({}),
    };
    let rows = envelope::pages(server, LIST, &body, limit)?;
    Ok(rows.iter().map(device).collect())
}

pub(crate) fn find(server: &dyn Peer, serial: &str) -> Result<Device, Error> {
    held(server, serial)?
        .ok_or_else(|| Error::not_found(format!("the platform has no device `{serial}` in this account")))
}

pub(crate) fn add(server: &dyn Peer, site: &str, serial: &str, code: &str) -> Result<Device, Error> {
    one_id(site, "site")?;
    serial_number(serial)?;
    if code.is_empty() || code.chars().count() > 18 {
        return Err(Error::invalid_input("`verification-code` has 1 to 18 characters"));
    }
    let body = json!({ "siteId": site, "deviceList": [{ "deviceSerial": serial, "validateCode": code }] });
    let data = envelope::write(server, "v2/device/add", &body)?;
    let failed = json::items(json::field(&data, "addFailedList"));
    if let Some(failed) = failed.into_iter().find(|failed| is(failed, serial)) {
        return Err(not_added(serial, &text_of(failed, "failReason")));
    }
    match held(server, serial).map_err(after_write)? {
        Some(device) => Ok(device),
        None => {
            let message = format!("the platform said 0, and has no device `{serial}`");
            Err(not_so("not-stored", message, &json!({ "deviceSerial": serial })))
        }
    }
}

pub(crate) fn rename(server: &dyn Peer, serial: &str, name: &str) -> Result<Device, Error> {
    if name.trim().is_empty() {
        return Err(Error::invalid_input("`name` is empty"));
    }
    let device = find(server, serial)?;
    envelope::write(server, "v1/device/update", &json!({ "deviceId": device.id, "deviceName": name }))?;
    let after = find(server, serial).map_err(after_write)?;
    if after.name != name {
        let message =
            format!("the platform said 0, and the device `{serial}` is still called `{}`", after.name);
        return Err(not_so("not-stored", message, &json!({ "deviceSerial": serial })));
    }
    Ok(after)
}

pub(crate) fn delete(server: &dyn Peer, serial: &str) -> Result<(), Error> {
    let device = find(server, serial)?;
    envelope::write(server, "v1/device/delete", &json!({ "id": device.id }))?;
    if held(server, serial).map_err(after_write)?.is_some() {
        let message = format!("the platform said 0, and still has the device `{serial}`");
        return Err(not_so("not-stored", message, &json!({ "deviceSerial": serial })));
    }
    Ok(())
}

fn held(server: &dyn Peer, serial: &str) -> Result<Option<Device>, Error> {
    serial_number(serial)?;
    let rows = envelope::pages(server, LIST, &json!({ "deviceSerial": serial }), None)?;
    Ok(rows.iter().find(|row| is(row, serial)).map(device))
}

/// The platform's overall code is 0; the reason stands in words around another code.
fn not_added(serial: &str, reason: &str) -> Error {
    let details = json!({ "deviceSerial": serial, "failReason": reason });
    let code = codes::wrapped(reason).unwrap_or_default();
    let mut error = in_words(&code, reason);
    if code.is_empty() {
        error = Error::new(ErrorKind::Refused, format!("adding the device failed ({reason})"))
            .code("hikpartner:add-failed");
    }
    error.message = format!("device `{serial}`: {}", error.message);
    error.details(&details)
}

fn is(row: &Value, serial: &str) -> bool {
    text_of(row, "deviceSerial").eq_ignore_ascii_case(serial)
}

pub(crate) fn serial_number(serial: &str) -> Result<(), Error> {
    if serial.is_empty() || serial.len() > 9 || !serial.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Error::invalid_input(format!(
            "a serial number has 1 to 9 letters and digits, this is `{}`",
            serial.escape_debug()
        )));
    }
    Ok(())
}

fn device(row: &Value) -> Device {
    let presence = match json::field(row, "deviceOnlineStatus").and_then(json::as_integer) {
        Some(0) => Presence::Offline,
        Some(1) => Presence::Online,
        _ => Presence::Unknown,
    };
    Device {
        id: text_of(row, "id"),
        serial: text_of(row, "deviceSerial"),
        name: text_of(row, "deviceName"),
        presence,
        version: text_of(row, "deviceVersion"),
        model: text_of(row, "deviceType"),
        category: text_of(row, "deviceCategory"),
        site_id: text_of(row, "siteID"),
        site_name: text_of(row, "siteName"),
        subscribed: json::field(row, "isSubscribed").and_then(json::as_truth),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};
    use bascule_sdk::{Effect, Response};

    use super::*;

    const LINE_ADD: &str = "POST /api/hpcgw/v2/device/add";
    const LINE_LIST: &str = "POST /api/hpcgw/v1/device/list";

    fn found(serials: &[&str]) -> Response {
        let rows: Vec<Value> = serials
            .iter()
            .map(|serial| {
                json!({ "id": format!("id-{serial}"), "deviceName": "Door", "deviceOnlineStatus": 1, "deviceSerial": serial, "deviceVersion": "V3.3.8", "deviceType": "DS-K1T341", "deviceCategory": "accessControl", "isSubscribed": 0, "siteID": "s1", "siteName": "Gym North" })
            })
            .collect();
        answer(200, json!({ "data": { "total": rows.len(), "rows": rows }, "errorCode": "0" }).to_string())
    }

    fn added(failed: &Value) -> Response {
        let data = json!({ "addSuccessList": [], "addFailedList": failed });
        answer(200, json!({ "data": data, "errorCode": "0" }).to_string())
    }

    #[test]
    fn a_device_that_was_not_added_under_code_0_is_a_failure_with_its_reason() {
        // The words of facts B2.
        let failed = json!([{ "deviceSerial": "Q12345678", "failReason": "add Exception{LAP006001}" }]);
        let script = Script::new().then(LINE_ADD, added(&failed));
        let error = add(&script, "s1", "Q12345678", "ABCDEF").unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Refused, Some("hikpartner:LAP006001")));
        assert_eq!(
            script.body(0),
            r#"{"siteId":"s1","deviceList":[{"deviceSerial":"Q12345678","validateCode":"ABCDEF"}]}"#
        );
        let failed = json!([{ "deviceSerial": "Q12345678", "failReason": "add Exception{EVZ20010}" }]);
        let script = Script::new().then(LINE_ADD, added(&failed));
        assert_eq!(add(&script, "s1", "Q12345678", "x").unwrap_err().kind, ErrorKind::InvalidInput);
        let failed = json!([{ "deviceSerial": "Q12345678", "failReason": "because" }]);
        let script = Script::new().then(LINE_ADD, added(&failed));
        assert_eq!(
            add(&script, "s1", "Q12345678", "x").unwrap_err().code.as_deref(),
            Some("hikpartner:add-failed")
        );
    }

    #[test]
    fn an_added_device_is_looked_for() {
        let ask = |serials: &[&str]| {
            let script = Script::new().then(LINE_ADD, added(&json!([]))).then(LINE_LIST, found(serials));
            add(&script, "s1", "Q12345678", "ABCDEF")
        };
        let device = ask(&["Q12345678"]).unwrap();
        assert_eq!((device.presence, device.subscribed), (Presence::Online, Some(false)));
        let error = ask(&[]).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::Unknown));
        assert!(ask(&["Q99999999"]).is_err(), "another one is not this one");
    }

    #[test]
    fn a_serial_number_is_one_word_of_nine() {
        for bad in ["", "Q123456789", "Q1,Q2", "Q 1"] {
            assert_eq!(find(&Script::new(), bad).unwrap_err().kind, ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn a_deleted_device_is_gone_or_it_is_an_error() {
        const LINE: &str = "POST /api/hpcgw/v1/device/delete";
        let ask = |after: &[&str]| {
            let script = Script::new()
                .then(LINE_LIST, found(&["Q1"]))
                .then(LINE, answer(200, r#"{"errorCode":"0"}"#))
                .then(LINE_LIST, found(after));
            let outcome = delete(&script, "Q1");
            assert_eq!(script.body(1), r#"{"id":"id-Q1"}"#);
            outcome
        };
        ask(&[]).unwrap();
        assert_eq!(ask(&["Q1"]).unwrap_err().kind, ErrorKind::VerificationFailed);
    }
}
