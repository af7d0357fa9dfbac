//! A project in a temporary folder: real database, real journal, real runner; the plugins and the clock are doubles.

mod book;
mod clock;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bascule_database::Database;
use bascule_run::journal::{Filter, Journal, RunHeader, SqliteJournal};
use bascule_run::observe::Silent;
use bascule_run::{Parts, RunId, Runner, Status};
use bascule_trigger::{Admission, DispatchParts, Dispatcher, Intake};
use bascule_workflow::plan::Workflow;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub(crate) use book::Shelf;
pub(crate) use clock::ManualClock;
pub(crate) use world::World;

/// What outlives a process: the folder, and the world outside.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) world: Arc<World>,
    pub(crate) clock: Arc<ManualClock>,
}

/// One process over a site.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) journal: Arc<SqliteJournal>,
    pub(crate) intake: Intake,
    pub(crate) runner: Runner,
    parts: DispatchParts,
}

impl Site {
    pub(crate) fn new(workflows: &[(&str, &str)]) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            folder: tempfile::tempdir().unwrap(),
            shelf: Arc::new(Shelf::new(workflows)),
            world: Arc::new(World::default()),
            clock,
        }
    }

    /// A process begins.
    pub(crate) async fn open(&self) -> Stage {
        let database = Database::open(&self.folder.path().join("bascule.db")).await.unwrap();
        let journal = Arc::new(SqliteJournal::open(database.clone()).await.unwrap());
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let intake = Intake::open(database.clone(), &journal, clock.clone()).await.unwrap();
        let runner = Runner::new(Parts {
            journal: journal.clone(),
            invoke: self.world.clone(),
            clock: clock.clone(),
            observer: Arc::new(Silent),
        });
        let parts = DispatchParts {
            runner: runner.clone(),
            journal: journal.clone(),
            intake: intake.clone(),
            book: self.shelf.clone(),
            clock,
            at_once: bascule_trigger::dispatch::AT_ONCE,
        };
        Stage { database, journal, intake, runner, parts }
    }

    pub(crate) fn workflow(&self, id: &str) -> Arc<Workflow> {
        use bascule_trigger::Book;
        self.shelf.current(id).unwrap()
    }

    /// A demand with a trigger of `{kind: test}`.
    pub(crate) fn ask(&self, workflow: &str, inputs: Value) -> Admission {
        let Value::Object(inputs) = inputs else { panic!("inputs are a map") };
        Admission { inputs, ..Admission::new(self.workflow(workflow), "test-1", json!({ "kind": "test" })) }
    }
}

impl Stage {
    pub(crate) async fn dispatcher(&self) -> Dispatcher {
        Dispatcher::start(self.parts.clone()).await.unwrap()
    }

    /// A dispatcher that executes so many runs at a time.
    pub(crate) async fn dispatcher_with(&self, at_once: usize) -> Dispatcher {
        Dispatcher::start(DispatchParts { at_once, ..self.parts.clone() }).await.unwrap()
    }

    pub(crate) async fn header(&self, run: RunId) -> RunHeader {
        self.journal.find(&run.to_string()).await.unwrap()
    }

    pub(crate) async fn status(&self, run: RunId) -> Status {
        self.header(run).await.status
    }

    /// Every run, the oldest first.
    pub(crate) async fn runs(&self) -> Vec<RunHeader> {
        let mut runs = self.journal.runs(&Filter::default()).await.unwrap();
        runs.reverse();
        runs
    }

    /// The process dies: nothing is closed or told.
    pub(crate) async fn crash(self, dispatcher: Option<Dispatcher>) {
        if let Some(dispatcher) = dispatcher {
            dispatcher.drain(Duration::ZERO).await;
        }
        self.database.close().await;
    }
}

/// Waits for a condition, in real time; fails after a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn inputs(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("inputs are a map") };
    map
}
