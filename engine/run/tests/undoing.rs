//! Blocks, all-or-nothing, cancelling, `finally`.

use std::sync::Arc;
use std::time::Duration;

use bascule_run::record::UndoRecord;
use bascule_run::{Place, Status};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::Workflow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::worlds::{echo, failing, slow};
use crate::support::write::{
    Keywords, all_or_nothing, block, call, fails, shared, uses, with_output, workflow,
};
use crate::support::{Bench, World};

#[tokio::test(start_paused = true)]
async fn finally_runs_after_a_failure_and_sees_how_the_steps_ended() {
    let bench = Bench::new(failing(&[("one", Kind::Refused), ("finally:first", Kind::Offline)]));
    let finally = vec![
        call("first", "p/f", json!({})),
        call(
            "tell",
            "p/f",
            json!({ "one": "${{ steps.one.error.kind }}", "two": "${{ steps.two.status }}" }),
        ),
    ];
    let steps = vec![call("one", "p/f", json!({})), call("two", "p/f", json!({}))];
    let outcome = bench.run(&Arc::new(Workflow { finally, ..workflow(steps) })).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.failure.unwrap().kind, Kind::Refused);
    let last = bench.world.calls().pop().unwrap();
    assert_eq!(
        (last.step.as_str(), last.with),
        ("finally:tell", json!({ "one": "refused", "two": "cancelled" }))
    );
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
    assert_eq!(
        ledger,
        [
            ("p/add".to_owned(), json!("left")),
            ("p/add".to_owned(), json!("right")),
            // `right` was cancelled without effect, so there is nothing of it to undo.
            ("p/remove".to_owned(), json!("left")),
            ("p/tidy".to_owned(), json!({})),
        ]
    );
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
    assert_eq!(
        undone,
        [
            ("all/c".to_owned(), Value::Null),
            ("all/inner/b".to_owned(), json!({ "id": "b" })),
            ("all/a".to_owned(), json!({ "id": "a" })),
        ]
    );
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
    let outcome =
        bench.run(&shared(vec![all_or_nothing("all", steps), call("after", "p/f", json!({}))])).await;
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
    let inner =
        all_or_nothing("inner", vec![call("x", "p/add", json!({})).undo(uses("p/remove", json!({})))]);
    let outer = all_or_nothing("outer", vec![inner, call("last", "p/f", json!({}))]);
    let outcome = bench.run(&shared(vec![outer])).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(bench.world.steps_of("p/remove"), ["outer/inner/x"]);
}

#[tokio::test(start_paused = true)]
async fn each_item_of_an_all_or_nothing_block_stands_for_itself() {
    let bench = Bench::new(failing(&[("site[b]/link", Kind::Refused)]));
    let site = all_or_nothing(
        "site",
        vec![
            call("person", "p/add", json!("${{ site }}")).undo(uses("p/remove", json!("${{ site }}"))),
            call("link", "p/link", json!("${{ steps.person.output }}")),
        ],
    )
    .for_each("['a', 'b', 'c']", "site", Some("${{ site }}"), 3)
    .keep_going();
    let outcome = bench.run(&with_output(vec![site], json!("${{ steps.site.items }}"))).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let statuses: Vec<_> =
        outcome.output.as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["succeeded", "rolled-back", "succeeded"]);
    assert_eq!(outcome.output[0]["output"], json!({ "person": "a", "link": "a" }));
    assert_eq!(bench.world.steps_of("p/remove"), ["site[b]/person"]);
}

#[tokio::test(start_paused = true)]
async fn steps_of_a_plain_block_are_known_after_it_and_those_of_an_item_are_not() {
    let steps = vec![
        block(
            "pair",
            vec![call("left", "p/f", json!("l")), block("deep", vec![call("right", "p/f", json!("r"))])],
        ),
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
    assert_eq!(
        bench.world.calls().pop().unwrap().with,
        json!({ "loop": 0, "left": "skipped", "right": "cancelled 0" })
    );
}
