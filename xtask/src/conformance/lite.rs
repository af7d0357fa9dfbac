//! The `supabase` plugin against Supabase's own `@supabase/lite`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{Site, free_port, until_listening};
use crate::process::{Running, must, root, say};

/// Pinned: it is an alpha, and its wording changes.
const PACKAGE: &str = "@supabase/lite@0.10.0";

const SCHEMA: &str = "\
create table employees (id uuid primary key, full_name text not null);
create table biometrics (employee_id uuid primary key references employees(id), employee_no text, photo_url text);
create table devices (id text primary key, name text, ip text not null, port integer not null, active boolean not null default true);
create table notes (id integer primary key, employee_id uuid references employees(id), body text, tags text[], meta jsonb, during daterange, rank integer default 5);
create function add_them(a integer, b integer) returns integer language sql immutable as 'select a + b';
create function devices_from(lowest integer) returns setof devices language sql stable as 'select * from devices where port >= lowest';
grant execute on all functions in schema public to anon, authenticated, service_role;
alter role service_role bypassrls;
grant all on all tables in schema public to anon, authenticated, service_role;
";

const SEED: &str = "\
insert into employees values ('7d1f0c1e-0000-4000-8000-000000000001','Ana Example');
insert into biometrics values ('7d1f0c1e-0000-4000-8000-000000000001','1001','/storage/v1/object/public/photos/1001.jpg');
insert into devices select 'device-'||g, 'Door '||g, '127.0.0.1', 8000+g, true from generate_series(1,1203) g;
insert into notes values
  (1,'7d1f0c1e-0000-4000-8000-000000000001','the doors opened','{red,two words}','{\"level\":2}','[2026-01-01,2026-01-11)',2),
  (2,'7d1f0c1e-0000-4000-8000-000000000001','The door is closed','{blue}','{\"level\":1}','[2026-01-11,2026-01-15)',null),
  (3,'7d1f0c1e-0000-4000-8000-000000000001','closed doors','{green}','{}','[2026-02-01,2026-02-02)',9);
";

/// Runs the checks; returns how many passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    let installed = ground.join("node_modules/.bin/lite");
    if !installed.exists() {
        say(&format!("installing {PACKAGE}"));
        fs::create_dir_all(ground)?;
        fs::write(ground.join("package.json"), r#"{ "name": "conformance", "private": true }"#)?;
        must(
            Command::new("npm")
                .args(["install", "--no-fund", "--no-audit", "--loglevel=error", PACKAGE])
                .current_dir(ground)
                .stdout(Stdio::null()),
        )?;
    }
    // A fresh database each time; the packages stay.
    for old in ["supabase", ".env"] {
        let path = ground.join(old);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    let lite = |arguments: &[&str]| {
        let mut command = Command::new(ground.join("node_modules/.bin/lite"));
        command.current_dir(ground).args(arguments);
        command
    };
    must(lite(&["--no-telemetry", "init", "--pglite"]).stdin(Stdio::null()).stdout(Stdio::null()))?;
    let port = free_port()?;
    let config = ground.join("supabase/config.toml");
    let text = fs::read_to_string(&config)?;
    ensure!(text.contains("port = 54321"), "the generated config.toml looks different than expected");
    fs::write(&config, text.replace("port = 54321", &format!("port = {port}")))?;
    fs::write(ground.join("supabase/schemas/schema.sql"), SCHEMA)?;
    fs::write(ground.join("supabase/seed.sql"), SEED)?;
    let log = fs::File::create(ground.join("lite.log"))?;
    let _server = Running::start(
        lite(&["--no-telemetry", "dev"])
            .env("EXPERIMENTAL_STORAGE", "1")
            .stdout(log.try_clone()?)
            .stderr(log),
    )?;
    until_listening(port, Duration::from_secs(90))
        .with_context(|| fs::read_to_string(ground.join("lite.log")).unwrap_or_default())?;

    let environment = fs::read_to_string(ground.join(".env"))?;
    let key = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.contains("SECRET"))
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .context("no secret key in .env")?;
    let inventory = format!(
        "connections:\n  hr:\n    url: http://127.0.0.1:{port}\n    auth:\n      headers:\n        \
         apikey: {{ env: BASCULE_CONFORMANCE_KEY }}\n        Authorization: {{ prefix: \"Bearer \", env: BASCULE_CONFORMANCE_KEY }}\n    \
         test: /rest/v1/devices\n\nfolders:\n  files: {{ path: ./files }}\n"
    );
    let fixture = |name: &str| {
        fs::read_to_string(root().join("tests/fixtures/conformance").join(format!("{name}.yaml")))
    };
    let (tables, storage) = (fixture("supabase")?, fixture("supabase-storage")?);
    let workflows = [("supabase", tables.as_str()), ("supabase-storage", storage.as_str())];
    let site = Site::new(&ground.join("site"), binaries, &inventory, &workflows)?;
    let output = site.run_with("supabase", "recovered", &[("BASCULE_CONFORMANCE_KEY", &key)])?;
    let expected = [
        ("name", json!("Ana Example")),
        ("employee_no", json!("1001")),
        ("missing", json!(true)),
        ("several", json!(true)),
        ("rows", json!(1203)),
        ("first", json!("device-1")),
        ("last", json!("device-1203")),
        ("some", json!("device-7 device-19")),
        ("inserted", json!([{ "id": "extra-1", "active": false }])),
        ("duplicate", json!(true)),
        (
            "upserted",
            json!([{ "id": "extra-1", "name": "Renamed", "port": 7002 }, { "id": "extra-2", "name": "New", "port": 7003 }]),
        ),
        ("updated", json!([{ "id": "extra-1", "active": true }, { "id": "extra-2", "active": true }])),
        ("deleted", json!(2)),
        ("wrong", json!(true)),
        ("groups", json!("device-7 device-12 device-28 device-30")),
        ("arrays", json!("1")),
        ("overlap", json!("3")),
        ("ranges", json!("1 2")),
        ("words", json!("1")),
        ("patterns", json!("1 2")),
        ("nulls", json!("3 1 2")),
        ("embedded", json!("3 2")),
        ("counted", json!(203)),
        ("maybe", serde_json::Value::Null),
        ("uneven", json!([{ "id": 10, "body": "ten", "rank": 7 }, { "id": 11, "body": null, "rank": 8 }])),
        ("kept", json!([{ "id": 12 }])),
        ("called", json!(42)),
        ("rows_of", json!("device-1200 device-1201")),
    ];
    let tables = compare(&output, &expected)?;
    say(&format!("@supabase/lite: {tables} answers of tables as expected"));
    let storage = storage_check(&site, ground, &key)?;
    say(&format!("@supabase/lite: {storage} answers of the storage as expected"));

    // A wrong key is said as what it is.
    site.run_with(
        "supabase",
        "failed",
        &[("BASCULE_CONFORMANCE_KEY", "sb_secret_wrong00000000000000000000")],
    )?;
    Ok(tables + storage + 1)
}

/// The storage, as far as this server is like the hosted one.
fn storage_check(site: &Site, ground: &Path, key: &str) -> Result<u32> {
    fs::create_dir_all(ground.join("site/files"))?;
    fs::write(ground.join("site/files/a.txt"), "eleven here")?;
    let output = site.run_with("supabase-storage", "recovered", &[("BASCULE_CONFORMANCE_KEY", key)])?;
    compare(
        &output,
        &[
            ("created", json!("true false")),
            ("bytes", json!(11)),
            ("type", json!("text/plain")),
            ("duplicate", json!("supabase:Duplicate")),
            ("missing", json!("supabase:not_found")),
            ("nowhere", json!("supabase:Bucketnotfound")),
            ("listed", json!(["in/a b.txt"])),
            ("signed", json!(true)),
            ("moved", json!("out/b.txt out/c.txt")),
            ("deleted", json!({ "deleted": ["out/c.txt"], "missing": ["out/b.txt"] })),
        ],
    )
}

fn compare(output: &serde_json::Value, expected: &[(&str, serde_json::Value)]) -> Result<u32> {
    for (name, value) in expected {
        ensure!(output[name] == *value, "{name}: got {}, expected {value}", output[name]);
    }
    Ok(u32::try_from(expected.len())?)
}
