use bascule_sdk::testing::{Script, answer, answer_with};
use serde_json::json;

use super::*;

fn query(table: &str) -> Query<'_> {
    Query { table, columns: None, where_: None, any_of: None, schema: None }
}

fn rows(range: std::ops::Range<u64>, total: Option<u64>) -> Response {
    let rows: Vec<Value> = range.clone().map(|id| json!({ "id": id })).collect();
    let total = total.map_or("*".into(), |total| total.to_string());
    let content_range = if range.is_empty() {
        format!("*/{total}")
    } else {
        format!("{}-{}/{total}", range.start, range.end - 1)
    };
    answer_with(200, &[("Content-Range", &content_range)], Value::from(rows).to_string())
}

fn count(text: &str) -> usize {
    serde_json::from_str::<Vec<Value>>(text).unwrap().len()
}

fn header(script: &Script, index: usize, name: &str) -> Option<String> {
    let sent = script.sent();
    sent[index].headers.iter().find(|field| field.name == name).map(|field| field.value.clone())
}

#[test]
fn a_page_that_holds_everything_is_one_request() {
    let script = Script::new().then(
        "GET /rest/v1/devices?select=id,name,ip&active=is.true&limit=1000&offset=0",
        rows(0..25, Some(25)),
    );
    let query = Query {
        columns: Some("id, name, ip".into()),
        where_: Some(r#"{"active":"is.true"}"#.into()),
        ..query("devices")
    };
    assert_eq!(count(&select(&script, &query, &Pages::default()).unwrap()), 25);
    assert_eq!(header(&script, 0, "Prefer").as_deref(), Some("count=exact"));
    assert_eq!(header(&script, 0, "Accept-Profile"), None);
    script.finish();
}

#[test]
fn more_than_one_page_is_read_again_in_a_stable_order() {
    let script = Script::new()
        .then("GET /rest/v1/t?select=*&limit=1000&offset=0", rows(0..1000, Some(2300)))
        .then("GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=0", rows(0..1000, Some(2300)))
        .then("GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=1000", rows(1000..2000, Some(2300)))
        .then("GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=2000", rows(2000..2300, Some(2300)));
    let all: Vec<Value> =
        serde_json::from_str(&select(&script, &query("t"), &Pages::default()).unwrap()).unwrap();
    script.finish();
    assert_eq!(all.len(), 2300);
    assert!(all.iter().enumerate().all(|(index, row)| row["id"] == index));
}

#[test]
fn a_server_with_a_lower_cap_is_noticed_by_its_count() {
    let order = Pages { order: Some("name, id.desc".into()), ..Pages::default() };
    let line = |offset: u32| format!("GET /rest/v1/t?select=*&order=name,id.desc&limit=1000&offset={offset}");
    let script =
        Script::new().then(&line(0), rows(0..100, Some(150))).then(&line(100), rows(100..150, Some(150)));
    assert_eq!(count(&select(&script, &query("t"), &order).unwrap()), 150);
    script.finish();
}

#[test]
fn without_a_count_only_an_empty_page_is_the_end() {
    let script = Script::new()
        .then("GET /rest/v1/t?select=*&limit=1000&offset=0", rows(0..3, None))
        .then("GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=0", rows(0..3, None))
        .then(
            "GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=3",
            answer(416, r#"{"code":"PGRST103"}"#),
        );
    assert_eq!(count(&select(&script, &query("t"), &Pages::default()).unwrap()), 3);
    script.finish();
}

#[test]
fn a_limit_is_kept_over_pages_and_needs_no_count() {
    let pages = Pages { limit: Some(5), page_size: Some(3), order: Some("id".into()) };
    let line =
        |limit: u32, offset: u32| format!("GET /rest/v1/t?select=*&order=id&limit={limit}&offset={offset}");
    let script = Script::new().then(&line(3, 0), rows(0..3, None)).then(&line(2, 3), rows(3..5, None));
    assert_eq!(count(&select(&script, &query("t"), &pages).unwrap()), 5);
    assert_eq!(header(&script, 0, "Prefer"), None);
    script.finish();
    assert_eq!(
        select(&Script::new(), &query("t"), &Pages { limit: Some(0), ..Pages::default() }).unwrap(),
        "[]"
    );
}

#[test]
fn a_table_without_id_needs_an_order() {
    let missing = || {
        answer(400, r#"{"code":"42703","message":"column t.id does not exist","details":null,"hint":null}"#)
    };
    let script = Script::new()
        .then("GET /rest/v1/t?select=*&limit=1000&offset=0", rows(0..1000, Some(1001)))
        .then("GET /rest/v1/t?select=*&order=id.asc&limit=1000&offset=0", missing());
    let error = select(&script, &query("t"), &Pages::default()).unwrap_err();
    assert!(
        error.kind == ErrorKind::InvalidInput && error.message.contains("say `order:`"),
        "{}",
        error.message
    );
    let line = |order: &str, offset: u32| {
        format!("GET /rest/v1/t?select=*&order={order}&limit=1000&offset={offset}")
    };
    let script = Script::new()
        .then(&line("no", 0), rows(0..1000, Some(1001)))
        .then(&line("no,id.asc", 0), missing())
        .then(&line("no", 1000), rows(1000..1001, Some(1001)));
    let pages = Pages { order: Some("no".into()), ..Pages::default() };
    assert_eq!(count(&select(&script, &query("t"), &pages).unwrap()), 1001);
}

#[test]
fn a_server_that_ignores_the_offset_is_found_out() {
    let line = |offset: u32| format!("GET /rest/v1/t?select=*&order=id&limit=1000&offset={offset}");
    let script =
        Script::new().then(&line(0), rows(0..1000, Some(3000))).then(&line(1000), rows(0..1000, Some(3000)));
    let pages = Pages { order: Some("id".into()), ..Pages::default() };
    assert_eq!(select(&script, &query("t"), &pages).unwrap_err().kind, ErrorKind::Protocol);
}

#[test]
fn one_row_comes_as_a_map() {
    let line = "GET /rest/v1/employees?select=*,biometrics(*)&id=eq.7";
    let body = r#"{"id":7,"biometrics":{"employee_no":"1001"}}"#;
    let script = Script::new().then(line, answer(200, body));
    let query = Query {
        columns: Some("*, biometrics(*)".into()),
        where_: Some(r#"{"id":"eq.7"}"#.into()),
        schema: Some("hr".into()),
        ..query("employees")
    };
    assert_eq!(one(&script, &query).unwrap(), body);
    assert_eq!(header(&script, 0, "Accept").as_deref(), Some("application/vnd.pgrst.object+json"));
    assert_eq!(header(&script, 0, "Accept-Profile").as_deref(), Some("hr"));
}

#[test]
fn none_and_several_are_told_apart() {
    let cases = [
        ("The result contains 0 rows", ErrorKind::NotFound, "no row in `t` where one was expected"),
        ("The result contains 2 rows", ErrorKind::Conflict, "several rows in `t` where one was expected"),
        (
            "Results contain 12 rows, application/vnd.pgrst.object+json requires 1 row",
            ErrorKind::Conflict,
            "several rows in `t` where one was expected",
        ),
    ];
    for (details, kind, message) in cases {
        let body = json!({ "code": "PGRST116", "message": "Cannot coerce the result to a single JSON object", "details": details, "hint": null });
        let script = Script::new().then("GET /rest/v1/t?select=*", answer(406, body.to_string()));
        let error = one(&script, &query("t")).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str(), error.code.as_deref()),
            (kind, message, Some("supabase:PGRST116"))
        );
    }
    let body = r#"{"code":"PGRST106","message":"Invalid schema: x","details":null,"hint":null}"#;
    let script = Script::new().then("GET /rest/v1/t?select=*", answer(406, body));
    assert_eq!(one(&script, &query("t")).unwrap_err().kind, ErrorKind::InvalidInput);
}

fn target(returning: Option<&str>) -> Target<'static> {
    Target { table: "members", returning: returning.map(Into::into), schema: None, max_affected: None }
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
    let elsewhere = Target { table: "../auth", returning: None, schema: None, max_affected: None };
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
fn blanks_in_lists_of_columns_go_and_quoted_ones_stay() {
    assert_eq!(without_blanks("id, \"full name\", b ( x, y )"), "id,\"full name\",b(x,y)");
}
