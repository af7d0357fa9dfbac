//! What the platform holds.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HikCentralPerson {
    /// `personId`, given by the platform.
    pub id: String,
    /// `personCode`, fixed once given.
    pub code: String,
    /// Everything else that add and update take: names, dates, organisation, remark, ..
    pub fields: Map<String, Value>,
    /// The stored face.
    pub face: Option<Bytes>,
}

/// The fields of a person that are kept as they come.
const FIELDS: [&str; 14] = [
    "personGivenName",
    "personFamilyName",
    "orgIndexCode",
    "gender",
    "phoneNo",
    "email",
    "remark",
    "cards",
    "fingerPrint",
    "beginTime",
    "endTime",
    "residentRoomNo",
    "residentFloorNo",
    "customFieldList",
];

impl HikCentralPerson {
    /// A field's text.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// "Given Family".
    pub fn name(&self) -> String {
        format!("{} {}", self.field("personGivenName"), self.field("personFamilyName")).trim().to_owned()
    }

    pub(super) fn kept(body: &Map<String, Value>) -> Map<String, Value> {
        body.iter()
            .filter(|(name, _)| FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    pub(super) fn shown(&self) -> Value {
        json!({ "id": self.id, "code": self.code, "name": self.name(), "fields": self.fields, "face_bytes": self.face.as_ref().map(Bytes::len) })
    }

    /// Where `picture_data` finds the face; empty until there is one.
    pub(super) fn pic_uri(&self) -> String {
        match &self.face {
            Some(face) => format!("Vsm://{}_{}", self.id, face.len()),
            None => String::new(),
        }
    }
}

/// An access group ("access level").
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    /// 1 access, 2 visitor.
    pub(super) kind: i64,
    pub(super) members: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) persons: Vec<HikCentralPerson>,
    pub(super) groups: Vec<Group>,
    /// `{orgIndexCode, orgName, parentOrgIndexCode}`
    pub(super) organisations: Vec<Value>,
    /// `(index code, name, controlType)`
    pub(super) doors: Vec<(String, String, i64)>,
    pub(super) events: Vec<Value>,
    pub(super) subscriptions: Vec<Value>,
    /// Persons whose present state reached the doors.
    pub(super) applied: BTreeSet<String>,
    next: u64,
}

impl Model {
    pub(super) fn standard() -> Self {
        let group = |id: &str, name: &str, kind| Group {
            id: id.to_owned(),
            name: name.to_owned(),
            kind,
            members: Vec::new(),
        };
        let door = |id: &str, name: &str| (id.to_owned(), name.to_owned(), 1);
        Self {
            persons: Vec::new(),
            groups: vec![group("1", "All doors", 1), group("2", "Canteen", 1), group("3", "Visitors", 2)],
            organisations: vec![
                json!({ "orgIndexCode": "1", "orgName": "All Departments", "parentOrgIndexCode": "0" }),
                json!({ "orgIndexCode": "7", "orgName": "Visitors", "parentOrgIndexCode": "1" }),
            ],
            doors: vec![door("11", "Main entrance"), door("12", "Side entrance")],
            events: Vec::new(),
            subscriptions: Vec::new(),
            applied: BTreeSet::new(),
            next: 1_150,
        }
    }

    pub(super) fn new_id(&mut self) -> String {
        let id = self.next.to_string();
        self.next += 1;
        id
    }

    pub(super) fn enrol(&mut self, code: &str, given_name: &str, family_name: &str) -> String {
        let id = self.new_id();
        let body = json!({
            "personGivenName": given_name, "personFamilyName": family_name, "orgIndexCode": "1",
            "beginTime": "2026-01-01T00:00:00+02:00", "endTime": "2036-01-01T00:00:00+02:00",
        });
        let fields = body.as_object().cloned().unwrap_or_default();
        self.persons.push(HikCentralPerson { id: id.clone(), code: code.to_owned(), fields, face: None });
        id
    }

    pub(super) fn person(&mut self, id: &str) -> Option<&mut HikCentralPerson> {
        self.persons.iter_mut().find(|person| person.id == id)
    }

    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// Whether the doors know what the platform knows is to be settled anew.
    pub(super) fn changed(&mut self, person: &str) {
        self.applied.remove(person);
    }

    pub(super) fn pass(&mut self, person: &str, door: &str, at: &str) {
        let number = self.events.len() + 1;
        let name = self.person(person).map(|person| person.name()).unwrap_or_default();
        let of_door = self.doors.iter().find(|(id, ..)| id == door);
        let door_name = of_door.map(|(_, name, _)| name.clone()).unwrap_or_default();
        self.events.push(json!({
            "eventId": format!("e{number:08}"), "eventType": 196_893, "eventTime": at, "deviceTime": at, "personId": person,
            "personName": name, "doorName": door_name, "doorIndexCode": door, "cardNo": "", "checkInAndOutType": 0,
            "picUri": "", "readerIndexCode": "21", "readerName": "Reader",
        }));
    }

    pub(super) fn destinations(&self, event_type: i64) -> Vec<String> {
        let wanted = |one: &&Value| {
            one["eventTypes"]
                .as_array()
                .is_some_and(|types| types.iter().any(|one| one.as_i64() == Some(event_type)))
        };
        let found = self.subscriptions.iter().filter(wanted);
        found.filter_map(|one| one["eventDest"].as_str()).map(str::to_owned).collect()
    }
}
