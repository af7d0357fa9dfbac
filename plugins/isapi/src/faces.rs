//! The face library of a terminal (`facts/isapi.md` 4.2).

use std::collections::BTreeSet;

use bascule_sdk::{Effect, Error, ErrorKind, Files, Method, Pace, Part, Peer, Request, json, log};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::isapi::faces::{Finding, Written};
use crate::picture;
use crate::reply::{self, Page, path_of};
use crate::users::check_employee_no;

pub(crate) use crate::bindings::exports::bascule::isapi::faces::Way;

/// What terminals take at most.
const MAX_PHOTO_BYTES: u64 = 204_800;
/// `faceURLLen`, where a terminal does not say otherwise.
const USUAL_URL_LENGTH: usize = 256;
/// More than any terminal holds.
const MAX_FACES: u64 = 200_000;

pub(crate) struct Library {
    fdid: String,
    kind: String,
}

impl Library {
    /// The visible-light library of every terminal, unless told.
    pub(crate) fn new(fdid: Option<String>, kind: Option<String>) -> Self {
        Self { fdid: fdid.unwrap_or_else(|| "1".into()), kind: kind.unwrap_or_else(|| "blackFD".into()) }
    }

    /// Its `FDID` and `faceLibType`.
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.fdid, &self.kind)
    }
}

pub(crate) struct Face {
    pub(crate) library: Library,
    pub(crate) fpid: String,
    pub(crate) face_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) gender: Option<String>,
    pub(crate) born_time: Option<String>,
}

impl Face {
    /// The JSON that all three writers take; with `url`, the terminal fetches the photo there.
    fn record(&self, url: Option<&str>) -> Value {
        let mut record = Map::new();
        let fields = [
            ("faceURL", url),
            ("faceLibType", Some(self.library.kind.as_str())),
            ("FDID", Some(self.library.fdid.as_str())),
            ("FPID", Some(self.fpid.as_str())),
            ("faceID", self.face_id.as_deref()),
            ("name", self.name.as_deref()),
            ("gender", self.gender.as_deref()),
            ("bornTime", self.born_time.as_deref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                record.insert(name.into(), value.into());
            }
        }
        Value::Object(record)
    }
}

fn request(way: Way) -> Request {
    let (method, name) = match way {
        Way::Modify => (Method::Put, "FDModify"),
        Way::Create => (Method::Post, "FaceDataRecord"),
        Way::SetUp => (Method::Put, "FDSetUp"),
    };
    // Modelling a face takes seconds, and the terminal answers when it is done.
    Request::new(method, format!("/ISAPI/Intelligent/FDLib/{name}")).query("format", "json").pace(Pace::Slow)
}

/// Reads the picture that the person has, if `look_first`, and then writes. A terminal whose picture stays the same has
/// replaced nothing, whatever it answered.
pub(crate) fn looking_first(
    terminal: &dyn Peer,
    look_first: Option<bool>,
    way: Way,
    face: &Face,
    write: &dyn Fn(Way) -> Result<Written, Error>,
) -> Result<Written, Error> {
    if look_first != Some(true) {
        return write(way);
    }
    let finding = find(terminal, &face.library, &face.fpid)?;
    let replaced = picture::digest(terminal, &finding)?;
    Ok(Written { replaced, ..write(way)? })
}

/// Has the terminal fetch the photo at `url`.
pub(crate) fn write_from_url(
    terminal: &dyn Peer,
    way: Way,
    face: &Face,
    url: &str,
) -> Result<Written, Error> {
    check_employee_no(&face.fpid)?;
    let url = url.trim();
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(Error::invalid_input(format!(
            "the photo's address `{}` is not a whole address that begins with http:// or https://",
            url.escape_debug()
        )));
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid_input("the photo's address has blanks or control characters in it"));
    }
    if url.len() > USUAL_URL_LENGTH {
        log::warn(&format!(
            "the photo's address has {} bytes; many terminals take at most {USUAL_URL_LENGTH}",
            url.len()
        ));
    }
    let request = request(way).json(&face.record(Some(url)));
    let line = request.line();
    let response = terminal.send(request)?;
    written(&response, &line)
}

/// Sends the bytes of the stored file `name`.
pub(crate) fn write_from_file(
    terminal: &dyn Files,
    way: Way,
    face: &Face,
    name: &str,
) -> Result<Written, Error> {
    check_employee_no(&face.fpid)?;
    let bytes = terminal.size(name)?;
    if bytes == 0 || bytes > MAX_PHOTO_BYTES {
        return Err(Error::invalid_input(format!(
            "the photo `{name}` has {bytes} bytes; terminals take 1 to {MAX_PHOTO_BYTES}"
        )));
    }
    // These two names are what most terminals were seen to take; the data comes first and the picture last.
    let request = request(way).multipart(vec![
        Part::bytes("FaceDataRecord", "application/json", face.record(None).to_string()),
        Part::file("img", "face.jpg", "image/jpeg"),
    ]);
    let line = request.line();
    let response = terminal.upload(request, name)?;
    written(&response, &line)
}

/// A terminal that has a face for the person refuses to create one. Where this very call may have been sent before (a
/// retry, or the same call after a crash), that face is most likely the one it was to create; to be sure it is replaced,
/// and on terminals without FDModify deleted and created again. On the first attempt it is a conflict.
pub(crate) fn create_again(
    terminal: &dyn Peer,
    face: &Face,
    attempt: u32,
    write: &dyn Fn(Way) -> Result<Written, Error>,
) -> Result<Written, Error> {
    let first = match write(Way::Create) {
        Err(error) if error.kind == ErrorKind::Conflict && attempt > 1 => error,
        other => return other,
    };
    match write(Way::Modify) {
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::NotFound) => {
            log::info(&format!("{}: the face is deleted and created again", first.message));
            delete(terminal, &face.library, &face.fpid)?;
            write(Way::Create)
        }
        other => other,
    }
}

fn written(response: &bascule_sdk::Response, line: &str) -> Result<Written, Error> {
    let (document, status) = reply::accept_write(response, line)?;
    let row_key = document.json().and_then(|value| json::field(value, "rowKey")).and_then(json::as_text);
    Ok(Written {
        reboot_required: reply::reboot_required(&status),
        row_key: row_key.filter(|key| !key.is_empty()),
        replaced: None,
    })
}

/// Whether the person has a face. Terminals that ignore the `FPID` condition are read page by page.
pub(crate) fn find(terminal: &dyn Peer, library: &Library, fpid: &str) -> Result<Finding, Error> {
    check_employee_no(fpid)?;
    let none = Finding { found: false, face_url: None, face_path: None, name: None, sha256: None };
    let mut received = 0_u64;
    let mut seen = BTreeSet::new();
    loop {
        let request =
            Request::post("/ISAPI/Intelligent/FDLib/FDSearch").query("format", "json").json(&json!({
                "searchResultPosition": received, "maxResults": 30,
                "faceLibType": library.kind, "FDID": library.fdid, "FPID": fpid,
            }));
        let line = request.line();
        let document = match reply::accept(&terminal.send(request)?, &line) {
            Ok(document) => document,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(none),
            Err(error) => return Err(error),
        };
        let value = document.json().ok_or_else(|| reply::unexpected(&line, "an FDSearch result"))?;
        let list = json::field(value, "MatchList");
        if list.is_none()
            && json::field(value, "numOfMatches").is_none()
            && json::field(value, "responseStatusStrg").is_none()
        {
            return Err(reply::unexpected(&line, "an FDSearch result"));
        }
        let items = json::items(list);
        received += items.len() as u64;
        let page = Page::read(value, received);
        let mut news = false;
        for item in &items {
            let number = json::field(item, "FPID").and_then(json::as_text);
            // The only match of a search for this person, from a terminal that does not repeat the number.
            let alone = number.is_none() && received == 1 && !page.more;
            if alone || number.as_deref() == Some(fpid) {
                let face_url =
                    json::field(item, "faceURL").and_then(json::as_text).filter(|url| !url.is_empty());
                let face_path = face_url.as_deref().and_then(path_of);
                let name = json::field(item, "name").and_then(json::as_text);
                return Ok(Finding { found: true, face_url, face_path, name, sha256: None });
            }
            news |= seen.insert(number);
        }
        if !page.more || items.is_empty() {
            return Ok(none);
        }
        if !news || received > MAX_FACES {
            return Err(Error::protocol("the terminal sends the same page of faces again and again"));
        }
    }
}

/// Deletes the face of one person and looks whether it is gone; false where the terminal says that there was none.
pub(crate) fn delete(terminal: &dyn Peer, library: &Library, fpid: &str) -> Result<bool, Error> {
    check_employee_no(fpid)?;
    let request = Request::put("/ISAPI/Intelligent/FDLib/FDSearch/Delete")
        .query("format", "json")
        .query("FDID", library.fdid.as_str())
        .query("faceLibType", library.kind.as_str())
        .pace(Pace::Slow)
        .json(&json!({ "FPID": [{ "value": fpid }] }));
    let line = request.line();
    match reply::accept_write(&terminal.send(request)?, &line) {
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::NotFound && error.effect == Effect::None => return Ok(false),
        Err(error) => return Err(error),
    }
    if find(terminal, library, fpid).map_err(|error| error.effect(Effect::Applied))?.found {
        let message = format!("the terminal said that it deleted the face of `{fpid}`, and still has it");
        return Err(Error::new(ErrorKind::VerificationFailed, message).effect(Effect::Unknown));
    }
    Ok(true)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const MODIFY: &str = "PUT /ISAPI/Intelligent/FDLib/FDModify?format=json";
    const CREATE: &str = "POST /ISAPI/Intelligent/FDLib/FaceDataRecord?format=json";
    const SET_UP: &str = "PUT /ISAPI/Intelligent/FDLib/FDSetUp?format=json";
    const DELETE: &str =
        "PUT /ISAPI/Intelligent/FDLib/FDSearch/Delete?format=json&FDID=1&faceLibType=blackFD";
    const SEARCH: &str = "POST /ISAPI/Intelligent/FDLib/FDSearch?format=json";
    const OK: &str =
        r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok","errorCode":1,"errorMsg":"ok"}"#;

    const NOBODY: &str = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok","responseStatusStrg":"NO MATCH","numOfMatches":0,"totalMatches":0}"#;

    #[test]
    fn a_face_that_is_said_to_be_deleted_and_stays_is_not_believed() {
        let there = r#"{"statusCode":1,"responseStatusStrg":"OK","numOfMatches":1,"totalMatches":1,"MatchList":[{"FPID":"1001"}]}"#;
        let script = Script::new().then(DELETE, answer(200, OK)).then(SEARCH, answer(200, there));
        let error = delete(&script, &library(), "1001").unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::Unknown));
        let script = Script::new().then(DELETE, answer(200, OK)).then(SEARCH, answer(200, NOBODY));
        assert!(delete(&script, &library(), "1001").unwrap());
    }

    fn library() -> Library {
        Library::new(None, None)
    }

    fn face() -> Face {
        Face {
            library: library(),
            fpid: "1001".into(),
            face_id: None,
            name: None,
            gender: None,
            born_time: None,
        }
    }

    #[test]
    fn a_face_that_an_earlier_try_may_have_created_is_replaced() {
        let exists = r#"{"statusCode":6,"statusString":"Invalid Content","subStatusCode":"deviceUserAlreadyExistFace"}"#;
        let unsupported =
            r#"{"statusCode":4,"statusString":"Invalid Operation","subStatusCode":"notSupport"}"#;
        let create = |script: &Script, attempt| {
            create_again(script, &face(), attempt, &|way| {
                write_from_url(script, way, &face(), "http://p.test/a.jpg")
            })
        };
        let script = Script::new().then(CREATE, answer(400, exists));
        assert_eq!(create(&script, 1).unwrap_err().kind, ErrorKind::Conflict);
        let script = Script::new().then(CREATE, answer(400, exists)).then(MODIFY, answer(200, OK));
        assert!(create(&script, 2).is_ok());
        let script = Script::new()
            .then(CREATE, answer(400, exists))
            .then(MODIFY, answer(403, unsupported))
            .then(DELETE, answer(200, OK))
            .then(SEARCH, answer(200, NOBODY))
            .then(CREATE, answer(200, OK));
        assert!(create(&script, 2).is_ok());
        assert_eq!(script.sent().len(), 5);
    }

    #[test]
    fn modify_sends_the_body_that_terminals_know() {
        let script = Script::new().then(MODIFY, answer(200, OK));
        let face = Face { face_id: Some("1001".into()), ..face() };
        let written = write_from_url(&script, Way::Modify, &face, "http://photos.test/1001.jpg").unwrap();
        assert_eq!(written, Written { reboot_required: false, row_key: None, replaced: None });
        assert_eq!(
            script.body(0),
            r#"{"faceURL":"http://photos.test/1001.jpg","faceLibType":"blackFD","FDID":"1","FPID":"1001","faceID":"1001"}"#
        );
        assert_eq!(script.sent()[0].pace, Pace::Slow);
    }

    #[test]
    fn create_and_set_up_differ_only_in_method_and_path() {
        let face = Face {
            name: Some("Ana".into()),
            gender: Some("female".into()),
            born_time: Some("1990-12-31".into()),
            ..face()
        };
        let answered = r#"{"statusCode":1,"subStatusCode":"ok","FPID":"1001","rowKey":"k7"}"#;
        let script = Script::new()
            .then(CREATE, answer(200, answered))
            .then(SET_UP, answer(200, r#"{"statusCode":7}"#));
        let written = write_from_url(&script, Way::Create, &face, "http://p.test/a.jpg").unwrap();
        assert_eq!(written.row_key.as_deref(), Some("k7"));
        assert!(write_from_url(&script, Way::SetUp, &face, "http://p.test/a.jpg").unwrap().reboot_required);
        assert_eq!(script.body(0), script.body(1));
        assert!(script.body(0).ends_with(r#""name":"Ana","gender":"female","bornTime":"1990-12-31"}"#));
    }

    #[test]
    fn a_refused_modify_is_an_error_that_a_catch_can_name() {
        let body = r#"{"statusCode":6,"statusString":"Invalid Content","subStatusCode":"faceDataNotExist","errorCode":1073766418,"errorMsg":"FPID"}"#;
        let script = Script::new().then(MODIFY, answer(400, body));
        let error = write_from_url(&script, Way::Modify, &face(), "http://p.test/a.jpg").unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::NotFound, Some("isapi:faceDataNotExist"))
        );
        assert_eq!(error.message, "the person has no face on this terminal (faceDataNotExist: FPID)");
    }

    #[test]
    fn values_that_cannot_be_right_are_not_sent() {
        let nobody = Script::new();
        for url in ["", "/storage/a.jpg", "ftp://x/a.jpg", "http://p.test/a b.jpg"] {
            let error = write_from_url(&nobody, Way::Modify, &face(), url).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput, "{url}");
        }
        for fpid in ["", "  ", "123456789012345678901234567890123", "1\n2"] {
            let face = Face { fpid: fpid.into(), ..face() };
            let error = write_from_url(&nobody, Way::Modify, &face, "http://p.test/a.jpg").unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput, "{fpid:?}");
            assert_eq!(delete(&nobody, &library(), fpid).unwrap_err().kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn upload_sends_the_data_first_and_the_picture_last() {
        for (way, line) in [(Way::Modify, MODIFY), (Way::Create, CREATE), (Way::SetUp, SET_UP)] {
            let script = Script::new().file("1001.jpg", [0xFF, 0xD8, 0xFF, 0xD9]).then(line, answer(200, OK));
            write_from_file(&script, way, &face(), "1001.jpg").unwrap();
            assert_eq!(
                script.body(0),
                "FaceDataRecord [application/json]: {\"faceLibType\":\"blackFD\",\"FDID\":\"1\",\"FPID\":\"1001\"}\n\
                 img as face.jpg [image/jpeg]: (file)\n"
            );
        }
    }

    #[test]
    fn a_file_that_no_terminal_takes_is_not_sent() {
        let script = Script::new().file("big.jpg", vec![0; 204_801]).file("none.jpg", "");
        for name in ["big.jpg", "none.jpg"] {
            let error = write_from_file(&script, Way::Create, &face(), name).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
        }
        assert_eq!(
            write_from_file(&script, Way::Create, &face(), "x.jpg").unwrap_err().kind,
            ErrorKind::NotFound
        );
    }

    #[test]
    fn find_reads_the_flat_search_result() {
        let body = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok","responseStatusStrg":"OK","numOfMatches":1,"totalMatches":1,
            "MatchList":[{"FPID":"1001","faceURL":"http://192.168.1.7:80/LOCALS/pic/enrlFace/0/1.jpg@WEB5","name":"Ana"}]}"#;
        let script = Script::new().then(SEARCH, answer(200, body));
        let finding = find(&script, &library(), "1001").unwrap();
        assert!(finding.found);
        assert_eq!(finding.face_path.as_deref(), Some("/LOCALS/pic/enrlFace/0/1.jpg@WEB5"));
        assert_eq!(finding.name.as_deref(), Some("Ana"));
        assert_eq!(
            script.body(0),
            r#"{"searchResultPosition":0,"maxResults":30,"faceLibType":"blackFD","FDID":"1","FPID":"1001"}"#
        );
    }

    #[test]
    fn none_is_an_answer_in_every_spelling() {
        for body in [
            r#"{"statusCode":1,"responseStatusStrg":"NO MATCH","numOfMatches":0,"totalMatches":0}"#,
            r#"{"statusCode":1,"responseStatusStrg":"NO MATCHES","numOfMatches":"0","totalMatches":"0","MatchList":[]}"#,
            r#"{"responseStatusStrg":"OK","numOfMatches":1,"totalMatches":1,"MatchList":[{"FPID":"10010"}]}"#,
        ] {
            let script = Script::new().then(SEARCH, answer(200, body));
            assert!(!find(&script, &library(), "1001").unwrap().found, "{body}");
        }
        let refused = r#"{"statusCode":6,"subStatusCode":"employeeNoNotExist"}"#;
        assert!(!find(&Script::new().then(SEARCH, answer(400, refused)), &library(), "1001").unwrap().found);
    }

    #[test]
    fn a_terminal_that_ignores_the_number_is_read_to_the_end() {
        let page = |status: &str, numbers: std::ops::Range<u32>| {
            let list: Vec<Value> = numbers.map(|n| json!({ "FPID": n.to_string() })).collect();
            answer(200, json!({ "responseStatusStrg": status, "numOfMatches": list.len(), "totalMatches": 40, "MatchList": list }).to_string())
        };
        let script = Script::new().then(SEARCH, page("MORE", 0..30)).then(SEARCH, page("OK", 30..40));
        assert!(find(&script, &library(), "35").unwrap().found);
        script.finish();
        let script = Script::new().then(SEARCH, page("MORE", 0..30)).then(SEARCH, page("MORE", 0..30));
        assert_eq!(find(&script, &library(), "35").unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn a_success_without_a_search_result_is_no_answer_to_a_search() {
        let script = Script::new().then(SEARCH, answer(200, OK));
        assert_eq!(find(&script, &library(), "1001").unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn delete_names_exactly_one_person() {
        let line = "PUT /ISAPI/Intelligent/FDLib/FDSearch/Delete?format=json&FDID=1&faceLibType=blackFD";
        let gone = r#"{"statusCode":6,"subStatusCode":"deleteNoExistFace"}"#;
        let script = Script::new()
            .then(line, answer(200, OK))
            .then(SEARCH, answer(200, NOBODY))
            .then(line, answer(400, gone));
        assert!(delete(&script, &library(), "1001").unwrap());
        assert!(!delete(&script, &library(), "1001").unwrap());
        assert_eq!(script.body(0), r#"{"FPID":[{"value":"1001"}]}"#);
    }
}
