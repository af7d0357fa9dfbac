//! One case: set up, run, compared, taken down.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bascule_capability::secret::{MasterKey, Secret, Secrets};
use bascule_capability::{Capabilities, Parts as Lent};
use bascule_database::Database;
use bascule_plugin::Host;
use bascule_run::clock::Clock as _;
use bascule_run::journal::MemoryJournal;
use bascule_run::observe::Silent;
use bascule_run::record::RunRecord;
use bascule_run::{Parts, Runner, Start};
use bascule_workflow::cases::{Case, Difference, Given, TriggerGiven};
use bascule_workflow::expression::Scope;
use bascule_workflow::plan::Workflow;
use bascule_workflow::project::Project;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::clock::{VirtualClock, drive};
use super::outcome;
use super::project::{Inventory, bytes};
use super::simulator::Running;
use super::stand_in::{Prepared, Ready, StandIns, Unmatched};
use super::steps::Calls;
use super::wire::Reply;
use crate::bridge::Bridge;
use crate::site::Plugins;

/// When cases happen that do not say so: a Monday morning.
const NOW: &str = "2026-01-05T08:00:00Z";
/// Real time after which a case is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The instant that plugins see; set by each case.
pub(crate) type Shown = Arc<Mutex<Arc<VirtualClock>>>;

/// What all cases of a project share.
pub(crate) struct Stage {
    pub(crate) project: Project,
    pub(crate) host: Arc<Host>,
    pub(crate) plugins: Plugins,
    pub(crate) shown: Shown,
}

/// What came of a case.
pub(crate) struct Verdict {
    /// Where the run differs from what was expected.
    pub(crate) differences: Vec<Difference>,
    /// Requests that no stub was for.
    pub(crate) unmatched: Vec<Unmatched>,
    /// Why the case could not be run or judged at all.
    pub(crate) trouble: Option<anyhow::Error>,
    /// Steps, in the order in which they began.
    pub(crate) record: Option<RunRecord>,
    /// `{status, output, error, steps, undo, files}`
    pub(crate) result: Value,
    /// What was asked: connection and request.
    pub(crate) requests: Vec<(String, Value)>,
    /// Real time.
    pub(crate) took: Duration,
}

impl Verdict {
    /// True where everything is as expected.
    pub(crate) fn passed(&self) -> bool {
        self.differences.is_empty() && self.unmatched.is_empty() && self.trouble.is_none()
    }
}

impl Stage {
    /// Runs a case to its end; `file` is its test file.
    pub(crate) async fn run(&self, workflow: &Arc<Workflow>, case: &Case, file: &Path) -> Verdict {
        let begun = Instant::now();
        let mut verdict = Verdict {
            differences: Vec::new(),
            unmatched: Vec::new(),
            trouble: None,
            record: None,
            result: Value::Null,
            requests: Vec::new(),
            took: Duration::ZERO,
        };
        if let Err(trouble) = self.into(workflow, case, file, &mut verdict).await {
            verdict.trouble = Some(trouble);
        }
        verdict.took = begun.elapsed();
        verdict
    }

    async fn into(
        &self,
        workflow: &Arc<Workflow>,
        case: &Case,
        file: &Path,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let folder =
            tempfile::Builder::new().prefix("bascule-test-").tempdir().context("no temporary folder")?;
        let beside = file.parent().map_or_else(PathBuf::new, Path::to_owned);
        let given = &case.given;
        let mut inventory = Inventory::of(&self.project, given, folder.path())?;
        let simulator = match &given.simulator {
            Some(wanted) => Some((wanted, Running::start(wanted).await?)),
            None => None,
        };
        let led = match &simulator {
            Some((wanted, running)) => running.connect(wanted, &self.project, &mut inventory)?,
            None => Vec::new(),
        };
        let ready = simulator.as_ref().map_or(Value::Null, |(_, running)| running.ready.clone());
        put_files(given, &inventory.project, &beside)?;
        let mut scope = Scope::new();
        scope.set("simulator", ready);

        let now = match given.now {
            Some(now) => now,
            None => NOW.parse::<Timestamp>()?,
        };
        let clock = Arc::new(VirtualClock::starting_at(now));
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::clone(&clock);

        let start = start(workflow, case, &scope)?;
        if let Some(start) = &start {
            scope.set("inputs", Value::Object(start.inputs.clone()));
            scope.set("trigger", start.trigger.clone());
        }
        let stand_ins =
            Arc::new(StandIns::start(prepared(given, &inventory, &led, &beside)?, scope.clone()).await?);
        let ended = match start {
            None => Ok(()),
            Some(start) => {
                let run = OneRun {
                    stage: self,
                    workflow,
                    case,
                    inventory: &inventory,
                    clock,
                    folder: folder.path(),
                };
                run.to_its_end(start, &stand_ins, &mut scope, verdict).await
            }
        };
        verdict.unmatched = stand_ins.unmatched();
        verdict.requests = stand_ins.all();
        stand_ins.stop().await;
        ended?;
        if verdict.result.is_null() {
            verdict.result = outcome::not_started(&inventory.project);
        }
        for key in ["status", "output", "error", "steps", "undo", "files"] {
            scope.set(key, verdict.result[key].clone());
        }
        let requests: Map<String, Value> = self
            .project
            .connections
            .keys()
            .map(|name| (name.clone(), Value::Array(stand_ins.asked(name))))
            .collect();
        scope.set("requests", Value::Object(requests));
        let asked = |connection: &str| -> Vec<Value> {
            let all = stand_ins.asked(connection);
            all.into_iter().filter(|request| request["status"] != "refused").collect()
        };
        verdict.differences = case.expect.differences(&verdict.result, &asked, &scope);
        Ok(())
    }
}

/// A case while it runs.
struct OneRun<'a> {
    stage: &'a Stage,
    workflow: &'a Arc<Workflow>,
    case: &'a Case,
    inventory: &'a Inventory,
    clock: Arc<VirtualClock>,
    folder: &'a Path,
}

impl OneRun<'_> {
    async fn to_its_end(
        &self,
        start: Start,
        stand_ins: &Arc<StandIns>,
        scope: &mut Scope,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let database = Database::open(&self.folder.join("bascule.db")).await?;
        let key = MasterKey::create(&self.folder.join("key"))?;
        let environment = self.inventory.environment();
        let secrets = Secrets::open(database.clone(), key, self.folder.to_owned(), environment).await?;
        for (name, value) in &self.inventory.stored {
            secrets.set(name, Secret::new(value.clone()), None).await?;
        }
        let redactor = secrets.redactor().clone();
        let lent = Lent {
            project: self.inventory.project.clone(),
            root: self.folder.to_owned(),
            database: database.clone(),
            secrets,
        };
        let detour = Arc::clone(stand_ins) as Arc<dyn bascule_capability::http::Detour>;
        let capabilities = Capabilities::open_with_detour(lent, detour).await?;
        let bridge = Bridge::new(Arc::clone(&self.stage.host), &self.stage.plugins, capabilities, redactor);
        let calls = Calls {
            bridge,
            stubs: self.case.given.steps.clone(),
            clock: Arc::clone(&self.clock),
            used: Mutex::default(),
        };
        let parts = Parts {
            journal: Arc::new(MemoryJournal::new()),
            invoke: Arc::new(calls),
            clock: Arc::clone(&self.clock) as _,
            observer: Arc::new(Silent),
        };
        let runner = Runner::with_call_timeout(parts, self.inventory.project.limits.call);
        let run = runner.start(self.workflow, start).await?;
        let execution = runner.execute(run, Arc::clone(self.workflow), CancellationToken::new());
        let driven = tokio::time::timeout(PATIENCE, drive(&self.clock, execution)).await;
        let record = runner.record(&run.to_string()).await?;
        let outcome = match driven {
            Ok(Ok(outcome)) => outcome?,
            ended => {
                verdict.record = Some(record);
                let why = if ended.is_err() { "it did not end within 120 s" } else { "it waits without end" };
                anyhow::bail!("the run was given up: {why}");
            }
        };
        scope.set("run", json!({ "id": run, "started_at": record.header.started_at.to_string(), "workflow": self.workflow.id }));
        verdict.result = outcome::result(&outcome, &record, &self.inventory.project);
        verdict.record = Some(record);
        database.close().await;
        Ok(())
    }
}

/// What the run starts from; `None` where the trigger's `if` is false.
fn start(workflow: &Workflow, case: &Case, scope: &Scope) -> Result<Option<Start>> {
    let mut trigger = json!({ "kind": "manual" });
    let mut given = Map::new();
    if let Some(template) = &case.inputs {
        given = match template.evaluate(scope) {
            Ok(Value::Object(map)) => map,
            Ok(_) => anyhow::bail!("the inputs are not a map"),
            Err(error) => anyhow::bail!("the inputs: {}", error.in_full()),
        };
    }
    if let Some(from) = &case.trigger {
        trigger = Value::Object(from.value.clone());
        if let Some(inputs) = inputs_of(workflow, from)? {
            if case.inputs.is_none() {
                given = inputs;
            }
        } else {
            return Ok(None);
        }
    }
    let inputs = workflow.accept_inputs(given).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the workflow does not take the inputs: {}", all.join("; "))
    })?;
    Ok(Some(Start { inputs, trigger, ..Start::default() }))
}

/// The inputs that the workflow's own trigger makes of it; `None` where its `if` is false.
fn inputs_of(workflow: &Workflow, from: &TriggerGiven) -> Result<Option<Map<String, Value>>> {
    let kind = from.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let of_kind: Vec<_> = workflow
        .triggers
        .iter()
        .filter(|trigger| match &from.id {
            Some(id) => trigger.id == *id,
            None => trigger.kind() == kind,
        })
        .collect();
    let trigger = match of_kind.as_slice() {
        [trigger] => *trigger,
        [] => return Ok(Some(Map::new())),
        _ => anyhow::bail!("the workflow has several triggers of kind `{kind}`: name one with `id:`"),
    };
    let mut scope = Scope::new();
    scope.set("trigger", Value::Object(from.value.clone()));
    let said = |error: bascule_workflow::expression::ExpressionError| {
        anyhow::anyhow!("trigger `{}`: {}", trigger.id, error.in_full())
    };
    if let Some(condition) = &trigger.condition
        && !condition.is_true(&scope).map_err(said)?
    {
        return Ok(None);
    }
    let inputs = match &trigger.inputs {
        Some(template) => template.evaluate(&scope).map_err(said)?,
        None => from.value.get("body").cloned().unwrap_or_default(),
    };
    Ok(Some(match inputs {
        Value::Object(map) => map,
        _ => Map::new(),
    }))
}

/// The files that lie in the folders at the start.
fn put_files(given: &Given, project: &Project, beside: &Path) -> Result<()> {
    for (folder, files) in &given.folders {
        let Some(place) = project.folders.get(folder) else { continue };
        for (name, content) in files {
            let path = Path::new(&place.path).join(name);
            let inside =
                Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            anyhow::ensure!(inside, "`{name}` is not the name of a file in a folder");
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let (data, _) =
                bytes(content, beside).with_context(|| format!("the file `{name}` of `{folder}`"))?;
            std::fs::write(&path, data).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// The stubs of every connection that does not lead to the simulator, with their bodies read.
fn prepared(
    given: &Given,
    inventory: &Inventory,
    led: &[String],
    beside: &Path,
) -> Result<Vec<(String, bascule_workflow::project::Connection, Vec<Prepared>)>> {
    let mut all = Vec::new();
    for (name, entry) in inventory.project.connections.iter().filter(|(name, _)| !led.contains(name)) {
        let mut stubs = Vec::new();
        for stub in given.connections.get(name).map(Vec::as_slice).unwrap_or_default() {
            let mut answers = Vec::new();
            for answer in &stub.answers {
                let mut headers = answer.headers.clone();
                let mut body = Vec::new();
                if let Some(content) = &answer.body {
                    let (data, kind) = bytes(content, beside)
                        .with_context(|| format!("the stub of line {}", stub.span.line))?;
                    body = data;
                    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                        headers.push(("Content-Type".to_owned(), kind.to_owned()));
                    }
                }
                let reply = Reply { status: answer.status, headers, body };
                answers.push(Ready { reply, delay: answer.delay, fault: answer.fault });
            }
            stubs.push(Prepared { stub: stub.clone(), answers });
        }
        all.push((name.clone(), entry.clone(), stubs));
    }
    Ok(all)
}

/// The present instant of whatever case is running, for plugins.
pub(crate) fn shown_clock(shown: &Shown) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let shown = Arc::clone(shown);
    Arc::new(move || shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).now())
}
