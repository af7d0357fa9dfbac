//! Event subscriptions, and what is pushed.

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Error, ErrorKind, Peer, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::hikcentral::events::{Notification, Subscription};
use crate::envelope::{self, after_write, not_so};

pub(crate) fn subscribe(server: &dyn Peer, types: &[u32], destination: &str) -> Result<(), Error> {
    some(types)?;
    if !(destination.starts_with("http://") || destination.starts_with("https://")) {
        return Err(Error::invalid_input("`destination` must begin with http:// or https://"));
    }
    let body = json!({ "eventTypes": types, "eventDest": destination, "passBack": 0 });
    envelope::write(server, "eventService/v1/eventSubscriptionByEventTypes", &body)?;
    let held = match view(server) {
        Ok(held) => held,
        // Not every version lets one look.
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused) => return Ok(()),
        Err(error) => return Err(after_write(error)),
    };
    let covered = |wanted: &u32| {
        held.iter().any(|one| one.destination == destination && one.event_types.contains(wanted))
    };
    let missing: Vec<&u32> = types.iter().filter(|wanted| !covered(wanted)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the platform said code 0, and does not list the subscription for {} of the types",
        missing.len()
    );
    Err(not_so("not-stored", message, &json!({ "eventTypes": missing })))
}

pub(crate) fn unsubscribe(server: &dyn Peer, types: &[u32]) -> Result<(), Error> {
    some(types)?;
    let body = json!({ "eventTypes": types });
    envelope::write(server, "eventService/v1/eventUnSubscriptionByEventTypes", &body).map(drop)
}

pub(crate) fn view(server: &dyn Peer) -> Result<Vec<Subscription>, Error> {
    let data = envelope::read(server, "eventService/v1/eventSubscriptionView", &json!({}))?;
    let rows = json::items(json::field(&data, "detail"));
    Ok(rows
        .into_iter()
        .map(|row| Subscription {
            event_types: numbers(json::field(row, "eventTypes")),
            destination: text_of(row, "eventDest"),
        })
        .collect())
}

pub(crate) fn decode(push: &str) -> Result<Vec<Notification>, Error> {
    let push: Value = json::parse(push, "push")?;
    let events = json::field(&push, "params").and_then(|params| json::field(params, "events"));
    let Some(Value::Array(events)) = events else {
        return Err(Error::invalid_input("`push` is not the platform's: it has no `params.events`"));
    };
    Ok(events
        .iter()
        .map(|event| Notification {
            id: text_of(event, "eventId"),
            event_type: number_of(event, "eventType"),
            at: text_of(event, "happenTime"),
            source: text_of(event, "srcIndex"),
            source_name: text_of(event, "srcName"),
            status: number_of(event, "status"),
            data: json::field(event, "data").cloned().unwrap_or(Value::Null).to_string(),
        })
        .collect())
}

fn some(types: &[u32]) -> Result<(), Error> {
    if types.is_empty() { Err(Error::invalid_input("`event-types` is empty")) } else { Ok(()) }
}

fn numbers(list: Option<&Value>) -> Vec<u32> {
    let Some(Value::Array(list)) = list else { return Vec::new() };
    list.iter().filter_map(json::as_integer).filter_map(|number| u32::try_from(number).ok()).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const SUBSCRIBE: &str = "POST /artemis/api/eventService/v1/eventSubscriptionByEventTypes";
    const VIEW: &str = "POST /artemis/api/eventService/v1/eventSubscriptionView";

    #[test]
    fn a_subscription_is_looked_for_afterwards() {
        let ask = |detail: &Value| {
            let held = json!({ "code": "0", "data": { "detail": detail } }).to_string();
            let script = Script::new()
                .then(SUBSCRIBE, answer(200, r#"{"code":"0","data":""}"#))
                .then(VIEW, answer(200, held));
            subscribe(&script, &[196_893, 198_914], "http://a.example/x")
        };
        ask(&json!([{ "eventTypes": [196_893, 198_914], "eventDest": "http://a.example/x" }])).unwrap();
        let error =
            ask(&json!([{ "eventTypes": [196_893], "eventDest": "http://a.example/x" }])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::VerificationFailed);
        assert!(ask(&json!([])).is_err());
        assert_eq!(
            subscribe(&Script::new(), &[], "http://a.example").unwrap_err().kind,
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn a_push_is_taken_apart() {
        // The form of facts A5.
        let push = r#"{"method":"OnEventNotify","params":{"ability":"event_acs","sendTime":"2026-11-21T08:00:01+02:00","events":[{"eventId":"E-1","eventType":196893,"happenTime":"2026-11-21T08:00:00+02:00","srcIndex":"11","srcName":"Main","srcType":"door","status":0,"timeout":0,"eventLvl":0,"data":{"ExtEventPersonNo":"7","ExtEventDoorID":"11"}}]}}"#;
        let events = decode(push).unwrap();
        let event = events.first().unwrap();
        assert_eq!(
            (event.id.as_str(), event.event_type, event.source.as_str()),
            ("E-1", Some(196_893), "11")
        );
        assert_eq!(event.data, r#"{"ExtEventPersonNo":"7","ExtEventDoorID":"11"}"#);
        for other in ["{}", "[]", "1", r#"{"params":{"events":{}}}"#, "no"] {
            assert_eq!(decode(other).unwrap_err().kind, ErrorKind::InvalidInput, "{other}");
        }
    }
}
