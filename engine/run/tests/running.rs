//! What each keyword does while nothing goes wrong with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bascule_run::journal::{Entry, Filter, JournalError};
use bascule_run::observe::{Broadcast, Event};
use bascule_run::record::UndoRecord;
use bascule_run::{Parts, Place, RunError, Runner, Status};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::Workflow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::write::{
    Keywords, all_or_nothing, block, call, fails, shared, template, uses, with_output, workflow,
};
use crate::support::{Bench, World};

/// Answers everything with its own `with`.
fn echo() -> World {
    World::answering(|_, call| Ok(call.with.clone()))
}

/// Fails for the named items or steps, echoes else.
fn failing(bad: &'static [(&'static str, Kind)]) -> World {
    World::answering(move |_, call| match bad.iter().find(|(step, _)| *step == call.step) {
        Some((_, kind)) => fails(*kind),
        None => Ok(call.with.clone()),
    })
}

/// Takes a second for everything, and counts how many are at work at once.
fn slow(most: Arc<AtomicUsize>) -> World {
    let now = Arc::new(AtomicUsize::new(0));
    World::new(Box::new(move |_, call, invocation| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let outcome = tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => Ok(call.with),
                () = invocation.cancel.cancelled() => fails(Kind::Cancelled),
            };
            now.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    }))
}

#[tokio::test(start_paused = true)]
async fn steps_see_the_outputs_of_earlier_ones_and_of_the_run() {
    let steps = vec![
        call("one", "p/f", json!({ "n": "${{ inputs.n + 1 }}" })),
        call("two", "p/f", json!({ "n": "${{ steps.one.output.n * 10 }}", "by": "${{ trigger.kind }}" })),
    ];
    let workflow = with_output(steps, json!({ "n": "${{ steps.two.output.n }}", "workflow": "${{ run.workflow }}" }));
    let bench = Bench::new(echo());
    let run = bench.start(&workflow, json!({ "n": 4 })).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(outcome.output, json!({ "n": 50, "workflow": "golden" }));
    assert_eq!(bench.world.calls()[1].with["by"], "manual");
}

#[tokio::test(start_paused = true)]
async fn a_step_is_two_durable_records() {
    let bench = Bench::new(echo());
    let outcome = bench.run(&shared(vec![call("one", "p/f", json!({}))])).await;
    let entries = bench.journal.read(outcome.run).await.unwrap();
    let kinds: Vec<&str> = entries.iter().map(|timed| timed.entry.kind()).collect();
    assert_eq!(kinds, ["created", "attempt-started", "attempt-ended", "place-ended", "run-ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_is_false_skips_the_step() {
    let steps = vec![
        call("one", "p/f", json!({})).if_("inputs.on"),
        call("two", "p/f", json!({})).if_("steps.one.status == 'skipped'"),
    ];
    let bench = Bench::new(echo());
    let workflow = shared(steps);
    let run = bench.start(&workflow, json!({ "on": false })).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/f"), ["two"]);
    let reason = bench.record(run).await.at(&Place::step("one")).unwrap().reason.clone();
    assert_eq!(reason.as_deref(), Some("`if: inputs.on` is false"));
}

#[tokio::test(start_paused = true)]
async fn items_run_side_by_side_up_to_the_limit() {
    let most = Arc::new(AtomicUsize::new(0));
    let bench = Bench::new(slow(Arc::clone(&most)));
    let steps = vec![call("all", "p/f", json!("${{ item }}")).for_each("range(10) | list", "item", None, 3)];
    let before = tokio::time::Instant::now();
    let outcome = bench.run(&shared(steps)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(before.elapsed().as_secs(), 4);
    assert_eq!(outcome.steps[0].counts.unwrap().succeeded, 10);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_begins_no_further_items() {
    let bench = Bench::new(failing(&[("all[2]", Kind::Refused)]));
    let steps = vec![
        call("all", "p/f", json!("${{ item }}")).for_each("range(6) | list", "item", None, 1),
        call("after", "p/f", json!({})),
    ];
    let outcome = bench.run(&shared(steps)).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.failure.unwrap().message, "item `2`: the device said refused");
    assert_eq!(bench.world.steps_of("p/f"), ["all[0]", "all[1]", "all[2]"]);
    let counts = outcome.steps[0].counts.unwrap();
    assert_eq!((counts.succeeded, counts.failed, counts.cancelled), (2, 1, 3));
    assert_eq!(outcome.steps[0].status, Status::Failed);
    assert_eq!(outcome.steps[1].status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn with_keep_going_all_items_and_the_next_steps_run_and_the_run_still_fails() {
    let bench = Bench::new(failing(&[("all[b]", Kind::Offline)]));
    let steps = vec![
        call("all", "p/f", json!({ "n": "${{ site_index }}" }))
            .for_each("['a', 'b', 'c']", "site", Some("${{ site }}"), 2)
            .keep_going(),
        call("after", "p/f", json!({})),
    ];
    let workflow = with_output(steps, json!("${{ steps.all }}"));
    let outcome = bench.run(&workflow).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.steps[1].status, Status::Succeeded);
    assert_eq!(outcome.output["counts"]["total"], 3);
    assert_eq!(outcome.output["output"], json!([{ "n": 0 }, null, { "n": 2 }]));
    let bad = &outcome.output["items"][1];
    assert_eq!((&bad["key"], &bad["status"], &bad["error"]["kind"]), (&json!("b"), &json!("failed"), &json!("offline")));
}

#[tokio::test(start_paused = true)]
async fn two_items_with_one_key_are_an_error_that_names_both() {
    let bench = Bench::new(echo());
    let step = call("all", "p/f", json!({})).for_each("['x', 'y', 'x']", "item", Some("${{ item }}"), 1);
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.failure.unwrap().message, "`all`, key: items 0 and 2 have the same key `x`");
    assert!(bench.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_item_can_be_skipped_with_a_reason() {
    let bench = Bench::new(echo());
    let step = call("all", "p/f", json!({}))
        .for_each("[1, 2]", "n", None, 1)
        .skip_if("n == 2", "number ${{ n }} is not wanted");
    let outcome = bench.run(&with_output(vec![step], json!("${{ steps.all.items[1].reason }}"))).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(outcome.output, "number 2 is not wanted");
    assert_eq!(bench.world.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_tried_again_with_the_same_key_and_waits_longer_each_time() {
    let world = World::answering(|_, call| if call.attempt < 4 { fails(Kind::Busy) } else { Ok(json!(call.attempt)) });
    let bench = Bench::new(world);
    let outcome = bench.run(&shared(vec![call("one", "p/f", json!({})).retry(5, &["busy"])])).await;
    assert_eq!(outcome.status, Status::Succeeded);
    let calls = bench.world.calls();
    assert_eq!(calls.iter().map(|call| call.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(calls.iter().all(|call| call.key == calls[0].key && call.key.len() == 32));
    assert!(calls[3].at <= Duration::from_secs(2 + 4 + 8));
}

#[tokio::test(start_paused = true)]
async fn what_the_device_asks_for_overrules_the_backoff() {
    let world = World::answering(|_, call| match call.attempt {
        1 => Err(Failure::new(Kind::Busy, "busy").with_retry_after(Duration::from_secs(100))),
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    bench.run(&shared(vec![call("one", "p/f", json!({})).retry(2, &["busy"])])).await;
    let calls = bench.world.calls();
    assert_eq!((calls[1].at - calls[0].at).as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_never_repeat_is_retried_only_if_it_did_nothing() {
    for (effect, calls) in [(Effect::None, 3), (Effect::Unknown, 1), (Effect::Applied, 1)] {
        let world = World::answering(move |_, _| Err(Failure::new(Kind::Timeout, "late").with_effect(effect)));
        let bench = Bench::new(world);
        let step = call("door", "p/open", json!({})).never_repeat().retry(3, &["timeout"]);
        let outcome = bench.run(&shared(vec![step])).await;
        assert_eq!(outcome.status, Status::Failed);
        assert_eq!(bench.world.calls().len(), calls, "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_look_can_tell_that_a_door_did_open() {
    let world = World::answering(|_, call| match call.function.as_str() {
        "p/open" => Err(Failure::new(Kind::Timeout, "late").with_effect(Effect::Unknown)),
        _ => Ok(json!({ "open": true })),
    });
    let bench = Bench::new(world);
    let step = call("door", "p/open", json!({})).never_repeat().verify(uses("p/state", json!({})), "result.open", 5);
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/open").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_catch_that_matches_makes_the_step_recovered() {
    let world = World::answering(|_, call| match call.function.as_str() {
        "p/modify" => Err(Failure::new(Kind::NotFound, "no face").with_code("isapi:noFace")),
        _ => Ok(call.with.clone()),
    });
    let bench = Bench::new(world);
    let why = json!({ "why": "${{ error.kind }} ${{ error.code }}" });
    let step = call("face", "p/modify", json!({}))
        .catch(&["conflict"], None, Some(json!("not this")))
        .catch(&["isapi:noFace"], Some(uses("p/create", why)), None)
        .catch(&["any"], None, Some(json!("nor this")));
    let outcome = bench.run(&with_output(vec![step], json!("${{ steps.face }}"))).await;
    assert_eq!(outcome.status, Status::Recovered);
    assert_eq!(outcome.output["status"], "recovered");
    assert_eq!(outcome.output["output"], json!({ "why": "not-found isapi:noFace" }));
}

#[tokio::test(start_paused = true)]
async fn a_catch_can_give_a_value_and_can_fail_itself() {
    let bench = Bench::new(failing(&[("one", Kind::NotFound), ("two", Kind::NotFound)]));
    let steps = vec![
        call("one", "p/f", json!({})).catch(&["any"], None, Some(json!({ "none": true }))),
        call("two", "p/f", json!({})).catch(&["not-found"], Some(uses("p/g", json!({}))), None),
    ];
    let outcome = bench.run(&shared(steps)).await;
    assert_eq!((outcome.steps[0].status, outcome.steps[1].status), (Status::Recovered, Status::Failed));
}

#[tokio::test(start_paused = true)]
async fn success_with_nothing_stored_is_a_failed_verification() {
    let world = World::answering(|_, call| Ok(json!({ "found": call.function != "p/find" })));
    let bench = Bench::new(world);
    let step = call("face", "p/modify", json!({})).verify(uses("p/find", json!({})), "result.found and output.found", 3);
    let outcome = bench.run(&shared(vec![step])).await;
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.kind, failure.effect), (Kind::VerificationFailed, Effect::Applied));
    assert_eq!(failure.message, "it was accepted, but `p/find` did not confirm it within 3s");
    assert_eq!(bench.world.steps_of("p/find").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_catch_is_verified_like_the_call_itself() {
    let world = World::answering(|_, call| match call.function.as_str() {
        "p/modify" => fails(Kind::NotFound),
        "p/find" => Ok(json!(false)),
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let step = call("face", "p/modify", json!({}))
        .catch(&["not-found"], Some(uses("p/create", json!({}))), None)
        .verify(uses("p/find", json!({})), "result", 2);
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.failure.unwrap().kind, Kind::VerificationFailed);
}

#[tokio::test(start_paused = true)]
async fn a_poll_calls_until_the_result_is_right_or_the_time_is_over() {
    for (ready_after, status, calls) in [(12, Status::Succeeded, 4), (1000, Status::Failed, 7)] {
        let world =
            World::answering(move |world, _| Ok(json!({ "ready": world.now() >= Duration::from_secs(ready_after) })));
        let bench = Bench::new(world);
        let step = call("job", "p/state", json!({})).poll("result.ready", 5, 30).retry(3, &["any"]);
        let outcome = bench.run(&shared(vec![step])).await;
        assert_eq!(outcome.status, status);
        let ledger = bench.world.calls();
        assert_eq!(ledger.len(), calls);
        assert_ne!(ledger[0].key, ledger[1].key, "each look is a call of its own");
        if let Some(failure) = outcome.failure {
            assert_eq!(failure.message, "`result.ready` did not become true within 30s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_once_key_that_is_done_is_skipped_in_the_next_run() {
    let bench = Bench::new(failing(&[("flaky", Kind::Offline)]));
    let steps = vec![
        call("clip", "p/export", json!({}))
            .for_each("['a', 'b']", "clip", None, 2)
            .once("clip-${{ clip }}"),
        call("flaky", "p/f", json!({})).once("never done"),
    ];
    let workflow = shared(steps);
    let first = bench.run(&workflow).await;
    let second = bench.run(&workflow).await;
    assert_eq!(second.steps[0].counts.unwrap().skipped, 2);
    assert_eq!(bench.world.steps_of("p/export").len(), 2);
    assert_eq!(bench.world.steps_of("p/f").len(), 2, "what failed is not done");
    let record = bench.record(second.run).await;
    let reason = record.at(&Place::step("clip").item("0")).unwrap().reason.clone().unwrap();
    assert!(reason.starts_with(&format!("`once: clip-a` was done by run {}", first.run)), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn one_once_key_in_parallel_items_is_done_once() {
    let bench = Bench::new(slow(Arc::default()));
    let step = call("clip", "p/export", json!({})).for_each("[1, 2, 3]", "n", None, 3).once("the same");
    let outcome = bench.run(&shared(vec![step])).await;
    let counts = outcome.steps[0].counts.unwrap();
    assert_eq!((counts.succeeded, counts.skipped, bench.world.calls().len()), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_by_itself_is_given_up() {
    let world = World::new(Box::new(|_, _, _| Box::pin(std::future::pending())));
    let bench = Bench::new(world);
    let before = tokio::time::Instant::now();
    let outcome = bench.run(&shared(vec![call("one", "p/f", json!({})).timeout(30)])).await;
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.kind, failure.effect), (Kind::Timeout, Effect::Unknown));
    assert_eq!(before.elapsed().as_secs(), 35);
}

#[tokio::test(start_paused = true)]
async fn finally_runs_after_a_failure_and_sees_how_the_steps_ended() {
    let bench = Bench::new(failing(&[("one", Kind::Refused), ("finally:first", Kind::Offline)]));
    let finally = vec![
        call("first", "p/f", json!({})),
        call("tell", "p/f", json!({ "one": "${{ steps.one.error.kind }}", "two": "${{ steps.two.status }}" })),
    ];
    let steps = vec![call("one", "p/f", json!({})), call("two", "p/f", json!({}))];
    let outcome = bench.run(&Arc::new(Workflow { finally, ..workflow(steps) })).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.failure.unwrap().kind, Kind::Refused);
    let last = bench.world.calls().pop().unwrap();
    assert_eq!((last.step.as_str(), last.with), ("finally:tell", json!({ "one": "refused", "two": "cancelled" })));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_begins_nothing_more_but_undoes_and_runs_finally() {
    let bench = Bench::new(slow(Arc::default()));
    let steps = vec![
        all_or_nothing(
            "pair",
            vec![
                call("left", "p/add", json!("left")).undo(uses("p/remove", json!("${{ output }}"))),
                call("right", "p/add", json!("right")).undo(uses("p/remove", json!("${{ output }}"))),
                call("third", "p/add", json!("third")),
            ],
        ),
        call("after", "p/f", json!({})),
    ];
    let finally = vec![call("tidy", "p/tidy", json!({}))];
    let workflow = Arc::new(Workflow { finally, ..workflow(steps) });
    let run = bench.start(&workflow, json!({})).await;
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    let (outcome, ()) = tokio::join!(bench.runner.execute(run, workflow, cancel), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        later.cancel();
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(outcome.steps[0].status, Status::RolledBack);
    let ledger: Vec<_> = bench.world.calls().into_iter().map(|call| (call.function, call.with)).collect();
    assert_eq!(ledger, [
        ("p/add".to_owned(), json!("left")),
        ("p/add".to_owned(), json!("right")),
        // `right` was cancelled without effect, so there is nothing of it to undo.
        ("p/remove".to_owned(), json!("left")),
        ("p/tidy".to_owned(), json!({})),
    ]);
    assert!(bench.record(run).await.cancel_asked_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_retry_ends_when_the_run_is_cancelled() {
    let bench = Bench::new(failing(&[("one", Kind::Offline)]));
    let workflow = shared(vec![call("one", "p/f", json!({})).retry(50, &["offline"])]);
    let run = bench.start(&workflow, json!({})).await;
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    let (outcome, ()) = tokio::join!(bench.runner.execute(run, workflow, cancel), async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        later.cancel();
    });
    assert_eq!(outcome.unwrap().status, Status::Cancelled);
    let message = bench.record(run).await.failure.unwrap().message;
    assert_eq!(message, "cancelled while waiting for another attempt; the last one: the device said offline");
}

#[tokio::test(start_paused = true)]
async fn undo_runs_newest_first_with_the_output_or_null() {
    let world = World::answering(|_, call| match (call.function.as_str(), call.with.as_str()) {
        ("p/add", Some("c")) => Err(Failure::new(Kind::Timeout, "late").with_effect(Effect::Unknown)),
        ("p/add", _) => Ok(json!({ "id": call.with })),
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let undo = || uses("p/remove", json!({ "made": "${{ output }}" }));
    let steps = vec![
        call("a", "p/add", json!("a")).undo(undo()),
        block("inner", vec![call("b", "p/add", json!("b")).undo(undo())]),
        call("c", "p/add", json!("c")).undo(undo()),
        call("d", "p/add", json!("d")).undo(undo()),
    ];
    let outcome = bench.run(&shared(vec![all_or_nothing("all", steps)])).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(outcome.failure.unwrap().message, "late");
    let undone: Vec<_> = bench.world.calls().into_iter().filter(|call| call.function == "p/remove").collect();
    let undone: Vec<_> = undone.into_iter().map(|call| (call.step, call.with["made"].clone())).collect();
    assert_eq!(undone, [
        ("all/c".to_owned(), Value::Null),
        ("all/inner/b".to_owned(), json!({ "id": "b" })),
        ("all/a".to_owned(), json!({ "id": "a" })),
    ]);
    let record = bench.record(outcome.run).await;
    assert_eq!(record.at(&Place::from_text("all/a")).unwrap().status, Some(Status::RolledBack));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_undone_is_listed_after_five_attempts() {
    let world = World::answering(|_, call| match call.function.as_str() {
        "p/remove" if call.step == "all/a" => fails(Kind::Offline),
        "p/fail" => fails(Kind::Refused),
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let undo = || uses("p/remove", json!({}));
    let steps = vec![
        call("a", "p/add", json!({})).undo(undo()),
        call("b", "p/add", json!({})).undo(undo()),
        call("c", "p/fail", json!({})),
    ];
    let outcome = bench.run(&shared(vec![all_or_nothing("all", steps), call("after", "p/f", json!({}))])).await;
    assert_eq!(outcome.status, Status::RollbackIncomplete);
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.message, "the device said refused; these could not be undone: `all/a`");
    assert_eq!(failure.details.unwrap()["not_undone"][0]["error"]["kind"], "offline");
    assert_eq!(bench.world.steps_of("p/remove").iter().filter(|step| *step == "all/a").count(), 5);
    let record = bench.record(outcome.run).await;
    assert_eq!(record.at(&Place::from_text("all/b")).unwrap().undo, Some(UndoRecord::Undone));
    assert!(matches!(record.at(&Place::from_text("all/a")).unwrap().undo, Some(UndoRecord::Failed(_))));
}

#[tokio::test(start_paused = true)]
async fn an_inner_block_that_succeeded_is_undone_with_the_outer_one() {
    let bench = Bench::new(failing(&[("outer/last", Kind::Refused)]));
    let inner = all_or_nothing("inner", vec![call("x", "p/add", json!({})).undo(uses("p/remove", json!({})))]);
    let outer = all_or_nothing("outer", vec![inner, call("last", "p/f", json!({}))]);
    let outcome = bench.run(&shared(vec![outer])).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(bench.world.steps_of("p/remove"), ["outer/inner/x"]);
}

#[tokio::test(start_paused = true)]
async fn each_item_of_an_all_or_nothing_block_stands_for_itself() {
    let bench = Bench::new(failing(&[("site[b]/link", Kind::Refused)]));
    let site = all_or_nothing("site", vec![
        call("person", "p/add", json!("${{ site }}")).undo(uses("p/remove", json!("${{ site }}"))),
        call("link", "p/link", json!("${{ steps.person.output }}")),
    ])
    .for_each("['a', 'b', 'c']", "site", Some("${{ site }}"), 3)
    .keep_going();
    let outcome = bench.run(&with_output(vec![site], json!("${{ steps.site.items }}"))).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let statuses: Vec<_> = outcome.output.as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["succeeded", "rolled-back", "succeeded"]);
    assert_eq!(outcome.output[0]["output"], json!({ "person": "a", "link": "a" }));
    assert_eq!(bench.world.steps_of("p/remove"), ["site[b]/person"]);
}

#[tokio::test(start_paused = true)]
async fn an_expression_that_fails_names_its_step_and_itself() {
    let bench = Bench::new(echo());
    let steps = vec![call("one", "p/f", json!({ "face": { "no": "${{ inputs.nunber }}" } }))];
    let workflow = shared(steps);
    let run = bench.start(&workflow, json!({ "number": 1 })).await;
    let failure = bench.execute(run, &workflow).await.failure.unwrap();
    assert_eq!(failure.kind, Kind::InvalidInput);
    let message = "`one`, with: face.no: unknown field `nunber` of `inputs`: did you mean `number`?";
    assert_eq!(failure.message, message);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_cannot_be_evaluated_fails_a_run_that_had_succeeded() {
    let bench = Bench::new(echo());
    let outcome = bench.run(&with_output(vec![call("one", "p/f", json!({}))], json!("${{ steps.two }}"))).await;
    assert_eq!(outcome.status, Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_run_finishes_its_calls_and_is_resumed_by_the_next_process() {
    let bench = Bench::new(slow(Arc::default()));
    let workflow = shared(vec![call("all", "p/f", json!("${{ n }}")).for_each("range(6) | list", "n", None, 2)]);
    let run = bench.start(&workflow, json!({})).await;
    let never = CancellationToken::new();
    let (outcome, ()) = tokio::join!(bench.runner.execute(run, Arc::clone(&workflow), never.clone()), async {
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
        tokio::select! {
            biased;
            () = bench.world.fault.crashed() => {}
            _ = bench.runner.execute(run, Arc::clone(&workflow), CancellationToken::new()) => panic!("it lives"),
        }
    }
    bench.world.fault.disarm();
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Interrupted);
    assert_eq!(outcome.failure.unwrap().code.as_deref(), Some("bascule:quarantined"));
    // A person may insist.
    let again =
        bench.runner.rerun(run, workflow, bascule_run::Basis::AsBegun, CancellationToken::new()).await.unwrap();
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
    assert!(matches!(ended, Err(RunError::Journal(JournalError::HasEnded { status: Status::Succeeded, .. }))));
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
    let base = Bench::new(World::answering(|_, call| if call.attempt == 1 { fails(Kind::Busy) } else { Ok(Value::Null) }));
    let watch = Broadcast::new(100);
    let mut heard = watch.subscribe();
    let runner = Runner::new(Parts {
        journal: Arc::clone(&base.journal),
        invoke: Arc::clone(&base.world) as _,
        clock: Arc::clone(&base.clock),
        observer: Arc::new(watch),
    });
    let workflow = shared(vec![call("all", "p/f", json!({})).for_each("[1]", "n", None, 1).retry(2, &["busy"])]);
    let run = base.start(&workflow, json!({})).await;
    runner.execute(run, workflow, CancellationToken::new()).await.unwrap();
    let mut words = Vec::new();
    while let Ok((of, event)) = heard.try_recv() {
        assert_eq!(of, run);
        words.push(match event {
            Event::RunStarted { attempt, resumed, .. } => format!("run {attempt} {resumed}"),
            Event::StepStarted { place, items } => format!("step {place} {items:?}"),
            Event::ItemStarted { place } => format!("item {place}"),
            Event::AttemptFailed { place, attempt, next_at, .. } => format!("failed {place} {attempt} {}", next_at.is_some()),
            Event::Ended { place, status, .. } => format!("ended {place} {status}"),
            Event::RunEnded { status, .. } => format!("end {status}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(words, [
        "run 1 false",
        "step all Some(1)",
        "item all[0]",
        "failed all[0] 1 true",
        "ended all[0] succeeded",
        "ended all succeeded",
        "end succeeded",
    ]);
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
    let bench = Bench::new(World::answering(|_, call| if call.attempt == 1 { fails(Kind::Busy) } else { Ok(json!(7)) }));
    let step = call("inner", "p/f", json!({ "n": "${{ n }}" })).retry(2, &["busy"]);
    let outer = block("site", vec![step]).for_each("[5]", "n", Some("site ${{ n }}"), 1);
    let run = bench.run(&Arc::new(Workflow { output: Some(template(json!("x"))), ..workflow(vec![outer]) })).await.run;
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
    let step = call("all", "p/f", json!({})).for_each("range(2000) | list", "n", None, 4).skip_if("true", "no");
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.steps[0].counts.unwrap().skipped, 2000);
    let entries = bench.journal.read(outcome.run).await.unwrap();
    assert_eq!(entries.iter().filter(|timed| matches!(timed.entry, Entry::PlaceEnded { .. })).count(), 2001);
}

#[tokio::test(start_paused = true)]
async fn steps_of_a_plain_block_are_known_after_it_and_those_of_an_item_are_not() {
    let steps = vec![
        block("pair", vec![call("left", "p/f", json!("l")), block("deep", vec![call("right", "p/f", json!("r"))])]),
        block("each", vec![call("inner", "p/f", json!("${{ n }}"))]).for_each("[1, 2]", "n", None, 1),
        call("both", "p/f", json!("${{ steps.left.output }}${{ steps.right.output }}")),
        call("hidden", "p/f", json!("${{ steps.inner.output }}")),
    ];
    let bench = Bench::new(echo());
    let outcome = bench.run(&with_output(steps, json!("${{ steps.each.items }}"))).await;
    assert_eq!(outcome.steps[2].status, Status::Succeeded);
    assert_eq!(bench.world.calls().pop().unwrap().with, "lr");
    assert_eq!(outcome.steps[3].failure.as_ref().unwrap().kind, Kind::InvalidInput);
    assert_eq!(outcome.output[1]["output"], json!({ "inner": 2 }));
}

#[tokio::test(start_paused = true)]
async fn what_was_skipped_or_never_begun_still_has_its_names() {
    let steps = vec![
        call("loop", "p/f", json!({})).for_each("[1]", "n", None, 1).if_("false"),
        block("pair", vec![call("left", "p/f", json!({}))]).if_("false"),
        call("bad", "p/f", json!({})),
        block("later", vec![call("right", "p/f", json!({})).for_each("[1]", "n", None, 1)]),
    ];
    let seen = json!({
        "loop": "${{ steps.loop.counts.total }}",
        "left": "${{ steps.left.status }}",
        "right": "${{ steps.right.status }} ${{ steps.right.counts.failed }}",
    });
    let bench = Bench::new(failing(&[("bad", Kind::Refused)]));
    let workflow = Workflow { finally: vec![call("tell", "p/tell", seen)], ..workflow(steps) };
    let outcome = bench.run(&Arc::new(workflow)).await;
    assert_eq!(outcome.steps.last().unwrap().status, Status::Succeeded);
    assert_eq!(bench.world.calls().pop().unwrap().with, json!({ "loop": 0, "left": "skipped", "right": "cancelled 0" }));
}
