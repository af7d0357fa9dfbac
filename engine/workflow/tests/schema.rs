//! The JSON Schema, held by a validator of its own against the files that the check knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::path::Path;

use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::document::Document;
use bascule_workflow::problem::Problems;
use bascule_workflow::schema::{Offered, workflow};
use jsonschema::Validator;
use serde_json::{Value, json};

fn validator() -> Validator {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let offered = Offered { plugins: &plugins, project: Some(&project), library: &library };
    jsonschema::draft7::new(&workflow(&offered)).unwrap()
}

fn json_of(text: &str) -> Option<Value> {
    Document::read(text, &mut Problems::new("x.yaml", text)).map(|document| document.root.to_json())
}

fn errors(text: &str) -> bool {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    check_among("x.yaml", text, surroundings).1.has_errors()
}

/// Problems that an editor can see: keys, shapes, words, functions, parameters and plain values of a wrong type.
const SEEN: [&str; 9] = ["WF012", "WF013", "WF014", "WF021", "WF041", "WF042", "WF043", "WF044", "WF045"];

/// What only the check can see: expressions, and keys that go by the value of another one.
const NOT_SEEN: [&str; 4] = [
    "call-expression-of-another-type",
    "call-mixed-text-for-number",
    "input-enum-without-values",
    "trigger-overdue-nothing",
];

#[test]
fn what_the_check_accepts_the_schema_accepts_and_it_sees_wrong_keys_functions_and_parameters() {
    let validator = validator();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/broken");
    let (mut accepted, mut seen, mut wrong) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(value) = json_of(&text) else { continue };
        let golden = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        if !errors(&text) {
            accepted += 1;
            if let Err(error) = validator.validate(&value) {
                wrong.push(format!("{name}: only warnings, but {error} at {}", error.instance_path()));
            }
        } else if golden.lines().next().is_some_and(|line| SEEN.iter().any(|code| line.contains(code))) {
            seen += 1;
            if validator.is_valid(&value) != NOT_SEEN.contains(&name.as_str()) {
                wrong.push(format!(
                    "{name} is seen or not seen otherwise than said: {}",
                    golden.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 8 && seen >= 50, "{accepted} accepted, {seen} seen");
}

#[test]
fn a_parameter_may_be_an_expression_and_is_held_against_its_type_else() {
    let validator = validator();
    let with = |with: Value| {
        let step = json!({ "uses": "isapi/faces.modify", "with": with });
        validator.is_valid(&json!({ "steps": [step] }))
    };
    let terminal = json!({ "connection": "terminal", "device": "${{ inputs.device }}" });
    let good = json!({ "terminal": terminal, "fpid": "7", "url": "http://192.0.2.1/a.jpg" });
    assert!(with(good.clone()), "{good}");
    for (key, value) in [("fpid", json!(["7"])), ("fpdi", json!("7")), ("terminal", json!(3))] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(!with(bad.clone()), "{bad}");
    }
    assert!(with(json!("${{ inputs.everything }}")));
    assert!(!with(json!({ "fpid": "7" })), "the terminal is missing");
}
