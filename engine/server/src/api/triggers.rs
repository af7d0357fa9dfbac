use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bascule_run::RunId;
use bascule_trigger::event::SourceState;
use bascule_trigger::overdue::Watch;
use bascule_trigger::schedule::{Next, Slot, SlotFilter, SlotState, Upcoming};
use bascule_workflow::quantity::duration_text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Asked;
use super::runs::limit;
use crate::metrics::link;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::view::TriggerView;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    workflow: Option<String>,
    kind: Option<String>,
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(which): Asked<Which>,
) -> Result<Json<Vec<TriggerView>>, Refusal> {
    let mut views = Vec::new();
    for workflow in shared.parts.book.all() {
        if which.workflow.as_ref().is_some_and(|wanted| *wanted != workflow.id) {
            continue;
        }
        let wanted = |kind: &str| which.kind.as_ref().is_none_or(|wanted| wanted == kind);
        let fitting = workflow.triggers.iter().filter(|trigger| wanted(trigger.kind()));
        views.extend(fitting.map(|trigger| TriggerView::of(&workflow, trigger)));
    }
    Ok(Json(views))
}

/// An occurrence that is to come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpcomingView {
    /// The workflow's id.
    workflow: String,
    /// The trigger's id.
    trigger: String,
    /// When it begins: the instant that the schedule means, and the jitter.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The instant that the schedule means.
    #[schema(value_type = String, format = DateTime)]
    slot_at: Timestamp,
    /// The schedule's zone.
    time_zone: String,
    /// The cron line in words.
    description: String,
}

impl From<Upcoming> for UpcomingView {
    fn from(upcoming: Upcoming) -> Self {
        Self {
            workflow: upcoming.workflow,
            trigger: upcoming.trigger,
            at: upcoming.due_at,
            slot_at: upcoming.slot_at,
            time_zone: upcoming.time_zone,
            description: upcoming.description,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HowMany {
    workflow: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn upcoming(
    State(shared): State<Arc<Shared>>,
    Asked(asked): Asked<HowMany>,
) -> Json<Vec<UpcomingView>> {
    let count = usize::try_from(limit(asked.limit)).unwrap_or(usize::MAX);
    let next = Next { workflow: asked.workflow, count };
    Json(shared.parts.scheduler.upcoming(&next).into_iter().map(Into::into).collect())
}

/// A workflow that is watched for success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WatchView {
    /// The workflow that is told.
    workflow: String,
    /// Its trigger.
    trigger: String,
    /// The workflow that is watched.
    watched: String,
    /// How long it may take to succeed again, e.g. `1d2h`.
    no_success_for: String,
    /// Its last run that succeeded or recovered.
    #[schema(value_type = Option<String>)]
    last_success: Option<RunId>,
    /// When that ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Timestamp>,
    /// When it is overdue, or has been since.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// That has passed.
    overdue: bool,
    /// When it was told.
    #[schema(value_type = Option<String>, format = DateTime)]
    told_at: Option<Timestamp>,
}

impl WatchView {
    fn of(watch: Watch, now: Timestamp) -> Self {
        Self {
            workflow: watch.workflow,
            trigger: watch.trigger,
            watched: watch.name,
            no_success_for: duration_text(watch.no_success_for),
            last_success: watch.last_success.map(|success| success.run),
            last_success_at: watch.last_success.map(|success| success.at),
            due_at: watch.due_at,
            overdue: watch.due_at <= now,
            told_at: watch.told_at,
        }
    }
}

pub(crate) async fn watches(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<WatchView>>, Refusal> {
    let now = shared.parts.clock.now();
    let watches = shared.parts.watcher.watches().await;
    let watches = watches.map_err(|error| Refusal::internal("what is watched cannot be read", &error))?;
    Ok(Json(watches.into_iter().map(|watch| WatchView::of(watch, now)).collect()))
}

/// An occurrence that was planned.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlotView {
    /// The workflow's id.
    workflow: String,
    /// The trigger's id.
    trigger: String,
    /// The instant that the schedule means.
    #[schema(value_type = String, format = DateTime)]
    slot_at: Timestamp,
    /// That, and the jitter.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// `planned admitted held missed skipped refused withdrawn`
    state: &'static str,
    /// Why it is no run.
    reason: Option<String>,
    /// The run.
    #[schema(value_type = Option<String>)]
    run: Option<RunId>,
    /// How many occurrences this stands for.
    count: u64,
}

impl From<Slot> for SlotView {
    fn from(slot: Slot) -> Self {
        Self {
            workflow: slot.workflow,
            trigger: slot.trigger,
            slot_at: slot.slot_at,
            due_at: slot.due_at,
            state: slot.state.name(),
            reason: slot.reason,
            run: slot.run,
            count: slot.count,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichSlots {
    workflow: Option<String>,
    trigger: Option<String>,
    state: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn slots(
    State(shared): State<Arc<Shared>>,
    Asked(which): Asked<WhichSlots>,
) -> Result<Json<Vec<SlotView>>, Refusal> {
    let state = match which.state {
        None => None,
        Some(word) => Some(SlotState::from_name(&word).ok_or_else(|| {
            let known: Vec<&str> = SlotState::ALL.into_iter().map(SlotState::name).collect();
            Refusal::malformed(format!("`{word}` is not a state"))
                .help(format!("one of {}", known.join(", ")))
        })?),
    };
    let filter = SlotFilter {
        workflow: which.workflow,
        trigger: which.trigger,
        state,
        limit: Some(limit(which.limit)),
    };
    let slots = shared.parts.scheduler.slots(&filter).await;
    let slots = slots.map_err(|error| Refusal::internal("the schedules cannot be read", &error))?;
    Ok(Json(slots.into_iter().map(Into::into).collect()))
}

/// An event source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceView {
    /// The workflow's id.
    workflow: String,
    /// The trigger's id.
    trigger: String,
    /// The item's key; empty without `for-each`.
    item: String,
    /// `connecting connected reconnecting unknown`
    link: &'static str,
    /// What there is to say about it.
    note: String,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When the peer was last heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    alive_at: Option<Timestamp>,
    /// Events that were taken, since the process began.
    events: u64,
    /// How often it was started again, since the process began.
    restarts: u64,
    /// Events may have been missed since then, and have not been asked for yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    missing_since: Option<Timestamp>,
}

impl From<SourceState> for SourceView {
    fn from(state: SourceState) -> Self {
        Self {
            workflow: state.id.workflow,
            trigger: state.id.trigger,
            item: state.id.item,
            link: link(state.link),
            note: state.note,
            since: state.since,
            alive_at: state.alive_at,
            events: state.events,
            restarts: state.restarts,
            missing_since: state.missing_since,
        }
    }
}

pub(crate) async fn sources(State(shared): State<Arc<Shared>>) -> Json<Vec<SourceView>> {
    Json(shared.parts.sources.states().into_iter().map(Into::into).collect())
}
