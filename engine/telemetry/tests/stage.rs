//! A runner with telemetry, on a paused clock and on plugins that do as their arguments say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_run::clock::TokioClock;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::MemoryJournal;
use bascule_run::{Parts, RunId, RunOutcome, Runner, Start};
use bascule_telemetry::{Post, Service, Telemetry};
use bascule_workflow::check::check;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::Look;
use bascule_workflow::signature::{Function, Param, Plugin, Type};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Fails as often as `value` says, with a message that quotes what it was given; takes a second each time.
#[derive(Default)]
struct World {
    calls: std::sync::Mutex<BTreeMap<String, u64>>,
}

#[async_trait]
impl Invoke for World {
    async fn invoke(&self, invocation: Invocation, _listener: Listener) -> Result<Value, Failure> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if invocation.function == "things.hang" {
            std::future::pending::<()>().await;
        }
        let value = invocation.with["value"].clone();
        let made = {
            let mut calls = self.calls.lock().unwrap();
            let made = calls.entry(format!("{} {}", invocation.run, invocation.step)).or_default();
            *made += 1;
            *made
        };
        if made <= value["fails"].as_u64().unwrap_or(0) {
            let failure = Failure::new(Kind::Busy, format!("not now, {value}")).with_code("demo:later");
            return Err(failure.with_details(json!({ "heard": value })));
        }
        Ok(value)
    }
}

pub(crate) struct Stage {
    pub(crate) runner: Runner,
    pub(crate) telemetry: Telemetry,
    parts: Option<Arc<MemoryJournal>>,
}

fn begin() -> Timestamp {
    "2026-11-21T03:00:00Z".parse().unwrap()
}

impl Stage {
    pub(crate) fn new(post: Arc<dyn Post>) -> Self {
        Self::over(post, Arc::new(MemoryJournal::new()), begin())
    }

    fn over(post: Arc<dyn Post>, journal: Arc<MemoryJournal>, now: Timestamp) -> Self {
        let clock = Arc::new(TokioClock::starting_at(now));
        let service = Service { name: "site".to_owned(), version: "1.2.3".to_owned() };
        let telemetry = Telemetry::start(post, clock.clone(), service);
        let runner = Runner::new(Parts {
            journal: journal.clone(),
            invoke: telemetry.around(Arc::new(World::default())),
            clock,
            observer: telemetry.observer(),
        });
        Self { runner, telemetry, parts: Some(journal) }
    }

    /// Another process on the same journal, an hour later.
    pub(crate) fn reborn(&mut self, post: Arc<dyn Post>) -> Self {
        let later = begin().saturating_add(jiff::SignedDuration::from_hours(1)).unwrap();
        Self::over(post, self.parts.take().unwrap(), later)
    }

    pub(crate) async fn start(&self, workflow: &Workflow, inputs: Value) -> RunId {
        let Value::Object(inputs) = inputs else { panic!("inputs are a map") };
        let trigger = json!({ "kind": "manual", "secret": "canary-of-the-trigger" });
        self.runner.start(workflow, Start { inputs, trigger, concurrency_key: None }).await.unwrap()
    }

    pub(crate) async fn run(&self, workflow: &Arc<Workflow>) -> RunOutcome {
        let inputs = workflow.accept_inputs(Map::new()).unwrap();
        let run = self.start(workflow, Value::Object(inputs)).await;
        self.execute(run, workflow).await
    }

    pub(crate) async fn execute(&self, run: RunId, workflow: &Arc<Workflow>) -> RunOutcome {
        self.runner.execute(run, Arc::clone(workflow), CancellationToken::new()).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.telemetry.stop(Duration::from_secs(30)).await;
    }
}

/// The workflow of that text.
pub(crate) fn workflow(text: &str) -> Arc<Workflow> {
    let param = Param { name: "value".to_owned(), ty: Type::Option(Box::new(Type::Json)) };
    let function = Function { params: vec![param], result: Some(Type::Json), docs: None };
    let functions = ["things.do", "things.hang"].map(|name| (name.to_owned(), function.clone()));
    let demo =
        Plugin { name: "demo".to_owned(), functions: functions.into_iter().collect(), ..Plugin::default() };
    let (workflow, problems) = check("site.yaml", text, &BTreeMap::from([("demo".to_owned(), demo)]), None);
    Arc::new(workflow.unwrap_or_else(|| panic!("{}", problems.render(Look::Plain))))
}
