//! Reading a terminal's answer: what form it has, and what the terminal says about success (`facts/isapi.md` 8).

use bascule_sdk::xml::{self, Element};
use bascule_sdk::{Effect, Error, Looks, Response, json};
use serde_json::Value;

use crate::verdict;

/// An answer, recognised by its first characters.
#[derive(Debug)]
pub(crate) enum Document {
    Xml(Element),
    Json(Value),
    Empty,
}

impl Document {
    /// The JSON object, where the answer is one.
    pub(crate) fn json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) => Some(value),
            Self::Xml(_) | Self::Empty => None,
        }
    }
}

/// What a terminal says about a request: the `ResponseStatus` in either form, and the lock fields of `userCheck`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) http: u16,
    pub(crate) code: Option<i64>,
    pub(crate) string: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_msg: Option<String>,
    pub(crate) request_url: Option<String>,
    /// Seconds until the account is unlocked; `Some(0)` where it is locked for an unknown time.
    pub(crate) locked_for: Option<u64>,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Status {
    fn read(response: &Response, document: &Document) -> Self {
        let read = |name: &str| -> Option<String> {
            match document {
                Document::Xml(root) => root.text_of(name).map(str::to_owned),
                Document::Json(value) => {
                    let status = json::field(value, "ResponseStatus").unwrap_or(value);
                    json::field(status, name).and_then(json::as_text)
                }
                Document::Empty => None,
            }
            .filter(|text| !text.is_empty() && text != "null")
        };
        // An answer that carries data may use these names for other things, so XML counts only under its own roots.
        let own_root = match document {
            Document::Xml(root) => {
                root.name.eq_ignore_ascii_case("ResponseStatus")
                    || root.name.eq_ignore_ascii_case("userCheck")
            }
            Document::Json(_) => true,
            Document::Empty => false,
        };
        let retry_after = response.header("retry-after").and_then(|value| value.trim().parse().ok());
        if !own_root {
            return Self { http: response.status, retry_after, ..Self::default() };
        }
        let locked = read("lockStatus").is_some_and(|lock| lock.to_ascii_lowercase().starts_with("lock"));
        let unlock = read("unlockTime").or_else(|| read("resLockTime"));
        Self {
            http: response.status,
            code: read("statusCode").and_then(|code| code.trim().parse().ok()),
            string: read("statusString"),
            sub: read("subStatusCode"),
            error_code: read("errorCode").or_else(|| read("MErrCode")),
            error_msg: read("errorMsg").or_else(|| read("description")),
            request_url: read("requestURL"),
            locked_for: locked.then(|| unlock.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)),
            retry_after,
        }
    }

    /// statusCode 0 and 1 are success, 7 is success that waits for a restart, 8 is a batch of which everything went well.
    fn is_success(&self) -> bool {
        let batch = self.sub.as_deref().is_some_and(|sub| sub.eq_ignore_ascii_case("allSuccess"));
        (200..300).contains(&self.http)
            && match self.code {
                None | Some(0 | 1 | 7) => true,
                Some(8) => batch,
                Some(_) => false,
            }
    }
}

/// The answer to a request that only reads. `line` is the request's method and path, for messages.
///
/// # Errors
/// As `wit/plugin.wit` tells; the effect is always `none`.
pub(crate) fn accept(response: &Response, line: &str) -> Result<Document, Error> {
    let (document, status) = read(response, line)?;
    if status.is_success() {
        Ok(document)
    } else {
        Err(verdict::error(&status, response, line).effect(Effect::None))
    }
}

/// The answer to a request that writes: the terminal must say that it went well.
///
/// # Errors
/// As `wit/plugin.wit` tells; the effect is `unknown` where the answer does not settle it.
pub(crate) fn accept_write(response: &Response, line: &str) -> Result<(Document, Status), Error> {
    let (document, status) = read(response, line).map_err(|error| {
        let refused = (400..500).contains(&response.status);
        error.effect(if refused { Effect::None } else { Effect::Unknown })
    })?;
    if !status.is_success() {
        return Err(verdict::error(&status, response, line));
    }
    if status.code.is_none() {
        return Err(unexpected(line, "a statusCode").effect(Effect::Unknown));
    }
    Ok((document, status))
}

/// True where the status asks for a restart.
pub(crate) fn reboot_required(status: &Status) -> bool {
    status.code == Some(7)
}

/// The error for an answer of a form that the request cannot have.
pub(crate) fn unexpected(line: &str, expected: &str) -> Error {
    Error::protocol(format!("the terminal's answer to `{line}` is not {expected}"))
}

fn read(response: &Response, line: &str) -> Result<(Document, Status), Error> {
    let document = match response.looks() {
        Looks::Xml => xml::parse(&response.body).map(Document::Xml),
        Looks::Json => response.json().map(Document::Json),
        Looks::Empty => Ok(Document::Empty),
        // An error page says nothing that its HTTP status does not.
        Looks::Html | Looks::Other if !response.is_success() => Ok(Document::Empty),
        Looks::Html => Err(unexpected(line, "XML or JSON but a web page")),
        Looks::Other => Err(unexpected(line, "XML or JSON")),
    };
    let document = match document {
        Ok(document) => document,
        Err(_) if !response.is_success() => Document::Empty,
        Err(error) => return Err(error),
    };
    let status = Status::read(response, &document);
    Ok((document, status))
}

/// One page of a search: `responseStatusStrg` (also spelled `responseSearchStatusStrg`) and the totals.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// True where the terminal says that more follows, or where it says nothing and the total is not reached.
    pub(crate) more: bool,
    /// All matches, where told.
    pub(crate) total: Option<u64>,
}

impl Page {
    /// Reads the page's own fields; `received` counts the items up to and with this page.
    pub(crate) fn read(search: &Value, received: u64) -> Self {
        let total = json::field(search, "totalMatches")
            .and_then(json::as_integer)
            .and_then(|n| u64::try_from(n).ok());
        let status = json::field(search, "responseStatusStrg")
            .or_else(|| json::field(search, "responseSearchStatusStrg"))
            .and_then(json::as_text);
        let more = match status.map(|status| status.trim().to_ascii_uppercase()).as_deref() {
            Some("MORE") => true,
            Some("OK" | "NO MATCH" | "NOMATCH" | "NO MATCHES" | "NOMATCHES") => false,
            Some(_) | None => total.is_some_and(|total| received < total),
        };
        Self { more, total }
    }
}

/// The path of an address that a terminal handed out, kept as it stands (`@WEB..` too): the host and port in it are
/// the terminal's own idea of itself (`facts/isapi.md` 4.5).
pub(crate) fn path_of(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map(|slash| &rest[slash..])?,
        None if address.starts_with('/') => address,
        None => return None,
    };
    (path.len() > 1).then(|| path.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::answer;
    use serde_json::json;

    use super::*;

    const PUT: &str = "PUT /ISAPI/x";

    fn write(status: u16, body: &str) -> Result<Status, Error> {
        accept_write(&answer(status, body), PUT).map(|(_, status)| status)
    }

    #[test]
    fn success_is_recognised_in_both_forms() {
        for body in [
            r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok","errorCode":1,"errorMsg":"ok"}"#,
            r#"{"statusCode":"1","statusString":"OK"}"#,
            r#"{"statusCode":0}"#,
            "<ResponseStatus version=\"1.0\" xmlns=\"urn:psialliance-org\"><requestURL>null</requestURL><statusCode>1</statusCode><statusString>OK</statusString></ResponseStatus>",
            r#"{"statusCode":8,"subStatusCode":"allSuccess"}"#,
        ] {
            let status = write(200, body).unwrap();
            assert!(!reboot_required(&status), "{body}");
            assert_eq!(status.request_url, None, "{body}");
        }
        assert!(reboot_required(
            &write(200, r#"{"statusCode":7,"subStatusCode":"rebootRequired"}"#).unwrap()
        ));
    }

    #[test]
    fn http_200_with_an_error_inside_is_an_error() {
        let error = write(
            200,
            r#"{"statusCode":6,"statusString":"Invalid Content","subStatusCode":"badParameters"}"#,
        )
        .unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::InvalidInput, Some("isapi:badParameters"))
        );
        assert_eq!(error.effect, Effect::None);
        let error = accept(&answer(200, "<ResponseStatus><statusCode>4</statusCode><subStatusCode>notSupport</subStatusCode></ResponseStatus>"), PUT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }

    #[test]
    fn a_write_that_is_not_confirmed_is_of_unknown_effect() {
        for body in ["", "{}", "<html>hello</html>", "{\"statusCode\":", "\u{1}\u{2}"] {
            let error = write(200, body).unwrap_err();
            assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Unknown), "{body:?}");
        }
    }

    #[test]
    fn all_four_spellings_of_no_match_end_a_search() {
        for spelling in ["NO MATCH", "NOMATCH", "NO MATCHES", "no match", "OK"] {
            let page = Page::read(&json!({ "responseStatusStrg": spelling, "totalMatches": 9 }), 1);
            assert!(!page.more, "{spelling}");
        }
        assert!(Page::read(&json!({ "responseSearchStatusStrg": "MORE" }), 1).more);
        assert!(Page::read(&json!({ "totalMatches": "9" }), 1).more);
        assert!(!Page::read(&json!({ "totalMatches": "9" }), 9).more);
        assert!(!Page::read(&json!({}), 9).more);
    }

    #[test]
    fn the_path_of_a_face_address_is_kept_byte_for_byte() {
        let address = "http://192.168.1.7:80/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010";
        assert_eq!(
            path_of(address).as_deref(),
            Some("/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010")
        );
        assert_eq!(
            path_of("/LOCALS/pic/enrlFace/0/1.jpg@WEB5").as_deref(),
            Some("/LOCALS/pic/enrlFace/0/1.jpg@WEB5")
        );
        assert_eq!(path_of("http://192.168.1.7"), None);
        assert_eq!(path_of(""), None);
    }
}
