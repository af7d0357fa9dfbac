//! Traces for OpenTelemetry, from `bascule run` and `bascule serve`, at a simulated collector.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bascule_sim::{COLLECTOR_KEY, CollectedSpan, Collector, Fleet, PASSWORD, SERVICE_KEY, Scenario};
use reqwest::Method;
use serde_json::Value;

use crate::served::{Served, body};
use crate::stage::{Stage, complete, fleet, inventory};

const PATIENCE: Duration = Duration::from_secs(60);

async fn traced(name: &str, fleet: &Fleet, collector: &Collector) -> Stage {
    let stage = Stage::set(name, fleet).await;
    let telemetry = format!(
        "telemetry:\n  otlp:\n    url: {}\n    auth: {{ headers: {{ X-Collector-Key: {{ secret: collector }} }} }}\n",
        collector.url()
    );
    std::fs::write(stage.folder.join("bascule.yaml"), format!("{}{telemetry}", inventory(fleet))).unwrap();
    collector.want_key();
    stage.secret("collector", COLLECTOR_KEY).await;
    stage
}

/// From the root down to the span, item keys in brackets.
fn line(span: &CollectedSpan, all: &BTreeMap<&str, &CollectedSpan>) -> String {
    let own = match span.attributes.get("bascule.item.key") {
        Some(key) => format!("{}[{key}]", span.name),
        None => span.name.clone(),
    };
    match &span.parent {
        Some(parent) => format!("{} > {own}", line(all[parent.as_str()], all)),
        None => own,
    }
}

/// Starts a run and waits for its end.
async fn ran(served: &Served, workflow: &str) {
    let path = format!("/api/v1/workflows/{workflow}/runs");
    let answer = served
        .api(Method::POST, &path, "operator")
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let run = body(answer).await["run"].as_str().unwrap().to_owned();
    let over = |record: &Value| !matches!(record["run"]["status"].as_str().unwrap(), "queued" | "running");
    served.until(&format!("/api/v1/runs/{run}"), over).await;
}

async fn until(what: &str, fits: impl Fn() -> bool) {
    let begun = Instant::now();
    while !fits() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_from_the_command_line_leaves_a_trace_that_holds_no_secret() {
    let fleet = fleet(Scenario::Calm, 3).await;
    let collector = Collector::start().await.unwrap();
    let stage = traced("traces-run", &fleet, &collector).await;
    let said =
        stage.bascule(&["run", "update-face-photo", "-i", &complete(&fleet), "--json", "--quiet"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let run = said.result()["run"].as_str().unwrap().to_owned();
    // Everything is there when the command has ended.
    let spans = collector.spans();
    assert_eq!(collector.refused(), Vec::<String>::new());
    let all: BTreeMap<&str, &CollectedSpan> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(all.len(), spans.len());
    assert!(spans.iter().all(|span| span.trace == run.replace('-', "") && span.service == "bascule"));
    let lines: Vec<String> = spans.iter().map(|span| line(span, &all)).collect();
    let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
    assert_eq!(count("update-face-photo"), 1, "{lines:#?}");
    assert_eq!(count("update-face-photo > step person > supabase/tables.one"), 1, "{lines:#?}");
    for terminal in ["terminal-01", "terminal-02", "terminal-03"] {
        let item = format!("update-face-photo > step photo > item photo[{terminal}]");
        assert_eq!(count(&item), 1, "{item} of {lines:#?}");
        let calls = lines.iter().filter(|line| line.starts_with(&format!("{item} > isapi/"))).count();
        assert!(calls >= 2, "a write and a second look: {lines:#?}");
    }
    let roles: Vec<&str> =
        spans.iter().filter_map(|span| span.attributes.get("bascule.role").map(String::as_str)).collect();
    assert!(roles.contains(&"call") && roles.contains(&"verify"), "{roles:?}");
    let root = spans.iter().find(|span| span.parent.is_none()).unwrap();
    assert_eq!((root.status, root.attributes["bascule.status"].as_str()), (1, "succeeded"));
    let text = collector.text();
    let person = fleet.people().complete().unwrap();
    for canary in [PASSWORD, SERVICE_KEY, COLLECTOR_KEY, person.id.as_str(), "127.0.0.1"] {
        assert!(!text.contains(canary), "`{canary}` was sent");
    }
    collector.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_sends_what_runs_do_and_the_rest_when_it_stops() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let collector = Collector::start().await.unwrap();
    let stage = traced("traces-serve", &fleet, &collector).await;
    let look = "steps:\n  - id: devices\n    uses: supabase/tables.select\n    with: { database: hr, table: devices }\n";
    stage.workflow("look", look);
    stage.workflow("lost", &look.replace("table: devices", "table: nothing_here"));
    let served = Served::start(&stage).await;
    ran(&served, "look").await;
    until("it arrives by itself", || collector.spans().len() == 3).await;
    ran(&served, "lost").await;
    let begun = Instant::now();
    let log = served.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{log}");
    let spans = collector.spans();
    assert_eq!(spans.len(), 6, "{:?}\n{log}", collector.refused());
    let failed = spans.iter().find(|span| span.name == "supabase/tables.select" && span.status == 2).unwrap();
    assert_eq!(failed.attributes["bascule.failure.kind"], "invalid-input");
    assert!(failed.attributes["bascule.failure.code"].starts_with("supabase:"), "{failed:?}");
    assert_eq!(failed.attributes["bascule.workflow"], "lost");
    collector.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_nothing_up_is_told_once_and_gets_what_waited() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let collector = Collector::start().await.unwrap();
    let stage = traced("traces-away", &fleet, &collector).await;
    let look = "steps:\n  - id: devices\n    uses: supabase/tables.select\n    with: { database: hr, table: devices }\n";
    stage.workflow("look", look);
    collector.shut().await.unwrap();
    let served = Served::start(&stage).await;
    for _ in 0..3 {
        ran(&served, "look").await;
    }
    let metrics = served.text("/metrics").await;
    assert!(metrics.contains("bascule_telemetry_spans_total{outcome=\"sent\"} 0"), "{metrics}");
    assert!(metrics.contains("bascule_telemetry_spans_total{outcome=\"dropped\"} 0"), "{metrics}");
    // By now it has been tried.
    tokio::time::timeout(PATIENCE, async {
        while !served.text("/metrics").await.contains("connection=\"telemetry\"") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    collector.unshut().await.unwrap();
    until("what waited arrives", || collector.spans().len() == 9).await;
    let log = served.stop().await;
    assert_eq!(log.matches("traces cannot be delivered").count(), 1, "{log}");
    assert!(log.contains("traces are delivered again"), "{log}");
    collector.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standards_own_variable_names_the_collector_where_bascule_yaml_does_not() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let collector = Collector::start().await.unwrap();
    let stage = Stage::set("traces-environment", &fleet).await;
    let look = "steps:\n  - id: devices\n    uses: supabase/tables.select\n    with: { database: hr, table: devices }\n";
    stage.workflow("look", look);
    let run = async |disabled: &str, url: &str| {
        stage
            .command(&["run", "look", "--quiet"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            .env("OTEL_SERVICE_NAME", "north gate")
            .env("OTEL_SDK_DISABLED", disabled)
            .output()
            .await
            .unwrap()
    };
    assert!(run("true", &collector.url()).await.status.success());
    assert_eq!(collector.spans().len(), 0);
    // With a path, the traces go below it, which is not where this collector takes them.
    assert!(run("", &format!("{}/v1/elsewhere", collector.url())).await.status.success());
    assert_eq!(collector.refused(), ["404 nothing at POST /v1/elsewhere/v1/traces"]);
    assert!(run("", &collector.url()).await.status.success());
    assert_eq!(collector.spans().len(), 3);
    assert!(collector.spans().iter().all(|span| span.service == "north gate"));
    let odd = run("", "not an address").await;
    assert!(odd.status.success(), "a wrong variable stops no run");
    let said = String::from_utf8_lossy(&odd.stderr).into_owned();
    assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{said}");
    collector.stop().await.unwrap();
}
