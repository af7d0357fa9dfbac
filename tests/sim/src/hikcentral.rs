//! A simulated HikCentral Professional: its OpenAPI ("Artemis") with AK/SK, persons, photos, access groups, doors and events
//! (`facts/hikcentral_hikpartner_supabase.md`, part A).
//!
//! `gateway` verifies the signature from the received bytes, `quirks` says how it misbehaves, `model` is what it holds,
//! `persons`, `access` and `doors` answer, `push` sends events to subscribers.

mod access;
mod control;
mod doors;
mod gateway;
mod model;
mod persons;
mod push;
mod quirks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::fault::{Fault, Faults};
use crate::ledger::{FaceWrite, Kind, Ledger, Note};
use crate::wire::{Answer, Peer, Reply, Request};
use gateway::Gateway;
pub use model::HikCentralPerson;
use model::Model;
pub use quirks::{FullDatabase, HikCentralQuirks, UnknownPath};

/// The AppKey (AK) of the simulated partner. Invented.
pub const APP_KEY: &str = "21000417";
/// The AppSecret (SK). Invented.
pub const APP_SECRET: &str = "Wv7Lk2QzTn9RbXe4Ha1C";

/// Its name in the ledger and in `POST /faults`.
pub(crate) const NAME: &str = "hikcentral";

/// The simulated platform.
pub struct HikCentral {
    gateway: Gateway,
    model: Mutex<Model>,
    quirks: Mutex<HikCentralQuirks>,
    pub(crate) faults: Faults,
    ledger: Ledger,
    requests: AtomicU64,
}

/// What a call of the business interface comes to.
enum Outcome {
    /// Code 0 with this `data`.
    Data(Value),
    /// Another code.
    Code { code: i64, message: String, data: Option<Value> },
    /// An answer without an envelope.
    Plain(Answer),
}

impl Outcome {
    fn code(code: i64, message: impl Into<String>) -> Self {
        Self::Code { code, message: message.into(), data: Some(json!("")) }
    }

    /// Code 2 for that parameter.
    fn parameter(name: &str) -> Self {
        Self::code(2, format!("Incorrect request parameter. [{name} parameter error]"))
    }

    fn missing() -> Self {
        Self::code(128, "The resource does not exist.")
    }

    fn done() -> Self {
        Self::Data(json!(""))
    }
}

/// One call, past the gateway.
struct Call<'a> {
    body: &'a Map<String, Value>,
    quirks: &'a HikCentralQuirks,
    request: &'a Request,
}

impl Call<'_> {
    /// A text, or a number where a text belongs.
    fn text(&self, name: &str) -> Option<String> {
        match self.body.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.body.get(name)?.as_i64()
    }

    /// One page of `rows`, or code 2 where page number or size are out of range (1 to 500).
    fn page(&self, rows: Vec<Value>) -> Outcome {
        let (Some(number), Some(size)) = (self.number("pageNo"), self.number("pageSize")) else {
            return Outcome::parameter("pageNo");
        };
        if number < 1 {
            return Outcome::parameter("pageNo");
        }
        if !(1..=500).contains(&size) {
            return Outcome::parameter("pageSize");
        }
        let total = rows.len();
        let skipped = usize::try_from((number - 1).saturating_mul(size)).unwrap_or(usize::MAX);
        let taken: Vec<Value> =
            rows.into_iter().skip(skipped).take(usize::try_from(size).unwrap_or_default()).collect();
        let mut data = json!({ "total": total, "pageNo": number, "pageSize": size });
        if let Some(data) = data.as_object_mut()
            && (total > 0 || !self.quirks.list_absent_when_empty)
        {
            data.insert("list".to_owned(), Value::Array(taken));
        }
        Outcome::Data(data)
    }
}

impl HikCentral {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            gateway: Gateway::default(),
            model: Mutex::new(Model::standard()),
            quirks: Mutex::default(),
            faults: Faults::default(),
            ledger,
            requests: AtomicU64::new(0),
        }
    }

    /// How it behaves.
    pub fn quirks(&self) -> HikCentralQuirks {
        self.quirks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut HikCentralQuirks)) {
        change(&mut self.quirks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.faults.order(fault);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Everybody.
    pub fn persons(&self) -> Vec<HikCentralPerson> {
        self.model().persons.clone()
    }

    /// The person with that code.
    pub fn person_by_code(&self, code: &str) -> Option<HikCentralPerson> {
        self.model().persons.iter().find(|person| person.code == code).cloned()
    }

    /// The ids of the persons in an access group, in the order in which they came.
    pub fn members(&self, group: &str) -> Vec<String> {
        self.model().group(group).map(|group| group.members.clone()).unwrap_or_default()
    }

    /// The ids of the persons whose present state reached the doors.
    pub fn applied(&self) -> Vec<String> {
        self.model().applied.iter().cloned().collect()
    }

    /// Enrols somebody by hand, e.g. to fill pages, and returns the personId.
    pub fn enrol(&self, code: &str, given_name: &str, family_name: &str) -> String {
        self.model().enrol(code, given_name, family_name)
    }

    /// Lets a person pass a door (event 196893, face), as later calls of `door/events` tell. `at` is ISO 8601.
    pub fn pass(&self, person: &str, door: &str, at: &str) {
        self.model().pass(person, door, at);
    }

    /// Sends an event push to every subscriber of `event_type` and returns how many accepted it (HTTP 2xx).
    pub async fn push(&self, event_type: i64, data: Value) -> usize {
        let destinations = self.model().destinations(event_type);
        let body = push::body(event_type, data);
        let times = if self.quirks().pushes_twice { 2 } else { 1 };
        let mut accepted = 0;
        for destination in destinations {
            let mut taken = false;
            for _ in 0..times {
                taken |= push::post(&destination, &body).await.is_ok_and(|status| status < 300);
            }
            accepted += usize::from(taken);
        }
        accepted
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(
        &self,
        request: &Request,
        kind: Kind,
        subject: &str,
        code: Option<&str>,
        note: impl Into<String>,
    ) {
        self.write(request, kind, subject, code, note.into(), None);
    }

    fn note_face(&self, request: &Request, subject: &str, way: &str, picture: &Bytes, stored: bool) {
        use sha2::Digest as _;
        let face = FaceWrite {
            way: way.to_owned(),
            how: "base64".to_owned(),
            source: None,
            sha256: hex::encode(sha2::Sha256::digest(picture)),
            bytes: picture.len(),
            stored,
            nth: 0,
        };
        self.write(request, Kind::FaceWrite, subject, None, String::new(), Some(face));
    }

    fn write(
        &self,
        request: &Request,
        kind: Kind,
        subject: &str,
        code: Option<&str>,
        note: String,
        face: Option<FaceWrite>,
    ) {
        self.ledger.write(Note {
            device: NAME.to_owned(),
            kind,
            request: format!("{} {}", request.method, request.target),
            credential: "ak-sk".to_owned(),
            subject: Some(subject.to_owned()),
            face,
            code: code.map(str::to_owned),
            note: Some(note).filter(|note| !note.is_empty()),
        });
    }

    fn respond(&self, request: &Request) -> Answer {
        let quirks = self.quirks();
        let Some(path) = request.path().strip_prefix("/artemis/") else {
            return crate::fault::html(404, "Not Found");
        };
        if let Err(refusal) = self.gateway.verify(request, &quirks) {
            self.note(request, Kind::KeyRefused, "", Some(refusal.code), "gateway");
            let body = json!({ "code": refusal.code, "msg": refusal.message });
            return sent(quirks.gateway_status, &body, &quirks)
                .with("X-Ca-Error-Message", refusal.code.to_owned());
        }
        let path = path.strip_prefix("api/").unwrap_or_default();
        match self.business(path, request, &quirks) {
            Outcome::Plain(answer) => answer,
            Outcome::Data(data) => {
                let code = if quirks.code_as_number { json!(0) } else { json!("0") };
                let body = json!({ "code": code, "msg": quirks.success_word, "data": data });
                Answer::json(200, &body)
            }
            Outcome::Code { code, message, data } => {
                let shown = if quirks.code_as_number { json!(code) } else { json!(code.to_string()) };
                let mut body = json!({ "code": shown, "msg": message });
                if let (Some(data), Some(body)) = (data, body.as_object_mut()) {
                    body.insert("data".to_owned(), data);
                }
                sent(200, &body, &quirks)
            }
        }
    }

    /// Signature, then the path, then parameters, then permission: the order of checks of 3.1.1.
    fn business(&self, path: &str, request: &Request, quirks: &HikCentralQuirks) -> Outcome {
        if quirks.unknown_paths.iter().any(|unknown| unknown == path) {
            return unknown_path(quirks);
        }
        let parsed = match request.body.as_ref() {
            b"" => Ok(Value::Object(Map::new())),
            body => serde_json::from_slice(body),
        };
        let Ok(Value::Object(body)) = parsed else {
            return Outcome::parameter("body");
        };
        let call = Call { body: &body, quirks, request };
        let answered = match path {
            "common/v1/version" => Some(Outcome::Data(
                json!({ "produceName": "HikCentral Professional", "softVersion": quirks.version }),
            )),
            _ => self
                .answer_persons(path, &call)
                .or_else(|| self.answer_access(path, &call))
                .or_else(|| self.answer_doors(path, &call)),
        };
        match answered {
            None => unknown_path(quirks),
            Some(Outcome::Data(_) | Outcome::Plain(_)) if quirks.forbidden.iter().any(|one| one == path) => {
                Outcome::Code { code: 17, message: "No OpenAPI permission.".to_owned(), data: None }
            }
            Some(outcome) => outcome,
        }
    }
}

/// Errors may come as `application/xml` although the body is JSON.
fn sent(status: u16, body: &Value, quirks: &HikCentralQuirks) -> Answer {
    let content_type =
        if quirks.errors_as_xml { "application/xml" } else { "application/json; charset=utf-8" };
    Answer::new(status, content_type, body.to_string())
}

fn unknown_path(quirks: &HikCentralQuirks) -> Outcome {
    let (code, message) = match quirks.unknown_path {
        UnknownPath::Code8 => (8, "This product version is not supported"),
        UnknownPath::Code12 => (12, "URL is not supported"),
        UnknownPath::Http404 => return Outcome::Plain(crate::fault::html(404, "Not Found")),
    };
    Outcome::Code { code, message: message.to_owned(), data: None }
}

impl Peer for HikCentral {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = self.respond(&request).into();
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }
}
