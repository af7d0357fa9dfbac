//! One call: a fresh store, the values in, the guest on its own threads, the value or the failure out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bascule_capability::Capabilities;
use bascule_capability::http::CallContext;
use bascule_workflow::failure::{Effect, Failure, Kind};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{ComponentExportIndex, ResourceTable, Val};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::contract::nearest;
use crate::convert;
use crate::engine::Host;
use crate::host::{Owned, Shared, Sink, State};
use crate::lend::Lender;
use crate::limits::Meter;
use crate::load::{Entry, Plugin};
use crate::report::{Listener, Speech, escape};
use crate::stop::{Stop, failure_of_trap};
use crate::wasi;

/// What a call is part of.
#[derive(Clone, Debug)]
pub struct Context {
    /// The run, for traces.
    pub run: String,
    /// The step's id and item key, for traces: `photo[terminal-7]`.
    pub step: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// 32 lower-case hexadecimal digits; the same on every retry and after a crash.
    pub idempotency_key: String,
    /// How long the call may take, waiting for its turn included.
    pub timeout: Duration,
    /// Ends the call with `cancelled`, after a short grace ([`Limits::cancel_grace`](crate::Limits::cancel_grace)).
    pub cancel: CancellationToken,
}

impl Default for Context {
    /// First attempt, 30 s, never cancelled.
    fn default() -> Self {
        Self {
            run: String::new(),
            step: String::new(),
            attempt: 1,
            idempotency_key: "0".repeat(32),
            timeout: Duration::from_secs(30),
            cancel: CancellationToken::new(),
        }
    }
}

/// One call of a plugin's function.
pub struct Call<'c> {
    /// The name after the slash, e.g. `faces.modify`.
    pub function: &'c str,
    /// The evaluated `with:`: a map from parameter names to values, capabilities by name.
    pub with: &'c Value,
    /// What the call is part of.
    pub context: Context,
    /// Where the names of capabilities are looked up.
    pub capabilities: &'c Capabilities,
    /// For an event source: where its events go.
    pub sink: Option<Arc<dyn Sink>>,
    /// Hears what the plugin says.
    pub listener: Listener,
}

impl<'c> Call<'c> {
    /// A call without a sink that nobody listens to.
    pub fn new(function: &'c str, with: &'c Value, context: Context, capabilities: &'c Capabilities) -> Self {
        Self { function, with, context, capabilities, sink: None, listener: Arc::new(|_| {}) }
    }

    /// The same call with somebody who listens.
    #[must_use]
    pub fn heard_by(mut self, listener: Listener) -> Self {
        self.listener = listener;
        self
    }

    /// The same call with a sink for its events.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }
}

/// Longer than any run: what "no end" is as a deadline.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Host {
    /// Calls a function and waits for its value (`null` for `result<_, error>`).
    ///
    /// I/O of the call runs on the caller's runtime, the guest on the host's own threads. Dropping the future ends the
    /// call. A call that ends by force has a code of the host: `host:deadline` (kind `timeout`), `host:cancelled`
    /// (`cancelled`), and of kind `internal` `host:trap`, `host:memory-limit`, `host:table-limit`,
    /// `host:stack-overflow`, `host:fuel`, `host:host-calls`, `host:handles`; its effect is `unknown` once the call
    /// had begun to change something outside.
    pub async fn call(&self, plugin: &Plugin, call: Call<'_>) -> Result<Value, Failure> {
        let entry = plugin.entry(call.function)?;
        let begun = Instant::now();
        let timeout = call.context.timeout.min(FOREVER);
        let deadline = begun + timeout;
        let cancel = call.context.cancel.clone();
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled.failure(Effect::None));
        }
        let _place = tokio::select! {
            biased;
            place = self.places.clone().acquire_owned() => {
                place.map_err(|_| Failure::new(Kind::Internal, "the plugin host has ended"))?
            }
            () = cancel.cancelled() => return Err(Stop::Cancelled.failure(Effect::None)),
            () = tokio::time::sleep_until(deadline) => return Err(Stop::Queue(timeout).failure(Effect::None)),
        };

        let speech = Arc::new(Speech::new(call.listener, self.limits.log_bytes));
        let over = CancellationToken::new();
        let _ending = over.clone().drop_guard();
        let shared = Arc::new(self.shared(call.context, &speech, deadline, timeout, over.clone()));
        let mut store = self.store(&shared, timeout);
        let mut lender =
            Lender { capabilities: call.capabilities, sink: call.sink.as_ref(), store: &mut store };
        let arguments = convert::arguments(&entry.params, call.with, &mut lender, self.limits.input_bytes)?;

        let live = self.ticker.live();
        let guest = {
            let plugin = plugin.clone();
            let export = entry.export;
            async move {
                let returned = run(&plugin, &mut store, &export, &arguments).await;
                // The guest is gone before anybody hears of its end.
                drop(store);
                drop(live);
                returned
            }
        };
        let Some(guest) = self.guests.spawn(guest) else {
            return Err(Failure::new(Kind::Internal, "the plugin host has ended"));
        };
        let mut guest = Owned(guest);
        let stopped = tokio::select! {
            biased;
            returned = &mut guest => Ok(returned),
            () = tokio::time::sleep_until(deadline) => Err(Stop::Deadline(timeout)),
            () = async {
                cancel.cancelled().await;
                tokio::time::sleep(self.limits.cancel_grace).await;
            } => Err(Stop::Cancelled),
        };
        let returned = match stopped {
            Ok(returned) => returned.map_err(|_| None),
            Err(stop) => {
                over.cancel();
                guest.0.abort();
                // At most a few ticks; from here on it does nothing more outside, so that its effect is known.
                (&mut guest).await.map_err(|_| Some(stop))
            }
        };
        speech.finish();
        let effect = shared.effect();
        match returned {
            Ok(Ok(value)) => self.returned(entry, value, effect),
            Ok(Err(error)) => Err(failure_of_trap(&error, effect)),
            Err(Some(stop)) => Err(stop.failure(effect)),
            Err(None) => Err(Failure::new(Kind::Internal, "the plugin host failed")
                .with_code("host:panic")
                .with_effect(effect)),
        }
    }

    fn shared(
        &self,
        context: Context,
        speech: &Arc<Speech>,
        deadline: Instant,
        timeout: Duration,
        over: CancellationToken,
    ) -> Shared {
        // Requests end a little before the call does, so that the guest can still say what it was waiting for.
        let margin = (timeout / 10).min(Duration::from_millis(250));
        let progress = {
            let speech = speech.clone();
            Arc::new(move |done, total| speech.progress(done, total, "bytes"))
        };
        Shared {
            requests: CallContext {
                cancel: context.cancel.clone(),
                deadline: deadline - margin,
                progress: Some(progress),
            },
            context,
            deadline,
            over,
            io: tokio::runtime::Handle::current(),
            speech: speech.clone(),
            clock: self.clock.clone(),
            host_calls: AtomicU64::new(0),
            most_host_calls: self.limits.host_calls,
            changed: AtomicBool::new(false),
        }
    }

    /// A store for one call, with all its limits.
    fn store(&self, shared: &Arc<Shared>, timeout: Duration) -> Store<State> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.limits.handles);
        let state = State {
            table,
            meter: Meter::new(&self.limits),
            wasi: wasi::empty(&shared.speech),
            shared: shared.clone(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(self.limits.copied_bytes);
        store.set_max_component_handles(self.limits.handles);
        store.set_epoch_deadline(1);
        let grace = self.limits.cancel_grace;
        let mut cancelled_at = None;
        store.epoch_deadline_callback(move |context| tick(&context, timeout, grace, &mut cancelled_at));
        store
    }

    /// What a guest that ended by itself returned.
    fn returned(&self, entry: &Entry, value: Val, effect: Effect) -> Result<Value, Failure> {
        match (value, &entry.result) {
            (Val::Result(Ok(None)), None) => Ok(Value::Null),
            (Val::Result(Ok(Some(value))), Some(shape)) => {
                convert::result(shape, *value, self.limits.result_bytes)
                    .map_err(|failure| failure.with_effect(effect))
            }
            (Val::Result(Err(Some(error))), _) => Err(reported(*error, effect)),
            _ => Err(Failure::new(
                Kind::Protocol,
                "the plugin returned a value of another type than it declares",
            )
            .with_code("host:bad-result")
            .with_effect(effect)),
        }
    }
}

impl Plugin {
    fn entry(&self, function: &str) -> Result<&Entry, Failure> {
        self.inner.functions.get(function).ok_or_else(|| {
            let names = self.inner.functions.keys().map(String::as_str);
            let hint =
                nearest(function, names).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default();
            let function = escape(function, 80);
            Failure::new(
                Kind::InvalidInput,
                format!("plugin `{}` has no function `{function}`{hint}", self.name()),
            )
        })
    }
}

async fn run(
    plugin: &Plugin,
    store: &mut Store<State>,
    export: &ComponentExportIndex,
    arguments: &[Val],
) -> wasmtime::Result<Val> {
    let instance = plugin.inner.template.instantiate_async(&mut *store).await?;
    let function = instance.get_func(&mut *store, export).ok_or_else(|| {
        wasmtime::Error::msg("the export that was looked up when the plugin was loaded is gone")
    })?;
    let mut results = [Val::Bool(false)];
    function.call_async(&mut *store, arguments, &mut results).await?;
    let [result] = results;
    Ok(result)
}

/// Every 10 ms of running: may the guest go on? If so, the other guests come first.
fn tick(
    context: &StoreContextMut<'_, State>,
    timeout: Duration,
    grace: Duration,
    cancelled_at: &mut Option<Instant>,
) -> wasmtime::Result<UpdateDeadline> {
    let shared = &context.data().shared;
    let now = Instant::now();
    if now >= shared.deadline {
        return Err(Stop::Deadline(timeout).into());
    }
    if shared.over.is_cancelled() {
        return Err(Stop::Cancelled.into());
    }
    if shared.context.cancel.is_cancelled() && now >= *cancelled_at.get_or_insert(now) + grace {
        return Err(Stop::Cancelled.into());
    }
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

const LONGEST_CODE: usize = 200;
const LONGEST_MESSAGE: usize = 2_000;
const LONGEST_DETAILS: usize = 64 * 1024;

/// The error record that the guest returned, bounded and made harmless.
fn reported(error: Val, effect: Effect) -> Failure {
    let mut failure = Failure::new(Kind::Internal, "");
    let Val::Record(fields) = error else {
        return failure.with_effect(effect);
    };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("kind", Val::Enum(kind)) => failure.kind = Kind::from_name(&kind).unwrap_or(Kind::Internal),
            ("code", Val::Option(Some(code))) => {
                if let Val::String(code) = *code {
                    failure.code = Some(escape(&code, LONGEST_CODE));
                }
            }
            ("message", Val::String(message)) => failure.message = escape(&message, LONGEST_MESSAGE),
            ("effect", Val::Enum(effect)) => {
                failure.effect = match effect.as_str() {
                    "none" => Effect::None,
                    "applied" => Effect::Applied,
                    _ => Effect::Unknown,
                }
            }
            ("retry-after", Val::Option(Some(after))) => {
                if let Val::U64(after) = *after {
                    failure.retry_after = Some(after);
                }
            }
            ("details", Val::Option(Some(details))) => {
                if let Val::String(details) = *details {
                    failure.details = Some(details_of(&details));
                }
            }
            _ => {}
        }
    }
    failure
}

/// A JSON object; what is not one, or too long, is kept as text.
fn details_of(text: &str) -> Value {
    if text.len() <= LONGEST_DETAILS
        && let Ok(Value::Object(details)) = serde_json::from_str(text)
    {
        return Value::Object(details);
    }
    serde_json::json!({ "text": escape(text, LONGEST_MESSAGE) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(fields: &[(&str, Val)]) -> Val {
        Val::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn some(value: Val) -> Val {
        Val::Option(Some(Box::new(value)))
    }

    #[test]
    fn an_error_record_is_bounded_and_made_harmless() {
        let failure = reported(
            record(&[
                ("kind", Val::Enum("locked-out".into())),
                ("code", some(Val::String("x:\u{1b}y".into()))),
                ("message", Val::String(format!("a\nb{}", "c".repeat(5000)))),
                ("effect", Val::Enum("applied".into())),
                ("retry-after", some(Val::U64(7))),
                ("details", some(Val::String(r#"{"a":1}"#.into()))),
            ]),
            Effect::None,
        );
        assert_eq!(
            (failure.kind, failure.effect, failure.retry_after),
            (Kind::LockedOut, Effect::Applied, Some(7))
        );
        assert_eq!(failure.code.as_deref(), Some(r"x:\u{1b}y"));
        assert!(failure.message.starts_with(r"a\nbcc") && failure.message.len() < 2_010);
        assert_eq!(failure.details, Some(json!({ "a": 1 })));
    }

    #[test]
    fn details_that_are_no_object_are_kept_as_text() {
        assert_eq!(details_of("[1]"), json!({ "text": "[1]" }));
        assert_eq!(details_of("oh\n"), json!({ "text": "oh\\n" }));
        assert!(details_of(&format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000))).to_string().len() < 3_000);
    }
}
