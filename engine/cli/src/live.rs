//! What a person (or a program) sees while a run goes on.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_run::observe::{Event, Observer};
use bascule_run::{Counts, Place, RunId, Status};
use bascule_workflow::failure::Failure;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::arguments::Show;
use crate::paint;

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Bars and lines on a terminal.
    Bars,
    /// Lines, for logs and pipes.
    Lines,
    /// One JSON object per event.
    Json,
    /// Nothing.
    Quiet,
}

/// Shows a run.
pub(crate) struct Live {
    mode: Mode,
    verbose: bool,
    bars: MultiProgress,
    steps: Mutex<HashMap<Place, Step>>,
}

/// A step with items that is under way.
struct Step {
    bar: ProgressBar,
    counts: Counts,
    began: Instant,
    told: Instant,
    total: u64,
}

impl Live {
    /// Chooses how to show by the options and by what standard error is.
    pub(crate) fn new(show: Show) -> Self {
        let mode = match (show.json, show.quiet, std::io::stderr().is_terminal()) {
            (_, true, _) => Mode::Quiet,
            (true, ..) => Mode::Json,
            (_, _, true) => Mode::Bars,
            _ => Mode::Lines,
        };
        let target = if mode == Mode::Bars {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            mode,
            verbose: show.verbose,
            bars: MultiProgress::with_draw_target(target),
            steps: Mutex::new(HashMap::new()),
        }
    }

    fn say(&self, text: String) {
        match self.mode {
            // Above the bars, so that neither tears the other.
            Mode::Bars => self.bars.suspend(|| paint::note(text)),
            Mode::Lines => paint::note(text),
            Mode::Json | Mode::Quiet => {}
        }
    }

    fn people(&self, event: &Event) {
        match event {
            Event::RunStarted { workflow, resumed, .. } => {
                let verb = if *resumed { "goes on" } else { "starts" };
                self.say(format!("{} {verb}", paint::strong(workflow)));
            }
            Event::StepStarted { place, items } => self.step_started(place, *items),
            Event::ItemStarted { .. } => {}
            Event::Ended { place, status, counts, failure, reason, replayed } => {
                self.ended(place, *status, *counts, failure.as_ref(), reason.as_deref(), *replayed);
            }
            Event::AttemptFailed { place, attempt, failure, next_at, .. } => {
                if let Some(at) = next_at
                    && self.verbose
                {
                    self.say(paint::dim(&format!(
                        "  {place} attempt {attempt}: {}; again at {at}",
                        describe(failure)
                    )));
                }
            }
            Event::RollbackStarted { place, steps } => {
                self.say(paint::warn(&format!(
                    "{place} cannot be finished: undoing up to {steps} steps, newest first"
                )));
            }
            Event::Undone { place, failure: None } => self.say(format!("  {place} undone")),
            Event::Undone { place, failure: Some(failure) } => {
                self.say(paint::bad(&format!("  {place} could not be undone: {}", describe(failure))));
            }
            Event::Progress { place, done, total, unit } => {
                let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(step) = place.parent().and_then(|parent| steps.get(&parent)) {
                    let of = total.map_or_else(String::new, |total| format!("/{total}"));
                    step.bar.set_message(format!("{} {done}{of} {unit}", place.key().unwrap_or_default()));
                }
            }
            Event::Log { place, level, message } => {
                if self.verbose || matches!(*level, "warn" | "error") {
                    self.say(paint::dim(&format!("  {place} {level}: {message}")));
                }
            }
            Event::RunEnded { .. } => {
                for (_, step) in self.steps.lock().unwrap_or_else(PoisonError::into_inner).drain() {
                    step.bar.finish_and_clear();
                }
            }
        }
    }

    fn step_started(&self, place: &Place, items: Option<usize>) {
        let Some(total) = items else { return };
        let total = total as u64;
        let bar = self.bars.add(ProgressBar::new(total));
        if let Ok(style) = ProgressStyle::with_template("  {prefix:16} {bar:28} {pos}/{len} {elapsed} {msg}")
        {
            bar.set_style(style.progress_chars("##-"));
        }
        bar.set_prefix(place.to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        if self.mode == Mode::Lines {
            self.say(format!("{place}: {total} items"));
        }
        let now = Instant::now();
        let step = Step { bar, counts: Counts::default(), began: now, told: now, total };
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), step);
    }

    fn ended(
        &self,
        place: &Place,
        status: Status,
        counts: Option<Counts>,
        failure: Option<&Failure>,
        reason: Option<&str>,
        replayed: bool,
    ) {
        let why = match (failure, reason) {
            (Some(failure), _) => format!(": {}", describe(failure)),
            (None, Some(reason)) => format!(": {reason}"),
            (None, None) => String::new(),
        };
        let before = if replayed { paint::dim(" (before)") } else { String::new() };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if place.key().is_some()
            && let Some(step) = place.parent().and_then(|parent| steps.get_mut(&parent))
        {
            step.counts.add(status);
            step.bar.inc(1);
            step.bar.set_message(format!("{} {}", brief(&step.counts), rate(step)));
            let tell = self.mode == Mode::Lines && step.told.elapsed() >= Duration::from_secs(5);
            let line = tell.then(|| {
                step.told = Instant::now();
                format!(
                    "  {} of {} items: {} {}",
                    step.counts.total(),
                    step.total,
                    brief(&step.counts),
                    rate(step)
                )
            });
            drop(steps);
            if !status.is_fine() || self.verbose {
                self.say(format!("  {place} {}{why}{before}", paint::status(status.name())));
            }
            if let Some(line) = line {
                self.say(line);
            }
            return;
        }
        if let Some(step) = steps.remove(place) {
            step.bar.finish_and_clear();
        }
        drop(steps);
        let counts = counts.map_or_else(String::new, |counts| format!(" ({})", brief(&counts)));
        self.say(format!("  {place} {}{counts}{why}{before}", paint::status(status.name())));
    }
}

impl Observer for Live {
    fn event(&self, run: RunId, event: &Event) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => {
                if self.verbose || !matches!(event, Event::Log { .. } | Event::Progress { .. }) {
                    paint::line(as_json(run, event).to_string());
                }
            }
            Mode::Bars | Mode::Lines => self.people(event),
        }
    }
}

/// `offline: no connection to 10.0.0.7:80` with the code and the time to wait, where there are.
pub(crate) fn describe(failure: &Failure) -> String {
    let code = failure.code.as_ref().map_or_else(String::new, |code| format!(" [{code}]"));
    format!("{}: {}{code}", failure.kind, failure.message)
}

/// `20 succeeded, 2 recovered, 3 failed`
pub(crate) fn brief(counts: &Counts) -> String {
    let parts: Vec<String> = [
        (counts.succeeded, "succeeded"),
        (counts.recovered, "recovered"),
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.interrupted, "interrupted"),
        (counts.rolled_back, "rolled-back"),
        (counts.rollback_incomplete, "rollback-incomplete"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    parts.join(", ")
}

fn rate(step: &Step) -> String {
    let seconds = step.began.elapsed().as_secs_f64().max(0.001);
    let done = u32::try_from(step.counts.total()).unwrap_or(u32::MAX);
    format!("{:.1}/s", f64::from(done) / seconds)
}

fn as_json(run: RunId, event: &Event) -> Value {
    let mut value = match event {
        Event::RunStarted { workflow, attempt, resumed } => {
            json!({ "event": "run-started", "workflow": workflow, "attempt": attempt, "resumed": resumed })
        }
        Event::StepStarted { place, items } => {
            json!({ "event": "step-started", "place": place, "items": items })
        }
        Event::ItemStarted { place } => json!({ "event": "item-started", "place": place }),
        Event::Ended { place, status, counts, failure, reason, replayed } => json!({
            "event": "ended", "place": place, "status": status, "counts": counts, "error": failure,
            "reason": reason, "replayed": replayed,
        }),
        Event::AttemptFailed { place, role, attempt, failure, next_at } => json!({
            "event": "attempt-failed", "place": place, "role": role, "attempt": attempt, "error": failure,
            "next_at": next_at,
        }),
        Event::RollbackStarted { place, steps } => {
            json!({ "event": "rollback-started", "place": place, "steps": steps })
        }
        Event::Undone { place, failure } => json!({ "event": "undone", "place": place, "error": failure }),
        Event::Progress { place, done, total, unit } => {
            json!({ "event": "progress", "place": place, "done": done, "total": total, "unit": unit })
        }
        Event::Log { place, level, message } => {
            json!({ "event": "log", "place": place, "level": level, "message": message })
        }
        Event::RunEnded { status, failure } => {
            json!({ "event": "run-ended", "status": status, "error": failure })
        }
    };
    value["run"] = json!(run);
    value
}
