//! Reading a recorder's answer, and turning its refusals into the host's error record (`facts/isapi.md` 8).

use std::time::Duration;

use bascule_sdk::xml::{self, Element};
use bascule_sdk::{Error, ErrorKind, Looks, Peer, Request, Response};
use serde_json::json;

/// Sends a request that only reads, and returns the root of the XML answer.
///
/// # Errors
/// As `wit/plugin.wit` tells.
pub(crate) fn ask(recorder: &dyn Peer, request: Request) -> Result<Element, Error> {
    let line = request.line();
    read(&recorder.send(request)?, &line)
}

/// The same, where "this recorder does not know it" is an answer too.
pub(crate) fn ask_if_known(recorder: &dyn Peer, request: Request) -> Result<Option<Element>, Error> {
    match ask(recorder, request) {
        Ok(root) => Ok(Some(root)),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// The root of an answer that is no refusal.
pub(crate) fn read(response: &Response, line: &str) -> Result<Element, Error> {
    let root = match response.looks() {
        Looks::Xml => xml::parse(&response.body).ok(),
        Looks::Empty | Looks::Json | Looks::Html | Looks::Other => None,
    };
    match root {
        Some(root) if response.is_success() && !is_refusal(&root) => Ok(root),
        Some(root) => Err(refusal(response, Some(&root), line)),
        None if response.is_success() => {
            let error = Error::protocol(format!("the recorder's answer to `{line}` is not XML"));
            Err(error.details(&json!({ "httpStatus": response.status, "body": response.excerpt(300) })))
        }
        None => Err(refusal(response, None, line)),
    }
}

/// The error for an answer that came instead of a file.
pub(crate) fn instead_of_file(response: &Response, line: &str) -> Error {
    match read(response, line) {
        Err(error) => error,
        Ok(root) => {
            Error::protocol(format!("the recorder answered `{line}` with `{}` instead of a file", root.name))
                .code("nvr:not-a-recording")
                .details(&json!({ "httpStatus": response.status, "body": response.excerpt(300) }))
        }
    }
}

fn is_refusal(root: &Element) -> bool {
    let status = root.name.eq_ignore_ascii_case("ResponseStatus");
    let code = root.text_of("statusCode").and_then(|code| code.parse::<u32>().ok());
    status && !matches!(code, Some(0 | 1 | 7))
}

/// Names that say more than their statusCode.
const KNOWN: &[(&str, ErrorKind, &str)] = &[
    ("notSupport", ErrorKind::Unsupported, "this recorder does not support the call"),
    ("methodNotAllowed", ErrorKind::Unsupported, "this recorder does not take the method"),
    ("invalidOperation", ErrorKind::Unsupported, "this recorder does not support the call"),
    ("lowPrivilege", ErrorKind::Refused, "the account has no permission"),
    ("notActivated", ErrorKind::Refused, "the recorder is not activated"),
    ("deviceBusy", ErrorKind::Busy, "the recorder is busy"),
    ("serviceUnavailable", ErrorKind::Busy, "the recorder is busy"),
    ("noMemory", ErrorKind::Busy, "the recorder is out of memory"),
    ("upgrading", ErrorKind::Busy, "the recorder is being upgraded"),
    ("searchTimeout", ErrorKind::Busy, "the recorder's search took too long"),
    ("noSearchIDResource", ErrorKind::Busy, "the recorder has too many searches open"),
    ("maxPreviewCount", ErrorKind::Busy, "too many streams are open on the recorder"),
    ("maxSessionUserLink", ErrorKind::Busy, "too many sessions are open on the recorder"),
    ("deviceError", ErrorKind::Busy, "the recorder reports a fault of its own"),
    ("internalError", ErrorKind::Busy, "the recorder reports a fault of its own"),
    ("userNameLocked", ErrorKind::LockedOut, "the recorder has locked the account"),
];

fn refusal(response: &Response, root: Option<&Element>, line: &str) -> Error {
    let text = |name: &str| root.and_then(|root| root.text_of(name)).filter(|text| *text != "null");
    let (code, sub) = (text("statusCode").and_then(|code| code.parse::<u32>().ok()), text("subStatusCode"));
    let locked = text("lockStatus").is_some_and(|lock| lock.to_ascii_lowercase().starts_with("lock"));
    let known = sub.and_then(|sub| KNOWN.iter().find(|(name, ..)| name.eq_ignore_ascii_case(sub)));
    let (kind, words) = match (known, code, response.status) {
        _ if locked => (ErrorKind::LockedOut, "the recorder has locked the account"),
        (Some((_, kind, words)), ..) => (*kind, *words),
        (None, Some(2), _) | (None, _, 429 | 503) => (ErrorKind::Busy, "the recorder is busy"),
        (None, Some(3), _) | (None, _, 500 | 502 | 504) => {
            (ErrorKind::Busy, "the recorder reports a fault of its own")
        }
        (None, Some(5 | 6), _) => (ErrorKind::InvalidInput, "the recorder objects to the request"),
        (None, _, 401) => (ErrorKind::Unauthorized, "the recorder refuses the credentials"),
        // Recorders say 403 about what they do not have (facts/isapi.md 7.1).
        (None, _, 403 | 404 | 405 | 501) => (ErrorKind::Unsupported, "this recorder does not know the call"),
        (None, _, 400..=499) => (ErrorKind::InvalidInput, "the recorder objects to the request"),
        (None, Some(_), _) => (ErrorKind::Refused, "the recorder refused the request"),
        (None, None, _) => (ErrorKind::Protocol, "the recorder answered something unknown"),
    };
    let plain = |name: &&str| name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let sub = sub.filter(plain);
    let name = match (sub, code) {
        (Some(sub), _) => format!("nvr:{sub}"),
        (None, Some(code)) => format!("nvr:status-{code}"),
        (None, None) => format!("nvr:http-{}", response.status),
    };
    let reason = sub.map_or_else(|| format!("HTTP {}", response.status), str::to_owned);
    let mut error = Error::new(kind, format!("{words} ({reason})")).code(name).details(&json!({
        "request": line, "httpStatus": response.status, "statusCode": code, "subStatusCode": sub,
        "statusString": text("statusString"), "body": if root.is_none() { response.excerpt(300) } else { String::new() },
    }));
    let seconds = if locked {
        text("unlockTime").or_else(|| text("resLockTime")).and_then(|seconds| seconds.parse().ok())
    } else {
        response.header("retry-after").and_then(|value| value.trim().parse().ok())
    };
    if let Some(seconds) = seconds.filter(|_| matches!(kind, ErrorKind::Busy | ErrorKind::LockedOut)) {
        error = error.retry_after(Duration::from_secs(seconds));
    }
    error
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::answer;

    use super::*;

    #[test]
    fn http_200_with_an_error_inside_is_an_error() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<ResponseStatus version=\"1.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\">\r\n\
                    <requestURL>/ISAPI/Streaming/channels/101/picture</requestURL>\r\n<statusCode>6</statusCode>\r\n\
                    <statusString>Invalid XML Content</statusString>\r\n<subStatusCode>badXmlContent</subStatusCode>\r\n</ResponseStatus>";
        let error = read(&answer(200, body), "GET /x").unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::InvalidInput, Some("nvr:badXmlContent")));
    }

    #[test]
    fn kinds_follow_what_the_recorder_says() {
        let cases = [
            (403, "4", "notSupport", ErrorKind::Unsupported),
            (403, "4", "lowPrivilege", ErrorKind::Refused),
            (503, "2", "deviceBusy", ErrorKind::Busy),
            (200, "3", "deviceError", ErrorKind::Busy),
            (400, "5", "badXmlFormat", ErrorKind::InvalidInput),
            (405, "4", "methodNotAllowed", ErrorKind::Unsupported),
            (400, "6", "neverHeardOf", ErrorKind::InvalidInput),
        ];
        for (http, status, sub, kind) in cases {
            let body = format!(
                "<ResponseStatus><statusCode>{status}</statusCode><subStatusCode>{sub}</subStatusCode></ResponseStatus>"
            );
            let error = read(&answer(http, body), "GET /x").unwrap_err();
            assert_eq!((error.kind, error.code), (kind, Some(format!("nvr:{sub}"))));
        }
        assert_eq!(read(&answer(503, ""), "GET /x").unwrap_err().kind, ErrorKind::Busy);
        assert_eq!(
            read(&answer(404, "<html><body>x</body></html>"), "GET /x").unwrap_err().kind,
            ErrorKind::Unsupported
        );
        assert_eq!(
            read(&answer(200, "<html><body>x</body></html>"), "GET /x").unwrap_err().kind,
            ErrorKind::Protocol
        );
        let locked = "<userCheck><statusValue>401</statusValue><lockStatus>lock</lockStatus><unlockTime>1795</unlockTime></userCheck>";
        let error = read(&answer(403, locked), "GET /x").unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::LockedOut, Some(1_795_000)));
    }
}
