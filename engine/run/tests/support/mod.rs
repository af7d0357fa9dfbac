//! Short ways to write a workflow down, and a world that answers its calls.

pub(crate) mod fault;
mod world;
pub(crate) mod worlds;
pub(crate) mod write;

use std::sync::Arc;

use bascule_run::clock::{Clock, TokioClock};
use bascule_run::journal::{Journal, MemoryJournal};
use bascule_run::observe::Silent;
use bascule_run::record::RunRecord;
use bascule_run::{Parts, RunId, RunOutcome, Runner, Start};
use bascule_workflow::plan::Workflow;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) use world::{Call, World};

/// A runner over a journal and a world, under tokio's paused clock.
pub(crate) struct Bench {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) world: Arc<World>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runner: Runner,
}

impl Bench {
    pub(crate) fn new(world: World) -> Self {
        Self::over(Arc::new(MemoryJournal::new()), Arc::new(world))
    }

    pub(crate) fn over(journal: Arc<dyn Journal>, world: Arc<World>) -> Self {
        Self::with_clock(journal, world, Arc::new(TokioClock::starting_at(begin())))
    }

    pub(crate) fn with_clock(journal: Arc<dyn Journal>, world: Arc<World>, clock: Arc<dyn Clock>) -> Self {
        let runner = runner(&journal, &world, &clock);
        Self { journal, world, clock, runner }
    }

    /// A new process over the same journal and world.
    pub(crate) fn another_runner(&self) -> Runner {
        runner(&self.journal, &self.world, &self.clock)
    }

    pub(crate) async fn start(&self, workflow: &Workflow, inputs: Value) -> RunId {
        let Value::Object(inputs) = inputs else { panic!("inputs are a map") };
        let trigger = json!({ "kind": "manual" });
        self.runner.start(workflow, Start { inputs, trigger, concurrency_key: None }).await.unwrap()
    }

    /// Starts and executes.
    pub(crate) async fn run(&self, workflow: &Arc<Workflow>) -> RunOutcome {
        let run = self.start(workflow, Value::Object(Map::new())).await;
        self.execute(run, workflow).await
    }

    pub(crate) async fn execute(&self, run: RunId, workflow: &Arc<Workflow>) -> RunOutcome {
        self.runner.execute(run, Arc::clone(workflow), CancellationToken::new()).await.unwrap()
    }

    pub(crate) async fn record(&self, run: RunId) -> RunRecord {
        RunRecord::read(&*self.journal, &run.to_string()).await.unwrap()
    }
}

/// A second of this clock is a millisecond: for tests on disk, where tokio's clock cannot stand still.
pub(crate) struct FastClock {
    begun: std::time::Instant,
}

impl Default for FastClock {
    fn default() -> Self {
        Self { begun: std::time::Instant::now() }
    }
}

#[async_trait::async_trait]
impl Clock for FastClock {
    fn now(&self) -> jiff::Timestamp {
        let microseconds = i64::try_from(self.begun.elapsed().as_micros()).unwrap() * 1000;
        jiff::Timestamp::from_microsecond(begin().as_microsecond() + microseconds).unwrap()
    }

    async fn sleep_until(&self, at: jiff::Timestamp) {
        while let Ok(left) = std::time::Duration::try_from(at.duration_since(self.now())) {
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left / 1000).await;
        }
    }
}

pub(crate) fn begin() -> jiff::Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn runner(journal: &Arc<dyn Journal>, world: &Arc<World>, clock: &Arc<dyn Clock>) -> Runner {
    Runner::new(Parts {
        journal: Arc::clone(journal),
        invoke: Arc::clone(world) as _,
        clock: Arc::clone(clock),
        observer: Arc::new(Silent),
    })
}
