//! `bascule run`, and what `bascule resume` shares with it.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bascule_run::clock::{Clock as _, SystemClock};
use bascule_run::invoke::Invoke;
use bascule_run::journal::{Journal as _, PinnedPlugins, RunHeader, RunId, RunTexts, SqliteJournal};
use bascule_run::observe::Observer;
use bascule_run::{Parts, RunError, RunOutcome, Runner, Start, Status};
use bascule_telemetry::Telemetry;
use bascule_workflow::admission::WhenBusy;
use bascule_workflow::check::Surroundings;
use bascule_workflow::failure::Failure;
use bascule_workflow::library::Library;
use bascule_workflow::plan::{OnFailure, Workflow};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Run, Show};
use crate::bridge::Bridge;
use crate::commands::remote;
use crate::exit::{Exit, coded, coded_with_help};
use crate::live::{Live, describe};
use crate::paint;
use crate::serving::{Client, Together};
use crate::site::{Places, Plugins, Site, checked, checked_text, count};
use crate::telemetry::{self, LAST_SPANS};
use crate::turn::{self, Turn};

/// Runs a workflow to its end.
pub(crate) async fn run(places: Places, options: Run) -> Result<Exit> {
    let file = places.workflow_file(&options.workflow)?;
    let given = given(&options.inputs, options.inputs_json.as_deref())?;
    if let Some(client) = Client::find(&places).await? {
        return remote::run(&client, &places, &options).await;
    }
    let trigger = json!({ "kind": "manual" });
    let site = match turn::open(places, &file, &given, &trigger).await? {
        Turn::Open(site) => site,
        Turn::Skipped { run, group } => {
            let reason = format!("run {} of group `{group}` is under way", short(run));
            return Ok(print_skipped(&reason, options.show));
        }
    };
    let engine = Engine::wire(&site, options.show).await?;
    let signatures = engine.plugins.signatures();
    let library = site.places.library(std::slice::from_ref(&file))?;
    let surroundings = Surroundings { plugins: &signatures, project: Some(&site.project), library: &library };
    let workflow = Arc::new(checked(&file, surroundings)?);
    let inputs = accept(&workflow, given)?;
    let exit = engine.start(&site, workflow, (inputs, trigger), options.show).await;
    engine.close(&site, exit).await
}

/// The inputs as they were written.
pub(crate) fn given(pairs: &[String], json: Option<&str>) -> Result<Map<String, Value>> {
    let Some(text) = json else {
        let mut map = Map::new();
        for pair in pairs {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(coded_with_help(
                    Exit::Usage,
                    format!("`{pair}` is not an input"),
                    "write it as NAME=VALUE, e.g. `-i employee_id=1001`",
                ));
            };
            if map.insert(name.to_owned(), json!(value)).is_some() {
                return Err(coded(Exit::Usage, format!("input `{name}` is given twice")));
            }
        }
        return Ok(map);
    };
    let text = match text {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input is not text")?;
            text
        }
        text => match text.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?,
            None => text.to_owned(),
        },
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(coded(Exit::Usage, "the inputs are not a JSON object")),
        Err(error) => Err(coded(Exit::Usage, format!("the inputs are not JSON: {error}"))),
    }
}

/// Holds the inputs against the workflow; all problems are said at once.
fn accept(workflow: &Workflow, given: Map<String, Value>) -> Result<Map<String, Value>> {
    accept_edited(workflow, &Map::new(), given)
}

/// The same for a rerun: what is not given stays as it was.
pub(crate) fn accept_edited(
    workflow: &Workflow,
    before: &Map<String, Value>,
    given: Map<String, Value>,
) -> Result<Map<String, Value>> {
    workflow.accept_edited_inputs(before, given).map_err(|problems| {
        for problem in &problems {
            paint::note(format!("{} {problem}", paint::bad("error:")));
            if let Some(help) = &problem.help {
                paint::note(format!("  help: {help}"));
            }
        }
        coded(
            Exit::Unusable,
            format!("{} with the inputs; nothing was started", count(problems.len(), "problem")),
        )
    })
}

/// The executor with everything it needs.
pub(crate) struct Engine {
    /// The executor.
    pub(crate) runner: Runner,
    /// The record of runs.
    pub(crate) journal: Arc<SqliteJournal>,
    /// The plugins.
    pub(crate) plugins: Plugins,
    bridge: Arc<Bridge>,
    telemetry: Option<Telemetry>,
}

impl Engine {
    /// Joins the parts.
    pub(crate) async fn wire(site: &Site, show: Show) -> Result<Self> {
        let (host, plugins) = site.plugins()?;
        let capabilities = site.capabilities().await?;
        let redactor = site.secrets.redactor().clone();
        let bridge = Bridge::new(host, &plugins, capabilities.clone(), redactor.clone())
            .keeping(&plugins, site.places.kept());
        let bridge = Arc::new(bridge);
        let journal = Arc::clone(&site.journal);
        let telemetry = telemetry::start(&site.project, redactor, move || capabilities.collector());
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::new(Live::new(show))];
        bridge.components().sweep(&journal).await;
        let mut invoke: Arc<dyn Invoke> = Arc::clone(&bridge) as _;
        if let Some(telemetry) = &telemetry {
            observers.push(telemetry.observer());
            invoke = telemetry.around(invoke);
        }
        let parts = Parts {
            journal: Arc::clone(&journal) as _,
            invoke,
            clock: Arc::new(SystemClock),
            observer: Arc::new(Together(observers)),
        };
        let runner = Runner::with_call_timeout(parts, site.project.limits.call);
        Ok(Self { runner, journal, plugins, bridge, telemetry })
    }

    /// Sends the last traces and gives the data folder back. After this nothing is executed. `outcome` is what the
    /// command comes to, unless the disk fails even now.
    pub(crate) async fn close(self, site: &Site, outcome: Result<Exit>) -> Result<Exit> {
        if let Some(telemetry) = self.telemetry {
            telemetry.stop(LAST_SPANS).await;
        }
        site.close(outcome).await
    }

    /// Starts a run and executes it. A run of the same group that a dead process left behind gives way: with
    /// `when-busy: replace` it is cancelled first, else it waits to be resumed.
    pub(crate) async fn start(
        &self,
        site: &Site,
        workflow: Arc<Workflow>,
        (inputs, trigger): (Map<String, Value>, Value),
        show: Show,
    ) -> Result<Exit> {
        let concurrency_key = turn::key(&workflow, &inputs, &trigger)?;
        if let (Some(key), Some(concurrency)) = (&concurrency_key, &workflow.concurrency)
            && let Some(gone) = self.journal.free_key(key, SystemClock.now()).await?
        {
            if concurrency.when_busy == WhenBusy::Replace {
                paint::note(format!(
                    "run {} of group `{key}` was cut off: it is cancelled first",
                    short(gone)
                ));
                self.cancel(site, gone).await?;
            } else {
                paint::note(format!(
                    "run {0} of group `{key}` was cut off: this one goes first, `bascule resume {0}` goes on with it",
                    short(gone)
                ));
            }
        }
        let run = self.runner.start(&workflow, Start { inputs, trigger, concurrency_key }).await?;
        self.drive(run, workflow, show).await
    }

    /// A run that is to be taken up again needs its group: one of a dead process waits to be resumed.
    pub(crate) async fn make_way(&self, header: &RunHeader) -> Result<()> {
        if header.status != Status::Running
            && let Some(key) = &header.concurrency_key
            && let Some(gone) = self.journal.free_key(key, SystemClock.now()).await?
        {
            paint::note(format!("run {} of group `{key}` was cut off; this one goes first", short(gone)));
        }
        Ok(())
    }

    /// Brings a run that nobody works on to its end as `cancelled`: its `undo` and `finally` run. One that cannot go on ends
    /// `interrupted`, and says that nothing of it was undone.
    pub(crate) async fn cancel(&self, site: &Site, run: RunId) -> Result<RunOutcome> {
        let header = self.journal.find(&run.to_string()).await?;
        self.make_way(&header).await?;
        let workflow = match self.begun(site, &header).await {
            Ok(workflow) => workflow,
            // What it goes by is not there any more, so its `undo` and `finally` cannot run.
            Err(error) => {
                let why = format!("cancelled from the command line while it could not go on ({error:#})");
                return Ok(self.runner.abandon(run, &why).await?);
            }
        };
        let cancel = CancellationToken::new();
        cancel.cancel();
        Ok(self.runner.execute(run, workflow, cancel).await?)
    }

    /// The workflow of a run by the texts and plugins that it goes by.
    pub(crate) async fn begun(&self, site: &Site, header: &RunHeader) -> Result<Arc<Workflow>> {
        let texts = self.journal.texts(header.id).await?;
        self.of_texts(site, header, &texts).await
    }

    /// The same for a run of its own that begins now: with the plugins of now.
    pub(crate) async fn begun_with_present_plugins(
        &self,
        site: &Site,
        header: &RunHeader,
    ) -> Result<Arc<Workflow>> {
        let texts = self.journal.texts(header.id).await?;
        self.of_texts(site, header, &RunTexts { plugins: PinnedPlugins::new(), ..texts }).await
    }

    async fn of_texts(&self, site: &Site, header: &RunHeader, texts: &RunTexts) -> Result<Arc<Workflow>> {
        // Where no text is pinned it names none, or has not begun.
        let mut library = if texts.named.is_empty() { site.places.library(&[])? } else { Library::default() };
        for (id, named) in &texts.named {
            library.insert(&format!("{id}.yaml"), &named.text);
        }
        let library = library.of_begun_run();
        let signatures = self.bridge.components().signatures(&texts.plugins).await?;
        let surroundings =
            Surroundings { plugins: &signatures, project: Some(&site.project), library: &library };
        Ok(Arc::new(checked_text(&format!("{}.yaml", header.workflow), &texts.text, surroundings)?))
    }

    /// Executes a run that is recorded, until its end or until Ctrl-C, and prints the result.
    pub(crate) async fn drive(&self, run: RunId, workflow: Arc<Workflow>, show: Show) -> Result<Exit> {
        let cancel = CancellationToken::new();
        let execution = self.runner.execute(run, Arc::clone(&workflow), cancel.clone());
        self.watch(run, &workflow, (execution, &cancel), show).await
    }

    /// Waits for the end of an execution, or for Ctrl-C, and prints the result.
    pub(crate) async fn watch(
        &self,
        run: RunId,
        workflow: &Workflow,
        (execution, cancel): (impl Future<Output = Result<RunOutcome, RunError>>, &CancellationToken),
        show: Show,
    ) -> Result<Exit> {
        tokio::pin!(execution);
        let mut asked = false;
        let outcome = loop {
            tokio::select! {
                outcome = &mut execution => break outcome?,
                signal = stop_signal() => {
                    signal?;
                    if asked {
                        // What was journaled stays: `bascule resume` goes on.
                        paint::note(format!("stopped at once; `bascule resume {run}` goes on"));
                        return Ok(Exit::Stopped);
                    }
                    asked = true;
                    paint::note("cancelling: running steps end first; once more stops at once and leaves the run to `bascule resume`");
                    cancel.cancel();
                }
            }
        };
        if let (Some(alert), Some(OnFailure::Workflow(about))) = (outcome.alert, &workflow.on_failure) {
            self.alert(alert, about).await;
        }
        print(run, &outcome, show)?;
        Ok(exit_of(outcome.status))
    }

    /// The run that `on-failure` names. Whatever becomes of it, the failed run is what the command is about.
    async fn alert(&self, run: RunId, workflow: &Arc<Workflow>) {
        let told = self.runner.execute(run, Arc::clone(workflow), CancellationToken::new()).await;
        let how = match told {
            Ok(outcome) => paint::status(outcome.status.name()),
            Err(error) => error.to_string(),
        };
        paint::note(format!("on-failure: `{}` {how} {}", workflow.id, paint::dim(&format!("run {run}"))));
    }
}

/// Prints that there is no run because its group is at work.
fn print_skipped(reason: &str, show: Show) -> Exit {
    if show.json {
        let value =
            json!({ "run": null, "status": "skipped", "output": null, "error": null, "reason": reason });
        paint::line(value.to_string());
    } else {
        paint::line(format!("{}: {reason}", paint::status(Status::Skipped.name())));
    }
    exit_of(Status::Skipped)
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("cannot listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The exit code that says how a run ended.
pub(crate) fn exit_of(status: Status) -> Exit {
    match status {
        Status::Succeeded | Status::Recovered | Status::Skipped => Exit::Success,
        Status::Interrupted | Status::RollbackIncomplete => Exit::NeedsPerson,
        Status::Cancelled => Exit::Stopped,
        Status::Queued | Status::Running | Status::Failed | Status::RolledBack => Exit::Failed,
    }
}

/// How a run ended.
pub(crate) struct End<'e> {
    pub(crate) run: RunId,
    pub(crate) status: Status,
    pub(crate) output: &'e Value,
    pub(crate) failure: Option<&'e Failure>,
}

/// Prints how a run ended.
fn print(run: RunId, outcome: &RunOutcome, show: Show) -> Result<()> {
    let RunOutcome { status, output, failure, .. } = outcome;
    print_end(End { run, status: *status, output, failure: failure.as_ref() }, show)
}

/// The same for a run that was executed elsewhere.
pub(crate) fn print_end(end: End<'_>, show: Show) -> Result<()> {
    let End { run, status, output, failure } = end;
    if show.json {
        let value = json!({ "run": run, "status": status, "output": output, "error": failure });
        paint::line(value.to_string());
        return Ok(());
    }
    print_output(output)?;
    paint::line(format!("{} {}", paint::status(status.name()), paint::dim(&format!("run {run}"))));
    if let Some(failure) = failure {
        paint::line(format!("  {}", describe(failure)));
    }
    if !status.is_fine() {
        paint::line(paint::dim(&format!("  every attempt in full: bascule runs show {}", short(run))));
    }
    Ok(())
}

/// The first characters of a run's id, enough to name it among runs of the same day.
pub(crate) fn short(run: RunId) -> String {
    run.to_string().chars().take(13).collect()
}

/// The output: lists of maps as tables, maps of plain values on a line, the rest as YAML-like JSON.
fn print_output(output: &Value) -> Result<()> {
    match output {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => {
                        paint::line(paint::strong(name));
                        paint::line(rows_table(rows));
                    }
                    Value::Object(inner)
                        if inner.values().all(|value| !value.is_object() && !value.is_array()) =>
                    {
                        // Of a tally only what was counted; zeros say nothing.
                        let tally = inner.values().all(Value::is_u64)
                            && inner.values().any(|value| *value != json!(0));
                        let parts: Vec<String> = inner
                            .iter()
                            .filter(|(_, value)| !tally || **value != json!(0))
                            .map(|(key, value)| format!("{key} {}", cell(value)))
                            .collect();
                        paint::line(format!("{}: {}", paint::strong(name), parts.join(", ")));
                    }
                    other => paint::line(format!("{}: {}", paint::strong(name), cell(other))),
                }
            }
        }
        other => paint::line(serde_json::to_string_pretty(other)?),
    }
    Ok(())
}

/// Rows as a table; columns in the order in which they first appear, empty columns left out.
fn rows_table(rows: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        // The items of a step: what a device answered is in `runs show`; here it would push the reasons off the screen.
        let item = row.contains_key("key") && row.contains_key("status");
        for (key, value) in row {
            let hidden = value.is_null() || (item && key == "output");
            if !hidden && !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|column| match (*column, &row[*column]) {
                    ("status", Value::String(status)) => paint::status(status),
                    (_, value) => cell(value),
                })
                .collect()
        })
        .collect();
    paint::table(&columns, &cells)
}

/// One value for a table: text as it is, a failure in words, the rest as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => match (map.get("kind"), map.get("message"), map.get("code")) {
            (Some(Value::String(kind)), Some(Value::String(message)), code) => {
                let code = code.and_then(Value::as_str).map_or_else(String::new, |code| format!(" [{code}]"));
                format!("{kind}: {message}{code}")
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}
