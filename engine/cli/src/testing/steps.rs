//! Calls of steps: from their stub where they have one, else of the plugin.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::Role;
use bascule_workflow::cases::{Reply, StepStub};
use bascule_workflow::failure::Failure;
use serde_json::Value;

use super::clock::VirtualClock;
use crate::bridge::Bridge;

/// Answers for stubbed steps, and holds the clock while a plugin is at work.
pub(super) struct Calls {
    pub(super) bridge: Bridge,
    pub(super) stubs: BTreeMap<String, StepStub>,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) used: Mutex<HashMap<(String, Role), usize>>,
}

impl Calls {
    fn reply(&self, invocation: &Invocation) -> Option<Reply> {
        let place = invocation.step.as_str();
        let replies = [place, without_items(place).as_str(), id(place)]
            .into_iter()
            .filter_map(|name| self.stubs.get(name))
            .map(|stub| match invocation.role {
                Role::Call => &stub.call,
                Role::Catch => &stub.catch,
                Role::Undo => &stub.undo,
                Role::Verify | Role::Check => &stub.verify,
            })
            .find(|replies| !replies.is_empty())?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = used.entry((place.to_owned(), invocation.role)).or_default();
        let reply = replies.get(*nth).or(replies.last()).cloned();
        *nth += 1;
        reply
    }
}

/// `copy[1001]/enrol[x]` -> `copy/enrol`
fn without_items(place: &str) -> String {
    let mut inside = false;
    place
        .chars()
        .filter(|character| {
            inside |= *character == '[';
            let kept = !inside;
            inside &= *character != ']';
            kept
        })
        .collect()
}

/// The step's own id.
fn id(place: &str) -> &str {
    let end = if place.ends_with(']') { place.rfind('[').unwrap_or(place.len()) } else { place.len() };
    let inner = &place[..end];
    let inner = inner.rfind('/').map_or(inner, |at| &inner[at + 1..]);
    inner.strip_prefix("finally:").unwrap_or(inner)
}

#[async_trait]
impl Invoke for Calls {
    async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
        self.bridge.ready(plugin, component).await
    }

    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
        let _busy = self.clock.busy();
        match self.reply(&invocation) {
            Some(Reply::Output(output)) => Ok(output),
            Some(Reply::Error(failure)) => Err(failure),
            None => self.bridge.invoke(invocation, listener).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_item_its_path_and_its_id() {
        assert_eq!(without_items("copy[10/01]/enrol[x]"), "copy/enrol");
        assert_eq!(id("copy[1001]/enrol[x]"), "enrol");
        assert_eq!(id("finally:tidy"), "tidy");
    }
}
