//! What was admitted is executed, in its turn, and what a crash cut off goes on.

use std::time::Duration;

use bascule_run::journal::{CancelAsked, Journal as _};
use bascule_run::record::RunRecord;
use bascule_run::{Basis, RunId, Status};
use bascule_trigger::dispatch::{Dispatcher, Ended, Rerun};
use bascule_trigger::{Admission, Verdict};
use serde_json::{Value, json};

use crate::support::{Site, Stage, inputs, until};

const PLAIN: &str = "
inputs: { name: { type: string, default: nobody } }
steps:
  - uses: demo/things.wait
    with: { value: \"${{ inputs.name }}\" }
output: { name: \"${{ inputs.name }}\" }
";

fn of_priority(priority: &str) -> String {
    format!("priority: {priority}\n{PLAIN}")
}

fn grouped(busy: &str) -> String {
    format!("concurrency: {{ group: one, when-busy: {busy} }}\n{PLAIN}")
}

async fn start(site: &Site, stage: &Stage, workflow: &str, name: &str) -> RunId {
    stage.intake.admit(site.ask(workflow, json!({ "name": name }))).await.unwrap().run.unwrap()
}

async fn end(dispatcher: &Dispatcher, run: RunId) -> Ended {
    // The clock stands still, so the outcome itself never gives up.
    let outcome = dispatcher.outcome(run, Duration::from_secs(3600));
    tokio::time::timeout(Duration::from_secs(60), outcome).await.expect("it ends").unwrap().unwrap()
}

fn names(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value.as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_was_admitted_is_executed_and_its_outcome_can_be_waited_for() {
    let site = Site::new(&[("plain", PLAIN)]);
    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    let ended = end(&dispatcher, run).await;
    assert_eq!((ended.status, ended.output), (Status::Succeeded, json!({ "name": "Ann" })));
    // Also when it is over.
    let again = dispatcher.outcome(run, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(again.output["name"], "Ann");
    assert!(dispatcher.outcome(RunId::new(jiff::Timestamp::UNIX_EPOCH), Duration::ZERO).await.is_err());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn nobody_is_remembered_who_asked_for_the_outcome_of_what_is_over_or_unknown() {
    let site = Site::new(&[("plain", PLAIN)]);
    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    end(&dispatcher, run).await;
    for _ in 0..3 {
        dispatcher.outcome(run, Duration::ZERO).await.unwrap().unwrap();
        dispatcher.outcome(RunId::new(jiff::Timestamp::UNIX_EPOCH), Duration::ZERO).await.unwrap_err();
    }
    assert!(format!("{dispatcher:?}").contains("awaited: 0"), "{dispatcher:?}");
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn an_outcome_that_takes_too_long_is_not_waited_for() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    site.world.begun("Ann").await;
    assert_eq!(dispatcher.outcome(run, Duration::ZERO).await.unwrap(), None);
    site.world.let_go("Ann");
    assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn higher_priority_first_then_the_one_that_came_first() {
    let workflows = [("plain", PLAIN.to_owned()), ("low", of_priority("low")), ("high", of_priority("high"))];
    let workflows: Vec<(&str, &str)> = workflows.iter().map(|(id, text)| (*id, text.as_str())).collect();
    let site = Site::new(&workflows);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(1).await;
    start(&site, &stage, "plain", "first").await;
    site.world.begun("first").await;
    let mut last = None;
    for (workflow, name) in
        [("low", "l1"), ("plain", "p1"), ("high", "h1"), ("plain", "p2"), ("high", "h2"), ("low", "l2")]
    {
        last = Some(start(&site, &stage, workflow, name).await);
    }
    until("all wait", async || dispatcher.snapshot().queued == 6).await;
    assert_eq!(dispatcher.snapshot().by_workflow["high"], (2, 0));
    site.world.open_all();
    end(&dispatcher, last.unwrap()).await;
    assert_eq!(names(&site.world.began()), ["first", "h1", "h2", "p1", "p2", "l1", "l2"]);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn no_more_than_the_cap_are_under_way() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(3).await;
    let mut runs = Vec::new();
    for number in 0..10 {
        runs.push(start(&site, &stage, "plain", &format!("{number}")).await);
    }
    for (done, run) in runs.iter().enumerate() {
        until("the cap is used", async || site.world.began().len() == (done + 3).min(10)).await;
        let snapshot = dispatcher.snapshot();
        assert!(snapshot.running <= 3, "{snapshot:?}");
        site.world.let_go(&format!("{done}"));
        end(&dispatcher, *run).await;
    }
    assert_eq!(dispatcher.snapshot(), bascule_trigger::dispatch::Snapshot::default());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn one_of_a_group_at_a_time_in_order_and_others_go_on() {
    let site = Site::new(&[("grouped", &grouped("queue")), ("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let mut runs = Vec::new();
    for name in ["a", "b", "c"] {
        runs.push(start(&site, &stage, "grouped", name).await);
    }
    start(&site, &stage, "plain", "free").await;
    site.world.begun("a").await;
    site.world.begun("free").await;
    assert_eq!(site.world.began().len(), 2);
    for (name, run) in ["a", "b", "c"].into_iter().zip(&runs) {
        site.world.begun(name).await;
        site.world.let_go(name);
        end(&dispatcher, *run).await;
    }
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn with_replace_the_one_under_way_is_cancelled_and_the_last_one_follows() {
    let site = Site::new(&[("grouped", &grouped("replace"))]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let first = start(&site, &stage, "grouped", "a").await;
    site.world.begun("a").await;
    let last = start(&site, &stage, "grouped", "b").await;
    assert_eq!(end(&dispatcher, first).await.status, Status::Cancelled);
    site.world.begun("b").await;
    site.world.let_go("b");
    assert_eq!(end(&dispatcher, last).await.status, Status::Succeeded);
    let record = RunRecord::read(&*stage.journal, &first.to_string()).await.unwrap();
    assert!(record.cancel_asked_at.is_some());
    assert!(record.lines.iter().any(|line| line.message.contains(&last.to_string())), "{:?}", record.lines);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_paused_workflow_waits_also_after_a_restart() {
    let site = Site::new(&[("plain", PLAIN), ("other", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    dispatcher.pause("plain", "the terminals are being replaced").await.unwrap();
    let waits = start(&site, &stage, "plain", "waits").await;
    start(&site, &stage, "other", "goes on").await;
    site.world.begun("goes on").await;
    assert_eq!(stage.status(waits).await, Status::Queued);
    stage.crash(Some(dispatcher)).await;

    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let paused = dispatcher.paused();
    assert_eq!(
        (paused[0].workflow.as_str(), paused[0].reason.as_str()),
        ("plain", "the terminals are being replaced")
    );
    until("the other one goes on", async || site.world.began().len() == 2).await;
    assert_eq!((stage.status(waits).await, dispatcher.snapshot().queued), (Status::Queued, 1));
    dispatcher.unpause("plain").await.unwrap();
    site.world.open_all();
    assert_eq!(end(&dispatcher, waits).await.status, Status::Succeeded);
    assert!(dispatcher.paused().is_empty());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_run_that_waits_is_cancelled_at_once_and_one_under_way_soon() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(1).await;
    let running = start(&site, &stage, "plain", "running").await;
    site.world.begun("running").await;
    let waiting = start(&site, &stage, "plain", "waiting").await;
    assert_eq!(dispatcher.cancel(waiting, "Ann").await.unwrap(), CancelAsked::Ended);
    let header = stage.header(waiting).await;
    assert_eq!(
        (header.status, header.problem.as_deref()),
        (Status::Cancelled, Some("cancelled by Ann before it began"))
    );
    assert_eq!(end(&dispatcher, waiting).await.status, Status::Cancelled);
    assert_eq!(dispatcher.cancel(running, "Ann").await.unwrap(), CancelAsked::Noted);
    assert_eq!(end(&dispatcher, running).await.status, Status::Cancelled);
    assert_eq!(dispatcher.cancel(running, "Ann").await.unwrap(), CancelAsked::TooLate);
    assert!(!names(&site.world.began()).contains(&"waiting"));
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_wish_to_cancel_outlives_the_process() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    site.world.begun("Ann").await;
    let journal = stage.journal.clone();
    stage.crash(Some(dispatcher)).await;
    drop(journal);

    // Asked while nothing executes it.
    let stage = site.open().await;
    assert_eq!(stage.status(run).await, Status::Running);
    let asked = {
        let at = "2026-11-21T03:00:00Z".parse().unwrap();
        stage
            .database
            .write(move |tx| {
                Box::pin(
                    async move { bascule_run::journal::SqliteJournal::ask_cancel(tx, run, at, "Ann").await },
                )
            })
            .await
            .unwrap()
    };
    assert_eq!(asked, CancelAsked::Noted);
    stage.crash(None).await;

    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    assert_eq!(end(&dispatcher, run).await.status, Status::Cancelled);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn what_a_crash_cut_off_is_taken_up_before_what_waits() {
    let site = Site::new(&[("grouped", &grouped("queue")), ("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(2).await;
    let cut = start(&site, &stage, "grouped", "cut").await;
    let free = start(&site, &stage, "plain", "free").await;
    site.world.begun("cut").await;
    site.world.begun("free").await;
    let behind = start(&site, &stage, "grouped", "behind").await;
    stage.crash(Some(dispatcher)).await;

    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(2).await;
    until("both go on", async || site.world.began().len() == 4).await;
    let mut again = names(&site.world.began())[2..].iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    again.sort();
    assert_eq!(again, ["cut", "free"]);
    site.world.open_all();
    for run in [cut, free, behind] {
        assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    }
    assert_eq!(names(&site.world.began())[4..], ["behind"]);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn what_was_under_way_in_two_deaths_of_the_process_goes_first_and_alone() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let (once, ann, bob) = (
        start(&site, &stage, "plain", "once").await,
        start(&site, &stage, "plain", "Ann").await,
        start(&site, &stage, "plain", "Bob").await,
    );
    for (run, process) in [(once, "first"), (ann, "first"), (ann, "second"), (bob, "first"), (bob, "second")]
    {
        let now = bascule_run::clock::Clock::now(&*site.clock);
        stage.journal.claim(run, process, now, now).await.unwrap();
    }
    let dispatcher = stage.dispatcher().await;
    site.world.begun("Ann").await;
    assert_eq!((dispatcher.snapshot().running, names(&site.world.began())), (1, vec!["Ann"]));
    site.world.let_go("Ann");
    site.world.begun("Bob").await;
    assert_eq!((dispatcher.snapshot().running, names(&site.world.began())), (1, vec!["Ann", "Bob"]));
    // A long one does not keep the others waiting for ever.
    site.clock.advance(Duration::from_secs(5));
    site.world.begun("once").await;
    site.world.open_all();
    for run in [once, ann, bob] {
        assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    }
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_run_goes_by_the_text_that_it_was_admitted_with() {
    let site = Site::new(&[("plain", PLAIN), ("gone", PLAIN)]);
    let stage = site.open().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    let gone = start(&site, &stage, "gone", "Bob").await;
    site.shelf.edit("plain", Some(&PLAIN.replace("${{ inputs.name }}", "edited")));
    site.shelf.edit("gone", None);
    site.world.open_all();
    let dispatcher = stage.dispatcher().await;
    assert_eq!(end(&dispatcher, run).await.output["name"], "Ann");
    assert_eq!(end(&dispatcher, gone).await.output["name"], "Bob");
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_run_whose_plugin_is_gone_is_held_with_the_reason_until_it_is_back() {
    let other = PLAIN.replace("demo/things.wait", "other/things.echo");
    let site = Site::new(&[("other", &other)]);
    let stage = site.open().await;
    site.shelf.remove_plugin("other");
    let admission = {
        site.shelf.bring_back_plugins();
        let admission = site.ask("other", json!({ "name": "Ann" }));
        site.shelf.remove_plugin("other");
        admission
    };
    let run = stage.intake.admit(admission.clone()).await.unwrap().run.unwrap();
    let dropped = stage.intake.admit(admission).await.unwrap().run.unwrap();
    let dispatcher = stage.dispatcher().await;
    until("both are held", async || dispatcher.held().len() == 2).await;
    assert!(dispatcher.held()[0].reason.contains("unknown plugin `other`"), "{:?}", dispatcher.held());
    assert_eq!((stage.status(run).await, dispatcher.snapshot().held), (Status::Queued, 2));
    assert_eq!(dispatcher.cancel(dropped, "Ann").await.unwrap(), CancelAsked::Ended);
    assert_eq!(dispatcher.held().len(), 1);
    stage.crash(Some(dispatcher)).await;

    // Still so after a restart, and then the plugin is put back.
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    until("it is held", async || dispatcher.held().len() == 1 && dispatcher.snapshot().running == 0).await;
    site.shelf.bring_back_plugins();
    assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    assert!(dispatcher.held().is_empty());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_held_run_that_had_begun_ends_interrupted_when_it_is_cancelled() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "plain", "Ann").await;
    site.world.begun("Ann").await;
    stage.crash(Some(dispatcher)).await;
    site.shelf.remove_plugin("demo");

    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    until("it is held", async || dispatcher.held().len() == 1).await;
    assert_eq!(dispatcher.cancel(run, "Ann").await.unwrap(), CancelAsked::Noted);
    let header = stage.header(run).await;
    assert_eq!(header.status, Status::Interrupted);
    assert!(header.problem.unwrap().contains("nothing was undone"));
    assert!(dispatcher.held().is_empty());
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn after_a_drain_nothing_begins_and_the_next_process_goes_on() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(1).await;
    let running = start(&site, &stage, "plain", "running").await;
    site.world.begun("running").await;
    let waiting = start(&site, &stage, "plain", "waiting").await;
    let drain = dispatcher.drain(Duration::from_secs(3600));
    let (drained, ()) = tokio::join!(drain, async { site.world.let_go("running") });
    assert_eq!(drained.cut_off, 0);
    assert_eq!(site.world.began().len(), 1);
    assert_eq!(stage.status(waiting).await, Status::Queued);
    stage.crash(None).await;

    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher_with(1).await;
    for run in [running, waiting] {
        assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    }
    // The call of the first one was answered before the drain ended, so it is not made again.
    assert_eq!(names(&site.world.began()), ["running", "waiting"]);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_run_is_done_again_from_where_it_failed_or_from_the_start() {
    let text = "
inputs: { name: { type: string, default: nobody } }
steps:
  - { id: one, uses: demo/things.echo, with: { value: \"one ${{ inputs.name }}\" } }
  - { id: two, uses: demo/things.fail, with: { value: \"two ${{ inputs.name }}\" } }
";
    let site = Site::new(&[("failing", text)]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let run = start(&site, &stage, "failing", "Ann").await;
    assert_eq!(end(&dispatcher, run).await.status, Status::Failed);

    let failed = Rerun::Failed { basis: Basis::AsBegun, inputs: None };
    assert_eq!(dispatcher.rerun(run, failed).await.unwrap(), run);
    until("the second attempt has ended", async || {
        let header = stage.header(run).await;
        header.attempt == 2 && !header.status.is_open()
    })
    .await;
    assert_eq!(names(&site.world.began()), ["one Ann", "two Ann", "two Ann"]);

    site.shelf.edit("failing", Some(&text.replace("things.fail", "things.echo")));
    let latest = Rerun::FromStart { basis: Basis::Latest, inputs: Some(inputs(json!({ "name": "Bob" }))) };
    let another = dispatcher.rerun(run, latest).await.unwrap();
    assert_ne!(another, run);
    assert_eq!(end(&dispatcher, another).await.status, Status::Succeeded);
    assert_eq!(names(&site.world.began())[3..], ["one Bob", "two Bob"]);
    let record = RunRecord::read(&*stage.journal, &another.to_string()).await.unwrap();
    assert_eq!(
        (record.trigger["kind"].as_str(), record.trigger["rerun_of"].as_str()),
        (Some("test"), Some(run.to_string().as_str()))
    );

    let unknown = Rerun::FromStart { basis: Basis::AsBegun, inputs: Some(inputs(json!({ "nmae": 1 }))) };
    assert!(dispatcher.rerun(run, unknown).await.unwrap_err().to_string().contains("unknown input `nmae`"));
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn a_run_that_was_recorded_elsewhere_is_found_when_the_dispatcher_is_woken() {
    let site = Site::new(&[("plain", PLAIN)]);
    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let start =
        bascule_run::Start { inputs: inputs(json!({ "name": "Ann" })), ..bascule_run::Start::default() };
    let run = stage.runner.start(&site.workflow("plain"), start).await.unwrap();
    dispatcher.wake();
    assert_eq!(end(&dispatcher, run).await.status, Status::Succeeded);
    stage.crash(Some(dispatcher)).await;
}

fn debounced(collect: &str) -> String {
    format!(
        "
inputs: {{ name: {{ type: string, default: nobody }} }}
debounce: {{ key: \"${{{{ inputs.name }}}}\", wait: 5s, at-most: 12s, collect: {collect} }}
steps:
  - uses: demo/things.echo
    with: {{ value: \"${{{{ trigger }}}}\" }}
"
    )
}

fn numbered(site: &Site, name: &str, number: u32) -> Admission {
    Admission {
        trigger: json!({ "kind": "test", "number": number }),
        ..site.ask("debounced", json!({ "name": name }))
    }
}

#[tokio::test]
async fn what_follows_each_other_closely_makes_one_run_when_it_is_quiet() {
    let site = Site::new(&[("debounced", &debounced("all"))]);
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    for number in 0..3 {
        let admitted = stage.intake.admit(numbered(&site, "Ann", number)).await.unwrap();
        assert_eq!((admitted.verdict, admitted.run), (Verdict::Held, None));
        site.clock.advance(Duration::from_secs(3));
    }
    stage.intake.admit(numbered(&site, "Ann", 3)).await.unwrap();
    stage.intake.admit(numbered(&site, "Bob", 7)).await.unwrap();
    assert_eq!(stage.intake.buckets().await.unwrap().len(), 2);
    assert!(site.world.began().is_empty());
    // 12 s after the first one, though it is not quiet.
    site.clock.advance(Duration::from_secs(3));
    until("the run of Ann", async || site.world.began().len() == 1).await;
    let trigger = site.world.began()[0].clone();
    assert_eq!(trigger["number"], 3);
    let numbers: Vec<u64> =
        trigger["collected"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(stage.intake.buckets().await.unwrap().len(), 1);
    site.clock.advance(Duration::from_secs(2));
    until("the run of Bob", async || site.world.began().len() == 2).await;
    let deliveries = stage.intake.deliveries(&Default::default()).await.unwrap();
    assert!(
        deliveries.iter().all(|one| one.verdict == Verdict::Accepted && one.run.is_some()),
        "{deliveries:?}"
    );
    // By hand it is not put off.
    let by_hand = Admission::by_hand(site.workflow("debounced"), "Ann", inputs(json!({})));
    assert_eq!(stage.intake.admit(by_hand).await.unwrap().verdict, Verdict::Accepted);
    stage.crash(Some(dispatcher)).await;
}

#[tokio::test]
async fn what_waits_for_more_survives_the_process() {
    let site = Site::new(&[("debounced", &debounced("last"))]);
    let stage = site.open().await;
    for number in 0..3 {
        stage.intake.admit(numbered(&site, "Ann", number)).await.unwrap();
    }
    stage.crash(None).await;
    site.clock.advance(Duration::from_secs(3600));

    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    until("its run", async || site.world.began().len() == 1).await;
    assert_eq!(site.world.began()[0], json!({ "kind": "test", "number": 2 }));
    assert!(stage.intake.buckets().await.unwrap().is_empty());
    assert_eq!(stage.runs().await.len(), 1);
    stage.crash(Some(dispatcher)).await;
}
