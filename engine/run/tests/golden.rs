//! Journals of released versions replay for ever: `tests/fixtures/journals/VERSION.sql` is what that version left on disk
//! when it was killed, `VERSION.json` is what becomes of its runs. This file also writes the pair for the present version:
//! `BASCULE_GOLDEN=VERSION cargo test -p bascule-run --test run golden` (see CONTRIBUTING.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bascule_database::Database;
use bascule_run::journal::{Journal, RunHeader, SqliteJournal, Verdict};
use bascule_run::{Basis, Place, RunError, RunId, Status};
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::{Effect, Failure, Kind};
use bascule_workflow::library::Library;
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::Look;
use bascule_workflow::signature::{Function, Param, Plugin, Type};
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, Call, FastClock, World};

/// Never change what is here: runs of old journals go by it. New things get a workflow of their own.
const MAIN: &str = r#"name: Golden
inputs:
  fails: { type: boolean, default: false }
deadline: 12h
on-failure: workflow/alert
steps:
  - id: people
    uses: demo/things.list
  - id: each
    for-each: ${{ steps.people.output }}
    as: person
    key: ${{ person }}
    parallel: 2
    keep-going: true
    uses: demo/things.put
    with: { value: "${{ person }}" }
    retry: { attempts: 3, on: [busy], backoff: { from: 600s, to: 600s } }
    catch:
      - on: [conflict]
        uses: demo/things.take
        with: { value: "${{ person }}" }
    verify: { uses: demo/things.has, with: { value: "${{ person }}" }, assert: result, within: 20s }
  - id: all
    all-or-nothing: true
    steps:
      - id: first
        uses: demo/things.put
        with: { value: first }
        undo: { uses: demo/things.remove, with: { value: first } }
      - id: second
        uses: demo/things.refuse
        with: { value: "${{ inputs.fails }}" }
  - id: calls
    uses: workflow/child
    with: { name: "${{ steps.people.output[0] }}" }
  - id: door
    uses: demo/things.open
    repeat: never
  - id: mark
    uses: demo/things.put
    with: { value: mark }
    once: ${{ steps.people.output[0] }}
finally:
  - id: tidy
    uses: demo/things.take
    with: { value: tidy }
output: { people: "${{ steps.each.counts }}", child: "${{ steps.calls.output }}" }
"#;
const CHILD: &str = "inputs: { name: { type: string, required: true } }
deadline: 6h
steps:
  - id: inner
    uses: demo/things.put
    with: { value: \"${{ inputs.name }}\" }
output: ${{ steps.inner.output }}
";
const ALERT: &str = "steps:\n  - id: tell\n    uses: demo/things.take\n    with: { value: alert }\n";

/// sha256 of the component that the signatures below stand for.
const COMPONENT: &str = "6f6e652d666f722d7468652d676f6c64656e2d6a6f75726e616c732d31323334";

fn plugins(component: &str) -> BTreeMap<String, Plugin> {
    let value = || Param { name: "value".to_owned(), ty: Type::Option(Box::new(Type::Json)) };
    let function = || Function { params: vec![value()], result: Some(Type::Json), docs: None };
    let names = ["list", "put", "take", "has", "refuse", "remove", "open"];
    let functions = names.into_iter().map(|name| (format!("things.{name}"), function())).collect();
    let (name, sha256) = ("demo".to_owned(), Some(component.to_owned()));
    BTreeMap::from([(name.clone(), Plugin { name, functions, sha256, ..Plugin::default() })])
}

fn checked(id: &str, text: &str, component: &str, named: &BTreeMap<String, String>) -> Arc<Workflow> {
    let mut library = Library::default();
    for (id, text) in named {
        library.insert(&format!("{id}.yaml"), text);
    }
    let plugins = plugins(component);
    let surroundings = Surroundings { plugins: &plugins, project: None, library: &library };
    let (workflow, problems) = check_among(&format!("{id}.yaml"), text, surroundings);
    Arc::new(workflow.unwrap_or_else(|| panic!("{}", problems.render(Look::Plain))))
}

/// The world of the golden runs. `stops` is the step whose call never ends.
fn world(stops: Option<&'static str>) -> World {
    World::new(Box::new(move |world, call, _invocation| {
        Box::pin(async move {
            if stops == Some(call.step.as_str()) {
                world.store("reached", true);
                std::future::pending::<()>().await;
            }
            answered(&call)
        })
    }))
}

fn answered(call: &Call) -> Result<Value, Failure> {
    let value = &call.with["value"];
    match call.function.as_str() {
        "demo/things.list" => Ok(json!(["Ann", "Bob", "Cleo"])),
        "demo/things.put" if value == "Bob" => Err(Failure::new(Kind::Conflict, "there is one")),
        "demo/things.put" if value == "Cleo" && call.attempt == 1 => {
            Err(Failure::new(Kind::Busy, "not now").with_retry_after(Duration::from_secs(1)))
        }
        "demo/things.has" => Ok(json!(true)),
        "demo/things.refuse" if *value == json!(true) => {
            Err(Failure::new(Kind::Refused, "refused").with_effect(Effect::None).with_code("demo:no"))
        }
        _ => Ok(json!({ "did": value })),
    }
}

async fn open(path: &Path) -> (Database, Arc<dyn Journal>) {
    let database = Database::open(path).await.unwrap();
    let journal = SqliteJournal::open(database.clone()).await.unwrap();
    (database, Arc::new(journal))
}

fn bench(journal: &Arc<dyn Journal>, world: World, clock: &Arc<FastClock>) -> Bench {
    Bench::with_clock(Arc::clone(journal), Arc::new(world), Arc::clone(clock) as _)
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

/// Executes until the step is reached, and then the process is gone.
async fn cut_off(bench: &Bench, run: RunId, workflow: &Arc<Workflow>) {
    let reached = async {
        while bench.world.stored("reached").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let runner = bench.another_runner();
    tokio::select! {
        outcome = runner.execute(run, Arc::clone(workflow), never()) => panic!("it ended: {outcome:?}"),
        () = reached => {}
    }
}

/// Runs of every kind, left behind by a process that was killed; gives every kind of entry.
async fn leave_behind(path: &Path) -> BTreeSet<&'static str> {
    let named = [("child", CHILD), ("alert", ALERT)].map(|(id, text)| (id.to_owned(), text.to_owned()));
    let workflow = checked("golden", MAIN, COMPONENT, &named.into());
    let (database, journal) = open(path).await;
    let clock = Arc::new(FastClock::default());
    let calm = bench(&journal, world(None), &clock);
    let ended = calm.start(&workflow, json!({ "fails": false })).await;
    assert_eq!(calm.execute(ended, &workflow).await.status, Status::Recovered);

    // Cut off in the child, at the step that is never repeated, and after a wish to cancel it.
    for (stops, then) in [("calls/inner", "goes on"), ("door", "is asked"), ("all/first", "is cancelled")] {
        let bench = bench(&journal, world(Some(stops)), &clock);
        let run = bench.start(&workflow, json!({ "fails": false })).await;
        cut_off(&bench, run, &workflow).await;
        if then == "is cancelled" {
            SqliteJournal::ask_cancel_beside(path, run, bench.clock.now(), "golden").await.unwrap();
        }
        if then == "is asked" {
            restart(&database).await;
            assert_eq!(calm.execute(run, &workflow).await.status, Status::Interrupted);
            calm.runner.decide(run, Place::step("door"), Verdict::NotDone).await.unwrap();
            let rerun = bascule_run::Rerun { basis: Basis::AsBegun, inputs: None };
            calm.runner.reopen(run, &workflow, rerun).await.unwrap();
        }
    }
    // One that failed, was undone, and whose alert is queued.
    let run = calm.start(&workflow, json!({ "fails": true })).await;
    assert_eq!(calm.execute(run, &workflow).await.status, Status::RolledBack);
    calm.start(&workflow, json!({ "fails": true })).await;

    let mut kinds = BTreeSet::new();
    for header in journal.runs(&Default::default()).await.unwrap() {
        kinds.extend(journal.read(header.id).await.unwrap().iter().map(|timed| timed.entry.kind()));
    }
    database.close().await;
    kinds
}

/// What the next process finds: nobody holds anything.
async fn restart(database: &Database) {
    SqliteJournal::open(database.clone()).await.unwrap();
}

/// What becomes of each run, and what is called for it.
async fn replayed(journal: &Arc<dyn Journal>) -> Value {
    let mut headers: Vec<RunHeader> = journal.runs(&Default::default()).await.unwrap();
    headers.reverse();
    let mut all = Vec::new();
    for header in headers {
        let run = header.id;
        let record = bascule_run::record::RunRecord::read(&**journal, &run.to_string()).await.unwrap();
        let mut told = json!({ "run": run, "was": header.status, "steps": record.steps.len() });
        if header.status.is_open() {
            let texts = journal.texts(run).await.unwrap();
            let mut named: BTreeMap<String, String> =
                texts.named.iter().map(|(id, named)| (id.clone(), named.text.clone())).collect();
            if named.is_empty() {
                named = [("child", CHILD), ("alert", ALERT)]
                    .map(|(id, text)| (id.to_owned(), text.to_owned()))
                    .into();
            }
            let component = texts.plugins.get("demo").map_or("another build", String::as_str);
            let workflow = checked(&header.workflow, &texts.text, component, &named);
            let bench = bench(journal, world(None), &Arc::default());
            let outcome = bench.execute(run, &workflow).await;
            let again = bench.runner.execute(run, workflow, never()).await;
            assert!(matches!(again, Err(RunError::Journal(_))), "it has ended");
            let mut calls: Vec<Value> = bench
                .world
                .calls()
                .into_iter()
                .map(|call| json!([call.step, call.function, call.attempt, call.lost, call.key, call.with]))
                .collect();
            // Items go side by side.
            calls.sort_by_key(Value::to_string);
            told["becomes"] = json!(outcome.status);
            told["output"] = outcome.output;
            told["failure"] = json!(outcome.failure);
            told["calls"] = Value::Array(calls);
        }
        all.push(told);
    }
    Value::Array(all)
}

/// The database as SQL, in the order in which it can be read again.
async fn dump(database: &Database) -> String {
    let objects = sqlx::query(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
         ORDER BY type DESC, name",
    )
    .fetch_all(database.readers())
    .await
    .unwrap();
    let mut text = String::from("PRAGMA defer_foreign_keys = ON;\n");
    let mut rows = String::new();
    for object in objects {
        let (kind, name, sql): (&str, &str, &str) = (object.get(0), object.get(1), object.get(2));
        // Every database has this one from its first moment.
        if name != "bascule_step" {
            text.push_str(&format!("{sql};\n"));
        }
        if kind != "table" {
            continue;
        }
        let columns: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{name}')")))
                .fetch_all(database.readers())
                .await
                .unwrap();
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let select = format!("SELECT {} FROM {name} ORDER BY 1, 2", quoted.join(" || ', ' || "));
        let select = select.replace("ORDER BY 1, 2", &format!("ORDER BY {}", columns.join(", ")));
        let values: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_all(database.readers()).await.unwrap();
        for values in values {
            rows.push_str(&format!("INSERT INTO {name} ({}) VALUES ({values});\n", columns.join(", ")));
        }
    }
    text + &rows
}

async fn restore(path: &Path, text: String) -> (Database, Arc<dyn Journal>) {
    let database = Database::open(path).await.unwrap();
    database
        .write(move |tx| {
            Box::pin(async move {
                sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(tx).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let journal = SqliteJournal::open(database.clone()).await.unwrap();
    (database, Arc::new(journal))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/journals")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_journals_of_every_release_come_to_the_end_that_they_came_to_then() {
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            versions.push(path);
        }
    }
    versions.sort();
    assert!(!versions.is_empty());
    for path in versions {
        let place = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (database, journal) = restore(&place.path().join("bascule.db"), text).await;
        let expected: Value =
            serde_json::from_str(&std::fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
        let got = replayed(&journal).await;
        assert_eq!(
            serde_json::to_string_pretty(&got).unwrap(),
            serde_json::to_string_pretty(&expected).unwrap(),
            "{}",
            path.display()
        );
        database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_runs_of_the_present_version_are_replayed_from_what_it_left_behind() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bascule.db");
    let kinds = leave_behind(&path).await;
    let missing: Vec<&str> = [
        "created",
        "texts-pinned",
        "plugins-pinned",
        "deadline-set",
        "workflow-called",
        "alert-due",
        "items-listed",
        "attempt-started",
        "attempt-ended",
        "waiting",
        "undo-registered",
        "place-ended",
        "rollback-started",
        "undone",
        "cancel-asked",
        "reopened",
        "decided",
        "run-ended",
    ]
    .into_iter()
    .filter(|kind| !kinds.contains(kind))
    .collect();
    assert!(missing.is_empty(), "no run has any {missing:?}");
    let (database, _) = open(&path).await;
    let text = dump(&database).await;
    database.close().await;

    let (database, journal) = restore(&place.path().join("restored.db"), text.clone()).await;
    let got = replayed(&journal).await;
    database.close().await;
    let ends = |key: &str| -> Vec<&str> {
        got.as_array().unwrap().iter().map(|run| run[key].as_str().unwrap_or("-")).collect()
    };
    let was = ["recovered", "running", "queued", "queued", "running", "rolled-back", "queued", "queued"];
    let becomes = ["-", "recovered", "recovered", "succeeded", "cancelled", "-", "succeeded", "rolled-back"];
    assert_eq!((ends("was"), ends("becomes")), (was.to_vec(), becomes.to_vec()), "{got:#}");
    let calls = |index: usize| got[index]["calls"].as_array().unwrap();
    let steps = |index: usize| calls(index).iter().map(|call| call[0].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(steps(1), ["calls/inner", "door", "finally:tidy"], "what had ended is not called again");
    assert_eq!(calls(1)[0][3], 1, "it may have been made before");
    if let Ok(version) = std::env::var("BASCULE_GOLDEN") {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(folder().join(format!("{version}.sql")), text).unwrap();
        let expected = serde_json::to_string_pretty(&got).unwrap() + "\n";
        std::fs::write(folder().join(format!("{version}.json")), expected).unwrap();
    }
}
