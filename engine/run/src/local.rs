//! The context of a run in this process: journal, clock and plugins.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bascule_workflow::failure::{Effect, Failure, Kind};
use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, later};
use crate::context::{Context, Intent, KeyGuard, OnLost, Slept, StepCall, StepEnd, Stop};
use crate::invoke::{Invocation, Invoke, Listener, Report};
use crate::journal::{
    AttemptId, Batch, Claim, Entry, Journal, LogLine, MAX_ENTRY_BYTES, MAX_LINE_BYTES, Memory, OnceDone,
    Outcome, PinnedPlugins, PlaceMemory, RunId, Timed,
};
use crate::observe::{Event, Observer};
use crate::place::Place;

/// A call that did not end in time, or not after it was cancelled, is given up after this long.
const GRACE: Duration = Duration::from_secs(5);
/// So many noted entries are recorded without waiting for a durable one.
const MANY_NOTES: usize = 256;
/// Most log lines of one execution.
const MAX_LINES: usize = 10_000;

/// Locks by key, shared by all runs of a runner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    locks: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Keys {
    async fn lock(&self, key: &str) -> KeyGuard {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(key.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        KeyGuard { _held: lock.lock_owned().await }
    }
}

/// What a run in this process is made of.
pub(crate) struct LocalParts {
    pub(crate) run: RunId,
    pub(crate) started_at: Timestamp,
    pub(crate) claim: Claim,
    pub(crate) memory: Memory,
    /// The components that the run goes by.
    pub(crate) plugins: PinnedPlugins,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) keys: Keys,
    /// Set when the process is ending.
    pub(crate) suspend: CancellationToken,
    /// Rung when an event was delivered.
    pub(crate) bell: Arc<Notify>,
}

pub(crate) struct LocalContext {
    parts: LocalParts,
    notes: Arc<Mutex<Batch>>,
    lines: Arc<AtomicUsize>,
    undos: AtomicU64,
    /// By event name: waits that ended, and how many of them with an event.
    taken: Mutex<HashMap<String, (usize, usize)>>,
}

impl LocalContext {
    pub(crate) fn new(parts: LocalParts) -> Self {
        let undos = AtomicU64::new(parts.memory.registered());
        Self { parts, notes: Arc::default(), lines: Arc::default(), undos, taken: Mutex::default() }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.parts.memory
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.parts.claim
    }

    /// Puts everything that was noted on disk.
    pub(crate) async fn flush(&self) -> Result<(), Stop> {
        let batch = std::mem::take(&mut *lock(&self.notes));
        if batch.entries.is_empty() && batch.lines.is_empty() {
            return Ok(());
        }
        Ok(self.parts.journal.append(&self.parts.claim, batch).await?)
    }

    fn timed(&self, entry: Entry) -> Timed {
        Timed { at: self.parts.clock.now(), entry }
    }

    async fn record_timed(&self, timed: Timed) -> Result<(), Stop> {
        let mut batch = std::mem::take(&mut *lock(&self.notes));
        batch.entries.push(timed);
        Ok(self.parts.journal.append(&self.parts.claim, batch).await?)
    }

    fn listener(&self, place: &Place) -> Listener {
        let (run, place) = (self.parts.run, place.clone());
        let (observer, clock) = (Arc::clone(&self.parts.observer), Arc::clone(&self.parts.clock));
        let (notes, lines) = (Arc::clone(&self.notes), Arc::clone(&self.lines));
        Arc::new(move |_invocation, report| match report {
            Report::Log { level, message } => {
                let number = lines.fetch_add(1, Ordering::Relaxed);
                if number <= MAX_LINES {
                    let (level, message) = match number == MAX_LINES {
                        true => ("warn", format!("more than {MAX_LINES} lines: the rest is not kept")),
                        false => (level, cut(&message)),
                    };
                    let line =
                        LogLine { at: clock.now(), place: place.clone(), level: level.to_owned(), message };
                    lock(&notes).lines.push(line);
                }
                observer.event(run, &Event::Log { place: place.clone(), level, message });
            }
            Report::Progress { done, total, unit } => {
                observer.event(run, &Event::Progress { place: place.clone(), done, total, unit });
            }
        })
    }

    async fn call(&self, invocation: Invocation, place: &Place) -> Outcome {
        let (timeout, cancel) = (invocation.timeout, invocation.cancel.clone());
        let ended =
            AssertUnwindSafe(self.parts.invoke.invoke(invocation, self.listener(place))).catch_unwind();
        let unknown =
            |kind, message: &str| Outcome::Failed(Failure::new(kind, message).with_effect(Effect::Unknown));
        tokio::select! {
            biased;
            ended = ended => match ended {
                Ok(result) => Outcome::from(result),
                Err(_panic) => unknown(Kind::Internal, "the host panicked during the call"),
            },
            () = tokio::time::sleep(timeout.saturating_add(GRACE)) => {
                unknown(Kind::Timeout, "no answer in time, and the call did not end by itself")
            }
            () = async { cancel.cancelled().await; tokio::time::sleep(GRACE).await } => {
                unknown(Kind::Cancelled, "cancelled, and the call did not end by itself")
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(message: &str) -> String {
    let mut end = message.len().min(MAX_LINE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

/// 32 lower-case hexadecimal digits, the same wherever and whenever the same call is made.
fn idempotency_key(run: RunId, place: &Place, id: AttemptId, generation: u32) -> String {
    let text = format!("{run}\n{place}\n{}\n{}\n{generation}", id.role.name(), id.look);
    let digest = Sha256::digest(text);
    hex::encode(&digest[..16])
}

#[async_trait]
impl Context for LocalContext {
    fn run_id(&self) -> RunId {
        self.parts.run
    }

    fn now(&self) -> Timestamp {
        self.parts.started_at
    }

    async fn step(&self, call: StepCall) -> Result<StepEnd, Stop> {
        let StepCall { place, id, plugin, function, with, timeout, on_lost, intent, cancel } = call;
        let remembered = self.recall(&place);
        let mut first = None;
        // Also what an earlier attempt of the run may have done.
        let mut lost = remembered.made_unknown(id.role, id.look);
        if let Some(attempt) = remembered.attempts.get(&id) {
            if let Some((ended_at, outcome)) = &attempt.ended {
                return Ok(StepEnd::Ended {
                    outcome: outcome.clone(),
                    key: attempt.key.clone(),
                    started_at: attempt.started_at,
                    ended_at: *ended_at,
                    replayed: true,
                });
            }
            if on_lost == OnLost::Report {
                return Ok(StepEnd::Lost { intents: attempt.intents });
            }
            first = Some(attempt.started_at);
            lost = lost.saturating_add(attempt.intents);
        }
        if self.parts.suspend.is_cancelled() {
            return Err(Stop::Suspended);
        }
        let component = self.parts.plugins.get(&plugin).cloned();
        if let Some(component) = &component {
            self.parts.invoke.ready(&plugin, component).await.map_err(Stop::Held)?;
        }
        let key = match remembered.key(id.role, id.look) {
            Some(key) => key.to_owned(),
            None => idempotency_key(self.parts.run, &place, id, remembered.generation),
        };
        let text = with.to_string();
        let started = self.timed(Entry::AttemptStarted {
            place: place.clone(),
            id,
            key: key.clone(),
            plugin: plugin.clone(),
            function: function.clone(),
            with_digest: hex::encode(Sha256::digest(&text)),
            with: (text.len() <= MAX_ENTRY_BYTES).then(|| with.clone()),
        });
        let started_at = first.unwrap_or(started.at);
        match intent {
            Intent::First => self.record_timed(started).await?,
            Intent::Later => lock(&self.notes).entries.push(started),
        }
        let invocation = Invocation {
            plugin,
            component,
            function,
            with,
            run: self.parts.run.to_string(),
            step: place.to_string(),
            role: id.role,
            attempt: id.attempt,
            lost,
            idempotency_key: key.clone(),
            timeout,
            cancel,
        };
        let outcome = self.call(invocation, &place).await;
        let ended = self.timed(Entry::AttemptEnded { place, id, outcome: outcome.clone() });
        let ended_at = ended.at;
        match intent {
            Intent::First => self.record_timed(ended).await?,
            Intent::Later => lock(&self.notes).entries.push(ended),
        }
        Ok(StepEnd::Ended { outcome, key, started_at, ended_at, replayed: false })
    }

    async fn rest(&self, pause: Duration) {
        let clock = &self.parts.clock;
        clock.sleep_until(later(clock.now(), pause)).await;
    }

    async fn sleep_until(
        &self,
        place: &Place,
        id: AttemptId,
        due: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<Slept, Stop> {
        let remembered = self.recall(place);
        // What was waited for was attempted: that wait is over.
        if remembered.attempts.contains_key(&id) {
            return Ok(Slept::Due);
        }
        let due_at = match remembered.waits.get(&id) {
            Some(recorded) => *recorded,
            None => {
                self.record(Entry::Waiting { place: place.clone(), id, due_at: due }).await?;
                due
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(Slept::Cancelled),
            () = self.parts.suspend.cancelled() => Err(Stop::Suspended),
            () = self.parts.clock.sleep_until(due_at) => Ok(Slept::Due),
        }
    }

    async fn wait_event(
        &self,
        name: &str,
        until: Option<Timestamp>,
        cancel: &CancellationToken,
    ) -> Result<Option<Value>, Stop> {
        // One wait at a time per name: two would take the same event.
        let _turn = self.parts.keys.lock(&format!("event:{}:{name}", self.parts.run)).await;
        let (nth, had) = lock(&self.taken).get(name).copied().unwrap_or_default();
        let took = |value: &Option<Value>| {
            lock(&self.taken).insert(name.to_owned(), (nth + 1, had + usize::from(value.is_some())));
        };
        let recorded = self.parts.memory.events.get(name);
        if let Some(value) = recorded.and_then(|values| values.get(nth)) {
            took(value);
            return Ok(value.clone());
        }
        let value = loop {
            let rung = self.parts.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let delivered = self.parts.journal.delivered(self.parts.run, name).await?;
            if let Some(value) = delivered.into_iter().nth(had) {
                break Some(value);
            }
            let over = async {
                match until {
                    Some(at) => self.parts.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = rung => {}
                () = cancel.cancelled() => break None,
                () = self.parts.suspend.cancelled() => return Err(Stop::Suspended),
                () = over => break None,
            }
        };
        took(&value);
        self.record(Entry::EventTaken { name: name.to_owned(), value: value.clone() }).await?;
        Ok(value)
    }

    async fn keyed(&self, key: &str) -> KeyGuard {
        self.parts.keys.lock(key).await
    }

    fn recall(&self, place: &Place) -> Arc<PlaceMemory> {
        self.parts.memory.of_place(place)
    }

    fn touched(&self, place: &Place) -> bool {
        self.parts.memory.touched(place)
    }

    async fn done_once(&self, workflow: &str, step: &str, key: &str) -> Result<Option<OnceDone>, Stop> {
        Ok(self.parts.journal.once(workflow, step, key).await?)
    }

    fn deadline(&self, place: Option<&Place>) -> Option<Timestamp> {
        self.parts.memory.deadlines.get(&place.cloned()).copied()
    }

    fn instant_after(&self, after: Duration) -> Timestamp {
        later(self.parts.clock.now(), after)
    }

    async fn reach(&self, at: Timestamp) {
        self.parts.clock.sleep_until(at).await;
    }

    fn note(&self, entry: Entry) {
        let timed = self.timed(entry);
        lock(&self.notes).entries.push(timed);
    }

    async fn record(&self, entry: Entry) -> Result<(), Stop> {
        self.record_timed(self.timed(entry)).await
    }

    async fn settle(&self) -> Result<(), Stop> {
        let many = lock(&self.notes).entries.len() >= MANY_NOTES;
        if many { self.flush().await } else { Ok(()) }
    }

    fn next_undo(&self) -> u64 {
        self.undos.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn tell(&self, event: Event) {
        self.parts.observer.event(self.parts.run, &event);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::clock::TokioClock;
    use crate::journal::{MemoryJournal, NewRun, Role};
    use crate::observe::Silent;

    /// Says more than anybody wants to read, then panics.
    struct Chatty;

    #[async_trait]
    impl Invoke for Chatty {
        async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
            for number in 0..MAX_LINES + 10 {
                let message =
                    if number == 0 { "ü".repeat(MAX_LINE_BYTES) } else { format!("line {number}") };
                listener(&invocation, Report::Log { level: "info", message });
            }
            listener(&invocation, Report::Progress { done: 1, total: None, unit: "people".to_owned() });
            if invocation.function == "panics" {
                std::panic::panic_any("a fault of the host")
            } else {
                Ok(Value::Null)
            }
        }
    }

    struct Process {
        journal: MemoryJournal,
        run: RunId,
        bell: Arc<Notify>,
    }

    impl Process {
        async fn new() -> Self {
            let journal = MemoryJournal::new();
            let run = RunId::new(Timestamp::UNIX_EPOCH);
            let new = NewRun {
                id: run,
                workflow: "w".to_owned(),
                digest: "d".to_owned(),
                text: "".into(),
                inputs: Map::new(),
                trigger: Value::Null,
                concurrency_key: None,
                started_at: Timestamp::UNIX_EPOCH,
            };
            journal.create(new).await.unwrap();
            Self { journal, run, bell: Arc::default() }
        }

        /// As after every start of the process.
        async fn context(&self) -> LocalContext {
            let now = Timestamp::UNIX_EPOCH;
            LocalContext::new(LocalParts {
                run: self.run,
                started_at: now,
                claim: self.journal.claim(self.run, "me", now, now).await.unwrap(),
                memory: Memory::of(self.journal.read(self.run).await.unwrap()),
                plugins: PinnedPlugins::new(),
                journal: Arc::new(self.journal.clone()),
                invoke: Arc::new(Chatty),
                clock: Arc::new(TokioClock::starting_at(now)),
                observer: Arc::new(Silent),
                keys: Keys::default(),
                suspend: CancellationToken::new(),
                bell: Arc::clone(&self.bell),
            })
        }

        async fn deliver(&self, value: i32) {
            self.journal.deliver(self.run, Timestamp::UNIX_EPOCH, "door", json!(value)).await.unwrap();
            self.bell.notify_waiters();
        }
    }

    fn call(function: &str) -> StepCall {
        StepCall {
            place: Place::step("a"),
            id: AttemptId { role: Role::Call, look: 1, attempt: 1 },
            plugin: "p".to_owned(),
            function: function.to_owned(),
            with: json!({}),
            timeout: Duration::from_secs(1),
            on_lost: OnLost::Repeat,
            intent: Intent::First,
            cancel: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_taken_one_by_one_whether_they_came_before_or_during_the_wait() {
        let process = Process::new().await;
        let context = process.context().await;
        let never = CancellationToken::new();
        process.deliver(1).await;
        assert_eq!(context.wait_event("door", None, &never).await.unwrap(), Some(json!(1)));
        let (second, ()) = tokio::join!(context.wait_event("door", None, &never), async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            process.deliver(2).await;
        });
        assert_eq!(second.unwrap(), Some(json!(2)));
        let until = later(Timestamp::UNIX_EPOCH, Duration::from_secs(60));
        assert_eq!(context.wait_event("door", Some(until), &never).await.unwrap(), None);
        process.deliver(3).await;

        // The next process gets the same answers without waiting, and then goes on.
        let context = process.context().await;
        for expected in [Some(json!(1)), Some(json!(2)), None, Some(json!(3))] {
            assert_eq!(context.wait_event("door", Some(until), &never).await.unwrap(), expected);
        }
        never.cancel();
        assert_eq!(context.wait_event("door", None, &never).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_holds_a_key() {
        let process = Process::new().await;
        let context = process.context().await;
        let first = context.keyed("terminal-1").await;
        assert!(context.keyed("terminal-1").now_or_never().is_none());
        assert!(context.keyed("terminal-2").now_or_never().is_some());
        drop(first);
        assert!(context.keyed("terminal-1").now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn log_lines_are_cut_and_capped_and_kept_with_the_result() {
        let process = Process::new().await;
        let context = process.context().await;
        context.step(call("f")).await.unwrap();
        let lines = process.journal.lines(process.run).await.unwrap();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines[0].message.len(), MAX_LINE_BYTES);
        assert_eq!(lines[MAX_LINES].message, "more than 10000 lines: the rest is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_during_a_call_fails_the_call_and_not_the_run() {
        let process = Process::new().await;
        let StepEnd::Ended { outcome: Outcome::Failed(failure), .. } =
            process.context().await.step(call("panics")).await.unwrap()
        else {
            panic!("it failed");
        };
        assert_eq!((failure.kind, failure.effect), (Kind::Internal, Effect::Unknown));
    }
}
