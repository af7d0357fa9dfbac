//! What the server writes to standard error: lines for people or JSON for programs, each about a run with `run`, `workflow`
//! and `step`. Secrets are struck from every line.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_capability::redact::{RedactingWriter, Redactor};
use bascule_run::RunId;
use bascule_run::observe::{Event, Observer};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::arguments::LogFormat;
use crate::live::{brief, describe};

struct Redacted(Redactor);

impl<'w> MakeWriter<'w> for Redacted {
    type Writer = RedactingWriter<Box<dyn Write>>;

    fn make_writer(&'w self) -> Self::Writer {
        RedactingWriter::new(Box::new(std::io::stderr()), self.0.clone())
    }
}

/// Begins to log. `filter` is a directive of tracing (`info,bascule_server=debug`).
pub(crate) fn start(format: LogFormat, filter: &str, redactor: Redactor) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Redacted(redactor));
    // An error means that somebody has begun already.
    let _begun = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_ansi(crate::paint::colour()).try_init(),
    };
}

/// Tells several observers.
pub(crate) struct Together(pub(crate) Vec<Arc<dyn Observer>>);

impl Observer for Together {
    fn event(&self, run: RunId, event: &Event) {
        for observer in &self.0 {
            observer.event(run, event);
        }
    }
}

/// Writes what happens in runs to the log.
#[derive(Default)]
pub(crate) struct RunLog {
    /// Names of the workflows of runs that are under way.
    workflows: Mutex<HashMap<RunId, String>>,
}

impl Observer for RunLog {
    fn event(&self, run: RunId, event: &Event) {
        let mut workflows = self.workflows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::RunStarted { workflow, .. } = event {
            workflows.insert(run, workflow.clone());
        }
        let workflow = match event {
            Event::RunEnded { .. } => workflows.remove(&run),
            _ => workflows.get(&run).cloned(),
        };
        drop(workflows);
        let workflow = workflow.unwrap_or_default();
        match event {
            Event::RunStarted { attempt, resumed, .. } => {
                tracing::info!(%run, workflow, attempt, resumed, "run started");
            }
            Event::Ended { replayed: true, .. } | Event::Progress { .. } => {}
            Event::StepStarted { place, .. } | Event::ItemStarted { place } => {
                tracing::debug!(%run, workflow, step = place.as_str(), "step started");
            }
            Event::Ended { place, status, failure, reason, counts, .. } => {
                let step = place.as_str();
                let why = failure.as_ref().map(describe).or_else(|| reason.clone()).unwrap_or_default();
                let counts = counts.as_ref().map(brief).unwrap_or_default();
                let status = status.name();
                if failure.is_some() {
                    tracing::warn!(%run, workflow, step, status, why, counts, "step ended");
                } else if place.key().is_some() {
                    tracing::debug!(%run, workflow, step, status, why, "item ended");
                } else {
                    tracing::info!(%run, workflow, step, status, why, counts, "step ended");
                }
            }
            Event::AttemptFailed { place, role, attempt, failure, next_at } => {
                let next_at = next_at.map(|at| at.to_string()).unwrap_or_default();
                let (step, role, why) = (place.as_str(), role.name(), describe(failure));
                tracing::info!(%run, workflow, step, role, attempt, why, next_at, "attempt failed");
            }
            Event::RollbackStarted { place, steps } => {
                tracing::warn!(%run, workflow, step = place.as_str(), steps, "undoing");
            }
            Event::Undone { place, failure } => {
                let why = failure.as_ref().map(describe).unwrap_or_default();
                tracing::warn!(%run, workflow, step = place.as_str(), why, "undone");
            }
            Event::Log { place, level, message } => {
                let step = place.as_str();
                match *level {
                    "error" => tracing::error!(%run, workflow, step, "{message}"),
                    "warn" => tracing::warn!(%run, workflow, step, "{message}"),
                    "debug" => tracing::debug!(%run, workflow, step, "{message}"),
                    _ => tracing::info!(%run, workflow, step, "{message}"),
                }
            }
            Event::RunEnded { status, failure } => {
                let why = failure.as_ref().map(describe).unwrap_or_default();
                let status = status.name();
                if failure.is_some() {
                    tracing::warn!(%run, workflow, status, why, "run ended");
                } else {
                    tracing::info!(%run, workflow, status, "run ended");
                }
            }
        }
    }
}
