//! Event sources under supervision: one task for each source item, started again when it ends or falls silent.
//!
//! What a source emits is on disk, as a run or as a part of a batch, before `emit` returns; the same key again makes
//! nothing. What may have been missed while a source was away is asked for with the trigger's `catch-up`, as soon as the
//! stream stands again, so that nothing falls between the two.

mod backoff;
mod cursor;
mod sink;
mod source;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bascule_run::clock::Clock;
use bascule_workflow::expression::Scope;
use bascule_workflow::failure::Failure;
use bascule_workflow::plan::{Call, Workflow};
use bascule_workflow::trigger::{Event, Source, Trigger};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::intake::Intake;
use source::Item;

pub use backoff::Backoff;

/// Runs event sources; implemented by whoever knows the plugins.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Runs the source until it ends by itself, or until `cancel`. `with` is evaluated; the sink is not in it.
    ///
    /// # Errors
    /// Why it ended; it is started again.
    async fn run_source(
        &self,
        call: &Call,
        with: Value,
        sink: Arc<dyn SourceSink>,
        cancel: CancellationToken,
    ) -> Result<(), Failure>;

    /// Names what the source runs with apart from its workflow: its plugin, and the connections that `with` names, as they
    /// are now. When the book has changed and this is another name than before, the source is started again.
    fn version(&self, _call: &Call, _with: &Value) -> String {
        String::new()
    }

    /// Calls an ordinary function: `catch-up`.
    ///
    /// # Errors
    /// Why it failed; it is tried again.
    async fn call(&self, call: &Call, with: Value, cancel: CancellationToken) -> Result<Value, Failure>;
}

/// Where a source puts what it hears. Every call is a sign of the source's own life; an event, a cursor to save and a
/// state that is connected are signs that its peer is there.
#[async_trait]
pub trait SourceSink: Send + Sync {
    /// Stores one event; it is on disk when this returns. Events with a key seen before are dropped.
    ///
    /// # Errors
    /// `busy` when nothing can be stored at the moment; the event is not taken.
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure>;

    /// Where the source stopped last time, as it saved it.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn cursor(&self) -> Result<Option<Value>, Failure>;

    /// Saves where to go on; only after the events before it were emitted.
    ///
    /// # Errors
    /// When it cannot be stored.
    async fn save_cursor(&self, cursor: Value) -> Result<(), Failure>;

    /// What the source is doing; must not block.
    fn state(&self, connected: bool, note: &str);

    /// The peer has said something that is no event, e.g. a heartbeat; must not block.
    fn alive(&self);
}

/// What the supervisor of event sources works with.
#[derive(Clone)]
pub struct EventParts {
    /// Where events go.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// How sources are run.
    pub sources: Arc<dyn Sources>,
    /// How long it is waited before a source is started again.
    pub backoff: Backoff,
}

/// Which source: of a workflow's trigger, the one of an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SourceId {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id.
    pub trigger: String,
    /// The item's key; empty without `for-each`.
    pub item: String,
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceState {
    /// Which.
    pub id: SourceId,
    /// How it is.
    pub link: Link,
    /// What there is to say about it, e.g. why it is not connected.
    pub note: String,
    /// Since when it is so.
    pub since: Timestamp,
    /// When the peer was last heard of.
    pub alive_at: Option<Timestamp>,
    /// Events that were taken, since the process began.
    pub events: u64,
    /// How often it was started again, since the process began.
    pub restarts: u64,
    /// Events may have been missed since then, and have not been asked for yet.
    pub missing_since: Option<Timestamp>,
}

/// How a source is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// It begins for the first time.
    Connecting,
    /// It stands, and there are signs of life.
    Connected,
    /// It ended, and is started again.
    Reconnecting,
    /// It stood, and has fallen silent: nobody knows.
    Unknown,
}

/// Supervises the event sources of all workflows. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    parts: EventParts,
    states: Mutex<BTreeMap<SourceId, SourceState>>,
}

impl Events {
    /// A supervisor; it does nothing before [`Events::run`].
    #[must_use]
    pub fn new(parts: EventParts) -> Self {
        Self { shared: Arc::new(Shared { parts, states: Mutex::default() }) }
    }

    /// How every source is, sorted.
    #[must_use]
    pub fn states(&self) -> Vec<SourceState> {
        self.shared.states().values().cloned().collect()
    }

    /// Runs every source of the book, and follows its changes, until it is stopped; a source for which nothing has
    /// changed, neither its workflow nor what it runs with, goes on undisturbed.
    pub async fn run(&self, stop: CancellationToken) {
        let mut changed = self.shared.parts.book.changed();
        // Of every source: what it runs with, what stops it, and what tells that it has ended.
        let mut running: HashMap<SourceId, (String, CancellationToken, CancellationToken)> = HashMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let wanted = items(&*self.shared.parts.book);
            let wanted: Vec<(Item, String)> = wanted
                .into_iter()
                .map(|item| {
                    let version = self.shared.version(&item);
                    (item, version)
                })
                .collect();
            for (id, (version, token, _)) in &running {
                if !wanted.iter().any(|(item, wanted)| item.id == *id && wanted == version) {
                    token.cancel();
                }
            }
            running.retain(|_, (_, _, ended)| !ended.is_cancelled());
            let ids: BTreeSet<SourceId> = wanted.iter().map(|(item, _)| item.id.clone()).collect();
            self.shared.states().retain(|id, _| ids.contains(id));
            for (item, version) in wanted {
                let before =
                    running.get(&item.id).map(|(_, token, ended)| (token.is_cancelled(), ended.clone()));
                // What has not changed goes on.
                if before.as_ref().is_some_and(|(stopping, _)| !stopping) {
                    continue;
                }
                let (token, ended) = (stop.child_token(), CancellationToken::new());
                let state = (version, token.clone(), ended.clone());
                running.insert(item.id.clone(), state);
                let shared = Arc::clone(&self.shared);
                tasks.spawn(async move {
                    let _ended = ended.drop_guard();
                    // Some queues have one reader: the old one ends before the new one begins.
                    if let Some((_, before)) = before {
                        before.cancelled().await;
                    }
                    source::supervise(shared, item, token).await;
                });
            }
            let edited = async {
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::pin!(edited);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        while tasks.join_next().await.is_some() {}
                        return;
                    }
                    () = &mut edited => break,
                    Some(_ended) = tasks.join_next(), if !tasks.is_empty() => {
                        // Its last words may have come after it was taken off the list.
                        self.shared.states().retain(|id, _| ids.contains(id));
                    }
                }
            }
        }
    }
}

impl Shared {
    fn states(&self) -> MutexGuard<'_, BTreeMap<SourceId, SourceState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a source runs with.
    fn version(&self, item: &Item) -> String {
        // What cannot be evaluated is told when the source is started.
        let with = item.event.call.with.evaluate(&item.scope).unwrap_or_default();
        format!("{} {}", item.workflow.digest, self.parts.sources.version(&item.event.call, &with))
    }

    /// Changes what is known about a source.
    fn change(&self, id: &SourceId, change: impl FnOnce(&mut SourceState, Timestamp)) {
        let now = self.parts.clock.now();
        let mut states = self.states();
        let state = states.entry(id.clone()).or_insert_with(|| SourceState {
            id: id.clone(),
            link: Link::Connecting,
            note: String::new(),
            since: now,
            alive_at: None,
            events: 0,
            restarts: 0,
            missing_since: None,
        });
        let before = state.link;
        change(state, now);
        if state.link != before {
            state.since = now;
        }
    }
}

/// Every source of the book.
fn items(book: &dyn Book) -> Vec<Item> {
    let mut all = Vec::new();
    for workflow in book.all() {
        for trigger in &workflow.triggers {
            if let Source::Event(event) = &trigger.source {
                match of_trigger(&workflow, trigger, event) {
                    Ok(items) => all.extend(items),
                    Err(reason) => tracing::error!(
                        workflow = %workflow.id, trigger = %trigger.id, %reason, "the event source cannot be started"
                    ),
                }
            }
        }
    }
    all
}

fn of_trigger(workflow: &Arc<Workflow>, trigger: &Trigger, event: &Event) -> Result<Vec<Item>, String> {
    let item = |item: String, value: Option<Value>, scope: Scope| Item {
        id: SourceId { workflow: workflow.id.clone(), trigger: trigger.id.clone(), item },
        workflow: Arc::clone(workflow),
        trigger: trigger.clone(),
        event: event.clone(),
        value,
        scope,
    };
    let Some(for_each) = &event.for_each else {
        return Ok(vec![item(String::new(), None, Scope::new())]);
    };
    let failed = |error: bascule_workflow::expression::ExpressionError| error.in_full();
    let Value::Array(values) = for_each.items.evaluate(&Scope::new()).map_err(failed)? else {
        return Err("`for-each` gives no list".to_owned());
    };
    let mut all: Vec<Item> = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let mut scope = Scope::new();
        scope.set(for_each.variable.clone(), value.clone());
        scope.set(format!("{}_index", for_each.variable), Value::from(index));
        let key = match &for_each.key {
            None => index.to_string(),
            Some(key) => match key.evaluate(&scope).map_err(failed)? {
                Value::String(text) => text,
                other => other.to_string(),
            },
        };
        if all.iter().any(|other| other.id.item == key) {
            return Err(format!("two items have the key `{key}`"));
        }
        all.push(item(key, Some(value), scope));
    }
    Ok(all)
}
