use serde_json::json;

use super::*;

fn of(value: Value) -> Vec<String> {
    query(Some(&value.to_string()), None)
        .unwrap()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn any(value: Value) -> String {
    query(None, Some(&value.to_string())).unwrap().remove(0).1
}

fn refused(value: Value) -> String {
    query(Some(&value.to_string()), None).unwrap_err().message
}

#[test]
fn texts_are_passed_on_as_they_are() {
    assert_eq!(
        of(
            json!({ "active": "is.true", "full_name": "ilike.%an%", "x": "not.in.(1,2)", "tags": "cs.{x}", "id": ["gt.1", "lt.9"],
            "n": "like(any).{a*,b*}", "t": "fts(english).cat", "b.employee_no": "not.is.null" })
        ),
        [
            "active=is.true",
            "full_name=ilike.%an%",
            "x=not.in.(1,2)",
            "tags=cs.{x}",
            "id=gt.1",
            "id=lt.9",
            "n=like(any).{a*,b*}",
            "t=fts(english).cat",
            "b.employee_no=not.is.null",
        ]
    );
}

#[test]
fn the_captured_quoting_of_lists_is_reproduced() {
    // facts/supabase_wire_capture.json, "select embed": in.(1,"a,b",x"y), where the client leaves a bare quote; ours is escaped.
    assert_eq!(
        of(json!({ "employee_no": { "in": [1, "a,b", "x\"y"] } })),
        ["employee_no=in.(1,\"a,b\",\"x\\\"y\")"]
    );
    assert_eq!(
        of(json!({ "a": { "not.in": ["(x)", "a.b", "", "null", "\\"] } })),
        ["a=not.in.(\"(x)\",\"a.b\",\"\",\"null\",\"\\\\\")"]
    );
    assert_eq!(of(json!({ "a": { "in": [] } })), ["a=in.()"]);
    assert_eq!(
        of(json!({ "tags": { "cs": ["x", "y z"] }, "n": { "ilike(any)": ["a*"] } })),
        ["tags=cs.{x,\"y z\"}", "n=ilike(any).{a*}"]
    );
}

#[test]
fn a_map_needs_no_quoting_outside_a_list() {
    assert_eq!(
        of(
            json!({ "a": { "eq": "x,(y).z" }, "b": { "gte": 5, "lt": 9 }, "c": { "is": null }, "d": { "is": true }, "e": { "cs": { "k": 1 } } })
        ),
        ["a=eq.x,(y).z", "b=gte.5", "b=lt.9", "c=is.null", "d=is.true", "e=cs.{\"k\":1}"]
    );
}

#[test]
fn alternatives_become_a_group() {
    assert_eq!(any(json!([{ "a": "eq.1" }, { "b": "gt.2" }])), "(a.eq.1,b.gt.2)");
    assert_eq!(
        any(json!([{ "a": { "eq": "x,y" }, "order": "is.null" }, { "c": { "in": ["p", "q,r"] } }])),
        "(and(a.eq.\"x,y\",order.is.null),c.in.(p,\"q,r\"))"
    );
    assert_eq!(any(json!([{ "t": { "cs": ["a b"] } }])), "(t.cs.{\"a b\"})");
    assert_eq!(any(json!([{ "m": { "cs": { "a": 1 } } }])), "(m.cs.{\"a\":1})");
    assert_eq!(any(json!([{ "m": { "cs": { "a": { "b": 1 } } } }])), "(m.cs.\"{\\\"a\\\":{\\\"b\\\":1}}\")");
}

#[test]
fn a_value_from_outside_cannot_leave_its_place_in_a_group() {
    assert_eq!(any(json!([{ "name": "eq.x,id.gt.0)" }])), "(name.eq.\"x,id.gt.0)\")");
    assert_eq!(any(json!([{ "name": "not.eq.\"x,y\"" }])), "(name.not.eq.\"x,y\")");
    assert_eq!(any(json!([{ "name": "eq.\"x\",id.gt.\"0\"" }])), "(name.eq.\"\\\"x\\\",id.gt.\\\"0\\\"\")");
    assert_eq!(any(json!([{ "t": "gt.2026-01-01T00:00:00Z" }])), "(t.gt.\"2026-01-01T00:00:00Z\")");
    assert_eq!(
        any(json!([{ "a": "in.(1,\"(b\")", "b": { "is": null } }])),
        "(and(a.in.(1,\"(b\"),b.is.null))"
    );
    assert_eq!(any(json!([{ "t": "cs.{x},id.gt.{0}" }])), "(t.cs.\"{x},id.gt.{0}\")");
    assert_eq!(any(json!([{ "t": "cs.{x\"}" }])), "(t.cs.\"{x\\\"}\")");
    for text in ["in.(1),id.gt.(0)", "in.1", "in.(1", "is.null,id.gt.0"] {
        assert!(query(None, Some(&json!([{ "a": text }]).to_string())).is_err(), "{text}");
    }
}

#[test]
fn groups_stand_in_where_and_in_each_other() {
    assert_eq!(
        of(json!({
            "active": "is.true",
            "or": [{ "a": "eq.1" }, { "b": "gt.2", "not.and": [{ "c": { "in": ["x,y"] } }, { "d": "is.null" }] }],
            "not.or": [{ "e": "eq.1" }],
            "logs.or": [{ "kind": "eq.in" }, { "kind": "eq.out" }],
        })),
        [
            "active=is.true",
            "or=(a.eq.1,and(b.gt.2,not.and(c.in.(\"x,y\"),d.is.null)))",
            "not.or=(e.eq.1)",
            "logs.or=(kind.eq.in,kind.eq.out)",
        ]
    );
    // A column whose name only ends like a group is a column.
    assert_eq!(of(json!({ "door": "eq.1", "land": "eq.2" })), ["door=eq.1", "land=eq.2"]);
    for value in [
        json!({ "or": {} }),
        json!({ "or": [] }),
        json!({ "or": [{}] }),
        json!({ "or": ["a.eq.1"] }),
        json!({ "or": "(a.eq.1)" }),
        json!({ "and": [{ "or": [] }] }),
    ] {
        refused(value);
    }
    let mut deep = json!([{ "a": "eq.1" }]);
    for _ in 0..20 {
        deep = json!([{ "or": deep }]);
    }
    assert!(refused(json!({ "or": deep })).contains("too many"));
}

#[test]
fn ranges_arrays_and_full_text_are_operators_like_others() {
    assert_eq!(
        of(json!({
            "during": "ov.[2026-01-01,2026-02-01)", "span": { "sl": "(1,5)" }, "next": { "not.adj": "[1,2)" },
            "notes": { "wfts(english)": "door -closed" }, "title": { "fts": "gate" }, "tags": { "not.cd": ["a", "b"] },
            "meta->>kind": "imatch.^door", "n": { "isdistinct": 4 },
        })),
        [
            "during=ov.[2026-01-01,2026-02-01)",
            "span=sl.(1,5)",
            "next=not.adj.[1,2)",
            "notes=wfts(english).door -closed",
            "title=fts.gate",
            "tags=not.cd.{a,b}",
            "meta->>kind=imatch.^door",
            "n=isdistinct.4",
        ]
    );
    // In a group the commas and parentheses of a range are quoted.
    assert_eq!(any(json!([{ "during": "ov.[1,5)" }])), "(during.ov.\"[1,5)\")");
}

#[test]
fn what_is_no_condition_is_refused_with_a_remedy() {
    assert!(refused(json!({ "id": 5 })).ends_with("write `eq.5`"));
    assert!(refused(json!({ "id": "5" })).contains("write e.g. `eq.5`"));
    for value in [
        json!({ "id": "equals.5" }),
        json!({ "id": [] }),
        json!({ "id": {} }),
        json!({ "id": { "in": 5 } }),
        json!({ "id": { "eq": [1] } }),
        json!({ "id": null }),
        json!({ " ": "eq.1" }),
        json!({ "limit": "eq.1" }),
        json!([]),
    ] {
        refused(value);
    }
    assert!(query(None, Some("[]")).is_err());
    assert!(query(None, Some("[{}]")).is_err());
}

#[test]
fn a_write_without_a_condition_is_refused() {
    assert!(query_for_writing("{}").is_err());
    assert!(query_for_writing("null").is_err());
    assert_eq!(query_for_writing(r#"{"id":"eq.5"}"#).unwrap(), [("id".to_owned(), "eq.5".to_owned())]);
}
