//! What each keyword does while nothing goes wrong with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bascule_run::{Place, Status};
use bascule_workflow::failure::{Effect, Failure, Kind};
use serde_json::{Value, json};

use crate::support::worlds::{echo, failing, slow};
use crate::support::write::{Keywords, call, fails, shared, uses, with_output};
use crate::support::{Bench, World};

#[tokio::test(start_paused = true)]
async fn steps_see_the_outputs_of_earlier_ones_and_of_the_run() {
    let steps = vec![
        call("one", "p/f", json!({ "n": "${{ inputs.n + 1 }}" })),
        call("two", "p/f", json!({ "n": "${{ steps.one.output.n * 10 }}", "by": "${{ trigger.kind }}" })),
    ];
    let workflow =
        with_output(steps, json!({ "n": "${{ steps.two.output.n }}", "workflow": "${{ run.workflow }}" }));
    let bench = Bench::new(echo());
    let run = bench.start(&workflow, json!({ "n": 4 })).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(outcome.output, json!({ "n": 50, "workflow": "golden" }));
    assert_eq!(bench.world.calls()[1].with["by"], "manual");
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
    assert_eq!(
        (&bad["key"], &bad["status"], &bad["error"]["kind"]),
        (&json!("b"), &json!("failed"), &json!("offline"))
    );
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
    let world = World::answering(
        |_, call| {
            if call.attempt < 4 { fails(Kind::Busy) } else { Ok(json!(call.attempt)) }
        },
    );
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
        let world =
            World::answering(move |_, _| Err(Failure::new(Kind::Timeout, "late").with_effect(effect)));
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
    let step =
        call("door", "p/open", json!({})).never_repeat().verify(uses("p/state", json!({})), "result.open", 5);
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
    let step = call("face", "p/modify", json!({})).verify(
        uses("p/find", json!({})),
        "result.found and output.found",
        3,
    );
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
        let world = World::answering(move |world, _| {
            Ok(json!({ "ready": world.now() >= Duration::from_secs(ready_after) }))
        });
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
        call("clip", "p/export", json!({})).for_each("['a', 'b']", "clip", None, 2).once("clip-${{ clip }}"),
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
async fn a_pause_keeps_each_slot_free_for_a_while_but_not_after_the_last_item_or_a_skipped_one() {
    let paused = |parallel, skip: Option<&str>| {
        let mut step = call("clip", "p/f", json!({})).for_each("[1, 2, 3, 4]", "n", None, parallel);
        if let Some(each) = &mut step.for_each {
            each.pause = Duration::from_secs(10);
        }
        match skip {
            Some(skip) => step.skip_if(skip, "told so"),
            None => step,
        }
    };
    // One second of work each; three, one and no pauses of ten.
    for (parallel, skip, seconds) in
        [(1, None, 34), (2, None, 12), (1, Some("n > 1"), 11), (1, Some("n > 0"), 0)]
    {
        let bench = Bench::new(slow(Arc::default()));
        let before = tokio::time::Instant::now();
        bench.run(&shared(vec![paused(parallel, skip)])).await;
        assert_eq!(before.elapsed().as_secs(), seconds, "parallel {parallel}, skip-if {skip:?}");
    }
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
    let outcome =
        bench.run(&with_output(vec![call("one", "p/f", json!({}))], json!("${{ steps.two }}"))).await;
    assert_eq!(outcome.status, Status::Failed);
}
