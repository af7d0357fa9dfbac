//! Tables of expressions, and the limits.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod limits;
mod templates;

use serde_json::{Value, json};

use super::*;

fn scope() -> Scope {
    let mut scope = Scope::new();
    scope.set(
        "inputs",
        json!({ "employee_id": "7b0f", "floor": 3, "ratio": 0.5, "none": null, "big": u64::MAX, "negative": -4,
            "name": "Ann Lee", "yes": true, "text": "10", "kebab-name": 1 }),
    );
    scope.set(
        "steps",
        json!({ "person": { "output": { "employee_no": "0012", "biometrics": { "photo_url": "http://x/p.jpg" },
            "badge": null } }, "terminals": { "output": [
                { "id": "t2", "site": "South", "active": true, "doors": 2 },
                { "id": "t1", "site": "north", "active": false, "doors": 1 },
                { "id": "t3", "site": "South", "active": true, "doors": 4, "note": "x" } ] } }),
    );
    scope.set("item_index", json!(0));
    scope
}

fn evaluate(source: &str) -> Result<Value, ExpressionError> {
    Expression::parse(source)?.evaluate(&scope())
}

fn check(source: &str, expected: Value) {
    match evaluate(source) {
        Ok(value) => assert_eq!(value.to_string(), expected.to_string(), "{source}"),
        Err(error) => panic!("{source}: {}", error.in_full()),
    }
}

/// The error with the text that its range covers.
fn check_error(source: &str, message: &str, covered: &str, help: &str) {
    let error = match evaluate(source) {
        Ok(value) => panic!("{source} gave {value}"),
        Err(error) => error,
    };
    assert_eq!(error.message, message, "{source}");
    assert_eq!(source.get(error.range.start..error.range.end), Some(covered), "{source}: {:?}", error.range);
    assert_eq!(error.help.as_deref().unwrap_or_default(), help, "{source}");
}

#[test]
fn values_keep_their_types() {
    check("inputs.floor", json!(3));
    check("inputs.ratio", json!(0.5));
    check("inputs.big", json!(u64::MAX));
    check("inputs.none", json!(null));
    check("none", json!(null));
    check("true", json!(true));
    check("1.0", json!(1.0));
    check("18446744073709551615", json!(u64::MAX));
    check("-9223372036854775808", json!(i64::MIN));
    check("inputs.employee_id", json!("7b0f"));
    check("steps.person.output.employee_no", json!("0012"));
    check("steps['person']['output'].biometrics", json!({ "photo_url": "http://x/p.jpg" }));
    check("inputs['kebab-name']", json!(1));
    check("{'b': 1, 'a': [1, 2.5, 'x', none, {}]}", json!({ "b": 1, "a": [1, 2.5, "x", null, {}] }));
    check("(1, 2)", json!([1, 2]));
    check("'a' 'b'", json!("ab"));
}

#[test]
fn arithmetic_is_that_of_jinja() {
    check("1 + 2 * 3", json!(7));
    check("(1 + 2) * 3", json!(9));
    check("7 / 2", json!(3.5));
    check("6 / 2", json!(3.0));
    check("7 // 2", json!(3));
    check("-7 // 2", json!(-4));
    check("-7 % 3", json!(2));
    check("7.5 % -2", json!(-0.5));
    check("2 ** 10", json!(1024));
    check("2 ** -1", json!(0.5));
    check("-inputs.floor", json!(-3));
    check("inputs.floor + 0.5", json!(3.5));
    check("'a' + 'b'", json!("ab"));
    check("[1] + [2]", json!([1, 2]));
    check("'Floor ' ~ inputs.floor ~ ': ' ~ true", json!("Floor 3: true"));
    check("1.0 ~ ''", json!("1.0"));
}

#[test]
fn comparisons_and_conditions() {
    check("1 == 1.0", json!(true));
    check("'1' == 1", json!(false));
    check("1 < 2 < 3", json!(true));
    check("1 < 2 > 3", json!(false));
    check("{'a': 1, 'b': 2} == {'b': 2.0, 'a': 1}", json!(true));
    check("'t' in ['t', 'u']", json!(true));
    check("3 not in [1, 2]", json!(true));
    check("'name' in inputs", json!(true));
    check("'nn' in inputs.name", json!(true));
    check("inputs.yes and not inputs.none", json!(true));
    check("inputs.none or 'x'", json!("x"));
    check("'a' if inputs.floor > 2 else 'b'", json!("a"));
    check("'a' if false else 'b' if false else 'c'", json!("c"));
    check("18446744073709551615 > 9223372036854775807", json!(true));
    check("9007199254740993 == 9007199254740992.0", json!(false));
}

#[test]
fn lists_and_slices() {
    check("steps.terminals.output[0].id", json!("t2"));
    check("steps.terminals.output[-1].id", json!("t3"));
    check("steps.terminals.output.1.id", json!("t1"));
    check("[1, 2, 3, 4][1:3]", json!([2, 3]));
    check("[1, 2, 3, 4][::-1]", json!([4, 3, 2, 1]));
    check("[1, 2, 3, 4][-2:]", json!([3, 4]));
    check("[1, 2, 3, 4][:99:2]", json!([1, 3]));
    check("'hello'[1:3]", json!("el"));
    check("'hello'[-1]", json!("o"));
    check("range(3)", json!([0, 1, 2]));
    check("range(1, 10, 4)", json!([1, 5, 9]));
    check("range(3, 0, -1)", json!([3, 2, 1]));
    check("range(5, 1)", json!([]));
    check("steps[('per' ~ 'son')].output.employee_no", json!("0012"));
}

#[test]
fn filters_do_what_their_reference_says() {
    check("inputs.name | length", json!(7));
    check("'äö' | length", json!(2));
    check("inputs | length", json!(10));
    check("inputs.name | lower | upper", json!("ANN LEE"));
    check("'o brien-smith' | title", json!("O Brien-Smith"));
    check("'hELLO you' | capitalize", json!("Hello you"));
    check("'  x ' | trim", json!("x"));
    check("'--x-' | trim('-')", json!("x"));
    check("'a.b.c' | replace('.', '')", json!("abc"));
    check("'a,b,c' | split(',')", json!(["a", "b", "c"]));
    check("'a,b,c' | split(',', 1)", json!(["a", "b,c"]));
    check("' a  b c ' | split", json!(["a", "b", "c"]));
    check("'a b  c' | split(none, 1)", json!(["a", "b  c"]));
    check("'a\\nb' | lines", json!(["a", "b"]));
    check("[1, 'x', true] | join(', ')", json!("1, x, true"));
    check("steps.terminals.output | join('+', attribute='id')", json!("t2+t1+t3"));
    check("[3, 1] | tojson", json!("[3,1]"));
    check("'a b/ü&' | urlencode", json!("a%20b/%C3%BC%26"));
    check("{'a': 1, 'b': 'x y', 'c': none} | urlencode", json!("a=1&b=x%20y"));
    check("[1, 2] | first", json!(1));
    check("[1, 2] | last", json!(2));
    check("'abc' | last", json!("c"));
    check("'ab' | list", json!(["a", "b"]));
    check("{'b': 1, 'a': 2} | list", json!(["b", "a"]));
    check("['b', 'A', 'c'] | sort", json!(["A", "b", "c"]));
    check("['b', 'A', 'c'] | sort(case_sensitive=true, reverse=true)", json!(["c", "b", "A"]));
    check("steps.terminals.output | sort(attribute='id') | map(attribute='id')", json!(["t1", "t2", "t3"]));
    check(
        "steps.terminals.output | sort(attribute='site,id') | map(attribute='id')",
        json!(["t1", "t2", "t3"]),
    );
    check("[1, 1.0, 'a', 'A', 2] | unique", json!([1, "a", 2]));
    check("[1, 2] | reverse", json!([2, 1]));
    check("'ab' | reverse", json!("ba"));
    check("steps.terminals.output | groupby('site') | map(attribute='grouper')", json!(["north", "South"]));
    check(
        "(steps.terminals.output | groupby('site') | last).list | map(attribute='id')",
        json!(["t2", "t3"]),
    );
    check("{'b': 1, 'a': 2} | items", json!([["b", 1], ["a", 2]]));
    check("{'b': 1, 'a': 2} | dictsort", json!([["a", 2], ["b", 1]]));
    check("{'b': 1, 'a': 2} | dictsort(by='value')", json!([["b", 1], ["a", 2]]));
    check("{'b': 1, 'a': 2} | keys", json!(["b", "a"]));
    check("{'b': 1, 'a': 2} | values", json!([1, 2]));
    check("[1, 2.5] | sum", json!(3.5));
    check("steps.terminals.output | sum(attribute='doors')", json!(7));
    check("[3, 1, 2] | min", json!(1));
    check("(steps.terminals.output | max(attribute='doors')).id", json!("t3"));
    check("-3 | abs", json!(3));
    check("2.567 | round(2)", json!(2.57));
    check("2.5 | round", json!(2.0));
    check("2.1 | round(method='ceil')", json!(3.0));
    check("'12' | int", json!(12));
    check("'ff' | int(base=16)", json!(255));
    check("2.9 | int", json!(2));
    check("'x' | int(default=-1)", json!(-1));
    check("'2.5' | float", json!(2.5));
    check("3 | float", json!(3.0));
    check("'' | bool", json!(false));
    check("3 | string", json!("3"));
    check("[1, 2, 3, 4] | select('odd')", json!([1, 3]));
    check("[1, 2, 3, 4] | reject('divisibleby', 2)", json!([1, 3]));
    check("[0, '', 'x', none] | select", json!(["x"]));
    check("['a', 'b'] | map('upper')", json!(["A", "B"]));
    check("['a-b'] | map('replace', '-', '')", json!(["ab"]));
    check("steps.terminals.output | selectattr('active') | map(attribute='id')", json!(["t2", "t3"]));
    check("steps.terminals.output | rejectattr('active') | map(attribute='id')", json!(["t1"]));
    check("steps.terminals.output | selectattr('doors', 'gt', 1) | length", json!(2));
    check("steps.terminals.output | selectattr('note', 'defined') | map(attribute='id')", json!(["t3"]));
    check("steps.terminals.output | map(attribute='note', default='-')", json!(["-", "-", "x"]));
}

#[test]
fn tests_do_what_their_reference_says() {
    for (source, expected) in [
        ("inputs.none is none", true),
        ("inputs.none is defined", true),
        ("inputs.nothing is defined", false),
        ("inputs.nothing.more is undefined", true),
        ("nothing is not defined", true),
        ("1 is number", true),
        ("1 is integer", true),
        ("1.5 is float", true),
        ("'x' is string", true),
        ("[] is sequence", true),
        ("{} is mapping", true),
        ("true is boolean", true),
        ("1 is true", false),
        ("3 is odd", true),
        ("4 is even", true),
        ("9 is divisibleby 3", true),
        ("'abc' is startingwith 'ab'", true),
        ("'abc' is endingwith('c')", true),
        ("'abc' is lower", true),
        ("'ABC' is upper", true),
        ("2 is in [1, 2]", true),
        ("2 is eq 2.0", true),
        ("2 is gt 1", true),
        ("'x' is not equalto 'x'", false),
    ] {
        check(source, json!(expected));
    }
}

#[test]
fn every_filter_and_test_has_a_line_in_the_reference_and_is_found() {
    for filter in filter_documentation() {
        assert!(
            super::filters::find(filter.name).is_some() || super::filters::is_each(filter.name),
            "{}",
            filter.name
        );
        assert!(!filter.summary.is_empty() && filter.required <= filter.parameters.len());
    }
    for test in test_documentation() {
        assert!(super::predicates::find(test.name).is_some() && !test.summary.is_empty());
    }
}

#[test]
fn spec_1_absence_is_an_error_with_place_and_suggestion() {
    check_error(
        "steps.person.output.biometric.photo_url",
        "unknown field `biometric` of `steps.person.output`",
        "biometric",
        "did you mean `biometrics`?",
    );
    check_error("step.person", "unknown name `step`", "step", "did you mean `steps`?");
    check_error(
        "device.id",
        "unknown name `device`",
        "device",
        "the names here are `inputs`, `item_index`, `steps`",
    );
    check_error(
        "steps.person.output.badge.number",
        "`steps.person.output.badge` is null, it has no field `number`",
        "number",
        "`| default(..)` behind the path accepts that",
    );
    check_error("inputs.name.first", "`inputs.name` is text, it has no field `first`", "first", "");
    check_error(
        "steps.terminals.output.id",
        "`steps.terminals.output` is a list, it has no field `id`",
        "id",
        "take one item, `[0]`, or the field of each item, `| map(attribute='..')`",
    );
    check_error(
        "steps.terminals.output[3].id",
        "`steps.terminals.output` has 3 items, so there is no item 3",
        "3",
        "the first item is 0",
    );
    check_error("inputs['flor']", "unknown field `flor` of `inputs`", "'flor'", "did you mean `floor`?");
    check_error(
        "1 if false",
        "the condition is false and there is no `else`",
        "1 if false",
        "add `else` and a value",
    );
    check_error("not inputs.nope", "unknown field `nope` of `inputs`", "nope", "did you mean `none`?");
    for source in [
        "inputs.zzz == none",
        "inputs.zzz ~ 'x'",
        "[inputs.zzz]",
        "{'a': inputs.zzz}",
        "inputs.zzz | upper",
        "inputs.zzz or 'x'",
        "inputs.zzz and true",
        "inputs.zzz in [1]",
        "1 if inputs.zzz else 2",
        "inputs.zzz is none",
        "inputs.zzz | upper | default('x')",
        "[1] | select('eq', inputs.zzz)",
        "inputs[inputs.zzz] | default('x')",
        "steps.terminals.output | map(attribute='zzz')",
        "steps.terminals.output | selectattr('zzz')",
        "steps.terminals.output | sort(attribute='zzz')",
        "steps.terminals.output | groupby('zzz')",
        "[] | first",
        "[] | max",
    ] {
        assert!(evaluate(source).is_err(), "{source}");
    }
}

#[test]
fn spec_1_default_is_the_way_to_accept_absence() {
    check("inputs.zzz | default('x')", json!("x"));
    check("zzz | d('x')", json!("x"));
    check("a.b.c | default('x')", json!("x"));
    check("steps.nobody.output[3]['a'].b | default([])", json!([]));
    check("steps.person.output.badge.number | default(0)", json!(0));
    check("inputs.name.first | default('x')", json!("x"));
    check("inputs.none | default('x')", json!(null));
    check("inputs.none | default('x', true)", json!("x"));
    check("inputs.floor | default(zzz)", json!(3));
    check("inputs.zzz | default(inputs.yyy) | default('y')", json!("y"));
    check("[] | first | default('none')", json!("none"));
    check("(inputs.zzz | default({})).deep | default(1)", json!(1));
    check("inputs.zzz if inputs.zzz is defined else 'x'", json!("x"));
    check_error(
        "inputs.zzz | default(yyy.a)",
        "unknown name `yyy`",
        "yyy",
        "the names here are `inputs`, `item_index`, `steps`",
    );
}

#[test]
fn spec_11_there_is_no_clock() {
    check_error(
        "now()",
        "there is no function `now`",
        "now",
        "use `run.started_at`: a run that is repeated must come to the same result",
    );
}

#[test]
fn what_cannot_be_parsed_says_how_to_mend_it() {
    check_error("inputs.a && inputs.b", "unexpected character", "&", "write `and` for `&&`");
    check_error("inputs.name | uper", "there is no filter `uper`", "uper", "did you mean `upper`?");
    check_error("1 is nubmer", "there is no test `nubmer`", "nubmer", "did you mean `number`?");
    check_error(
        "1 | sort(revers=true)",
        "the filter `sort` has no parameter `revers`",
        "true",
        "did you mean `reverse`?",
    );
    check_error("'a' | replace('a')", "the filter `replace` needs `to`", "replace", "");
    check_error("1 | upper(2)", "too many arguments for the filter `upper`, it takes none", "2", "");
    check_error(
        "inputs.name.upper()",
        "values have no methods, so no `upper()`",
        "upper",
        "write `value | upper`",
    );
    check_error(
        "upper(inputs.name)",
        "there is no function `upper`",
        "upper",
        "`upper` is a filter: write `value | upper`",
    );
    check_error("", "the expression is empty", "", "");
    check_error("null", "unknown name `null`", "null", "write `none`");
    check_error(
        "[1] | map('indent', 4)",
        "there is no filter `indent`",
        "'indent'",
        "docs/expressions.md lists the filters",
    );
    check_error(
        "[1] | map(inputs.name)",
        "the name of a filter has to be written out as text",
        "inputs.name",
        "",
    );
    check_error("range(*[1])", "`*` and `**` cannot unpack arguments here", "[1]", "");
    for source in [
        "1 +",
        "(1",
        "a b",
        "{% if x %}",
        "{{ x }}",
        "1 = 1",
        "a ? b : c",
        "'x",
        "a.",
        "a[",
        "|",
        "%",
        "a }} b",
    ] {
        assert!(Expression::parse(source).is_err(), "{source}");
    }
    assert_eq!(
        Expression::parse("inputs.a = 1").unwrap_err().help.as_deref(),
        Some("to compare, write `==`")
    );
    assert!(Expression::parse("1 | default").is_err());
}

#[test]
fn what_does_not_fit_says_so() {
    check_error(
        "inputs.text < 5",
        "text and a number have no order",
        "inputs.text < 5",
        "bring both sides to one kind, with `| int`, `| float` or `| string`",
    );
    check_error(
        "inputs.name + 1",
        "cannot add a number to text",
        "inputs.name + 1",
        "write `~` to join text with other values",
    );
    check_error(
        "'x' ~ inputs.none",
        "null cannot stand inside text",
        "inputs.none",
        "say what null means: `| default('..', true)`",
    );
    check_error(
        "'x' ~ [1]",
        "a list cannot stand inside text",
        "[1]",
        "choose an item, or write `| join(', ')` or `| tojson`",
    );
    check_error("1 / 0", "division by zero", "1 / 0", "");
    check_error(
        "9223372036854775807 * 9",
        "the result is too large for a whole number",
        "9223372036854775807 * 9",
        "",
    );
    check_error("'x' * 3", "cannot multiply text by a number", "'x' * 3", "");
    check_error("[1] * 3", "cannot multiply a list by a number", "[1] * 3", "");
    check_error("inputs | upper", "this filter works on text, not on a map", "inputs | upper", "");
    check_error("10 ** 400.0", "the result is not a finite number", "10 ** 400.0", "");
    let error = Expression::parse("inputs.name").unwrap().is_true(&scope()).unwrap_err();
    assert_eq!(error.message, "a condition must be true or false, this is text");
    assert!(Expression::parse("inputs.floor > 2").unwrap().is_true(&scope()).unwrap());
}

#[test]
fn references_name_the_paths_with_ranges_and_guards() {
    let source =
        "a.b['c'][0].d | default(e) ~ rows[i].id ~ (f is defined) ~ 'g.h' ~ ([1] | map(attribute='x'))[0]";
    let expression = Expression::parse(source).unwrap();
    let found: Vec<_> = expression
        .references()
        .iter()
        .map(|reference| {
            let text = source.get(reference.range.start..reference.range.end).unwrap();
            (reference.path.join("/"), text, reference.guarded, reference.open)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a/b/c/0/d".to_owned(), "a.b['c'][0].d", true, false),
            ("e".to_owned(), "e", false, false),
            ("rows".to_owned(), "rows", false, true),
            ("i".to_owned(), "i", false, false),
            ("f".to_owned(), "f", true, false),
        ]
    );
    let reference = expression.references().first().unwrap();
    let segments: Vec<_> =
        reference.ranges.iter().map(|range| source.get(range.start..range.end).unwrap()).collect();
    assert_eq!(segments, ["a", "b", "'c'", "0", "d"]);
}

#[test]
fn a_whole_expression_may_wear_its_braces_but_no_text_around() {
    let (bare, offset) = Expression::parse_whole("result.found").unwrap();
    assert_eq!((bare.source(), offset), ("result.found", 0));
    let (dressed, offset) = Expression::parse_whole(" ${{ result.found }}\n").unwrap();
    assert_eq!((dressed.source(), offset), (" result.found ", 4));
    let error = Expression::parse_whole("${{ a }} == 'x'").unwrap_err();
    assert_eq!(error.message, "text around `${{ }}` is not an expression");
    assert!(Expression::parse_whole("${{ a").is_err());
}

#[test]
fn a_group_reads_like_a_map() {
    let (mut group, mut map) = (Group::default(), serde_json::Map::new());
    for (name, value) in
        [("one", json!({ "output": [1, 2] })), ("two", json!(7)), ("one", json!({ "output": [3] }))]
    {
        group.set(name, value.clone());
        map.insert(name.to_owned(), value);
    }
    let (mut grouped, mut mapped) = (Scope::new(), Scope::new());
    grouped.set_group("steps", group);
    mapped.set("steps", Value::Object(map));
    for text in [
        "steps.one.output",
        "steps['one'].output[0]",
        "steps[['one'][0]]",
        "steps",
        "steps | length",
        "'two' in steps",
        "steps.three",
        "steps['on']",
        "steps[0]",
        "steps[none]",
        "steps.three is defined",
        "steps.one is defined",
        "steps.three.output | default(5)",
        "steps.two.output",
        "steps.two == 7",
        "steps == {}",
        "[steps.one, steps.two]",
        "stepz",
    ] {
        let expression = Expression::parse(text).unwrap();
        assert_eq!(expression.evaluate(&grouped), expression.evaluate(&mapped), "{text}");
    }
}

#[test]
fn adding_to_a_group_copies_none_of_its_members() {
    let mut group = Group::default();
    group.set("large", json!([1, 2, 3]));
    let before = group.clone();
    group.set("small", json!(1));
    let address = |group: &Group| std::ptr::from_ref(group.get("large").unwrap());
    assert_eq!(address(&before), address(&group));
    assert!(before.get("small").is_none());
}
