//! What is stored on a terminal.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::quirks::Quirks;

/// Every picture that was ever stored, by sha256: the same one on many terminals is held once.
static PICTURES: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);

/// A person on a terminal.
#[derive(Clone, Debug)]
pub struct User {
    /// The key.
    pub employee_no: String,
    /// The name; not always valid UTF-8 after the device has cut it.
    pub name: Vec<u8>,
    /// All other fields as they came.
    pub fields: Map<String, Value>,
}

/// A face on a terminal.
#[derive(Clone, Debug)]
pub struct Face {
    /// The person's employee number.
    pub fpid: String,
    /// The stored bytes.
    pub picture: Bytes,
    /// Their sha256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// The address they were downloaded from, `multipart`, or `scenario`.
    pub source: String,
    /// When.
    pub stored_at: Timestamp,
    /// Other fields of the record: name, gender, bornTime, faceID.
    pub fields: Map<String, Value>,
    /// Numbers pictures, from 1, across the device's life.
    pub(crate) number: u64,
    pub(crate) visible_at: Instant,
}

/// The people and faces of one terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library {
    /// In the order they were added.
    pub(crate) users: Vec<User>,
    pub(crate) faces: Vec<Face>,
    pictures: u64,
}

/// How a scenario made a terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) quirks: Quirks,
    pub(crate) library: Library,
    pub(crate) offline: bool,
    pub(crate) locked: bool,
}

impl Library {
    pub(crate) fn user(&self, employee_no: &str) -> Option<&User> {
        self.users.iter().find(|user| user.employee_no == employee_no)
    }

    pub(crate) fn face(&self, fpid: &str) -> Option<&Face> {
        self.faces.iter().find(|face| face.fpid == fpid)
    }

    /// The face as readers see it, which may be later than it was stored.
    pub(crate) fn visible_face(&self, fpid: &str) -> Option<&Face> {
        self.face(fpid).filter(|face| face.is_visible())
    }

    pub(crate) fn enrol(&mut self, employee_no: &str, name: &str) {
        let fields = serde_json::json!({
            "userType": "normal",
            "Valid": {
                "enable": true, "beginTime": "2024-01-01T00:00:00", "endTime": "2037-12-31T23:59:59", "timeType": "local"
            },
            "doorRight": "1",
            "RightPlan": [{ "doorNo": 1, "planTemplateNo": "1" }],
        });
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        self.users.retain(|user| user.employee_no != employee_no);
        self.users.push(User { employee_no: employee_no.to_owned(), name: name.as_bytes().to_vec(), fields });
    }

    /// Stores or replaces; other fields of an earlier record stay.
    pub(crate) fn put_face(&mut self, fpid: &str, picture: Bytes, source: &str, hidden_for: Duration) {
        self.pictures += 1;
        let place = self.faces.iter().position(|face| face.fpid == fpid);
        let fields = place.map(|place| self.faces.remove(place).fields).unwrap_or_default();
        let sha256 = hex::encode(Sha256::digest(&picture));
        let mut pictures = PICTURES.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy, because what came is a part of a whole request, which would stay with it.
        let held = pictures.entry(sha256.clone()).or_insert_with(|| Bytes::copy_from_slice(&picture));
        let face = Face {
            fpid: fpid.to_owned(),
            sha256,
            picture: held.clone(),
            source: source.to_owned(),
            stored_at: Timestamp::now(),
            fields,
            number: self.pictures,
            visible_at: Instant::now() + hidden_for,
        };
        let place = place.unwrap_or(self.faces.len());
        self.faces.insert(place, face);
    }

    pub(crate) fn remove_face(&mut self, fpid: &str) -> bool {
        let before = self.faces.len();
        self.faces.retain(|face| face.fpid != fpid);
        self.faces.len() < before
    }
}

impl Face {
    pub(crate) fn is_visible(&self) -> bool {
        self.visible_at <= Instant::now()
    }

    /// The path of the picture on the device.
    pub(crate) fn path(&self) -> String {
        format!("/LOCALS/pic/enrlFace/0/{0:010}.jpg@WEB{0:012}", self.number)
    }
}
