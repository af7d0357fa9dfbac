//! `bascule.yaml` as a schema: its keys with what they do. How values are written is the check's business.

use serde_json::{Map, Value, json};

use crate::project::{KeyDoc, reference};

/// The schema of `bascule.yaml` (draft 7).
#[must_use]
pub fn inventory() -> Value {
    let mut schema = map_of("");
    schema.insert("$schema".to_owned(), Value::from("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), Value::from("The inventory of a site of Bascule"));
    Value::Object(schema)
}

fn map_of(within: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for doc in reference().iter().filter(|doc| doc.within == within) {
        properties.insert(doc.key.to_owned(), entry(doc));
        if doc.default == "required" {
            required.push(doc.key);
        }
    }
    super::object(properties, &required)
}

fn entry(doc: &KeyDoc) -> Value {
    let path = if doc.within.is_empty() { doc.key.to_owned() } else { format!("{}.{}", doc.within, doc.key) };
    let text = match doc.default {
        "required" | "-" | "" => format!("{}: {}", doc.summary, doc.form),
        default => format!("{}: {}\n\nwithout it: {default}", doc.summary, doc.form),
    };
    let below = reference().iter().any(|other| other.within == path);
    if !below {
        return json!({ "description": text });
    }
    let map = Value::Object(map_of(&path));
    // The entries have names of the user's own.
    let ways = if doc.form.starts_with("{ NAME:") {
        json!({ "type": ["object", "null"], "additionalProperties": { "anyOf": [map, { "type": "null" }] } })
    } else {
        // Some have a short form, such as `auth: none`.
        json!({ "anyOf": [map, { "type": ["string", "null"] }] })
    };
    super::described(ways, &text)
}
