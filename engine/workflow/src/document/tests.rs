#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;
use crate::problem::{Look, Problems};

fn read(text: &str) -> (Option<Document>, Problems) {
    let mut problems = Problems::new("a.yaml", text);
    let document = Document::read(text, &mut problems);
    (document, problems)
}

fn tree(text: &str) -> Node {
    let (document, problems) = read(text);
    assert!(problems.is_empty(), "{}", problems.render(Look::Plain));
    document.unwrap().root
}

/// The codes, in order.
fn codes_of(text: &str) -> Vec<&'static str> {
    read(text).1.iter().map(|problem| problem.code.name()).collect()
}

/// The source below the part of a scalar's text that `wanted` is.
fn located<'s>(source: &'s str, key: &str, wanted: &str) -> &'s str {
    let root = tree(source);
    let node = root.get(key).unwrap();
    let start = node.as_str().unwrap().find(wanted).unwrap();
    let span = node.locate(source, start, start + wanted.len());
    &source[span.start..span.end]
}

#[test]
fn keys_and_values_know_where_they_stand() {
    let text = "name: Ünïcode name\nsteps:\n  - id: a\n    with: { x: 1, y: [2, 3] }\n";
    let root = tree(text);
    let step = &root.get("steps").unwrap().as_list().unwrap()[0];
    let y = step.get("with").unwrap().entry("y").unwrap();
    assert_eq!(&text[y.key.span.start..y.key.span.end], "y");
    assert_eq!(&text[y.value.span.start..y.value.span.end], "[2, 3]");
    assert_eq!((y.value.span.line, y.value.span.column), (4, 22));
    assert_eq!(
        root.to_json(),
        json!({"name": "Ünïcode name", "steps": [{"id": "a", "with": {"x": 1, "y": [2, 3]}}]})
    );
}

#[test]
fn a_byte_order_mark_and_crlf_do_not_move_anything() {
    let text = "\u{feff}a: é\r\nb: ü\r\n";
    let root = tree(text);
    let b = root.entry("b").unwrap();
    assert_eq!((b.value.span.line, b.value.span.column), (2, 4));
    assert_eq!(&text[b.value.span.start..b.value.span.end], "ü");
    assert_eq!(b.value.locate(text, 0, 2), b.value.span);
}

#[test]
fn a_part_of_a_text_is_found_however_it_is_written() {
    assert_eq!(located("a: one two\n", "a", "two"), "two");
    assert_eq!(located("a: 'it''s two'\n", "a", "two"), "two");
    assert_eq!(located("a: 'it''s two'\n", "a", "it's"), "it''s");
    assert_eq!(located("a: \"x\\ty \\u00e9 two\"\n", "a", "two"), "two");
    assert_eq!(located("a: \"x\\ty \\u00e9 two\"\n", "a", "é"), "\\u00e9");
    assert_eq!(located("a: |\n    one\n    two three\n    four\n", "a", "three"), "three");
    assert_eq!(located("a: >-\n  one\n  two\n\n  three\n", "a", "three"), "three");
    assert_eq!(located("a: one\n  two\n", "a", "two"), "two");
}

#[test]
fn an_empty_value_is_null_and_an_empty_file_too() {
    assert_eq!(tree("a:\nb: ''\n").to_json(), json!({"a": null, "b": ""}));
    assert_eq!(tree("").to_json(), json!(null));
    assert_eq!(tree("# nothing\n").to_json(), json!(null));
}

#[test]
fn quoted_scalars_are_texts() {
    assert_eq!(
        tree("a: \"007\"\nb: '12'\nc: |\n  true\n").to_json(),
        json!({"a": "007", "b": "12", "c": "true\n"})
    );
}

#[test]
fn an_alias_repeats_its_value() {
    assert_eq!(tree("a: &x { k: [1] }\nb: *x\n").to_json(), json!({"a": {"k": [1]}, "b": {"k": [1]}}));
}

#[test]
fn what_yaml_1_1_reads_differently_is_warned_about() {
    let cases = [
        ("a: 007\n", "WF007"),
        ("a: -012\n", "WF007"),
        ("a: 01.5\n", "WF007"),
        ("a: [yes]\n", "WF008"),
        ("a: Off\n", "WF008"),
        ("a: 1:30\n", "WF009"),
        ("a: 12:30:45\n", "WF009"),
        ("a: 123456789012345678901\n", "WF015"),
    ];
    for (text, code) in cases {
        assert_eq!(codes_of(text), [code], "{text}");
    }
    for text in [
        "a: 0\n",
        "a: 0.5\n",
        "a: 0x1F\n",
        "a: \"007\"\n",
        "on: [x]\n",
        "a: 2026-01-05\n",
        "a: host:80\n",
        "a: 1:75\n",
    ] {
        assert!(codes_of(text).is_empty(), "{text}");
    }
}

#[test]
fn what_is_not_used_here_is_refused() {
    let cases = [
        ("a: 1\na: 2\n", "WF003"),
        ("x: &x { k: 1 }\na: { <<: *x }\n", "WF004"),
        ("a: 1\n---\nb: 2\n", "WF005"),
        ("a: !secret x\n", "WF006"),
        ("a: !!str 1\n", "WF006"),
        ("a: {{ x }}\n", "WF010"),
        ("a: { b: ${{ x }} }\n", "WF010"),
        ("? [1]\n: 2\n", "WF011"),
        ("a: &x [*x]\n", "WF016"),
        ("%YAML 1.1\n---\na: 1\n", "WF001"),
    ];
    for (text, code) in cases {
        assert_eq!(codes_of(text), [code], "{text}");
    }
}

#[test]
fn all_duplicate_keys_are_reported_and_the_first_one_counts() {
    let (document, problems) = read("a: 1\nb: { c: 1, c: 2 }\na: 3\n");
    assert_eq!(problems.errors(), 2);
    assert_eq!(document.unwrap().root.to_json(), json!({"a": 1, "b": {"c": 1}}));
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    assert_eq!(codes_of(&text), ["WF002"]);
}

#[test]
fn the_limits_are_inclusive() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(codes_of(&nested(32)).is_empty());
    assert_eq!(codes_of(&nested(33)), ["WF002"]);
    assert_eq!(codes_of(&"[".repeat(40_000)), ["WF002"]);
    let list = |items: usize| "- 1\n".repeat(items);
    assert!(codes_of(&list(19_999)).is_empty());
    assert_eq!(codes_of(&list(20_000)), ["WF002"]);
    let aliases = |number: usize| format!("a: &a 1\nb: [{}]\n", vec!["*a"; number].join(", "));
    assert!(codes_of(&aliases(200)).is_empty());
    assert_eq!(codes_of(&aliases(201)), ["WF002"]);
    assert_eq!(codes_of(&format!("a: \"{}\"\n", "x".repeat(256 * 1024))), ["WF002"]);
}

#[test]
fn an_alias_cannot_smuggle_in_more_depth() {
    let half = format!("{}1{}", "[".repeat(20), "]".repeat(20));
    let text = format!("a: &a {half}\nb: {}*a {}\n", "[".repeat(20), "]".repeat(20));
    assert_eq!(codes_of(&text), ["WF002"]);
}
