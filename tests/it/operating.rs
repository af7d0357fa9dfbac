//! What whoever runs a site types: doctor, prune, schedules, pauses, and the drill of docs/operating.md.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bascule_sim::{Fleet, SERVICE_KEY, Scenario};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::served::Served;
use crate::stage::{Said, Stage, complete, fleet, inventory, root};

/// How long something may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: &str = "steps:
  - id: devices
    uses: supabase/tables.select
    with: { database: hr, table: devices }
";

fn with_inventory(stage: &Stage, fleet: &Fleet, more: &str) {
    std::fs::write(stage.folder.join("bascule.yaml"), format!("{}{more}", inventory(fleet))).unwrap();
}

/// Stores a secret that expires.
async fn expiring(stage: &Stage, name: &str, value: &str, expires: jiff::Timestamp) {
    let expires = expires.to_string();
    let arguments = ["secret", "set", name, "--expires", &expires];
    let mut child = stage.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

fn from_now(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)
}

/// Findings of a check with this level.
fn findings(report: &Value, check: &str, level: &str) -> Vec<Value> {
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|one| one["check"] == check && one["level"] == level).cloned().collect()
}

async fn doctor(stage: &Stage) -> (i32, Value) {
    let said = stage.bascule(&["doctor", "--json"]).await;
    (said.code, said.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_nothing_wrong_with_a_site_that_is_in_order() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("doctor-well");
    with_inventory(&stage, &fleet, "");
    stage.workflow("look", LOOK);
    stage.secret("supabase-key", SERVICE_KEY).await;
    stage.secret("terminal-password", bascule_sim::PASSWORD).await;
    let (code, report) = doctor(&stage).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["errors"], 0, "{report:#}");
    for check in ["config", "key", "disk", "database", "plugins", "server", "schedules", "runs", "secrets"] {
        assert_eq!(findings(&report, check, "ok").len(), 1, "{check}: {report:#}");
    }
    let connections = findings(&report, "connections", "ok");
    assert!(connections.iter().any(|one| one["what"].as_str().unwrap().contains("`hr`")), "{report:#}");
    assert!(connections.iter().any(|one| one["what"].as_str().unwrap().contains("terminal")), "{report:#}");
    // A device is asked when it is named.
    let terminal = fleet.terminal(0);
    let device = json!({ "ip": "127.0.0.1", "port": terminal.port() }).to_string();
    let param = format!("device={device}");
    let said = stage.bascule(&["doctor", "--param", &param]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("`terminal`") && said.out.contains("answered 200"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_is_wrong_why_and_what_to_do() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("doctor-ill");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let components = xtask::components::plugins().unwrap();
    let gone = format!("  gone:\n    url: http://{closed}\n\nfolders:");
    let plugin = format!("plugins:\n  isapi: {{ file: {} }}\n", components.join("isapi.wasm").display());
    let text = inventory(&fleet).replace("folders:", &gone);
    std::fs::write(stage.folder.join("bascule.yaml"), format!("{text}{plugin}")).unwrap();
    stage.workflow("look", LOOK);
    stage.workflow("broken", "steps:\n  - uses: supabase/tables.selekt\n");
    stage.workflow("nightly", &format!("triggers:\n  - schedule: {{ cron: \"0 3 * * *\" }}\n{LOOK}"));
    expiring(&stage, "supabase-key", SERVICE_KEY, from_now(3 * 86_400)).await;
    expiring(&stage, "old", "something", from_now(-60)).await;
    let key = stage.folder.with_file_name("master.key");

    let (code, report) = doctor(&stage).await;
    assert_eq!(code, 1, "{report:#}");
    for (check, level, part) in [
        ("config", "error", "broken.yaml"),
        ("plugins", "warning", "no workflow uses the plugin `isapi`"),
        ("plugins", "warning", "has no `sha256`"),
        ("server", "warning", "a trigger waits for one"),
        ("secrets", "warning", "`supabase-key` expires in"),
        ("secrets", "error", "`old` expired at"),
        ("secrets", "error", "no secret `terminal-password`"),
        ("connections", "error", "`gone`"),
    ] {
        let found = findings(&report, check, level);
        let found = found.iter().find(|one| one["what"].as_str().unwrap().contains(part));
        let found = found.unwrap_or_else(|| panic!("{check} {level} {part}: {report:#}"));
        assert!(!found["why"].as_str().unwrap().is_empty(), "{found:#}");
        assert!(!found["mend"].as_str().unwrap().is_empty(), "{found:#}");
    }
    let said = stage.bascule(&["doctor"]).await;
    assert!(
        said.out.contains("   why: ") && said.out.contains("   do:  `bascule secret set"),
        "{}",
        said.out
    );

    // A key that others can read opens nothing, and a lost one is said to be lost.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&stage).await;
    let found = findings(&report, "key", "error");
    assert!(code == 1 && found[0]["what"].as_str().unwrap().contains("mode 644"), "{report:#}");
    std::fs::remove_file(&key).unwrap();
    let (_, report) = doctor(&stage).await;
    assert!(findings(&report, "key", "error")[0]["what"].as_str().unwrap().contains("is missing"));
    assert!(!key.exists(), "a look makes no key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_found() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("doctor-damage");
    with_inventory(&stage, &fleet, "");
    stage.secret("supabase-key", SERVICE_KEY).await;
    let path = stage.folder.join(".bascule/bascule.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which says that it is a database.
    for byte in &mut bytes[4096..] {
        *byte = 0xa5;
    }
    std::fs::write(&path, bytes).unwrap();
    let (code, report) = doctor(&stage).await;
    assert_eq!(code, 1);
    assert_eq!(findings(&report, "database", "error").len(), 1, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_expires_is_told_everywhere_before_and_fails_clearly_after() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("expiring");
    with_inventory(&stage, &fleet, "limits: { expiry-warning: 10d }\n");
    stage.workflow("look", LOOK);
    expiring(&stage, "supabase-key", SERVICE_KEY, from_now(8 * 86_400)).await;
    expiring(&stage, "later", "something", from_now(40 * 86_400)).await;
    let server = Served::start(&stage).await;
    let project = server.get("/api/v1/project").await;
    let expected = &project["expiring_secrets"];
    assert_eq!(expected.as_array().unwrap().len(), 1, "{project:#}");
    assert_eq!((&expected[0]["name"], &expected[0]["state"]), (&json!("supabase-key"), &json!("expiring")));
    let metrics = server.text("/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("bascule_secret_expires_seconds{secret=\"supabase-key\"}"));
    let seconds: i64 = line.unwrap().split(' ').next_back().unwrap().parse().unwrap();
    assert!((7 * 86_400..8 * 86_400).contains(&seconds), "{seconds}");
    let said = stage.bascule(&["run", "look", "--quiet"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let log = server.stop().await;
    let told: Vec<&str> = log.lines().filter(|line| line.contains("a secret expires soon")).collect();
    assert!(told.len() == 1 && told[0].contains("supabase-key"), "{log}");

    // After its time it is not sent any more, so that it counts as no refused login.
    expiring(&stage, "supabase-key", SERVICE_KEY, from_now(-1)).await;
    let said = stage.bascule(&["run", "look", "--json"]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    let error = &said.result()["error"];
    assert_eq!(
        (&error["kind"], &error["code"]),
        (&json!("unauthorized"), &json!("host:secret-expired")),
        "{error:#}"
    );
    assert!(error["message"].as_str().unwrap().contains("bascule secret set supabase-key"), "{error:#}");
    stage.secret("supabase-key", SERVICE_KEY).await;
    assert_eq!(stage.bascule(&["run", "look", "--quiet"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_pruned_by_hand_and_by_the_server() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("pruned");
    let retention = "retention: { runs: 1s, failed-runs: 30d }\n";
    with_inventory(&stage, &fleet, retention);
    stage.workflow("look", LOOK);
    stage.workflow("fails", &LOOK.replace("table: devices", "table: nothing"));
    stage.secret("supabase-key", SERVICE_KEY).await;
    assert_eq!(stage.bascule(&["run", "look", "--quiet"]).await.code, 0);
    assert_eq!(stage.bascule(&["run", "fails", "--quiet"]).await.code, 1);
    let begun = Instant::now();
    while stage.bascule(&["prune", "--dry-run", "--json"]).await.json()["runs"] != 1 {
        assert!(begun.elapsed() < PATIENCE);
    }
    // Looking changes nothing.
    assert_eq!(stage.bascule(&["runs", "list", "--json"]).await.json().as_array().unwrap().len(), 2);
    let said = stage.bascule(&["prune"]).await;
    assert!(said.code == 0 && said.out.contains("1 run,") && said.out.contains("removed"), "{}", said.out);
    let left = stage.bascule(&["runs", "list", "--json"]).await.json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["workflow"]), (1, &json!("fails")));
    // The failed one can still be done again.
    assert_eq!(stage.bascule(&["runs", "rerun", "last", "--quiet"]).await.code, 1);

    // Beside the server, through it; it takes away by itself what it finds when it starts.
    assert_eq!(stage.bascule(&["run", "look", "--quiet"]).await.code, 0);
    while stage.bascule(&["prune", "--dry-run", "--json"]).await.json()["runs"] != 1 {
        assert!(begun.elapsed() < PATIENCE);
    }
    let server = Served::start(&stage).await;
    server.until("/api/v1/runs", |runs| runs.as_array().unwrap().len() == 1).await;
    let refused = server.api(reqwest::Method::POST, "/api/v1/prune", "operator").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let said = stage.bascule(&["prune", "--json"]).await;
    assert!(said.code == 0 && said.json()["used_bytes"].as_u64().unwrap() > 0, "{}", said.err);
    let metrics = server.text("/metrics").await;
    assert!(metrics.contains("bascule_database_bytes{what=\"used\"}"), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_runs_are_the_same_with_and_without_a_server() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("next");
    with_inventory(&stage, &fleet, "");
    let schedule = "triggers:\n  - schedule: { cron: \"0 3 1 1 *\", time-zone: Asia/Tokyo }\n";
    stage.workflow("yearly", &format!("{schedule}{LOOK}"));
    stage.workflow("daily", &format!("triggers:\n  - schedule: {{ cron: \"30 12 * * *\" }}\n{LOOK}"));
    stage.secret("supabase-key", SERVICE_KEY).await;
    let arguments = ["schedule", "next", "-n", "2", "--workflow", "yearly", "--json"];
    let without = stage.bascule(&arguments).await.json();
    let said = stage.bascule(&["schedule", "next", "-n", "3"]).await;
    assert!(said.out.contains("At 12:30") && !said.out.contains("yearly"), "{}", said.out);
    let said = stage.bascule(&["schedule", "next", "--workflow", "yearly", "-n", "1"]).await;
    assert!(said.out.contains("01-01 03:00:00 JST Asia/Tokyo"), "{}", said.out);
    let server = Served::start(&stage).await;
    let with = stage.bascule(&arguments).await.json();
    assert_eq!(with, without);
    assert_eq!(with.as_array().unwrap().len(), 2);
    for (one, year) in with.as_array().unwrap().iter().zip(1..) {
        let at: jiff::Timestamp = one["at"].as_str().unwrap().parse().unwrap();
        let there = at.in_tz("Asia/Tokyo").unwrap();
        assert_eq!(there.strftime("%m-%d %H:%M").to_string(), "01-01 03:00");
        assert_eq!(
            i32::from(there.year()),
            i32::from(jiff::Zoned::now().in_tz("Asia/Tokyo").unwrap().year()) + year
        );
        assert_eq!(one["workflow"], "yearly");
        assert!(one["description"].as_str().unwrap().contains("03:00"), "{one:#}");
    }
    let upcoming = server.get("/api/v1/triggers/upcoming?limit=4").await;
    assert_eq!(upcoming.as_array().unwrap().len(), 4);
    assert_eq!((&upcoming[0]["workflow"], upcoming[0]["at"].is_string()), (&json!("daily"), true));
    assert_eq!(stage.bascule(&["schedule", "next", "--workflow", "yaerly"]).await.code, 6);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_is_paused_listed_and_let_go_on() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("paused");
    with_inventory(&stage, &fleet, "");
    stage.workflow("look", LOOK);
    stage.secret("supabase-key", SERVICE_KEY).await;
    let said = stage.bascule(&["workflow", "pause", "look"]).await;
    assert!(said.code == 3 && said.err.contains("no server runs"), "{}", said.err);
    let said = stage.bascule(&["workflow", "list"]).await;
    assert!(
        said.code == 0 && said.out.contains("look") && said.out.contains("no server runs"),
        "{}",
        said.out
    );

    let server = Served::start(&stage).await;
    assert_eq!(stage.bascule(&["workflow", "pause", "loook"]).await.code, 6);
    let said = stage.bascule(&["workflow", "pause", "look", "--reason", "holidays"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let start = server.api(reqwest::Method::POST, "/api/v1/workflows/look/runs", "operator");
    assert_eq!(start.send().await.unwrap().status(), 202);
    let said = stage.bascule(&["workflow", "list"]).await;
    assert!(said.out.contains("paused since") && said.out.contains("holidays"), "{}", said.out);
    let list = stage.bascule(&["workflow", "list", "--json"]).await.json();
    assert_eq!((&list[0]["queued"], &list[0]["paused"]["reason"]), (&json!(1), &json!("holidays")));
    let said = stage.bascule(&["workflow", "unpause", "look"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    server.until("/api/v1/runs?status=succeeded", |runs| runs.as_array().unwrap().len() == 1).await;
    server.stop().await;
}

/// The commands of a section of docs/operating.md, each with the exit code that its comment says (`# ..: exit 1`).
fn commands(section: &str) -> Vec<(Vec<String>, i32)> {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let mut commands = Vec::new();
    for block in section.split("```sh\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let (command, comment) = line.split_once('#').unwrap_or((line, ""));
            let Some(arguments) = command.trim().strip_prefix("bascule ") else { continue };
            let code = comment.split(": exit ").nth(1).map_or(0, |code| code.trim().parse().unwrap());
            commands.push((arguments.split_whitespace().map(str::to_owned).collect(), code));
        }
    }
    commands
}

async fn follow(stage: &Stage, section: &str) -> Vec<(String, Said)> {
    let mut all = Vec::new();
    for (arguments, code) in commands(section) {
        let typed: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = stage.bascule(&typed).await;
        let command = arguments.join(" ");
        assert_eq!(said.code, code, "bascule {command}: {}{}", said.out, said.err);
        all.push((command, said));
    }
    all
}

/// What the commands that begin so printed.
fn printed<'s>(said: &'s [(String, Said)], command: &str) -> &'s str {
    let found = said.iter().find(|(line, _)| line.starts_with(command));
    &found.unwrap_or_else(|| panic!("docs/operating.md has no `bascule {command}`")).1.out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_drill_works_as_it_is_written() {
    let fleet = fleet(Scenario::Demo, 30).await;
    let stage = Stage::set("drill", &fleet).await;
    let run = stage.bascule(&["run", "update-face-photo", "-i", &complete(&fleet)]).await;
    assert_eq!(run.code, 1, "{}{}", run.out, run.err);
    let (broken, _) =
        fleet.terminals().iter().zip(fleet.roles()).find(|(_, role)| *role == "offline").unwrap();

    let said = follow(&stage, "What happened last night?").await;
    let list = printed(&said, "runs list --since 12h");
    assert!(list.contains("update-face-photo") && list.contains("failed"), "{list}");
    assert!(printed(&said, "runs list --status failed").contains("update-face-photo"));
    assert!(said.iter().any(|(line, _)| line.starts_with("schedule next")));

    let said = follow(&stage, "Why did terminal 7 fail?").await;
    let shown = printed(&said, "runs show last --step photo");
    assert!(shown.contains("offline: ") && shown.contains("locked-out: "), "{shown}");
    let item = said.iter().find(|(line, _)| line.contains("--item")).unwrap();
    assert!(item.0.ends_with(broken.id()), "{}: the offline one is {}", item.0, broken.id());
    assert!(item.1.out.contains("offline: ") && !item.1.out.contains("locked-out"), "{}", item.1.out);
    let unknown = stage.bascule(&["runs", "show", "last", "--item", "nobody"]).await;
    assert!(unknown.code == 6 && unknown.err.contains(broken.id()), "{}", unknown.err);

    // Somebody plugs it in again.
    broken.online().await.unwrap();
    let said = follow(&stage, "Run it again").await;
    let item = said.iter().find(|(line, _)| line.contains("--item")).unwrap();
    assert!(!item.1.out.contains(" failed"), "{}", item.1.out);
    let record = stage.bascule(&["runs", "show", "last", "--json"]).await.json();
    assert_eq!(record["header"]["attempt"], 2, "{record:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_commands_of_the_page_exist() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::empty("operating");
    with_inventory(&stage, &fleet, "");
    stage.workflow(
        "nightly-nvr-export",
        &format!("triggers:\n  - schedule: {{ cron: \"30 1 * * *\" }}\n{LOOK}"),
    );
    stage.secret("supabase-key", SERVICE_KEY).await;
    stage.secret("terminal-password", bascule_sim::PASSWORD).await;
    let server = Served::start(&stage).await;
    let said = follow(&stage, "Every week").await;
    assert!(printed(&said, "doctor").contains("one runs at"), "{}", printed(&said, "doctor"));
    follow(&stage, "Hold something back").await;
    server.stop().await;
}
