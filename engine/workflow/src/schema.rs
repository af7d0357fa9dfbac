//! JSON Schema of workflow files, for completion and marking in editors: the keys of [`crate::vocabulary`], and what
//! the plugins and the inventory of a project offer.
//!
//! It is not the check: editors see with it which keys, functions and parameters there are, while `bascule check`
//! also knows expressions, references and what belongs together. Whatever the check accepts, the schema accepts.
//!
//! ```
//! use bascule_workflow::library::Library;
//! use bascule_workflow::schema::{Offered, workflow};
//!
//! let schema = workflow(&Offered { plugins: &Default::default(), project: None, library: &Library::default() });
//! assert_eq!(schema["definitions"]["step"]["properties"]["keep-going"]["type"], "boolean");
//! ```

mod keys;
mod project;
mod values;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::library::Library;
use crate::project::Project;
use crate::signature::{Capability, Plugin};
use crate::vocabulary::WORKFLOW;

pub use project::inventory;

/// What workflows may name.
#[derive(Clone, Copy)]
pub struct Offered<'a> {
    /// The plugins' types, by name.
    pub plugins: &'a BTreeMap<String, Plugin>,
    /// The inventory, where there is one.
    pub project: Option<&'a Project>,
    /// The project's workflows.
    pub library: &'a Library,
}

impl Offered<'_> {
    fn names(&self, capability: Capability) -> Vec<&str> {
        let Some(project) = self.project else {
            return Vec::new();
        };
        match capability {
            Capability::Connection => project.connections.keys().map(String::as_str).collect(),
            Capability::Folder => project.folders.keys().map(String::as_str).collect(),
            Capability::Store => project.stores.keys().map(String::as_str).collect(),
            Capability::Sink => Vec::new(),
        }
    }
}

/// The schema of a workflow file (draft 7, which editors know best).
#[must_use]
pub fn workflow(offered: &Offered<'_>) -> Value {
    let mut definitions = keys::definitions(&WORKFLOW, offered);
    definitions.extend(values::functions(offered));
    definitions.insert("expression".to_owned(), expression());
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A workflow of Bascule",
        "$ref": reference(WORKFLOW.name),
        "definitions": definitions,
    })
}

/// A text with an expression in it.
fn expression() -> Value {
    json!({ "type": "string", "pattern": r"\$\{\{", "description": "an expression: ${{ .. }}" })
}

fn reference(name: &str) -> String {
    format!("#/definitions/{name}")
}

fn refer(name: &str) -> Value {
    json!({ "$ref": reference(name) })
}

/// The same schema with what people should read about it.
fn described(schema: Value, text: &str) -> Value {
    match schema {
        // Beside a `$ref` nothing counts in draft 7.
        Value::Object(map) if map.contains_key("$ref") => json!({ "allOf": [map], "description": text }),
        Value::Object(mut map) => {
            map.insert("description".to_owned(), Value::from(text));
            Value::Object(map)
        }
        other => other,
    }
}

/// Any of these; one alone stands by itself.
fn any_of(schemas: Vec<Value>) -> Value {
    match <[Value; 1]>::try_from(schemas) {
        Ok([only]) => only,
        Err(schemas) => json!({ "anyOf": schemas }),
    }
}

/// One of these names is offered; another one is no mistake here.
fn offered_names(names: &[&str], what: &str) -> Value {
    let any = json!({ "type": "string", "description": what });
    if names.is_empty() { any } else { any_of(vec![json!({ "enum": names }), any]) }
}

/// An object.
fn object(properties: Map<String, Value>, required: &[&str]) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), Value::from("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema
}

#[cfg(test)]
mod tests;
