//! What is counted, as Prometheus reads it (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_capability::http::Health;
use bascule_run::observe::{Event, Observer};
use bascule_run::{RunId, Status};
use bascule_trigger::event::Link;
use bascule_workflow::failure::Kind;

use crate::state::Shared;

/// Counts what happens in runs and at the door. An [`Observer`] for the runner.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    started: u64,
    resumed: u64,
    runs: BTreeMap<&'static str, u64>,
    places: BTreeMap<(&'static str, &'static str), u64>,
    failures: BTreeMap<&'static str, u64>,
    webhooks: BTreeMap<u16, u64>,
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery was answered.
    pub(crate) fn webhook(&self, status: u16) {
        *self.lock().webhooks.entry(status).or_default() += 1;
    }
}

impl Observer for Metrics {
    fn event(&self, _run: RunId, event: &Event) {
        let mut counts = self.lock();
        match event {
            Event::RunStarted { resumed: false, .. } => counts.started += 1,
            Event::RunStarted { resumed: true, .. } => counts.resumed += 1,
            Event::RunEnded { status, .. } => *counts.runs.entry(status.name()).or_default() += 1,
            Event::Ended { place, status, replayed: false, .. } => {
                let what = if place.key().is_some() { "item" } else { "step" };
                *counts.places.entry((what, status.name())).or_default() += 1;
            }
            Event::AttemptFailed { failure, .. } => {
                *counts.failures.entry(failure.kind.name()).or_default() += 1;
            }
            _ => {}
        }
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a text cannot fail.
        let _ok = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ok = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ok = writeln!(self.0, " {value}");
    }
}

/// Everything, as it stands now.
pub(crate) async fn render(shared: &Shared) -> String {
    let mut text = Text(String::new());
    let queue = shared.parts.dispatcher.snapshot();
    text.head("bascule_runs_queued", "gauge", "Runs that wait for their turn.");
    text.head("bascule_runs_running", "gauge", "Runs that are under way.");
    text.line("bascule_runs_queued", &[], queue.queued);
    text.line("bascule_runs_running", &[], queue.running);
    text.head("bascule_runs_held", "gauge", "Runs that cannot go on by themselves.");
    text.line("bascule_runs_held", &[], queue.held);
    text.head("bascule_workflow_runs_open", "gauge", "Runs that wait or are under way, by workflow.");
    for (workflow, (queued, running)) in &queue.by_workflow {
        text.line("bascule_workflow_runs_open", &[("workflow", workflow), ("status", "queued")], queued);
        text.line("bascule_workflow_runs_open", &[("workflow", workflow), ("status", "running")], running);
    }
    text.head("bascule_workflow_paused", "gauge", "1 for each paused workflow.");
    for paused in shared.parts.dispatcher.paused() {
        text.line("bascule_workflow_paused", &[("workflow", &paused.workflow)], 1);
    }
    counted(&mut text, &shared.parts.metrics.lock());
    commits(&mut text, &shared.parts.database);
    if let Some(spans) = &shared.parts.telemetry {
        let name = "bascule_telemetry_spans_total";
        text.head(
            name,
            "counter",
            "Spans of traces: sent, or dropped because the collector was away or refused them.",
        );
        text.line(name, &[("outcome", "sent")], spans.sent());
        text.line(name, &[("outcome", "dropped")], spans.dropped());
    }
    triggers(&mut text, shared).await;
    successes(&mut text, shared).await;
    let inventory = shared.inventory();
    text.head(
        "bascule_edits_refused",
        "gauge",
        "Files whose last edit is not in use because something is wrong with it.",
    );
    text.line("bascule_edits_refused", &[], inventory.refused.len());
    secrets(&mut text, shared).await;
    if let Ok(space) = shared.parts.database.space().await {
        text.head(
            "bascule_database_bytes",
            "gauge",
            "Size of the database: what is in use, and what is free in the file.",
        );
        text.line("bascule_database_bytes", &[("what", "used")], space.used_bytes);
        text.line("bascule_database_bytes", &[("what", "free")], space.free_bytes);
    }
    text.head("bascule_disk_full", "gauge", "1 while the disk has so little room that nothing new is taken.");
    text.line("bascule_disk_full", &[], u8::from(shared.is_short_of_room()));
    peers(&mut text, &inventory.capabilities.health());
    text.head("bascule_database_broken", "gauge", "1 once writing to disk has failed.");
    text.line("bascule_database_broken", &[], u8::from(shared.parts.database.broken().is_some()));
    text.0
}

fn counted(text: &mut Text, counts: &Counts) {
    text.head("bascule_runs_started_total", "counter", "Runs that began, or went on after a restart.");
    text.line("bascule_runs_started_total", &[("how", "begun")], counts.started);
    text.line("bascule_runs_started_total", &[("how", "resumed")], counts.resumed);
    text.head("bascule_runs_ended_total", "counter", "Runs that ended, by how.");
    for status in Status::ALL.into_iter().filter(|status| !status.is_open()) {
        let count = counts.runs.get(status.name()).copied().unwrap_or(0);
        text.line("bascule_runs_ended_total", &[("status", status.name())], count);
    }
    text.head("bascule_steps_ended_total", "counter", "Steps and items that ended, by how.");
    for ((what, status), count) in &counts.places {
        text.line("bascule_steps_ended_total", &[("what", what), ("status", status)], count);
    }
    text.head("bascule_attempts_failed_total", "counter", "Attempts that failed, by kind of failure.");
    for kind in Kind::ALL {
        let count = counts.failures.get(kind.name()).copied().unwrap_or(0);
        text.line("bascule_attempts_failed_total", &[("kind", kind.name())], count);
    }
    text.head(
        "bascule_webhooks_total",
        "counter",
        "Deliveries at the webhooks, by the status that they were answered with.",
    );
    for (status, count) in &counts.webhooks {
        text.line("bascule_webhooks_total", &[("status", &status.to_string())], count);
    }
}

/// How the peers of connections are.
fn peers(text: &mut Text, all: &[Health]) {
    let name = "bascule_connection_answering";
    text.head(
        name,
        "gauge",
        "1 for a peer whose last request was answered, 0 for one whose last request failed.",
    );
    for health in all {
        let labels = [("connection", health.connection.as_str()), ("peer", &health.peer)];
        text.line(name, &labels, u8::from(health.failed_in_a_row == 0));
    }
    let name = "bascule_connection_last_answer_timestamp_seconds";
    text.head(
        name,
        "gauge",
        "When a peer answered last, in seconds since 1970; one that never has is left out.",
    );
    for health in all {
        if let Some(at) = health.last_answer_at {
            let labels = [("connection", health.connection.as_str()), ("peer", &health.peer)];
            text.line(name, &labels, at.as_second());
        }
    }
    let name = "bascule_connection_requests_total";
    text.head(
        name,
        "counter",
        "Requests to peers since bascule.yaml was read: answered, or failed (also with 500 and more).",
    );
    for health in all {
        for (outcome, count) in [("answered", health.answered), ("failed", health.failed)] {
            let labels =
                [("connection", health.connection.as_str()), ("peer", &health.peer), ("outcome", outcome)];
            text.line(name, &labels, count);
        }
    }
}

/// When secrets expire; those that never do are left out.
async fn secrets(text: &mut Text, shared: &Shared) {
    let secrets = match shared.parts.secrets.list().await {
        Ok(secrets) => secrets,
        Err(error) => {
            tracing::warn!(%error, "the secrets cannot be listed");
            return;
        }
    };
    text.head(
        "bascule_secret_expires_seconds",
        "gauge",
        "Seconds until a secret expires; negative once it has.",
    );
    let now = shared.parts.clock.now();
    for info in secrets {
        if let Some(at) = info.expires_at {
            text.line(
                "bascule_secret_expires_seconds",
                &[("secret", &info.name)],
                at.duration_since(now).as_secs(),
            );
        }
    }
}

/// When workflows succeeded last, and which of them are overdue. A workflow that never has is left out of the first:
/// `absent()` finds it, and a 0 would look like 1970.
async fn successes(text: &mut Text, shared: &Shared) {
    let watcher = &shared.parts.watcher;
    let (successes, watches) = match (watcher.successes().await, watcher.watches().await) {
        (Ok(successes), Ok(watches)) => (successes, watches),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "the last successes cannot be read");
            return;
        }
    };
    let name = "bascule_last_success_timestamp_seconds";
    text.head(
        name,
        "gauge",
        "When a workflow's last run that succeeded or recovered ended, in seconds since 1970.",
    );
    for workflow in shared.parts.book.all() {
        if let Some(success) = successes.get(&workflow.id) {
            text.line(name, &[("workflow", &workflow.id)], success.at.as_second());
        }
    }
    let name = "bascule_workflow_overdue";
    text.head(
        name,
        "gauge",
        "1 for a watched workflow that has not succeeded for longer than its `overdue` trigger allows.",
    );
    let now = shared.parts.clock.now();
    for watch in watches {
        let labels =
            [("workflow", watch.name.as_str()), ("told", &watch.workflow), ("trigger", &watch.trigger)];
        text.line(name, &labels, u8::from(watch.due_at <= now));
    }
}

/// Schedules and event sources.
async fn triggers(text: &mut Text, shared: &Shared) {
    text.head(
        "bascule_schedules_missed_total",
        "counter",
        "Occurrences that passed while nothing ran, by workflow.",
    );
    match shared.parts.scheduler.missed().await {
        Ok(missed) => {
            for (workflow, count) in missed {
                text.line("bascule_schedules_missed_total", &[("workflow", &workflow)], count);
            }
        }
        Err(error) => tracing::warn!(%error, "missed schedules cannot be counted"),
    }
    let states = shared.parts.sources.states();
    text.head(
        "bascule_source_connected",
        "gauge",
        "1 for an event source that stands, 0 for one that does not.",
    );
    for state in &states {
        let labels = [
            ("workflow", state.id.workflow.as_str()),
            ("trigger", &state.id.trigger),
            ("item", &state.id.item),
            ("link", link(state.link)),
        ];
        text.line("bascule_source_connected", &labels, u8::from(state.link == Link::Connected));
    }
    text.head("bascule_source_events_total", "counter", "Events that were taken, by source.");
    for state in &states {
        let labels = [
            ("workflow", state.id.workflow.as_str()),
            ("trigger", &state.id.trigger),
            ("item", &state.id.item),
        ];
        text.line("bascule_source_events_total", &labels, state.events);
    }
    text.head("bascule_source_restarts_total", "counter", "How often a source was started again.");
    for state in &states {
        let labels = [
            ("workflow", state.id.workflow.as_str()),
            ("trigger", &state.id.trigger),
            ("item", &state.id.item),
        ];
        text.line("bascule_source_restarts_total", &labels, state.restarts);
    }
}

/// The word for it.
pub(crate) fn link(link: Link) -> &'static str {
    match link {
        Link::Connecting => "connecting",
        Link::Connected => "connected",
        Link::Reconnecting => "reconnecting",
        Link::Unknown => "unknown",
    }
}

fn commits(text: &mut Text, database: &bascule_database::Database) {
    let times = database.commit_times();
    let name = "bascule_journal_commit_seconds";
    text.head(name, "histogram", "How long one transaction took, from its beginning until it was on disk.");
    for (bound, count) in &times.buckets {
        let bound = bound.as_secs_f64().to_string();
        text.line(&format!("{name}_bucket"), &[("le", &bound)], count);
    }
    text.line(&format!("{name}_bucket"), &[("le", "+Inf")], times.count);
    text.line(&format!("{name}_sum"), &[], times.sum.as_secs_f64());
    text.line(&format!("{name}_count"), &[], times.count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text(String::new());
        text.line("a_total", &[("workflow", "x\"\\\n"), ("b", "c")], 3);
        text.line("b", &[], 0.5);
        assert_eq!(text.0, "a_total{workflow=\"x\\\"\\\\\\n\",b=\"c\"} 3\nb 0.5\n");
    }
}
