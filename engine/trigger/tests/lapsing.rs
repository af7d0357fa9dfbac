//! What is told when a workflow has not succeeded for too long; the clock is moved by hand.

use std::time::Duration;

use bascule_run::journal::Journal as _;
use bascule_run::record::RunRecord;
use bascule_run::{RunId, Status};
use bascule_trigger::Verdict;
use bascule_trigger::after::{After, AfterParts};
use bascule_trigger::intake::DeliveryFilter;
use bascule_trigger::overdue::{WatchParts, Watcher};
use bascule_trigger::retention::Janitor;
use bascule_workflow::project::Retention;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Site, Stage, until};

const EXPORT: &str = "
inputs: { ok: { type: boolean, default: true } }
steps:
  - if: inputs.ok
    uses: demo/things.echo
  - if: not inputs.ok
    uses: demo/things.fail
";

const ALERT: &str = "
triggers:
  - overdue: { name: export, no-success-for: 26h }
steps:
  - uses: demo/things.echo
    with: { value: \"${{ trigger.workflow }} ${{ trigger.no_success_for }}\" }
";

const HOUR: Duration = Duration::from_secs(3600);

fn hours(number: u32) -> Duration {
    HOUR * number
}

fn watcher(site: &Site, stage: &Stage) -> Watcher {
    Watcher::new(WatchParts {
        intake: stage.intake.clone(),
        book: site.shelf.clone(),
        clock: site.clock.clone(),
    })
}

fn follower(site: &Site, stage: &Stage) -> After {
    After::new(AfterParts {
        intake: stage.intake.clone(),
        book: site.shelf.clone(),
        journal: stage.journal.clone(),
    })
}

/// A run of `export`, to its end.
async fn export(site: &Site, stage: &Stage, ok: bool) -> RunId {
    let run = stage.intake.admit(site.ask("export", json!({ "ok": ok }))).await.unwrap().run.unwrap();
    let outcome = stage.runner.execute(run, site.workflow("export"), CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.status == Status::Succeeded, ok);
    run
}

/// What the runs of the alert were told, the oldest first.
async fn alerts(stage: &Stage) -> Vec<Value> {
    let mut all = Vec::new();
    for run in stage.runs().await.into_iter().filter(|run| run.workflow == "alert") {
        all.push(RunRecord::read(&*stage.journal, &run.id.to_string()).await.unwrap().trigger);
    }
    all
}

#[tokio::test]
async fn a_lapse_is_told_once_and_the_next_one_after_a_success_again() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    let watcher = watcher(&site, &stage);
    watcher.step().await.unwrap();
    let first = export(&site, &stage, true).await;
    let succeeded_at = stage.header(first).await.ended_at.unwrap();
    site.clock.advance(hours(20));
    // A failure is no success, and nothing is overdue yet.
    export(&site, &stage, false).await;
    let next = watcher.step().await.unwrap().unwrap();
    assert_eq!(next.duration_since(succeeded_at).as_hours(), 26);
    assert!(alerts(&stage).await.is_empty());

    site.clock.advance(hours(6));
    for _ in 0..3 {
        assert_eq!(watcher.step().await.unwrap(), None, "nothing more to wait for");
        site.clock.advance(hours(40));
    }
    let told = alerts(&stage).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["kind"], "overdue");
    assert_eq!(told[0]["workflow"], "export");
    assert_eq!(told[0]["no_success_for"], "1d2h");
    assert_eq!(told[0]["last_success"], json!({ "run": first, "ended_at": succeeded_at.to_string() }));
    assert_eq!(told[0]["due_at"], next.to_string());

    // It recovers, and lapses again.
    export(&site, &stage, true).await;
    assert!(watcher.step().await.unwrap().is_some());
    assert!(watcher.watches().await.unwrap()[0].told_at.is_none());
    site.clock.advance(hours(26));
    watcher.step().await.unwrap();
    watcher.step().await.unwrap();
    assert_eq!(alerts(&stage).await.len(), 2);
    assert!(watcher.watches().await.unwrap()[0].told_at.is_some());
}

#[tokio::test]
async fn one_that_never_succeeded_counts_from_when_it_is_watched_across_restarts() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    watcher(&site, &stage).step().await.unwrap();
    stage.crash(None).await;
    site.clock.advance(hours(25));
    let stage = site.open().await;
    let due = watcher(&site, &stage).step().await.unwrap();
    assert!(due.is_some() && alerts(&stage).await.is_empty());
    stage.crash(None).await;
    // While nothing ran, it became due: it is told when somebody is there again, and once.
    site.clock.advance(hours(30));
    for _ in 0..3 {
        let stage = site.open().await;
        watcher(&site, &stage).step().await.unwrap();
        let told = alerts(&stage).await;
        assert_eq!((told.len(), &told[0]["last_success"]), (1, &Value::Null));
        stage.crash(None).await;
    }
}

#[tokio::test]
async fn a_success_that_nobody_has_looked_at_yet_counts() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    watcher(&site, &stage).step().await.unwrap();
    site.clock.advance(hours(25));
    export(&site, &stage, true).await;
    stage.crash(None).await;
    site.clock.advance(hours(2));
    let stage = site.open().await;
    let due = watcher(&site, &stage).step().await.unwrap();
    assert!(due.is_some() && alerts(&stage).await.is_empty());
}

#[tokio::test]
async fn a_success_is_known_after_its_run_has_been_removed() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    let (watcher, after) = (watcher(&site, &stage), follower(&site, &stage));
    watcher.step().await.unwrap();
    site.clock.advance(hours(1));
    let run = export(&site, &stage, true).await;
    after.step().await.unwrap();
    site.clock.advance(hours(26));
    watcher.step().await.unwrap();
    assert_eq!(alerts(&stage).await.len(), 1);
    // Everything old goes: the run, and the delivery that its lapse was told by.
    site.clock.advance(hours(24 * 400));
    let janitor = Janitor::new(stage.intake.clone(), stage.journal.clone(), site.clock.clone());
    let retention =
        Retention { failed_runs: hours(1), runs: hours(1), deliveries: hours(1), ..Retention::default() };
    janitor.sweep(&retention).await.unwrap();
    assert!(stage.journal.find(&run.to_string()).await.is_err(), "the run is gone");
    watcher.step().await.unwrap();
    assert_eq!(watcher.successes().await.unwrap()["export"].run, run);
    assert!(alerts(&stage).await.len() <= 1, "and its lapse is not told again");
    let watch = &watcher.watches().await.unwrap()[0];
    assert!(watch.told_at.is_some() && watch.last_success.is_some());
}

#[tokio::test]
async fn several_names_are_watched_each_by_itself_and_an_if_can_say_no() {
    let both = ALERT
        .replace("name: export, ", "name: [export, other, export], ")
        .replace("no-success-for: 26h }", "no-success-for: 26h, if: trigger.workflow == \"other\" }");
    let site = Site::new(&[("export", EXPORT), ("other", EXPORT), ("alert", &both)]);
    let stage = site.open().await;
    let watcher = watcher(&site, &stage);
    watcher.step().await.unwrap();
    assert_eq!(watcher.watches().await.unwrap().len(), 2);
    site.clock.advance(hours(27));
    watcher.step().await.unwrap();
    let told = alerts(&stage).await;
    assert_eq!(told.iter().map(|one| &one["workflow"]).collect::<Vec<_>>(), ["other"]);
    assert!(watcher.watches().await.unwrap().iter().all(|watch| watch.told_at.is_some()));
}

#[tokio::test]
async fn an_edit_changes_when_it_is_due_and_a_removed_watch_is_forgotten() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    let watcher = watcher(&site, &stage);
    watcher.step().await.unwrap();
    site.clock.advance(hours(10));
    site.shelf.edit("alert", Some(&ALERT.replace("26h", "9h")));
    watcher.step().await.unwrap();
    assert_eq!(alerts(&stage).await.len(), 1);
    site.shelf.edit("alert", Some("steps:\n  - uses: demo/things.echo\n"));
    assert_eq!(watcher.step().await.unwrap(), None);
    assert!(watcher.watches().await.unwrap().is_empty());
    // Watched anew, it has its whole time again.
    site.shelf.edit("alert", Some(ALERT));
    site.clock.advance(hours(1));
    assert!(watcher.step().await.unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_where_everybody_sees_it_and_not_tried_for_ever() {
    let odd = ALERT
        .replace("no-success-for: 26h }", "no-success-for: 26h, inputs: { n: \"${{ trigger.nothing }}\" } }");
    let odd = format!("inputs: {{ n: {{ type: string, required: true }} }}{odd}");
    let site = Site::new(&[("export", EXPORT), ("alert", &odd)]);
    let stage = site.open().await;
    let watcher = watcher(&site, &stage);
    watcher.step().await.unwrap();
    site.clock.advance(hours(27));
    watcher.step().await.unwrap();
    watcher.step().await.unwrap();
    let all = stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap();
    let refused: Vec<_> = all.iter().filter(|one| one.verdict == Verdict::Refused).collect();
    assert_eq!(refused.len(), 1, "{all:#?}");
    assert!(refused[0].reason.as_ref().unwrap().contains("nothing"), "{refused:#?}");
}

#[tokio::test]
async fn it_wakes_by_itself_when_something_is_due() {
    let site = Site::new(&[("export", EXPORT), ("alert", ALERT)]);
    let stage = site.open().await;
    let (watcher, stop) = (watcher(&site, &stage), CancellationToken::new());
    let task = tokio::spawn({
        let (watcher, stop) = (watcher.clone(), stop.clone());
        async move { watcher.run(stop).await }
    });
    until("it watches", async || !watcher.watches().await.unwrap().is_empty()).await;
    site.clock.advance(hours(26));
    until("it is told", async || alerts(&stage).await.len() == 1).await;
    stop.cancel();
    task.await.unwrap();
}
