//! The control port: faults, switches and the ledger, as JSON over HTTP, on loopback only.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::fleet::Shared;
use crate::terminal::Terminal;
use crate::wire::{Answer, Peer, Reply, Request};

pub(crate) struct Control(pub(crate) Arc<Shared>);

/// The body of `POST /faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// A terminal's id or number, `supabase`, `hikcentral`, `backend`, `hikpartner`, or `*` for all terminals.
    device: String,
    order: Fault,
}

/// The body of `POST /devices/ID/events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Happens {
    #[serde(default = "major")]
    major: u32,
    #[serde(default = "minor")]
    minor: u32,
    employee_no: Option<String>,
    at: Option<jiff::Timestamp>,
}

/// An event.
fn major() -> u32 {
    5
}

/// A face that was let in.
fn minor() -> u32 {
    75
}

impl Peer for Control {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            let answer = self.act(&request).await;
            answer.unwrap_or_else(|(status, text)| Answer::json(status, &json!({ "error": text }))).into()
        }
        .boxed()
    }
}

type Outcome = Result<Answer, (u16, String)>;

impl Control {
    async fn act(&self, request: &Request) -> Outcome {
        let path: Vec<&str> = request.path().split('/').filter(|piece| !piece.is_empty()).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["devices"]) => {
                let mut states = Vec::new();
                for terminal in &self.0.terminals {
                    states.push(terminal.state().await);
                }
                done(&json!(states))
            }
            ("GET", ["totals"]) => done(&self.totals()),
            ("GET", ["devices", id]) => done(&json!(self.terminal(id)?.state().await)),
            ("GET", ["devices", id, "quirks"]) => done(&json!(self.terminal(id)?.quirks())),
            ("PUT", ["devices", id, "quirks"]) => {
                let terminal = self.terminal(id)?;
                let quirks = terminal.quirks().changed(&body(request)?).map_err(bad)?;
                terminal.change(|held| *held = quirks);
                done(&json!(terminal.quirks()))
            }
            ("POST", ["devices", id, "events"]) => self.happen(self.terminal(id)?, &body(request)?),
            ("POST", ["devices", id, verb]) => self.order(self.terminal(id)?, verb).await,
            (_, ["recorders", rest @ ..]) => {
                crate::recorder::control::act(&self.0.recorders, request, rest).await
            }
            ("GET", ["ledger"]) => self.ledger(request),
            ("POST", ["faults"]) => self.fault(&body(request)?),
            ("DELETE", ["faults"]) => {
                for terminal in &self.0.terminals {
                    terminal.device.faults.clear();
                }
                for recorder in &self.0.recorders {
                    recorder.machine.faults.clear();
                }
                self.0.supabase.faults.clear();
                self.0.hikcentral.faults.clear();
                self.0.backend.faults.clear();
                self.0.hikpartner.faults.clear();
                done(&json!({}))
            }
            ("GET", ["supabase", "tables", table]) => {
                let rows = self.0.supabase.rows(table);
                done(&Value::Array(rows.ok_or_else(|| (404, format!("no table `{table}`")))?))
            }
            ("PUT", ["supabase", "tables", table]) => {
                let given = body(request)?;
                let supabase = &self.0.supabase;
                let put = if given.is_array() {
                    supabase.replace_rows(table, given)
                } else {
                    supabase.define_tables(&json!({ (*table): given }))
                };
                put.map_err(bad)?;
                done(&json!({}))
            }
            ("PUT", ["supabase", "storage-lie"]) => {
                self.0
                    .supabase
                    .lie(serde_json::from_slice(&request.body).map_err(|error| bad(error.to_string()))?);
                done(&json!({}))
            }
            ("PUT", ["supabase", "max-rows"]) => {
                let given = body(request)?;
                let rows = given.as_u64().and_then(|rows| usize::try_from(rows).ok());
                self.0.supabase.set_max_rows(rows.ok_or_else(|| bad("a number of rows".to_owned()))?);
                done(&json!({}))
            }
            (_, ["backend", rest @ ..]) => self.0.backend.control_port(request, rest),
            (_, ["hikcentral", rest @ ..]) => self.0.hikcentral.control_port(request, rest).await,
            (_, ["hikpartner", rest @ ..]) => self.0.hikpartner.control_port(request, rest),
            ("POST", ["shutdown"]) => {
                self.0.asked_to_end.cancel();
                done(&json!({}))
            }
            _ => Err((404, format!("nothing at {} {}", request.method, request.path()))),
        }
    }

    /// Sums over all terminals; cheap, for whoever asks again and again.
    fn totals(&self) -> Value {
        let (mut requests, mut users, mut faces) = (0, 0, 0);
        for terminal in &self.0.terminals {
            requests += terminal.requests();
            let library = terminal.device.library();
            users += library.users.len();
            faces += library.faces.len();
        }
        json!({ "requests": requests, "users": users, "faces": faces })
    }

    fn terminal(&self, id: &str) -> Result<&Terminal, (u16, String)> {
        let number = id.parse::<usize>().ok();
        let found = self.0.terminals.iter().enumerate();
        let mut found = found.filter(|(place, terminal)| terminal.id() == id || Some(*place) == number);
        found.next().map(|(_, terminal)| terminal).ok_or_else(|| (404, format!("no device `{id}`")))
    }

    /// Somebody at the terminal, now or at another time.
    fn happen(&self, terminal: &Terminal, given: &Value) -> Outcome {
        let one: Happens = serde_json::from_value(given.clone()).map_err(|error| bad(error.to_string()))?;
        let at = one.at.unwrap_or_else(jiff::Timestamp::now);
        terminal.happen_at(at, one.major, one.minor, one.employee_no.as_deref());
        done(&json!({ "serial": terminal.log().len() }))
    }

    async fn order(&self, terminal: &Terminal, verb: &str) -> Outcome {
        match verb {
            "offline" => terminal.offline().await.map_err(broken)?,
            "online" => terminal.online().await.map_err(broken)?,
            "lock" => terminal.lock(),
            "unlock" => terminal.unlock(),
            "reset" => terminal.reset().await.map_err(broken)?,
            "certificate" => terminal.renew_certificate().map_err(broken)?,
            _ => return Err((404, format!("a device knows no `{verb}`"))),
        }
        done(&json!(terminal.state().await))
    }

    fn ledger(&self, request: &Request) -> Outcome {
        let since = request.parameter("since").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let (device, kind) = (request.parameter("device"), request.parameter("kind"));
        let mut entries = self.0.ledger.entries();
        entries.retain(|entry| {
            entry.seq > since
                && device.as_ref().is_none_or(|device| entry.device == *device)
                && kind.as_ref().is_none_or(|kind| json!(entry.kind) == json!(kind))
        });
        done(&json!(entries))
    }

    fn fault(&self, given: &Value) -> Outcome {
        let Value::Object(mut given) = given.clone() else {
            return Err(bad("an order is an object".to_owned()));
        };
        let device = given.shift_remove("device").unwrap_or_default();
        let order: Order = serde_json::from_value(json!({ "device": device, "order": given }))
            .map_err(|error| bad(error.to_string()))?;
        match order.device.as_str() {
            "supabase" => self.0.supabase.faults.order(order.order),
            "hikcentral" => self.0.hikcentral.faults.order(order.order),
            "backend" => self.0.backend.faults.order(order.order),
            "hikpartner" => self.0.hikpartner.faults.order(order.order),
            "*" => self.0.terminals.iter().for_each(|terminal| terminal.fault(order.order.clone())),
            id => match self.0.recorders.iter().find(|recorder| recorder.id() == id) {
                Some(recorder) => recorder.fault(order.order),
                None => self.terminal(id)?.fault(order.order),
            },
        }
        done(&json!({}))
    }
}

fn body(request: &Request) -> Result<Value, (u16, String)> {
    serde_json::from_slice(&request.body).map_err(|error| bad(error.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "the arms of `act` all have this type")]
fn done(body: &Value) -> Outcome {
    Ok(Answer::json(200, body))
}

fn bad(text: String) -> (u16, String) {
    (400, text)
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn broken(error: anyhow::Error) -> (u16, String) {
    (500, format!("{error:#}"))
}
