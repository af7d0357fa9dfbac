//! Spans in the words of OTLP/HTTP with JSON (OpenTelemetry Protocol 1.x, `ExportTraceServiceRequest`): ids are
//! hexadecimal, 64-bit numbers are texts, enumerations are numbers.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::span::{Span, SpanKind, Verdict};

/// Who sends the spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `service.name`
    pub name: String,
    /// `service.version`
    pub version: String,
}

/// One request's body.
pub(crate) fn request(service: &Service, spans: &[Span]) -> String {
    let resource = [
        ("service.name", Value::from(service.name.as_str())),
        ("service.version", Value::from(service.version.as_str())),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&resource) },
            "scopeSpans": [{
                "scope": { "name": "bascule", "version": service.version },
                "spans": spans,
            }],
        }],
    })
    .to_string()
}

fn span(span: &Span) -> Value {
    let mut value = json!({
        "traceId": span.run.to_string().replace('-', ""),
        "spanId": span.id.hex(),
        "name": span.name,
        "kind": match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Client => 3,
        },
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended.max(span.began)),
        "attributes": attributes(&span.attributes),
        "status": match &span.verdict {
            Verdict::Unset => json!({}),
            Verdict::Ok => json!({ "code": 1 }),
            Verdict::Error(why) => json!({ "code": 2, "message": why }),
        },
    });
    if let Some(parent) = span.parent {
        value["parentSpanId"] = Value::from(parent.hex());
    }
    value
}

fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn attributes(pairs: &[(&'static str, Value)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": any(value) })).collect()
}

fn any(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    }
}

/// How many spans the collector did not take although it answered 2xx (`partialSuccess`).
pub(crate) fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match &answer["partialSuccess"]["rejectedSpans"] {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_did_not_take_is_read_as_text_and_as_number() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":4,"errorMessage":"x"}}"#), 4);
        for nothing in ["{}", "", "\u{1}\u{2}", r#"{"partialSuccess":{}}"#] {
            assert_eq!(rejected(nothing.as_bytes()), 0);
        }
    }
}
