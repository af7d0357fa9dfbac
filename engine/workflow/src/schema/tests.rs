use super::*;
use crate::signature::{Field, Function, Param, Type};

fn plugins() -> BTreeMap<String, Plugin> {
    let text = |name: &str, ty: Type| Field { name: name.to_owned(), ty, docs: Some(format!("its {name}")) };
    let person = Type::Record {
        name: "person".to_owned(),
        fields: vec![
            text("employee-no", Type::String),
            text(
                "gender",
                Type::Option(Box::new(Type::Enum {
                    name: "gender".to_owned(),
                    cases: vec!["male".to_owned(), "not-known".to_owned()],
                })),
            ),
        ],
    };
    let terminal = Param { name: "terminal".to_owned(), ty: Type::Capability(Capability::Connection) };
    let add = Function {
        params: vec![terminal.clone(), Param { name: "new-person".to_owned(), ty: person }],
        result: None,
        docs: Some("Adds a person.".to_owned()),
    };
    let stream = Function {
        params: vec![terminal, Param { name: "into".to_owned(), ty: Type::Capability(Capability::Sink) }],
        result: None,
        docs: None,
    };
    let functions = [("people.add".to_owned(), add), ("people.stream".to_owned(), stream)].into();
    let plugin = Plugin { name: "demo".to_owned(), functions, ..Plugin::default() };
    [("demo".to_owned(), plugin)].into()
}

fn schema() -> Value {
    let mut library = Library::default();
    library.insert("workflows/ring.yaml", "inputs:\n  who: { type: string, required: true }\nsteps: []\n");
    workflow(&Offered { plugins: &plugins(), project: None, library: &library })
}

#[test]
fn a_step_is_offered_functions_and_workflows_and_a_trigger_event_sources() {
    let schema = schema();
    let named = |map: &str| schema["definitions"][map]["properties"]["uses"].to_string();
    assert!(
        named("step").contains(r#"{"const":"demo/people.add","description":"Adds a person."}"#),
        "{}",
        named("step")
    );
    assert!(named("step").contains("workflow/ring") && !named("step").contains("people.stream"));
    assert!(named("event").contains("people.stream") && !named("event").contains("people.add"));
    assert!(!named("verify").contains("workflow/"));
}

#[test]
fn with_goes_by_the_parameters_of_the_function_beside_it() {
    let schema = schema();
    let calls = schema["definitions"]["step"]["allOf"].as_array().cloned().unwrap_or_default();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["then"]["properties"]["with"]["$ref"], "#/definitions/with:demo.people.add");
    assert_eq!(calls[0]["then"]["required"], json!(["with"]));
    let with = &schema["definitions"]["with:demo.people.add"]["anyOf"][0];
    assert_eq!(with["required"], json!(["terminal"]));
    assert_eq!(with["additionalProperties"], false);
    assert!(with["patternProperties"].get("^new[-_]?[pP]erson$").is_some(), "{with}");
    // The workflow's inputs.
    let ring = &calls[1]["then"]["properties"]["with"]["anyOf"][0];
    assert_eq!((&ring["required"], &ring["additionalProperties"]), (&json!(["who"]), &json!(false)));
    // Its person, however the fields are spelled.
    let person = &with["properties"]["new-person"]["anyOf"][0];
    assert_eq!(person["properties"]["employee-no"]["description"], "its employee-no");
    assert_eq!(person["allOf"][0]["anyOf"][2]["required"], json!(["employeeNo"]));
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, root: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    let pointer = target.trim_start_matches('#');
                    assert!(root.pointer(pointer).is_some_and(|found| !found.is_null()), "{target}");
                }
                map.values().for_each(|value| walk(value, root));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, root)),
            _ => {}
        }
    }
    let schema = schema();
    walk(&schema, &schema);
}

#[test]
fn the_inventory_has_every_key_with_what_it_does() {
    let schema = inventory();
    let connection = &schema["properties"]["connections"]["additionalProperties"]["anyOf"][0];
    assert_eq!(connection["required"], json!(["url"]));
    let header = &connection["properties"]["auth"]["anyOf"][0]["properties"]["headers"]["additionalProperties"]
        ["anyOf"][0];
    assert!(header["properties"].get("prefix").is_some(), "{header}");
    let digest = &connection["properties"]["auth"]["anyOf"][0]["properties"]["digest"]["anyOf"][0];
    assert!(
        digest["properties"]["nonces"]["description"].as_str().is_some_and(|text| text.contains("fresh"))
    );
}
