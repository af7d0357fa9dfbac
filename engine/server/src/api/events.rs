//! Live progress as server-sent events. A listener that is too slow is told how many it missed; nothing waits for it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event as Sent, KeepAlive, KeepAliveStream, Sse};
use bascule_run::RunId;
use bascule_run::observe::Event;
use bascule_run::record::{RunRecord, StepRecord};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::runs;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::view::EventView;

/// How often a silent stream shows that it is alive.
const ALIVE: Duration = Duration::from_secs(15);

type Events = Sse<KeepAliveStream<BoxStream<'static, Result<Sent, Infallible>>>>;

fn send(view: &EventView) -> Option<Result<Sent, Infallible>> {
    Sent::default().event(view.name()).json_data(view).ok().map(Ok)
}

fn answer(views: impl Stream<Item = EventView> + Send + 'static) -> Events {
    let events = views.filter_map(|view| async move { send(&view) }).boxed();
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))
}

struct Live {
    events: Receiver<(RunId, Event)>,
    closing: CancellationToken,
}

enum Heard {
    Event(RunId, Box<Event>),
    Missed(u64),
}

impl Live {
    /// `None` when the server stops.
    async fn next(&mut self) -> Option<Heard> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            heard = self.events.recv() => match heard {
                Ok((run, event)) => Some(Heard::Event(run, Box::new(event))),
                Err(RecvError::Lagged(count)) => Some(Heard::Missed(count)),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

pub(crate) async fn all(State(shared): State<Arc<Shared>>) -> Events {
    let live = Live { events: shared.parts.events.subscribe(), closing: shared.closing.clone() };
    answer(stream::unfold(live, |mut live| async move {
        let view = match live.next().await? {
            Heard::Event(run, event) => EventView::of(run, &event),
            Heard::Missed(count) => EventView::Missed { count },
        };
        Some((view, live))
    }))
}

/// First what has ended already, then what happens, until the run ends.
pub(crate) async fn of_run(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Events, Refusal> {
    // Before the record is read, so that nothing falls between the two.
    let events = shared.parts.events.subscribe();
    let header = runs::find(&shared, &name).await?;
    let run = header.id;
    let record = RunRecord::read(&*shared.parts.journal, &run.to_string()).await.map_err(runs::unreadable)?;
    let mut before = Vec::new();
    collect(run, &record.steps, &mut before);
    let told: HashSet<String> = before
        .iter()
        .filter_map(|view| match view {
            EventView::Ended { place, .. } => Some(place.clone()),
            _ => None,
        })
        .collect();
    let over = !record.header.status.is_open();
    if over {
        before.push(EventView::end(run, record.header.status, record.failure));
    }
    let live = Live { events, closing: shared.closing.clone() };
    let following = stream::unfold(Some((live, told)), move |state| async move {
        let (mut live, mut told) = state.filter(|_| !over)?;
        loop {
            let view = match live.next().await? {
                Heard::Missed(count) => EventView::Missed { count },
                Heard::Event(of, event) if of == run => {
                    if let Event::Ended { place, .. } = &*event
                        && told.remove(place.as_str())
                    {
                        continue;
                    }
                    EventView::of(run, &event)
                }
                Heard::Event(..) => continue,
            };
            let ended = matches!(view, EventView::RunEnded { .. });
            return Some((view, (!ended).then_some((live, told))));
        }
    });
    Ok(answer(stream::iter(before).chain(following)))
}

fn collect(run: RunId, steps: &[StepRecord], views: &mut Vec<EventView>) {
    for step in steps {
        collect(run, &step.inner, views);
        views.extend(EventView::before(run, step));
    }
}
