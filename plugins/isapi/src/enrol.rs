//! Writing people, and looking whether they were written (`facts/isapi.md` 3.2).

use bascule_sdk::{Effect, Error, ErrorKind, Method, Pace, Peer, Request, log};

use crate::bindings::exports::bascule::isapi::users::{Enrolled, Person};
use crate::person::{self, Change, Sheet};
use crate::reply;
use crate::{removal, users};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Record,
    Modify,
    SetUp,
}

/// Adds a person. `repeated`: this very call may have been sent before.
pub(crate) fn create(
    terminal: &dyn Peer,
    person: Person,
    repeated: bool,
    seed: &str,
) -> Result<Enrolled, Error> {
    let sheet = person::whole(terminal, person)?;
    let reboot = match write(terminal, Way::Record, &sheet) {
        Ok(reboot) => reboot,
        // Somebody is there: what an earlier attempt of this step wrote, if it looks like that.
        Err(error) if error.kind == ErrorKind::Conflict && repeated => {
            let there = users::get(terminal, &sheet.employee_no, seed)?;
            if Some(&there.name) != sheet.name.as_ref() {
                return Err(error);
            }
            log::info("the person is there already, from an earlier attempt");
            false
        }
        Err(error) => return Err(error),
    };
    seen(terminal, sheet, reboot, seed)
}

/// Changes what is given.
pub(crate) fn modify(
    terminal: &dyn Peer,
    employee_no: &str,
    change: Change,
    seed: &str,
) -> Result<Enrolled, Error> {
    let sheet = person::sheet(terminal, employee_no, change)?;
    if sheet.fields.len() < 2 {
        return Err(Error::invalid_input("nothing is given that could be changed"));
    }
    let reboot = write(terminal, Way::Modify, &sheet)?;
    seen(terminal, sheet, reboot, seed)
}

/// Adds or replaces a person: `SetUp`, which some terminals lack and some know only for people that are there.
pub(crate) fn set_up(terminal: &dyn Peer, person: Person, seed: &str) -> Result<Enrolled, Error> {
    let sheet = person::whole(terminal, person)?;
    let reboot = match write(terminal, Way::SetUp, &sheet) {
        Err(error) if error.kind == ErrorKind::NotFound => write(terminal, Way::Record, &sheet),
        Err(error) if error.kind == ErrorKind::Unsupported => match write(terminal, Way::Modify, &sheet) {
            Err(error) if error.kind == ErrorKind::NotFound => write(terminal, Way::Record, &sheet),
            other => other,
        },
        other => other,
    }?;
    seen(terminal, sheet, reboot, seed)
}

/// Deletes and adds anew.
pub(crate) fn recreate(terminal: &dyn Peer, person: Person, seed: &str) -> Result<Enrolled, Error> {
    // Everything that could be wrong with the values is found out before anything is deleted.
    let sheet = person::whole(terminal, person)?;
    removal::delete(terminal, std::slice::from_ref(&sheet.employee_no), seed)?;
    let gone = |error: Error| {
        let message = format!("the person was deleted and could not be added again: {}", error.message);
        Error { message, effect: Effect::Applied, ..error }
    };
    let reboot = write(terminal, Way::Record, &sheet).map_err(gone)?;
    seen(terminal, sheet, reboot, seed)
}

/// `conflict` where somebody has the number.
pub(crate) fn ensure_free(terminal: &dyn Peer, employee_no: &str, seed: &str) -> Result<(), Error> {
    match users::get(terminal, employee_no, seed) {
        Ok(_) => Err(Error::conflict(format!(
            "a person with employee number `{employee_no}` is enrolled on this terminal already"
        ))
        .code("isapi:employeeNoAlreadyExist")),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// True where the terminal wants to be restarted.
fn write(terminal: &dyn Peer, way: Way, sheet: &Sheet) -> Result<bool, Error> {
    let (method, name) = match way {
        Way::Record => (Method::Post, "Record"),
        Way::Modify => (Method::Put, "Modify"),
        Way::SetUp => (Method::Put, "SetUp"),
    };
    let request = Request::new(method, format!("/ISAPI/AccessControl/UserInfo/{name}"))
        .query("format", "json")
        .pace(Pace::Slow)
        .json(&sheet.body());
    let line = request.line();
    let (_, status) = reply::accept_write(&terminal.send(request)?, &line)?;
    Ok(reply::reboot_required(&status))
}

/// Looks whether the person is there, under the name that was sent.
fn seen(terminal: &dyn Peer, sheet: Sheet, reboot_required: bool, seed: &str) -> Result<Enrolled, Error> {
    let Sheet { employee_no, name, name_cut, .. } = sheet;
    let there = users::get(terminal, &employee_no, &format!("{seed}/seen")).map_err(|error| {
        if error.kind == ErrorKind::NotFound {
            lie(format!(
                "the terminal said that it stored person `{employee_no}`, and has nobody with that number"
            ))
        } else {
            error.effect(Effect::Applied)
        }
    })?;
    if let Some(name) = &name
        && there.name != *name
    {
        return Err(lie(format!(
            "the terminal said that it stored person `{employee_no}`, and has another name for that number"
        )));
    }
    if name_cut {
        log::warn("the name is longer than this terminal takes, and was cut");
    }
    Ok(Enrolled { employee_no, name: there.name, name_cut, reboot_required })
}

fn lie(message: String) -> Error {
    Error::new(ErrorKind::VerificationFailed, message).effect(Effect::Unknown)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::Response;
    use bascule_sdk::testing::{Script, answer};
    use serde_json::json;

    use super::*;

    const RECORD: &str = "POST /ISAPI/AccessControl/UserInfo/Record?format=json";
    const MODIFY: &str = "PUT /ISAPI/AccessControl/UserInfo/Modify?format=json";
    const SET_UP: &str = "PUT /ISAPI/AccessControl/UserInfo/SetUp?format=json";
    const DELETE: &str = "PUT /ISAPI/AccessControl/UserInfo/Delete?format=json";
    const SEARCH: &str = "POST /ISAPI/AccessControl/UserInfo/Search?format=json";
    const OK: &str = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#;
    const NOBODY: &str = r#"{"UserInfoSearch":{"searchID":"1","responseStatusStrg":"NO MATCH","numOfMatches":0,"totalMatches":0}}"#;

    fn ana() -> Person {
        Person {
            employee_no: "1001".into(),
            name: "Ana".into(),
            user_type: None,
            gender: None,
            valid: None,
            door_right: None,
            plan: None,
            extra: None,
        }
    }

    fn there(name: &str) -> Response {
        let body = json!({ "UserInfoSearch": {
            "searchID": "1", "responseStatusStrg": "OK", "numOfMatches": 1, "totalMatches": 1,
            "UserInfo": [{ "employeeNo": "1001", "name": name }],
        } });
        answer(200, body.to_string())
    }

    fn refusal(sub: &str) -> Response {
        answer(400, format!(r#"{{"statusCode":6,"statusString":"Invalid Content","subStatusCode":"{sub}"}}"#))
    }

    #[test]
    fn a_created_person_is_looked_for() {
        let script = Script::new().then(RECORD, answer(200, OK)).then(SEARCH, there("Ana"));
        let enrolled = create(&script, ana(), false, "s").unwrap();
        assert_eq!((enrolled.name.as_str(), enrolled.name_cut), ("Ana", false));
        script.finish();
    }

    #[test]
    fn a_terminal_that_says_yes_and_stores_nothing_is_found_out() {
        let script = Script::new().then(RECORD, answer(200, OK)).then(SEARCH, answer(200, NOBODY));
        let error = create(&script, ana(), false, "s").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::Unknown));
        let script = Script::new().then(RECORD, answer(200, OK)).then(SEARCH, there("An"));
        assert_eq!(create(&script, ana(), false, "s").unwrap_err().kind, ErrorKind::VerificationFailed);
    }

    #[test]
    fn who_is_there_is_a_conflict_unless_an_earlier_attempt_wrote_it() {
        let taken = || Script::new().then(RECORD, refusal("employeeNoAlreadyExist"));
        let error = create(&taken(), ana(), false, "s").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Conflict, Effect::None));
        let script = taken().then(SEARCH, there("Ana")).then(SEARCH, there("Ana"));
        assert!(create(&script, ana(), true, "s").is_ok());
        let script = taken().then(SEARCH, there("Somebody else"));
        assert_eq!(create(&script, ana(), true, "s").unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn set_up_takes_the_way_that_the_terminal_knows() {
        let script = Script::new()
            .then(SET_UP, refusal("employeeNoNotExist"))
            .then(RECORD, answer(200, OK))
            .then(SEARCH, there("Ana"));
        assert!(set_up(&script, ana(), "s").is_ok());
        let missing = answer(403, r#"{"statusCode":4,"subStatusCode":"notSupport"}"#);
        let script = Script::new()
            .then(SET_UP, missing)
            .then(MODIFY, refusal("employeeNoNotExist"))
            .then(RECORD, answer(200, r#"{"statusCode":7}"#))
            .then(SEARCH, there("Ana"));
        assert!(set_up(&script, ana(), "s").unwrap().reboot_required);
        script.finish();
    }

    #[test]
    fn recreating_says_when_the_person_is_gone_for_good() {
        let script = Script::new()
            .then(DELETE, answer(200, OK))
            .then(SEARCH, answer(200, NOBODY))
            .then(RECORD, refusal("deviceUserFull"));
        let error = recreate(&script, ana(), "s").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Refused, Effect::Applied));
        assert!(error.message.starts_with("the person was deleted and could not be added again"));
        let unusable = Person { gender: Some("x".into()), ..ana() };
        assert_eq!(recreate(&Script::new(), unusable, "s").unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn modify_sends_only_what_changes() {
        let script = Script::new().then(MODIFY, answer(200, OK)).then(SEARCH, there("Ana"));
        let change = Change { name: Some("Ana".into()), ..Change::default() };
        modify(&script, "1001", change, "s").unwrap();
        assert_eq!(script.body(0), r#"{"UserInfo":{"employeeNo":"1001","name":"Ana"}}"#);
        let error = modify(&Script::new(), "1001", Change::default(), "s").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn a_number_is_free_or_taken() {
        assert!(ensure_free(&Script::new().then(SEARCH, answer(200, NOBODY)), "1001", "s").is_ok());
        let error = ensure_free(&Script::new().then(SEARCH, there("Ana")), "1001", "s").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
    }
}
