//! Requirement R6, rows: every form of a condition, paging, the ways to write, both kinds of key, and what changes a row does
//! on the terminals.

use bascule_sim::{Fault, Fleet, Kind, Mishap, SERVICE_KEY, Scenario};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, fleet, root};

/// A project for the fleet and a table `items` with so many rows: `n` counts from 0, every tenth `label` is null.
async fn set(name: &str, rows: usize) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Empty, 1).await;
    let stage = Stage::set(name, &fleet).await;
    let rows: Vec<Value> = (0..rows)
        .map(|n| {
            let label = if n % 10 == 0 { Value::Null } else { format!("label {}", n % 7).into() };
            json!({ "n": n, "label": label, "tags": [format!("t{}", n % 3), "all"], "meta": { "even": n % 2 == 0 } })
        })
        .collect();
    let table = json!({ "items": {
        "columns": { "id": "bigint", "n": "bigint", "label": "text", "tags": "text[]", "meta": "jsonb", "kind": "text" },
        "primary_key": ["id"], "unique": [["n"]], "defaults": { "id": "identity", "kind": "plain" }, "rows": rows,
    } });
    fleet.supabase().define_tables(&table).unwrap();
    (fleet, stage)
}

/// Runs steps; each line of `steps` is `id: function { with }`, called on the connection `hr`.
async fn run(stage: &Stage, steps: &[(&str, &str)]) -> Said {
    let mut text = String::from("name: Rows\nsteps:\n");
    for (id, step) in steps {
        text.push_str(&format!("  - id: {id}\n    {}\n", step.replace('\n', "\n    ")));
    }
    text.push_str("output:\n");
    for (id, _) in steps {
        text.push_str(&format!("  {id}: ${{{{ steps.{id}.output }}}}\n"));
    }
    stage.workflow("rows", &text);
    stage.bascule(&["run", "rows", "--json"]).await
}

fn numbers(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_groups_orders_and_counts_mean_what_they_say() {
    let (_fleet, stage) = set("tables-read", 40).await;
    let said = run(
        &stage,
        &[
            (
                "groups",
                "uses: supabase/tables.select\nwith:\n  database: hr\n  table: items\n  columns: n\n  order: n\n  where:\n    n: { lt: 20 }\n    or: [{ n: { in: [3, 4] } }, { label: is.null, not.and: [{ n: eq.0 }] }]",
            ),
            (
                "alternatives",
                "uses: supabase/tables.select\nwith: { database: hr, table: items, columns: n, order: n, where: { tags: { cs: [t1] }, n: { not.gt: 9 } }, any-of: [{ n: eq.1 }, { meta: { cs: { even: true } } }] }",
            ),
            (
                "nulls_first",
                "uses: supabase/tables.select\nwith: { database: hr, table: items, columns: \"n, label\", order: \"label.desc.nullsfirst, n.desc\", limit: 5 }",
            ),
            (
                "nulls_last",
                "uses: supabase/tables.select\nwith: { database: hr, table: items, columns: \"n, label\", order: \"label.asc.nullslast, n\", limit: 2 }",
            ),
            ("exact", "uses: supabase/tables.count\nwith: { database: hr, table: items, where: { label: is.null } }"),
            ("planned", "uses: supabase/tables.count\nwith: { database: hr, table: items, counting: planned }"),
            ("one", "uses: supabase/tables.maybe-one\nwith: { database: hr, table: items, columns: n, where: { n: eq.7 } }"),
            ("none", "uses: supabase/tables.maybe-one\nwith: { database: hr, table: items, where: { n: eq.99 } }"),
            (
                "several",
                "uses: supabase/tables.maybe-one\nwith: { database: hr, table: items, where: { n: lt.2 } }\ncatch: [{ on: [conflict], output: conflict }]",
            ),
        ],
    )
    .await;
    let output = said.result()["output"].clone();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(numbers(&output["groups"]), [3, 4, 10]);
    // 1, 4 and 7 have the tag; 1 by its number, 4 because it is even.
    assert_eq!(numbers(&output["alternatives"]), [1, 4]);
    assert_eq!(numbers(&output["nulls_first"])[..4], [30, 20, 10, 0]);
    assert_eq!(output["nulls_first"][4]["label"], "label 6");
    assert_eq!(numbers(&output["nulls_last"]), [7, 14]);
    assert_eq!((&output["exact"], &output["planned"]), (&json!(4), &json!(40)));
    assert_eq!((&output["one"], &output["none"]), (&json!({ "n": 7 }), &Value::Null));
    assert_eq!(output["several"], "conflict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rows_are_no_limit_for_tables_and_functions() {
    let (fleet, stage) = set("tables-pages", 2_345).await;
    let devices: Vec<Value> = (0..1_234)
        .map(|n| json!({ "id": format!("d{n:04}"), "name": format!("Door {n}"), "ip": "127.0.0.1", "port": 10_000 + n, "active": true }))
        .collect();
    fleet.supabase().replace_rows("devices", devices.into()).unwrap();
    let said = run(
        &stage,
        &[
            ("all", "uses: supabase/tables.select\nwith: { database: hr, table: items, columns: \"n, id\", order: label }"),
            (
                "called",
                "uses: supabase/tables.rows-of\nwith: { database: hr, function: devices_from, args: { from_port: 10010 }, columns: \"id, port\", where: { port: lt.11230 } }",
            ),
        ],
    )
    .await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    let mut all = numbers(&output["all"]);
    all.sort_unstable();
    assert_eq!(all, (0..2_345).collect::<Vec<i64>>(), "a row is missing or came twice");
    let ports: Vec<i64> =
        output["called"].as_array().unwrap().iter().map(|row| row["port"].as_i64().unwrap()).collect();
    assert_eq!(ports, (10_010..11_230).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ways_to_write_do_what_they_say_and_no_more() {
    let (fleet, stage) = set("tables-write", 3).await;
    let said = run(
        &stage,
        &[
            (
                "defaults",
                "uses: supabase/tables.insert\nwith: { database: hr, table: items, rows: [{ n: 10, kind: a }, { n: 11 }], returning: \"n, kind\" }",
            ),
            (
                "nulls",
                "uses: supabase/tables.insert\nwith: { database: hr, table: items, rows: [{ id: 100, n: 20, kind: a }, { id: 101, n: 21 }], missing: nulls, returning: \"n, kind\" }",
            ),
            (
                "merged",
                "uses: supabase/tables.upsert\nwith: { database: hr, table: items, on-conflict: n, rows: [{ n: 10, label: new }, { n: 12, label: new }], returning: \"n, kind, label\" }",
            ),
            (
                "kept",
                "uses: supabase/tables.upsert\nwith: { database: hr, table: items, on-conflict: n, ignore-existing: true, rows: [{ n: 10, label: other }, { n: 13, label: other }], returning: n }",
            ),
            (
                "bounded",
                "uses: supabase/tables.update\nwith: { database: hr, table: items, where: { or: [{ n: gte.10 }, { n: eq.0 }] }, values: { kind: x }, max-affected: 3 }\ncatch: [{ on: [conflict], output: \"${{ error.code }}\" }]",
            ),
            (
                "deleted",
                "uses: supabase/tables.delete\nwith: { database: hr, table: items, where: { n: { in: [20, 21] } }, returning: n }",
            ),
            (
                "everything",
                "uses: supabase/tables.delete\nwith: { database: hr, table: items, where: {} }\ncatch: [{ on: [invalid-input], output: refused }]",
            ),
            (
                "duplicate",
                "uses: supabase/tables.insert\nwith: { database: hr, table: items, rows: { n: 1 } }\ncatch: [{ on: [conflict], output: \"${{ error.details }}\" }]",
            ),
        ],
    )
    .await;
    let output = said.result()["output"].clone();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(output["defaults"]["rows"], json!([{ "n": 10, "kind": "a" }, { "n": 11, "kind": "plain" }]));
    assert_eq!(output["nulls"]["rows"], json!([{ "n": 20, "kind": "a" }, { "n": 21, "kind": null }]));
    assert_eq!(
        output["merged"]["rows"],
        json!([{ "n": 10, "kind": "a", "label": "new" }, { "n": 12, "kind": "plain", "label": "new" }])
    );
    assert_eq!(output["kept"]["rows"], json!([{ "n": 13 }]));
    assert_eq!(output["bounded"], "supabase:PGRST124");
    assert_eq!((&output["deleted"]["count"], &output["everything"]), (&json!(2), &json!("refused")));
    assert_eq!(output["duplicate"]["code"], "23505");
    let held = fleet.supabase().rows("items").unwrap();
    assert_eq!(held.len(), 7, "{held:#?}");
    assert!(held.iter().all(|row| row["kind"] != "x"), "the bound on changed rows did not hold");
    assert_eq!(held.iter().find(|row| row["n"] == 10).unwrap()["label"], "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (fleet, stage) = set("tables-retry", 1).await;
    let step = "uses: supabase/tables.insert\nwith: { database: hr, table: items, rows: { n: 50 } }\nretry: { attempts: 4, on: [offline, busy, timeout], backoff: { from: 10ms, to: 20ms } }";
    let answer = |status: u16, body: Value| Fault {
        path: "/rest/v1/items".to_owned(),
        method: Some("POST".to_owned()),
        authorized: false,
        skip: 0,
        times: 2,
        after_effect: false,
        mishap: Mishap::Status {
            status,
            body: body.to_string(),
            content_type: "application/json".to_owned(),
            headers: vec![("Retry-After".to_owned(), "0".to_owned())],
        },
    };
    for (number, (status, code)) in [(429, Value::Null), (503, json!("PGRST002"))].into_iter().enumerate() {
        fleet.supabase().fault(answer(status, json!({ "code": code, "message": "come again" })));
        let step = step.replace("50", &(50 + number).to_string());
        let said = run(&stage, &[("row", &step)]).await;
        assert_eq!(said.code, 0, "{status}: {}{}", said.out, said.err);
    }
    for (status, code, kind) in
        [(400, "22P02", "invalid-input"), (403, "42501", "refused"), (409, "23503", "conflict")]
    {
        let requests = fleet.supabase().requests();
        let mut fault =
            answer(status, json!({ "code": code, "message": "no", "details": "d", "hint": "mend it" }));
        fault.times = 1;
        fleet.supabase().fault(fault);
        let said = run(&stage, &[("row", step)]).await;
        let error = said.result()["error"].clone();
        assert_eq!(
            (said.code, &error["kind"], &error["code"]),
            (1, &json!(kind), &json!(format!("supabase:{code}"))),
            "{}",
            said.out
        );
        assert!(error["message"].as_str().unwrap().contains("mend it"), "{error:#}");
        assert_eq!(fleet.supabase().requests(), requests + 1, "{kind} was tried again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_of_key_open_tables_and_storage_and_expired_ones_are_said_to_be() {
    let (fleet, stage) = set("tables-keys", 2).await;
    fleet.supabase().put_object("documents", "a.txt", "text/plain", "hello".into());
    let steps = [
        ("rows", "uses: supabase/tables.count\nwith: { database: hr, table: items }"),
        ("file", "uses: supabase/files.info\nwith: { database: hr, bucket: documents, path: a.txt }"),
    ];
    let in_a_year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
    let legacy = fleet.supabase().legacy_key(in_a_year);
    for key in [SERVICE_KEY, legacy.as_str()] {
        stage.secret("supabase-key", key).await;
        let said = run(&stage, &steps).await;
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let output = said.result()["output"].clone();
        assert_eq!((&output["rows"], &output["file"]["bytes"]), (&json!(2), &json!(5)));
    }
    let expired = fleet.supabase().legacy_key(jiff::Timestamp::UNIX_EPOCH);
    for key in [expired.as_str(), "sb_secret_wrong000000000000000000000_00000000"] {
        stage.secret("supabase-key", key).await;
        for step in &steps {
            let said = run(&stage, std::slice::from_ref(step)).await;
            assert_eq!(said.result()["error"]["kind"], "unauthorized", "{}: {}", step.0, said.out);
            assert!(!said.out.contains(key) && !said.err.contains(key), "the key is shown: {}", said.out);
        }
    }
}

/// The project of `set_rows`, with somebody on every terminal and a row of `biometrics`.
pub(crate) async fn with_rows(name: &str) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Calm, 2).await;
    let stage = Stage::set(name, &fleet).await;
    let text = std::fs::read_to_string(root().join("workflows/on-row-change.yaml")).unwrap();
    let text = text
        .replace("from: 2s, to: 30s", "from: 20ms, to: 50ms")
        .replace("from: 1s, to: 10s", "from: 20ms, to: 50ms")
        .replace("within: 15s", "within: 1s");
    stage.workflow("on-row-change", &text);
    (fleet, stage)
}

async fn changed(stage: &Stage, change: &Value) -> Said {
    let input = format!("change={change}");
    stage.bascule(&["run", "on-row-change", "--json", "-i", &input]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_row_reaches_the_terminals_and_a_deleted_one_takes_the_face_away() {
    let (fleet, stage) = with_rows("row-change").await;
    let person = fleet.people().complete().unwrap().clone();
    let number = person.employee_no.clone().unwrap();
    let row = fleet.supabase().rows("biometrics").unwrap();
    let row = row.into_iter().find(|row| row["employee_no"] == *number).unwrap();
    let body = |kind: &str, record: &Value, old: &Value| json!({ "type": kind, "table": "biometrics", "schema": "public", "record": record, "old_record": old });

    // Something that does not concern the terminals.
    let mut touched = row.clone();
    touched["updated_at"] = json!("2026-11-21T00:00:00+00:00");
    let said = changed(&stage, &body("UPDATE", &touched, &row)).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["reason"], "neither photo nor number changed");
    assert!(fleet.ledger().of(Kind::FaceWrite).is_empty() && fleet.ledger().of(Kind::FaceDelete).is_empty());

    // A new photo.
    let mut older = row.clone();
    older["photo_url"] = json!("/storage/v1/object/public/photos/faces/old.jpg");
    let said = changed(&stage, &body("UPDATE", &row, &older)).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.result()["output"]["written"]["succeeded"], 2);
    for terminal in fleet.terminals() {
        assert_eq!(Some(terminal.face(&number).unwrap().picture), person.photo);
    }

    // The row goes.
    let said = changed(&stage, &body("DELETE", &Value::Null, &row)).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for terminal in fleet.terminals() {
        assert!(terminal.face(&number).is_none());
        assert!(terminal.users().iter().any(|user| user.employee_no == number), "only the face goes");
    }
    assert!(fleet.ledger().of(Kind::WipedEverybody).is_empty());

    // Another table, and what is no webhook at all.
    let other = json!({ "type": "INSERT", "table": "devices", "schema": "public", "record": { "id": 1 }, "old_record": null });
    assert_eq!(changed(&stage, &other).await.result()["output"]["reason"], "another table");
    let said = changed(&stage, &json!({ "hello": 1 })).await;
    assert_eq!(said.result()["error"]["code"], "supabase:no-webhook", "{}", said.out);
}
