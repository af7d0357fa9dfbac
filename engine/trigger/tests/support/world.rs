//! The world outside: answers calls and keeps a ledger.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_workflow::failure::{Failure, Kind};
use serde_json::Value;
use tokio::sync::watch;

/// `things.echo` gives its value, `things.fail` fails, `things.wait` waits until its value is let go (or until it is
/// cancelled).
pub(crate) struct World {
    began: Mutex<Vec<(String, Value)>>,
    let_go: watch::Sender<BTreeSet<String>>,
    everything: watch::Sender<bool>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            began: Mutex::default(),
            let_go: watch::Sender::default(),
            everything: watch::Sender::new(false),
        }
    }
}

impl World {
    /// The values of the calls that began, in order.
    pub(crate) fn began(&self) -> Vec<Value> {
        self.began.lock().unwrap().iter().map(|(_, value)| value.clone()).collect()
    }

    /// Lets the waiting calls with this value end.
    pub(crate) fn let_go(&self, value: &str) {
        self.let_go.send_modify(|all| {
            all.insert(value.to_owned());
        });
    }

    /// From now on nothing waits.
    pub(crate) fn open_all(&self) {
        self.everything.send_replace(true);
    }

    /// Waits until a call with this value has begun.
    pub(crate) async fn begun(&self, value: &str) {
        super::until(&format!("a call with {value}"), async || {
            self.began().iter().any(|one| one.as_str() == Some(value))
        })
        .await;
    }
}

#[async_trait]
impl Invoke for World {
    async fn invoke(&self, invocation: Invocation, _listener: Listener) -> Result<Value, Failure> {
        let value = invocation.with.get("value").cloned().unwrap_or(Value::Null);
        self.began.lock().unwrap().push((invocation.run.clone(), value.clone()));
        match invocation.function.as_str() {
            "things.echo" => Ok(value),
            "things.wait" => {
                let name = value.as_str().unwrap_or_default().to_owned();
                let (mut let_go, mut everything) = (self.let_go.subscribe(), self.everything.subscribe());
                tokio::select! {
                    _gone = let_go.wait_for(|all| all.contains(&name)) => Ok(value),
                    _open = everything.wait_for(|open| *open) => Ok(value),
                    () = invocation.cancel.cancelled() => Err(Failure::new(Kind::Cancelled, "cancelled")),
                }
            }
            _ => Err(Failure::new(Kind::Refused, "as asked")),
        }
    }
}
