//! Which persons may pass which devices. The platform says yes at once and does it afterwards.

use std::collections::BTreeSet;

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Effect, Error, Peer, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::hikpartner::privileges::{Application, Progress, State};
use crate::codes;
use crate::devices::serial_number;
use crate::envelope::{self, in_words, not_so, some_ids};

/// What the bits of `subStatus` mean, from the lowest. The guide's sentence has them the other way round than its example,
/// 7 for "the first three succeeded, the last one failed" (facts B2).
const PARTS: [&str; 4] = ["person", "card", "face", "fingerprint"];

/// Which way a privilege changes.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Grant,
    Revoke,
}

pub(crate) fn change(
    server: &dyn Peer,
    persons: &[String],
    devices: &[String],
    change: Change,
) -> Result<(), Error> {
    named(persons, devices)?;
    let path = match change {
        Change::Grant => "v1/acs/privilege/config",
        Change::Revoke => "v1/acs/privilege/delete",
    };
    let authorities: Vec<Value> =
        devices.iter().map(|serial| json!({ "deviceSerial": serial, "personIdList": persons })).collect();
    envelope::write(server, path, &json!({ "deviceAuthorities": authorities })).map(drop)
}

pub(crate) fn status(server: &dyn Peer, persons: &[String]) -> Result<Vec<Application>, Error> {
    some_ids(persons, "persons")?;
    let data = envelope::read(server, "v1/acs/privilege/status", &json!({ "personIdList": persons }))?;
    let mut applications = Vec::new();
    for authority in json::items(json::field(&data, "personAuthorities")) {
        let person = text_of(authority, "personId");
        for device in json::items(json::field(authority, "deviceLists")) {
            applications.push(application(&person, device));
        }
    }
    Ok(applications)
}

pub(crate) fn applied(server: &dyn Peer, persons: &[String], devices: &[String]) -> Result<Progress, Error> {
    named(persons, devices)?;
    let all = status(server, persons)?;
    let wanted: BTreeSet<(&str, &str)> = persons
        .iter()
        .flat_map(|person| devices.iter().map(move |device| (person.as_str(), device.as_str())))
        .collect();
    let applications: Vec<Application> =
        all.into_iter().filter(|one| wanted.contains(&(one.person.as_str(), one.device.as_str()))).collect();
    let count = |state| {
        u32::try_from(applications.iter().filter(|one| one.state == state).count()).unwrap_or(u32::MAX)
    };
    if count(State::Failed) > 0 {
        return Err(refused(&applications));
    }
    let told: BTreeSet<(&str, &str)> =
        applications.iter().map(|one| (one.person.as_str(), one.device.as_str())).collect();
    let missing: Vec<_> = wanted.difference(&told).collect();
    if let Some((person, device)) = missing.first() {
        let message = format!(
            "the platform said 0 to a privilege of person {person} on device {device}, and knows nothing of it ({} of {} are missing)",
            missing.len(),
            wanted.len()
        );
        let missing: Vec<Value> = missing
            .iter()
            .map(|(person, device)| json!({ "personId": person, "deviceSerial": device }))
            .collect();
        return Err(not_so("not-stored", message, &json!({ "missing": missing })));
    }
    let (applying, succeeded) = (count(State::Applying) + count(State::Unknown), count(State::Succeeded));
    Ok(Progress { applying, succeeded, done: applying == 0, applications })
}

/// The first device's reason gives kind and code; the details have every failed one.
fn refused(applications: &[Application]) -> Error {
    let failed: Vec<&Application> = applications.iter().filter(|one| one.state == State::Failed).collect();
    let first = failed.first();
    let code = first.and_then(|one| one.code.clone()).unwrap_or_default();
    let mut error = in_words(&code, "");
    if code.is_empty() {
        error.kind = bascule_sdk::ErrorKind::Refused;
        error.code = Some("hikpartner:privilege-failed".into());
        error.message = "the device gave no reason".into();
    }
    if let Some(first) = first {
        error.message = format!(
            "person {} did not get onto device {}: {} ({} of {} failed)",
            first.person,
            first.device,
            error.message,
            failed.len(),
            applications.len()
        );
    }
    let rows: Vec<Value> = failed
        .iter()
        .map(|one| json!({ "personId": one.person, "deviceSerial": one.device, "code": one.code, "why": one.why, "reached": one.reached, "subStatus": one.sub_status }))
        .collect();
    // What succeeded elsewhere stays, and part of the person may have reached the device.
    error.effect(Effect::Applied).details(&json!({ "failed": rows }))
}

fn application(person: &str, row: &Value) -> Application {
    let state = match json::field(row, "status").and_then(json::as_integer) {
        Some(0) => State::Applying,
        Some(1) => State::Succeeded,
        Some(2) => State::Failed,
        _ => State::Unknown,
    };
    let sub_status = number_of(row, "subStatus");
    let reached = PARTS
        .iter()
        .enumerate()
        .filter(|(bit, _)| sub_status.is_some_and(|bits| bits >> bit & 1 == 1))
        .map(|(_, part)| (*part).to_owned())
        .collect();
    let code = Some(codes::normal(&text_of(row, "error"))).filter(|code| !code.is_empty() && code != "0");
    Application {
        person: person.to_owned(),
        device: text_of(row, "deviceSerial"),
        state,
        reached,
        sub_status,
        why: code.as_deref().map(|code| codes::meaning(code).words.to_owned()),
        code,
    }
}

fn named(persons: &[String], devices: &[String]) -> Result<(), Error> {
    some_ids(persons, "persons")?;
    if devices.is_empty() {
        return Err(Error::invalid_input("`devices` is empty"));
    }
    devices.iter().try_for_each(|serial| serial_number(serial))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE_STATUS: &str = "POST /api/hpcgw/v1/acs/privilege/status";

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    /// `(person, device, status, subStatus, error)`
    fn told(rows: &[(&str, &str, u8, u8, &str)]) -> bascule_sdk::Response {
        let authorities: Vec<Value> = rows
            .iter()
            .map(|(person, device, status, sub, error)| {
                json!({ "personId": person, "deviceLists": [{ "deviceSerial": device, "status": status, "subStatus": sub, "error": error }] })
            })
            .collect();
        answer(200, json!({ "data": { "personAuthorities": authorities }, "errorCode": "0" }).to_string())
    }

    fn ask(rows: &[(&str, &str, u8, u8, &str)]) -> Result<Progress, Error> {
        applied(&Script::new().then(LINE_STATUS, told(rows)), &list(&["p1"]), &list(&["Q1", "Q2"]))
    }

    #[test]
    fn a_privilege_names_devices_and_their_persons_and_no_dates() {
        const LINE: &str = "POST /api/hpcgw/v1/acs/privilege/config";
        let script = Script::new().then(LINE, answer(200, r#"{"errorCode":"0"}"#));
        change(&script, &list(&["p1", "p2"]), &list(&["Q1", "Q2"]), Change::Grant).unwrap();
        // facts B6: not `doorList`, not `validStartTime`.
        assert_eq!(
            script.body(0),
            r#"{"deviceAuthorities":[{"deviceSerial":"Q1","personIdList":["p1","p2"]},{"deviceSerial":"Q2","personIdList":["p1","p2"]}]}"#
        );
        for (persons, devices) in
            [(list(&[]), list(&["Q1"])), (list(&["p1"]), list(&[])), (list(&["p1"]), list(&["Q1,Q2"]))]
        {
            let error = change(&Script::new(), &persons, &devices, Change::Revoke).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_guides_example_of_a_sub_status_is_read() {
        // 7: the first three succeeded, the last one did not.
        let progress = ask(&[("p1", "Q1", 1, 7, ""), ("p1", "Q2", 0, 0, "")]).unwrap();
        assert_eq!(progress.applications.first().unwrap().reached, ["person", "card", "face"]);
        assert_eq!((progress.applying, progress.succeeded, progress.done), (1, 1, false));
        assert!(ask(&[("p1", "Q1", 1, 7, "0"), ("p1", "Q2", 1, 15, "0")]).unwrap().done);
    }

    #[test]
    fn one_that_failed_gives_its_reason_its_kind_and_its_code() {
        let error = ask(&[("p1", "Q1", 1, 7, ""), ("p1", "Q2", 2, 1, "EVZ20007")]).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Offline, Some("hikpartner:EVZ20007")));
        assert!(
            error.message.starts_with("person p1 did not get onto device Q2: the device is offline"),
            "{}",
            error.message
        );
        assert_eq!(error.effect, Effect::Applied);
        let error = ask(&[("p1", "Q1", 2, 0, "0x01400006"), ("p1", "Q2", 0, 0, "")]).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Refused, Some("hikpartner:0x01400006")));
        let error = ask(&[("p1", "Q1", 2, 0, ""), ("p1", "Q2", 1, 7, "")]).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::Refused, Some("hikpartner:privilege-failed"))
        );
    }

    #[test]
    fn what_the_platform_knows_nothing_of_was_not_stored() {
        for rows in [&[][..], &[("p1", "Q1", 1, 7, "")], &[("p2", "Q1", 1, 7, ""), ("p1", "Q2", 1, 7, "")]] {
            let error = ask(rows).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref()),
                (ErrorKind::VerificationFailed, Some("hikpartner:not-stored")),
                "{rows:?}"
            );
        }
        // Others' devices do not count.
        assert_eq!(
            ask(&[("p1", "Q1", 1, 7, ""), ("p1", "Q2", 1, 7, ""), ("p1", "Q9", 0, 0, "")]).unwrap().succeeded,
            2
        );
    }
}
