use bascule_sdk::testing::{Script, answer, answer_with};
use serde_json::json;

use super::*;

fn query(table: &str) -> Query<'_> {
    Query { table, ..Query::default() }
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

fn count_of(text: &str) -> usize {
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
    assert_eq!(count_of(&select(&script, &query, &Pages::default()).unwrap()), 25);
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
    assert_eq!(count_of(&select(&script, &query("t"), &order).unwrap()), 150);
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
    assert_eq!(count_of(&select(&script, &query("t"), &Pages::default()).unwrap()), 3);
    script.finish();
}

#[test]
fn a_limit_is_kept_over_pages_and_needs_no_count() {
    let pages = Pages { limit: Some(5), page_size: Some(3), order: Some("id".into()) };
    let line =
        |limit: u32, offset: u32| format!("GET /rest/v1/t?select=*&order=id&limit={limit}&offset={offset}");
    let script = Script::new().then(&line(3, 0), rows(0..3, None)).then(&line(2, 3), rows(3..5, None));
    assert_eq!(count_of(&select(&script, &query("t"), &pages).unwrap()), 5);
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
    assert_eq!(count_of(&select(&script, &query("t"), &pages).unwrap()), 1001);
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

#[test]
fn blanks_in_lists_of_columns_go_and_quoted_ones_stay() {
    assert_eq!(without_blanks("id, \"full name\", b ( x, y )"), "id,\"full name\",b(x,y)");
}

#[test]
fn embedded_tables_have_an_order_and_a_limit_of_their_own() {
    let line = "GET /rest/v1/members?select=id,logs(at)&logs.kind=eq.in&logs.order=at.desc.nullslast,id&logs.limit=1";
    let script = Script::new().then(line, answer(406, "{}"));
    let query = Query {
        columns: Some("id, logs(at)".into()),
        where_: Some(r#"{"logs.kind":"eq.in"}"#.into()),
        embeds: Some(r#"{"logs":{"order":"at.desc.nullslast, id","limit":1}}"#.into()),
        ..query("members")
    };
    assert!(one(&script, &query).is_err());
    script.finish();
    for embeds in [r#"{"logs":1}"#, r#"{"logs":{"sort":"at"}}"#, r#"{"logs":{"limit":"x"}}"#, r#"{"":{}}"#] {
        let query = Query { embeds: Some(embeds.into()), ..super::tests::query("members") };
        assert_eq!(one(&Script::new(), &query).unwrap_err().kind, ErrorKind::InvalidInput, "{embeds}");
    }
}

#[test]
fn maybe_one_counts_the_rows_itself() {
    // facts/supabase_wire_capture.json, "maybeSingle": a plain Accept.
    let line = "GET /rest/v1/t?select=*&id=eq.1&limit=2";
    let by_id = || Query { where_: Some(r#"{"id":"eq.1"}"#.into()), ..query("t") };
    let script = Script::new()
        .then(line, answer(200, "[]"))
        .then(line, answer(200, r#"[{"id":1}]"#))
        .then(line, answer(200, r#"[{"id":1},{"id":2}]"#))
        .then(line, answer(200, "{}"));
    assert_eq!(maybe_one(&script, &by_id()).unwrap(), "null");
    assert_eq!(maybe_one(&script, &by_id()).unwrap(), r#"{"id":1}"#);
    assert_eq!(maybe_one(&script, &by_id()).unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(maybe_one(&script, &by_id()).unwrap_err().kind, ErrorKind::Protocol);
    assert_eq!(header(&script, 0, "Accept"), None);
}

#[test]
fn rows_are_counted_without_being_sent() {
    let line = "HEAD /rest/v1/t?select=*&a=eq.1";
    let by_a = || Query { where_: Some(r#"{"a":"eq.1"}"#.into()), ..query("t") };
    let range = |text: &str| answer_with(200, &[("Content-Range", text)], "");
    let script = Script::new()
        .then(line, range("0-24/25"))
        .then(line, range("*/0"))
        .then(line, answer_with(206, &[("Content-Range", "0-999/12000")], ""))
        .then(line, range("0-24/*"));
    for (counting, expected) in [(Counting::Exact, 25), (Counting::Planned, 0), (Counting::Estimated, 12_000)]
    {
        assert_eq!(count(&script, &by_a(), counting).unwrap(), expected);
    }
    assert_eq!(count(&script, &by_a(), Counting::Exact).unwrap_err().kind, ErrorKind::Protocol);
    let prefer: Vec<_> = (0..3).map(|index| header(&script, index, "Prefer").unwrap()).collect();
    assert_eq!(prefer, ["count=exact", "count=planned", "count=estimated"]);

    // The words of a refusal come with a second request.
    let body = r#"{"code":"PGRST205","message":"Could not find the table","details":null,"hint":null}"#;
    let script = Script::new()
        .then(line, answer(404, ""))
        .then("GET /rest/v1/t?select=*&a=eq.1&limit=1", answer(404, body));
    let error = count(&script, &by_a(), Counting::Exact).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::InvalidInput, Some("supabase:PGRST205")));
}

#[test]
fn the_rows_of_a_function_are_read_page_by_page() {
    // facts/supabase_wire_capture.json, "rpc get": arrays are `{1,2}`.
    let line = |offset: u32| {
        format!(
            "GET /rest/v1/rpc/members_of?gym=7&kinds={{a,\"b c\"}}&select=id&active=is.true&order=id&limit=1000&offset={offset}"
        )
    };
    let script = Script::new()
        .then(&line(0), rows(0..1000, Some(1001)))
        .then(&line(1000), rows(1000..1001, Some(1001)));
    let members = Query {
        args: serde_json::from_str(r#"{"gym":7,"kinds":["a","b c"]}"#).unwrap(),
        columns: Some("id".into()),
        where_: Some(r#"{"active":"is.true"}"#.into()),
        ..query("members_of")
    };
    let pages = Pages { order: Some("id".into()), ..Pages::default() };
    assert_eq!(count_of(&select(&script, &members, &pages).unwrap()), 1001);
    script.finish();
    let clash = Query {
        args: serde_json::from_str(r#"{"active":true}"#).unwrap(),
        where_: Some(r#"{"active":"is.true"}"#.into()),
        ..query("f")
    };
    assert!(select(&Script::new(), &clash, &pages).is_err());
    let null = Query { args: serde_json::from_str(r#"{"a":null}"#).unwrap(), ..query("f") };
    assert!(select(&Script::new(), &null, &pages).is_err());
}
