//! Persons, their faces, and organisations (facts A5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Call, FullDatabase, HikCentral, HikCentralPerson, Outcome};
use crate::ledger::Kind;
use crate::wire::Answer;

const FULL: &str = "Hikcentral Database Exception";

impl HikCentral {
    pub(super) fn answer_persons(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "resource/v1/person/single/add" => self.add(call),
            "resource/v1/person/single/update" => self.update(call),
            "resource/v1/person/single/delete" => self.delete(call),
            "resource/v1/person/personId/personInfo" => {
                let Some(id) = call.text("personId") else { return Some(Outcome::parameter("personId")) };
                self.info(call, |person| person.id == id)
            }
            "resource/v1/person/personCode/personInfo" => {
                let Some(code) = call.text("personCode") else {
                    return Some(Outcome::parameter("personCode"));
                };
                self.info(call, |person| person.code == code)
            }
            "resource/v1/person/personList" | "resource/v1/person/advance/personList" => {
                self.list(path, call)
            }
            "resource/v1/person/face/update" => self.face_update(call),
            "resource/v1/person/picture_data" => self.picture(call),
            "resource/v1/org/orgList" | "resource/v1/org/advance/orgList" => {
                let mut rows = self.model().organisations.clone();
                if let Some(name) = call.text("orgName") {
                    rows.retain(|row| row["orgName"].as_str().is_some_and(|text| text.contains(&name)));
                }
                call.page(rows)
            }
            _ => return None,
        })
    }

    fn add(&self, call: &Call<'_>) -> Outcome {
        for name in ["personGivenName", "personFamilyName", "orgIndexCode"] {
            if call.text(name).is_none() {
                return Outcome::parameter(name);
            }
        }
        let code = call.text("personCode").unwrap_or_default();
        if code.len() > 32 || !code.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Outcome::parameter("personCode");
        }
        if call.quirks.full_database == FullDatabase::Writes {
            self.note(call.request, Kind::UserRefused, &code, Some("5"), FULL);
            return Outcome::code(5, FULL);
        }
        let face = match call.body.get("faces").and_then(Value::as_array).and_then(|faces| faces.first()) {
            None => None,
            Some(face) => match decoded(&face["faceData"]) {
                Some(picture) => Some(picture),
                None => return Outcome::parameter("faces"),
            },
        };
        let mut model = self.model();
        if !code.is_empty() && model.persons.iter().any(|person| person.code == code) {
            drop(model);
            self.note(call.request, Kind::UserRefused, &code, Some("131"), "");
            return Outcome::code(131, "The resource already exists.");
        }
        let id = model.new_id();
        let ignored = call.quirks.faces_on_add_ignored || call.quirks.full_database == FullDatabase::Faces;
        let kept = if call.quirks.lying_add { None } else { face.clone().filter(|_| !ignored) };
        let of_photo = photo(call).filter(|_| call.quirks.person_photo_works);
        let code = if code.is_empty() { id.clone() } else { code };
        if !call.quirks.lying_add {
            model.persons.push(HikCentralPerson {
                id: id.clone(),
                code: code.clone(),
                fields: HikCentralPerson::kept(call.body),
                face: kept.clone().or(of_photo),
            });
        }
        drop(model);
        self.note(call.request, Kind::UserWrite, &code, None, format!("add {id}"));
        if let Some(face) = face {
            self.note_face(call.request, &code, "add", &face, kept.is_some());
        }
        Outcome::Data(json!(id))
    }

    fn update(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("personId") else { return Outcome::parameter("personId") };
        for name in ["personGivenName", "personFamilyName", "orgIndexCode"] {
            if call.text(name).is_none() {
                return Outcome::parameter(name);
            }
        }
        if call.quirks.full_database == FullDatabase::Writes {
            self.note(call.request, Kind::UserRefused, &id, Some("5"), FULL);
            return Outcome::code(5, FULL);
        }
        let mut model = self.model();
        let Some(person) = model.person(&id) else { return Outcome::missing() };
        let kept = HikCentralPerson::kept(call.body);
        if call.quirks.update_keeps_omitted {
            person.fields.extend(kept);
        } else {
            person.fields = kept;
        }
        let code = person.code.clone();
        let picture = photo(call);
        if let Some(picture) = picture.clone().filter(|_| call.quirks.person_photo_works) {
            person.face = Some(picture);
        }
        model.changed(&id);
        drop(model);
        self.note(call.request, Kind::UserWrite, &code, None, "update");
        if let Some(picture) = picture {
            self.note_face(call.request, &code, "person-photo", &picture, call.quirks.person_photo_works);
        }
        Outcome::done()
    }

    fn delete(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("personId") else { return Outcome::parameter("personId") };
        let mut model = self.model();
        let Some(place) = model.persons.iter().position(|person| person.id == id) else {
            return Outcome::missing();
        };
        let person = model.persons.remove(place);
        for group in &mut model.groups {
            group.members.retain(|member| *member != id);
        }
        model.changed(&id);
        drop(model);
        self.note(call.request, Kind::UserDelete, &person.code, None, id);
        Outcome::done()
    }

    fn info(&self, call: &Call<'_>, fits: impl Fn(&HikCentralPerson) -> bool) -> Outcome {
        match self.model().persons.iter().find(|person| fits(person)) {
            Some(person) => Outcome::Data(record(person, call)),
            None => Outcome::missing(),
        }
    }

    fn list(&self, path: &str, call: &Call<'_>) -> Outcome {
        let (name, org) = (call.text("personName").unwrap_or_default(), call.text("orgIndexCode"));
        let advanced = path.contains("advance");
        let fits = |person: &&HikCentralPerson| {
            !advanced
                || (person.name().to_lowercase().contains(&name.to_lowercase())
                    && org.as_deref().is_none_or(|org| person.field("orgIndexCode") == org))
        };
        let rows: Vec<Value> =
            self.model().persons.iter().filter(fits).map(|person| record(person, call)).collect();
        if call.quirks.ignores_page && call.number("pageNo").is_some_and(|number| number > 1) {
            let mut body = call.body.clone();
            body.insert("pageNo".to_owned(), json!(1));
            return Call { body: &body, ..*call }.page(rows);
        }
        call.page(rows)
    }

    fn face_update(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("personId") else { return Outcome::parameter("personId") };
        let Some(picture) = call.body.get("faceData").and_then(decoded) else {
            return Outcome::parameter("faceData");
        };
        let mut model = self.model();
        let Some(person) = model.person(&id) else { return Outcome::missing() };
        let code = person.code.clone();
        if call.quirks.full_database != FullDatabase::No {
            drop(model);
            self.note(call.request, Kind::FaceRefused, &code, Some("5"), FULL);
            return Outcome::code(5, FULL);
        }
        let stored = !call.quirks.lying_face_update;
        if stored {
            person.face = Some(picture.clone());
            model.changed(&id);
        }
        drop(model);
        self.note_face(call.request, &code, "face-update", &picture, stored);
        Outcome::done()
    }

    fn picture(&self, call: &Call<'_>) -> Outcome {
        let given = |name: &str| call.text(name).or_else(|| call.request.parameter(name));
        let Some(id) = given("personId") else {
            return Outcome::parameter("personId");
        };
        let Some(uri) = given("picUri") else {
            return Outcome::parameter("picUri");
        };
        let mut model = self.model();
        let Some(person) = model.person(&id).filter(|person| person.pic_uri() == uri) else {
            return Outcome::missing();
        };
        if call.quirks.picture_redirect && call.request.method == "POST" {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("personId", &id).append_pair("picUri", &uri);
            let target = format!("{}?{}", call.request.path(), query.finish());
            return Outcome::Plain(Answer::empty(302).with("Location", target));
        }
        let face = person.face.clone().unwrap_or_default();
        let text = format!("data:image/jpeg;base64,{}", STANDARD.encode(face));
        Outcome::Plain(Answer::new(200, "image/jpeg", text))
    }
}

/// PersonInfo.
fn record(person: &HikCentralPerson, call: &Call<'_>) -> Value {
    let uri = person.pic_uri();
    let photo = if call.quirks.pic_big_uri { json!({ "picBigUri": uri }) } else { json!({ "picUri": uri }) };
    let field = |name: &str| person.fields.get(name).cloned();
    json!({
        "personId": person.id, "personCode": person.code, "personName": person.name(),
        "personGivenName": person.field("personGivenName"), "personFamilyName": person.field("personFamilyName"),
        "gender": field("gender").unwrap_or(json!(0)), "orgIndexCode": person.field("orgIndexCode"),
        "phoneNo": person.field("phoneNo"), "email": person.field("email"), "remark": person.field("remark"),
        "cards": field("cards").unwrap_or(json!([])), "fingerPrint": field("fingerPrint").unwrap_or(json!([])),
        "personPhoto": photo, "beginTime": person.field("beginTime"), "endTime": person.field("endTime"),
        "residentRoomNo": field("residentRoomNo").unwrap_or(json!("")),
        "residentFloorNo": field("residentFloorNo").unwrap_or(json!("")),
        "customFieldList": field("customFieldList").unwrap_or(json!([])),
    })
}

/// A JPEG in base64, without a `data:` prefix.
fn decoded(value: &Value) -> Option<Bytes> {
    let picture = STANDARD.decode(value.as_str()?).ok()?;
    picture.starts_with(&[0xFF, 0xD8, 0xFF]).then(|| picture.into())
}

/// The field that no guide knows.
fn photo(call: &Call<'_>) -> Option<Bytes> {
    decoded(call.body.get("personPhoto")?.get("picData")?)
}
