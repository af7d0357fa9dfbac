//! The numbered rules of `docs/spec/`, each by its number.

use std::sync::Arc;
use std::time::Duration;

use bascule_run::journal::{AttemptId, Batch, Entry, Journal, MemoryJournal, Outcome, Role, Timed, Verdict};
use bascule_run::{Basis, Place, RunError, RunId, RunOutcome, Status};
use bascule_workflow::expression::{Expression, Scope};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::{Selector, Step, Workflow};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::worlds::echo;
use crate::support::write::{Keywords, all_or_nothing, call, fails, shared, uses, with_output, workflow};
use crate::support::{Bench, World};

/// Executes until the process dies at the armed point; the claim is free afterwards.
async fn dies_during(bench: &Bench, journal: &MemoryJournal, run: RunId, workflow: &Arc<Workflow>) {
    let runner = bench.another_runner();
    tokio::select! {
        biased;
        () = bench.world.fault.crashed() => {}
        outcome = runner.execute(run, Arc::clone(workflow), CancellationToken::new()) => panic!("it lives: {outcome:?}"),
    }
    bench.world.fault.disarm();
    journal.restart();
}

fn bench(world: World) -> (Bench, MemoryJournal) {
    let journal = MemoryJournal::new();
    (Bench::over(Arc::new(journal.clone()), Arc::new(world)), journal)
}

async fn fails_with(steps: Vec<Step>) -> Failure {
    let bench = Bench::new(echo());
    let workflow = shared(steps);
    let run = bench.start(&workflow, json!({ "name": "Ann", "list": [1], "none": null })).await;
    bench.execute(run, &workflow).await.failure.unwrap()
}

#[tokio::test(start_paused = true)]
async fn spec_01_an_undefined_name_is_an_error_when_it_is_evaluated() {
    for source in ["inputs.nane", "steps.nobody.output", "nobody", "inputs.name.first", "inputs.list[3]"] {
        let failure =
            fails_with(vec![call("one", "p/f", json!({ "v": format!("${{{{ {source} }}}}") }))]).await;
        assert_eq!((failure.kind, failure.effect), (Kind::InvalidInput, Effect::None), "{source}");
        assert!(failure.message.starts_with("`one`, with: v: "), "{}", failure.message);
    }
}

#[tokio::test(start_paused = true)]
async fn spec_01_default_is_the_way_to_accept_absence() {
    let bench = Bench::new(echo());
    let with = json!({ "v": "${{ inputs.nane | default('nobody') }}" });
    assert_eq!(bench.run(&shared(vec![call("one", "p/f", with)])).await.status, Status::Succeeded);
    assert_eq!(bench.world.calls()[0].with["v"], "nobody");
}

#[tokio::test(start_paused = true)]
async fn spec_02_exactly_one_expression_keeps_its_type_and_mixed_text_is_text() {
    let bench = Bench::new(echo());
    let with = json!({ "list": "${{ inputs.list }}", "number": "${{ 2 * 3 }}", "text": "no. ${{ 2 * 3 }}" });
    let workflow = shared(vec![call("one", "p/f", with)]);
    let run = bench.start(&workflow, json!({ "list": [1, 2] })).await;
    bench.execute(run, &workflow).await;
    assert_eq!(bench.world.calls()[0].with, json!({ "list": [1, 2], "number": 6, "text": "no. 6" }));
}

#[tokio::test(start_paused = true)]
async fn spec_02_a_list_or_map_inside_text_is_an_error() {
    for value in ["inputs.list", "inputs", "inputs.none"] {
        let failure =
            fails_with(vec![call("one", "p/f", json!({ "v": format!("id-${{{{ {value} }}}}") }))]).await;
        assert_eq!(failure.kind, Kind::InvalidInput, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn spec_03_a_half_interpolated_condition_is_refused() {
    assert!(Expression::parse_whole("${{ inputs.name }} == 'Ann'").is_err());
    assert!(Expression::parse_whole("${{ inputs.name == 'Ann' }}").is_ok());
    assert!(Expression::parse_whole("inputs.name == 'Ann'").is_ok());
}

#[tokio::test(start_paused = true)]
async fn spec_03_a_condition_that_is_neither_true_nor_false_fails_instead_of_being_true() {
    for condition in ["inputs.name", "inputs.list", "1", "inputs.none"] {
        let failure = fails_with(vec![call("one", "p/f", json!({})).if_(condition)]).await;
        assert!(failure.message.starts_with(&format!("`one`, if `{condition}`: ")), "{}", failure.message);
        let verified = call("one", "p/f", json!({})).verify(uses("p/g", json!({})), condition, 1);
        assert_eq!(fails_with(vec![verified]).await.kind, Kind::InvalidInput);
        let polled = call("one", "p/f", json!({})).poll(condition, 1, 2);
        assert_eq!(fails_with(vec![polled]).await.kind, Kind::InvalidInput);
    }
}

#[tokio::test(start_paused = true)]
async fn spec_04_the_intent_is_in_the_journal_when_the_call_is_made_and_the_result_before_the_next() {
    let journal = MemoryJournal::new();
    let seen = journal.clone();
    let world = World::new(Box::new(move |_, call, invocation| {
        let seen = seen.clone();
        Box::pin(async move {
            let entries = seen.read(invocation.run.parse().unwrap()).await.unwrap();
            let started =
                entries.iter().filter(|timed| matches!(timed.entry, Entry::AttemptStarted { .. })).count();
            let ended =
                entries.iter().filter(|timed| matches!(timed.entry, Entry::AttemptEnded { .. })).count();
            let last = entries.iter().rev().find_map(|timed| match &timed.entry {
                Entry::AttemptStarted { place, key, .. } => Some((place.to_string(), key.clone())),
                _ => None,
            });
            assert_eq!(last, Some((call.step, call.key)));
            Ok(json!([started, ended]))
        })
    }));
    let bench = Bench::over(Arc::new(journal), Arc::new(world));
    let steps = vec![call("one", "p/f", json!({})), call("two", "p/f", json!({}))];
    let workflow = with_output(steps, json!(["${{ steps.one.output }}", "${{ steps.two.output }}"]));
    assert_eq!(bench.run(&workflow).await.output, json!([[1, 0], [2, 1]]));
}

#[tokio::test(start_paused = true)]
async fn spec_04_a_result_is_on_disk_at_once_and_not_when_something_else_is() {
    let world = World::new(Box::new(|_, call, _| {
        Box::pin(async move {
            let seconds = if call.step == "all[1]" { 15 } else { 1 };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Value::Null)
        })
    }));
    let bench = Bench::new(world);
    let workflow = shared(vec![call("all", "p/f", json!({})).for_each("[0, 1]", "n", None, 2)]);
    let run = bench.start(&workflow, json!({})).await;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(10)) => {}
        _ = bench.runner.execute(run, workflow, CancellationToken::new()) => panic!("it takes longer"),
    }
    let record = bench.record(run).await;
    assert!(record.at(&Place::step("all").item("0")).unwrap().attempts[0].ended_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn spec_04_a_recorded_result_is_reused_and_a_lost_one_is_called_again_with_the_same_key() {
    let (bench, journal) = bench(echo());
    let workflow = shared(vec![call("one", "p/f", json!(1)), call("two", "p/f", json!(2))]);
    let run = bench.start(&workflow, json!({})).await;
    // Points: before and after each call. The fourth is after the second call, before its result is recorded.
    bench.world.fault.arm(4);
    dies_during(&bench, &journal, run, &workflow).await;
    assert_eq!(
        bench.runner.resume(run, workflow, CancellationToken::new()).await.unwrap().status,
        Status::Succeeded
    );
    let calls = bench.world.calls();
    assert_eq!(calls.iter().map(|call| call.step.as_str()).collect::<Vec<_>>(), ["one", "two", "two"]);
    assert_eq!((&calls[1].key, calls[1].attempt), (&calls[2].key, calls[2].attempt));
    let record = bench.record(run).await;
    let attempts = &record.at(&Place::step("two")).unwrap().attempts;
    assert_eq!(attempts.len(), 2);
    assert!(attempts[0].ended_at.is_none() && attempts[1].ended_at.is_some());
}

/// The door's call was made and its process died.
async fn lost_door(door: Step, world: World) -> (Bench, Arc<Workflow>, RunOutcome) {
    let (bench, journal) = bench(world);
    let workflow = shared(vec![door, call("after", "p/note", json!({}))]);
    let run = bench.start(&workflow, json!({})).await;
    bench.world.fault.arm(2);
    dies_during(&bench, &journal, run, &workflow).await;
    let outcome = bench.execute(run, &workflow).await;
    (bench, workflow, outcome)
}

#[tokio::test(start_paused = true)]
async fn spec_04_a_lost_call_that_may_not_be_repeated_is_interrupted_until_a_person_decides() {
    for (verdict, opened) in [(Verdict::Done, 1), (Verdict::NotDone, 2)] {
        let door = call("door", "p/open", json!({})).never_repeat().retry(3, &["any"]);
        let (bench, workflow, outcome) = lost_door(door, echo()).await;
        assert_eq!(outcome.status, Status::Interrupted);
        let failure = outcome.failure.unwrap();
        assert_eq!((failure.code.as_deref(), failure.effect), (Some("bascule:interrupted"), Effect::Unknown));
        assert_eq!(bench.world.steps_of("p/open").len(), 1);
        assert!(bench.world.steps_of("p/note").is_empty());
        // Asking again does not open the door either.
        let never = CancellationToken::new();
        let runner = &bench.runner;
        let again =
            runner.rerun(outcome.run, Arc::clone(&workflow), Basis::AsBegun, never.clone()).await.unwrap();
        assert_eq!((again.status, bench.world.steps_of("p/open").len()), (Status::Interrupted, 1));
        let wrong = runner.decide(outcome.run, Place::step("after"), verdict).await;
        assert!(matches!(wrong, Err(RunError::NothingToDecide { .. })));
        runner.decide(outcome.run, Place::step("door"), verdict).await.unwrap();
        let decided = runner.rerun(outcome.run, workflow, Basis::AsBegun, never).await.unwrap();
        assert_eq!((decided.status, bench.world.steps_of("p/open").len()), (Status::Succeeded, opened));
        assert_eq!(bench.world.steps_of("p/note").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn spec_04_verify_decides_on_a_lost_call_that_may_not_be_repeated() {
    // What the second look says, how often the door is opened in all, how the run ends.
    let cases = [
        (Ok(json!({ "open": true })), 1, Status::Succeeded),
        (Ok(json!({ "open": false })), 2, Status::Failed),
        (Err(Failure::new(Kind::Offline, "no answer")), 1, Status::Interrupted),
        (Ok(json!({})), 1, Status::Interrupted),
    ];
    for (look, opened, status) in cases {
        let world = World::answering({
            let look = look.clone();
            move |_, call| {
                if call.function == "p/state" { look.clone() } else { Ok(Value::Null) }
            }
        });
        let door = call("door", "p/open", json!({})).never_repeat().verify(
            uses("p/state", json!({})),
            "result.open",
            3,
        );
        let (bench, _, outcome) = lost_door(door, world).await;
        let calls = bench.world.calls();
        let doors: Vec<_> = calls.iter().filter(|call| call.function == "p/open").collect();
        assert_eq!((doors.len(), outcome.status), (opened, status), "{look:?}");
        assert!(doors.iter().all(|call| call.key == doors[0].key));
    }
}

#[tokio::test(start_paused = true)]
async fn spec_04_every_crash_gets_a_second_look_of_its_own() {
    // The door does not open before it is called for the second time.
    let world = World::answering(|world, call| match call.function.as_str() {
        "p/open" => {
            if world.stored("called").is_some() {
                world.store("open", true);
            }
            world.store("called", true);
            Ok(Value::Null)
        }
        _ => Ok(json!({ "open": world.stored("open").is_some() })),
    });
    let (bench, journal) = bench(world);
    let door =
        call("door", "p/open", json!({})).never_repeat().verify(uses("p/state", json!({})), "result.open", 1);
    let workflow = shared(vec![door]);
    let run = bench.start(&workflow, json!({})).await;
    bench.world.fault.arm(2);
    dies_during(&bench, &journal, run, &workflow).await;
    // Two looks of two points each say no; the door is called again, and its process dies as well.
    bench.world.fault.arm(6);
    dies_during(&bench, &journal, run, &workflow).await;
    assert_eq!(bench.world.steps_of("p/open").len(), 2);
    assert_eq!(bench.execute(run, &workflow).await.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/open").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn spec_04_a_lost_call_is_not_skipped_because_another_run_has_done_its_once_key() {
    let (bench, journal) = bench(echo());
    let workflow = shared(vec![call("clip", "p/export", json!({})).once("clip-7")]);
    let run = bench.start(&workflow, json!({})).await;
    bench.world.fault.arm(2);
    dies_during(&bench, &journal, run, &workflow).await;
    assert_eq!(bench.run(&workflow).await.steps[0].status, Status::Succeeded);
    assert_eq!(bench.execute(run, &workflow).await.steps[0].status, Status::Succeeded);
    let keys: Vec<_> = bench.world.calls().into_iter().map(|call| call.key).collect();
    assert_eq!((keys.len(), &keys[0]), (3, &keys[2]));
}

#[tokio::test(start_paused = true)]
async fn spec_05_waiting_for_a_retry_holds_no_slot() {
    let world = World::answering(|_, call| match call.step.as_str() {
        "all[0]" if call.attempt == 1 => {
            Err(Failure::new(Kind::Busy, "later").with_retry_after(Duration::from_secs(60)))
        }
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let step = call("all", "p/f", json!({})).for_each("range(4) | list", "n", None, 1).retry(2, &["busy"]);
    let outcome = bench.run(&shared(vec![step])).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/f"), ["all[0]", "all[1]", "all[2]", "all[3]", "all[0]"]);
    assert!(bench.world.calls()[3].at < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn spec_05_a_step_inside_a_block_gives_the_block_s_slot_back_too() {
    let world = World::answering(|_, call| match call.step.as_str() {
        "site[0]/door" if call.attempt == 1 => {
            Err(Failure::new(Kind::Busy, "later").with_retry_after(Duration::from_secs(60)))
        }
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let door = call("door", "p/f", json!({})).retry(2, &["busy"]);
    let site = crate::support::write::block("site", vec![door]).for_each("[0, 1]", "n", None, 1);
    bench.run(&shared(vec![site])).await;
    assert_eq!(bench.world.steps_of("p/f"), ["site[0]/door", "site[1]/door", "site[0]/door"]);
}

#[tokio::test(start_paused = true)]
async fn spec_05_a_wait_survives_the_process() {
    let world = World::answering(|_, call| match call.attempt {
        1 => Err(Failure::new(Kind::Busy, "later").with_retry_after(Duration::from_secs(600))),
        _ => Ok(Value::Null),
    });
    let (bench, journal) = bench(world);
    let workflow = shared(vec![call("one", "p/f", json!({})).retry(2, &["busy"])]);
    let run = bench.start(&workflow, json!({})).await;
    let doomed = bench.another_runner();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(200)) => {}
        _ = doomed.execute(run, Arc::clone(&workflow), CancellationToken::new()) => panic!("it waits"),
    }
    journal.restart();
    let due = bench.record(run).await.steps[0].waiting_until.unwrap();
    bench.execute(run, &workflow).await;
    let calls = bench.world.calls();
    assert_eq!((calls.len(), calls[1].at.as_secs()), (2, 600));
    assert_eq!(due, bascule_run::clock::later(crate::support::begin(), Duration::from_secs(600)));
}

#[tokio::test(start_paused = true)]
async fn spec_06_a_rerun_does_only_what_failed_and_keeps_earlier_outputs() {
    // Item `b` fails while the run is in its first attempt.
    let world = World::answering(|world, call| match call.step.as_str() {
        "all[b]" if world.stored("mended").is_none() => fails(Kind::Offline),
        _ => Ok(json!({ "made": call.with })),
    });
    let bench = Bench::new(world);
    let steps = vec![
        call("list", "p/list", json!(["a", "b", "c"])),
        call("all", "p/f", json!("${{ item }}"))
            .for_each("steps.list.output.made", "item", Some("${{ item }}"), 2)
            .keep_going()
            .retry(2, &["offline"]),
        call("sum", "p/sum", json!("${{ steps.all.counts.succeeded }}")).if_("steps.all.counts.failed == 0"),
    ];
    let workflow =
        with_output(steps, json!({ "attempt": "${{ run.attempt }}", "all": "${{ steps.all.output }}" }));
    let first = bench.run(&workflow).await;
    assert_eq!((first.status, bench.world.calls().len()), (Status::Failed, 5));
    bench.world.store("mended", true);
    let again = bench
        .runner
        .rerun(first.run, Arc::clone(&workflow), Basis::AsBegun, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(again.status, Status::Succeeded);
    assert_eq!(again.output["attempt"], 2);
    assert_eq!(again.output["all"], json!([{ "made": "a" }, { "made": "b" }, { "made": "c" }]));
    let calls = bench.world.calls();
    let steps: Vec<_> = calls[5..].iter().map(|call| call.step.as_str()).collect();
    assert_eq!(steps, ["all[b]", "sum"]);
    assert_eq!((calls[5].attempt, calls[6].with.clone()), (1, json!(3)));
    let record = bench.record(first.run).await;
    let attempts: Vec<_> =
        record.at(&Place::step("all").item("b")).unwrap().attempts.iter().map(|a| a.run_attempt).collect();
    assert_eq!(attempts, [1, 1, 2]);
}

/// A run of which a process recorded these facts about its step `one` before it went into quarantine, taken up again: the
/// calls that were made then.
async fn taken_up_after(result: Option<Outcome>) -> Vec<crate::support::Call> {
    let bench = Bench::new(echo());
    let steps = vec![call("one", "p/f", json!(1)), call("two", "p/f", json!("${{ steps.one.output }}"))];
    let workflow = shared(steps);
    let run = bench.start(&workflow, json!({})).await;
    let at = bench.clock.now();
    let claim = bench.journal.claim(run, "another", at, at).await.unwrap();
    let (place, id) = (Place::step("one"), AttemptId { role: Role::Call, look: 1, attempt: 1 });
    let intent = Entry::AttemptStarted {
        place: place.clone(),
        id,
        key: "k".to_owned(),
        plugin: "p".to_owned(),
        function: "f".to_owned(),
        with_digest: String::new(),
        with: Some(json!(1)),
    };
    let mut entries = vec![intent.clone(), intent];
    entries.extend(result.map(|outcome| Entry::AttemptEnded { place, id, outcome }));
    entries.push(Entry::RunEnded { status: Status::Interrupted, output: Value::Null, failure: None });
    let entries = entries.into_iter().map(|entry| Timed { at, entry }).collect();
    bench.journal.append(&claim, Batch { entries, lines: vec![] }).await.unwrap();
    let again = bench.runner.rerun(run, workflow, Basis::AsBegun, CancellationToken::new()).await.unwrap();
    assert_eq!(again.status, Status::Succeeded);
    bench.world.calls()
}

#[tokio::test(start_paused = true)]
async fn spec_06_a_call_whose_result_is_recorded_is_not_made_again_although_its_step_had_not_ended() {
    let calls = taken_up_after(Some(Outcome::Done(json!("made")))).await;
    let calls: Vec<_> = calls.into_iter().map(|call| (call.step, call.with)).collect();
    assert_eq!(calls, [("two".to_owned(), json!("made"))]);
}

#[tokio::test(start_paused = true)]
async fn spec_06_a_call_of_unknown_outcome_keeps_its_key_and_is_told_that_it_may_have_been_made() {
    let calls = taken_up_after(None).await;
    assert_eq!(calls[0].key, "k");
    let calls: Vec<_> = calls.iter().map(|call| (call.step.as_str(), call.lost)).collect();
    assert_eq!(calls, [("one", 2), ("two", 0)]);
}

#[tokio::test(start_paused = true)]
async fn spec_06_a_rerun_goes_by_the_text_of_the_beginning_unless_the_latest_is_asked_for() {
    let bench =
        Bench::new(World::answering(
            |_, call| {
                if call.with == "old" { fails(Kind::Refused) } else { Ok(Value::Null) }
            },
        ));
    let old = workflow(vec![call("one", "p/f", json!("old"))]);
    let new =
        Arc::new(Workflow { digest: "d2".to_owned(), ..workflow(vec![call("one", "p/f", json!("new"))]) });
    let run = bench.run(&Arc::new(old)).await.run;
    let never = CancellationToken::new();
    let refused = bench.runner.rerun(run, Arc::clone(&new), Basis::AsBegun, never.clone()).await;
    assert!(matches!(refused, Err(RunError::OtherText { .. })));
    let outcome = bench.runner.rerun(run, new, Basis::Latest, never).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.journal.find(&run.to_string()).await.unwrap().digest, "d2");
}

#[tokio::test(start_paused = true)]
async fn spec_06_with_the_latest_text_a_failed_list_is_evaluated_again_and_items_are_known_by_their_keys() {
    let bench =
        Bench::new(World::answering(
            |_, call| {
                if call.with == "bad" { fails(Kind::Refused) } else { Ok(Value::Null) }
            },
        ));
    let all =
        |list: &str| vec![call("all", "p/f", json!("${{ n }}")).for_each(list, "n", Some("${{ n }}"), 1)];
    let run = bench.run(&shared(all("['a', 'bad', 'c']"))).await.run;
    let mended = Workflow { digest: "d2".to_owned(), ..workflow(all("['c', 'a', 'good']")) };
    let outcome =
        bench.runner.rerun(run, Arc::new(mended), Basis::Latest, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.world.steps_of("p/f"), ["all[a]", "all[bad]", "all[c]", "all[good]"]);
}

#[tokio::test(start_paused = true)]
async fn spec_06_a_call_of_unknown_effect_keeps_its_key_and_one_without_effect_gets_a_new_one() {
    for (effect, same) in [(Effect::Unknown, true), (Effect::None, false)] {
        let world =
            World::answering(move |_, _| Err(Failure::new(Kind::Timeout, "late").with_effect(effect)));
        let bench = Bench::new(world);
        let workflow = shared(vec![call("one", "p/f", json!({}))]);
        let run = bench.run(&workflow).await.run;
        bench.runner.rerun(run, workflow, Basis::AsBegun, CancellationToken::new()).await.unwrap();
        let calls = bench.world.calls();
        assert_eq!(calls[0].key == calls[1].key, same, "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn spec_07_only_what_this_run_began_is_undone() {
    let world = World::answering(|_, call| match call.step.as_str() {
        "all/bad" => fails(Kind::Refused),
        _ => Ok(json!({ "id": call.with["name"] })),
    });
    let bench = Bench::new(world);
    let undo = || uses("p/delete", json!({ "id": "${{ output.id }}" }));
    let add = |id: &str| call(id, "p/add", json!({ "name": id })).undo(undo());
    let steps = vec![
        add("made"),
        add("skipped").if_("false"),
        call("bad", "p/add", json!({ "name": "bad" })).undo(undo()),
        add("later"),
    ];
    let outcome = bench.run(&shared(vec![all_or_nothing("all", steps)])).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let deleted: Vec<_> = bench
        .world
        .calls()
        .into_iter()
        .filter(|call| call.function == "p/delete")
        .map(|call| call.with)
        .collect();
    assert_eq!(
        deleted,
        [json!({ "id": "made" })],
        "`bad` failed without effect, the others were never begun"
    );
}

#[tokio::test(start_paused = true)]
async fn spec_07_undo_is_registered_before_the_step_is_called() {
    let bench = Bench::new(echo());
    let step = call("x", "p/add", json!({})).undo(uses("p/delete", json!({})));
    let run = bench.run(&shared(vec![all_or_nothing("all", vec![step])])).await.run;
    let kinds: Vec<_> =
        bench.journal.read(run).await.unwrap().iter().map(|timed| timed.entry.kind()).collect();
    assert_eq!(kinds[..4], ["created", "undo-registered", "attempt-started", "attempt-ended"]);
}

#[tokio::test(start_paused = true)]
async fn spec_07_an_earlier_attempt_that_may_have_worked_is_undone_though_the_last_one_did_nothing() {
    let world = World::answering(|_, call| match (call.function.as_str(), call.attempt) {
        ("p/add", 1) => Err(Failure::new(Kind::Timeout, "late").with_effect(Effect::Unknown)),
        ("p/add", _) => fails(Kind::Conflict),
        _ => Ok(Value::Null),
    });
    let bench = Bench::new(world);
    let step = call("x", "p/add", json!({})).retry(2, &["timeout"]).undo(uses("p/delete", json!({})));
    let outcome = bench.run(&shared(vec![all_or_nothing("all", vec![step])])).await;
    assert_eq!(outcome.failure.unwrap().effect, Effect::Unknown);
    assert_eq!(bench.world.steps_of("p/delete"), ["all/x"]);
}

#[tokio::test(start_paused = true)]
async fn spec_07_what_was_made_before_a_failed_verification_is_undone_with_its_output() {
    let world = World::answering(|_, call| {
        Ok(if call.function == "p/add" { json!({ "id": 7 }) } else { json!(false) })
    });
    let bench = Bench::new(world);
    let step = call("x", "p/add", json!({}))
        .verify(uses("p/find", json!({})), "result", 1)
        .undo(uses("p/delete", json!("${{ output.id }}")));
    bench.run(&shared(vec![all_or_nothing("all", vec![step])])).await;
    assert_eq!(bench.world.calls().pop().unwrap().with, 7);
}

#[tokio::test(start_paused = true)]
async fn spec_07_steps_that_ended_before_a_crash_are_known_and_undone_after_it() {
    let world =
        World::answering(
            |_, call| {
                if call.step == "all/bad" { fails(Kind::Refused) } else { Ok(call.with.clone()) }
            },
        );
    let (bench, journal) = bench(world);
    let inner = crate::support::write::block(
        "inner",
        vec![call("x", "p/add", json!("x")).undo(uses("p/delete", json!("${{ output }}")))],
    );
    let steps =
        vec![inner, call("use", "p/use", json!("${{ steps.x.output }}")), call("bad", "p/f", json!({}))];
    let workflow = shared(vec![all_or_nothing("all", steps)]);
    let run = bench.start(&workflow, json!({})).await;
    // In the call of `bad`.
    bench.world.fault.arm(6);
    dies_during(&bench, &journal, run, &workflow).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!((outcome.status, outcome.failure.unwrap().kind), (Status::RolledBack, Kind::Refused));
    let calls: Vec<_> = bench.world.calls().into_iter().map(|call| (call.function, call.with)).collect();
    assert_eq!(calls[calls.len() - 1], ("p/delete".to_owned(), json!("x")));
    assert_eq!(calls.iter().filter(|(function, _)| function != "p/f").count(), 3, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn spec_07_a_lost_call_of_a_cancelled_run_is_undone_and_not_called_again() {
    let (bench, journal) = bench(echo());
    let step = call("x", "p/add", json!("x")).undo(uses("p/delete", json!({ "made": "${{ output }}" })));
    let workflow = shared(vec![all_or_nothing("all", vec![step])]);
    let run = bench.start(&workflow, json!({})).await;
    bench.world.fault.arm(2);
    dies_during(&bench, &journal, run, &workflow).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = bench.runner.resume(run, workflow, cancel).await.unwrap();
    assert_eq!((outcome.status, outcome.steps[0].status), (Status::Cancelled, Status::RolledBack));
    let calls: Vec<_> = bench.world.calls().into_iter().map(|call| (call.function, call.with)).collect();
    assert_eq!(calls, [("p/add".to_owned(), json!("x")), ("p/delete".to_owned(), json!({ "made": null }))]);
}

#[tokio::test(start_paused = true)]
async fn spec_07_what_is_not_there_any_more_counts_as_undone() {
    let world = World::answering(|_, call| match call.function.as_str() {
        "p/delete" => fails(Kind::NotFound),
        _ => Err(Failure::new(Kind::Timeout, "late").with_effect(Effect::Unknown)),
    });
    let bench = Bench::new(world);
    let step = call("x", "p/add", json!({})).undo(uses("p/delete", json!({ "made": "${{ output }}" })));
    assert_eq!(bench.run(&shared(vec![all_or_nothing("all", vec![step])])).await.status, Status::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn spec_08_any_does_not_mean_unauthorized_locked_out_or_cancelled() {
    for kind in Kind::ALL {
        let bench = Bench::new(World::answering(move |_, _| fails(kind)));
        let step =
            call("one", "p/f", json!({})).retry(3, &["any"]).catch(&["any"], None, Some(json!("caught")));
        let outcome = bench.run(&shared(vec![step])).await;
        let named = matches!(kind, Kind::Unauthorized | Kind::LockedOut | Kind::Cancelled);
        let expected = if named { (Status::Failed, 1) } else { (Status::Recovered, 3) };
        assert_eq!((outcome.status, bench.world.calls().len()), expected, "{kind}");
        assert_eq!(Selector::Any.matches(&Failure::new(kind, "x")), !named);
        // By its name each kind can be meant.
        let step = call("one", "p/f", json!({})).catch(&[kind.name()], None, Some(json!("caught")));
        assert_eq!(bench.run(&shared(vec![step])).await.status, Status::Recovered, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn spec_08_a_locked_device_is_not_asked_again_by_verify_or_undo() {
    for kind in [Kind::Unauthorized, Kind::LockedOut] {
        let world = World::answering(move |_, call| match call.function.as_str() {
            "p/add" => Ok(Value::Null),
            _ => fails(kind),
        });
        let bench = Bench::new(world);
        let step = call("x", "p/add", json!({}))
            .verify(uses("p/find", json!({})), "result", 30)
            .undo(uses("p/delete", json!({})));
        let outcome = bench.run(&shared(vec![all_or_nothing("all", vec![step])])).await;
        assert_eq!(outcome.status, Status::RollbackIncomplete);
        assert_eq!(outcome.failure.unwrap().kind, kind);
        assert_eq!(bench.world.steps_of("p/find").len(), 1, "{kind}");
        assert_eq!(bench.world.steps_of("p/delete").len(), 1, "{kind}");
    }
}

#[test]
fn spec_11_there_is_no_now() {
    for source in ["now()", "run.started_at if now else 1", "utcnow()", "1 | now"] {
        let refused = match Expression::parse(source) {
            Err(_) => true,
            Ok(expression) => {
                let mut scope = Scope::new();
                scope.set("run", json!({ "started_at": "2026-11-21T08:00:00Z" }));
                expression.evaluate(&scope).is_err()
            }
        };
        assert!(refused, "{source}");
    }
}

#[tokio::test(start_paused = true)]
async fn spec_11_the_start_of_the_run_is_the_same_after_days() {
    let (bench, journal) = bench(echo());
    let with = json!("${{ run.started_at }} ${{ trigger.kind }} ${{ run.id }}");
    let steps = vec![call("one", "p/f", with.clone()), call("two", "p/f", with)];
    let workflow = with_output(steps, json!("${{ run.started_at }}"));
    let run = bench.start(&workflow, json!({})).await;
    bench.world.fault.arm(3);
    dies_during(&bench, &journal, run, &workflow).await;
    tokio::time::sleep(Duration::from_secs(3 * 24 * 3600)).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.output, "2026-11-21T08:00:00Z");
    let calls = bench.world.calls();
    assert_eq!(calls[0].with, calls[1].with);
    assert_eq!(calls[1].step, "two");
}
