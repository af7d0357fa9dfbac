//! Deleting people, always by name: to a terminal a missing or empty list means everybody (`facts/isapi.md` 3.2).

use bascule_sdk::{Effect, Error, ErrorKind, Pace, Peer, Request, json};
use serde_json::{Value, json};

use crate::reply;
use crate::users::{self, Wanted, check_employee_no};

/// What terminals take in one list.
const AT_ONCE: usize = 30;

/// Deletes people and looks whether they are gone. Gives how many were named.
pub(crate) fn delete(terminal: &dyn Peer, numbers: &[String], seed: &str) -> Result<u32, Error> {
    each_list(numbers, |list| {
        let request = Request::put("/ISAPI/AccessControl/UserInfo/Delete")
            .query("format", "json")
            .pace(Pace::Slow)
            .json(&json!({ "UserInfoDelCond": { "EmployeeNoList": list } }));
        let line = request.line();
        match reply::accept_write(&terminal.send(request)?, &line) {
            // Nobody with that number: what was wanted.
            Err(error) if error.kind == ErrorKind::NotFound && error.effect == Effect::None => Ok(()),
            other => other.map(|_| ()),
        }
    })?;
    gone(terminal, numbers, seed)
}

/// Deletes people with all their credentials. `go_on` says whether there is time for another look.
pub(crate) fn delete_with_credentials(
    terminal: &dyn Peer,
    numbers: &[String],
    seed: &str,
    go_on: &dyn Fn() -> bool,
) -> Result<u32, Error> {
    each_list(numbers, |list| {
        let request = Request::put("/ISAPI/AccessControl/UserInfoDetail/Delete")
            .query("format", "json")
            .pace(Pace::Slow)
            .json(&json!({ "UserInfoDetail": { "mode": "byEmployeeNo", "EmployeeNoList": list } }));
        let line = request.line();
        reply::accept_write(&terminal.send(request)?, &line)?;
        finished(terminal, go_on)
    })?;
    gone(terminal, numbers, seed)
}

fn each_list(
    numbers: &[String],
    mut delete: impl FnMut(Vec<Value>) -> Result<(), Error>,
) -> Result<(), Error> {
    if numbers.is_empty() {
        return Err(Error::invalid_input("nobody is named; deleting everybody is not possible"));
    }
    for number in numbers {
        check_employee_no(number)?;
    }
    for (index, some) in numbers.chunks(AT_ONCE).enumerate() {
        let list = some.iter().map(|number| json!({ "employeeNo": number })).collect();
        delete(list).map_err(|error| if index == 0 { error } else { error.effect(Effect::Applied) })?;
    }
    Ok(())
}

/// Waits until the deletion that was begun is over.
fn finished(terminal: &dyn Peer, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
    loop {
        let request =
            Request::get("/ISAPI/AccessControl/UserInfoDetail/DeleteProcess").query("format", "json");
        let line = request.line();
        let document =
            reply::accept(&terminal.send(request)?, &line).map_err(|e| e.effect(Effect::Unknown))?;
        let status = document
            .json()
            .map(|value| json::field(value, "UserInfoDetailDeleteProcess").unwrap_or(value))
            .and_then(|process| json::field(process, "status"))
            .and_then(json::as_text)
            .ok_or_else(|| {
                reply::unexpected(&line, "a UserInfoDetailDeleteProcess").effect(Effect::Unknown)
            })?;
        match status.to_ascii_lowercase().as_str() {
            "success" => return Ok(()),
            "failed" => {
                return Err(Error::new(ErrorKind::Refused, "the terminal could not finish deleting")
                    .code("isapi:deleteFailed")
                    .effect(Effect::Unknown));
            }
            _ if go_on() => {}
            _ => {
                return Err(
                    Error::new(ErrorKind::Timeout, "the terminal is still deleting").effect(Effect::Unknown)
                );
            }
        }
    }
}

/// Looks whether nobody of them is left.
fn gone(terminal: &dyn Peer, numbers: &[String], seed: &str) -> Result<u32, Error> {
    let wanted = Wanted { matching: None, employee_nos: Some(numbers.to_vec()), has_face: None, limit: None };
    let left = users::search(terminal, &wanted, &format!("{seed}/gone"))
        .map_err(|error| error.effect(Effect::Applied))?;
    if let Some(first) = left.first() {
        let left: Vec<&str> = left.iter().map(|user| user.employee_no.as_str()).collect();
        let message = format!(
            "the terminal said that it deleted person `{}`, and still has {}",
            first.employee_no,
            if left.len() == 1 { "it".to_owned() } else { format!("{} of those named", left.len()) }
        );
        return Err(Error::new(ErrorKind::VerificationFailed, message)
            .effect(Effect::Unknown)
            .details(&json!({ "left": left })));
    }
    Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const DELETE: &str = "PUT /ISAPI/AccessControl/UserInfo/Delete?format=json";
    const DETAIL: &str = "PUT /ISAPI/AccessControl/UserInfoDetail/Delete?format=json";
    const PROCESS: &str = "GET /ISAPI/AccessControl/UserInfoDetail/DeleteProcess?format=json";
    const SEARCH: &str = "POST /ISAPI/AccessControl/UserInfo/Search?format=json";
    const OK: &str = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#;
    const NOBODY: &str = r#"{"UserInfoSearch":{"responseStatusStrg":"NO MATCH","numOfMatches":0}}"#;

    fn numbers(list: &[&str]) -> Vec<String> {
        list.iter().map(|number| (*number).to_owned()).collect()
    }

    #[test]
    fn everybody_cannot_be_said() {
        let nothing = Script::new();
        for list in [&[][..], &[""], &[" "], &["1001", ""]] {
            let list = numbers(list);
            assert_eq!(delete(&nothing, &list, "s").unwrap_err().kind, ErrorKind::InvalidInput);
            let error = delete_with_credentials(&nothing, &list, "s", &|| true).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_deletion_names_whom_and_looks_again() {
        let script = Script::new().then(DELETE, answer(200, OK)).then(SEARCH, answer(200, NOBODY));
        assert_eq!(delete(&script, &numbers(&["1001"]), "s").unwrap(), 1);
        assert_eq!(script.body(0), r#"{"UserInfoDelCond":{"EmployeeNoList":[{"employeeNo":"1001"}]}}"#);
        script.finish();
    }

    #[test]
    fn long_lists_go_in_pieces() {
        let list: Vec<String> = (0..31).map(|number| number.to_string()).collect();
        let script = Script::new()
            .then(DELETE, answer(200, OK))
            .then(DELETE, answer(200, OK))
            .then(SEARCH, answer(200, NOBODY))
            .then(SEARCH, answer(200, NOBODY));
        assert_eq!(delete(&script, &list, "s").unwrap(), 31);
        assert_eq!(script.body(1), r#"{"UserInfoDelCond":{"EmployeeNoList":[{"employeeNo":"30"}]}}"#);
    }

    #[test]
    fn who_is_still_there_was_not_deleted() {
        let still = r#"{"UserInfoSearch":{"responseStatusStrg":"OK","numOfMatches":1,"UserInfo":[{"employeeNo":"1001"}]}}"#;
        let script = Script::new().then(DELETE, answer(200, OK)).then(SEARCH, answer(200, still));
        let error = delete(&script, &numbers(&["1001"]), "s").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::Unknown));
    }

    #[test]
    fn a_deletion_that_takes_its_time_is_waited_for() {
        let status = |status: &str, percent: u8| {
            answer(
                200,
                format!(r#"{{"UserInfoDetailDeleteProcess":{{"status":"{status}","percent":{percent}}}}}"#),
            )
        };
        let script = Script::new()
            .then(DETAIL, answer(200, OK))
            .then(PROCESS, status("processing", 10))
            .then(PROCESS, status("success", 100))
            .then(SEARCH, answer(200, NOBODY));
        delete_with_credentials(&script, &numbers(&["1001"]), "s", &|| true).unwrap();
        assert_eq!(
            script.body(0),
            r#"{"UserInfoDetail":{"mode":"byEmployeeNo","EmployeeNoList":[{"employeeNo":"1001"}]}}"#
        );
        let script = Script::new().then(DETAIL, answer(200, OK)).then(PROCESS, status("processing", 10));
        let error = delete_with_credentials(&script, &numbers(&["1001"]), "s", &|| false).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Effect::Unknown));
        let script = Script::new().then(DETAIL, answer(200, OK)).then(PROCESS, status("failed", 10));
        let error = delete_with_credentials(&script, &numbers(&["1001"]), "s", &|| true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }
}
