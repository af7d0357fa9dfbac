//! The world outside of the site: terminals and a database that answer at once, some of them badly, always the same way
//! for the same question; and the one real plugin, whose calls go through the sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bascule_capability::Capabilities;
use bascule_plugin::{Call, Context, Host, HostOptions, Plugin};
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_trigger::{SourceSink, Sources};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan;
use bascule_workflow::signature::{self, Capability, Function, Param, Type};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The plugin that is a component.
const REAL: &str = "trivial";
/// The one that is played here.
const PLAYED: &str = "desk";
/// Terminals that the site has.
const TERMINALS: u64 = 20;

/// The sandbox, shared by every site of this process.
pub(crate) struct Sandbox {
    host: Host,
    plugin: Plugin,
}

impl Sandbox {
    pub(crate) fn open(component: &std::path::Path) -> Result<Self> {
        let bytes =
            std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
        let host = Host::new(HostOptions::default())?;
        let plugin = host.load(REAL, &bytes, None)?;
        Ok(Self { host, plugin })
    }

    /// The types of both plugins.
    pub(crate) fn signatures(&self) -> BTreeMap<String, signature::Plugin> {
        let param = |name: &str, ty: Type| Param { name: name.to_owned(), ty };
        let value = || param("value", Type::Json);
        let notes = || param("notes", Type::Capability(Capability::Store));
        let sink = || param("sink", Type::Capability(Capability::Sink));
        let key = || param("key", Type::String);
        let functions = [
            ("terminals.list", vec![value()]),
            ("terminals.read", vec![value()]),
            ("terminals.write", vec![value()]),
            ("terminals.keep", vec![value()]),
            ("people.read", vec![value()]),
            ("rows.write", vec![value()]),
            ("notes.get", vec![notes(), key()]),
            ("notes.put", vec![notes(), key(), value()]),
            ("events.stream", vec![sink(), value()]),
        ];
        let functions = functions.into_iter().map(|(name, params)| {
            (name.to_owned(), Function { params, result: Some(Type::Json), docs: None })
        });
        let played = signature::Plugin {
            name: PLAYED.to_owned(),
            functions: functions.collect(),
            ..signature::Plugin::default()
        };
        BTreeMap::from([(PLAYED.to_owned(), played), (REAL.to_owned(), self.plugin.signature().clone())])
    }
}

/// An event that a device tells; answered once the site has stored it.
pub(crate) struct Told {
    pub(crate) event: Value,
    pub(crate) stored: oneshot::Sender<Result<(), Failure>>,
}

/// The plugins of one site.
pub(crate) struct Desk {
    sandbox: Arc<Sandbox>,
    capabilities: Capabilities,
    told: Mutex<mpsc::Receiver<Told>>,
}

impl Desk {
    pub(crate) fn new(sandbox: Arc<Sandbox>, capabilities: Capabilities, told: mpsc::Receiver<Told>) -> Self {
        Self { sandbox, capabilities, told: Mutex::new(told) }
    }

    async fn real(&self, invocation: &Invocation) -> Result<Value, Failure> {
        let context = Context {
            run: invocation.run.clone(),
            step: invocation.step.clone(),
            attempt: invocation.attempt,
            idempotency_key: invocation.idempotency_key.clone(),
            timeout: invocation.timeout,
            cancel: invocation.cancel.clone(),
        };
        let call = Call::new(&invocation.function, &invocation.with, context, &self.capabilities);
        self.sandbox.host.call(&self.sandbox.plugin, call).await
    }

    async fn played(&self, invocation: &Invocation) -> Result<Value, Failure> {
        let with = |name: &str| invocation.with.get(name).cloned().unwrap_or(Value::Null);
        let text = |name: &str| with(name).as_str().unwrap_or_default().to_owned();
        let drawn = draw(&with("value"));
        match invocation.function.as_str() {
            "terminals.list" => {
                let names: Vec<String> = (1..=TERMINALS).map(|number| format!("t-{number}")).collect();
                Ok(json!({ "terminals": names, "moment": with("value"), "model": words(drawn, 20) }))
            }
            "terminals.read" if drawn.is_multiple_of(50) && invocation.attempt == 1 => {
                Err(Failure::new(Kind::Offline, "the terminal does not answer"))
            }
            "terminals.read" => Ok(json!({
                "terminal": format!("t-{}", drawn % TERMINALS + 1),
                "faces": drawn % 500,
                "cards": drawn / 500 % 500,
                "about": words(drawn, 60),
            })),
            "terminals.write" if drawn.is_multiple_of(40) => {
                Err(Failure::new(Kind::NotFound, "the terminal knows no such person"))
            }
            "terminals.keep" if drawn.is_multiple_of(97) => {
                Err(Failure::new(Kind::Refused, "the terminal is in use by somebody else"))
            }
            "people.read" => Ok(json!({ "id": with("value"), "about": words(drawn, 40) })),
            "terminals.write" | "terminals.keep" | "rows.write" => {
                Ok(json!({ "status": "OK", "row": drawn }))
            }
            "notes.get" => {
                let found = self.capabilities.store(&text("notes"))?.get(&text("key")).await?;
                Ok(found.map_or(Value::Null, |found| found.value))
            }
            "notes.put" => {
                let store = self.capabilities.store(&text("notes"))?;
                Ok(json!(store.put(&text("key"), with("value"), None).await?))
            }
            other => Err(Failure::new(Kind::Unsupported, format!("nobody plays `{other}`"))),
        }
    }
}

#[async_trait]
impl Invoke for Desk {
    async fn invoke(&self, invocation: Invocation, _listener: Listener) -> Result<Value, Failure> {
        match invocation.plugin.as_str() {
            REAL => self.real(&invocation).await,
            _ => self.played(&invocation).await,
        }
    }
}

#[async_trait]
impl Sources for Desk {
    async fn run_source(
        &self,
        _call: &plan::Call,
        _with: Value,
        sink: Arc<dyn SourceSink>,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        sink.state(true, "");
        let mut told = self.told.lock().await;
        loop {
            let Told { event, stored } = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                told = told.recv() => match told {
                    Some(told) => told,
                    None => return Ok(()),
                },
            };
            // Whoever told it may have given up.
            let _unheard = stored.send(sink.emit(event, None).await);
        }
    }

    async fn call(
        &self,
        _call: &plan::Call,
        _with: Value,
        _cancel: CancellationToken,
    ) -> Result<Value, Failure> {
        Err(Failure::new(Kind::Unsupported, "nothing is missed here"))
    }
}

/// A number that is the same for the same value (FNV-1a over its JSON text, mixed once more).
fn draw(value: &Value) -> u64 {
    let hash = value.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

/// Text of as many words, as long as what real devices say.
fn words(drawn: u64, count: u64) -> String {
    let words: Vec<String> =
        (0..count).map(|number| format!("w{:05}", (drawn ^ (number * 7919)) % 100_000)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_draws_the_same_and_others_spread() {
        assert_eq!(draw(&json!({ "a": 1 })), draw(&json!({ "a": 1 })));
        let refused = (0..9_700).filter(|number| draw(&json!(number)).is_multiple_of(97)).count();
        assert!((60..140).contains(&refused), "{refused}");
    }
}
