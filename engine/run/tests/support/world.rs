//! A world that answers calls, and keeps a ledger of what was really done.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_workflow::failure::{Failure, Kind};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::fault::Fault;

/// A call as it came in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) lost: u32,
    pub(crate) key: String,
    pub(crate) with: Value,
    /// Since the world began, of tokio's clock.
    pub(crate) at: Duration,
}

type Answer =
    Box<dyn for<'w> Fn(&'w World, Call, Invocation) -> BoxFuture<'w, Result<Value, Failure>> + Send + Sync>;

pub(crate) struct World {
    answer: Answer,
    calls: Mutex<Vec<Call>>,
    /// What is stored outside, by name.
    pub(crate) stored: Mutex<BTreeMap<String, Value>>,
    begun: OnceLock<tokio::time::Instant>,
    pub(crate) fault: Fault,
}

impl World {
    /// Answers at once by what the call is.
    pub(crate) fn answering(
        answer: impl Fn(&Self, &Call) -> Result<Value, Failure> + Send + Sync + 'static,
    ) -> Self {
        let answer = std::sync::Arc::new(answer);
        Self::new(Box::new(move |world, call, _invocation| {
            let answer = std::sync::Arc::clone(&answer);
            Box::pin(async move { answer(world, &call) })
        }))
    }

    /// Answers in its own time; must end when the invocation is cancelled.
    pub(crate) fn new(answer: Answer) -> Self {
        Self {
            answer,
            calls: Mutex::default(),
            stored: Mutex::default(),
            begun: OnceLock::new(),
            fault: Fault::default(),
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The steps that called the function, in order.
    pub(crate) fn steps_of(&self, function: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.function == function).map(|call| call.step).collect()
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.get_or_init(tokio::time::Instant::now).elapsed()
    }

    pub(crate) fn store(&self, name: impl Into<String>, value: impl Into<Value>) {
        self.stored.lock().unwrap().insert(name.into(), value.into());
    }

    pub(crate) fn stored(&self, name: &str) -> Option<Value> {
        self.stored.lock().unwrap().get(name).cloned()
    }
}

#[async_trait]
impl Invoke for World {
    async fn invoke(&self, invocation: Invocation, _listener: Listener) -> Result<Value, Failure> {
        self.fault.point().await;
        let call = Call {
            function: format!("{}/{}", invocation.plugin, invocation.function),
            step: invocation.step.clone(),
            attempt: invocation.attempt,
            lost: invocation.lost,
            key: invocation.idempotency_key.clone(),
            with: invocation.with.clone(),
            at: self.now(),
        };
        self.calls.lock().unwrap().push(call.clone());
        if invocation.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Cancelled, "cancelled"));
        }
        let answer = (self.answer)(self, call, invocation).await;
        self.fault.point().await;
        answer
    }
}
