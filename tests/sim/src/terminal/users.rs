//! People on a terminal (`facts/isapi.md 3`).

use serde_json::{Map, Value, json};

use super::answer::Call;
use super::library::User;
use crate::ledger::{Kind, Note};
use crate::quirks::{EmptyDelete, OverlongName, SetUp};
use crate::wire::Answer;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Capabilities,
    Count,
    Record,
    Modify,
    SetUp,
    Delete,
}

/// What the terminal works out itself.
const READ_ONLY: [&str; 4] = ["numOfCard", "numOfFP", "numOfFace", "faceURL"];

pub(super) fn act(call: &Call<'_>, action: Action) -> Answer {
    let answer = match action {
        Action::Capabilities => return capabilities(call),
        Action::Count => return count(call),
        Action::Record | Action::Modify | Action::SetUp => write(call, action),
        Action::Delete => delete(call),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

fn capabilities(call: &Call<'_>) -> Answer {
    let quirks = call.quirks;
    call.json(
        200,
        &json!({ "UserInfo": {
            "supportFunction": { "@opt": "post,delete,put,get,setUp" },
            "UserInfoSearchCond": {
                "searchID": { "@min": 1, "@max": 36 },
                "maxResults": { "@min": 1, "@max": quirks.max_results },
                "EmployeeNoList": { "maxSize": quirks.max_results, "employeeNo": { "@min": 1, "@max": 32 } },
            },
            "employeeNo": { "@min": 1, "@max": 32 },
            "name": { "@min": 0, "@max": quirks.name_limit },
            "maxRecordNum": quirks.user_capacity,
        } }),
    )
}

fn count(call: &Call<'_>) -> Answer {
    let library = call.device.library();
    let with_face =
        library.users.iter().filter(|user| library.visible_face(&user.employee_no).is_some()).count();
    let extras = call.device.extras();
    let with_card: std::collections::BTreeSet<&str> =
        extras.cards.iter().map(|card| card.employee_no.as_str()).collect();
    call.json(
        200,
        &json!({ "UserInfoCount": {
            "userNumber": library.users.len(), "bindFaceUserNumber": with_face,
            "bindFingerprintUserNumber": 0, "bindCardUserNumber": with_card.len(),
        } }),
    )
}

fn write(call: &Call<'_>, action: Action) -> Result<Answer, Answer> {
    let body = call.body()?;
    let Some(Value::Object(given)) = body.get("UserInfo") else {
        return Err(refused(call, "", "badJsonContent", "UserInfo"));
    };
    let number = given.get("employeeNo").and_then(Value::as_str).unwrap_or_default();
    if number.is_empty() {
        return Err(refused(call, "", "MessageParametersLack", "employeeNo"));
    }
    if number.len() > 32 {
        return Err(refused(call, number, "illegalEmployeeNo", "employeeNo"));
    }
    if action == Action::SetUp && given.get("deleteUser") == Some(&Value::Bool(true)) {
        return Ok(remove(call, &[number.to_owned()]));
    }
    let add = given.get("addUser") == Some(&Value::Bool(true));
    let mut library = call.device.library();
    let exists = library.user(number).is_some();
    match action {
        Action::Record if exists => {
            return Err(refused(call, number, "employeeNoAlreadyExist", "employeeNo"));
        }
        Action::Modify if !exists && !add => {
            return Err(refused(call, number, "employeeNoNotExist", "employeeNo"));
        }
        Action::SetUp if !exists && call.quirks.set_up == SetUp::NotExist => {
            return Err(refused(call, number, "employeeNoNotExist", "employeeNo"));
        }
        _ => {}
    }
    let name = name(call, given, number)?;
    if action == Action::Record && !given.contains_key("userType") {
        return Err(refused(call, number, "MessageParametersLack", "userType"));
    }
    if !exists && library.users.len() >= call.quirks.user_capacity {
        return Err(refused(call, number, "deviceUserFull", ""));
    }
    let mut fields = given.clone();
    for key in ["employeeNo", "name", "addUser", "deleteUser"].iter().chain(&READ_ONLY) {
        fields.shift_remove(*key);
    }
    if !call.quirks.lying {
        store(&mut library.users, number, name, fields);
    }
    drop(library);
    let note = call.quirks.lying.then(|| "not stored: this terminal lies".to_owned());
    call.device.ledger.write(Note { subject: Some(number.to_owned()), note, ..own(call, Kind::UserWrite) });
    Ok(call.success(&Value::Null))
}

fn store(users: &mut Vec<User>, number: &str, name: Option<Vec<u8>>, fields: Map<String, Value>) {
    match users.iter_mut().find(|user| user.employee_no == number) {
        Some(user) => {
            if let Some(name) = name {
                user.name = name;
            }
            user.fields.extend(fields);
        }
        None => users.push(User { employee_no: number.to_owned(), name: name.unwrap_or_default(), fields }),
    }
}

/// The given name as it is going to be stored; `None` when none is given.
fn name(call: &Call<'_>, given: &Map<String, Value>, number: &str) -> Result<Option<Vec<u8>>, Answer> {
    let Some(name) = given.get("name") else {
        return Ok(None);
    };
    let Some(name) = name.as_str() else {
        return Err(refused(call, number, "badJsonContent", "name"));
    };
    if name.chars().any(char::is_control) {
        return Err(refused(call, number, "nameContainsInvalidCharcters", "name"));
    }
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() > call.quirks.name_limit {
        match call.quirks.overlong_name {
            OverlongName::Refuse => return Err(refused(call, number, "nameIsOverlong", "name")),
            OverlongName::Cut => bytes.truncate(call.quirks.name_limit),
        }
    }
    Ok(Some(bytes))
}

fn delete(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let list = body.get("UserInfoDelCond").and_then(|condition| condition.get("EmployeeNoList"));
    let list = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        if call.quirks.empty_delete == EmptyDelete::Refuse {
            return Err(refused(call, "", "MessageParametersLack", "EmployeeNoList"));
        }
        let mut library = call.device.library();
        let gone = library.users.len();
        library.users.clear();
        library.faces.clear();
        drop(library);
        let note =
            Some(format!("EVERYBODY ({gone} persons) was deleted because the list was empty or missing"));
        call.device.ledger.write(Note { note, ..own(call, Kind::WipedEverybody) });
        return Ok(call.success(&Value::Null));
    }
    let numbers: Vec<String> =
        list.iter().filter_map(|item| Some(item.get("employeeNo")?.as_str()?.to_owned())).collect();
    if numbers.len() < list.len() {
        return Err(refused(call, "", "badJsonContent", "employeeNo"));
    }
    Ok(remove(call, &numbers))
}

/// Deletes by number; unknown numbers are no error.
fn remove(call: &Call<'_>, numbers: &[String]) -> Answer {
    let mut library = call.device.library();
    if !call.quirks.lying {
        library.users.retain(|user| !numbers.contains(&user.employee_no));
        if call.quirks.delete_takes_face {
            library.faces.retain(|face| !numbers.contains(&face.fpid));
            call.device.extras().cards.retain(|card| !numbers.contains(&card.employee_no));
        }
    }
    drop(library);
    call.device.ledger.write(Note { subject: Some(numbers.join(",")), ..own(call, Kind::UserDelete) });
    call.success(&Value::Null)
}

fn own(call: &Call<'_>, kind: Kind) -> Note {
    call.device.note(call.request, kind, &call.known)
}

fn refused(call: &Call<'_>, number: &str, code: &str, message: &str) -> Answer {
    let subject = (!number.is_empty()).then(|| number.to_owned());
    call.device.ledger.write(Note { subject, code: Some(code.to_owned()), ..own(call, Kind::UserRefused) });
    call.error(code, message)
}
