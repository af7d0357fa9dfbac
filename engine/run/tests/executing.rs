//! The life of a run: claims, suspending, watching, reading it back.

use std::sync::Arc;
use std::time::Duration;

use bascule_run::journal::{Entry, Filter, JournalError};
use bascule_run::observe::{Broadcast, Event};
use bascule_run::{Parts, RunError, Runner, Status};
use bascule_workflow::failure::Kind;
use bascule_workflow::plan::Workflow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::worlds::{echo, failing, slow};
use crate::support::write::{Keywords, block, call, fails, shared, template, workflow};
use crate::support::{Bench, World};

#[tokio::test(start_paused = true)]
async fn a_step_is_two_durable_records() {
    let bench = Bench::new(echo());
    let outcome = bench.run(&shared(vec![call("one", "p/f", json!({}))])).await;
    let entries = bench.journal.read(outcome.run).await.unwrap();
    let kinds: Vec<&str> = entries.iter().map(|timed| timed.entry.kind()).collect();
    assert_eq!(kinds, ["created", "attempt-started", "attempt-ended", "place-ended", "run-ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_run_finishes_its_calls_and_is_resumed_by_the_next_process() {
    let bench = Bench::new(slow(Arc::default()));
    let workflow =
        shared(vec![call("all", "p/f", json!("${{ n }}")).for_each("range(6) | list", "n", None, 2)]);
    let run = bench.start(&workflow, json!({})).await;
    let never = CancellationToken::new();
    let (outcome, ()) =
        tokio::join!(bench.runner.execute(run, Arc::clone(&workflow), never.clone()), async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            bench.runner.suspend();
        });
    assert!(matches!(outcome, Err(RunError::Suspended(_))));
    assert_eq!(bench.world.calls().len(), 4);
    let outcome = bench.another_runner().resume(run, workflow, never).await.unwrap();
    assert_eq!(outcome.steps[0].counts.unwrap().succeeded, 6);
    assert_eq!(bench.world.calls().len(), 6, "none was called twice");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_kills_every_process_is_put_into_quarantine() {
    let bench = Bench::new(echo());
    let workflow = shared(vec![call("one", "p/f", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    for _ in 0..3 {
        bench.world.fault.arm(1);
        let process = bench.another_runner();
        tokio::select! {
            biased;
            () = bench.world.fault.crashed() => {}
            _ = process.execute(run, Arc::clone(&workflow), CancellationToken::new()) => panic!("it lives"),
        }
        // Until its lease has ended.
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    bench.world.fault.disarm();
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Interrupted);
    assert_eq!(outcome.failure.unwrap().code.as_deref(), Some("bascule:quarantined"));
    // A person may insist.
    let again = bench
        .runner
        .rerun(run, workflow, bascule_run::Basis::AsBegun, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(again.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_executed_by_one_at_a_time_and_only_while_it_is_open() {
    let bench = Bench::new(slow(Arc::default()));
    let workflow = shared(vec![call("one", "p/f", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    let never = CancellationToken::new();
    let other = bench.another_runner();
    let (first, second, third) = tokio::join!(
        bench.runner.execute(run, Arc::clone(&workflow), never.clone()),
        bench.runner.execute(run, Arc::clone(&workflow), never.clone()),
        other.execute(run, Arc::clone(&workflow), never.clone()),
    );
    assert_eq!(first.unwrap().status, Status::Succeeded);
    assert!(matches!(second, Err(RunError::Active(_))));
    assert!(matches!(third, Err(RunError::Journal(JournalError::Held { .. }))));
    let ended = bench.runner.resume(run, workflow, never).await;
    assert!(matches!(
        ended,
        Err(RunError::Journal(JournalError::HasEnded { status: Status::Succeeded, .. }))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_by_the_text_it_began_with() {
    let bench = Bench::new(echo());
    let workflow = workflow(vec![call("one", "p/f", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    let edited = Arc::new(Workflow { digest: "d2".to_owned(), text: "name: edited".into(), ..workflow });
    let refused = bench.runner.execute(run, edited, CancellationToken::new()).await;
    assert!(matches!(refused, Err(RunError::OtherText { digest, .. }) if digest == "d1"));
    assert_eq!(&*bench.journal.text(run).await.unwrap(), "name: golden");
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_lost_its_claim_stops() {
    let bench = Bench::new(slow(Arc::default()));
    let workflow = shared(vec![call("one", "p/f", json!({})), call("two", "p/f", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    let (outcome, ()) = tokio::join!(bench.runner.execute(run, workflow, CancellationToken::new()), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Long after, as another process sees it.
        let later = bascule_run::clock::later(bench.clock.now(), Duration::from_secs(3600));
        bench.journal.claim(run, "another", later, later).await.unwrap();
    });
    assert!(matches!(outcome, Err(RunError::Journal(JournalError::Fenced(_)))));
    assert_eq!(bench.world.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_hears_of_items_attempts_and_the_end() {
    let base =
        Bench::new(World::answering(
            |_, call| {
                if call.attempt == 1 { fails(Kind::Busy) } else { Ok(Value::Null) }
            },
        ));
    let watch = Broadcast::new(100);
    let mut heard = watch.subscribe();
    let runner = Runner::new(Parts {
        journal: Arc::clone(&base.journal),
        invoke: Arc::clone(&base.world) as _,
        clock: Arc::clone(&base.clock),
        observer: Arc::new(watch),
    });
    let workflow =
        shared(vec![call("all", "p/f", json!({})).for_each("[1]", "n", None, 1).retry(2, &["busy"])]);
    let run = base.start(&workflow, json!({})).await;
    runner.execute(run, workflow, CancellationToken::new()).await.unwrap();
    let mut words = Vec::new();
    while let Ok((of, event)) = heard.try_recv() {
        assert_eq!(of, run);
        words.push(match event {
            Event::RunStarted { attempt, resumed, .. } => format!("run {attempt} {resumed}"),
            Event::StepStarted { place, items } => format!("step {place} {items:?}"),
            Event::ItemStarted { place } => format!("item {place}"),
            Event::AttemptFailed { place, attempt, next_at, .. } => {
                format!("failed {place} {attempt} {}", next_at.is_some())
            }
            Event::Ended { place, status, .. } => format!("ended {place} {status}"),
            Event::RunEnded { status, .. } => format!("end {status}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        words,
        [
            "run 1 false",
            "step all Some(1)",
            "item all[0]",
            "failed all[0] 1 true",
            "ended all[0] succeeded",
            "ended all succeeded",
            "end succeeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn runs_are_listed_newest_first_and_found_by_the_beginning_of_their_id() {
    let bench = Bench::new(failing(&[("bad", Kind::Refused)]));
    let good = bench.run(&shared(vec![call("one", "p/f", json!({}))])).await.run;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let bad = bench.run(&shared(vec![call("bad", "p/f", json!({}))])).await.run;
    let all = bench.journal.runs(&Filter::default()).await.unwrap();
    assert_eq!(all.iter().map(|run| run.id).collect::<Vec<_>>(), [bad, good]);
    assert_eq!(all[0].problem.as_deref(), Some("the device said refused"));
    let failed = Filter { statuses: vec![Status::Failed], limit: Some(5), workflow: Some("golden".into()) };
    assert_eq!(bench.journal.runs(&failed).await.unwrap().len(), 1);
    assert_eq!(bench.runner.record(&bad.to_string()[..13]).await.unwrap().header.id, bad);
    assert!(matches!(bench.runner.record("01").await, Err(JournalError::Ambiguous { .. })));
    assert!(matches!(bench.runner.record("ff").await, Err(JournalError::NoSuchRun(_))));
}

#[tokio::test(start_paused = true)]
async fn the_record_shows_items_inside_steps_with_attempts_and_values() {
    let bench =
        Bench::new(World::answering(
            |_, call| {
                if call.attempt == 1 { fails(Kind::Busy) } else { Ok(json!(7)) }
            },
        ));
    let step = call("inner", "p/f", json!({ "n": "${{ n }}" })).retry(2, &["busy"]);
    let outer = block("site", vec![step]).for_each("[5]", "n", Some("site ${{ n }}"), 1);
    let run = bench
        .run(&Arc::new(Workflow { output: Some(template(json!("x"))), ..workflow(vec![outer]) }))
        .await
        .run;
    let record = bench.record(run).await;
    let item = &record.steps[0].inner[0];
    assert_eq!((item.key.as_deref(), item.item.as_ref()), (Some("site 5"), Some(&json!(5))));
    let inner = &item.inner[0];
    assert_eq!((inner.place.as_str(), inner.status), ("site[site 5]/inner", Some(Status::Succeeded)));
    assert_eq!(inner.attempts.len(), 2);
    assert_eq!(inner.attempts[0].with, Some(json!({ "n": 5 })));
    assert!(inner.attempts[1].started_at >= inner.attempts[0].ended_at.unwrap());
    assert_eq!(record.output, "x");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_of_skipped_items_is_recorded_in_pieces() {
    let bench = Bench::new(echo());
    let step =
        call("all", "p/f", json!({})).for_each("range(2000) | list", "n", None, 4).skip_if("true", "no");
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.steps[0].counts.unwrap().skipped, 2000);
    let entries = bench.journal.read(outcome.run).await.unwrap();
    assert_eq!(entries.iter().filter(|timed| matches!(timed.entry, Entry::PlaceEnded { .. })).count(), 2001);
}
