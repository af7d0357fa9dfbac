#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;

fn input(name: &str, ty: InputType) -> Input {
    Input { name: name.to_owned(), ty, required: false, default: None, pattern: None, description: None }
}

fn workflow(inputs: Vec<Input>) -> Workflow {
    Workflow { id: "w".to_owned(), name: "w".to_owned(), inputs, ..Workflow::default() }
}

fn accept(ty: InputType, value: Value) -> Result<Value, String> {
    let given = Map::from_iter([("x".to_owned(), value)]);
    match workflow(vec![input("x", ty)]).accept_inputs(given) {
        Ok(map) => Ok(map.get("x").unwrap().clone()),
        Err(problems) => Err(problems.first().unwrap().message.clone()),
    }
}

#[test]
fn texts_of_the_command_line_and_json_values_become_the_declared_types() {
    let values = vec!["fast".to_owned(), "slow".to_owned()];
    let cases = [
        (InputType::String, json!("a"), json!("a")),
        (InputType::Integer, json!("12"), json!(12)),
        (InputType::Integer, json!(-3), json!(-3)),
        (InputType::Number, json!("1.5"), json!(1.5)),
        (InputType::Number, json!("2"), json!(2)),
        (InputType::Boolean, json!("true"), json!(true)),
        (InputType::Boolean, json!(false), json!(false)),
        (
            InputType::Uuid,
            json!("0192F3A1-7C1E-7B52-9D4E-2F6A8C0B1D3E"),
            json!("0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e"),
        ),
        (InputType::Date, json!("2026-11-21"), json!("2026-11-21")),
        (InputType::DateTime, json!("2026-11-21T03:51:00+02:00"), json!("2026-11-21T03:51:00+02:00")),
        (InputType::Duration, json!("1h30m"), json!(5400)),
        (InputType::Duration, json!("500ms"), json!(0.5)),
        (InputType::Duration, json!(90), json!(90)),
        (InputType::Enum(values), json!("slow"), json!("slow")),
        (InputType::Json, json!("{\"a\": [1]}"), json!({"a": [1]})),
        (InputType::Json, json!("12"), json!("12")),
        (InputType::Json, json!([1]), json!([1])),
    ];
    for (ty, given, expected) in cases {
        assert_eq!(accept(ty, given), Ok(expected));
    }
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let values = vec!["fast".to_owned(), "slow".to_owned()];
    let cases = [
        (InputType::String, json!(12), "input `x`: expected a text, got number 12"),
        (InputType::Integer, json!("1.5"), "input `x`: expected a whole number, got `1.5`"),
        (InputType::Integer, json!(1.5), "input `x`: expected a whole number, got number 1.5"),
        (InputType::Number, json!("NaN"), "input `x`: expected a number, got `NaN`"),
        (InputType::Boolean, json!("yes"), "input `x`: expected true or false, got `yes`"),
        (
            InputType::Date,
            json!("21.11.2026"),
            "input `x`: expected a date such as 2026-11-21, got `21.11.2026`",
        ),
        (
            InputType::Date,
            json!("2026-02-30"),
            "input `x`: expected a date such as 2026-11-21, got `2026-02-30`",
        ),
        (InputType::Duration, json!("30"), "input `x`: `30` lacks a unit"),
        (InputType::Enum(values), json!("slwo"), "input `x`: expected one of `fast`, `slow`, got `slwo`"),
    ];
    for (ty, given, expected) in cases {
        assert_eq!(accept(ty, given), Err(expected.to_owned()));
    }
    for text in ["0192f3a17c1e7b529d4e2f6a8c0b1d3e", "{0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e}", "x"] {
        assert!(accept(InputType::Uuid, json!(text)).is_err(), "{text}");
    }
    for text in ["2026-11-21T03:51:00", "2026-11-21", "now"] {
        assert!(accept(InputType::DateTime, json!(text)).is_err(), "{text}");
    }
    assert!(accept(InputType::Json, json!("{a")).unwrap_err().starts_with("input `x`: not JSON"));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut id = input("employee_id", InputType::Uuid);
    id.required = true;
    let floor = input("floor", InputType::Integer);
    let given = Map::from_iter([("flor".to_owned(), json!(1)), ("floor".to_owned(), json!("x"))]);
    let problems = workflow(vec![id, floor]).accept_inputs(given).unwrap_err();
    let texts: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        texts,
        [
            "input `employee_id` is missing",
            "input `floor`: expected a whole number, got `x`",
            "unknown input `flor`"
        ]
    );
    assert_eq!(problems.last().unwrap().help.as_deref(), Some("did you mean `floor`?"));
}

#[test]
fn defaults_fill_in_and_what_is_left_out_is_null() {
    let mut mode = input("mode", InputType::Duration);
    mode.default = Some(json!("5m"));
    let accepted = workflow(vec![mode, input("note", InputType::String)]).accept_inputs(Map::new()).unwrap();
    assert_eq!(Value::Object(accepted), json!({"mode": 300, "note": null}));
}

#[test]
fn a_pattern_must_match_the_whole_text() {
    let mut number = input("x", InputType::String);
    number.pattern = Some("[0-9]{1,3}|a".to_owned());
    let workflow = workflow(vec![number]);
    let accept = |text: &str| workflow.accept_inputs(Map::from_iter([("x".to_owned(), json!(text))]));
    assert!(accept("123").is_ok());
    assert!(accept("a").is_ok());
    for text in ["1234", "12 ", "ab", "", "12\n"] {
        let problems = accept(text).unwrap_err();
        assert!(problems.first().unwrap().message.contains("does not match the pattern"), "{text}");
    }
}

#[test]
fn a_pattern_that_cannot_be_used_says_why() {
    assert_eq!(compile("[0-9").unwrap_err(), "unclosed character class");
    assert!(compile("a)(b").is_err());
    assert!(compile("(?=x)").is_err());
    assert_eq!(compile("(a{1000}){1000}").unwrap_err(), "it is too large");
}
