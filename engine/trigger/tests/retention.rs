//! The data folder stays as large as it may be, and what somebody may still want is there.

use std::time::Duration;

use bascule_run::{Basis, RunId, Status};
use bascule_trigger::dispatch::{Dispatcher, Rerun};
use bascule_trigger::intake::DeliveryFilter;
use bascule_trigger::{Janitor, Verdict};
use bascule_workflow::project::Retention;
use serde_json::json;

use crate::support::{Site, Stage, until};

const PLAIN: &str = "
inputs: { name: { type: string, default: nobody } }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ inputs.name }}\" }
output: { name: \"${{ inputs.name }}\" }
";

const FAILS: &str = "
steps:
  - uses: demo/things.fail
";

const DAY: Duration = Duration::from_secs(86_400);

fn janitor(site: &Site, stage: &Stage) -> Janitor {
    Janitor::new(stage.intake.clone(), stage.journal.clone(), site.clock.clone())
}

/// Starts a run and waits for its end.
async fn run(site: &Site, stage: &Stage, workflow: &str, inputs: serde_json::Value) -> RunId {
    let run = stage.intake.admit(site.ask(workflow, inputs)).await.unwrap().run.unwrap();
    until("it ends", async || !stage.status(run).await.is_open()).await;
    run
}

async fn count(stage: &Stage, table: &str) -> i64 {
    let text = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(stage.database.readers()).await.unwrap()
}

async fn with_dispatcher(workflows: &[(&str, &str)]) -> (Site, Stage, Dispatcher) {
    let site = Site::new(workflows);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    (site, stage, dispatcher)
}

#[tokio::test]
async fn the_database_stays_below_its_cap_however_much_runs() {
    let (site, stage, dispatcher) = with_dispatcher(&[("plain", PLAIN), ("waits", PLAIN)]).await;
    let janitor = janitor(&site, &stage);
    let retention = Retention { max_size_bytes: 3 << 20, ..Retention::default() };
    dispatcher.pause("waits", "a test").await.unwrap();
    let open = stage.intake.admit(site.ask("waits", json!({}))).await.unwrap().run.unwrap();
    let text = "x".repeat(30_000);
    let mut last = None;
    let mut for_space = 0;
    for round in 0..4 {
        for number in 0..30 {
            let name = format!("{round}-{number}-{text}");
            last = Some(run(&site, &stage, "plain", json!({ "name": name })).await);
        }
        let before = stage.database.space().await.unwrap().used_bytes;
        let swept = janitor.sweep(&retention).await.unwrap();
        assert!(swept.used_bytes <= retention.max_size_bytes, "{swept:?}");
        assert_eq!((swept.runs, swept.over_bytes), (0, 0));
        assert_eq!(swept.runs_for_space > 0, before > retention.max_size_bytes, "{before}: {swept:?}");
        for_space += swept.runs_for_space;
    }
    assert!(for_space > 60, "{for_space}");
    // The newest are there, and what has not ended.
    assert_eq!(stage.status(last.unwrap()).await, Status::Succeeded);
    assert_eq!(stage.status(open).await, Status::Queued);
    let runs = i64::try_from(stage.runs().await.len()).unwrap();
    assert_eq!(runs, 121 - i64::try_from(for_space).unwrap());
    for table in ["run", "run_order"] {
        assert_eq!(count(&stage, table).await, runs, "{table}");
    }
    // Where only open runs are left, it says by how much it is too large.
    let nothing = Retention { max_size_bytes: 1, ..Retention::default() };
    let swept = janitor.sweep(&nothing).await.unwrap();
    assert!(swept.over_bytes > 0, "{swept:?}");
    assert_eq!(stage.runs().await.len(), 1);
    assert_eq!(stage.status(open).await, Status::Queued);
    assert_eq!(count(&stage, "workflow_text").await, 1);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_failed_run_can_be_rerun_as_long_as_it_is_configured() {
    let (site, stage, dispatcher) = with_dispatcher(&[("plain", PLAIN), ("fails", FAILS)]).await;
    let janitor = janitor(&site, &stage);
    let retention = Retention { runs: 2 * DAY, failed_runs: 9 * DAY, ..Retention::default() };
    run(&site, &stage, "plain", json!({})).await;
    let failed = run(&site, &stage, "fails", json!({})).await;
    site.clock.advance(3 * DAY);
    assert_eq!(janitor.look(&retention).await.unwrap().runs, 1);
    assert_eq!(janitor.sweep(&retention).await.unwrap().runs, 1);
    assert_eq!(stage.runs().await.len(), 1);
    let again = Rerun::Failed { basis: Basis::AsBegun, inputs: None };
    assert_eq!(dispatcher.rerun(failed, again).await.unwrap(), failed);
    until("it ends", async || !stage.status(failed).await.is_open()).await;
    assert_eq!(stage.header(failed).await.attempt, 2);
    // Its time begins again with its new end.
    site.clock.advance(8 * DAY);
    assert_eq!(janitor.sweep(&retention).await.unwrap().runs, 0);
    site.clock.advance(2 * DAY);
    assert_eq!(janitor.sweep(&retention).await.unwrap().runs, 1);
    assert!(stage.runs().await.is_empty());
    assert!(!janitor.sweep(&retention).await.unwrap().is_anything());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn the_same_delivery_is_known_as_long_as_deliveries_are_kept() {
    let (site, stage, dispatcher) = with_dispatcher(&[("plain", PLAIN)]).await;
    let janitor = janitor(&site, &stage);
    let retention = Retention { runs: DAY, deliveries: 10 * DAY, ..Retention::default() };
    let again = || site.ask("plain", json!({})).with_dedupe("order-7");
    let first = stage.intake.admit(again()).await.unwrap().run.unwrap();
    until("it ends", async || !stage.status(first).await.is_open()).await;
    site.clock.advance(5 * DAY);
    let swept = janitor.sweep(&retention).await.unwrap();
    assert_eq!((swept.runs, swept.deliveries), (1, 0));
    // The run is gone and its delivery is still known: no second run.
    let second = stage.intake.admit(again()).await.unwrap();
    assert_eq!((second.verdict, second.run), (Verdict::Duplicate, Some(first)));
    // Its time begins again with the last delivery.
    site.clock.advance(9 * DAY);
    assert_eq!(janitor.sweep(&retention).await.unwrap().deliveries, 0);
    site.clock.advance(2 * DAY);
    assert_eq!(janitor.sweep(&retention).await.unwrap().deliveries, 1);
    assert!(stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap().is_empty());
    assert_eq!(stage.intake.admit(again()).await.unwrap().verdict, Verdict::Accepted);
    stage.crash(Some(dispatcher)).await;
}
