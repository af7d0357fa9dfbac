//! From a device to the platform.

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Error, Peer, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikpartner::synchronise::{Failure, Person, Standing, State};
use crate::codes;
use crate::devices::serial_number;
use crate::envelope::{self, one_id};

const DETAILS: &str = "v1/person/synchronize/details";

pub(crate) fn start(server: &dyn Peer, device: &str, numbers: Option<&[String]>) -> Result<String, Error> {
    serial_number(device)?;
    let mut body = Map::new();
    body.insert("deviceSerial".into(), device.into());
    if let Some(numbers) = numbers {
        if numbers.is_empty() {
            return Err(Error::invalid_input("`employee-nos` is empty; leave it out to mean everybody"));
        }
        body.insert("employeeNoList".into(), numbers.into());
    }
    let data = envelope::write(server, "v1/person/synchronize", &Value::Object(body))?;
    let task = text_of(&data, "syncTaskID");
    if task.is_empty() {
        return Err(Error::protocol("the platform said 0 to a synchronisation, and gave no syncTaskID")
            .effect(bascule_sdk::Effect::Unknown));
    }
    Ok(task)
}

pub(crate) fn progress(server: &dyn Peer, task: &str) -> Result<Standing, Error> {
    one_id(task, "task")?;
    let data = envelope::read(server, "v1/person/synchronize/progress", &json!({ "syncTaskID": task }))?;
    let state = match json::field(&data, "taskStates").and_then(json::as_integer) {
        Some(0) => State::Failed,
        Some(1) => State::Done,
        Some(2) => State::Running,
        _ => return Err(Error::protocol("the platform tells no `taskStates` of 0, 1 or 2")),
    };
    let count = |name: &str| number_of(&data, name).unwrap_or_default();
    Ok(Standing {
        state,
        ended: state != State::Running,
        total: count("totalNum"),
        succeeded: count("syncSucceedNum"),
        failed: count("syncFailedNum"),
    })
}

pub(crate) fn succeeded(server: &dyn Peer, task: &str) -> Result<Vec<Person>, Error> {
    let rows = details(server, task, 1)?;
    let person = |row: &Value| Person {
        id: text_of(row, "personId"),
        employee_no: text_of(row, "employeeNo"),
        given_name: text_of(row, "givenName"),
        family_name: text_of(row, "familyName"),
        email: text_of(row, "email"),
        phone: text_of(row, "phone"),
        card_no: text_of(row, "cardNo"),
        photo_url: Some(text_of(row, "facePicture")).filter(|url| !url.is_empty()),
        has_fingerprint: !text_of(row, "fingerprint").is_empty(),
    };
    Ok(rows.iter().map(person).collect())
}

pub(crate) fn failed(server: &dyn Peer, task: &str) -> Result<Vec<Failure>, Error> {
    let rows = details(server, task, 0)?;
    let failure = |row: &Value| {
        let code = codes::normal(&text_of(row, "errorCode"));
        Failure {
            employee_no: text_of(row, "employeeNo"),
            why: codes::meaning(&code).words.to_owned(),
            code,
            sub_status: number_of(row, "subStatus"),
        }
    };
    Ok(rows.iter().map(failure).collect())
}

fn details(server: &dyn Peer, task: &str, which: u8) -> Result<Vec<Value>, Error> {
    one_id(task, "task")?;
    envelope::pages(server, DETAILS, &json!({ "syncTaskID": task, "queryType": which }), None)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    #[test]
    fn a_task_is_started_for_a_device_and_not_for_a_person() {
        const LINE: &str = "POST /api/hpcgw/v1/person/synchronize";
        let script =
            Script::new().then(LINE, answer(200, r#"{"data":{"syncTaskID":"t-1"},"errorCode":"0"}"#));
        assert_eq!(start(&script, "Q1", Some(&["7".to_owned()])).unwrap(), "t-1");
        assert_eq!(script.body(0), r#"{"deviceSerial":"Q1","employeeNoList":["7"]}"#);
        let busy = Script::new().then(LINE, answer(200, r#"{"errorCode":"LAP030069"}"#));
        assert_eq!(start(&busy, "Q1", None).unwrap_err().kind, ErrorKind::Busy);
        let nothing = Script::new().then(LINE, answer(200, r#"{"errorCode":"0"}"#));
        assert_eq!(start(&nothing, "Q1", None).unwrap_err().kind, ErrorKind::Protocol);
        assert_eq!(start(&Script::new(), "Q1", Some(&[])).unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn progress_is_failed_done_or_running() {
        const LINE: &str = "POST /api/hpcgw/v1/person/synchronize/progress";
        for (number, state, ended) in
            [(0, State::Failed, true), (1, State::Done, true), (2, State::Running, false)]
        {
            let body = json!({ "data": { "totalNum": 9, "taskStates": number, "syncSucceedNum": 7, "syncFailedNum": 2 }, "errorCode": "0" });
            let script = Script::new().then(LINE, answer(200, body.to_string()));
            let progress = progress(&script, "t-1").unwrap();
            assert_eq!(
                (progress.state, progress.ended, progress.total, progress.failed),
                (state, ended, 9, 2)
            );
        }
        let script = Script::new().then(LINE, answer(200, r#"{"data":{},"errorCode":"0"}"#));
        assert_eq!(progress(&script, "t-1").unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn details_come_in_pages_whose_number_stands_outside() {
        const LINE: &str = "POST /api/hpcgw/v1/person/synchronize/details";
        let page = |number: u32| {
            let row = json!({ "personId": format!("p{number}"), "employeeNo": number.to_string(), "type": 0, "familyName": "Exemplu", "givenName": "Ana", "fingerprint": "AAEC", "facePicture": "" });
            answer(200, json!({ "data": { "page": number, "pageSize": 100, "rows": [row] }, "totalPage": 2, "errorCode": "0" }).to_string())
        };
        let script = Script::new().then(LINE, page(1)).then(LINE, page(2));
        let people = succeeded(&script, "t-1").unwrap();
        assert_eq!(people.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["p1", "p2"]);
        assert!(people.iter().all(|one| one.has_fingerprint && one.photo_url.is_none()));
        assert_eq!(script.body(0), r#"{"syncTaskID":"t-1","queryType":1,"page":1,"pageSize":100}"#);
        let row = json!({ "employeeNo": "9", "errorCode": "0x01400004", "subStatus": 0 });
        let body = json!({ "data": { "total": 1, "rows": [row] }, "errorCode": "0" }).to_string();
        let failures = failed(&Script::new().then(LINE, answer(200, body)), "t-1").unwrap();
        assert_eq!(failures.first().map(|one| one.why.as_str()), Some("the device is not activated"));
    }
}
