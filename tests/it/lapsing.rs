//! A workflow that does not succeed in time, and who is told: the real server on its own clock.

use bascule_sim::Scenario;
use reqwest::Method;
use serde_json::Value;

use crate::served::{Served, body};
use crate::stage::{Stage, fleet};

const EXPORT: &str = "inputs: { table: { type: string, default: devices } }
steps:
  - id: devices
    uses: supabase/tables.select
    with: { database: hr, table: \"${{ inputs.table }}\" }
";

const ALERT: &str = "triggers:
  - overdue: { name: export, no-success-for: 3s }
steps:
  - id: devices
    uses: supabase/tables.select
    with: { database: hr, table: devices }
output: \"${{ trigger.workflow }}: ${{ trigger.last_success.run if trigger.last_success else 'never' }}\"
";

/// Starts `export` and gives the run once it has ended.
async fn export(served: &Served, table: &str) -> Value {
    let request = served.api(Method::POST, "/api/v1/workflows/export/runs", "operator");
    let text = format!("{{\"inputs\":{{\"table\":\"{table}\"}}}}");
    let answer = request.header("content-type", "application/json").body(text).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let run = body(answer).await["run"].as_str().unwrap().to_owned();
    let over = |record: &Value| !matches!(record["run"]["status"].as_str().unwrap(), "queued" | "running");
    served.until(&format!("/api/v1/runs/{run}"), over).await["run"].clone()
}

/// Waits until so many alerts have ended, and gives what they said, the latest first.
async fn alerts(served: &Served, number: usize) -> Vec<String> {
    let ended = |runs: &Value| {
        let runs = runs.as_array().unwrap();
        runs.len() >= number && runs.iter().all(|run| run["status"] == "succeeded")
    };
    let runs = served.until("/api/v1/runs?workflow=alert", ended).await;
    let mut said = Vec::new();
    for run in runs.as_array().unwrap() {
        let run = served.get(&format!("/api/v1/runs/{}", run["id"].as_str().unwrap())).await;
        said.push(run["output"].as_str().unwrap().to_owned());
    }
    assert_eq!(said.len(), number, "{said:?}");
    said
}

fn metric(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapse_is_told_once_across_a_restart_and_the_next_one_again() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("lapsing", &fleet).await;
    stage.workflow("export", EXPORT);
    stage.workflow("alert", ALERT);
    let said = stage.bascule(&["schedule", "overdue"]).await;
    assert!(said.code != 0 && said.err.contains("no server runs"), "{}", said.err);
    let served = Served::start(&stage).await;
    let success = "bascule_last_success_timestamp_seconds{workflow=\"export\"}";
    let overdue = "bascule_workflow_overdue{workflow=\"export\"";
    assert_eq!(metric(&served.text("/metrics").await, success), None, "it never succeeded");

    // A run that fails is no success, and nobody else makes one.
    assert_eq!(export(&served, "nothing_here").await["status"], "failed");
    assert_eq!(alerts(&served, 1).await, ["export: never"]);
    let late = |watches: &Value| watches[0]["overdue"] == true && watches[0]["told_at"].is_string();
    served.until("/api/v1/triggers/overdue", late).await;
    assert_eq!(metric(&served.text("/metrics").await, overdue).as_deref(), Some("1"));
    let said = stage.bascule(&["schedule", "overdue"]).await;
    assert!(said.out.contains("overdue") && said.out.contains("never"), "{}", said.out);
    let said = stage.bascule(&["doctor", "--offline"]).await;
    assert!(said.out.contains("`export` has had no success for 3s"), "{}", said.out);
    served.kill().await;

    let served = Served::start(&stage).await;
    let run = export(&served, "devices").await;
    assert_eq!(run["status"], "succeeded");
    let ended: jiff::Timestamp = run["ended_at"].as_str().unwrap().parse().unwrap();
    let told = metric(&served.text("/metrics").await, success).unwrap();
    assert_eq!(told, ended.as_second().to_string());
    let expected = format!("export: {}", run["id"].as_str().unwrap());
    assert_eq!(alerts(&served, 2).await, [expected.as_str(), "export: never"]);
    served.stop().await;
}
