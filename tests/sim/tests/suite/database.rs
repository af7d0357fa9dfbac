use anyhow::{Context as _, Result};
use bascule_sim::{Fleet, Kind, PUBLISHABLE_KEY, SERVICE_KEY, Scenario};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, fleet, rest};

async fn get(fleet: &Fleet, path: &str) -> Result<Said> {
    rest(fleet, Method::GET, path, &[], None).await
}

async fn calm() -> Result<Fleet> {
    fleet(3, Scenario::Calm).await
}

fn complete(fleet: &Fleet) -> Result<String> {
    Ok(fleet.people().complete().context("nobody complete")?.id.clone())
}

#[tokio::test]
async fn a_person_comes_with_biometrics_as_one_object() -> Result<()> {
    let fleet = calm().await?;
    let id = complete(&fleet)?;
    let path = format!("employees?select=*,biometrics(*)&id=eq.{id}");
    let single = [("accept", "application/vnd.pgrst.object+json")];
    let person = rest(&fleet, Method::GET, &path, &single, None).await?;
    assert_eq!(person.header("content-type"), "application/vnd.pgrst.object+json; charset=utf-8");
    let person = person.json()?;
    assert_eq!((&person["id"], &person["biometrics"]["employee_no"]), (&json!(id), &json!("1001")));
    let url = person["biometrics"]["photo_url"].as_str().context("no photo")?;
    assert!(url.starts_with(&fleet.supabase_url()) && url.len() <= 256);
    let relative = &fleet.people().relative_photo().context("nobody with a relative photo")?.id;
    let person =
        get(&fleet, &format!("employees?select=biometrics(photo_url)&id=eq.{relative}")).await?.json()?;
    assert_eq!(person[0]["biometrics"]["photo_url"], "/storage/v1/object/public/photos/faces/0002.jpg");
    let without = &fleet.people().without_biometrics().context("nobody without")?.id;
    let person =
        get(&fleet, &format!("employees?select=full_name,biometrics(*)&id=eq.{without}")).await?.json()?;
    assert_eq!(person, json!([{ "full_name": "Florin Nou", "biometrics": null }]));
    Ok(())
}

#[tokio::test]
async fn embeds_go_both_ways_with_aliases_filters_and_limits() -> Result<()> {
    let fleet = calm().await?;
    let company = get(
        &fleet,
        "companies?select=name,staff:employees(full_name)&staff.order=full_name.desc&staff.limit=2",
    )
    .await?;
    assert_eq!(
        company.json()?,
        json!([{ "name": "Exemplu SRL", "staff": [{ "full_name": "Gina Deplin" }, { "full_name": "Florin Nou" }] }])
    );
    let up = get(
        &fleet,
        "biometrics?select=employee_no,person:employees(full_name,companies(name))&employee_no=eq.1001",
    )
    .await?;
    assert_eq!(
        up.json()?,
        json!([{ "employee_no": "1001", "person": { "full_name": "Ana Exemplu", "companies": { "name": "Exemplu SRL" } } }])
    );
    let with_number = get(&fleet, "employees?select=full_name,biometrics!inner(employee_no)&biometrics.employee_no=not.is.null&order=full_name").await?;
    assert_eq!(with_number.json()?.as_array().map(Vec::len), Some(5));
    let spread =
        get(&fleet, "biometrics?select=employee_no,...employees(full_name)&employee_no=eq.1002").await?;
    assert_eq!(spread.json()?, json!([{ "employee_no": "1002", "full_name": "Bogdan Model" }]));
    let hinted =
        get(&fleet, "employees?select=b:biometrics!biometrics_employee_id_fkey(employee_no)&limit=1").await?;
    assert_eq!(hinted.json()?, json!([{ "b": { "employee_no": "1001" } }]));
    Ok(())
}

#[tokio::test]
async fn ambiguous_and_missing_relations_are_named() -> Result<()> {
    let fleet = calm().await?;
    let tables = json!({
        "a": { "columns": { "id": "bigint" }, "primary_key": ["id"], "rows": [{ "id": 1 }, { "id": 2 }] },
        "b": { "columns": { "id": "bigint", "one": "bigint", "two": "bigint" }, "primary_key": ["id"],
               "foreign_keys": [{ "column": "one", "table": "a", "to": "id" }, { "column": "two", "table": "a", "to": "id" }],
               "rows": [{ "id": 1, "one": 1, "two": 2 }] },
        "c": { "columns": { "id": "bigint" }, "primary_key": ["id"], "rows": [{ "id": 7 }] },
        "ac": { "columns": { "a_id": "bigint", "c_id": "bigint" }, "primary_key": ["a_id", "c_id"],
                "foreign_keys": [{ "column": "a_id", "table": "a", "to": "id" }, { "column": "c_id", "table": "c", "to": "id" }],
                "rows": [{ "a_id": 1, "c_id": 7 }] },
    });
    fleet.supabase().define_tables(&tables).map_err(anyhow::Error::msg)?;
    let ambiguous = get(&fleet, "b?select=id,a(id)").await?;
    assert_eq!((ambiguous.status, ambiguous.json()?["code"].clone()), (300, json!("PGRST201")));
    assert_eq!(get(&fleet, "b?select=a!two(id)").await?.json()?, json!([{ "a": { "id": 2 } }]));
    assert_eq!(get(&fleet, "b?select=two(id)").await?.json()?, json!([{ "two": { "id": 2 } }]));
    assert_eq!(
        get(&fleet, "a?select=id,c(id)&order=id").await?.json()?,
        json!([{ "id": 1, "c": [{ "id": 7 }] }, { "id": 2, "c": [] }])
    );
    let missing = get(&fleet, "devices?select=biometrics(*)").await?;
    assert_eq!((missing.status, missing.json()?["code"].clone()), (400, json!("PGRST200")));
    assert_eq!(
        missing.json()?["message"],
        "Could not find a relationship between 'devices' and 'biometrics' in the schema cache"
    );
    assert_eq!(
        get(&fleet, "employees?select=id&biometrics.employee_no=eq.1").await?.json()?["code"],
        "PGRST108"
    );
    Ok(())
}

#[tokio::test]
async fn pages_counts_and_ranges() -> Result<()> {
    let fleet = calm().await?;
    let rows: Vec<Value> =
        (0..2_500).map(|number| json!({ "id": number, "word": format!("w{number}") })).collect();
    let table = json!({ "many": { "columns": { "id": "bigint", "word": "text" }, "primary_key": ["id"], "rows": rows } });
    fleet.supabase().define_tables(&table).map_err(anyhow::Error::msg)?;
    let said = get(&fleet, "many").await?;
    assert_eq!(
        (said.status, said.header("content-range"), said.json()?.as_array().map(Vec::len)),
        (200, "0-999/*", Some(1_000))
    );
    let count = [("prefer", "count=exact")];
    let said = rest(&fleet, Method::GET, "many?select=id&order=id.desc&offset=2400&limit=1000", &count, None)
        .await?;
    assert_eq!((said.status, said.header("content-range")), (206, "2400-2499/2500"));
    assert_eq!(said.header("preference-applied"), "count=exact");
    assert_eq!(said.json()?[0], json!({ "id": 99 }));
    let whole = rest(&fleet, Method::GET, "many?id=lt.10", &count, None).await?;
    assert_eq!((whole.status, whole.header("content-range")), (200, "0-9/10"));
    let range = [("range", "5-7"), ("range-unit", "items")];
    assert_eq!(
        rest(&fleet, Method::GET, "many?order=id", &range, None).await?.header("content-range"),
        "5-7/*"
    );
    let head = rest(&fleet, Method::HEAD, "many", &count, None).await?;
    assert_eq!((head.status, head.header("content-range"), head.body.len()), (206, "0-999/2500", 0));
    let beyond = rest(&fleet, Method::GET, "many?offset=9000", &count, None).await?;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "*/2500"));
    assert_eq!(
        beyond.json()?,
        json!({ "code": "PGRST103", "details": "An offset of 9000 was requested, but there are only 2500 rows.", "hint": null,
                "message": "Requested range not satisfiable" })
    );
    assert_eq!(get(&fleet, "many?offset=9000").await?.header("content-range"), "*/*");
    assert_eq!(
        rest(&fleet, Method::GET, "many?id=eq.-1", &count, None).await?.header("content-range"),
        "*/0"
    );
    fleet.supabase().set_max_rows(7);
    assert_eq!(get(&fleet, "many").await?.header("content-range"), "0-6/*");
    Ok(())
}

#[tokio::test]
async fn keys_are_checked_with_the_known_words() -> Result<()> {
    let fleet = calm().await?;
    let url = format!("{}/rest/v1/devices", fleet.supabase_url());
    let client = reqwest::Client::new();
    let none = Said::from(client.get(&url).send().await?).await?;
    assert_eq!(none.status, 401);
    assert_eq!(
        none.json()?,
        json!({ "message": "No API key found in request", "hint": "No `apikey` request header or url param was found." })
    );
    let wrong = Said::from(client.get(&url).header("apikey", "sb_secret_other").send().await?).await?;
    assert_eq!(
        wrong.json()?,
        json!({ "message": "Invalid API key", "hint": "Double check your Supabase `apikey`" })
    );
    let both = client
        .get(&url)
        .header("apikey", SERVICE_KEY)
        .header("authorization", format!("Bearer {SERVICE_KEY}"));
    assert_eq!(Said::from(both.send().await?).await?.status, 200);
    let browser = client.get(&url).header("apikey", SERVICE_KEY).header("user-agent", "Mozilla/5.0");
    assert_eq!(Said::from(browser.send().await?).await?.status, 401);
    let anonymous = client.get(&url).header("apikey", PUBLISHABLE_KEY);
    assert_eq!(Said::from(anonymous.send().await?).await?.json()?, json!([]));
    assert_eq!(fleet.ledger().of(Kind::KeyRefused).len(), 2);
    Ok(())
}

#[tokio::test]
async fn errors_have_the_known_status_code_and_words() -> Result<()> {
    let fleet = calm().await?;
    for (path, status, code, message) in [
        ("device", 404, "PGRST205", "Could not find the table 'public.device' in the schema cache"),
        ("devices?select=nam", 400, "42703", "column devices.nam does not exist"),
        ("devices?nam=eq.1", 400, "42703", "column devices.nam does not exist"),
        ("devices?order=nam", 400, "42703", "column devices.nam does not exist"),
        ("employees?id=eq.17", 400, "22P02", "invalid input syntax for type uuid: \"17\""),
        ("devices?port=eq.x", 400, "22P02", "invalid input syntax for type bigint: \"x\""),
        ("devices?port=5", 400, "PGRST100", "\"failed to parse filter (5)\" (line 1, column 1)"),
        (
            "devices?select=a(",
            400,
            "PGRST100",
            "\"failed to parse select parameter (a()\" (line 1, column 1)",
        ),
        (
            "rpc/none",
            404,
            "PGRST202",
            "Could not find the function public.none without parameters in the schema cache",
        ),
        ("a/b", 404, "PGRST125", "Invalid path specified in request URL"),
    ] {
        let said = get(&fleet, path).await?;
        let body = said.json()?;
        assert_eq!(
            (said.status, &body["code"], &body["message"]),
            (status, &json!(code), &json!(message)),
            "{path}"
        );
        let keys: Vec<&String> = body.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(keys, ["code", "details", "hint", "message"], "{path}");
        assert_eq!(said.header("content-type"), "application/json; charset=utf-8");
    }
    assert_eq!(get(&fleet, "device").await?.json()?["hint"], "Perhaps you meant the table 'public.devices'");
    let single = [("accept", "application/vnd.pgrst.object+json")];
    for (path, number) in [("devices?id=eq.none", 0), ("devices?active=is.true", 3)] {
        let said = rest(&fleet, Method::GET, path, &single, None).await?;
        assert_eq!(said.status, 406);
        assert_eq!(
            said.json()?,
            json!({ "code": "PGRST116", "details": format!("The result contains {number} rows"), "hint": null,
                    "message": "Cannot coerce the result to a single JSON object" })
        );
    }
    let other = rest(&fleet, Method::GET, "devices", &[("accept-profile", "other")], None).await?;
    assert_eq!((other.status, other.json()?["code"].clone()), (406, json!("PGRST106")));
    let strict =
        rest(&fleet, Method::GET, "devices", &[("prefer", "handling=strict, colour=red")], None).await?;
    assert_eq!((strict.status, strict.json()?["code"].clone()), (400, json!("PGRST122")));
    Ok(())
}

#[tokio::test]
async fn rows_are_inserted_merged_ignored_changed_and_deleted() -> Result<()> {
    let fleet = calm().await?;
    let post = |path: &'static str, prefer: &'static str, body: Value| {
        let fleet = &fleet;
        async move {
            rest(fleet, Method::POST, path, &[("prefer", prefer), ("content-profile", "public")], Some(body))
                .await
        }
    };
    let log =
        json!({ "device_id": "terminal-01", "event": "face", "status": "succeeded", "details": { "n": 1 } });
    let minimal = post("device_logs", "", log.clone()).await?;
    assert_eq!((minimal.status, minimal.body.len()), (201, 0));
    let whole = post("device_logs?select=id,details->n", "return=representation", json!([log, log])).await?;
    assert_eq!(whole.json()?, json!([{ "id": 2, "n": 1 }, { "id": 3, "n": 1 }]));
    let located = post("device_logs", "return=headers-only", log.clone()).await?;
    assert_eq!(located.header("location"), "/device_logs?id=eq.4");

    let device = json!({ "id": "terminal-01", "name": "Renamed", "ip": "127.0.0.1", "port": 1 });
    let twice = post("devices", "", device.clone()).await?;
    assert_eq!(twice.status, 409);
    assert_eq!(
        twice.json()?,
        json!({ "code": "23505", "details": "Key (id)=(terminal-01) already exists.", "hint": null,
                "message": "duplicate key value violates unique constraint \"devices_pkey\"" })
    );
    let ignored =
        post("devices?on_conflict=id", "resolution=ignore-duplicates, return=representation", device.clone())
            .await?;
    assert_eq!((ignored.status, ignored.json()?), (201, json!([])));
    let merged = post(
        "devices?on_conflict=id&columns=\"id\",\"name\",\"ip\",\"port\"&select=name,active",
        "resolution=merge-duplicates, return=representation",
        json!([device]),
    )
    .await?;
    assert_eq!((merged.status, merged.json()?), (200, json!([{ "name": "Renamed", "active": true }])));
    let no_key = post("devices?on_conflict=name", "resolution=merge-duplicates", json!([device])).await?;
    assert_eq!(no_key.json()?["code"], "42P10");
    let uneven = post("device_logs", "", json!([{ "event": "a" }, { "status": "b" }])).await?;
    assert_eq!(
        (uneven.status, uneven.json()?["message"].clone()),
        (400, json!("All object keys must match"))
    );
    assert_eq!(post("device_logs", "", json!({ "even": "a" })).await?.json()?["code"], "PGRST204");
    assert_eq!(post("device_logs", "", json!({ "device_id": "none" })).await?.json()?["code"], "23503");
    assert_eq!(post("employees", "", json!({})).await?.json()?["code"], "23502");

    let patch = rest(
        &fleet,
        Method::PATCH,
        "devices?id=eq.terminal-02&select=id,active",
        &[("prefer", "return=representation,count=exact")],
        Some(json!({ "active": false })),
    )
    .await?;
    assert_eq!(
        (patch.status, patch.header("content-range"), patch.json()?),
        (200, "0-0/1", json!([{ "id": "terminal-02", "active": false }]))
    );
    let all = rest(&fleet, Method::PATCH, "devices", &[], Some(json!({ "active": false }))).await?;
    assert_eq!((all.status, all.json()?["message"].clone()), (400, json!("UPDATE requires a WHERE clause")));
    let most = rest(
        &fleet,
        Method::PATCH,
        "devices?ip=eq.127.0.0.1",
        &[("prefer", "handling=strict, max-affected=1")],
        Some(json!({ "port": 2 })),
    )
    .await?;
    assert_eq!(most.json()?["code"], "PGRST124");
    let referenced = rest(&fleet, Method::DELETE, "devices?id=eq.terminal-01", &[], None).await?;
    assert_eq!((referenced.status, referenced.json()?["code"].clone()), (409, json!("23503")));
    let gone =
        rest(&fleet, Method::DELETE, "device_logs?id=gte.3", &[("prefer", "return=representation")], None)
            .await?;
    assert_eq!((gone.status, gone.json()?.as_array().map(Vec::len)), (200, Some(2)));
    let put = rest(
        &fleet,
        Method::PUT,
        "devices?id=eq.new",
        &[],
        Some(json!({ "id": "new", "name": "N", "ip": "127.0.0.1" })),
    )
    .await?;
    assert_eq!(put.status, 204);
    let put = rest(
        &fleet,
        Method::PUT,
        "devices?id=eq.new",
        &[],
        Some(json!({ "id": "old", "name": "N", "ip": "127.0.0.1" })),
    )
    .await?;
    assert_eq!((put.status, put.json()?["code"].clone()), (400, json!("PGRST115")));
    let refused = rest(&fleet, Method::POST, "devices", &[("apikey", PUBLISHABLE_KEY)], Some(device)).await;
    assert!(refused.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_refused_write_changes_nothing() -> Result<()> {
    let fleet = calm().await?;
    let rows = json!([
        { "device_id": "terminal-01", "event": "a" },
        { "device_id": "nowhere", "event": "b" },
    ]);
    assert_eq!(rest(&fleet, Method::POST, "device_logs", &[], Some(rows)).await?.status, 409);
    assert_eq!(fleet.supabase().rows("device_logs"), Some(Vec::new()));
    let single = [("accept", "application/vnd.pgrst.object+json"), ("prefer", "return=representation")];
    let said =
        rest(&fleet, Method::PATCH, "devices?ip=eq.127.0.0.1", &single, Some(json!({ "port": 1 }))).await?;
    assert_eq!(said.status, 406);
    assert!(fleet.supabase().rows("devices").is_some_and(|rows| rows.iter().all(|row| row["port"] != 1)));
    assert!(fleet.ledger().of(Kind::RowWrite).is_empty());
    Ok(())
}

#[tokio::test]
async fn functions_answer_in_each_form() -> Result<()> {
    let fleet = calm().await?;
    let sum = rest(&fleet, Method::POST, "rpc/add_them", &[], Some(json!({ "a": 1, "b": 2 }))).await?;
    assert_eq!((sum.status, sum.json()?), (200, json!(3)));
    assert_eq!(get(&fleet, "rpc/add_them?a=4&b=5").await?.json()?, json!(9));
    assert_eq!(rest(&fleet, Method::POST, "rpc/noop", &[], Some(json!({}))).await?.status, 204);
    assert_eq!(get(&fleet, "rpc/active_devices").await?.json()?.as_array().map(Vec::len), Some(3));
    let failed = rest(&fleet, Method::POST, "rpc/fail", &[], Some(json!({ "message": "no" }))).await?;
    assert_eq!((failed.status, failed.json()?["code"].clone()), (400, json!("P0001")));
    Ok(())
}

#[tokio::test]
async fn csv_quotes_what_needs_it() -> Result<()> {
    let fleet = calm().await?;
    let table = json!({ "t": { "columns": { "a": "text", "b": "bigint" }, "primary_key": [], "rows": [{ "a": "x,\"y\"", "b": 1 }, { "a": null, "b": 2 }] } });
    fleet.supabase().define_tables(&table).map_err(anyhow::Error::msg)?;
    let said = rest(&fleet, Method::GET, "t", &[("accept", "text/csv")], None).await?;
    assert_eq!(said.text(), "a,b\n\"x,\"\"y\"\"\",1\n,2");
    Ok(())
}
