//! What no text may do, and the comparison with minijinja's own evaluator.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{check, scope};

#[test]
fn nesting_is_refused_before_it_can_end_the_process() {
    // Less than half of what a thread has by default.
    let small = std::thread::Builder::new().stack_size(800 << 10).spawn(nest).unwrap();
    small.join().unwrap();
}

fn nest() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "", "]"),
        ("-", "1", ""),
        ("not ", "true", ""),
        ("{1:", "1", "}"),
        ("x if y else ", "z", ""),
    ] {
        for count in [33, 300] {
            let source = format!("{}{middle}{}", open.repeat(count), close.repeat(count));
            let error = Expression::parse(&source).unwrap_err();
            assert!(
                error.message.contains("nested too deeply") || error.message.contains("bytes long"),
                "{open}: {error}"
            );
        }
    }
    let long = format!("{}1", "-".repeat(200_000));
    assert!(Expression::parse(&long).unwrap_err().message.contains("200001 bytes long"));
    for operator in ["+", "~", "and ", "or ", "== ", "**", "|abs|", ".a."] {
        let source = match operator {
            "|abs|" => format!("1{}", "|abs".repeat(900)),
            ".a." => format!("a{}", ".a".repeat(1900)),
            operator => vec!["1 "; 800].join(operator),
        };
        // Refused or evaluated, but it comes back.
        let _ = Expression::parse(&source).and_then(|expression| expression.evaluate(&Scope::new()));
    }
    let fine = format!("{}1{}", "(".repeat(32), ")".repeat(32));
    check(&fine, json!(1));
    check(&vec!["inputs.name ~ ' '"; 40].join(" ~ "), json!("Ann Lee ".repeat(40)));
}

#[test]
fn work_and_memory_are_bounded() {
    let mut scope = Scope::new();
    scope.set(
        "rows",
        Value::Array((0..20_000).map(|at| json!({ "id": at, "text": "x".repeat(20) })).collect()),
    );
    scope.set("text", json!("x".repeat(1 << 20)));
    let started = Instant::now();
    for (source, message) in [
        ("rows | select('in', rows)", "the expression takes too much work"),
        ("(text ~ text ~ text) ~ (text ~ text ~ text) ~ text", "the expression builds too much data"),
        ("text | replace('x', text)", "the expression builds too much data"),
        ("text | list", "the expression takes too much work"),
        ("text | split('x')", "the expression takes too much work"),
        ("text ~ text ~ text ~ text ~ 'x'", "the value is larger than 4 MiB"),
        ("range(10001)", "a range has at most 10000 numbers"),
        ("range(9223372036854775807)", "a range has at most 10000 numbers"),
        ("rows + rows + rows + rows + rows + rows + rows + rows", "the value is larger than 4 MiB"),
        ("range(10000) | map('string') | map('replace', '', text)", "the expression builds too much data"),
        ("range(10000) | join(text)", "the expression builds too much data"),
        ("1 | round(400)", "the precision is a whole number from 0 to 15"),
    ] {
        match Expression::parse(source).unwrap().evaluate(&scope) {
            Ok(_) => panic!("{source} gave a value"),
            Err(error) => assert_eq!(error.message, message, "{source}"),
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let used = Expression::parse(
        "rows | selectattr('id', 'lt', 10) | sort(attribute='id', reverse=true) | map(attribute='id')",
    );
    assert_eq!(used.unwrap().evaluate(&scope).unwrap(), json!([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]));
    let sorted = Expression::parse("(rows | sort(attribute='id', reverse=true) | first).id");
    assert_eq!(sorted.unwrap().evaluate(&scope).unwrap(), json!(19_999));
}

#[test]
fn an_error_never_shows_a_value_of_the_scope() {
    let mut scope = Scope::new();
    scope.set("secret", json!("hunter2-canary"));
    for source in [
        "secret.x",
        "secret + 1",
        "secret | int",
        "secret < 1",
        "secret[99]",
        "-secret",
        "secret is odd",
        "[secret] | sum",
    ] {
        let error = Expression::parse(source).unwrap().evaluate(&scope).unwrap_err();
        assert!(!error.in_full().contains("canary"), "{}", error.in_full());
    }
}

/// Expressions that both evaluators are to agree on: values, and conditions over them. Booleans stay apart from
/// numbers, since for minijinja `true` is the number 1.
fn agreed() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-9_i64..9).prop_map(|number| number.to_string()),
        (0_u8..40).prop_map(|number| format!("{number}.5")),
        prop::sample::select(vec![
            "'ab'",
            "'B'",
            "[1, 2, 3]",
            "{'k': 1}",
            "none",
            "data.n",
            "data.list",
            "data.text"
        ])
        .prop_map(str::to_owned),
        (
            prop::sample::select(vec!["data.text", "'a-b c'", "' B '", "''"]),
            prop::sample::select(vec![
                "upper",
                "lower",
                "title",
                "capitalize",
                "trim",
                "split('-')",
                "replace('b', 'c')",
                "urlencode",
                "list | join('-')",
                "int(default=3)",
                "lines",
                "reverse",
                "length"
            ])
        )
            .prop_map(|(value, filter)| format!("({value} | {filter})")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let arithmetic = prop::sample::select(vec!["+", "-", "*", "//", "%", "/", "and", "or"]);
        let comparison = prop::sample::select(vec!["==", "!=", "+ 0 < 0 +", "+ 0 >= 0 +", "in", "not in"]);
        let filter = prop::sample::select(vec![
            "length",
            "first",
            "last",
            "sort",
            "unique",
            "reverse",
            "sum",
            "min",
            "max",
            "abs",
            "round",
            "list",
            "map('abs')",
            "select('odd')",
            "reject('even')",
            "int",
            "float",
            "round(1, 'ceil')",
            "sort(reverse=true)",
        ]);
        let test = prop::sample::select(vec![
            "none", "number", "string", "mapping", "boolean", "integer", "float", "odd", "eq 1", "gt 2",
        ]);
        prop_oneof![
            (inner.clone(), inner.clone(), arithmetic)
                .prop_map(|(left, right, op)| format!("({left} {op} {right})")),
            (inner.clone(), inner.clone(), inner.clone(), inner.clone(), comparison).prop_map(
                |(then, left, right, other, op)| format!("({then} if {left} {op} {right} else {other})")
            ),
            (inner.clone(), inner.clone(), inner.clone(), test).prop_map(
                |(then, left, other, test)| format!("({then} if not {left} is {test} else {other})")
            ),
            (inner.clone(), filter).prop_map(|(value, filter)| format!("({value} | {filter})")),
            (inner.clone(), -4_i64..4, -4_i64..4, 1_i64..3)
                .prop_map(|(value, start, stop, step)| format!("{value}[{start}:{stop}:{step}]")),
            (inner, -3_i64..3).prop_map(|(value, at)| format!("{value}[{at}]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_comes_back_quickly(source in "\\PC{0,300}") {
        let started = Instant::now();
        let _ = Expression::parse(&source).and_then(|expression| expression.evaluate(&scope()));
        let _ = Template::parse(&Value::String(source)).and_then(|template| template.evaluate(&scope()));
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn any_run_of_tokens_comes_back_quickly(tokens in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "[", "]", "{", "}", "-", "not", "if", "else", "|", ".", ",", ":", "::", "is", "in", "and", "or", "~",
        "+", "*", "**", "/", "//", "%", "==", "<", ">=", "=", "!", "1", "99999999999999999999", "1e999", "0.5", "'x'", "\"",
        "'", "\\", "inputs", "steps", "terminals", "output", "name", "default", "map", "select", "sort", "range",
        "attribute=", "'upper'", "'a.b'", "none", "true", "${{", "}}", "$", "\u{e4}", "\n", "groupby", "tojson", "int",
    ]), 0..120)) {
        let source = tokens.join(" ");
        let started = Instant::now();
        let _ = Expression::parse(&source).and_then(|expression| expression.evaluate(&scope()));
        let _ = Template::parse(&Value::String(source)).and_then(|template| template.evaluate(&scope()));
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn ours_and_minijinjas_evaluator_agree(source in agreed()) {
        let data = json!({ "n": 7, "list": [3, 1, 2], "text": "Hello" });
        let mut scope = Scope::new();
        scope.set("data", data.clone());
        let Ok(expression) = Expression::parse(&source) else { return Ok(()) };
        // Where ours refuses, it may be stricter; where it gives a value, the other must give the same.
        let Ok(ours) = expression.evaluate(&scope) else { return Ok(()) };
        let mut environment = minijinja::Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let theirs = environment
            .compile_expression(&source)
            .and_then(|expression| expression.eval(minijinja::value::Serde(json!({ "data": data }))));
        let theirs = theirs.map(|value| serde_json::to_value(value).unwrap()).map_err(|error| error.to_string());
        let agree = theirs.as_ref().is_ok_and(|theirs| operators::equal(theirs, &ours));
        prop_assert!(agree, "{source}: ours {ours}, theirs {theirs:?}");
    }
}
