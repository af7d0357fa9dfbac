//! Handing over capabilities: from the names in a workflow line to handles in a store.

use std::sync::Arc;

use bascule_capability::Capabilities;
use bascule_workflow::failure::Failure;
use bascule_workflow::signature::Capability;
use serde_json::{Map, Value};
use wasmtime::Store;
use wasmtime::component::{ResourceAny, Val};

use crate::convert::{Lend, Path, invalid};
use crate::host::{Sink, SinkHandle, State};
use crate::stop::chain;

/// Lends from the project's inventory into one call's store.
pub(crate) struct Lender<'c> {
    pub(crate) capabilities: &'c Capabilities,
    pub(crate) sink: Option<&'c Arc<dyn Sink>>,
    pub(crate) store: &'c mut Store<State>,
}

impl Lend for Lender<'_> {
    fn lend(&mut self, capability: Capability, given: &Value, place: &Path<'_>) -> Result<Val, Failure> {
        let (name, params) = named(capability, given, place)?;
        let at = |mut failure: Failure| {
            failure.message = format!("{place}: {}", failure.message);
            failure
        };
        match capability {
            Capability::Connection => self.push(self.capabilities.connection(name, &params).map_err(at)?),
            Capability::Folder => self.push(self.capabilities.folder(name).map_err(at)?),
            Capability::Store => self.push(self.capabilities.store(name).map_err(at)?),
            Capability::Sink => self.brought(capability).unwrap_or_else(|| Err(invalid(place, NO_SINK))),
        }
    }

    fn brought(&mut self, capability: Capability) -> Option<Result<Val, Failure>> {
        if capability != Capability::Sink {
            return None;
        }
        let Some(sink) = self.sink else {
            return Some(Err(invalid(&Path::root("with"), NO_SINK)));
        };
        let handle = SinkHandle(sink.clone());
        Some(self.push(handle))
    }
}

const NO_SINK: &str = "this function takes a sink: it is an event source, which a trigger starts, not a step";

impl Lender<'_> {
    fn push<T: Send + 'static>(&mut self, resource: T) -> Result<Val, Failure> {
        let handle = self.store.data_mut().table.push(resource).map_err(wasmtime::Error::from);
        handle
            .and_then(|handle| ResourceAny::try_from_resource(handle, &mut *self.store))
            .map(Val::Resource)
            .map_err(|error| {
                invalid(
                    &Path::root("with"),
                    &format!("more is handed over than a call may hold ({})", chain(&error)),
                )
            })
    }
}

/// The name, and the parameters of a connection: `terminal`, or `{ connection: terminal, device: {..} }`.
fn named<'g>(
    capability: Capability,
    given: &'g Value,
    place: &Path<'_>,
) -> Result<(&'g str, Map<String, Value>), Failure> {
    let what = capability.name();
    match given {
        Value::String(name) => Ok((name, Map::new())),
        Value::Object(map) => {
            let Some(Value::String(name)) = map.get(what) else {
                return Err(invalid(
                    place,
                    &format!("expected `{{ {what}: NAME, .. }}`: the map has no `{what}` with a name"),
                ));
            };
            let params: Map<_, _> = map
                .iter()
                .filter(|(key, _)| *key != what)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if capability != Capability::Connection
                && let Some(key) = params.keys().next()
            {
                return Err(invalid(place, &format!("unknown key `{key}`: a {what} has no parameters")));
            }
            Ok((name, params))
        }
        _ => {
            Err(invalid(place, &format!("expected the name of a {what}, or a map `{{ {what}: NAME, .. }}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(capability: Capability, given: Value) -> Result<(String, Value), String> {
        named(capability, &given, &Path::root("with").name("terminal"))
            .map(|(name, params)| (name.to_owned(), Value::Object(params)))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn a_capability_is_a_name_or_a_map_with_its_parameters() {
        assert_eq!(read(Capability::Folder, json!("photos")), Ok(("photos".into(), json!({}))));
        assert_eq!(read(Capability::Store, json!({ "store": "seen" })), Ok(("seen".into(), json!({}))));
        assert_eq!(
            read(Capability::Connection, json!({ "connection": "terminal", "device": { "ip": "x" } })),
            Ok(("terminal".into(), json!({ "device": { "ip": "x" } })))
        );
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let message = |capability, given| read(capability, given).err().unwrap_or_default();
        assert_eq!(
            message(Capability::Connection, json!({ "folder": "x" })),
            "with.terminal: expected `{ connection: NAME, .. }`: the map has no `connection` with a name"
        );
        assert_eq!(
            message(Capability::Folder, json!({ "folder": "x", "device": 1 })),
            "with.terminal: unknown key `device`: a folder has no parameters"
        );
        assert_eq!(
            message(Capability::Connection, json!(3)),
            "with.terminal: expected the name of a connection, or a map `{ connection: NAME, .. }`"
        );
    }
}
