//! From a terminal's refusal to the host's error record: one table, documented in `wit/plugin.wit`.
//!
//! Names and numbers: `facts/isapi.md` 3.4, 4.4 and 8.

mod known;

use std::time::Duration;

use bascule_sdk::{Effect, Error, ErrorKind, Response};
use serde_json::{Map, Value};

use crate::reply::Status;
use known::KNOWN;

/// The error for an answer that is no success. `line` is the request's method and path.
pub(crate) fn error(status: &Status, response: &Response, line: &str) -> Error {
    let (kind, words) = judge(status);
    let mut message = match words {
        Some(words) => words.to_owned(),
        None => format!("the terminal refused `{line}`"),
    };
    if let Some(reason) = reason(status) {
        message.push_str(&format!(" ({reason})"));
    }
    let mut error = Error::new(kind, message).code(code(status)).effect(effect(status));
    if kind == ErrorKind::LockedOut {
        if let Some(seconds) = status.locked_for.filter(|seconds| *seconds > 0) {
            error = error.retry_after(Duration::from_secs(seconds));
        }
    } else if let Some(seconds) = status.retry_after.filter(|_| kind == ErrorKind::Busy) {
        error = error.retry_after(Duration::from_secs(seconds));
    }
    error.details(&details(status, response, line))
}

fn judge(status: &Status) -> (ErrorKind, Option<&'static str>) {
    if status.locked_for.is_some() {
        return (ErrorKind::LockedOut, Some("the terminal has locked the account"));
    }
    if let Some(sub) = status.sub.as_deref() {
        if let Some((_, kind, words)) = KNOWN.iter().find(|(name, ..)| name.eq_ignore_ascii_case(sub)) {
            return (*kind, Some(words));
        }
        // Families of names, for the 2,200 rows that the table leaves out.
        let sub = sub.to_ascii_lowercase();
        if sub.contains("alreadyexist") {
            return (ErrorKind::Conflict, None);
        }
        if sub.contains("notexist") || sub.contains("noexist") {
            return (ErrorKind::NotFound, None);
        }
        if sub.contains("notsupport") {
            return (ErrorKind::Unsupported, Some("this terminal does not support the call"));
        }
        if sub.contains("busy") {
            return (ErrorKind::Busy, Some("the terminal is busy"));
        }
    }
    match (status.code, status.http) {
        (Some(2), _) | (_, 429 | 503) => (ErrorKind::Busy, Some("the terminal is busy")),
        (Some(3), _) | (_, 500 | 502 | 504) => {
            (ErrorKind::Busy, Some("the terminal reports a fault of its own"))
        }
        (Some(5 | 6), _) => (ErrorKind::InvalidInput, None),
        (_, 404 | 405 | 501) => (ErrorKind::Unsupported, Some("this terminal does not know the call")),
        (_, 401) => (ErrorKind::Unauthorized, Some("the terminal refuses the credentials")),
        (_, 403) => {
            (ErrorKind::Refused, Some("the terminal forbids the call: no permission, or it does not know it"))
        }
        (Some(4 | 8), _) => (ErrorKind::Refused, None),
        (_, 400..=499) => (ErrorKind::InvalidInput, None),
        _ => (ErrorKind::Protocol, None),
    }
}

/// What a refused write has changed: nothing, unless the terminal failed in the middle of it.
fn effect(status: &Status) -> Effect {
    let some_done = status.sub.as_deref().is_some_and(|sub| sub.eq_ignore_ascii_case("notAllSuccess"));
    // A full or busy terminal (HTTP 503, statusCode 2) has not begun.
    // One that says OK (statusCode 1 or 7) under a status of failure may have done it.
    let unsaid = matches!(status.code, None | Some(1 | 7));
    let broke = status.code == Some(3) || (unsaid && status.http >= 500 && status.http != 503);
    if some_done || broke { Effect::Unknown } else { Effect::None }
}

/// `badJsonContent: beginTime and endTime`, from whatever the terminal gave.
fn reason(status: &Status) -> Option<String> {
    let name = status.sub.as_deref().or(status.string.as_deref());
    let said =
        status.error_msg.as_deref().filter(|said| !said.eq_ignore_ascii_case("ok") && Some(*said) != name);
    let line = match (name, said) {
        (Some(name), Some(said)) => format!("{name}: {said}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) if status.code.is_some() => return None,
        (None, None) => format!("HTTP {}", status.http),
    };
    Some(line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect())
}

fn code(status: &Status) -> String {
    match (status.sub.as_deref(), status.code) {
        // A name is a word; anything else in its place would make a code that no workflow can name.
        (Some(sub), _) if sub.len() <= 64 && sub.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            format!("isapi:{sub}")
        }
        (_, Some(code)) => format!("isapi:status-{code}"),
        (_, None) => format!("isapi:http-{}", status.http),
    }
}

fn details(status: &Status, response: &Response, line: &str) -> Value {
    let mut details = Map::new();
    details.insert("request".into(), line.into());
    details.insert("httpStatus".into(), status.http.into());
    if let Some(code) = status.code {
        details.insert("statusCode".into(), code.into());
    }
    let texts = [
        ("statusString", &status.string),
        ("subStatusCode", &status.sub),
        ("errorCode", &status.error_code),
        ("errorMsg", &status.error_msg),
        ("requestURL", &status.request_url),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            let number = if name == "errorCode" { text.parse::<i64>().ok() } else { None };
            details.insert(name.into(), number.map_or_else(|| Value::from(text.as_str()), Value::from));
        }
    }
    if status.code.is_none() {
        let excerpt = response.excerpt(300);
        if !excerpt.is_empty() {
            details.insert("body".into(), excerpt.into());
        }
    }
    Value::Object(details)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{answer, answer_with};
    use serde_json::json;

    use super::*;
    use crate::reply::accept_write;

    const LINE: &str = "PUT /ISAPI/Intelligent/FDLib/FDModify?format=json";

    fn refuse(status: u16, body: &str) -> Error {
        accept_write(&answer(status, body), LINE).unwrap_err()
    }

    #[test]
    fn every_field_of_a_json_refusal_is_kept() {
        let error = refuse(
            400,
            r#"{"requestURL":"/ISAPI/x","statusCode":6,"statusString":"Invalid Content","subStatusCode":"badJsonContent","errorCode":1610612759,"errorMsg":"beginTime and endTime"}"#,
        );
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert_eq!(error.code.as_deref(), Some("isapi:badJsonContent"));
        assert_eq!(error.effect, Effect::None);
        assert!(error.message.ends_with("(badJsonContent: beginTime and endTime)"), "{}", error.message);
        let details: Value = serde_json::from_str(&error.details.unwrap()).unwrap();
        assert_eq!(
            details,
            json!({
                "request": LINE, "httpStatus": 400, "statusCode": 6, "statusString": "Invalid Content",
                "subStatusCode": "badJsonContent", "errorCode": 1_610_612_759, "errorMsg": "beginTime and endTime",
                "requestURL": "/ISAPI/x",
            })
        );
    }

    #[test]
    fn kinds_follow_the_table() {
        let cases = [
            (400, 6, "employeeNoNotExist", ErrorKind::NotFound),
            (400, 6, "deviceUserAlreadyExistFace", ErrorKind::Conflict),
            (400, 6, "deviceUserAlreadyExist", ErrorKind::Conflict),
            (400, 6, "employeeNoAlreadyExist", ErrorKind::Conflict),
            (400, 6, "somethingNewAlreadyExist", ErrorKind::Conflict),
            (400, 6, "fingerPrintNotExist", ErrorKind::NotFound),
            (400, 6, "deviceUserFull", ErrorKind::Refused),
            (400, 6, "faceDataModeling", ErrorKind::Busy),
            (200, 2, "deviceBusy", ErrorKind::Busy),
            (403, 4, "notSupport", ErrorKind::Unsupported),
            (403, 4, "lowPrivilege", ErrorKind::Refused),
            (400, 6, "SubpicAnalysisModelingError", ErrorKind::InvalidInput),
            (400, 6, "multipleFaceObjectError", ErrorKind::InvalidInput),
            (400, 6, "urlDownloadFail", ErrorKind::Offline),
            (500, 3, "deviceError", ErrorKind::Busy),
            (400, 5, "neverHeardOf", ErrorKind::InvalidInput),
            (200, 4, "neverHeardOf", ErrorKind::Refused),
            (400, 4, "userNameLocked", ErrorKind::LockedOut),
        ];
        for (http, status, sub, kind) in cases {
            let body = format!(r#"{{"statusCode":{status},"statusString":"x","subStatusCode":"{sub}"}}"#);
            let error = refuse(http, &body);
            assert_eq!((error.kind, error.code), (kind, Some(format!("isapi:{sub}"))));
        }
    }

    #[test]
    fn an_xml_refusal_reads_like_a_json_one() {
        let error = refuse(
            403,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ResponseStatus version=\"2.0\" xmlns=\"http://www.std-cgi.com/ver20/XMLSchema\">\
             <requestURL>/ISAPI/y</requestURL><statusCode>4</statusCode><statusString>Invalid Operation</statusString>\
             <subStatusCode>notSupport</subStatusCode></ResponseStatus>",
        );
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unsupported, Some("isapi:notSupport")));
        assert_eq!(error.message, "this terminal does not support the call (notSupport)");
    }

    #[test]
    fn a_device_that_broke_may_have_written() {
        assert_eq!(refuse(500, "").effect, Effect::Unknown);
        let fine = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#;
        assert_eq!(refuse(500, fine).effect, Effect::Unknown);
        assert_eq!(refuse(500, r#"{"statusCode":3,"subStatusCode":"deviceError"}"#).effect, Effect::Unknown);
        assert_eq!(refuse(503, "").effect, Effect::None);
        assert_eq!(
            refuse(200, r#"{"statusCode":8,"subStatusCode":"notAllSuccess"}"#).effect,
            Effect::Unknown
        );
        assert_eq!(
            refuse(404, "<html><body>Access Error: 404 -- Not Found</body></html>").effect,
            Effect::None
        );
    }

    #[test]
    fn a_lock_in_the_answer_says_how_long() {
        let body = "<userCheck xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><statusValue>401</statusValue><lockStatus>lock</lockStatus><unlockTime>1795</unlockTime><retryLoginTime>0</retryLoginTime></userCheck>";
        let error = refuse(403, body);
        assert_eq!((error.kind, error.retry_after), (ErrorKind::LockedOut, Some(1_795_000)));
        let open = body.replace(">lock<", ">unlock<");
        assert_eq!(refuse(403, &open).kind, ErrorKind::Refused);
    }

    #[test]
    fn a_busy_answer_passes_on_when_to_come_again() {
        let response = answer_with(503, &[("Retry-After", "7")], "");
        let error = accept_write(&response, LINE).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(7000)));
        assert_eq!(error.code.as_deref(), Some("isapi:http-503"));
    }

    #[test]
    fn a_hostile_name_does_not_become_a_code() {
        let error = refuse(400, r#"{"statusCode":6,"subStatusCode":"a\nb"}"#);
        assert_eq!(error.code.as_deref(), Some("isapi:status-6"));
        assert!(!error.message.contains('\n'));
    }
}
