//! Expectations of test files: what each matcher takes and what it does not, and how requests are held against them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use bascule_workflow::cases::{Difference, check};
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::expression::Scope;
use serde_json::{Value, json};

const WORKFLOW: &str =
    "steps:\n  - id: info\n    uses: isapi/device.info\n    with: { terminal: entrance }\n";

/// How a result and the requests of `entrance` differ from what stands under `expect:`.
fn differences(expect: &str, result: &Value, asked: &[Value]) -> Vec<Difference> {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    let workflow = check_among("demo.yaml", WORKFLOW, surroundings).0.unwrap();
    let text = format!("cases:\n  - name: x\n    expect: {expect}\n");
    let (suite, problems) = check("demo.test.yaml", &text, &workflow, Some(&project));
    assert!(problems.is_empty(), "{}", problems.render(bascule_workflow::problem::Look::Plain));
    let mut scope = Scope::new();
    scope.set("output", result["output"].clone());
    suite.unwrap().cases[0].expect.differences(result, &|_| asked.to_vec(), &scope)
}

fn output(expected: &str, value: Value) -> usize {
    differences(&format!("{{ output: {expected} }}"), &json!({ "output": value }), &[]).len()
}

#[test]
fn each_matcher_takes_what_it_means_and_nothing_else() {
    for (expected, good, bad) in [
        ("1", json!(1.0), json!("1")),
        ("\"1\"", json!("1"), json!(1)),
        ("null", json!(null), json!(0)),
        ("{ a: 1 }", json!({ "a": 1, "b": 2 }), json!({ "b": 2 })),
        ("[1, { a: 1 }]", json!([1, { "a": 1, "b": 2 }]), json!([1, { "a": 1 }, 3])),
        ("{ any: text }", json!("x"), json!(1)),
        ("{ any: value }", json!(false), json!(null)),
        ("{ a: { absent: true } }", json!({}), json!({ "a": null })),
        ("{ matches: \"[a-c]+\" }", json!("abc"), json!("abcd")),
        ("{ contains: b }", json!("abc"), json!("ac")),
        ("{ contains: { a: 1 } }", json!([{ "a": 0 }, { "a": 1, "b": 2 }]), json!([{ "a": 0 }])),
        ("{ length: 2 }", json!([1, 2]), json!([1])),
        ("{ length: \"${{ value > 1 }}\" }", json!("ab"), json!("a")),
        ("{ unordered: [1, 2] }", json!([2, 1]), json!([2, 1, 1])),
        ("{ exactly: { a: [1] } }", json!({ "a": [1] }), json!({ "a": [1], "b": 2 })),
        ("{ not: { contains: x } }", json!("abc"), json!("xyz")),
        ("{ one-of: [1, { any: text }] }", json!("two"), json!(2)),
        ("{ a: \"${{ value == output.b }}\" }", json!({ "a": 3, "b": 3 }), json!({ "a": 3, "b": 4 })),
        ("{ a: \"id-${{ output.b }}\" }", json!({ "a": "id-3", "b": 3 }), json!({ "a": "id-4", "b": 3 })),
    ] {
        assert_eq!(output(expected, good.clone()), 0, "{expected} does not take {good}");
        assert_eq!(output(expected, bad.clone()), 1, "{expected} takes {bad}");
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_is_not_met() {
    let found =
        differences("{ output: { a: \"${{ value > 1 }}\" } }", &json!({ "output": { "a": "x" } }), &[]);
    assert!(found[0].came.contains("it could not be evaluated"), "{found:?}");
    assert_eq!(
        differences("{ that: \"${{ output.a == 2 }}\" }", &json!({ "output": { "a": 1 } }), &[]).len(),
        1
    );
    assert!(
        differences("{ that: \"${{ output.a == 1 }}\" }", &json!({ "output": { "a": 1 } }), &[]).is_empty()
    );
}

#[test]
fn a_difference_says_where_in_the_value_and_where_in_the_file() {
    let found = differences(
        "{ steps: { info: { items: { \"10/1\": failed } } } }",
        &json!({ "steps": { "info": { "items": { "10/1": { "status": "succeeded" } } } } }),
        &[],
    );
    assert_eq!(found[0].path, "steps.info.items[\"10/1\"].status");
    assert_eq!((found[0].span.line, found[0].expected.as_str()), (3, "\"failed\""));
}

#[test]
fn requests_are_held_against_counts_and_order() {
    let asked: Vec<Value> = ["/a", "/b", "/a"]
        .iter()
        .map(|path| json!({ "method": "GET", "path": path, "at": "10.0.0.7:80", "query": {}, "body": null }))
        .collect();
    for (expected, met) in [
        ("none", false),
        ("[GET /a]", true),
        ("[GET /c]", false),
        ("[POST /a]", false),
        ("[{ request: GET /a, count: 2 }]", true),
        ("[{ request: GET /a, count: 1 }]", false),
        ("[{ request: GET /c, count: 0 }]", true),
        ("[{ request: GET /a, at: 10.0.0.7 }]", true),
        ("[{ request: GET /a, at: 10.0.0.8 }]", false),
        ("{ in-order: [GET /b, GET /a] }", true),
        ("{ in-order: [GET /b, GET /b] }", false),
        ("{ exactly: [GET /a, GET /b, GET /a] }", true),
        ("{ exactly: [GET /a, GET /b] }", false),
        ("{ exactly: [GET /a, GET /a, GET /b] }", false),
    ] {
        let found = differences(&format!("{{ requests: {{ entrance: {expected} }} }}"), &json!({}), &asked);
        assert_eq!(found.is_empty(), met, "{expected}: {found:?}");
    }
    assert!(differences("{ requests: { entrance: none } }", &json!({}), &[]).is_empty());
}
