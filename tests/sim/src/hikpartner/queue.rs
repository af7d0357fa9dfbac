//! The message queue (facts B3): a long poll, one reader, the same batch until its offset is confirmed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Call, HikPartner, Outcome};
use crate::ledger::Kind;

/// Messages are kept so long.
const KEPT: Duration = Duration::from_secs(2 * 3_600);

#[derive(Default)]
pub(super) struct Queue {
    held: Mutex<Held>,
    arrived: Notify,
    /// Held by whoever is reading.
    reader: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    messages: VecDeque<(Instant, Value)>,
    /// The batch that was sent and not confirmed: its id and how many messages from the front it has.
    batch: Option<(String, usize)>,
    batches: u64,
}

impl Queue {
    pub(super) fn push(&self, message: Value) {
        self.held().messages.push_back((Instant::now(), message));
        self.arrived.notify_waiters();
    }

    pub(super) fn waiting(&self) -> usize {
        self.held().messages.len()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The open batch once more, or a new one.
    fn next(&mut self, most: usize) -> Option<(String, Vec<Value>)> {
        if self.batch.is_none() {
            self.messages.retain(|(at, _)| at.elapsed() < KEPT);
            let size = self.messages.len().min(most.max(1));
            if size == 0 {
                return None;
            }
            self.batches += 1;
            self.batch = Some((format!("batch{:06}", self.batches), size));
        }
        let (id, size) = self.batch.clone()?;
        Some((id, self.messages.iter().take(size).map(|(_, message)| message.clone()).collect()))
    }
}

impl HikPartner {
    pub(super) async fn messages(&self, call: &Call<'_>) -> Outcome {
        let Ok(_reader) = self.queue.reader.try_lock() else {
            self.note(call.request, Kind::PollRefused, "", Some("LAP068001"), "");
            return Outcome::code("LAP068001", "Another pull is in progress.");
        };
        let until = Instant::now() + Duration::from_millis(call.quirks.hold_ms);
        loop {
            let arrived = self.queue.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let next = self.queue.held().next(call.quirks.batch);
            if let Some((id, list)) = next {
                self.note(call.request, Kind::BatchSent, &id, None, list.len().to_string());
                return Outcome::Data(json!({ "batchId": id, "list": list }));
            }
            if tokio::time::timeout_at(until, arrived).await.is_err() {
                return Outcome::Data(json!({ "batchId": "", "list": [] }));
            }
        }
    }

    pub(super) fn offset(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("batchId") else { return Outcome::parameter() };
        let mut held = self.queue.held();
        let Some((_, size)) = held.batch.clone().filter(|(open, _)| *open == id) else {
            return Outcome::missing();
        };
        if !call.quirks.offset_ignored {
            held.messages.drain(..size);
            held.batch = None;
        }
        drop(held);
        self.note(call.request, Kind::BatchConfirmed, &id, None, "");
        Outcome::done()
    }

    pub(super) fn subscribe(&self, call: &Call<'_>) -> Outcome {
        let number = call.body.get("subType").and_then(Value::as_i64);
        let list = match call.text("subMode").as_deref() {
            Some("all") => None,
            Some("list") => match call.texts("deviceSerialList") {
                Some(list) => Some(list),
                None => return Outcome::parameter(),
            },
            _ => return Outcome::parameter(),
        };
        let mut model = self.model();
        if list.iter().flatten().any(|serial| model.device(serial).is_none()) {
            return Outcome::code("EVZ20002", "The device does not exist.");
        }
        match (number, list) {
            (Some(1), None) => model.subscribed = Some(std::collections::BTreeSet::new()),
            (Some(1), Some(list)) => match &mut model.subscribed {
                // All are subscribed already.
                Some(held) if held.is_empty() => {}
                Some(held) => held.extend(list),
                None => model.subscribed = Some(list.into_iter().collect()),
            },
            (Some(0), None) => model.subscribed = None,
            (Some(0), Some(list)) => {
                let serials = model.devices.iter().map(|device| device.serial.clone());
                let all: std::collections::BTreeSet<String> = serials.collect();
                let held = model.subscribed.take().map(|held| if held.is_empty() { all } else { held });
                let left: std::collections::BTreeSet<String> =
                    held.unwrap_or_default().into_iter().filter(|serial| !list.contains(serial)).collect();
                model.subscribed = Some(left).filter(|left| !left.is_empty());
            }
            _ => return Outcome::parameter(),
        }
        drop(model);
        self.note(call.request, Kind::Subscription, "", None, call.text("subMode").unwrap_or_default());
        Outcome::done()
    }
}
