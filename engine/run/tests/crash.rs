//! The process dies at every single point of some golden workflows, and another one takes the run up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bascule_run::clock::{Clock, TokioClock};
use bascule_run::journal::{Entry, Journal, MemoryJournal, SqliteJournal};
use bascule_run::{RunId, RunOutcome, Status};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::plan::{OnFailure, Workflow};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::fault::FaultyJournal;
use crate::support::write::{
    Keywords, all_or_nothing, block, call, call_workflow, children, inputs, named, template, uses, workflow,
};
use crate::support::{Bench, Call, FastClock, World, begin};

type Making = fn() -> (Arc<Workflow>, World);

const GOLDEN: [(&str, Making); 6] = [
    ("faces", faces),
    ("rollback", rollback),
    ("kept", kept),
    ("doors", doors),
    ("sites", sites),
    ("composed", composed),
];

fn argument(call: &Call, name: &str) -> String {
    match &call.with[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Five terminals, three at a time: fine, slow to come, without face, slow to show, unable.
fn faces() -> (Arc<Workflow>, World) {
    let face = json!({ "terminal": "${{ device }}" });
    let steps = vec![
        call("terminals", "db/select", json!({})),
        call("photo", "isapi/modify", face.clone())
            .for_each("steps.terminals.output", "device", Some("${{ device }}"), 3)
            .keep_going()
            .retry(3, &["offline", "busy", "timeout"])
            .catch(&["not-found"], Some(uses("isapi/create", face.clone())), None)
            .verify(uses("isapi/find", face), "result.found", 10),
        call("note", "db/insert", json!({ "failed": "${{ steps.photo.counts.failed }}" })),
    ];
    let output =
        template(json!({ "counts": "${{ steps.photo.counts }}", "items": "${{ steps.photo.items }}" }));
    let workflow = Workflow { output: Some(output), ..workflow(steps) };
    let world = World::answering(|world, call| {
        let device = argument(call, "terminal");
        match (call.function.as_str(), device.as_str()) {
            ("db/select", _) => Ok(json!(["fine", "slow", "faceless", "late", "unable"])),
            ("isapi/modify", "slow") if call.attempt == 1 => {
                Err(Failure::new(Kind::Offline, "no answer").with_effect(Effect::Unknown))
            }
            ("isapi/modify", "faceless") => Err(Failure::new(Kind::NotFound, "no such face")),
            ("isapi/modify", "unable") => Err(Failure::new(Kind::Unsupported, "cannot")),
            ("isapi/modify" | "isapi/create", _) => {
                if world.stored(&device).is_none() {
                    world.store(device.clone(), u64::try_from(world.now().as_millis()).unwrap());
                }
                Ok(json!({ "stored": device }))
            }
            ("isapi/find", "late") => {
                let since = world.stored("late").and_then(|at| at.as_u64()).unwrap();
                Ok(json!({ "found": u64::try_from(world.now().as_millis()).unwrap() >= since + 1500 }))
            }
            ("isapi/find", _) => Ok(json!({ "found": world.stored(&device).is_some() })),
            ("db/insert", _) => Ok(Value::Null),
            (other, _) => panic!("{other}"),
        }
    });
    (Arc::new(workflow), world)
}

fn person(id: &str, table: &str) -> bascule_workflow::plan::Step {
    call(id, "hcp/add", json!({ "table": table })).undo(uses(
        "hcp/delete",
        json!({
            "table": table, "id": "${{ output.id if output is not none else 'unknown' }}",
        }),
    ))
}

/// A world of tables for `hcp/add`, `hcp/delete`; deleting a card works at the second attempt.
fn tables(world: &World, call: &Call) -> std::result::Result<Value, Failure> {
    let table = argument(call, "table");
    match call.function.as_str() {
        "hcp/add" if table == "permission" => Err(Failure::new(Kind::Refused, "no such level")),
        "hcp/add" => {
            world.store(table.clone(), "there");
            Ok(json!({ "id": format!("{table}-1") }))
        }
        "hcp/delete" if table == "card" && call.attempt == 1 => Err(Failure::new(Kind::Busy, "busy")),
        "hcp/delete" => {
            world.store(table, "gone");
            Ok(Value::Null)
        }
        "mail/send" => Ok(json!("sent")),
        other => panic!("{other}"),
    }
}

/// All or nothing, and it comes to nothing.
fn rollback() -> (Arc<Workflow>, World) {
    let steps = vec![
        all_or_nothing(
            "entry",
            vec![
                person("person", "person"),
                person("cards", "card").for_each("['a', 'b']", "card", Some("${{ card }}"), 2),
                call("permission", "hcp/add", json!({ "table": "permission" })),
            ],
        ),
        call("never", "mail/send", json!({})),
    ];
    let workflow = Workflow {
        finally: vec![call("tell", "mail/send", json!({ "to": "${{ steps.entry.status }}" }))],
        ..workflow(steps)
    };
    (Arc::new(workflow), World::answering(tables))
}

/// All or nothing, one inside the other, and it comes to all.
fn kept() -> (Arc<Workflow>, World) {
    let inner = all_or_nothing("inner", vec![person("card", "card")]);
    let steps = vec![all_or_nothing("entry", vec![person("person", "person"), inner])];
    let workflow = Workflow { output: Some(template(json!("${{ steps.entry.output }}"))), ..workflow(steps) };
    (Arc::new(workflow), World::answering(tables))
}

/// A door that must not open twice, a key that counts across runs, and `finally`.
fn doors() -> (Arc<Workflow>, World) {
    let steps = vec![
        call("ticket", "db/take", json!({})).once("ticket-7"),
        call("door", "isapi/open", json!({ "door": 1 })).never_repeat().retry(3, &["any"]),
        call("after", "db/note", json!({})),
    ];
    let finally = vec![call("lock", "isapi/lock", json!({}))];
    let world = World::answering(|world, call| {
        world.store(call.function.clone(), "done");
        Ok(json!(call.function))
    });
    (Arc::new(Workflow { finally, ..workflow(steps) }), world)
}

/// Blocks per site, with a poll inside; the second site has nothing to do.
fn sites() -> (Arc<Workflow>, World) {
    let inner = vec![
        call("export", "nvr/start", json!({ "site": "${{ site.name }}" })),
        call("ready", "nvr/state", json!({ "job": "${{ steps.export.output }}" })).poll(
            "result.state == 'ready'",
            5,
            60,
        ),
    ];
    let steps = vec![
        block("site", inner)
            .for_each(
                "[{'name': 'north', 'on': true}, {'name': 'south', 'on': false}]",
                "site",
                Some("${{ site.name }}"),
                1,
            )
            .skip_if("not site.on", "switched off"),
    ];
    let workflow = Workflow { output: Some(template(json!("${{ steps.site.items }}"))), ..workflow(steps) };
    let world = World::answering(|world, call| match call.function.as_str() {
        "nvr/start" => {
            if world.stored("begun").is_none() {
                world.store("begun", world.now().as_secs());
            }
            Ok(json!("job-1"))
        }
        "nvr/state" => {
            let begun = world.stored("begun").and_then(|at| at.as_u64()).unwrap();
            Ok(json!({ "state": if world.now().as_secs() >= begun + 9 { "ready" } else { "working" } }))
        }
        other => panic!("{other}"),
    });
    (Arc::new(workflow), world)
}

/// Workflows in workflows, inside a block that comes to nothing; then `on-failure`.
fn composed() -> (Arc<Workflow>, World) {
    let enrol = Workflow {
        inputs: inputs(&["table"]),
        finally: vec![call("tell", "mail/send", json!({ "to": "${{ steps.row.status }}" }))],
        output: Some(template(json!("${{ steps.row.output.id }}"))),
        ..named("enrol", vec![person("row", "${{ inputs.table }}")])
    };
    let both = Workflow {
        children: children(vec![enrol]),
        ..named(
            "both",
            vec![call_workflow("each", "enrol", json!({ "table": "${{ table }}" })).for_each(
                "['person', 'card']",
                "table",
                Some("${{ table }}"),
                2,
            )],
        )
    };
    let steps = vec![
        all_or_nothing(
            "entry",
            vec![
                call_workflow("rows", "both", json!({})),
                call("permission", "hcp/add", json!({ "table": "permission" })),
            ],
        ),
        call("never", "mail/send", json!({})),
    ];
    let workflow = Workflow {
        children: children(vec![both]),
        deadline: Some(std::time::Duration::from_secs(86_400)),
        on_failure: Some(OnFailure::Steps(vec![call(
            "alarm",
            "mail/send",
            json!({ "why": "${{ error.message }}" }),
        )])),
        ..workflow(steps)
    };
    (Arc::new(workflow), World::answering(tables))
}

/// What must be the same however often the process died.
#[derive(Debug, PartialEq)]
struct Result {
    status: Status,
    output: Value,
    failure: Option<Failure>,
    places: BTreeMap<String, (Option<Status>, Value)>,
    world: BTreeMap<String, Value>,
}

async fn result(bench: &Bench, outcome: RunOutcome) -> Result {
    fn collect(
        steps: &[bascule_run::record::StepRecord],
        places: &mut BTreeMap<String, (Option<Status>, Value)>,
    ) {
        for step in steps {
            places.insert(step.place.to_string(), (step.status, step.output.clone()));
            collect(&step.inner, places);
        }
    }
    let mut places = BTreeMap::new();
    collect(&bench.record(outcome.run).await.steps, &mut places);
    let world = bench.world.stored.lock().unwrap().clone();
    Result {
        status: outcome.status,
        output: outcome.output,
        failure: outcome.failure,
        places,
        // When something was stored may differ, that it was may not.
        world: world.into_iter().map(|(k, v)| (k, if v.is_number() { json!("at") } else { v })).collect(),
    }
}

/// A journal that can lose its process.
trait Restart {
    fn journal(&self) -> Arc<dyn Journal>;
    fn clock(&self) -> Arc<dyn Clock>;
    async fn restart(&mut self);
}

struct InMemory(MemoryJournal);

impl Restart for InMemory {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.0.clone())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(TokioClock::starting_at(begin()))
    }

    async fn restart(&mut self) {
        self.0.restart();
    }
}

struct OnDisk {
    path: std::path::PathBuf,
    database: bascule_database::Database,
    journal: SqliteJournal,
}

impl OnDisk {
    async fn open(path: std::path::PathBuf) -> Self {
        let database = bascule_database::Database::open(&path).await.unwrap();
        let journal = SqliteJournal::open(database.clone()).await.unwrap();
        Self { path, database, journal }
    }
}

impl Restart for OnDisk {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.journal.clone())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(FastClock::default())
    }

    async fn restart(&mut self) {
        self.database.close().await;
        *self = Self::open(self.path.clone()).await;
    }
}

/// Attempts whose result is recorded, as (key, attempt).
async fn finished(journal: &dyn Journal, run: RunId) -> HashSet<(String, u32)> {
    let mut keys = HashMap::new();
    let mut finished = HashSet::new();
    for timed in journal.read(run).await.unwrap() {
        match timed.entry {
            Entry::AttemptStarted { place, id, key, .. } => {
                let known = keys.insert((place, id.role, id.look), key.clone());
                assert!(known.is_none_or(|known| known == key), "the key of a call changed");
            }
            Entry::AttemptEnded { place, id, .. } => {
                finished.insert((keys[&(place, id.role, id.look)].clone(), id.attempt));
            }
            _ => {}
        }
    }
    finished
}

/// Executes until the process dies; `None` then.
async fn execute_until_death(bench: &Bench, run: RunId, workflow: &Arc<Workflow>) -> Option<RunOutcome> {
    let runner = bench.another_runner();
    tokio::select! {
        biased;
        () = bench.world.fault.crashed() => None,
        outcome = runner.execute(run, Arc::clone(workflow), CancellationToken::new()) => Some(outcome.unwrap()),
    }
}

struct Tortured {
    result: Result,
    calls: Vec<Call>,
    /// Whether the last point was reached.
    reached: bool,
}

/// Runs a golden workflow, with the process dying at the given points, one after the other.
async fn tortured(
    store: &mut impl Restart,
    making: impl FnOnce() -> (Arc<Workflow>, World),
    points: &[u64],
) -> Tortured {
    let clock = store.clock();
    let (workflow, world) = making();
    let fault = world.fault.clone();
    let world = Arc::new(world);
    let faulty = |inner| -> Arc<dyn Journal> { Arc::new(FaultyJournal { inner, fault: fault.clone() }) };
    let mut bench = Bench::with_clock(faulty(store.journal()), Arc::clone(&world), clock);
    let run = bench.start(&workflow, json!({})).await;
    let mut done = HashSet::new();
    let mut before = 0;
    let mut reached = true;
    for point in points.iter().copied().chain([u64::MAX]) {
        fault.arm(point);
        let outcome = execute_until_death(&bench, run, &workflow).await;
        fault.disarm();
        // What a process does must not repeat anything that was known to be done before it.
        for call in &world.calls()[before..] {
            assert!(
                !done.contains(&(call.key.clone(), call.attempt)),
                "{call:?} was finished, points {points:?}"
            );
        }
        done = finished(&*bench.journal, run).await;
        before = world.calls().len();
        if let Some(outcome) = outcome {
            reached &= point == u64::MAX;
            return Tortured { result: result(&bench, outcome).await, calls: world.calls(), reached };
        }
        store.restart().await;
        bench.journal = faulty(store.journal());
        let open = bench.journal.open_runs().await.unwrap();
        if open.is_empty() {
            // It died after its last word.
            let record = bench.record(run).await;
            assert!(!record.header.status.is_open());
            let outcome = RunOutcome {
                run,
                status: record.header.status,
                output: record.output.clone(),
                failure: record.failure.clone(),
                steps: vec![],
                alert: None,
            };
            return Tortured { result: result(&bench, outcome).await, calls: world.calls(), reached };
        }
    }
    panic!("the last process does not die");
}

/// A run that nothing happens to.
async fn undisturbed(making: Making) -> Result {
    tortured(&mut InMemory(MemoryJournal::new()), making, &[]).await.result
}

/// Judges by the undisturbed result.
fn judge(name: &str, points: &[u64], expected: &Result, got: &Tortured) {
    let opened = got.calls.iter().filter(|call| call.function == "isapi/open").count();
    assert!(opened <= 1, "the door was opened {opened} times, points {points:?}");
    let got = &got.result;
    if name == "doors" && got.status == Status::Interrupted {
        assert_eq!(got.places["door"].0, Some(Status::Interrupted), "{points:?}");
        assert_eq!(got.places["after"].0, Some(Status::Cancelled), "{points:?}");
        assert_eq!(got.places["finally:lock"].0, Some(Status::Succeeded), "{points:?}");
        return;
    }
    assert_eq!(expected, got, "{name}, points {points:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_dies_at_any_point_comes_to_the_same_end() {
    for (name, making) in GOLDEN {
        let expected = undisturbed(making).await;
        let mut interrupted = 0;
        for point in 1.. {
            let got = tortured(&mut InMemory(MemoryJournal::new()), making, &[point]).await;
            interrupted += u32::from(got.result.status == Status::Interrupted);
            judge(name, &[point], &expected, &got);
            if !got.reached {
                assert!(point > 15, "{name} has only {point} points");
                break;
            }
        }
        assert_eq!(interrupted > 0, name == "doors", "{name}: {interrupted} runs were interrupted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_recovery_dies_too_comes_to_the_same_end() {
    for (name, making) in GOLDEN {
        let expected = undisturbed(making).await;
        // Every third point, so that the second death falls before, in and after what the first one left open.
        for first in (1..).step_by(3) {
            let mut reached = false;
            for second in 1..14 {
                let points = [first, second];
                let got = tortured(&mut InMemory(MemoryJournal::new()), making, &points).await;
                judge(name, &points, &expected, &got);
                reached |= got.reached;
            }
            if !reached {
                break;
            }
        }
    }
}

/// Polls a future so many times and then drops it.
struct Dropped<F> {
    future: Pin<Box<F>>,
    left: u32,
}

impl<F: Future> Future for Dropped<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        if self.left == 0 {
            // Comes back at once, to be dropped.
            context.waker().wake_by_ref();
        }
        self.future.as_mut().poll(context).map(Some)
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_after_any_poll_comes_to_the_same_end() {
    for (name, making) in GOLDEN {
        let expected = undisturbed(making).await;
        for left in 1.. {
            let (workflow, world) = making();
            let journal = MemoryJournal::new();
            let bench = Bench::over(Arc::new(journal.clone()), Arc::new(world));
            let run = bench.start(&workflow, json!({})).await;
            let execute = bench.runner.execute(run, Arc::clone(&workflow), CancellationToken::new());
            let early = Dropped { future: Box::pin(execute), left }.await;
            let over = early.is_some();
            let outcome = match early {
                Some(outcome) => outcome.unwrap(),
                // The same runner may take its own run up again.
                None => bench.execute(run, &workflow).await,
            };
            let calls = bench.world.calls();
            let got = Tortured { result: result(&bench, outcome).await, calls, reached: true };
            judge(name, &[u64::from(left)], &expected, &got);
            if over {
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_same_holds_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (name, making) in [("rollback", rollback as Making), ("doors", doors as Making)] {
        let expected = undisturbed(making).await;
        for point in (1..).step_by(4) {
            let path = folder.path().join(format!("{name}-{point}.db"));
            let mut store = OnDisk::open(path).await;
            let got = tortured(&mut store, making, &[point]).await;
            judge(name, &[point], &expected, &got);
            store.database.close().await;
            if !got.reached {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_golden_workflows_end_as_they_should_when_nothing_happens() {
    let faces = undisturbed(faces).await;
    assert_eq!(faces.status, Status::Failed);
    assert_eq!(faces.output["counts"]["succeeded"], 3);
    assert_eq!(faces.output["counts"]["recovered"], 1);
    assert_eq!(faces.output["counts"]["failed"], 1);
    let rollback = undisturbed(rollback).await;
    assert_eq!(rollback.status, Status::RolledBack);
    assert_eq!((&rollback.world["person"], &rollback.world["card"]), (&json!("gone"), &json!("gone")));
    assert_eq!(rollback.places["never"].0, Some(Status::Cancelled));
    assert_eq!(rollback.places["finally:tell"].0, Some(Status::Succeeded));
    let kept = undisturbed(kept).await;
    assert_eq!((kept.status, &kept.output["inner"]["card"]["id"]), (Status::Succeeded, &json!("card-1")));
    assert_eq!(undisturbed(doors).await.status, Status::Succeeded);
    let sites = undisturbed(sites).await;
    assert_eq!(sites.status, Status::Succeeded, "{sites:?}");
    assert_eq!(sites.output[1]["reason"], "switched off");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cancelled_stays_cancelled_when_the_process_dies() {
    let steps = || {
        let add = |id: &str| call(id, "p/add", json!(id)).undo(uses("p/remove", json!(id)));
        let steps = vec![all_or_nothing("pair", vec![add("left"), add("right"), add("third")])];
        Arc::new(Workflow { finally: vec![call("tidy", "p/tidy", json!({}))], ..workflow(steps) })
    };
    let world = || {
        World::new(Box::new(|world, call, invocation| {
            Box::pin(async move {
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                    () = invocation.cancel.cancelled() => return Err(Failure::new(Kind::Cancelled, "cancelled")),
                }
                if let Some(name) = call.with.as_str() {
                    world.store(name, call.function);
                }
                Ok(Value::Null)
            })
        }))
    };
    let mut reached = 0;
    for point in 1..40 {
        let workflow = steps();
        let journal = MemoryJournal::new();
        let world = Arc::new(world());
        let faulty = FaultyJournal { inner: Arc::new(journal.clone()), fault: world.fault.clone() };
        let bench = Bench::over(Arc::new(faulty), Arc::clone(&world));
        let run = bench.start(&workflow, json!({})).await;
        let cancel = CancellationToken::new();
        world.fault.arm(point);
        let doomed = bench.another_runner();
        let first = tokio::select! {
            biased;
            () = world.fault.crashed() => None,
            outcome = doomed.execute(run, Arc::clone(&workflow), cancel.clone()) => Some(outcome.unwrap()),
            () = async {
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
                cancel.cancel();
                std::future::pending().await
            } => None,
        };
        world.fault.disarm();
        let asked = bench.record(run).await.cancel_asked_at.is_some();
        journal.restart();
        if first.is_none() && bench.journal.open_runs().await.unwrap().is_empty() {
            continue;
        }
        let outcome = match first {
            Some(outcome) => outcome,
            None => bench.execute(run, &workflow).await,
        };
        let calls = |function: &str| world.steps_of(function);
        if asked {
            reached += 1;
            assert_eq!(outcome.status, Status::Cancelled, "point {point}");
            assert_eq!(outcome.steps[0].status, Status::RolledBack, "point {point}");
            assert!(!calls("p/add").contains(&"pair/third".to_owned()), "point {point}");
            let stored = world.stored.lock().unwrap().clone();
            assert!(stored.values().all(|last| last == "p/remove"), "point {point}: {stored:?}");
            assert!(calls("p/tidy").contains(&"finally:tidy".to_owned()));
        } else {
            assert_eq!(outcome.status, Status::Succeeded, "point {point}");
        }
    }
    assert!(reached > 8, "{reached}");
}

/// How one item of a random run behaves, as YAML says it and as the device answers.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Fails so many attempts before it works.
    failures: u32,
    /// Then, or at once, it fails for good.
    refused: bool,
    /// The failures leave it open what was done.
    unknown: bool,
}

/// Random items, in a plain `for-each` or in an all-or-nothing block, over the world that they describe.
fn random(items: &[Item], parallel: u32, undone: bool, verified: bool) -> (Arc<Workflow>, World) {
    let list = json!((0..items.len()).collect::<Vec<_>>());
    let mut each = call("all", "p/add", json!("${{ n }}"))
        .for_each("steps.list.output", "n", Some("item ${{ n }}"), parallel)
        .keep_going()
        .retry(3, &["busy"])
        .undo(uses("p/remove", json!("${{ n }}")));
    if verified {
        each = each.verify(uses("p/find", json!("${{ n }}")), "result", 5);
    }
    let body = if undone { all_or_nothing("block", vec![each]) } else { each };
    let steps = vec![call("list", "p/list", list), body];
    let workflow = Workflow { finally: vec![call("tidy", "p/list", json!(0))], ..workflow(steps) };
    let items = items.to_vec();
    let world = World::answering(move |world, call| {
        let name = call.with.to_string();
        let item = call.with.as_u64().and_then(|n| items.get(usize::try_from(n).unwrap()));
        match (call.function.as_str(), item) {
            ("p/add", Some(item)) if call.attempt <= item.failures => {
                let effect = if item.unknown { Effect::Unknown } else { Effect::None };
                Err(Failure::new(Kind::Busy, "busy").with_effect(effect))
            }
            ("p/add", Some(item)) if item.refused => Err(Failure::new(Kind::Refused, "no")),
            ("p/add", _) => {
                world.store(name, "there");
                Ok(call.with.clone())
            }
            ("p/remove", _) => {
                world.store(name, "gone");
                Ok(Value::Null)
            }
            ("p/find", _) => Ok(json!(world.stored(&name).is_some())),
            _ => Ok(call.with.clone()),
        }
    });
    (Arc::new(workflow), world)
}

fn any_item() -> impl Strategy<Value = Item> {
    (0_u32..4, prop::bool::weighted(0.2), any::<bool>()).prop_map(|(failures, refused, unknown)| Item {
        failures,
        refused,
        unknown,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_random_run_that_dies_at_random_points_comes_to_the_same_end(
        items in prop::collection::vec(any_item(), 0..7),
        parallel in 1_u32..4,
        undone in any::<bool>(),
        verified in any::<bool>(),
        points in prop::collection::vec(1_u64..30, 1..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let making = || random(&items, parallel, undone, verified);
            let expected = tortured(&mut InMemory(MemoryJournal::new()), making, &[]).await;
            let got = tortured(&mut InMemory(MemoryJournal::new()), making, &points).await;
            judge("random", &points, &expected.result, &got);
            let refused = items.iter().any(|item| item.refused || item.failures > 2);
            let bad = if undone { Status::RolledBack } else { Status::Failed };
            assert_eq!(got.result.status, if refused { bad } else { Status::Succeeded });
            if undone && refused {
                let left = got.result.world.values().filter(|state| **state == "there").count();
                assert_eq!(left, 0, "something was left behind");
            }
        });
    }
}
