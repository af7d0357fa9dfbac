//! Spans from what runs tell: of runs, steps and items by their events, of calls around the calls themselves.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bascule_run::clock::Clock;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::PinnedPlugins;
use bascule_run::observe::{Event, Observer};
use bascule_run::{Place, RunId, Status};
use bascule_workflow::failure::Failure;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::export::Queue;
use crate::span::{Span, SpanId, SpanKind, Verdict, text};

/// Knows what is under way.
pub(crate) struct Tracer {
    clock: Arc<dyn Clock>,
    queue: Queue,
    runs: Mutex<HashMap<RunId, Run>>,
    calls: AtomicU64,
}

/// A run that is under way.
struct Run {
    workflow: String,
    attempt: u32,
    resumed: bool,
    began: Timestamp,
    /// Since when steps and items are under way.
    places: HashMap<Place, Timestamp>,
}

impl Run {
    fn id(&self, run: RunId) -> SpanId {
        SpanId::of_run(run, self.attempt)
    }

    /// The span that something at this place belongs to: the nearest step or item around it that is under way.
    fn around(&self, run: RunId, place: Option<Place>) -> SpanId {
        let mut at = place;
        while let Some(place) = at {
            if self.places.contains_key(&place) {
                return SpanId::of_place(run, self.attempt, &place);
            }
            at = place.parent();
        }
        self.id(run)
    }

    fn attributes(&self, run: RunId) -> Vec<(&'static str, Value)> {
        vec![
            ("bascule.workflow", text(&self.workflow)),
            ("bascule.run.id", Value::from(run.to_string())),
            ("bascule.run.attempt", Value::from(self.attempt)),
        ]
    }
}

impl Tracer {
    pub(crate) fn new(clock: Arc<dyn Clock>, queue: Queue) -> Self {
        Self { clock, queue, runs: Mutex::default(), calls: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_ended(&self, run: RunId, status: Status, failure: Option<&Failure>) {
        let Some(known) = self.lock().remove(&run) else { return };
        let mut attributes = known.attributes(run);
        attributes.push(("bascule.run.resumed", Value::from(known.resumed)));
        attributes.push(("bascule.status", Value::from(status.name())));
        attributes.extend(failure.into_iter().flat_map(of_failure));
        self.queue.put(Span {
            run,
            id: known.id(run),
            parent: None,
            name: known.workflow,
            kind: SpanKind::Internal,
            began: known.began,
            ended: self.clock.now(),
            attributes,
            verdict: verdict(status, failure),
        });
    }

    fn place_ended(&self, run: RunId, place: &Place, status: Status, failure: Option<&Failure>) {
        let ended = self.clock.now();
        let mut runs = self.lock();
        let Some(known) = runs.get_mut(&run) else { return };
        let began = known.places.remove(place).unwrap_or(ended);
        let parent = known.around(run, place.parent());
        let mut attributes = known.attributes(run);
        let id = SpanId::of_place(run, known.attempt, place);
        drop(runs);
        attributes.extend(of_place(place));
        attributes.push(("bascule.status", Value::from(status.name())));
        attributes.extend(failure.into_iter().flat_map(of_failure));
        let what = if place.key().is_some() { "item" } else { "step" };
        self.queue.put(Span {
            run,
            id,
            parent: Some(parent),
            name: format!("{what} {}", place.id()),
            kind: SpanKind::Internal,
            began,
            ended,
            attributes,
            verdict: verdict(status, failure),
        });
    }

    /// A call begins; the span is sent when what comes back is dropped.
    fn call(self: &Arc<Self>, invocation: &Invocation) -> Option<Calling> {
        let run = RunId::from_str(&invocation.run).ok()?;
        let place = Place::from_text(&invocation.step);
        let began = self.clock.now();
        let runs = self.lock();
        let known = runs.get(&run)?;
        let parent = known.around(run, Some(place.clone()));
        let mut attributes = known.attributes(run);
        drop(runs);
        // A call is never the parent of anything, so its id need not be found again.
        let number = self.calls.fetch_add(1, Ordering::Relaxed).to_string();
        let id = SpanId::of(&[&invocation.idempotency_key, &began.to_string(), &number]);
        attributes.extend(of_place(&place));
        attributes.extend([
            ("bascule.plugin", text(&invocation.plugin)),
            ("bascule.function", text(&invocation.function)),
            ("bascule.role", Value::from(invocation.role.name())),
            ("bascule.attempt", Value::from(invocation.attempt)),
            ("bascule.attempts.lost", Value::from(invocation.lost)),
        ]);
        let span = Span {
            run,
            id,
            parent: Some(parent),
            name: text_name(&format!("{}/{}", invocation.plugin, invocation.function)),
            kind: SpanKind::Client,
            began,
            ended: began,
            attributes,
            verdict: Verdict::Error("given up".to_owned()),
        };
        Some(Calling { tracer: Arc::clone(self), span: Some(span) })
    }
}

impl Observer for Tracer {
    fn event(&self, run: RunId, event: &Event) {
        match event {
            Event::RunStarted { workflow, attempt, resumed } => {
                let now = self.clock.now();
                // What was sent before a crash lies before it: the trace begins where the run did.
                let began = if *resumed && *attempt == 1 { recorded_at(run).unwrap_or(now) } else { now };
                let known = Run {
                    workflow: workflow.clone(),
                    attempt: *attempt,
                    resumed: *resumed,
                    began,
                    places: HashMap::new(),
                };
                self.lock().insert(run, known);
            }
            Event::StepStarted { place, .. } | Event::ItemStarted { place } => {
                let now = self.clock.now();
                if let Some(known) = self.lock().get_mut(&run) {
                    known.places.insert(place.clone(), now);
                }
            }
            // It was sent by whoever did it.
            Event::Ended { place, replayed: true, .. } => {
                if let Some(known) = self.lock().get_mut(&run) {
                    known.places.remove(place);
                }
            }
            Event::Ended { place, status, failure, replayed: false, .. } => {
                self.place_ended(run, place, *status, failure.as_ref());
            }
            Event::RunEnded { status, failure } => self.run_ended(run, *status, failure.as_ref()),
            Event::AttemptFailed { .. }
            | Event::RollbackStarted { .. }
            | Event::Undone { .. }
            | Event::Progress { .. }
            | Event::Log { .. } => {}
        }
    }
}

/// A way to plugins, with a span for each call.
pub(crate) struct Traced {
    invoke: Arc<dyn Invoke>,
    tracer: Arc<Tracer>,
}

impl Traced {
    pub(crate) fn new(invoke: Arc<dyn Invoke>, tracer: Arc<Tracer>) -> Self {
        Self { invoke, tracer }
    }
}

#[async_trait]
impl Invoke for Traced {
    async fn keep(&self, plugins: &PinnedPlugins) -> Result<(), Failure> {
        self.invoke.keep(plugins).await
    }

    async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
        self.invoke.ready(plugin, component).await
    }

    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
        let mut calling = self.tracer.call(&invocation);
        let result = self.invoke.invoke(invocation, listener).await;
        if let Some(calling) = &mut calling {
            calling.ended(result.as_ref().err());
        }
        result
    }
}

/// A call that is under way. One that never ends, because it was given up, has a span as well.
struct Calling {
    tracer: Arc<Tracer>,
    span: Option<Span>,
}

impl Calling {
    fn ended(&mut self, failure: Option<&Failure>) {
        let Some(span) = &mut self.span else { return };
        span.verdict = match failure {
            None => Verdict::Ok,
            Some(failure) => Verdict::Error(brief(failure)),
        };
        span.attributes.extend(failure.into_iter().flat_map(of_failure));
        if let Some(failure) = failure {
            span.attributes.push(("bascule.failure.effect", json!(failure.effect)));
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.ended = self.tracer.clock.now();
            self.tracer.queue.put(span);
        }
    }
}

fn of_place(place: &Place) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![("bascule.step.id", text(place.id())), ("bascule.place", text(place.as_str()))];
    attributes.extend(place.key().map(|key| ("bascule.item.key", text(&key))));
    attributes
}

/// Kind and code; the message may quote what a peer said.
fn of_failure(failure: &Failure) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![
        ("error.type", Value::from(failure.kind.name())),
        ("bascule.failure.kind", Value::from(failure.kind.name())),
    ];
    attributes.extend(failure.code.as_deref().map(|code| ("bascule.failure.code", text(code))));
    attributes
}

fn brief(failure: &Failure) -> String {
    match &failure.code {
        Some(code) => text_name(&format!("{} [{code}]", failure.kind.name())),
        None => failure.kind.name().to_owned(),
    }
}

fn text_name(name: &str) -> String {
    text(name).as_str().unwrap_or_default().to_owned()
}

fn verdict(status: Status, failure: Option<&Failure>) -> Verdict {
    match status {
        Status::Succeeded | Status::Recovered => Verdict::Ok,
        Status::Skipped | Status::Cancelled | Status::Queued | Status::Running => Verdict::Unset,
        Status::Failed | Status::Interrupted | Status::RolledBack | Status::RollbackIncomplete => {
            Verdict::Error(failure.map_or_else(|| status.name().to_owned(), brief))
        }
    }
}

/// When a run was recorded: the id says it (RFC 9562 section 5.7).
fn recorded_at(run: RunId) -> Option<Timestamp> {
    let digits: String = run.to_string().chars().filter(|c| *c != '-').take(12).collect();
    let milliseconds = i64::from_str_radix(&digits, 16).ok()?;
    Timestamp::from_millisecond(milliseconds).ok()
}
