//! `bascule:host/events`: where an event source puts what it hears.

use std::sync::Arc;

use async_trait::async_trait;
use bascule_workflow::failure::{Failure, Kind};
use serde_json::Value;
use wasmtime::component::Resource;

use super::bindings::bascule::host::events;
use super::{Refusal, State, Touch};

/// What a trigger gives to an event source.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores one event; it is durable when this returns. Events with a key seen before are dropped.
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure>;
    /// Where the source stopped last time.
    async fn cursor(&self) -> Result<Option<Value>, Failure>;
    /// Saves where to go on.
    async fn save_cursor(&self, cursor: Value) -> Result<(), Failure>;
    /// What the source is doing; must not block.
    fn state(&self, connected: bool, note: &str);
}

/// A sink in a guest's hands.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct SinkHandle(pub(crate) Arc<dyn Sink>);

/// Notes are for a line on a screen.
const LONGEST_NOTE: usize = 500;

impl State {
    fn sink(&self, sink: &Resource<SinkHandle>) -> wasmtime::Result<Arc<dyn Sink>> {
        self.enter()?;
        Ok(self.table.get(sink)?.0.clone())
    }
}

impl events::Host for State {}

impl events::HostSink for State {
    async fn emit(
        &mut self,
        sink: Resource<SinkHandle>,
        event: String,
        key: Option<String>,
    ) -> Result<(), Refusal> {
        let sink = self.sink(&sink)?;
        let event = json(&event)?;
        self.io(Touch::Changes, Box::pin(async move { sink.emit(event, key).await })).await
    }

    async fn cursor(&mut self, sink: Resource<SinkHandle>) -> wasmtime::Result<Option<String>> {
        let sink = self.sink(&sink)?;
        match self.io(Touch::Reads, Box::pin(async move { sink.cursor().await })).await {
            Ok(cursor) => Ok(cursor.map(|cursor| cursor.to_string())),
            Err(Refusal::End(error)) => Err(error),
            // The WIT leaves no way to say so; without its cursor a source would begin from nothing.
            Err(Refusal::Answer(failure)) => {
                Err(wasmtime::Error::new(*failure).context("the cursor cannot be read"))
            }
        }
    }

    async fn save_cursor(&mut self, sink: Resource<SinkHandle>, cursor: String) -> Result<(), Refusal> {
        let sink = self.sink(&sink)?;
        let cursor = json(&cursor)?;
        self.io(Touch::Changes, Box::pin(async move { sink.save_cursor(cursor).await })).await
    }

    async fn state(
        &mut self,
        sink: Resource<SinkHandle>,
        connected: bool,
        note: String,
    ) -> wasmtime::Result<()> {
        self.sink(&sink)?.state(connected, &crate::report::escape(&note, LONGEST_NOTE));
        Ok(())
    }

    async fn drop(&mut self, sink: Resource<SinkHandle>) -> wasmtime::Result<()> {
        self.table.delete(sink)?;
        Ok(())
    }
}

/// JSON text from a guest that is to be stored.
pub(super) fn json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::new(Kind::InvalidInput, format!("the value is not JSON ({error})")))
}
