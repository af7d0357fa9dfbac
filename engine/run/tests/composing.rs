//! Workflows that call workflows, deadlines, and what follows a failure.

use std::sync::Arc;
use std::time::Duration;

use bascule_run::journal::{Filter, Journal, MemoryJournal, SqliteJournal};
use bascule_run::{Place, RunError, Status};
use bascule_workflow::failure::Kind;
use bascule_workflow::plan::{OnFailure, Workflow};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::worlds::{echo, failing};
use crate::support::write::{
    Keywords, all_or_nothing, block, call, call_workflow, children, inputs, named, shared, template, uses,
    workflow,
};
use crate::support::{Bench, World};

/// `add` takes `n` and gives `n + 1`; its step is `sum`, its `finally` step `tidy`.
fn add() -> Workflow {
    Workflow {
        inputs: inputs(&["n"]),
        finally: vec![call("tidy", "p/tidy", json!({}))],
        output: Some(template(json!("${{ steps.sum.output.n + 1 }}"))),
        ..named(
            "add",
            vec![call("sum", "p/f", json!({ "n": "${{ inputs.n }}", "by": "${{ trigger.step }}" }))],
        )
    }
}

fn calling(steps: Vec<bascule_workflow::plan::Step>, named: Vec<Workflow>) -> Workflow {
    Workflow { children: children(named), ..workflow(steps) }
}

#[tokio::test(start_paused = true)]
async fn a_called_workflow_runs_inside_the_step_with_inputs_and_output_of_its_own() {
    let steps = vec![
        call_workflow("more", "add", json!({ "n": "${{ n }}" })).for_each("[1, 5]", "n", Some("${{ n }}"), 2),
        call("after", "p/f", json!({ "all": "${{ steps.more.output }}" })),
    ];
    let workflow = Arc::new(calling(steps, vec![add()]));
    let bench = Bench::new(echo());
    let run = bench.start(&workflow, json!({})).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.world.calls().last().unwrap().with["all"], json!([2, 6]));
    let mut inside = bench.world.steps_of("p/f");
    inside.sort();
    assert_eq!(inside, ["after", "more[1]/sum", "more[5]/sum"]);
    assert_eq!(bench.world.steps_of("p/tidy").len(), 2);
    let record = bench.record(run).await;
    let item = record.at(&Place::step("more").item("5")).unwrap();
    let called = item.called.as_ref().unwrap();
    assert_eq!((called.workflow.as_str(), &called.inputs["n"]), ("add", &json!(5)));
    assert_eq!(item.inner.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["sum", "tidy"]);
    assert_eq!(item.inner[0].attempts[0].with.as_ref().unwrap()["by"], "more[5]");
}

#[tokio::test(start_paused = true)]
async fn inputs_that_the_called_workflow_refuses_fail_the_step_before_anything_is_called() {
    let steps = vec![call_workflow("more", "add", json!({ "m": 1 }))];
    let bench = Bench::new(echo());
    let outcome = bench.run(&Arc::new(calling(steps, vec![add()]))).await;
    assert_eq!(outcome.status, Status::Failed);
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.kind, Kind::InvalidInput);
    assert_eq!(
        failure.message,
        "`more`, with: workflow `add` refuses it: input `n` is missing; unknown input `m`"
    );
    assert!(bench.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_inside_is_the_steps_own_and_can_be_caught() {
    let child = named("send", vec![call("mail", "p/f", json!({}))]);
    let bench = Bench::new(failing(&[("tell/mail", Kind::Refused), ("caught/mail", Kind::Refused)]));
    let caught = call_workflow("caught", "send", json!({})).catch(&["refused"], None, Some(json!("by hand")));
    let steps = vec![caught, call_workflow("tell", "send", json!({})), call("never", "p/f", json!({}))];
    let outcome = bench.run(&Arc::new(calling(steps, vec![child]))).await;
    let statuses: Vec<Status> = outcome.steps.iter().map(|step| step.status).collect();
    assert_eq!(statuses, [Status::Recovered, Status::Failed, Status::Cancelled]);
    assert_eq!(outcome.failure.unwrap().message, "workflow `send`: the device said refused");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_steps_of_called_workflows() {
    let world = World::new(Box::new(|_, call, invocation| {
        Box::pin(async move {
            if call.function == "p/wait" {
                invocation.cancel.cancelled().await;
                return crate::support::write::fails(Kind::Cancelled);
            }
            Ok(Value::Null)
        })
    }));
    let child = Workflow {
        finally: vec![call("tidy", "p/tidy", json!({}))],
        ..named("slow", vec![call("long", "p/wait", json!({})), call("next", "p/f", json!({}))])
    };
    let workflow = Arc::new(calling(vec![call_workflow("it", "slow", json!({}))], vec![child]));
    let bench = Bench::new(world);
    let run = bench.start(&workflow, json!({})).await;
    let cancel = CancellationToken::new();
    let execute = bench.runner.execute(run, Arc::clone(&workflow), cancel.clone());
    let (outcome, ()) = tokio::join!(execute, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cancel.cancel();
    });
    assert_eq!(outcome.unwrap().status, Status::Cancelled);
    let called: Vec<String> = bench.world.calls().into_iter().map(|call| call.function).collect();
    assert_eq!(called, ["p/wait", "p/tidy"]);
    assert_eq!(bench.record(run).await.at(&Place::step("it")).unwrap().status, Some(Status::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn steps_of_a_called_workflow_are_undone_with_the_block_around_the_call() {
    let child = named(
        "enrol",
        vec![
            call("person", "p/add", json!({})).undo(uses("p/remove", json!({ "was": "person" }))),
            call("card", "p/add", json!({})).undo(uses("p/remove", json!({ "was": "card" }))),
        ],
    );
    let steps = vec![all_or_nothing(
        "entry",
        vec![
            call_workflow("enrolled", "enrol", json!({})),
            call("rights", "p/f", json!({})).undo(uses("p/remove", json!({ "was": "rights" }))),
        ],
    )];
    let bench = Bench::new(failing(&[("entry/rights", Kind::Refused)]));
    let outcome = bench.run(&Arc::new(calling(steps, vec![child]))).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let undone: Vec<Value> = bench
        .world
        .calls()
        .into_iter()
        .filter(|call| call.function == "p/remove")
        .map(|call| call.with["was"].clone())
        .collect();
    assert_eq!(undone, [json!("card"), json!("person")]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_the_calling_step_stands_for_all_that_is_inside() {
    let child = Workflow {
        output: Some(template(json!({ "id": "${{ steps.person.output.id }}" }))),
        ..named(
            "enrol",
            vec![
                call("person", "p/add", json!({ "id": 7 }))
                    .undo(uses("p/remove", json!({ "was": "person" }))),
            ],
        )
    };
    let steps = vec![all_or_nothing(
        "entry",
        vec![
            call_workflow("enrolled", "enrol", json!({}))
                .undo(uses("p/remove", json!({ "whole": "${{ output.id }}" }))),
            call("rights", "p/f", json!({})),
        ],
    )];
    let bench = Bench::new(failing(&[("entry/rights", Kind::Refused)]));
    let outcome = bench.run(&Arc::new(calling(steps, vec![child]))).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let undone = bench.world.calls().into_iter().filter(|call| call.function == "p/remove");
    assert_eq!(undone.map(|call| call.with).collect::<Vec<_>>(), [json!({ "whole": 7 })]);
}

#[tokio::test(start_paused = true)]
async fn a_rerun_goes_on_inside_the_called_workflow_and_its_finally_runs_again() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let world = World::answering(move |_, call| {
        let fails = call.step == "it/two" && !is_ready.load(std::sync::atomic::Ordering::SeqCst);
        if fails { crate::support::write::fails(Kind::Offline) } else { Ok(call.with.clone()) }
    });
    let child = Workflow {
        finally: vec![call("tidy", "p/tidy", json!({}))],
        ..named("both", vec![call("one", "p/f", json!({})), call("two", "p/f", json!({}))])
    };
    let workflow = Arc::new(calling(vec![call_workflow("it", "both", json!({}))], vec![child]));
    let bench = Bench::new(world);
    let run = bench.start(&workflow, json!({})).await;
    assert_eq!(bench.execute(run, &workflow).await.status, Status::Failed);
    ready.store(true, std::sync::atomic::Ordering::SeqCst);
    let again = bench
        .runner
        .rerun(run, Arc::clone(&workflow), bascule_run::Basis::AsBegun, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(again.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/f"), ["it/one", "it/two", "it/two"]);
    assert_eq!(bench.world.steps_of("p/tidy").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_by_the_texts_of_called_workflows_that_it_began_with() {
    let workflow = calling(vec![call_workflow("more", "add", json!({ "n": 1 }))], vec![add()]);
    let bench = Bench::new(failing(&[("more/sum", Kind::Refused)]));
    let run = bench.start(&workflow, json!({})).await;
    bench.execute(run, &Arc::new(workflow.clone())).await;
    let texts = bench.journal.texts(run).await.unwrap();
    assert_eq!((&*texts.text, texts.named["add"].text.as_str()), ("name: golden", "text of add"));
    let edited = Workflow { digest: "another".to_owned(), ..add() };
    let edited = Arc::new(Workflow { children: children(vec![edited]), ..workflow });
    let rerun = |basis| bench.runner.rerun(run, Arc::clone(&edited), basis, CancellationToken::new());
    assert!(matches!(
        rerun(bascule_run::Basis::AsBegun).await,
        Err(RunError::OtherText { workflow, .. }) if workflow == "add"
    ));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_too_deep_or_calls_too_often_is_stopped_there() {
    let mut deepest = named("w9", vec![call("leaf", "p/f", json!({}))]);
    for number in (1..9).rev() {
        let id = format!("w{number}");
        let steps = vec![call_workflow("on", &deepest.id, json!({}))];
        deepest = Workflow { children: children(vec![deepest]), ..named(&id, steps) };
    }
    let bench = Bench::new(echo());
    let failure = bench.run(&Arc::new(deepest)).await.failure.unwrap();
    assert_eq!(failure.code.as_deref(), Some("bascule:depth"));

    let child = named("leaf", vec![call("f", "p/f", json!({})).if_("false")]);
    let many = call_workflow("many", "leaf", json!({})).for_each("range(100) | list", "n", None, 1);
    let sites = block("sites", vec![many]).for_each("range(101) | list", "site", None, 1);
    let bench = Bench::new(echo());
    let outcome = bench.run(&Arc::new(calling(vec![sites], vec![child]))).await;
    assert_eq!(outcome.failure.unwrap().code.as_deref(), Some("bascule:fan-out"));
    let counts = outcome.steps[0].counts.unwrap();
    assert!(counts.failed > 0 && counts.succeeded <= 100, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_run_as_failed_and_finally_still_runs() {
    let workflow = Arc::new(Workflow {
        deadline: Some(Duration::from_secs(60)),
        finally: vec![call("tidy", "p/tidy", json!({}))],
        ..workflow(vec![
            call("wait", "p/f", json!({})).poll("false", 5, 3600),
            call("never", "p/f", json!({})),
        ])
    });
    let bench = Bench::new(echo());
    let before = tokio::time::Instant::now();
    let run = bench.start(&workflow, json!({})).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Failed);
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Timeout, Some("bascule:deadline")));
    assert_eq!(failure.message, "it had not ended within its deadline of 1m");
    assert_eq!(before.elapsed(), Duration::from_secs(60));
    assert_eq!(bench.world.steps_of("p/tidy"), ["finally:tidy"]);
    let record = bench.record(run).await;
    assert_eq!(record.deadline, Some("2026-11-21T08:01:00Z".parse().unwrap()));
    assert_eq!(record.cancel_asked_at, None);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_goes_on_counting_while_the_process_is_gone() {
    let workflow = Arc::new(Workflow {
        deadline: Some(Duration::from_secs(60)),
        ..workflow(vec![call("wait", "p/f", json!({})).poll("false", 5, 3600)])
    });
    let journal = MemoryJournal::new();
    let bench = Bench::over(Arc::new(journal.clone()), Arc::new(echo()));
    let run = bench.start(&workflow, json!({})).await;
    let execute = bench.runner.execute(run, Arc::clone(&workflow), CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_secs(20), execute).await.is_err());
    journal.restart();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let calls = bench.world.calls().len();
    let resumed = bench.another_runner().resume(run, workflow, CancellationToken::new()).await.unwrap();
    assert_eq!(resumed.failure.unwrap().code.as_deref(), Some("bascule:deadline"));
    assert_eq!(bench.world.calls().len(), calls, "nothing new began");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_calling_step_is_a_deadline_for_what_it_calls() {
    let child = named("slow", vec![call("wait", "p/f", json!({})).poll("false", 5, 3600)]);
    let steps = vec![
        call_workflow("it", "slow", json!({})).timeout(30).catch(&["timeout"], None, Some(json!("gave up"))),
        call("after", "p/g", json!("${{ steps.it.output }}")),
    ];
    let bench = Bench::new(echo());
    let outcome = bench.run(&Arc::new(calling(steps, vec![child]))).await;
    assert_eq!(outcome.status, Status::Recovered);
    assert_eq!(bench.world.calls().last().unwrap().with, "gave up");
}

fn alerting() -> Workflow {
    Workflow {
        id: "ring".to_owned(),
        ..named("ring", vec![call("mail", "p/mail", json!({ "about": "${{ trigger }}" }))])
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_starts_its_alert_once_with_itself_as_the_trigger() {
    let workflow = Arc::new(Workflow {
        name: "Nightly".to_owned(),
        on_failure: Some(OnFailure::Workflow(Arc::new(alerting()))),
        children: children(vec![alerting()]),
        ..workflow(vec![call("work", "p/f", json!({}))])
    });
    let bench = Bench::new(failing(&[("work", Kind::Offline)]));
    let run = bench.start(&workflow, json!({ "site": "north" })).await;
    let outcome = bench.execute(run, &workflow).await;
    let alert = outcome.alert.unwrap();
    assert_eq!(bench.record(run).await.alerts, [alert]);
    let told = bench.execute(alert, &Arc::new(alerting())).await;
    assert_eq!((told.status, told.alert), (Status::Succeeded, None));
    let about = bench.world.calls().last().unwrap().with["about"].clone();
    assert_eq!(about["kind"], "failure");
    assert_eq!(about["run"]["id"], json!(run));
    assert_eq!(about["run"]["name"], "Nightly");
    assert_eq!(about["run"]["status"], "failed");
    assert_eq!(about["run"]["inputs"], json!({ "site": "north" }));
    assert_eq!(about["error"]["kind"], "offline");
    assert_eq!((&about["steps"][0]["id"], &about["steps"][0]["status"]), (&json!("work"), &json!("failed")));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_alerted_of_success_or_of_a_cancel() {
    let workflow = Arc::new(Workflow {
        on_failure: Some(OnFailure::Workflow(Arc::new(alerting()))),
        ..workflow(vec![call("work", "p/f", json!({}))])
    });
    let bench = Bench::new(echo());
    assert_eq!(bench.run(&workflow).await.alert, None);
    let run = bench.start(&workflow, json!({})).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = bench.runner.execute(run, workflow, cancel).await.unwrap();
    assert_eq!((outcome.status, outcome.alert), (Status::Cancelled, None));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_alerts_leaves_one_alert() {
    let mut reached = 0;
    for point in 1.. {
        let workflow = Arc::new(Workflow {
            on_failure: Some(OnFailure::Workflow(Arc::new(alerting()))),
            ..workflow(vec![call("work", "p/f", json!({}))])
        });
        let memory = MemoryJournal::new();
        let world = Arc::new(failing(&[("work", Kind::Refused)]));
        let faulty: Arc<dyn Journal> = Arc::new(crate::support::fault::FaultyJournal {
            inner: Arc::new(memory.clone()),
            fault: world.fault.clone(),
        });
        let bench = Bench::over(faulty, Arc::clone(&world));
        let run = bench.start(&workflow, json!({})).await;
        world.fault.arm(point);
        let died = tokio::select! {
            biased;
            () = world.fault.crashed() => true,
            _ = bench.runner.execute(run, Arc::clone(&workflow), CancellationToken::new()) => false,
        };
        world.fault.disarm();
        memory.restart();
        if memory.find(&run.to_string()).await.unwrap().status.is_open() {
            bench.another_runner().resume(run, workflow, CancellationToken::new()).await.unwrap();
        }
        let alerts =
            memory.runs(&Filter { workflow: Some("ring".to_owned()), ..Filter::default() }).await.unwrap();
        assert_eq!(alerts.len(), 1, "point {point}");
        reached += u32::from(died);
        if !died {
            break;
        }
    }
    assert!(reached >= 10, "{reached}");
}

#[tokio::test(start_paused = true)]
async fn on_failure_steps_see_the_error_and_change_nothing_about_the_end() {
    let workflow = Arc::new(Workflow {
        on_failure: Some(OnFailure::Steps(vec![
            call(
                "mail",
                "p/mail",
                json!({ "why": "${{ error.message }}", "work": "${{ steps.work.status }}" }),
            ),
            call("lamp", "p/lamp", json!({})),
        ])),
        ..workflow(vec![call("work", "p/f", json!({}))])
    });
    let bench = Bench::new(failing(&[("work", Kind::Refused), ("on-failure:mail", Kind::Offline)]));
    let outcome = bench.run(&workflow).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.failure.unwrap().kind, Kind::Refused);
    let calls = bench.world.calls();
    assert_eq!(calls[1].with, json!({ "why": "the device said refused", "work": "failed" }));
    assert_eq!(calls[2].step, "on-failure:lamp");
    let places: Vec<String> = outcome.steps.iter().map(|step| step.place.to_string()).collect();
    assert_eq!(places, ["work", "on-failure:mail", "on-failure:lamp"]);
}

#[tokio::test(start_paused = true)]
async fn a_once_key_of_a_called_workflow_counts_wherever_it_is_called_from() {
    let child = || named("charge", vec![call("card", "p/charge", json!({})).once("visit-7")]);
    let bench = Bench::new(echo());
    bench.run(&Arc::new(calling(vec![call_workflow("a", "charge", json!({}))], vec![child()]))).await;
    bench.run(&Arc::new(child())).await;
    assert_eq!(bench.world.steps_of("p/charge"), ["a/card"]);
}

/// One journal in memory and one on disk.
async fn journals() -> (tempfile::TempDir, Vec<Arc<dyn Journal>>) {
    let folder = tempfile::tempdir().unwrap();
    let database = bascule_database::Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let sqlite = SqliteJournal::open(database).await.unwrap();
    (folder, vec![Arc::new(MemoryJournal::new()), Arc::new(sqlite)])
}

#[tokio::test]
async fn a_key_is_freed_when_nobody_works_on_its_run_and_only_then() {
    let (_folder, journals) = journals().await;
    for journal in journals {
        let bench = Bench::over(journal, Arc::new(echo()));
        let start = |key: &str| bascule_run::Start {
            inputs: Map::new(),
            trigger: Value::Null,
            concurrency_key: Some(key.to_owned()),
        };
        let workflow = shared(vec![call("a", "p/f", json!({}))]);
        let run = bench.runner.start(&workflow, start("site-1")).await.unwrap();
        let at = |seconds: i64| jiff::Timestamp::from_second(2_000_000_000 + seconds).unwrap();
        let claim = bench.journal.claim(run, "me", at(0), at(60)).await.unwrap();
        assert_eq!(bench.journal.free_key("site-1", at(59)).await.unwrap(), None);
        assert_eq!(bench.journal.free_key("site-2", at(61)).await.unwrap(), None);
        assert_eq!(bench.journal.free_key("site-1", at(61)).await.unwrap(), Some(run));
        assert_eq!(bench.journal.find(&run.to_string()).await.unwrap().status, Status::Queued);
        // Whoever held it may not write any more.
        let late = bench.journal.append(&claim, Default::default()).await;
        assert!(matches!(late, Err(bascule_run::journal::JournalError::Fenced(_))));
        let other = bench.runner.start(&workflow, start("site-1")).await.unwrap();
        assert_eq!(bench.execute(other, &workflow).await.status, Status::Succeeded);
        assert_eq!(bench.execute(run, &workflow).await.status, Status::Succeeded);
    }
}

#[tokio::test]
async fn a_cancel_that_another_process_recorded_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let database = bascule_database::Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let sqlite = SqliteJournal::open(database.clone()).await.unwrap();
    let world = World::new(Box::new(|_, _, invocation| {
        Box::pin(async move {
            invocation.cancel.cancelled().await;
            crate::support::write::fails(Kind::Cancelled)
        })
    }));
    let bench = Bench::over(Arc::new(sqlite), Arc::new(world));
    let workflow = shared(vec![call("long", "p/f", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    let execute = bench.runner.execute(run, Arc::clone(&workflow), CancellationToken::new());
    let path = folder.path().join("bascule.db");
    let ask = || SqliteJournal::ask_cancel_beside(&path, run, jiff::Timestamp::now(), "somebody");
    let (outcome, asked) = tokio::join!(execute, async {
        while bench.world.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        ask().await.unwrap()
    });
    assert_eq!(asked, bascule_run::journal::CancelAsked::Noted);
    assert_eq!(outcome.unwrap().status, Status::Cancelled);
    assert!(bench.record(run).await.cancel_asked_at.is_some());
    assert_eq!(ask().await.unwrap(), bascule_run::journal::CancelAsked::TooLate);
}

#[tokio::test(start_paused = true)]
async fn a_rerun_with_edited_inputs_keeps_what_succeeded_and_lists_the_rest_anew() {
    let steps = vec![
        call("first", "p/f", json!({ "n": "${{ inputs.n }}" })),
        call("all", "p/g", json!({ "at": "${{ at }}", "n": "${{ inputs.n }}" }))
            .for_each("inputs.places", "at", Some("${{ at }}"), 1)
            .keep_going(),
    ];
    let workflow = shared(steps);
    let bench = Bench::new(failing(&[("all[b]", Kind::Refused)]));
    let run = bench.start(&workflow, json!({ "n": 1, "places": ["a", "b"] })).await;
    assert_eq!(bench.execute(run, &workflow).await.status, Status::Failed);
    let Value::Object(edited) = json!({ "n": 2, "places": ["a", "c"] }) else { panic!("a map") };
    let rerun = bascule_run::Rerun { basis: bascule_run::Basis::AsBegun, inputs: Some(edited.clone()) };
    let again =
        bench.runner.rerun_with(run, Arc::clone(&workflow), rerun, CancellationToken::new()).await.unwrap();
    assert_eq!(again.status, Status::Succeeded);
    let calls: Vec<(String, Value)> =
        bench.world.calls().into_iter().map(|call| (call.step, call.with["n"].clone())).collect();
    let expected =
        [("first", 1), ("all[a]", 1), ("all[b]", 1), ("all[c]", 2)].map(|(at, n)| (at.to_owned(), json!(n)));
    assert_eq!(calls, expected);
    assert_eq!(bench.record(run).await.inputs, edited);
}
