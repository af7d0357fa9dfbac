//! Which ways of storing a photo a platform has: 13 of them, each tried on a person of its own.

use bascule_sdk::{Error, ErrorKind, Peer, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikcentral::probe::{Finding, Method, Verdict};
use crate::envelope::{self, not_so};
use crate::persons;

/// How a photo is handed over.
#[derive(Clone, Copy)]
enum Way {
    /// With the person, in this field.
    Add(Field),
    /// In this field of an update.
    Update(Field),
    /// By a call of its own.
    Path(&'static str),
}

#[derive(Clone, Copy)]
enum Field {
    Faces,
    PersonPhoto,
}

/// A way and its name; the first two that the guide knows, then two fields it does not, then paths it does not
/// (`facts/hikcentral_hikpartner_supabase.md` A5, picture-upload variants).
const WAYS: [(&str, Way, bool); 13] = [
    ("add-faces", Way::Add(Field::Faces), true),
    ("face-update", Way::Path("resource/v1/person/face/update"), true),
    ("add-person-photo", Way::Add(Field::PersonPhoto), false),
    ("update-faces", Way::Update(Field::Faces), false),
    ("update-person-photo", Way::Update(Field::PersonPhoto), false),
    ("common-picture-upload", Way::Path("common/v1/picture/upload"), false),
    ("person-photo", Way::Path("resource/v1/person/photo"), false),
    ("picture-upload", Way::Path("resource/v1/picture/upload"), false),
    ("person-picture-upload", Way::Path("resource/v1/person/picture/upload"), false),
    ("person-face-picture", Way::Path("resource/v1/person/face/picture"), false),
    ("acs-person-picture-upload", Way::Path("acs/v1/person/picture/upload"), false),
    ("visitor-picture-upload", Way::Path("visitor/v1/picture/upload"), false),
    ("card-person-photo", Way::Path("resource/v1/card/personPhoto"), false),
];

impl Way {
    fn path(self) -> String {
        let field = |field: Field| match field {
            Field::Faces => "faces",
            Field::PersonPhoto => "personPhoto",
        };
        match self {
            Self::Add(one) => format!("resource/v1/person/single/add ({})", field(one)),
            Self::Update(one) => format!("{} ({})", persons::UPDATE, field(one)),
            Self::Path(path) => path.to_owned(),
        }
    }
}

impl Field {
    fn put(self, body: &mut Map<String, Value>, face: &str) {
        match self {
            Self::Faces => body.insert("faces".into(), json!([{ "faceData": face }])),
            Self::PersonPhoto => body.insert("personPhoto".into(), json!({ "picData": face })),
        };
    }
}

pub(crate) fn methods() -> Vec<Method> {
    let method = |(name, way, documented): &(&str, Way, bool)| Method {
        name: (*name).to_owned(),
        path: way.path(),
        documented: *documented,
    };
    WAYS.iter().map(method).collect()
}

/// Tries one way on a new person, and deletes the person. `face` is base64.
pub(crate) fn attempt(
    server: &dyn Peer,
    name: &str,
    organisation: &str,
    face: &str,
) -> Result<Finding, Error> {
    let Some((name, way, documented)) = WAYS.iter().find(|(one, ..)| *one == name) else {
        return Err(Error::invalid_input(format!(
            "there is no way `{}`; `probe.methods` lists them",
            name.escape_debug()
        )));
    };
    let mut fields = Map::new();
    fields.insert("personGivenName".into(), "Photo".into());
    fields.insert("personFamilyName".into(), "Probe".into());
    fields.insert("orgIndexCode".into(), organisation.into());
    fields.insert("remark".into(), "made by a photo probe, may be deleted".into());
    if let Way::Add(field) = way {
        field.put(&mut fields, face);
    }
    let finding = |code: String, message: String, verdict| Finding {
        method: (*name).to_owned(),
        path: way.path(),
        documented: *documented,
        code,
        message,
        verdict,
        left_behind: None,
    };
    let id = match persons::add_raw(server, fields) {
        Ok(id) => id,
        // Only where the way is the add itself does its refusal say something about the way.
        Err(error) if matches!(way, Way::Add(_)) && answered(&error) => {
            return Ok(refused(&error, finding));
        }
        Err(error) => return Err(error),
    };
    let tried = try_on(server, *way, &id, face);
    let outcome = match tried.and_then(|()| persons::raw(server, &id)) {
        Ok(record) if persons::pic_uri(&record).is_some() => {
            Ok(finding("0".into(), "success".into(), Verdict::Works))
        }
        Ok(_) => Ok(finding("0".into(), "code 0, and picUri is empty".into(), Verdict::Ignored)),
        Err(error) if answered(&error) => Ok(refused(&error, finding)),
        Err(error) => Err(error),
    };
    let deleted = persons::delete(server, &id);
    let mut finding = outcome?;
    if deleted.is_err_and(|error| error.kind != ErrorKind::NotFound) {
        finding.left_behind = Some(id);
    }
    Ok(finding)
}

fn try_on(server: &dyn Peer, way: Way, id: &str, face: &str) -> Result<(), Error> {
    match way {
        Way::Add(_) => Ok(()),
        Way::Update(field) => {
            let mut body = persons::whole(&persons::raw(server, id)?, id);
            field.put(&mut body, face);
            envelope::write(server, persons::UPDATE, &Value::Object(body)).map(drop)
        }
        Way::Path(path) => {
            envelope::write(server, path, &json!({ "personId": id, "faceData": face })).map(drop)
        }
    }
}

/// Whether the platform itself said no: wrong credentials and a lost connection say nothing about a way.
fn answered(error: &Error) -> bool {
    error.code.as_deref().is_some_and(|code| code.starts_with("hikcentral:"))
        && !matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::LockedOut)
}

fn refused(error: &Error, finding: impl Fn(String, String, Verdict) -> Finding) -> Finding {
    let code = error.code.as_deref().unwrap_or_default().trim_start_matches("hikcentral:").to_owned();
    let verdict = if matches!(code.as_str(), "8" | "11" | "12" | "http-404" | "http-405") {
        Verdict::UnknownPath
    } else {
        Verdict::Refused
    };
    finding(code, error.message.clone(), verdict)
}

/// `personPhoto` in an update of somebody who is there, and a look whether it did anything.
pub(crate) fn person_photo(server: &dyn Peer, person: &str, face: &str) -> Result<(), Error> {
    let before = persons::raw(server, person)?;
    let mut body = persons::whole(&before, person);
    Field::PersonPhoto.put(&mut body, face);
    envelope::write(server, persons::UPDATE, &Value::Object(body))?;
    let after = persons::raw(server, person).map_err(envelope::after_write)?;
    match (persons::pic_uri(&before), persons::pic_uri(&after)) {
        (_, None) => Err(persons::without_photo(person)),
        (Some(old), Some(new)) if old == new => {
            let message = format!("the platform said code 0, and person {person} still has the old photo");
            Err(not_so(
                "old-photo",
                message,
                &json!({ "personId": person, "picUri": json::as_text(&json!(new)) }),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const ADD: &str = "POST /artemis/api/resource/v1/person/single/add";
    const INFO: &str = "POST /artemis/api/resource/v1/person/personId/personInfo";
    const UPDATE: &str = "POST /artemis/api/resource/v1/person/single/update";
    const DELETE: &str = "POST /artemis/api/resource/v1/person/single/delete";
    const ADDED: &str = r#"{"code":"0","msg":"Success","data":"9"}"#;
    const DONE: &str = r#"{"code":"0","msg":"Success","data":""}"#;

    fn info(uri: &str) -> bascule_sdk::Response {
        answer(
            200,
            json!({ "code": "0", "data": { "personId": "9", "personPhoto": { "picUri": uri } } }).to_string(),
        )
    }

    #[test]
    fn there_are_13_ways_with_names_of_their_own() {
        let mut names: Vec<String> = methods().into_iter().map(|method| method.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 13);
    }

    #[test]
    fn each_outcome_has_its_word_and_the_test_person_is_deleted() {
        let script =
            Script::new().then(ADD, answer(200, ADDED)).then(INFO, info("u")).then(DELETE, answer(200, DONE));
        assert_eq!(attempt(&script, "add-faces", "1", "/9j/").unwrap().verdict, Verdict::Works);
        script.finish();

        let script = Script::new()
            .then(ADD, answer(200, ADDED))
            .then(INFO, info(""))
            .then(UPDATE, answer(200, DONE))
            .then(INFO, info(""))
            .then(DELETE, answer(200, r#"{"code":"6","msg":"busy"}"#));
        let finding = attempt(&script, "update-person-photo", "1", "/9j/").unwrap();
        assert_eq!((finding.verdict, finding.left_behind.as_deref()), (Verdict::Ignored, Some("9")));
        script.finish();

        let script = Script::new()
            .then(ADD, answer(200, ADDED))
            .then(
                "POST /artemis/api/resource/v1/person/photo",
                answer(200, r#"{"code":"8","msg":"not supported"}"#),
            )
            .then(DELETE, answer(200, DONE));
        let finding = attempt(&script, "person-photo", "1", "/9j/").unwrap();
        assert_eq!(
            (finding.verdict, finding.code.as_str(), finding.left_behind),
            (Verdict::UnknownPath, "8", None)
        );
        script.finish();

        let full = answer(200, r#"{"code":"5","msg":"Hikcentral Database Exception"}"#);
        let finding = attempt(&Script::new().then(ADD, full.clone()), "add-faces", "1", "/9j/").unwrap();
        assert_eq!((finding.verdict, finding.code.as_str()), (Verdict::Refused, "5"));
        // Where not even the test person can be added, nothing is known about the way.
        assert!(attempt(&Script::new().then(ADD, full), "face-update", "1", "/9j/").is_err());
        assert!(attempt(&Script::new(), "nonsense", "1", "/9j/").is_err());
    }
}
