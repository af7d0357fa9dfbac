//! Face photos: written, and looked at afterwards.

use bascule_sdk::{Error, ErrorKind, Peer, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bindings::exports::bascule::hikcentral::photos::Stored;
use crate::envelope::{self, Call, after_write, not_so, one_id};
use crate::persons;

const SET: &str = "resource/v1/person/face/update";
const READ: &str = "resource/v1/person/picture_data";

/// The most bytes of a photo.
const MAX_BYTES: usize = 204_800;

/// A photo as the platform takes it: base64 without a prefix.
pub(crate) fn encoded(photo: &[u8]) -> Result<String, Error> {
    if photo.is_empty() || photo.len() > MAX_BYTES {
        return Err(Error::invalid_input(format!(
            "the photo has {} bytes; it must have 1 to {MAX_BYTES}",
            photo.len()
        )));
    }
    if !photo.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Err(Error::invalid_input("the photo is not a JPEG"));
    }
    Ok(STANDARD.encode(photo))
}

/// Writes a photo by face/update, and reads back what is there now.
pub(crate) fn set(server: &dyn Peer, person: &str, photo: &[u8]) -> Result<Stored, Error> {
    let face = encoded(photo)?;
    let before = persons::pic_uri(&persons::raw(server, person)?);
    // A photo that was there before makes `picUri` say nothing: then the pictures are compared, where they can be read.
    let old = before.and_then(|uri| picture(server, person, &uri).ok());
    envelope::write(server, SET, &json!({ "personId": person, "faceData": face }))?;
    let after = persons::raw(server, person).map_err(after_write)?;
    let Some(uri) = persons::pic_uri(&after) else {
        return Err(persons::without_photo(person));
    };
    let mut compared = false;
    if let Some(old) = old.filter(|old| old != photo)
        && let Ok(new) = picture(server, person, &uri)
    {
        if new == old {
            let message = format!("the platform said code 0, and person {person} still has the old photo");
            return Err(not_so("old-photo", message, &json!({ "personId": person })));
        }
        compared = true;
    }
    Ok(Stored { picture: uri, compared })
}

/// The bytes of a person's photo.
pub(crate) fn read(server: &dyn Peer, person: &str) -> Result<Vec<u8>, Error> {
    let record = persons::raw(server, person)?;
    match persons::pic_uri(&record) {
        Some(uri) => picture(server, person, &uri),
        None => {
            Err(Error::not_found(format!("person {person} has no photo")).code("hikcentral:empty-picUri"))
        }
    }
}

/// `picture_data`: a data address as text, without an envelope; errors have one. It may come by way of a redirect.
fn picture(server: &dyn Peer, person: &str, uri: &str) -> Result<Vec<u8>, Error> {
    one_id(person, "person")?;
    let request = envelope::request(READ, &json!({ "personId": person, "picUri": uri }), Call::Read);
    let line = request.line();
    let mut response = server.send(request).map_err(|error| envelope::lost(error, &line, Call::Read))?;
    if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        let target = response.header("location").unwrap_or_default().to_owned();
        let follow = redirected(&server.origin(), &target)?;
        response = server.send(follow).map_err(|error| envelope::lost(error, &line, Call::Read))?;
    }
    let bytes = response.body.trim_ascii();
    if response.is_success() {
        if let Some(comma) =
            bytes.starts_with(b"data:").then(|| bytes.iter().position(|b| *b == b',')).flatten()
        {
            let text: Vec<u8> =
                bytes.iter().skip(comma + 1).copied().filter(|b| !b.is_ascii_whitespace()).collect();
            return STANDARD
                .decode(text)
                .ok()
                .filter(|picture| !picture.is_empty())
                .ok_or_else(|| Error::protocol("the platform's picture is not base64"));
        }
        if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            return Ok(response.body);
        }
    }
    match envelope::open(&response, &line, Call::Read) {
        Err(error) => Err(error),
        Ok(Value::Null | Value::String(_)) => Err(Error::not_found("the platform has no such picture")),
        Ok(_) => Err(Error::protocol("the platform's answer is not a picture")),
    }
}

/// The request for where a redirect points, if that is the platform itself.
fn redirected(origin: &str, target: &str) -> Result<Request, Error> {
    let refuse = || {
        Error::new(
            ErrorKind::Refused,
            "the platform redirects a picture to another address, which is never followed",
        )
        .code("hikcentral:redirect")
    };
    let below = match target.strip_prefix(origin) {
        Some(below) => below,
        None if target.starts_with('/') && !target.starts_with("//") => target,
        None => {
            // An origin without its port is the same one where the port is the scheme's own.
            let short = origin.strip_suffix(":443").or_else(|| origin.strip_suffix(":80"));
            short.and_then(|short| target.strip_prefix(short)).ok_or_else(refuse)?
        }
    };
    if !below.starts_with('/') || below.contains('#') {
        return Err(refuse());
    }
    let (path, query) = below.split_once('?').unwrap_or((below, ""));
    let mut request = Request::get(path).header("Accept", "*/*");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request = request.query(decoded(name), decoded(value));
    }
    Ok(request)
}

/// Percent-decoded; what is no escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer, answer_with};
    use bascule_sdk::{Effect, Response};

    use super::*;

    const JPEG: [u8; 6] = [0xFF, 0xD8, 0xFF, 0xE0, 0xFF, 0xD9];
    const OLD: [u8; 6] = [0xFF, 0xD8, 0xFF, 0xE1, 0xFF, 0xD9];
    const LINE_ID: &str = "POST /artemis/api/resource/v1/person/personId/personInfo";
    const LINE_SET: &str = "POST /artemis/api/resource/v1/person/face/update";
    const LINE_READ: &str = "POST /artemis/api/resource/v1/person/picture_data";
    const DONE: &str = r#"{"code":"0","msg":"Success","data":""}"#;

    fn info(name: &str, uri: &str) -> Response {
        let body = json!({ "code": "0", "data": { "personId": "7", "personCode": "V7", "personPhoto": { name: uri } } });
        answer(200, body.to_string())
    }

    fn data(picture: &[u8]) -> Response {
        answer_with(
            200,
            &[("Content-Type", "image/jpeg")],
            format!("data:image/jpeg;base64,{}", STANDARD.encode(picture)),
        )
    }

    #[test]
    fn a_photo_counts_as_stored_when_pic_uri_says_so() {
        for name in ["picUri", "picBigUri"] {
            let script = Script::new()
                .then(LINE_ID, info(name, ""))
                .then(LINE_SET, answer(200, DONE))
                .then(LINE_ID, info(name, "Vsm://1"));
            let stored = set(&script, "7", &JPEG).unwrap();
            assert_eq!((stored.picture.as_str(), stored.compared), ("Vsm://1", false));
            assert_eq!(script.body(1), r#"{"personId":"7","faceData":"/9j/4P/Z"}"#);
            script.finish();
        }
    }

    #[test]
    fn code_0_with_an_empty_pic_uri_is_named_as_such() {
        let script = Script::new()
            .then(LINE_ID, info("picUri", ""))
            .then(LINE_SET, answer(200, DONE))
            .then(LINE_ID, info("picUri", ""));
        let error = set(&script, "7", &JPEG).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikcentral:empty-picUri"))
        );
        assert!(
            error.message.contains("code 0") && error.message.contains("picUri is empty"),
            "{}",
            error.message
        );
    }

    #[test]
    fn the_old_photo_is_not_taken_for_the_new_one() {
        let script = |after: &[u8]| {
            Script::new()
                .then(LINE_ID, info("picUri", "Vsm://1"))
                .then(LINE_READ, data(&OLD))
                .then(LINE_SET, answer(200, DONE))
                .then(LINE_ID, info("picUri", "Vsm://1"))
                .then(LINE_READ, data(after))
        };
        assert_eq!(set(&script(&OLD), "7", &JPEG).unwrap_err().code.as_deref(), Some("hikcentral:old-photo"));
        assert!(set(&script(&JPEG), "7", &JPEG).unwrap().compared);
    }

    #[test]
    fn a_full_database_is_busy_and_of_unknown_effect() {
        let full = r#"{"code":"5","msg":"Hikcentral Database Exception","data":""}"#;
        let script = Script::new().then(LINE_ID, info("picUri", "")).then(LINE_SET, answer(200, full));
        let error = set(&script, "7", &JPEG).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref(), error.effect),
            (ErrorKind::Busy, Some("hikcentral:5"), Effect::Unknown)
        );
        assert!(
            error.message.contains("full database") && error.message.contains("Database Exception"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_picture_is_read_in_all_its_forms() {
        let ask = |responses: Vec<(&str, Response)>| {
            let mut script = Script::new().then(LINE_ID, info("picUri", "Vsm://1"));
            for (line, response) in responses {
                script = script.then(line, response);
            }
            read(&script, "7")
        };
        assert_eq!(ask(vec![(LINE_READ, data(&JPEG))]).unwrap(), JPEG);
        assert_eq!(ask(vec![(LINE_READ, answer(200, JPEG))]).unwrap(), JPEG);
        let moved = |to: &str| answer_with(302, &[("Location", to)], "");
        let followed = ("GET /artemis/pic?a=1 2", data(&JPEG));
        assert_eq!(ask(vec![(LINE_READ, moved("/artemis/pic?a=1%202")), followed.clone()]).unwrap(), JPEG);
        assert_eq!(
            ask(vec![(LINE_READ, moved("https://peer.test/artemis/pic?a=1%202")), followed]).unwrap(),
            JPEG
        );
        let elsewhere = ask(vec![(LINE_READ, moved("https://peer.test.evil.example/pic"))]).unwrap_err();
        assert_eq!(elsewhere.kind, ErrorKind::Refused);
        let gone =
            ask(vec![(LINE_READ, answer(200, r#"{"code":"128","msg":"gone","data":""}"#))]).unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_photo_is_not_sent() {
        for photo in [&[][..], b"GIF89a", &[0xFF; 204_801]] {
            assert_eq!(set(&Script::new(), "7", photo).unwrap_err().kind, ErrorKind::InvalidInput);
        }
    }
}
