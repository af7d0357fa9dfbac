//! A simulated backend of a school's own making: it orders people onto terminals and wants to be told how it went.
//!
//! A bearer key is needed for everything. Jobs (`POST /provisioning/ID/start`, `GET /provisioning/ID/status`), results
//! (`POST /provisioning/ID/device-result`), logs (`POST` and `GET /provisioning/ID/logs`), photos (`GET /photos/NAME`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fault::{Fault, Faults};
use crate::ledger::{Kind, Ledger, Note};
use crate::wire::{Answer, Peer, Reply, Request};

/// The bearer key. Invented.
pub const BACKEND_KEY: &str = "school-backend-key-4f7a91c2";

/// Its name in the ledger and in `POST /faults`.
pub(crate) const NAME: &str = "backend";

/// The simulated backend.
pub struct Backend {
    held: Mutex<Held>,
    pub(crate) faults: Faults,
    ledger: Ledger,
}

#[derive(Default)]
struct Held {
    jobs: BTreeMap<String, Job>,
    photos: BTreeMap<String, Bytes>,
    habits: BackendHabits,
}

/// How the backend misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendHabits {
    /// Says yes to so many results and keeps none of them.
    pub forgets_results: u32,
}

struct Job {
    student: Value,
    devices: Vec<Value>,
    state: &'static str,
    started: u32,
    results: BTreeMap<String, BackendResult>,
    logs: Vec<Value>,
}

/// What was reported for one device last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendResult {
    /// The device's id.
    pub device_id: String,
    /// `SUCCESS` or `FAILED`.
    pub status: String,
    /// Why it failed; never with `SUCCESS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

type Outcome = Result<Answer, Answer>;

fn refused(status: u16, message: impl Into<String>) -> Answer {
    Answer::json(status, &json!({ "statusCode": status, "message": message.into() }))
}

impl Backend {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { held: Mutex::default(), faults: Faults::default(), ledger }
    }

    /// Adds a job. `student` has `employeeNo`, `fullName`, `gender`, `photo` (a path below the backend); each device has
    /// `id`, `name`, `ip`, `port`.
    pub fn add_job(&self, id: &str, student: Value, devices: Vec<Value>) {
        let job = Job {
            student,
            devices,
            state: "PENDING",
            started: 0,
            results: BTreeMap::new(),
            logs: Vec::new(),
        };
        self.held().jobs.insert(id.to_owned(), job);
    }

    /// Stores a photo and returns its path, e.g. `/photos/1.jpg`.
    pub fn put_photo(&self, name: &str, photo: Bytes) -> String {
        self.held().photos.insert(name.to_owned(), photo);
        format!("/photos/{name}")
    }

    /// What was reported, by device.
    pub fn results(&self, job: &str) -> Vec<BackendResult> {
        self.held().jobs.get(job).map(|job| job.results.values().cloned().collect()).unwrap_or_default()
    }

    /// The log lines of a job.
    pub fn logs(&self, job: &str) -> Vec<Value> {
        self.held().jobs.get(job).map(|job| job.logs.clone()).unwrap_or_default()
    }

    /// `PENDING`, `RUNNING` or `DONE`; empty for a job that is not there.
    pub fn state_of(&self, job: &str) -> &'static str {
        self.held().jobs.get(job).map_or("", |job| job.state)
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut BackendHabits)) {
        change(&mut self.held().habits);
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.faults.order(fault);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what lies below `/backend` on the control port.
    pub(crate) fn control_port(&self, request: &Request, path: &[&str]) -> Result<Answer, (u16, String)> {
        match (request.method.as_str(), path) {
            ("GET", ["habits"]) => {}
            ("PUT", ["habits"]) => {
                let given =
                    serde_json::from_slice(&request.body).map_err(|error| (400, error.to_string()))?;
                self.held().habits = given;
            }
            ("GET", ["jobs", id]) => {
                let held = self.held();
                let job = held.jobs.get(*id).ok_or_else(|| (404, format!("no job `{id}`")))?;
                return Ok(Answer::json(200, &job.shown(id)));
            }
            _ => return Err((404, format!("nothing at {} {}", request.method, request.path()))),
        }
        let habits = self.held().habits;
        Ok(Answer::json(200, &json!(habits)))
    }

    fn note(&self, request: &Request, kind: Kind, subject: Option<String>, note: String) {
        self.ledger.write(Note {
            device: NAME.to_owned(),
            kind,
            request: format!("{} {}", request.method, request.target),
            credential: if kind == Kind::KeyRefused { "none" } else { "bearer key" }.to_owned(),
            subject,
            face: None,
            code: None,
            note: Some(note),
        });
    }

    fn respond(&self, request: &Request) -> Outcome {
        let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if given != Some(BACKEND_KEY) {
            self.note(request, Kind::KeyRefused, None, "no or another key".to_owned());
            return Err(refused(401, "Unauthorized"));
        }
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["photos", name]) => {
                let held = self.held();
                let photo = held.photos.get(*name).ok_or_else(|| refused(404, "no such photo"))?;
                Ok(Answer::new(200, "image/jpeg", photo.clone()))
            }
            ("POST", ["provisioning", id, "start"]) => self.start(request, id),
            ("GET", ["provisioning", id, "status"]) => {
                let held = self.held();
                Ok(Answer::json(200, &job(&held, id)?.shown(id)))
            }
            ("POST", ["provisioning", id, "device-result"]) => self.result(request, id),
            ("POST", ["provisioning", id, "logs"]) => self.log(request, id),
            ("GET", ["provisioning", id, "logs"]) => {
                let held = self.held();
                Ok(Answer::json(200, &json!(job(&held, id)?.logs)))
            }
            _ => Err(refused(404, format!("Cannot {} {}", request.method, request.path()))),
        }
    }

    /// Starting again what runs already is no mistake: the answer may have been lost.
    fn start(&self, request: &Request, id: &str) -> Outcome {
        let mut held = self.held();
        let job = held.jobs.get_mut(id).ok_or_else(|| refused(404, format!("no provisioning {id}")))?;
        job.state = "RUNNING";
        job.started += 1;
        let shown = json!({ "id": id, "status": job.state, "student": job.student, "devices": job.devices });
        drop(held);
        self.note(request, Kind::ReportIn, Some(id.to_owned()), "start".to_owned());
        Ok(Answer::json(200, &shown))
    }

    fn result(&self, request: &Request, id: &str) -> Outcome {
        let given: BackendResult =
            serde_json::from_value(body(request)?).map_err(|error| refused(400, error.to_string()))?;
        let mut held = self.held();
        let forgets = held.habits.forgets_results > 0;
        let job = held.jobs.get_mut(id).ok_or_else(|| refused(404, format!("no provisioning {id}")))?;
        if job.state == "PENDING" {
            return Err(refused(409, "the provisioning was not started"));
        }
        if !job.devices.iter().any(|device| device["id"] == *given.device_id) {
            return Err(refused(422, format!("device {} is not in this provisioning", given.device_id)));
        }
        match (given.status.as_str(), given.error.as_deref().map(str::trim)) {
            ("SUCCESS", None) | ("FAILED", Some(_)) if given.error.as_deref() != Some("") => {}
            ("SUCCESS" | "FAILED", _) => {
                return Err(refused(422, "`error` goes with FAILED, and only with it"));
            }
            (other, _) => return Err(refused(422, format!("status {other} is neither SUCCESS nor FAILED"))),
        }
        let note = format!("{} {}", given.status, given.error.as_deref().unwrap_or_default());
        let subject = given.device_id.clone();
        if !forgets {
            job.results.insert(given.device_id.clone(), given);
            if job.results.len() == job.devices.len() {
                job.state = "DONE";
            }
        }
        held.habits.forgets_results = held.habits.forgets_results.saturating_sub(1);
        drop(held);
        let note = if forgets { format!("forgotten: {note}") } else { note };
        self.note(request, Kind::ReportIn, Some(subject), note);
        Ok(Answer::json(201, &json!({ "ok": true })))
    }

    fn log(&self, request: &Request, id: &str) -> Outcome {
        let given = body(request)?;
        let level = given["level"].as_str().unwrap_or_default();
        let message = given["message"].as_str().unwrap_or_default();
        if !matches!(level, "info" | "warn" | "error") || message.is_empty() {
            return Err(refused(422, "a log line has `level` (info, warn, error) and `message`"));
        }
        let mut held = self.held();
        let job = held.jobs.get_mut(id).ok_or_else(|| refused(404, format!("no provisioning {id}")))?;
        job.logs.push(given);
        Ok(Answer::json(201, &json!({ "ok": true })))
    }
}

impl Job {
    fn shown(&self, id: &str) -> Value {
        let results: Vec<&BackendResult> = self.results.values().collect();
        json!({ "id": id, "status": self.state, "started": self.started, "results": results, "logs": self.logs.len() })
    }
}

fn job<'a>(held: &'a Held, id: &str) -> Result<&'a Job, Answer> {
    held.jobs.get(id).ok_or_else(|| refused(404, format!("no provisioning {id}")))
}

fn body(request: &Request) -> Result<Value, Answer> {
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(refused(415, format!("`{kind}` is not JSON")));
    }
    let map: Map<String, Value> =
        serde_json::from_slice(&request.body).map_err(|error| refused(400, error.to_string()))?;
    Ok(Value::Object(map))
}

impl Peer for Backend {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            let fault = self.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = self.respond(&request).unwrap_or_else(|refusal| refusal).into();
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }
}
