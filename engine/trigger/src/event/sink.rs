//! What a running source holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bascule_workflow::failure::{Failure, Kind};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::cursor::{self, CompleteUntil};
use super::source::Item;
use super::watch::Watch;
use super::{Link, Shared, SourceSink};
use crate::admission::{Admission, IntakeError};
use crate::dispatch::chain;

/// The sink of one start of a source.
pub(super) struct Sink {
    pub(super) shared: Arc<Shared>,
    pub(super) item: Arc<Item>,
    pub(super) watch: Watch,
    /// Rung when the stream stands.
    pub(super) stands: Notify,
    pub(super) stood: AtomicBool,
}

impl Sink {
    /// The peer was heard of.
    fn sign(&self) {
        self.watch.sign();
        self.shared.change(&self.item.id, |state, now| state.alive_at = Some(now));
    }

    fn connected(&self, note: &str) {
        self.shared.change(&self.item.id, |state, _| {
            state.link = Link::Connected;
            note.clone_into(&mut state.note);
        });
        if !self.stood.swap(true, Ordering::Relaxed) {
            self.stands.notify_one();
        }
    }

    /// Takes an event, from the stream or from a catch-up.
    pub(super) async fn take(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        let Item { id, workflow, trigger, .. } = &*self.item;
        let intake = &self.shared.parts.intake;
        let now = self.shared.parts.clock.now();
        let value = self.item.trigger_value(event, now);
        // A key of the source is its own: two devices count alike.
        let key = key.map(|key| if id.item.is_empty() { key } else { format!("{}/{key}", id.item) });
        let made = match self.item.event.collect {
            Some(_) => Admission::of_part(workflow, trigger, value),
            None => Admission::of_trigger(workflow, trigger, value),
        };
        let admission = match made {
            Ok(Some(admission)) => admission,
            Ok(None) => return Ok(()),
            Err(error) => {
                let refused =
                    intake.refuse(&workflow.id, &trigger.id, key.as_deref(), &error.to_string()).await;
                return refused.map(|_| ()).map_err(|error| not_stored(&error));
            }
        };
        let dedupe = admission.dedupe.clone().or(key);
        let admission = Admission { dedupe: dedupe.clone(), ..admission };
        let beside = CompleteUntil { id: id.clone(), at: self.complete(now) };
        let admitted = match self.item.event.collect {
            Some(collect) => intake.collect(admission, collect, beside).await,
            None => intake.admit_beside(vec![admission], beside).await.map(|_| ()),
        };
        match admitted {
            Ok(()) => {
                self.shared.change(id, |state, _| state.events += 1);
                Ok(())
            }
            Err(error @ IntakeError::Unavailable(_)) => Err(not_stored(&error)),
            Err(error) => {
                let refused =
                    intake.refuse(&workflow.id, &trigger.id, dedupe.as_deref(), &error.to_string()).await;
                refused.map(|_| ()).map_err(|error| not_stored(&error))
            }
        }
    }

    /// Until when nothing was missed: now, unless something is being asked for.
    fn complete(&self, now: Timestamp) -> Option<Timestamp> {
        let missing =
            self.shared.states().get(&self.item.id).is_some_and(|state| state.missing_since.is_some());
        (!missing).then_some(now)
    }
}

fn not_stored(error: &IntakeError) -> Failure {
    Failure::new(Kind::Busy, format!("the event was not stored: {}", chain(error)))
}

#[async_trait]
impl SourceSink for Sink {
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        self.sign();
        self.connected("");
        self.take(event, key).await
    }

    async fn cursor(&self) -> Result<Option<Value>, Failure> {
        self.watch.sign();
        let known = cursor::load(&self.shared.parts.intake, &self.item.id).await;
        known.map(|known| known.cursor).map_err(|error| {
            Failure::new(Kind::Busy, format!("the cursor cannot be read: {}", chain(&error)))
        })
    }

    async fn save_cursor(&self, cursor: Value) -> Result<(), Failure> {
        self.sign();
        cursor::save(&self.shared.parts.intake, &self.item.id, cursor).await.map_err(|error| {
            Failure::new(Kind::Busy, format!("the cursor was not stored: {}", chain(&error)))
        })
    }

    fn state(&self, connected: bool, note: &str) {
        if connected {
            self.sign();
            self.connected(note);
        } else {
            // Of the source's own life: a source that gives up after long silence has not heard of its peer just now.
            self.watch.sign();
            self.shared.change(&self.item.id, |state, _| {
                state.link = Link::Reconnecting;
                note.clone_into(&mut state.note);
            });
        }
    }

    fn alive(&self) {
        self.sign();
    }
}

impl Item {
    /// As expressions see `trigger`.
    fn trigger_value(&self, event: Value, now: Timestamp) -> Value {
        json!({
            "kind": "event",
            "id": self.trigger.id,
            "key": self.id.item,
            "item": self.value,
            "event": event,
            "received_at": now.to_string(),
        })
    }
}
