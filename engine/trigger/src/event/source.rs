//! One source: started, watched, started again; and what was missed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{Event, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backoff::random;
use super::cursor::{self, CompleteUntil};
use super::sink::Sink;
use super::watch::Watch;
use super::{Link, Shared, SourceId, SourceSink};
use crate::dispatch::chain;

/// How long a source may take to end after it was told to.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// That nothing was missed is stored so often, beside every event.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// What was missed is asked for from so much earlier on: the clocks of devices differ from ours, and an event may have waited
/// for its picture when the line broke.
const OVERLAP: SignedDuration = SignedDuration::from_mins(2);

/// A source as the book says.
pub(super) struct Item {
    pub(super) id: SourceId,
    pub(super) workflow: Arc<Workflow>,
    pub(super) trigger: Trigger,
    pub(super) event: Event,
    /// The item of `for-each`.
    pub(super) value: Option<Value>,
    /// With the loop variable.
    pub(super) scope: Scope,
}

/// Keeps the source going until it is stopped.
pub(super) async fn supervise(shared: Arc<Shared>, item: Item, stop: CancellationToken) {
    let item = Arc::new(item);
    let mut failures = 0;
    shared.change(&item.id, |state, _| {
        state.link = Link::Connecting;
        state.note.clear();
    });
    loop {
        if stop.is_cancelled() {
            return;
        }
        let missing = match cursor::load(&shared.parts.intake, &item.id).await {
            Ok(known) => known.complete_until,
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot read where an event source stopped");
                None
            }
        };
        // Without a way to ask for it there is nothing to wait for.
        let missing = missing.filter(|_| item.event.catch_up.is_some());
        shared.change(&item.id, |state, _| state.missing_since = state.missing_since.or(missing));
        let (stood, ended) = once(&shared, &item, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        failures = if stood { 1 } else { failures + 1 };
        let why = ended.as_ref().err();
        let wait = shared.parts.backoff.wait(failures, why, random());
        let note = match why {
            Some(failure) => failure.message.clone(),
            None => "the source ended by itself".to_owned(),
        };
        tracing::warn!(
            workflow = %item.id.workflow, trigger = %item.id.trigger, item = %item.id.item, %note,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "an event source is started again"
        );
        shared.change(&item.id, |state, _| {
            let silent = why.is_some_and(|failure| failure.code.as_deref() == Some(SILENT));
            state.link = if silent { Link::Unknown } else { Link::Reconnecting };
            state.note = note;
            state.restarts += 1;
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The code of a source that was given up because it fell silent.
const SILENT: &str = "bascule:silent";

/// One start of the source: whether it ever stood, and why it ended.
async fn once(
    shared: &Arc<Shared>,
    item: &Arc<Item>,
    stop: &CancellationToken,
) -> (bool, Result<(), Failure>) {
    let with = match item.event.call.with.evaluate(&item.scope) {
        Ok(with) => with,
        Err(error) => {
            return (false, Err(Failure::new(Kind::InvalidInput, format!("`with`: {}", error.in_full()))));
        }
    };
    let sink = Arc::new(Sink {
        shared: Arc::clone(shared),
        item: Arc::clone(item),
        watch: Watch::begin(),
        stands: Notify::new(),
        stood: AtomicBool::new(false),
    });
    let cancel = stop.child_token();
    let hears: Arc<dyn SourceSink> = Arc::clone(&sink) as _;
    let source = shared.parts.sources.run_source(&item.event.call, with, hears, cancel.clone());
    tokio::pin!(source);
    let beside = async {
        tokio::join!(catch_up(&sink, &cancel), note_completeness(&sink));
    };
    // What it ended with, or why it is given up.
    let ended = tokio::select! {
        biased;
        ended = &mut source => Ok(ended),
        () = sink.watch.silent_for(item.event.silence) => {
            let silence = item.event.silence;
            Err(Failure::new(Kind::Timeout, format!("no sign of life for {silence:?}")).with_code(SILENT))
        }
        () = stop.cancelled() => Err(Failure::new(Kind::Cancelled, "the process is ending")),
        () = beside => Err(Failure::new(Kind::Internal, "what goes on beside a source ended")),
    };
    cancel.cancel();
    let ended = match ended {
        Ok(ended) => ended,
        Err(given_up) => {
            // It may be in the middle of storing an event. One that does not end is dropped.
            let _dropped = tokio::time::timeout(ENDS_WITHIN, source).await;
            Err(given_up)
        }
    };
    let stood = sink.stood.load(Ordering::Relaxed);
    if stood {
        let last = shared.states().get(&item.id).and_then(|state| match state.missing_since {
            None => state.alive_at,
            Some(_) => None,
        });
        note_complete(&sink, last).await;
    }
    (stood, ended)
}

/// Asks for what was missed, once the stream stands; then returns to waiting for ever.
async fn catch_up(sink: &Sink, cancel: &CancellationToken) {
    let item = &sink.item;
    let mut failures = 0;
    sink.stands.notified().await;
    if let Some(call) = &item.event.catch_up {
        loop {
            let missing = sink.shared.states().get(&item.id).and_then(|state| state.missing_since);
            let Some(since) = missing else { break };
            // The stream stands, so all that comes from now on is heard.
            let asked_at = sink.shared.parts.clock.now();
            let failure = match missed(sink, call, since, cancel).await {
                Ok(count) => {
                    tracing::info!(
                        workflow = %item.id.workflow, trigger = %item.id.trigger, item = %item.id.item, %since, count,
                        "asked for the events that were missed"
                    );
                    note_complete(sink, Some(asked_at)).await;
                    sink.shared.change(&item.id, |state, _| state.missing_since = None);
                    break;
                }
                Err(failure) => failure,
            };
            failures += 1;
            let note = format!("events since {since} cannot be asked for: {failure}");
            sink.shared.change(&item.id, |state, _| state.note = note);
            tokio::time::sleep(sink.shared.parts.backoff.wait(failures, Some(&failure), random())).await;
        }
    }
    std::future::pending().await
}

/// Takes what the `catch-up` call gives: a list, or a map with the list `events`.
async fn missed(
    sink: &Sink,
    call: &bascule_workflow::plan::Call,
    since: Timestamp,
    cancel: &CancellationToken,
) -> Result<usize, Failure> {
    let item = &sink.item;
    let mut scope = item.scope.clone();
    let since = since.saturating_sub(OVERLAP).unwrap_or(since);
    let trigger = json!({
        "kind": "event",
        "id": item.trigger.id,
        "key": item.id.item,
        "item": item.value,
        "since": since.to_string(),
    });
    scope.set("trigger", trigger);
    let with = call
        .with
        .evaluate(&scope)
        .map_err(|error| Failure::new(Kind::InvalidInput, format!("`catch-up`: {}", error.in_full())))?;
    let given = sink.shared.parts.sources.call(call, with, cancel.clone()).await?;
    let list = match given {
        Value::Array(list) => list,
        Value::Object(mut map) => match map.remove("events") {
            Some(Value::Array(list)) => list,
            _ => return Err(no_list()),
        },
        _ => return Err(no_list()),
    };
    let count = list.len();
    for event in list {
        sink.take(event, None).await?;
    }
    Ok(count)
}

fn no_list() -> Failure {
    Failure::new(Kind::Protocol, "`catch-up` gives no list of events")
}

/// Stores now and then, while the stream stands and nothing is missing, that nothing was missed.
async fn note_completeness(sink: &Sink) {
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        let at = sink.shared.states().get(&sink.item.id).and_then(|state| {
            (state.link == Link::Connected && state.missing_since.is_none())
                .then_some(state.alive_at)
                .flatten()
        });
        note_complete(sink, at).await;
    }
}

async fn note_complete(sink: &Sink, at: Option<Timestamp>) {
    let complete = CompleteUntil { id: sink.item.id.clone(), at };
    if at.is_some()
        && let Err(error) = complete.store_alone(&sink.shared.parts.intake).await
    {
        // The next event, or the next time, stores it again.
        tracing::warn!(error = %chain(&error), "cannot store that no event was missed");
    }
}
