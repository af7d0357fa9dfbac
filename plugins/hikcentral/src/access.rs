//! Access groups, and bringing them to the doors.

use bascule_sdk::json::text_of;
use bascule_sdk::{Error, ErrorKind, Peer, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikcentral::access::{Changed, Group, Kind, Progress};
use crate::envelope::{self, after_write, not_so, one_id};

/// Which way membership changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Remove,
}

fn number(kind: Option<Kind>) -> u8 {
    match kind {
        None | Some(Kind::Access) => 1,
        Some(Kind::Visitor) => 2,
    }
}

pub(crate) fn groups(server: &dyn Peer, kind: Option<Kind>) -> Result<Vec<Group>, Error> {
    let rows = envelope::pages(server, "acs/v1/privilege/group", &json!({ "type": number(kind) }), None)?;
    Ok(rows
        .iter()
        .map(|row| Group {
            id: text_of(row, "privilegeGroupId"),
            name: text_of(row, "privilegeGroupName"),
            description: text_of(row, "description"),
        })
        .collect())
}

pub(crate) fn members(server: &dyn Peer, group: &str, kind: Option<Kind>) -> Result<Vec<String>, Error> {
    one_id(group, "group")?;
    let body = json!({ "privilegeGroupId": group, "type": number(kind) });
    let rows = envelope::pages(server, "acs/v1/privilege/group/single/personList", &body, None)?;
    Ok(rows.iter().map(|row| text_of(row, "id")).collect())
}

/// Changes membership, and looks whether it is so.
pub(crate) fn change(
    server: &dyn Peer,
    group: &str,
    persons: &[String],
    kind: Option<Kind>,
    change: Change,
) -> Result<Changed, Error> {
    one_id(group, "group")?;
    named(persons)?;
    let path = match change {
        Change::Add => "acs/v1/privilege/group/single/addPersons",
        Change::Remove => "acs/v1/privilege/group/single/deletePersons",
    };
    let list: Vec<Value> = persons.iter().map(|id| json!({ "id": id })).collect();
    envelope::write(server, path, &json!({ "privilegeGroupId": group, "type": number(kind), "list": list }))?;
    let members = match members(server, group, kind) {
        Ok(members) => members,
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused) => {
            return Ok(Changed { verified: false });
        }
        Err(error) => return Err(after_write(error)),
    };
    let wrong: Vec<&String> =
        persons.iter().filter(|id| members.contains(id) != (change == Change::Add)).collect();
    if wrong.is_empty() {
        return Ok(Changed { verified: true });
    }
    let words = if change == Change::Add { "are not in it" } else { "are still in it" };
    let message = format!(
        "the platform said code 0 to a change of group {group}, and {} of the persons {words}",
        wrong.len()
    );
    Err(not_so("not-stored", message, &json!({ "group": group, "persons": wrong })))
}

/// `personIds` and `doorIndexCodes` are texts with commas: a list got code 0 and did nothing.
pub(crate) fn reapply(
    server: &dyn Peer,
    persons: &[String],
    doors: Option<&[String]>,
    failed_too: bool,
) -> Result<(), Error> {
    named(persons)?;
    let mut body = Map::new();
    body.insert("ImmediateDownload".into(), i32::from(!failed_too).into());
    body.insert("personIds".into(), persons.join(",").into());
    if let Some(doors) = doors {
        if doors.is_empty() {
            return Err(Error::invalid_input("`doors` is empty; leave it out to mean all"));
        }
        doors.iter().try_for_each(|door| one_id(door, "doors"))?;
        body.insert("doorIndexCodes".into(), doors.join(",").into());
    }
    envelope::write(server, "visitor/v1/auth/reapplication", &Value::Object(body)).map(drop)
}

/// Every element is a door, every status one of its certificates: the worst one counts.
pub(crate) fn applied(server: &dyn Peer, person: &str) -> Result<Progress, Error> {
    one_id(person, "person")?;
    let asked =
        envelope::read(server, "visitor/v1/person/ID/elementDownloadDetail", &json!({ "id": person }));
    let data = match asked {
        Ok(data) => data,
        Err(error) if error.kind == ErrorKind::Unsupported => {
            return Ok(Progress { done: 0, failed: 0, pending: 0, told: false });
        }
        Err(error) => return Err(error),
    };
    let list = json::field(&data, "ElementDetailList");
    let elements = json::items(list.and_then(|list| json::field(list, "ElementDetail")));
    let mut progress = Progress { done: 0, failed: 0, pending: 0, told: true };
    for element in elements {
        let statuses: Vec<Option<i64>> = json::items(json::field(element, "ElementStatus"))
            .into_iter()
            .map(|status| json::field(status, "elementStatus").and_then(json::as_integer))
            .collect();
        if statuses.contains(&Some(2)) {
            progress.failed += 1;
        } else if !statuses.is_empty() && statuses.iter().all(|status| *status == Some(0)) {
            progress.done += 1;
        } else {
            progress.pending += 1;
        }
    }
    Ok(progress)
}

pub(crate) fn results(server: &dyn Peer, kind: Option<Kind>) -> Result<Vec<String>, Error> {
    let body = json!({ "applicationResultType": 2, "type": number(kind) });
    let rows = envelope::pages(server, "acs/v1/auth/applicationResult", &body, None)?;
    Ok(rows.iter().map(Value::to_string).collect())
}

pub(crate) fn statistics(server: &dyn Peer, kind: Option<Kind>) -> Result<String, Error> {
    let body = json!({ "applicationResultType": 1, "type": number(kind) });
    envelope::read(server, "acs/v1/auth/applicationResult", &body).map(|data| data.to_string())
}

fn named(persons: &[String]) -> Result<(), Error> {
    if persons.is_empty() {
        return Err(Error::invalid_input("`persons` names nobody"));
    }
    persons.iter().try_for_each(|id| one_id(id, "persons"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const ADD: &str = "POST /artemis/api/acs/v1/privilege/group/single/addPersons";
    const MEMBERS: &str = "POST /artemis/api/acs/v1/privilege/group/single/personList";
    const DONE: &str = r#"{"code":"0","msg":"Success","data":""}"#;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn add(members: &str) -> Result<Changed, Error> {
        let script = Script::new().then(ADD, answer(200, DONE)).then(MEMBERS, answer(200, members));
        let changed = change(&script, "1", &ids(&["5", "6"]), None, Change::Add);
        assert_eq!(script.body(0), r#"{"privilegeGroupId":"1","type":1,"list":[{"id":"5"},{"id":"6"}]}"#);
        changed
    }

    #[test]
    fn members_are_read_back() {
        let both =
            r#"{"code":"0","data":{"total":2,"pageNo":1,"pageSize":500,"list":[{"id":"5"},{"id":"6"}]}}"#;
        assert!(add(both).unwrap().verified);
        let one = r#"{"code":"0","data":{"total":1,"pageNo":1,"pageSize":500,"list":[{"id":"5"}]}}"#;
        let error = add(one).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikcentral:not-stored"))
        );
        assert!(add(r#"{"code":"0","data":{"total":0,"pageNo":1,"pageSize":500}}"#).is_err());
        assert!(!add(r#"{"code":"8","msg":"not supported"}"#).unwrap().verified);
    }

    #[test]
    fn reapplying_names_persons_in_one_text_and_never_everybody() {
        const LINE: &str = "POST /artemis/api/visitor/v1/auth/reapplication";
        let script = Script::new().then(LINE, answer(200, DONE));
        reapply(&script, &ids(&["5", "6"]), Some(&ids(&["11"])), true).unwrap();
        assert_eq!(script.body(0), r#"{"ImmediateDownload":0,"personIds":"5,6","doorIndexCodes":"11"}"#);
        for persons in [ids(&[]), ids(&[""]), ids(&["5,6"])] {
            assert_eq!(
                reapply(&Script::new(), &persons, None, true).unwrap_err().kind,
                ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn the_worst_status_of_a_door_counts() {
        // The nesting of facts A5.
        let door = |status: &[i64]| json!({ "ElementStatus": status.iter().map(|s| json!({ "elementStatus": s })).collect::<Vec<_>>() });
        let data = json!({ "code": "0", "data": { "ElementDetailList": { "ElementDetail": [door(&[0, 0]), door(&[0, 2]), door(&[0, 3]), door(&[])] } } });
        let script = Script::new().then(
            "POST /artemis/api/visitor/v1/person/ID/elementDownloadDetail",
            answer(200, data.to_string()),
        );
        let progress = applied(&script, "5").unwrap();
        assert_eq!((progress.done, progress.failed, progress.pending, progress.told), (1, 1, 2, true));
        let unknown = answer(200, r#"{"code":"8","msg":"not supported"}"#);
        let script =
            Script::new().then("POST /artemis/api/visitor/v1/person/ID/elementDownloadDetail", unknown);
        assert!(!applied(&script, "5").unwrap().told);
    }
}
