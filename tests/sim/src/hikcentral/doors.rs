//! Doors, their events, and subscriptions (facts A5).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Call, HikCentral, Outcome};
use crate::ledger::Kind;

impl HikCentral {
    pub(super) fn answer_doors(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "acs/v1/door/doControl" => self.control(call),
            "acs/v1/door/events" => self.events(call),
            "eventService/v1/eventSubscriptionByEventTypes" => self.subscribe(call),
            "eventService/v1/eventUnSubscriptionByEventTypes" => self.unsubscribe(call),
            "eventService/v1/eventSubscriptionView" => {
                Outcome::Data(json!({ "detail": self.model().subscriptions }))
            }
            _ => return None,
        })
    }

    fn control(&self, call: &Call<'_>) -> Outcome {
        let Some(wanted) = texts(call, "doorIndexCodes").filter(|codes| (1..=10).contains(&codes.len()))
        else {
            return Outcome::parameter("doorIndexCodes");
        };
        let Some(order) = call.number("controlType").filter(|order| (0..=3).contains(order)) else {
            return Outcome::parameter("controlType");
        };
        let mut model = self.model();
        if !wanted.iter().all(|code| model.doors.iter().any(|(id, ..)| id == code)) {
            return Outcome::missing();
        }
        let mut results = Vec::new();
        for (id, _, state) in model.doors.iter_mut().filter(|(id, ..)| wanted.contains(id)) {
            let stuck = call.quirks.stuck_doors.contains(id);
            if !stuck {
                *state = order;
            }
            results.push(json!({
                "doorIndexCode": id, "controlResultCode": if stuck { 194 } else { 0 },
                "controlResultDesc": if stuck { "device connection failed" } else { "success" },
            }));
        }
        drop(model);
        for result in &results {
            let (door, code) =
                (result["doorIndexCode"].as_str().unwrap_or_default(), &result["controlResultCode"]);
            self.note(call.request, Kind::DoorControl, door, None, format!("order {order}, result {code}"));
        }
        Outcome::Data(if call.quirks.silent_doors { json!("") } else { Value::Array(results) })
    }

    fn events(&self, call: &Call<'_>) -> Outcome {
        if call.number("eventType").is_none() && call.text("personName").is_none() {
            return Outcome::parameter("eventType");
        }
        let time = |name: &str| call.text(name).and_then(|text| text.parse::<Timestamp>().ok());
        let (Some(from), Some(to)) = (time("startTime"), time("endTime")) else {
            return Outcome::parameter("startTime");
        };
        if to < from || to.duration_since(from).as_secs() > 31 * 86_400 {
            return Outcome::parameter("endTime");
        }
        let doors = texts(call, "doorIndexCodes").unwrap_or_default();
        let name = call.text("personName").unwrap_or_default();
        let rows = self
            .model()
            .events
            .iter()
            .filter(|event| {
                let at = event["eventTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
                at.is_some_and(|at| at >= from && at <= to)
                    && call.number("eventType").is_none_or(|kind| event["eventType"] == kind)
                    && (doors.is_empty() || doors.iter().any(|door| event["doorIndexCode"] == **door))
                    && event["personName"].as_str().is_some_and(|text| text.contains(&name))
            })
            .cloned()
            .collect();
        call.page(rows)
    }

    fn subscribe(&self, call: &Call<'_>) -> Outcome {
        let Some(types) = numbers(call) else { return Outcome::parameter("eventTypes") };
        let Some(to) =
            call.text("eventDest").filter(|to| to.starts_with("http://") || to.starts_with("https://"))
        else {
            return Outcome::parameter("eventDest");
        };
        let mut model = self.model();
        model.subscriptions.retain(|one| one["eventDest"] != *to || one["eventTypes"] != json!(types));
        model.subscriptions.push(json!({ "eventTypes": types, "eventDest": to }));
        drop(model);
        self.note(call.request, Kind::Subscription, &to, None, format!("{types:?}"));
        Outcome::done()
    }

    fn unsubscribe(&self, call: &Call<'_>) -> Outcome {
        let Some(types) = numbers(call) else { return Outcome::parameter("eventTypes") };
        let mut model = self.model();
        for one in &mut model.subscriptions {
            if let Some(held) = one["eventTypes"].as_array_mut() {
                held.retain(|held| !held.as_i64().is_some_and(|held| types.contains(&held)));
            }
        }
        model.subscriptions.retain(|one| one["eventTypes"].as_array().is_some_and(|types| !types.is_empty()));
        drop(model);
        self.note(call.request, Kind::Subscription, "", None, format!("without {types:?}"));
        Outcome::done()
    }
}

fn texts(call: &Call<'_>, name: &str) -> Option<Vec<String>> {
    call.body.get(name)?.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

fn numbers(call: &Call<'_>) -> Option<Vec<i64>> {
    let types: Vec<i64> =
        call.body.get("eventTypes")?.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?;
    (!types.is_empty()).then_some(types)
}
