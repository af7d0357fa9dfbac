//! A simulated Hik-Partner Pro: its OpenAPI with token and area domain, sites, devices, persons, privileges, synchronising and the
//! message queue (`facts/hikcentral_hikpartner_supabase.md`, part B).
//!
//! Two ports, as the real one has two hosts: `front` gives tokens and knows nothing else, the area answers everything else and
//! gives none. `token` judges tokens, `model` is what it holds, `sites`, `persons` and `privileges` answer, `queue` holds
//! messages, `quirks` says how it misbehaves.

mod control;
mod front;
mod model;
mod persons;
mod privileges;
mod queue;
mod quirks;
mod sites;
mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::fault::{Fault, Faults, html};
use crate::ledger::{FaceWrite, Kind, Ledger, Note};
use crate::wire::{Answer, Peer, Reply, Request};
pub(crate) use front::Front;
use model::Model;
pub(crate) use model::tables;
pub use model::{HikPartnerDevice, HikPartnerPerson};
use queue::Queue;
pub use quirks::HikPartnerQuirks;
use token::Tokens;

/// The app key of the simulated partner. Invented.
pub const PARTNER_KEY: &str = "hppk5t2m8r1w";
/// The secret key. Invented.
pub const PARTNER_SECRET: &str = "Qd8Xs3VnLz6Ku0Wy4JpE";

/// Its name in the ledger and in `POST /faults`.
pub(crate) const NAME: &str = "hikpartner";

/// The simulated platform.
pub struct HikPartner {
    tokens: Mutex<Tokens>,
    model: Mutex<Model>,
    queue: Queue,
    quirks: Mutex<HikPartnerQuirks>,
    pub(crate) faults: Faults,
    ledger: Ledger,
    requests: AtomicU64,
    /// `http://127.0.0.1:PORT` of the second port.
    area: OnceLock<String>,
}

/// What a call comes to.
enum Outcome {
    /// Code 0 with this `data`.
    Data(Value),
    /// Code 0 with this whole envelope.
    Whole(Value),
    /// Another code.
    Code(String, &'static str),
}

impl Outcome {
    fn code(code: &str, message: &'static str) -> Self {
        Self::Code(code.to_owned(), message)
    }

    fn parameter() -> Self {
        Self::code("LAP000001", "Parameter error.")
    }

    fn missing() -> Self {
        Self::code("LAP000002", "The resource does not exist.")
    }

    fn done() -> Self {
        Self::Data(Value::Null)
    }
}

/// One call with a good token.
struct Call<'a> {
    body: &'a Map<String, Value>,
    quirks: &'a HikPartnerQuirks,
    request: &'a Request,
}

impl Call<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.body.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A list of texts, not empty.
    fn texts(&self, name: &str) -> Option<Vec<String>> {
        let list = self.body.get(name)?.as_array().filter(|list| !list.is_empty())?;
        list.iter().map(|one| one.as_str().map(str::to_owned)).collect()
    }

    /// One page of `rows`: `page` from 1, `pageSize` 20 unless told, up to 200.
    fn page(&self, rows: Vec<Value>) -> Outcome {
        let number = |name: &str, default: i64| match self.body.get(name) {
            None => Some(default),
            Some(value) => value.as_i64(),
        };
        let (Some(page), Some(size)) = (number("page", 1), number("pageSize", 20)) else {
            return Outcome::parameter();
        };
        if page < 1 || !(1..=200).contains(&size) {
            return Outcome::parameter();
        }
        let total = rows.len();
        let size = usize::try_from(size).unwrap_or(1);
        let shown_page = if self.quirks.ignores_page { 1 } else { page };
        let skipped = usize::try_from(shown_page - 1).unwrap_or(usize::MAX).saturating_mul(size);
        let taken: Vec<Value> = rows.into_iter().skip(skipped).take(size).collect();
        let mut data = json!({ "page": page, "pageSize": size, "rows": taken });
        let pages = total.div_ceil(size);
        let mut whole = json!({ "errorCode": "0" });
        if self.quirks.total_outside_data {
            whole["totalPage"] = pages.into();
        } else {
            data["total"] = total.into();
            data["totalPage"] = pages.into();
        }
        whole["data"] = data;
        Outcome::Whole(whole)
    }
}

impl HikPartner {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            tokens: Mutex::default(),
            model: Mutex::new(Model::standard()),
            queue: Queue::default(),
            quirks: Mutex::default(),
            faults: Faults::default(),
            ledger,
            requests: AtomicU64::new(0),
            area: OnceLock::new(),
        }
    }

    /// Where everything but the token is answered.
    pub(crate) fn set_area(&self, origin: String) {
        let first = self.area.set(origin);
        debug_assert!(first.is_ok());
    }

    /// `http://127.0.0.1:PORT` of the area.
    pub fn area_url(&self) -> &str {
        self.area.get().map_or("", String::as_str)
    }

    /// How it behaves.
    pub fn quirks(&self) -> HikPartnerQuirks {
        self.quirks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut HikPartnerQuirks)) {
        change(&mut self.quirks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.faults.order(fault);
    }

    /// Withdraws every mishap that was ordered.
    pub fn recover(&self) {
        self.faults.clear();
    }

    /// Requests so far, at both ports.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From now on no token given so far is good: LAP500004.
    pub fn revoke_tokens(&self) {
        self.tokens().revoke();
    }

    /// Everybody.
    pub fn persons(&self) -> Vec<HikPartnerPerson> {
        self.model().persons.clone()
    }

    /// The person with that employee number.
    pub fn person_by_number(&self, employee_no: &str) -> Option<HikPartnerPerson> {
        self.model().persons.iter().find(|person| person.employee_no() == employee_no).cloned()
    }

    /// The devices of the account.
    pub fn devices(&self) -> Vec<HikPartnerDevice> {
        self.model().devices.clone()
    }

    /// The ids of the persons that a device lets in.
    pub fn on_door(&self, serial: &str) -> Vec<String> {
        let model = self.model();
        let device = model.devices.iter().find(|device| device.serial == serial);
        device.map(|device| device.admits.iter().cloned().collect()).unwrap_or_default()
    }

    /// Somebody passes a door: an access event (major 5, `minor`) for the queue, if the device is subscribed. Returns the number
    /// that the device gave the event.
    pub fn pass(&self, serial: &str, employee_no: &str, minor: u32, at: &str) -> Option<u64> {
        let (number, name) = self.model().pass(serial, employee_no)?;
        let alarm = json!({
            "dateTime": at, "eventType": "AccessControllerEvent", "eventState": "active", "activePostCount": 1,
            "eventDescription": "Access Controller Event", "deviceSerial": serial, "channelID": 1,
            "AccessControllerEvent": {
                "majorEventType": 5, "subEventType": minor, "employeeNoString": employee_no, "name": name, "cardReaderNo": 1,
                "doorNo": 1, "serialNo": number, "userType": "normal", "currentVerifyMode": "cardOrFace",
                "attendanceStatus": "undefined", "mask": "no",
            },
        });
        self.message(serial, "JSON", &alarm);
        Some(number)
    }

    /// A message of a device for the queue, if the device is subscribed. `alarm` is an object for JSON, a text for XML.
    pub fn message(&self, serial: &str, format: &str, alarm: &Value) {
        if !self.model().is_subscribed(serial) {
            return;
        }
        let written = match alarm {
            Value::Object(_) if !self.quirks().alarm_as_object => Value::from(alarm.to_string()),
            other => other.clone(),
        };
        self.queue.push(json!({
            "formatType": format, "accountNumber": "gym@example.com", "deviceSerial": serial, "alarmData": written,
        }));
    }

    /// Messages that were not confirmed yet.
    pub fn waiting_messages(&self) -> usize {
        self.queue.waiting()
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
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
            credential: "token".to_owned(),
            subject: Some(subject.to_owned()).filter(|subject| !subject.is_empty()),
            face,
            code: code.map(str::to_owned),
            note: Some(note).filter(|note| !note.is_empty()),
        });
    }

    /// An answer of the area.
    async fn respond(&self, request: &Request) -> Answer {
        let quirks = self.quirks();
        let Some(path) = request.path().strip_prefix("/api/hpcgw/").filter(|path| *path != token::PATH)
        else {
            return html(404, "Not Found");
        };
        if request.method != "POST" {
            return html(405, "Method Not Allowed");
        }
        if let Err(code) = self.judge(request, &quirks) {
            self.note(request, Kind::TokenRefused, "", Some(&code), "");
            return Answer::json(quirks.token_status, &json!({ "errorCode": code, "message": "token" }));
        }
        let is_json = request
            .header("content-type")
            .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"));
        let parsed = match request.body.as_ref() {
            b"" => Ok(Value::Object(Map::new())),
            body => serde_json::from_slice(body),
        };
        let outcome = match parsed {
            Ok(Value::Object(body)) if is_json => {
                let call = Call { body: &body, quirks: &quirks, request };
                self.business(path, &call).await
            }
            _ => Some(Outcome::parameter()),
        };
        let zero = if quirks.code_as_number { json!(0) } else { json!("0") };
        match outcome {
            None => html(404, "Not Found"),
            Some(Outcome::Data(Value::Null)) => Answer::json(200, &json!({ "errorCode": zero })),
            Some(Outcome::Data(data)) => Answer::json(200, &json!({ "data": data, "errorCode": zero })),
            Some(Outcome::Whole(mut whole)) => {
                whole["errorCode"] = zero;
                Answer::json(200, &whole)
            }
            Some(Outcome::Code(code, message)) => {
                Answer::json(200, &json!({ "errorCode": code, "message": message }))
            }
        }
    }

    async fn business(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        match path {
            "v1/mq/messages" => Some(self.messages(call).await),
            "v1/mq/offset" => Some(self.offset(call)),
            "v1/mq/subscribe" => Some(self.subscribe(call)),
            _ => self
                .answer_sites(path, call)
                .or_else(|| self.answer_persons(path, call))
                .or_else(|| self.answer_privileges(path, call)),
        }
    }
}

/// The area's port.
pub(crate) struct Area(pub(crate) Arc<HikPartner>);

impl Peer for Area {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            let platform = &self.0;
            platform.requests.fetch_add(1, Ordering::Relaxed);
            let fault = platform.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = platform.respond(&request).await.into();
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }
}
