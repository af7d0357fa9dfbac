//! Workflows made of workflows, whose turn it is, and what a person can do about a run: cancel it, run it again.

use std::time::Duration;

use bascule_sim::{Fleet, Scenario};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::stage::{Stage, fleet};

/// Looks at the devices until `wait` is false, which it never becomes: such a run ends when it is cancelled.
fn waiting(when_busy: &str) -> String {
    format!(
        r#"inputs:
  site: {{ type: string, default: north }}
  wait: {{ type: boolean, default: false }}
concurrency: {{ group: "site-${{{{ inputs.site }}}}", when-busy: {when_busy} }}
steps:
  - id: look
    uses: supabase/tables.select
    with: {{ database: hr, table: devices }}
    poll: {{ until: not inputs.wait, every: 50ms, within: 10m }}
finally:
  - id: tidy
    uses: supabase/tables.select
    with: {{ database: hr, table: devices }}
output: {{ devices: "${{{{ steps.look.output | length }}}}" }}
"#
    )
}

async fn stage(name: &str) -> (Fleet, Stage) {
    let fleet = fleet(Scenario::Calm, 2).await;
    let stage = Stage::set(name, &fleet).await;
    for when_busy in ["queue", "skip", "replace"] {
        stage.workflow(&format!("wait-{when_busy}"), &waiting(when_busy));
    }
    (fleet, stage)
}

/// The run of the workflow that is `running`, as soon as there is one.
async fn running(stage: &Stage, workflow: &str) -> String {
    for _ in 0..600 {
        let said =
            stage.bascule(&["runs", "list", "--workflow", workflow, "--status", "running", "--json"]).await;
        if said.code == 0
            && let Some(id) = said.json().get(0).and_then(|run| run["id"].as_str())
        {
            return id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{workflow} did not begin");
}

async fn show(stage: &Stage, run: &str) -> Value {
    stage.bascule(&["runs", "show", run, "--json"]).await.json()
}

/// Waits for a line of standard error with that text.
async fn hears(child: &mut Child, text: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(text) {
            // The rest is read to its end, so that the process never waits for its reader.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return;
        }
    }
    panic!("it did not say `{text}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_group_a_second_run_is_skipped_while_the_first_is_under_way() {
    let (_fleet, stage) = stage("busy-skip").await;
    let mut first = stage.start(&["run", "wait-queue", "-i", "wait=true"]);
    let run = running(&stage, "wait-queue").await;
    let said = stage.bascule(&["run", "wait-skip", "--json"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.result()["status"], "skipped");
    let reason = said.result()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&run[..13]) && reason.contains("site-north"), "{reason}");
    // Another group of the same folder is no reason to wait: one process owns it.
    let said = stage.bascule(&["run", "wait-skip", "-i", "site=south"]).await;
    assert_eq!(said.code, 5, "{}", said.err);
    assert_eq!(stage.bascule(&["runs", "cancel", &run]).await.code, 0);
    assert_eq!(first.wait().await.unwrap().code(), Some(130));
    let said = stage.bascule(&["run", "wait-skip", "--json"]).await;
    assert_eq!(said.result()["status"], "succeeded", "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_run_follows_the_one_that_another_process_cancels() {
    let (_fleet, stage) = stage("busy-queue").await;
    let mut first = stage.start(&["run", "wait-queue", "-i", "wait=true"]);
    let run = running(&stage, "wait-queue").await;
    let mut second = stage.command(&["run", "wait-queue"]).spawn().unwrap();
    hears(&mut second, "waiting for run").await;
    let said = stage.bascule(&["runs", "cancel", &run]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("was asked to cancel"), "{}", said.out);
    assert_eq!(first.wait().await.unwrap().code(), Some(130));
    assert_eq!(second.wait().await.unwrap().code(), Some(0));
    let record = show(&stage, &run).await;
    assert_eq!(record["header"]["status"], "cancelled");
    assert!(record["cancel_asked_at"].is_string());
    let tidy = record["steps"].as_array().unwrap().iter().find(|step| step["id"] == "tidy").unwrap();
    assert_eq!(tidy["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_replaces_cancels_the_one_under_way_and_follows_it() {
    let (_fleet, stage) = stage("busy-replace").await;
    let mut first = stage.start(&["run", "wait-queue", "-i", "wait=true"]);
    let run = running(&stage, "wait-queue").await;
    let said = stage.bascule(&["run", "wait-replace", "--json"]).await;
    assert_eq!((said.code, &said.result()["status"]), (0, &Value::from("succeeded")), "{}", said.err);
    assert_eq!(first.wait().await.unwrap().code(), Some(130));
    assert_eq!(show(&stage, &run).await["header"]["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_of_a_dead_process_is_taken_over_and_its_run_can_still_be_cancelled() {
    let (_fleet, stage) = stage("busy-dead").await;
    let mut first = stage.start(&["run", "wait-queue", "-i", "wait=true"]);
    let run = running(&stage, "wait-queue").await;
    first.kill().await.unwrap();
    let said = stage.bascule(&["run", "wait-queue", "--json"]).await;
    assert_eq!(said.result()["status"], "succeeded", "{}", said.err);
    assert!(said.err.contains("was cut off"), "{}", said.err);
    assert_eq!(show(&stage, &run).await["header"]["status"], "queued");
    let said = stage.bascule(&["runs", "cancel", &run]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("cancelled"), "{}", said.out);
    let record = show(&stage, &run).await;
    assert_eq!(record["header"]["status"], "cancelled");
    let again = stage.bascule(&["runs", "cancel", &run]).await;
    assert_eq!(again.code, 3, "{}", again.out);
    assert!(again.err.contains("nothing to cancel"), "{}", again.err);
}

/// Devices of one site, with a deadline of its own.
const DEVICES: &str = r#"inputs:
  site: { type: string, required: true }
defaults:
  timeout: 20s
  retry: { attempts: 2, on: [offline] }
steps:
  - id: rows
    uses: supabase/tables.select
    with: { database: hr, table: devices, where: { active: is.true } }
output: { site: "${{ inputs.site }}", count: "${{ steps.rows.output | length }}", by: "${{ trigger.workflow }}" }
"#;

const TELL: &str = r#"steps:
  - id: look
    uses: supabase/tables.select
    with: { database: hr, table: devices, where: { ip: "eq.${{ trigger.run.id }}" } }
output: { about: "${{ trigger.run.workflow }}", why: "${{ trigger.error.kind }}" }
"#;

const SURVEY: &str = r#"name: Survey
on-failure: tell
inputs:
  sites: { type: json, default: [north, south] }
  table: { type: string, default: devices }
steps:
  - id: counted
    for-each: ${{ inputs.sites }}
    as: site
    key: ${{ site }}
    uses: workflow/devices
    with: { site: "${{ site }}" }
  - id: own
    uses: supabase/tables.select
    with: { database: hr, table: "${{ inputs.table }}" }
output: ${{ steps.counted.output }}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_calls_another_and_a_failure_is_told_and_repaired_by_a_rerun() {
    let (_fleet, stage) = stage("survey").await;
    stage.workflow("devices", DEVICES);
    stage.workflow("tell", TELL);
    stage.workflow("survey", SURVEY);
    let said = stage.bascule(&["check"]).await;
    assert_eq!(said.code, 0, "{}", said.err);

    let said = stage.bascule(&["run", "survey", "--json"]).await;
    assert_eq!(said.result()["status"], "succeeded", "{}", said.err);
    assert_eq!(
        said.result()["output"],
        serde_json::json!([
            { "site": "north", "count": 2, "by": "survey" },
            { "site": "south", "count": 2, "by": "survey" },
        ])
    );

    let said = stage.bascule(&["run", "survey", "-i", "table=nowhere"]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("on-failure: `tell`"), "{}", said.err);
    let failed = stage.bascule(&["runs", "list", "--workflow", "survey", "-n", "1", "--json"]).await.json();
    let failed = failed[0]["id"].as_str().unwrap().to_owned();
    let record = show(&stage, &failed).await;
    let item = &record["steps"][0]["inner"][0];
    assert_eq!((&item["called"]["workflow"], &item["inner"][0]["id"]), (&"devices".into(), &"rows".into()));
    let alert = show(&stage, record["alerts"][0].as_str().unwrap()).await;
    assert_eq!(alert["header"]["status"], "succeeded");
    assert_eq!(alert["output"]["about"], "survey");
    assert_eq!(alert["trigger"]["run"]["id"], failed.as_str());
    let people = stage.bascule(&["runs", "show", &failed]).await;
    assert!(people.out.contains("workflow devices"), "{}", people.out);

    // The file changes meanwhile; the run goes by the texts that it began with.
    stage.workflow("devices", "steps: []\n");
    let said = stage.bascule(&["runs", "rerun", &failed, "-i", "table=devices", "--json"]).await;
    assert_eq!(said.result()["status"], "succeeded", "{}{}", said.out, said.err);
    let record = show(&stage, &failed).await;
    assert_eq!((&record["header"]["attempt"], &record["inputs"]["table"]), (&2.into(), &"devices".into()));
    let rows = &record["steps"][0]["inner"][0]["inner"][0];
    assert_eq!(rows["attempts"].as_array().unwrap().len(), 1, "what succeeded was not done again");

    let said = stage.bascule(&["runs", "rerun", &failed, "--latest"]).await;
    assert_eq!(said.code, 3);
    assert!(said.err.contains("workflow `devices` has 1 error of its own"), "{}", said.err);
    stage.workflow("devices", DEVICES);
    let said = stage
        .bascule(&["runs", "rerun", &failed, "--from", "start", "-i", "table=employees", "--json"])
        .await;
    assert_eq!(said.result()["status"], "succeeded", "{}", said.err);
    assert_ne!(said.result()["run"], failed.as_str());
    let new = show(&stage, said.result()["run"].as_str().unwrap()).await;
    assert_eq!(new["trigger"]["rerun_of"], failed.as_str());
    let said = stage.bascule(&["runs", "rerun", &failed, "-i", "tabel=devices"]).await;
    assert_eq!(said.code, 3);
    assert!(said.err.contains("did you mean `table`?"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_that_lead_back_to_themselves_are_refused_before_anything_runs() {
    let (_fleet, stage) = stage("circle").await;
    stage.workflow("there", "steps:\n  - uses: workflow/back\n");
    stage.workflow("back", "steps:\n  - uses: workflow/there\n");
    let said = stage.bascule(&["check"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("would start itself: there -> back -> there"), "{}", said.err);
    assert_eq!(stage.bascule(&["run", "there"]).await.code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_outlives_its_deadline_fails_and_says_so() {
    let (_fleet, stage) = stage("deadline").await;
    stage.workflow("long", &format!("deadline: 300ms\n{}", waiting("queue")));
    let said = stage.bascule(&["run", "long", "-i", "wait=true", "--json"]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.result()["error"]["code"], "bascule:deadline");
    let message = said.result()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("deadline of 300ms"), "{message}");
}
