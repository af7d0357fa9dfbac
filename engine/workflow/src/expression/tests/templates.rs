//! Templates.

use serde_json::{Value, json};

use super::super::*;
use super::scope;

#[test]
fn what_templates_give() {
    let cases = [
        (json!("${{ inputs.floor }}"), json!(3)),
        (json!("${{ inputs.floor }}\n"), json!(3)),
        (json!(" ${{ inputs.floor }}"), json!(" 3")),
        (json!("eq.${{ inputs.employee_id }}"), json!("eq.7b0f")),
        (json!("${{ inputs.floor }}${{ inputs.yes }} ${{ inputs.ratio }}"), json!("3true 0.5")),
        (json!("$${{ inputs.floor }}"), json!("${{ inputs.floor }}")),
        (json!("$${{ a }} ${{ 1 }} $5 $$ {{ x }}"), json!("${{ a }} 1 $5 $$ {{ x }}")),
        (json!("${{ {'a': {'b': '}}'}} }}"), json!({ "a": { "b": "}}" } })),
        (json!("${{ \"it's }}\" }}"), json!("it's }}")),
        (
            json!({ "a": ["x", "${{ [1] }}"], "${{ 1 }}": 2, "b": null }),
            json!({ "a": ["x", [1]], "${{ 1 }}": 2, "b": null }),
        ),
        (json!("${{1}}"), json!(1)),
        (json!(12), json!(12)),
    ];
    for (value, expected) in cases {
        let template = Template::parse(&value).unwrap();
        assert_eq!(template.evaluate(&scope()).unwrap(), expected, "{value}");
    }
}

#[test]
fn errors_of_templates_name_the_text_and_the_range_in_it() {
    let check = |value: Value, shown: &str, covered: &str| {
        let error = Template::parse(&value).and_then(|template| template.evaluate(&scope())).unwrap_err();
        assert_eq!(error.to_string(), shown);
        let mut text = &value;
        for segment in &error.path {
            text = match segment {
                PathSegment::Key(key) => &text[key],
                PathSegment::Index(index) => &text[index],
            };
        }
        assert_eq!(text.as_str().unwrap().get(error.range.start..error.range.end), Some(covered));
    };
    check(
        json!({ "face": { "fpid": ["x", "no ${{ inputs.flor }}"] } }),
        "face.fpid[1]: unknown field `flor` of `inputs`",
        "flor",
    );
    check(json!("no ${{ inputs }}"), "a map cannot stand inside text", " inputs ");
    check(json!("no ${{ inputs.none }}"), "null cannot stand inside text", " inputs.none ");
    check(json!(["a ${{ b"]), "[0]: `${{` is not closed", "${{ b");
    check(json!("a ${{ 'b }}"), "the quote is not closed", "'b }}");
    check(json!("a ${{ }}"), "the expression is empty", " ");
    check(json!("a ${{ x | nope }} "), "there is no filter `nope`", "nope");
    let errors = Template::parse_all(&json!(["${{ 1 + }}", "${{ }} ${{ now() }}", "fine"])).unwrap_err();
    assert_eq!(errors.len(), 3);
}

#[test]
fn invariant_7_a_value_from_outside_is_never_evaluated() {
    let mut scope = Scope::new();
    scope.set("inputs", json!({ "a": "${{ 1+1 }}", "b": "{{ 7*7 }}{% set x = 1 %}" }));
    let template =
        Template::parse(&json!({ "whole": "${{ inputs.a }}", "text": "<${{ inputs.a }}|${{ inputs.b }}>" }))
            .unwrap();
    let value = template.evaluate(&scope).unwrap();
    assert_eq!(value, json!({ "whole": "${{ 1+1 }}", "text": "<${{ 1+1 }}|{{ 7*7 }}{% set x = 1 %}>" }));
}

#[test]
fn a_template_shows_its_shape_and_its_expressions() {
    let template =
        Template::parse(&json!({ "a": "x", "b": ["${{ c }}", "d ${{ e }}"], "f": { "g": [1] } })).unwrap();
    let Shape::Map(entries) = template.shape() else { panic!("{template:?}") };
    assert!(matches!(entries[0].1.shape(), Shape::Literal(Value::String(_))));
    assert!(matches!(entries[1].1.shape(), Shape::List([_, _])));
    assert_eq!(entries[2].1.literal(), Some(&json!({ "g": [1] })));
    assert_eq!(template.literal(), None);
    let found: Vec<_> = template
        .expressions()
        .into_iter()
        .map(|embedded| {
            (
                display_path(&embedded.path),
                embedded.expression.source().to_owned(),
                embedded.offset,
                embedded.whole,
            )
        })
        .collect();
    assert_eq!(
        found,
        [("b[0]".to_owned(), " c ".to_owned(), 3, true), ("b[1]".to_owned(), " e ".to_owned(), 5, false)]
    );
}
