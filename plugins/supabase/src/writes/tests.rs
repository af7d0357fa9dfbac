use bascule_sdk::ErrorKind;
use bascule_sdk::testing::{Script, answer, answer_with};

use super::*;

fn header(script: &Script, index: usize, name: &str) -> Option<String> {
    let sent = script.sent();
    sent[index].headers.iter().find(|field| field.name == name).map(|field| field.value.clone())
}

fn target(returning: Option<&str>) -> Target<'static> {
    Target {
        table: "members",
        returning: returning.map(Into::into),
        schema: None,
        max_affected: None,
        missing: None,
    }
}

#[test]
fn writes_are_built_as_the_official_client_builds_them() {
    // facts/supabase_wire_capture.json; ours asks for counts besides.
    let stored = || answer_with(201, &[("Content-Range", "*/1")], "");
    let script = Script::new()
        .then("POST /rest/v1/members", stored())
        .then("POST /rest/v1/members?columns=\"a\",\"b\"&select=*", answer(201, r#"[{"a":1},{"a":2,"b":3}]"#))
        .then(
            "POST /rest/v1/members?columns=\"employee_no\",\"x\"&on_conflict=employee_no&select=*",
            answer(200, "[]"),
        )
        .then("POST /rest/v1/members?on_conflict=employee_no", stored())
        .then("PATCH /rest/v1/members?id=eq.5&select=*", answer(200, r#"[{"a":1}]"#))
        .then("DELETE /rest/v1/members?id=eq.5", answer_with(204, &[("Content-Range", "*/3")], ""));
    let written = insert(&script, &target(None), r#"{"a":1}"#).unwrap();
    assert_eq!(written, Written { count: Some(1), rows: "[]".into() });
    let written = insert(&script, &target(Some("*")), r#"[{"a":1},{"a":2,"b":3}]"#).unwrap();
    assert_eq!(written.count, Some(2));
    upsert(
        &script,
        &target(Some("*")),
        r#"[{"employee_no":"1","x":2}]"#,
        Some("employee_no"),
        Existing::Change,
    )
    .unwrap();
    upsert(&script, &target(None), r#"{"employee_no":"1"}"#, Some("employee_no"), Existing::Keep).unwrap();
    assert_eq!(
        update(&script, &target(Some("*")), r#"{"id":"eq.5"}"#, r#"{"a":1}"#).unwrap().rows,
        r#"[{"a":1}]"#
    );
    assert_eq!(delete(&script, &target(None), r#"{"id":"eq.5"}"#).unwrap().count, Some(3));
    script.finish();
    let prefer: Vec<String> = (0..6).map(|index| header(&script, index, "Prefer").unwrap()).collect();
    assert_eq!(
        prefer,
        [
            "missing=default, return=minimal, count=exact",
            "missing=default, return=representation, count=exact",
            "resolution=merge-duplicates, missing=default, return=representation, count=exact",
            "resolution=ignore-duplicates, missing=default, return=minimal, count=exact",
            "return=representation, count=exact",
            "return=minimal, count=exact",
        ]
    );
    assert_eq!(script.body(0), r#"{"a":1}"#);
}

#[test]
fn writes_that_cannot_be_meant_are_not_sent() {
    let nobody = Script::new();
    assert!(update(&nobody, &target(None), "{}", r#"{"a":1}"#).is_err());
    assert!(update(&nobody, &target(None), r#"{"id":[]}"#, r#"{"a":1}"#).is_err());
    assert!(update(&nobody, &target(None), r#"{"id":"eq.1"}"#, "{}").is_err());
    assert!(delete(&nobody, &target(None), "{}").is_err());
    assert!(insert(&nobody, &target(None), "5").is_err());
    assert!(insert(&nobody, &target(None), "[5]").is_err());
    assert_eq!(insert(&nobody, &target(None), "[]").unwrap().count, Some(0));
    let elsewhere = Target { table: "../auth", ..target(None) };
    assert!(insert(&nobody, &elsewhere, r#"{"a":1}"#).is_err());
}

#[test]
fn a_bound_on_changed_rows_is_passed_on_strictly() {
    let body = r#"{"code":"PGRST124","message":"Query result exceeds max-affected preference constraint","details":"The query affects 2 rows","hint":null}"#;
    let script = Script::new().then("DELETE /rest/v1/members?a=eq.1", answer(400, body));
    let target = Target { max_affected: Some(1), schema: Some("hr".into()), ..target(None) };
    let error = delete(&script, &target, r#"{"a":"eq.1"}"#).unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Conflict, Effect::None));
    assert_eq!(
        header(&script, 0, "Prefer").as_deref(),
        Some("return=minimal, count=exact, max-affected=1, handling=strict")
    );
    assert_eq!(header(&script, 0, "Content-Profile").as_deref(), Some("hr"));
}

#[test]
fn functions_are_called_with_named_arguments() {
    let script = Script::new()
        .then("POST /rest/v1/rpc/add_them", answer(200, "3"))
        .then("POST /rest/v1/rpc/touch", answer(204, ""));
    assert_eq!(rpc(&script, "add_them", Some(r#"{"a":1,"b":2}"#), None).unwrap(), "3");
    assert_eq!(rpc(&script, "touch", None, None).unwrap(), "null");
    assert_eq!((script.body(0), script.body(1)), (r#"{"a":1,"b":2}"#.to_owned(), "{}".to_owned()));
}

#[test]
fn an_unreadable_success_of_a_write_counts_as_applied() {
    let script = Script::new().then("POST /rest/v1/rpc/f", answer(200, "<html>"));
    let error = rpc(&script, "f", None, None).unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Applied));
}

#[test]
fn what_a_row_lacks_can_be_null_instead_of_the_default() {
    let script = Script::new()
        .then("POST /rest/v1/members?columns=\"a\",\"b\"", answer(201, ""))
        .then("POST /rest/v1/members?columns=\"a\",\"b\"", answer(201, ""));
    let null = Target { missing: Some(Missing::Nulls), ..target(None) };
    let rows = r#"[{"a":1},{"b":2}]"#;
    insert(&script, &null, rows).unwrap();
    upsert(&script, &null, rows, None, Existing::Keep).unwrap();
    assert_eq!(header(&script, 0, "Prefer").as_deref(), Some("return=minimal, count=exact"));
    assert_eq!(
        header(&script, 1, "Prefer").as_deref(),
        Some("resolution=ignore-duplicates, return=minimal, count=exact")
    );
}

#[test]
fn a_condition_may_be_a_group_and_an_empty_group_is_none() {
    let script = Script::new().then("DELETE /rest/v1/members?or=(a.eq.1,b.is.null)", answer(204, ""));
    delete(&script, &target(None), r#"{"or":[{"a":"eq.1"},{"b":"is.null"}]}"#).unwrap();
    script.finish();
    for empty in [r#"{"or":[]}"#, r#"{"or":[{}]}"#, r#"{"and":[]}"#] {
        let error = delete(&Script::new(), &target(None), empty).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{empty}");
    }
}
