//! The message queue: a long poll of about 20 s, one reader, and the same batch again until it is confirmed (facts B3).

use std::time::Duration;

use bascule_sdk::events::Sink;
use bascule_sdk::json::text_of;
use bascule_sdk::{Error, Peer, call, json};
use serde_json::{Map, json};

use crate::bindings::exports::bascule::hikpartner::messages::{Batch, Event};
use crate::devices::serial_number;
use crate::envelope::{self, Call, not_so};
use crate::event;

/// A batch that comes again so often although it was confirmed will come for ever.
const MOST_AGAIN: u32 = 3;
/// Below this, in milliseconds, an empty answer was not held by the platform.
const HASTY_MS: u64 = 1_000;
/// So many hasty empty answers in a row, and the source rests.
const MOST_HASTY: u32 = 5;

/// Whether messages are to come.
#[derive(Clone, Copy)]
pub(crate) enum Subscription {
    On,
    Off,
}

pub(crate) fn subscribe(
    server: &dyn Peer,
    devices: Option<&[String]>,
    subscription: Subscription,
) -> Result<(), Error> {
    let mut body = Map::new();
    body.insert("subType".into(), u8::from(matches!(subscription, Subscription::On)).into());
    body.insert("subMode".into(), if devices.is_some() { "list" } else { "all" }.into());
    if let Some(devices) = devices {
        if devices.is_empty() {
            return Err(Error::invalid_input("`devices` is empty; leave it out to mean all"));
        }
        devices.iter().try_for_each(|serial| serial_number(serial))?;
        body.insert("deviceSerialList".into(), devices.into());
    }
    envelope::write(server, "v1/mq/subscribe", &body.into()).map(drop)
}

pub(crate) fn poll(server: &dyn Peer) -> Result<Batch, Error> {
    let whole = envelope::call(server, "v1/mq/messages", None, Call::Read)?;
    let data = envelope::data(&whole);
    let events: Vec<Event> = json::items(json::field(&data, "list")).into_iter().map(event::read).collect();
    let id = Some(text_of(&data, "batchId")).filter(|id| !id.is_empty() && !events.is_empty());
    if id.is_none() && !events.is_empty() {
        return Err(Error::protocol(
            "the platform sends messages without a batchId: they could not be confirmed",
        ));
    }
    Ok(Batch { id, events })
}

pub(crate) fn confirm(server: &dyn Peer, batch: &str) -> Result<(), Error> {
    if batch.is_empty() {
        return Err(Error::invalid_input("`batch` is empty"));
    }
    // Repeating it changes nothing: a batch is confirmed or it is not.
    envelope::write(server, "v1/mq/offset", &json!({ "batchId": batch })).map(drop)
}

/// What an event source needs of the host; a double in tests.
pub(crate) trait Outlet {
    /// Durable when it returns.
    fn emit(&self, event: &Event) -> Result<(), Error>;
    fn state(&self, connected: bool, note: &str);
    fn is_over(&self) -> bool;
    /// Milliseconds on a clock that runs backwards.
    fn left(&self) -> u64;
}

/// The sink of a trigger.
pub(crate) struct Trigger<'a>(pub(crate) &'a Sink);

impl Outlet for Trigger<'_> {
    fn emit(&self, event: &Event) -> Result<(), Error> {
        self.0.emit(&event::value(event).to_string(), Some(&event.id))
    }

    fn state(&self, connected: bool, note: &str) {
        self.0.state(connected, note);
    }

    fn is_over(&self) -> bool {
        call::cancelled()
    }

    fn left(&self) -> u64 {
        call::remaining()
    }
}

/// Hands messages over until it is told to end. An error ends it too: whoever supervises it starts it again, and what was not
/// confirmed comes again.
pub(crate) fn stream(
    server: &dyn Peer,
    devices: Option<&[String]>,
    outlet: &dyn Outlet,
) -> Result<(), Error> {
    let ended = subscribe(server, devices, Subscription::On).and_then(|()| pump(server, outlet));
    if let Err(error) = &ended {
        outlet.state(false, &error.message);
    }
    ended
}

fn pump(server: &dyn Peer, outlet: &dyn Outlet) -> Result<(), Error> {
    let mut confirmed: Option<String> = None;
    let (mut again, mut hasty) = (0, 0);
    while !outlet.is_over() {
        let before = outlet.left();
        let batch = poll(server)?;
        let Some(id) = batch.id else {
            outlet.state(true, "waiting for messages");
            hasty = if before.saturating_sub(outlet.left()) < HASTY_MS { hasty + 1 } else { 0 };
            if hasty >= MOST_HASTY {
                return Err(Error::busy("the platform does not hold the poll of an empty queue: it would be asked without a pause")
                    .code("hikpartner:no-long-poll")
                    .retry_after(Duration::from_secs(20)));
            }
            continue;
        };
        hasty = 0;
        again = if confirmed.as_ref() == Some(&id) { again + 1 } else { 0 };
        if again >= MOST_AGAIN {
            let message =
                format!("the platform said 0 to the offset of batch {id}, and sends it again and again");
            return Err(not_so("offset-ignored", message, &json!({ "batchId": id })));
        }
        for event in &batch.events {
            outlet.emit(event)?;
        }
        confirm(server, &id)?;
        outlet.state(true, &format!("{} messages", batch.events.len()));
        confirmed = Some(id);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::{Cell, RefCell};

    use bascule_sdk::testing::{Script, answer};
    use bascule_sdk::{ErrorKind, Response};

    use super::*;

    const POLL: &str = "POST /api/hpcgw/v1/mq/messages";
    const SUBSCRIBE: &str = "POST /api/hpcgw/v1/mq/subscribe";
    const OFFSET: &str = "POST /api/hpcgw/v1/mq/offset";
    const DONE: &str = r#"{"errorCode":"0"}"#;

    /// Ends after so many looks at the end; fails the emits whose number is in `failing`.
    struct Double {
        looks: Cell<u32>,
        failing: Vec<usize>,
        tried: Cell<usize>,
        stored: RefCell<Vec<String>>,
        notes: RefCell<Vec<String>>,
        per_poll: u64,
        left: Cell<u64>,
    }

    impl Double {
        fn new(looks: u32) -> Self {
            Self {
                looks: Cell::new(looks),
                failing: Vec::new(),
                tried: Cell::new(0),
                stored: RefCell::default(),
                notes: RefCell::default(),
                per_poll: 10_000,
                left: Cell::new(u64::MAX),
            }
        }
    }

    impl Outlet for Double {
        fn emit(&self, event: &Event) -> Result<(), Error> {
            let number = self.tried.get();
            self.tried.set(number + 1);
            if self.failing.contains(&number) {
                return Err(Error::internal("the disk is full"));
            }
            self.stored.borrow_mut().push(event.kind.clone());
            Ok(())
        }

        fn state(&self, connected: bool, note: &str) {
            self.notes.borrow_mut().push(format!("{connected} {note}"));
        }

        fn is_over(&self) -> bool {
            let left = self.looks.get();
            self.looks.set(left.saturating_sub(1));
            left == 0
        }

        fn left(&self) -> u64 {
            self.left.set(self.left.get() - self.per_poll);
            self.left.get()
        }
    }

    /// A script that begins with the subscription.
    fn subscribed() -> Script {
        Script::new().then(SUBSCRIBE, answer(200, DONE))
    }

    fn batch(id: &str, kinds: &[&str]) -> Response {
        let list: Vec<_> = kinds
            .iter()
            .map(|kind| json!({ "formatType": "JSON", "deviceSerial": "Q1", "alarmData": { "eventType": kind } }))
            .collect();
        answer(200, json!({ "data": { "batchId": id, "list": list }, "errorCode": "0" }).to_string())
    }

    #[test]
    fn a_batch_is_confirmed_after_all_of_it_is_stored() {
        let script = subscribed()
            .then(POLL, batch("b1", &["one", "two"]))
            .then(OFFSET, answer(200, DONE))
            .then(POLL, batch("", &[]))
            .then(POLL, batch("b2", &["three"]))
            .then(OFFSET, answer(200, DONE));
        let outlet = Double::new(3);
        stream(&script, None, &outlet).unwrap();
        script.finish();
        assert_eq!(*outlet.stored.borrow(), ["one", "two", "three"]);
        assert_eq!((script.body(1).as_str(), script.body(2).as_str()), ("", r#"{"batchId":"b1"}"#));
        assert_eq!(
            *outlet.notes.borrow(),
            ["true 2 messages", "true waiting for messages", "true 1 messages"]
        );
    }

    #[test]
    fn what_could_not_be_stored_is_not_confirmed() {
        for failing in [0, 1, 2] {
            let script = subscribed().then(POLL, batch("b1", &["one", "two", "three"]));
            let outlet = Double { failing: vec![failing], ..Double::new(5) };
            let error = stream(&script, None, &outlet).unwrap_err();
            assert_eq!(error.message, "the disk is full");
            assert_eq!(script.sent().len(), 2, "the offset was sent");
            assert_eq!(*outlet.notes.borrow(), ["false the disk is full"]);
        }
    }

    #[test]
    fn a_second_reader_is_told_so() {
        let script = subscribed().then(POLL, answer(200, r#"{"errorCode":"LAP068001"}"#));
        let error = stream(&script, None, &Double::new(1)).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(20_000)));
        assert!(error.message.contains("one reader"), "{}", error.message);
    }

    #[test]
    fn an_offset_that_is_ignored_does_not_go_on_for_ever() {
        let mut script = subscribed();
        for _ in 0..3 {
            script = script.then(POLL, batch("b1", &["one"])).then(OFFSET, answer(200, DONE));
        }
        let script = script.then(POLL, batch("b1", &["one"]));
        let error = stream(&script, None, &Double::new(9)).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikpartner:offset-ignored"))
        );
        script.finish();
    }

    #[test]
    fn an_empty_queue_that_is_not_held_is_not_asked_without_a_pause() {
        let mut script = subscribed();
        for _ in 0..5 {
            script = script.then(POLL, answer(200, r#"{"data":{"list":[]},"errorCode":"0"}"#));
        }
        let error = stream(&script, None, &Double { per_poll: 1, ..Double::new(9) }).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Busy, Some("hikpartner:no-long-poll")));
        script.finish();
    }

    #[test]
    fn messages_without_a_batch_id_are_refused() {
        let script = Script::new().then(POLL, batch("", &["one"]));
        assert_eq!(poll(&script).unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn a_subscription_is_of_all_or_of_a_list() {
        let ask = |devices: Option<&[String]>, on| {
            let script = subscribed();
            subscribe(&script, devices, on).unwrap();
            script.body(0)
        };
        assert_eq!(ask(None, Subscription::On), r#"{"subType":1,"subMode":"all"}"#);
        assert_eq!(
            ask(Some(&["Q1".to_owned()]), Subscription::Off),
            r#"{"subType":0,"subMode":"list","deviceSerialList":["Q1"]}"#
        );
        assert!(subscribe(&Script::new(), Some(&[]), Subscription::On).is_err());
    }
}
