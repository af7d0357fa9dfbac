//! Why the host ended a call, and what the run gets to read about it.

use std::time::Duration;

use bascule_workflow::failure::{Effect, Failure, Kind};
use serde_json::json;
use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use crate::report::escape;

/// A reason of ours; travels through wasmtime as the error of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the plugin needs more memory than the limit of {} MiB", .0 / (1024 * 1024))]
    Memory(usize),
    #[error("the plugin grew a table over the limit of {0} elements")]
    Table(usize),
    #[error("the plugin did not end within {0:?}")]
    Deadline(Duration),
    #[error("the call waited {0:?} for its turn: too many plugin calls at once")]
    Queue(Duration),
    #[error("the run was cancelled")]
    Cancelled,
    #[error("the plugin made more than {0} host calls")]
    HostCalls(u64),
    #[error("the plugin holds more handles than it may")]
    Handles,
}

impl Stop {
    fn kind(self) -> Kind {
        match self {
            Self::Deadline(_) | Self::Queue(_) => Kind::Timeout,
            Self::Cancelled => Kind::Cancelled,
            _ => Kind::Internal,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Memory(_) => "host:memory-limit",
            Self::Table(_) => "host:table-limit",
            Self::Deadline(_) => "host:deadline",
            Self::Queue(_) => "host:queue",
            Self::Cancelled => "host:cancelled",
            Self::HostCalls(_) => "host:host-calls",
            Self::Handles => "host:handles",
        }
    }

    pub(crate) fn failure(self, effect: Effect) -> Failure {
        Failure::new(self.kind(), self.to_string()).with_code(self.code()).with_effect(effect)
    }
}

/// What a trap means for the run. `effect` is `unknown` once the call may have changed something outside.
pub(crate) fn failure_of_trap(error: &wasmtime::Error, effect: Effect) -> Failure {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stop.failure(effect);
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || says(error, "handles") && says(error, "limit")
    {
        return Stop::Handles.failure(effect);
    }
    let (code, message) = if let Some(Trap::StackOverflow) = error.downcast_ref() {
        ("host:stack-overflow", "the plugin used up its stack (endless recursion?)".to_owned())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        ("host:trap", format!("the plugin trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")))
    } else if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        ("host:trap", format!("the plugin ended itself with exit code {}", exit.0))
    } else if says(error, "fuel allocated for hostcalls") {
        // wasmtime keeps this error's type to itself.
        ("host:fuel", "the plugin handed over more data in one call than the limit allows".to_owned())
    } else {
        ("host:trap", escape(&format!("the plugin failed: {}", error.root_cause()), 2_000))
    };
    let mut failure = Failure::new(Kind::Internal, message).with_code(code).with_effect(effect);
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let names: Vec<_> = backtrace
            .frames()
            .iter()
            .take(20)
            .map(|frame| {
                frame
                    .func_name()
                    .map_or_else(|| format!("function {}", frame.func_index()), |name| escape(name, 200))
            })
            .collect();
        failure = failure.with_details(json!({ "backtrace": names }));
    }
    failure
}

fn says(error: &wasmtime::Error, text: &str) -> bool {
    error.chain().any(|cause| cause.to_string().contains(text))
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The causes of wasmtime's errors in one line.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    let error: &(dyn std::error::Error + Send + Sync + 'static) = error.as_ref();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
