//! What the platform holds, and the tables that workflows keep beside it.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A person on the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HikPartnerPerson {
    /// `personId`, given by the platform.
    pub id: String,
    /// Everything that add and update take but the picture.
    pub fields: Map<String, Value>,
    /// The face.
    pub face: Option<Bytes>,
}

impl HikPartnerPerson {
    /// A field's text.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// `employeeNo`.
    pub fn employee_no(&self) -> &str {
        self.field("employeeNo")
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.field("givenName"), self.field("familyName")).trim().to_owned()
    }
}

/// A device of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HikPartnerDevice {
    /// The platform's id.
    pub id: String,
    /// The serial number.
    pub serial: String,
    /// Its name.
    pub name: String,
    /// The id of its site.
    pub site: String,
    /// Whether the platform reaches it.
    pub online: bool,
    /// The ids of the persons that it lets in.
    pub admits: BTreeSet<String>,
    /// Persons that were enrolled on the device itself, as synchronising gives them.
    pub local: Vec<Value>,
    events: u64,
}

/// One person on one device.
#[derive(Clone, Debug)]
pub(super) struct Privilege {
    pub(super) person: String,
    pub(super) device: String,
    /// 0 applying, 1 succeeded, 2 failed.
    pub(super) status: u8,
    /// So many reads until it is settled.
    pub(super) reads: u32,
    pub(super) sub_status: u32,
    pub(super) error: String,
}

/// A synchronisation.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) wanted: Option<Vec<String>>,
    pub(super) reads: u32,
    pub(super) ended: bool,
    pub(super) succeeded: Vec<Value>,
    pub(super) failed: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct Model {
    /// As `site/search` shows them.
    pub(super) sites: Vec<Map<String, Value>>,
    pub(super) devices: Vec<HikPartnerDevice>,
    /// Devices that nobody has added yet: serial number and verification code.
    pub(super) unclaimed: Vec<(String, String)>,
    pub(super) persons: Vec<HikPartnerPerson>,
    pub(super) privileges: Vec<Privilege>,
    pub(super) tasks: Vec<Task>,
    /// None: nothing is subscribed; an empty list: all devices.
    pub(super) subscribed: Option<BTreeSet<String>>,
    next: u64,
}

impl Model {
    pub(super) fn standard() -> Self {
        let mut model = Self {
            sites: Vec::new(),
            devices: Vec::new(),
            unclaimed: vec![("G10000003".to_owned(), "ABCDEF".to_owned())],
            persons: Vec::new(),
            privileges: Vec::new(),
            tasks: Vec::new(),
            subscribed: None,
            next: 4_096,
        };
        let site = model.new_id("site");
        let mut fields = Map::new();
        fields.insert("id".to_owned(), site.clone().into());
        fields.insert("siteName".to_owned(), "Gym North".into());
        fields.insert("timeZone".to_owned(), 136.into());
        model.sites.push(fields);
        for (serial, name) in [("G10000001", "Main entrance"), ("G10000002", "Pool")] {
            model.claim(serial, name, &site);
        }
        model
    }

    pub(super) fn new_id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{:08x}", self.next)
    }

    pub(super) fn claim(&mut self, serial: &str, name: &str, site: &str) {
        let id = self.new_id("dev");
        self.devices.push(HikPartnerDevice {
            id,
            serial: serial.to_owned(),
            name: name.to_owned(),
            site: site.to_owned(),
            online: true,
            admits: BTreeSet::new(),
            local: Vec::new(),
            events: 30_000,
        });
    }

    pub(super) fn device(&mut self, serial: &str) -> Option<&mut HikPartnerDevice> {
        self.devices.iter_mut().find(|device| device.serial == serial)
    }

    pub(super) fn person(&mut self, id: &str) -> Option<&mut HikPartnerPerson> {
        self.persons.iter_mut().find(|person| person.id == id)
    }

    pub(super) fn is_subscribed(&self, serial: &str) -> bool {
        self.subscribed.as_ref().is_some_and(|list| list.is_empty() || list.contains(serial))
    }

    /// The number of the next event of a device, and the name that goes with the employee number.
    pub(super) fn pass(&mut self, serial: &str, employee_no: &str) -> Option<(u64, String)> {
        let person = self.persons.iter().find(|person| person.employee_no() == employee_no);
        let name = person.map(HikPartnerPerson::name).unwrap_or_default();
        let device = self.device(serial)?;
        device.events += 1;
        Some((device.events, name))
    }
}

/// The tables of `workflows/gym-member.yaml` and `workflows/gym-checkins.yaml`.
pub(crate) fn tables() -> Value {
    json!({
        "members": {
            "columns": {
                "id": "uuid", "employee_no": "text", "given_name": "text", "family_name": "text", "phone": "text", "email": "text",
                "card_no": "text", "photo_url": "text",
            },
            "primary_key": ["id"], "not_null": ["employee_no", "given_name", "family_name"], "unique": [["employee_no"]],
            "defaults": { "id": "uuid" },
        },
        "gym_doors": {
            "columns": { "device_serial": "text", "name": "text", "active": "boolean" },
            "primary_key": ["device_serial"], "not_null": ["active"], "defaults": { "active": true },
        },
        "hik_persons": {
            "columns": {
                "member_id": "uuid", "employee_no": "text", "person_id": "text", "state": "text", "problem": "text",
                "updated_at": "timestamptz",
            },
            "primary_key": ["member_id"], "not_null": ["person_id", "state"], "unique": [["person_id"]],
            "foreign_keys": [{ "column": "member_id", "table": "members", "to": "id" }],
        },
    })
}
