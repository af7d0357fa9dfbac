//! Keywords as schemas.

use serde_json::{Map, Value, json};

use super::{Offered, any_of, described, object, offered_names, refer, values};
use crate::failure::Kind;
use crate::signature::Capability;
use crate::vocabulary::{Callee, Form, KeyDoc, MapDoc};

/// Definitions of this map and of all maps that can stand in it.
pub(super) fn definitions(root: &'static MapDoc, offered: &Offered<'_>) -> Map<String, Value> {
    let mut writer = Writer { offered, found: Map::new() };
    writer.map(root);
    writer.found
}

struct Writer<'a> {
    offered: &'a Offered<'a>,
    found: Map<String, Value>,
}

impl Writer<'_> {
    /// The map's definition is written once; here stands where it is.
    fn map(&mut self, map: &'static MapDoc) -> Value {
        if !self.found.contains_key(map.name) {
            // It may stand in itself.
            self.found.insert(map.name.to_owned(), Value::Null);
            let definition = self.keys(map);
            self.found.insert(map.name.to_owned(), definition);
        }
        refer(map.name)
    }

    fn keys(&mut self, map: &'static MapDoc) -> Value {
        let mut properties = Map::new();
        for doc in map.keys {
            properties.insert(doc.key.to_owned(), described(self.form(&doc.form), doc.summary));
        }
        let required: Vec<&str> = map.keys.iter().filter(|doc| doc.required).map(|doc| doc.key).collect();
        let mut schema = object(properties, &required);
        if !map.either.is_empty() {
            let ways: Vec<Value> = map.either.iter().map(|key| json!({ "required": [key] })).collect();
            schema.insert("anyOf".to_owned(), Value::Array(ways));
        }
        let calls: Vec<Value> = map
            .keys
            .iter()
            .filter_map(|doc| match doc.form {
                Form::Uses(callee) => Some(values::calls(self.offered, callee)),
                _ => None,
            })
            .flatten()
            .collect();
        if !calls.is_empty() {
            schema.insert("allOf".to_owned(), Value::Array(calls));
        }
        Value::Object(schema)
    }

    fn form(&mut self, form: &'static Form) -> Value {
        match form {
            Form::Text => json!({ "type": "string" }),
            Form::Template => json!({ "type": ["string", "number", "boolean"] }),
            Form::Value | Form::With => json!({}),
            Form::Condition => json!({ "type": ["string", "boolean"] }),
            Form::Items => json!({ "type": ["string", "array"] }),
            Form::Boolean => json!({ "type": "boolean" }),
            Form::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Form::Duration => json!({ "type": "string", "pattern": r"^\s*([0-9]+(ms|s|m|h|d))+\s*$" }),
            // A bare number counts bytes.
            Form::Size => json!({ "type": ["string", "integer"] }),
            Form::Word(words) => json!({ "enum": words }),
            Form::Failure => failures(),
            Form::Folder => {
                offered_names(&self.offered.names(Capability::Folder), "a folder of bascule.yaml")
            }
            Form::Aliases => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Form::Workflow => {
                let ids: Vec<&str> = self.offered.library.ids().collect();
                offered_names(&ids, "a workflow: its file's name without .yaml")
            }
            Form::Uses(callee) => values::callees(self.offered, *callee),
            Form::Map(map) => self.map(map),
            Form::Named(inner) => {
                let inner = self.form(inner);
                json!({ "type": "object", "additionalProperties": inner })
            }
            Form::OneOf(keys) => self.one_of(keys),
            Form::List(inner) => {
                let items = self.form(inner);
                json!({ "type": "array", "items": items })
            }
            Form::OneOrMore(inner) => {
                let one = self.form(inner);
                any_of(vec![one.clone(), json!({ "type": "array", "items": one })])
            }
            Form::Either(forms) => any_of(forms.iter().map(|form| self.form(form)).collect()),
        }
    }

    fn one_of(&mut self, keys: &'static [KeyDoc]) -> Value {
        let mut properties = Map::new();
        for doc in keys {
            properties.insert(doc.key.to_owned(), described(self.form(&doc.form), doc.summary));
        }
        let mut schema = object(properties, &[]);
        schema.insert("minProperties".to_owned(), Value::from(1));
        schema.insert("maxProperties".to_owned(), Value::from(1));
        Value::Object(schema)
    }
}

/// A kind, `any`, or a system's own code.
fn failures() -> Value {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).chain(["any"]).collect();
    any_of(vec![json!({ "enum": names }), json!({ "type": "string", "pattern": "^[^:]+:.+$" })])
}

/// Whether a step may name a workflow here.
pub(super) fn takes_workflows(callee: Callee) -> bool {
    callee == Callee::FunctionOrWorkflow
}
