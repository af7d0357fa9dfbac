//! Access groups and applying them to the doors (facts A5).

use serde_json::{Value, json};

use super::{Call, HikCentral, Outcome};
use crate::ledger::Kind;

impl HikCentral {
    pub(super) fn answer_access(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "acs/v1/privilege/group" => {
                let Some(kind) = call.number("type").filter(|kind| matches!(kind, 1 | 2)) else {
                    return Some(Outcome::parameter("type"));
                };
                let rows = self
                    .model()
                    .groups
                    .iter()
                    .filter(|group| group.kind == kind)
                    .map(|group| {
                        json!({
                            "privilegeGroupId": group.id, "privilegeGroupName": group.name, "description": "",
                            "timeSchedule": { "indexCode": "1", "name": "All-Day Template" },
                        })
                    })
                    .collect();
                call.page(rows)
            }
            "acs/v1/privilege/group/single/addPersons" => self.membership(call, Membership::Add),
            "acs/v1/privilege/group/single/deletePersons" => self.membership(call, Membership::Remove),
            "acs/v1/privilege/group/single/personList" => {
                let Some(id) = call.text("privilegeGroupId") else {
                    return Some(Outcome::parameter("privilegeGroupId"));
                };
                let model = self.model();
                match model.group(&id) {
                    Some(group) => call.page(group.members.iter().map(|id| json!({ "id": id })).collect()),
                    None => Outcome::missing(),
                }
            }
            "visitor/v1/auth/reapplication" => self.reapply(call),
            "acs/v1/auth/applicationResult" => self.results(call),
            "visitor/v1/person/ID/elementDownloadDetail" => self.detail(call),
            _ => return None,
        })
    }

    fn membership(&self, call: &Call<'_>, change: Membership) -> Outcome {
        let Some(id) = call.text("privilegeGroupId") else { return Outcome::parameter("privilegeGroupId") };
        let Some(list) = call.body.get("list").and_then(Value::as_array).filter(|list| !list.is_empty())
        else {
            return Outcome::parameter("list");
        };
        let Some(wanted) =
            list.iter().map(|one| one["id"].as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        else {
            return Outcome::parameter("list");
        };
        let mut model = self.model();
        if !wanted.iter().all(|id| model.person(id).is_some()) {
            return Outcome::missing();
        }
        let kind = call.number("type");
        let Some(group) = model.groups.iter_mut().find(|group| group.id == id && Some(group.kind) == kind)
        else {
            return Outcome::missing();
        };
        if !call.quirks.lying_add_to_group {
            group.members.retain(|member| !wanted.contains(member));
            if change == Membership::Add {
                group.members.extend(wanted.iter().cloned());
            }
        }
        for person in &wanted {
            model.changed(person);
        }
        drop(model);
        let word = if change == Membership::Add { "add" } else { "remove" };
        self.note(call.request, Kind::AccessWrite, &id, None, format!("{word} {}", wanted.join(",")));
        Outcome::done()
    }

    /// A comma-separated text; a list is taken as nobody named, with code 0, as it was seen.
    fn reapply(&self, call: &Call<'_>) -> Outcome {
        let wanted: Option<Vec<String>> =
            call.text("personIds").map(|text| text.split(',').map(|id| id.trim().to_owned()).collect());
        let named_wrongly = call.body.get("personIds").is_some_and(|ids| !ids.is_string());
        let mut model = self.model();
        let reached: Vec<String> = model
            .persons
            .iter()
            .map(|person| person.id.clone())
            .filter(|id| !named_wrongly && wanted.as_ref().is_none_or(|wanted| wanted.contains(id)))
            .collect();
        if !call.quirks.apply_fails {
            model.applied.extend(reached.iter().cloned());
        }
        drop(model);
        self.note(call.request, Kind::Applied, &reached.join(","), None, "reapplication");
        Outcome::done()
    }

    /// Failures and what waits. No public source has the fields of the answer; clients hand them on.
    fn results(&self, call: &Call<'_>) -> Outcome {
        let model = self.model();
        let open: Vec<Value> = model
            .persons
            .iter()
            .filter(|person| {
                !model.applied.contains(&person.id)
                    && model.groups.iter().any(|group| group.members.contains(&person.id))
            })
            .map(|person| json!({ "personId": person.id, "personName": person.name(), "errorCode": "195" }))
            .collect();
        match call.number("applicationResultType") {
            Some(1) => Outcome::Data(json!({ "total": open.len() })),
            Some(2) => call.page(open),
            _ => Outcome::parameter("applicationResultType"),
        }
    }

    fn detail(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("id") else { return Outcome::parameter("id") };
        let mut model = self.model();
        let Some(person) = model.person(&id) else { return Outcome::missing() };
        let face = person.face.is_some();
        let status = match (model.applied.contains(&id), call.quirks.apply_fails) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        let certificates: Vec<Value> =
            if face { vec![json!({ "type": 2, "status": status })] } else { Vec::new() };
        let elements: Vec<Value> = model
            .doors
            .iter()
            .map(|(door, name, _)| {
                json!({
                    "elementId": door, "elementName": name,
                    "ElementStatus": [{
                        "elementStatus": status, "CertificateStatusList": { "CertificateStatus": certificates },
                    }],
                })
            })
            .collect();
        Outcome::Data(json!({ "ElementDetailList": { "ElementDetail": elements } }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Membership {
    Add,
    Remove,
}
