//! What calls plugins, exchangeable while runs go on: a call that has begun ends with what it began with.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::PinnedPlugins;
use bascule_workflow::failure::Failure;
use serde_json::Value;

use crate::bridge::Bridge;

/// The bridge to the plugins as they are now.
pub(crate) struct Switch {
    current: RwLock<Arc<Bridge>>,
}

impl Switch {
    pub(crate) fn new(bridge: Arc<Bridge>) -> Self {
        Self { current: RwLock::new(bridge) }
    }

    /// The bridge as it is now.
    pub(crate) fn bridge(&self) -> Arc<Bridge> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next call goes here.
    pub(crate) fn turn(&self, bridge: Arc<Bridge>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = bridge;
    }
}

#[async_trait]
impl Invoke for Switch {
    async fn keep(&self, plugins: &PinnedPlugins) -> Result<(), Failure> {
        self.bridge().keep(plugins).await
    }

    async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
        self.bridge().ready(plugin, component).await
    }

    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
        self.bridge().invoke(invocation, listener).await
    }
}
