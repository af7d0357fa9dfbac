//! Journaled steps: the executor with its journal on disk and calls that do nothing, against as many plain inserts,
//! each durable on its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bascule_database::Database;
use bascule_run::clock::SystemClock;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::SqliteJournal;
use bascule_run::observe::Silent;
use bascule_run::{Parts, Runner, Start, Status};
use bascule_workflow::expression::{Expression, Template};
use bascule_workflow::failure::Failure;
use bascule_workflow::plan::{Action, Call, ForEach, Step, Workflow};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::machine::{Watch, flushes};
use crate::samples::{Row, Samples, table};
use crate::{Pace, say};

/// As the photo workflow has it.
const PARALLEL: u32 = 16;

pub(crate) async fn measure(folder: &Path, pace: Pace) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let rounds = pace.of(3, 11);
    let sequence: u32 = pace.of(100, 400);
    let items: u32 = pace.of(400, 2_000);
    compare(
        folder,
        rounds,
        sequence,
        &format!("{sequence} steps one after another"),
        &in_sequence(sequence)?,
    )
    .await?;
    let title = format!("one step for each of {items} items, {PARALLEL} at a time");
    compare(folder, rounds, items, &title, &for_each()?).await?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

async fn compare(
    folder: &Path,
    rounds: u32,
    steps: u32,
    title: &str,
    workflow: &Arc<Workflow>,
) -> Result<()> {
    let watch = Watch::start(None);
    let (mut ours, mut plain, mut flush) = (Samples::default(), Samples::default(), Samples::default());
    let mut last = None;
    // The first round is not kept.
    for round in 0..=rounds {
        let kept = engine(folder, workflow, steps).await?;
        let inserted = inserts(folder, kept.records, kept.body_bytes).await?;
        if round > 0 {
            let records = f64::from(kept.records);
            ours.push(records / kept.time.as_secs_f64());
            plain.push(records / inserted.as_secs_f64());
            flush.push(flushes(folder)?.median() * 1e3);
        }
        last = Some(kept);
    }
    let Some(Kept { records, body_bytes, commits, .. }) = last else {
        return Ok(());
    };
    let mut per_second = Samples::default();
    ours.each(|rate| per_second.push(rate * f64::from(steps) / f64::from(records)));
    say(&format!(
        "journal: {title}, {rounds} rounds; a run leaves {records} records of {body_bytes} bytes in {commits} commits"
    ));
    say(&table(&[
        Row { what: "executor and journal, steps", unit: "/s", samples: &per_second },
        Row { what: "executor and journal, records", unit: "/s", samples: &ours },
        Row { what: "plain sqlx, a commit for each record", unit: "/s", samples: &plain },
        Row { what: "ratio of records per second", unit: "x", samples: &ours.over(&plain) },
        Row { what: "a write of 4 KiB and its flush", unit: "ms", samples: &flush },
    ]));
    say(&watch.caveat(&plain));
    Ok(())
}

/// Does nothing.
struct Nothing;

#[async_trait]
impl Invoke for Nothing {
    async fn invoke(&self, _: Invocation, _: Listener) -> Result<Value, Failure> {
        Ok(json!({ "ok": true }))
    }
}

/// What a run left behind.
struct Kept {
    time: Duration,
    records: u32,
    /// Mean length.
    body_bytes: usize,
    commits: u64,
}

async fn engine(folder: &Path, workflow: &Arc<Workflow>, steps: u32) -> Result<Kept> {
    let place = folder.join("engine");
    fs::create_dir_all(&place)?;
    let database = Database::open(&place.join("bascule.db")).await?;
    let runner = Runner::new(Parts {
        journal: Arc::new(SqliteJournal::open(database.clone()).await?),
        invoke: Arc::new(Nothing),
        clock: Arc::new(SystemClock),
        observer: Arc::new(Silent),
    });
    let inputs = Map::from_iter([("items".to_owned(), (0..steps).collect())]);
    let commits = database.commits();
    let begun = Instant::now();
    let run = runner.start(workflow, Start { inputs, ..Start::default() }).await?;
    let outcome = runner.execute(run, Arc::clone(workflow), Default::default()).await?;
    let time = begun.elapsed();
    ensure!(outcome.status == Status::Succeeded, "the run ended {:?}: {:?}", outcome.status, outcome.failure);
    let commits = database.commits() - commits;
    let (records, bytes): (u32, i64) =
        sqlx::query_as("SELECT count(*), coalesce(sum(length(body)), 0) FROM journal_entry")
            .fetch_one(database.readers())
            .await?;
    drop(runner);
    database.close().await;
    fs::remove_dir_all(place)?;
    let body_bytes = usize::try_from(bytes)? / usize::try_from(records.max(1))?;
    Ok(Kept { time, records, body_bytes, commits })
}

/// The same pragmas, one connection, `BEGIN` and `COMMIT` around each record.
async fn inserts(folder: &Path, records: u32, body_bytes: usize) -> Result<Duration> {
    let place = folder.join("plain");
    fs::create_dir_all(&place)?;
    let mut connection = SqliteConnectOptions::new()
        .filename(place.join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("mmap_size", "0")
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query(
        "CREATE TABLE record (run_id TEXT NOT NULL, number BIGINT NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL,
                              place TEXT, body TEXT, PRIMARY KEY (run_id, number))",
    )
    .execute(&mut connection)
    .await?;
    let body = "x".repeat(body_bytes);
    let begun = Instant::now();
    for number in 0..records {
        let mut transaction = connection.begin().await?;
        sqlx::query(
            "INSERT INTO record (run_id, number, at, kind, place, body) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind("01936a2f-0000-7000-8000-000000000000")
        .bind(number)
        .bind(1_795_219_200_000_000_i64)
        .bind("attempt-started")
        .bind("photo[17]")
        .bind(&body)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
    }
    let time = begun.elapsed();
    connection.close().await?;
    fs::remove_dir_all(place)?;
    Ok(time)
}

fn in_sequence(steps: u32) -> Result<Arc<Workflow>> {
    let steps = (1..=steps).map(|number| step(format!("s{number}"), json!({ "number": number }), None));
    Ok(workflow("in-sequence", steps.collect::<Result<_>>()?))
}

fn for_each() -> Result<Arc<Workflow>> {
    let each = ForEach {
        items: Expression::parse("inputs.items")?,
        variable: "item".to_owned(),
        key: None,
        parallel: PARALLEL,
        pause: std::time::Duration::ZERO,
    };
    Ok(workflow("for-each", vec![step("each".to_owned(), json!({ "number": "${{ item }}" }), Some(each))?]))
}

fn step(id: String, with: Value, for_each: Option<ForEach>) -> Result<Step> {
    let call =
        Call { plugin: "bench".to_owned(), function: "nothing".to_owned(), with: Template::parse(&with)? };
    Ok(Step {
        id,
        name: None,
        line: 1,
        action: Action::Call(call),
        condition: None,
        skip_if: None,
        for_each,
        retry: None,
        timeout: None,
        never_repeat: false,
        catch: Vec::new(),
        verify: None,
        poll: None,
        once: None,
        undo: None,
        keep_going: false,
    })
}

fn workflow(id: &str, steps: Vec<Step>) -> Arc<Workflow> {
    Arc::new(Workflow {
        id: id.to_owned(),
        name: id.to_owned(),
        description: None,
        inputs: Vec::new(),
        connections: Default::default(),
        folders: Default::default(),
        stores: Default::default(),
        steps,
        finally: Vec::new(),
        output: None,
        triggers: Vec::new(),
        concurrency: None,
        priority: Default::default(),
        debounce: None,
        deadline: None,
        on_failure: None,
        children: Default::default(),
        digest: Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect(),
        text: id.into(),
        plugins: Default::default(),
    })
}
