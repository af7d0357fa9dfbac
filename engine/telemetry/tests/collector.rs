//! A collector: takes requests as a test says, and reads them by the protocol's own words.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use bascule_telemetry::{Answer, Post};
use serde_json::Value;
use tokio::sync::Notify;

/// A span as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) began: u128,
    pub(crate) ended: u128,
    pub(crate) attributes: BTreeMap<String, String>,
    /// 0 unset, 1 ok, 2 error.
    pub(crate) code: u64,
    pub(crate) message: String,
}

impl Received {
    /// The attribute, or a text that no attribute has.
    pub(crate) fn of(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("(none)", String::as_str)
    }
}

/// Answers as it was told, then takes everything.
#[derive(Default)]
pub(crate) struct Collector {
    bodies: Mutex<Vec<String>>,
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<u32>,
    /// While there is one, nothing is answered.
    gate: Mutex<Option<std::sync::Arc<Notify>>>,
}

impl Collector {
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    /// One that says nothing.
    pub(crate) fn mute() -> Self {
        Self { gate: Mutex::new(Some(std::sync::Arc::default())), ..Self::default() }
    }

    pub(crate) fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    /// Everything that was taken, as it came.
    pub(crate) fn text(&self) -> String {
        self.bodies.lock().unwrap().join("\n")
    }

    /// Every span of every request that was taken.
    pub(crate) fn spans(&self) -> Vec<Received> {
        self.bodies.lock().unwrap().iter().flat_map(|body| decode(body)).collect()
    }
}

#[async_trait]
impl Post for Collector {
    async fn post(&self, json: String) -> Answer {
        *self.asked.lock().unwrap() += 1;
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Taken { rejected: 0 });
        if matches!(answer, Answer::Taken { .. }) {
            self.bodies.lock().unwrap().push(json);
        }
        answer
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn hexadecimal(value: &Value, digits: usize) -> String {
    let id = text(value);
    assert!(id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(id.bytes().any(|byte| byte != b'0'), "an id of zeros is not valid");
    id
}

fn known<'v>(value: &'v Value, keys: &[&str]) -> &'v Value {
    for key in value.as_object().unwrap().keys() {
        assert!(keys.contains(&key.as_str()), "`{key}` is no field of the protocol here");
    }
    value
}

fn attributes(list: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for pair in list.as_array().unwrap() {
        known(pair, &["key", "value"]);
        let value = pair["value"].as_object().unwrap();
        assert_eq!(value.len(), 1, "one of the forms: {pair}");
        let (form, value) = value.iter().next().unwrap();
        let value = match form.as_str() {
            "stringValue" => text(value),
            "intValue" => text(value).parse::<i64>().unwrap().to_string(),
            "boolValue" => value.as_bool().unwrap().to_string(),
            other => panic!("`{other}` is no form of a value that is used here"),
        };
        assert!(all.insert(text(&pair["key"]), value).is_none(), "twice: {pair}");
    }
    all
}

fn decode(body: &str) -> Vec<Received> {
    let request: Value = serde_json::from_str(body).unwrap();
    let mut spans = Vec::new();
    for group in known(&request, &["resourceSpans"])["resourceSpans"].as_array().unwrap() {
        let resource = attributes(&known(group, &["resource", "scopeSpans"])["resource"]["attributes"]);
        assert_eq!(
            (resource["service.name"].as_str(), resource["service.version"].as_str()),
            ("site", "1.2.3")
        );
        for scope in group["scopeSpans"].as_array().unwrap() {
            for span in known(scope, &["scope", "spans"])["spans"].as_array().unwrap() {
                let fields = [
                    "traceId",
                    "spanId",
                    "parentSpanId",
                    "name",
                    "kind",
                    "startTimeUnixNano",
                    "endTimeUnixNano",
                    "attributes",
                    "status",
                ];
                known(span, &fields);
                let status = known(&span["status"], &["code", "message"]);
                spans.push(Received {
                    trace: hexadecimal(&span["traceId"], 32),
                    id: hexadecimal(&span["spanId"], 16),
                    parent: span.get("parentSpanId").map(|id| hexadecimal(id, 16)),
                    name: text(&span["name"]),
                    kind: span["kind"].as_u64().unwrap(),
                    began: text(&span["startTimeUnixNano"]).parse().unwrap(),
                    ended: text(&span["endTimeUnixNano"]).parse().unwrap(),
                    attributes: attributes(&span["attributes"]),
                    code: status.get("code").map_or(0, |code| code.as_u64().unwrap()),
                    message: status.get("message").map(text).unwrap_or_default(),
                });
            }
        }
    }
    spans
}
