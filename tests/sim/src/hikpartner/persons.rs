//! Persons on the platform, and synchronising them from a device (facts B2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::model::{Model, Task};
use super::{Call, HikPartner, HikPartnerPerson, Outcome};
use crate::ledger::{FaceWrite, Kind};

const FIELDS: [&str; 7] = ["employeeNo", "type", "familyName", "givenName", "email", "phone", "cardNo"];
/// The most bytes of a picture.
const MAX_PICTURE: usize = 204_800;

impl HikPartner {
    pub(super) fn answer_persons(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "v1/person/add" => self.add_person(call).unwrap_or_else(|refused| refused),
            "v1/person/update" => self.update_person(call).unwrap_or_else(|refused| refused),
            "v1/person/delete" => self.delete_persons(call),
            "v1/person/synchronize" => self.synchronize(call),
            "v1/person/synchronize/progress" => self.task_progress(call),
            "v1/person/synchronize/details" => self.task_details(call),
            _ => return None,
        })
    }

    fn add_person(&self, call: &Call<'_>) -> Result<Outcome, Outcome> {
        for name in ["employeeNo", "familyName", "givenName"] {
            call.text(name).ok_or_else(Outcome::parameter)?;
        }
        if !matches!(call.body.get("type").and_then(Value::as_i64), Some(0..=2)) {
            return Err(Outcome::parameter());
        }
        let fields = fields(call.body)?;
        let face = picture(call.body)?;
        let number = call.text("employeeNo").unwrap_or_default();
        let mut model = self.model();
        // What the real platform answers here stands in no public source.
        if model.persons.iter().any(|person| person.employee_no() == number) {
            drop(model);
            self.note(call.request, Kind::UserRefused, &number, Some("LAP000001"), "exists");
            return Err(Outcome::code("LAP000001", "employeeNo exists."));
        }
        let id = model.new_id("psn");
        let stored = !call.quirks.lying_person_add;
        if stored {
            model.persons.push(HikPartnerPerson { id: id.clone(), fields, face: face.clone() });
        }
        drop(model);
        self.note(call.request, Kind::UserWrite, &number, None, if stored { "add" } else { "add, a lie" });
        self.note_picture(call, &number, face.as_ref(), stored);
        if call.quirks.no_person_id {
            return Ok(Outcome::done());
        }
        Ok(Outcome::Data(json!({ "personId": id })))
    }

    fn update_person(&self, call: &Call<'_>) -> Result<Outcome, Outcome> {
        let id = call.text("personId").ok_or_else(Outcome::parameter)?;
        let (fields, face) = (fields(call.body)?, picture(call.body)?);
        let mut model = self.model();
        let person = model.person(&id).ok_or_else(Outcome::missing)?;
        person.fields.extend(fields);
        if face.is_some() {
            person.face.clone_from(&face);
        }
        let number = person.employee_no().to_owned();
        drop(model);
        self.note(call.request, Kind::UserWrite, &number, None, "update");
        self.note_picture(call, &number, face.as_ref(), true);
        Ok(Outcome::done())
    }

    /// The doors keep whom they have.
    fn delete_persons(&self, call: &Call<'_>) -> Outcome {
        let Some(ids) = call.texts("personIds") else {
            // An empty list means nobody here; that it could mean everybody elsewhere is worth a line.
            return Outcome::parameter();
        };
        let mut model = self.model();
        if !ids.iter().all(|id| model.person(id).is_some()) {
            return Outcome::missing();
        }
        model.persons.retain(|person| !ids.contains(&person.id));
        model.privileges.retain(|privilege| !ids.contains(&privilege.person));
        drop(model);
        self.note(call.request, Kind::UserDelete, &ids.join(","), None, "");
        Outcome::done()
    }

    fn note_picture(&self, call: &Call<'_>, number: &str, face: Option<&Bytes>, stored: bool) {
        use sha2::Digest as _;
        let Some(face) = face else { return };
        let face = FaceWrite {
            way: "person".to_owned(),
            how: "base64".to_owned(),
            source: None,
            sha256: hex::encode(sha2::Sha256::digest(face)),
            bytes: face.len(),
            stored,
            nth: 0,
        };
        self.write(call.request, Kind::FaceWrite, number, None, String::new(), Some(face));
    }

    /// Device to platform; one at a time for each device.
    fn synchronize(&self, call: &Call<'_>) -> Outcome {
        let Some(serial) = call.text("deviceSerial") else { return Outcome::parameter() };
        let wanted = match call.body.get("employeeNoList") {
            None => None,
            Some(_) => match call.texts("employeeNoList") {
                Some(list) => Some(list),
                None => return Outcome::parameter(),
            },
        };
        let mut model = self.model();
        match model.device(&serial) {
            None => return Outcome::code("EVZ20002", "The device does not exist."),
            Some(device) if !device.online => return Outcome::code("EVZ20007", "The device is offline."),
            Some(_) => {}
        }
        if model.tasks.iter().any(|task| task.device == serial && !task.ended) {
            return Outcome::code("LAP030069", "A synchronization task is running.");
        }
        let id = model.new_id("task");
        model.tasks.push(Task {
            id: id.clone(),
            device: serial.clone(),
            wanted,
            reads: call.quirks.settle_reads,
            ended: false,
            succeeded: Vec::new(),
            failed: Vec::new(),
        });
        drop(model);
        self.note(call.request, Kind::Synchronised, &serial, None, id.clone());
        Outcome::Data(json!({ "syncTaskID": id }))
    }

    fn task_progress(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("syncTaskID") else { return Outcome::parameter() };
        let mut model = self.model();
        let Some(place) = model.tasks.iter().position(|task| task.id == id) else {
            return Outcome::missing();
        };
        let settle = model.tasks.get_mut(place).is_some_and(|task| {
            let due = !task.ended && task.reads == 0;
            task.reads = task.reads.saturating_sub(1);
            due
        });
        if settle {
            settle_task(&mut model, place);
        }
        let Some(task) = model.tasks.get(place) else { return Outcome::missing() };
        let (succeeded, failed) = (task.succeeded.len(), task.failed.len());
        Outcome::Data(json!({
            "totalNum": succeeded + failed, "taskStates": if task.ended { 1 } else { 2 },
            "syncSucceedNum": succeeded, "syncFailedNum": failed,
        }))
    }

    fn task_details(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("syncTaskID") else { return Outcome::parameter() };
        let model = self.model();
        let Some(task) = model.tasks.iter().find(|task| task.id == id) else { return Outcome::missing() };
        match call.body.get("queryType").and_then(Value::as_i64) {
            Some(0) => call.page(task.failed.clone()),
            Some(1) => call.page(task.succeeded.clone()),
            _ => Outcome::parameter(),
        }
    }
}

fn settle_task(model: &mut Model, place: usize) {
    let Some(task) = model.tasks.get(place).cloned() else { return };
    let local = model.device(&task.device).map(|device| device.local.clone()).unwrap_or_default();
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let number_of = |person: &Value| person["employeeNo"].as_str().unwrap_or_default().to_owned();
    for person in &local {
        if task.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&number_of(person))) {
            continue;
        }
        let mut row = person.as_object().cloned().unwrap_or_default();
        let id = model.new_id("psn");
        let fields = row.iter().filter(|(name, _)| FIELDS.contains(&name.as_str()));
        let fields: Map<String, Value> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
        model.persons.push(HikPartnerPerson { id: id.clone(), fields, face: None });
        row.insert("personId".to_owned(), id.into());
        succeeded.push(Value::Object(row));
    }
    for wanted in task.wanted.iter().flatten() {
        if !local.iter().any(|person| number_of(person) == *wanted) {
            failed.push(json!({ "employeeNo": wanted, "errorCode": "0x01400004", "subStatus": 0 }));
        }
    }
    if let Some(task) = model.tasks.get_mut(place) {
        (task.succeeded, task.failed, task.ended) = (succeeded, failed, true);
    }
}

/// The fields that are kept, within the guide's limits.
fn fields(body: &Map<String, Value>) -> Result<Map<String, Value>, Outcome> {
    let long = |name: &str, most: usize| {
        body.get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| text.is_empty() || text.chars().count() > most)
    };
    let wrong = |name: &str, fits: fn(char) -> bool| {
        body.get(name).is_some_and(|value| !value.as_str().is_some_and(|text| text.chars().all(fits)))
    };
    if long("employeeNo", 32)
        || long("familyName", 32)
        || long("givenName", 32)
        || long("cardNo", 20)
        || wrong("employeeNo", |c| c.is_ascii_alphanumeric())
        || wrong("cardNo", |c| c.is_ascii_digit())
    {
        return Err(Outcome::parameter());
    }
    let kept = body.iter().filter(|(name, _)| FIELDS.contains(&name.as_str()));
    Ok(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn picture(body: &Map<String, Value>) -> Result<Option<Bytes>, Outcome> {
    let Some(value) = body.get("facePicture") else { return Ok(None) };
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    match decoded {
        Some(picture) if picture.starts_with(&[0xFF, 0xD8, 0xFF]) && picture.len() <= MAX_PICTURE => {
            Ok(Some(picture.into()))
        }
        _ => Err(Outcome::code("LAP031002", "The picture is not valid.")),
    }
}
