//! One call to a terminal: routing, and the forms that its answers take (`facts/isapi.md 8`).

use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::{Device, administration, cards, faces, push, search, system, users};
use crate::auth::Refusal;
use crate::fault::html;
use crate::quirks::{LockBody, Quirks};
use crate::wire::{Answer, Request};

pub(super) struct Call<'a> {
    pub(super) device: &'a Device,
    pub(super) quirks: &'a Quirks,
    pub(super) request: &'a Request,
    /// How the caller was known.
    pub(super) known: String,
}

/// subStatusCode, statusCode, errorCode, usual HTTP status.
const ERRORS: &[(&str, u32, u32, u16)] = &[
    ("deviceBusy", 2, 0x2000_0004, 503),
    ("deviceError", 3, 0x3000_0001, 500),
    ("notSupport", 4, 0x4000_0001, 403),
    ("lowPrivilege", 4, 0x4000_0002, 403),
    ("methodNotAllowed", 4, 0x4000_0004, 405),
    ("invalidOperation", 4, 0x4000_0006, 403),
    ("faceDataNotExist", 4, 0x4000_6012, 400),
    ("faceURLIsEmpty", 4, 0x4000_510b, 400),
    ("fileDownloadFailed", 4, 0x4000_510d, 400),
    ("badXmlFormat", 5, 0x5000_0001, 400),
    ("badJsonFormat", 5, 0x5000_0002, 400),
    ("badURLFormat", 5, 0x5000_0003, 400),
    ("badParameters", 6, 0x6000_0001, 400),
    ("badJsonContent", 6, 0x6000_0017, 400),
    ("MessageParametersLack", 6, 0x6000_0019, 400),
    ("nameContainsInvalidCharcters", 6, 0x6000_001c, 400),
    ("nameIsOverlong", 6, 0x6000_001d, 400),
    ("badXmlContent", 6, 0x6000_0003, 400),
    ("faceLibraryIDError", 6, 0x6000_0031, 400),
    ("faceLibraryError", 6, 0x6000_0034, 400),
    ("PicAnalysisNoTargetError", 6, 0x6000_0036, 400),
    ("SubpicAnalysisModelingError", 6, 0x6000_0037, 400),
    ("picFormatError", 6, 0x6000_003b, 400),
    ("picResolutionInvalidError", 6, 0x6000_003c, 400),
    ("picSizeExceedError", 6, 0x6000_003d, 400),
    ("faceDataModeling", 6, 0x6000_006a, 400),
    ("urlDownloadFail", 6, 0x6000_006e, 400),
    ("deleteNoExistFace", 6, 0x6000_6015, 400),
    ("employeeNoNotExist", 6, 0x6000_601f, 400),
    ("employeeNoAlreadyExist", 6, 0x6000_6020, 400),
    ("cardNoNotExist", 6, 0x6000_6003, 400),
    ("cardNoAlreadyExist", 6, 0x6000_6033, 400),
    ("illegalEmployeeNo", 6, 0x6000_6036, 400),
    ("deviceUserFull", 6, 0x6000_7000, 400),
    ("deviceFaceFull", 6, 0x6000_7001, 400),
    ("deviceUserAlreadyExist", 6, 0x6000_7002, 400),
    ("deviceUserNotExist", 6, 0x6000_7003, 400),
    ("deviceUserAlreadyExistFace", 6, 0x6000_7004, 400),
    ("cardFullPerUser", 6, 0x6000_7005, 400),
];

/// How one path and method is answered.
#[derive(Clone, Copy)]
enum Action {
    DeviceInfo,
    Status,
    Time,
    UserCheck,
    Users(users::Action),
    Faces(faces::Action),
    Cards(cards::Action),
    Administration(administration::Action),
    SearchUsers,
    SearchFaces,
}

const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/isapi/system/deviceinfo", Action::DeviceInfo),
    ("GET", "/isapi/system/status", Action::Status),
    ("GET", "/isapi/system/time", Action::Time),
    ("GET", "/isapi/security/usercheck", Action::UserCheck),
    ("GET", "/isapi/accesscontrol/userinfo/capabilities", Action::Users(users::Action::Capabilities)),
    ("GET", "/isapi/accesscontrol/userinfo/count", Action::Users(users::Action::Count)),
    ("POST", "/isapi/accesscontrol/userinfo/search", Action::SearchUsers),
    ("POST", "/isapi/accesscontrol/userinfo/record", Action::Users(users::Action::Record)),
    ("PUT", "/isapi/accesscontrol/userinfo/modify", Action::Users(users::Action::Modify)),
    ("PUT", "/isapi/accesscontrol/userinfo/setup", Action::Users(users::Action::SetUp)),
    ("PUT", "/isapi/accesscontrol/userinfo/delete", Action::Users(users::Action::Delete)),
    ("PUT", "/isapi/accesscontrol/userinfodetail/delete", Action::Cards(cards::Action::DeletePeople)),
    ("GET", "/isapi/accesscontrol/userinfodetail/deleteprocess", Action::Cards(cards::Action::DeleteProcess)),
    ("GET", "/isapi/accesscontrol/cardinfo/count", Action::Cards(cards::Action::Count)),
    ("POST", "/isapi/accesscontrol/cardinfo/record", Action::Cards(cards::Action::Record)),
    ("PUT", "/isapi/accesscontrol/cardinfo/modify", Action::Cards(cards::Action::Modify)),
    ("POST", "/isapi/accesscontrol/cardinfo/search", Action::Cards(cards::Action::Search)),
    ("PUT", "/isapi/accesscontrol/cardinfo/delete", Action::Cards(cards::Action::Delete)),
    (
        "GET",
        "/isapi/accesscontrol/capabilities",
        Action::Administration(administration::Action::AccessCapabilities),
    ),
    ("GET", "/isapi/accesscontrol/acsworkstatus", Action::Administration(administration::Action::Doors)),
    ("POST", "/isapi/accesscontrol/acsevent", Action::Administration(administration::Action::SearchLog)),
    ("PUT", "/isapi/system/time", Action::Administration(administration::Action::SetTime)),
    ("GET", "/isapi/system/time/ntpservers", Action::Administration(administration::Action::Servers)),
    ("PUT", "/isapi/system/time/ntpservers/1", Action::Administration(administration::Action::SetServer)),
    ("GET", "/isapi/system/network/interfaces", Action::Administration(administration::Action::Network)),
    ("GET", "/isapi/event/notification/httphosts", Action::Administration(administration::Action::Hosts)),
    ("PUT", "/isapi/event/notification/httphosts", Action::Administration(administration::Action::SetHosts)),
    ("GET", "/isapi/intelligent/fdlib", Action::Faces(faces::Action::Libraries)),
    ("POST", "/isapi/intelligent/fdlib", Action::Faces(faces::Action::CreateLibrary)),
    ("GET", "/isapi/intelligent/fdlib/capabilities", Action::Faces(faces::Action::Capabilities)),
    ("GET", "/isapi/intelligent/fdlib/count", Action::Faces(faces::Action::Count)),
    ("POST", "/isapi/intelligent/fdlib/facedatarecord", Action::Faces(faces::Action::Create)),
    ("PUT", "/isapi/intelligent/fdlib/fdsetup", Action::Faces(faces::Action::SetUp)),
    ("PUT", "/isapi/intelligent/fdlib/fdmodify", Action::Faces(faces::Action::Modify)),
    ("PUT", "/isapi/intelligent/fdlib/fdsearch", Action::Faces(faces::Action::Edit)),
    ("POST", "/isapi/intelligent/fdlib/fdsearch", Action::SearchFaces),
    ("PUT", "/isapi/intelligent/fdlib/fdsearch/delete", Action::Faces(faces::Action::Delete)),
];

impl Call<'_> {
    pub(super) async fn dispatch(&self) -> Answer {
        if self.request.path().starts_with("/LOCALS/pic/") {
            return faces::picture(self);
        }
        let path = self.request.path().to_ascii_lowercase();
        if let Some(code) = &self.quirks.error_in_200
            && self.request.method != "GET"
            && (path.contains("/remotecontrol/door/") || path.contains("/httphosts/"))
        {
            return Answer { status: 200, ..self.error(code, "") };
        }
        if self.request.method == "POST"
            && let Some(slot) = path.strip_prefix("/isapi/event/notification/httphosts/")
            && let Some(slot) = slot.strip_suffix("/test")
        {
            return push::test(self, slot).await;
        }
        if let Some(answer) = administration::numbered(self, &path) {
            return answer;
        }
        let mut known_path = false;
        for (method, route, action) in ROUTES {
            if path != *route {
                continue;
            }
            known_path = true;
            if self.request.method == *method {
                return self.act(*action).await;
            }
        }
        if known_path {
            self.error("methodNotAllowed", "")
        } else if self.quirks.not_found_html {
            html(404, "Not Found")
        } else {
            Answer { status: 404, ..self.error("notSupport", "") }
        }
    }

    async fn act(&self, action: Action) -> Answer {
        if let Some(code) = &self.quirks.error_in_200
            && self.request.method != "GET"
            && !matches!(
                action,
                Action::SearchUsers
                    | Action::SearchFaces
                    | Action::Cards(cards::Action::Search)
                    | Action::Administration(administration::Action::SearchLog)
            )
        {
            return Answer { status: 200, ..self.error(code, "") };
        }
        match action {
            Action::DeviceInfo => system::device_info(self),
            Action::Status => system::status(self),
            Action::Time => system::time(self),
            Action::UserCheck => system::user_check(self),
            Action::Users(action) => users::act(self, action),
            Action::Faces(action) => faces::act(self, action).await,
            Action::Cards(action) => cards::act(self, action),
            Action::Administration(action) => administration::act(self, action),
            Action::SearchUsers => search::users(self),
            Action::SearchFaces => search::faces(self),
        }
    }

    /// Whether the query asks for JSON.
    pub(super) fn wants_json(&self) -> bool {
        self.request.parameter("format").is_some_and(|format| format == "json")
    }

    /// The body as a JSON object.
    pub(super) fn body(&self) -> Result<Map<String, Value>, Answer> {
        match serde_json::from_slice(&self.request.body) {
            Ok(Value::Object(body)) => Ok(body),
            _ => Err(self.error("badJsonFormat", "")),
        }
    }

    /// Success in the flat form, with further keys.
    pub(super) fn success(&self, more: &Value) -> Answer {
        let mut body = json!({ "statusCode": 1, "statusString": "OK", "subStatusCode": "ok" });
        if let Some(map) = body.as_object_mut() {
            if self.quirks.success_error_code {
                map.insert("errorCode".to_owned(), 1.into());
                map.insert("errorMsg".to_owned(), "ok".into());
            }
            if let Value::Object(more) = more {
                map.extend(more.clone());
            }
        }
        self.json(200, &body)
    }

    /// A refusal by its subStatusCode; `message` is the errorMsg, which often names a field.
    pub(super) fn error(&self, code: &str, message: &str) -> Answer {
        let (code, status, error, http) =
            ERRORS.iter().find(|row| row.0 == code).copied().unwrap_or((code, 3, 0x3000_0001, 400));
        let text = match status {
            2 => "Device Busy",
            3 => "Device Error",
            4 => "Invalid Operation",
            5 => "Invalid Format",
            _ => "Invalid Content",
        };
        let http = if self.quirks.errors_as_200 { 200 } else { http };
        if !self.wants_json() {
            return self.xml(
                http,
                "ResponseStatus",
                &format!(
                    "<requestURL>{}</requestURL>\n<statusCode>{status}</statusCode>\n<statusString>{text}</statusString>\n\
                     <subStatusCode>{code}</subStatusCode>\n",
                    escaped(self.request.path())
                ),
            );
        }
        let message = if message.is_empty() { code } else { message };
        let body = json!({
            "statusCode": status, "statusString": text, "subStatusCode": code, "errorCode": error, "errorMsg": message,
        });
        self.json(http, &body)
    }

    pub(super) fn json(&self, status: u16, body: &Value) -> Answer {
        if self.quirks.xml_instead_of_json {
            let (root, inner) = match body.as_object() {
                Some(map) if map.len() == 1 => {
                    map.iter().next().map_or(("Reply", body), |(key, inner)| (key.as_str(), inner))
                }
                _ => ("ResponseStatus", body),
            };
            return self.xml(status, root, &elements(inner));
        }
        Answer::new(status, "application/json; charset=\"UTF-8\"", indented(body))
    }

    pub(super) fn xml(&self, status: u16, root: &str, inner: &str) -> Answer {
        let version = self.quirks.xml_version.text();
        let namespace = self.quirks.namespace.uri();
        let namespace = if namespace.is_empty() { String::new() } else { format!(" xmlns=\"{namespace}\"") };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} version=\"{version}\"{namespace}>\n{inner}</{root}>\n"
        );
        Answer::new(status, "application/xml; charset=\"UTF-8\"", body)
    }

    /// The answer to somebody who is not let in (`facts/isapi.md 1.5`).
    pub(super) fn refused(&self, refusal: &Refusal) -> Answer {
        let state = refusal.state;
        let seconds = state.locked.map(|left| left.as_secs_f64().ceil());
        let status = if state.locked.is_some() { self.quirks.lock_status } else { 401 };
        let answer = match self.quirks.lock_body {
            LockBody::A => {
                let lock = match seconds {
                    Some(seconds) => format!(
                        "<lockStatus>lock</lockStatus>\n<unlockTime>{seconds:.0}</unlockTime>\n<retryLoginTime>0</retryLoginTime>\n"
                    ),
                    None => format!(
                        "<lockStatus>unlock</lockStatus>\n<retryLoginTime>{}</retryLoginTime>\n",
                        state.left
                    ),
                };
                self.xml(
                    status,
                    "userCheck",
                    &format!(
                        "<statusValue>401</statusValue>\n<statusString>Unauthorized</statusString>\n\
                         <isDefaultPassword>false</isDefaultPassword>\n<isRiskPassword>false</isRiskPassword>\n\
                         <isActivated>true</isActivated>\n{lock}"
                    ),
                )
            }
            LockBody::B => {
                let (lock, left) =
                    if state.locked.is_some() { ("locked", 0) } else { ("unlocked", state.left) };
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                     <ResponseStatus version=\"1.0\" xmlns=\"http://www.std-cgi.org/ver20/XMLSchema\">\n\
                     <requestURL>{}</requestURL>\n<statusCode>4</statusCode>\n<statusString>Invalid Operation</statusString>\n\
                     <subStatusCode>badAuthorization</subStatusCode>\n<lockStatus>{lock}</lockStatus>\n\
                     <retryTimes>{left}</retryTimes>\n<resLockTime>{:.0}</resLockTime>\n</ResponseStatus>\n",
                    escaped(self.request.path()),
                    seconds.unwrap_or_default()
                );
                Answer::new(status, "application/xml; charset=\"UTF-8\"", body)
            }
            LockBody::C => self.xml(
                status,
                "userCheck",
                "<statusValue>401</statusValue>\n<statusString>Unauthorized</statusString>\n",
            ),
            LockBody::Html => html(status, "Unauthorized"),
        };
        refusal.challenges.iter().fold(answer, |answer, line| answer.with("WWW-Authenticate", line))
    }

    /// An authenticated answer with this terminal's bad habits of delivery.
    pub(super) fn dressed(&self, mut answer: Answer) -> Answer {
        answer.delivery.length = self.quirks.length;
        answer.delivery.cut_after = self.quirks.truncate_at;
        answer.delivery.slow = self.quirks.slow;
        answer
    }
}

/// JSON indented by tabs, as terminals write it.
fn indented(body: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    // Writing JSON into memory cannot fail.
    drop(body.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)));
    text
}

/// JSON as nested elements; a list repeats its key.
fn elements(value: &Value) -> String {
    let Value::Object(map) = value else {
        return escaped(&plain(value));
    };
    let mut text = String::new();
    for (key, value) in map {
        let items =
            if let Value::Array(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
        for item in items {
            text.push_str(&format!("<{key}>{}</{key}>\n", elements(item)));
        }
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
