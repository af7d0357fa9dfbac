//! Runs after other runs.

use bascule_run::record::RunRecord;
use bascule_run::{RunId, Status};
use bascule_trigger::Verdict;
use bascule_trigger::after::{After, AfterParts};
use bascule_trigger::intake::DeliveryFilter;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Site, Stage, until};

const FIRST: &str = "
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

fn after(names: &str, status: &str) -> String {
    format!(
        "
triggers:
  - workflow: {{ name: {names}, status: {status} }}
steps:
  - uses: demo/things.echo
    with: {{ value: \"${{{{ trigger.run.workflow }}}} ${{{{ trigger.run.status }}}}\" }}
"
    )
}

fn follower(site: &Site, stage: &Stage) -> After {
    After::new(AfterParts {
        intake: stage.intake.clone(),
        book: site.shelf.clone(),
        journal: stage.journal.clone(),
    })
}

async fn ended(stage: &Stage, run: RunId) {
    until("it ends", async || !stage.status(run).await.is_open()).await;
}

async fn of(stage: &Stage, workflow: &str) -> usize {
    stage.runs().await.iter().filter(|run| run.workflow == workflow).count()
}

#[tokio::test]
async fn the_end_of_a_run_starts_what_waits_for_it_and_for_that_status() {
    let fine = after("[first, fails]", "succeeded");
    let failed = after("fails", "[failed, cancelled]");
    let site = Site::new(&[("first", FIRST), ("fails", FAILS), ("fine", &fine), ("failed", &failed)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let stop = CancellationToken::new();
    let task = {
        let (follower, dispatcher, stop) = (follower(&site, &stage), dispatcher.clone(), stop.clone());
        tokio::spawn(async move { follower.run(&dispatcher, stop).await })
    };
    let first = stage.intake.admit(site.ask("first", json!({ "name": "Ann" }))).await.unwrap().run.unwrap();
    stage.intake.admit(site.ask("fails", json!({}))).await.unwrap();
    until("both have followed", async || of(&stage, "fine").await == 1 && of(&stage, "failed").await == 1)
        .await;
    for run in stage.runs().await {
        ended(&stage, run.id).await;
    }
    assert_eq!(stage.runs().await.len(), 4);
    let run = stage.runs().await.into_iter().find(|run| run.workflow == "fine").unwrap();
    let trigger = RunRecord::read(&*stage.journal, &run.id.to_string()).await.unwrap().trigger;
    let before = &trigger["run"];
    assert_eq!(
        (before["id"].as_str(), before["output"]["name"].as_str()),
        (Some(first.to_string().as_str()), Some("Ann"))
    );
    assert_eq!((trigger["depth"].as_u64(), before["attempt"].as_u64()), (Some(1), Some(1)));
    stop.cancel();
    task.await.unwrap();
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn an_end_before_a_crash_is_followed_after_it_and_once() {
    let fine = after("first", "succeeded");
    let site = Site::new(&[("first", FIRST), ("fine", &fine)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = stage.intake.admit(site.ask("first", json!({}))).await.unwrap().run.unwrap();
    ended(&stage, run).await;
    stage.crash(Some(dispatcher)).await;

    let stage = site.open().await;
    let follower = follower(&site, &stage);
    // Two at once, and again.
    let (one, two) = tokio::join!(follower.step(), follower.step());
    one.unwrap();
    two.unwrap();
    follower.step().await.unwrap();
    assert_eq!(of(&stage, "fine").await, 1);
    let left: i64 = sqlx_count(&stage, "SELECT count(*) FROM run_end").await;
    assert_eq!(left, 0);
}

async fn sqlx_count(stage: &Stage, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(stage.database.readers()).await.unwrap()
}

#[tokio::test]
async fn workflows_that_start_each_other_stop_and_somebody_is_told() {
    let loops = "
triggers:
  - workflow: { name: loops }
inputs: { name: { type: string, default: again } }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ inputs.name }}\" }
";
    let site = Site::new(&[("loops", loops)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let stop = CancellationToken::new();
    let task = {
        let (follower, dispatcher, stop) = (follower(&site, &stage), dispatcher.clone(), stop.clone());
        tokio::spawn(async move { follower.run(&dispatcher, stop).await })
    };
    stage.intake.admit(site.ask("loops", json!({}))).await.unwrap();
    let refused = DeliveryFilter { verdict: Some(Verdict::Refused), ..DeliveryFilter::default() };
    until("it is refused", async || !stage.intake.deliveries(&refused).await.unwrap().is_empty()).await;
    let told = stage.intake.deliveries(&refused).await.unwrap().remove(0);
    assert!(told.reason.unwrap().contains("8 runs in a row"));
    until("all have ended", async || stage.runs().await.iter().all(|run| run.status == Status::Succeeded))
        .await;
    assert_eq!(stage.runs().await.len(), 9);
    stop.cancel();
    task.await.unwrap();
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn what_cannot_follow_is_a_visible_refusal_and_holds_nothing_up() {
    let bad = "
inputs: { name: { type: string, required: true } }
triggers:
  - workflow: { name: first, inputs: { name: \"${{ trigger.run.output.nothing }}\" } }
steps:
  - uses: demo/things.echo
";
    let fine = after("first", "succeeded");
    let site = Site::new(&[("first", FIRST), ("bad", bad), ("fine", &fine)]);
    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = stage.intake.admit(site.ask("first", json!({}))).await.unwrap().run.unwrap();
    ended(&stage, run).await;
    follower(&site, &stage).step().await.unwrap();
    assert_eq!((of(&stage, "fine").await, of(&stage, "bad").await), (1, 0));
    let refused = DeliveryFilter { verdict: Some(Verdict::Refused), ..DeliveryFilter::default() };
    let told = stage.intake.deliveries(&refused).await.unwrap().remove(0);
    assert_eq!(told.workflow, "bad");
    assert!(told.reason.unwrap().contains("nothing"));
    stage.crash(Some(dispatcher)).await;
}
