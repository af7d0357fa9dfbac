//! Joins the executor to the plugins: `bascule-run` knows only `Invoke`, `bascule-plugin` knows no run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_capability::Capabilities;
use bascule_capability::redact::Redactor;
use bascule_plugin::{Call, Context, Host, Kept, Sink};
use bascule_run::invoke::{Invocation, Invoke, Listener, Report};
use bascule_run::journal::PinnedPlugins;
use bascule_workflow::failure::Failure;
use bascule_workflow::plan;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::components::Components;
use crate::site::Plugins;

/// Calls the functions of loaded plugins.
pub(crate) struct Bridge {
    host: Arc<Host>,
    components: Components,
    capabilities: Capabilities,
    redactor: Redactor,
}

impl Bridge {
    /// Calls what is loaded. Nothing is kept for runs that are resumed: see [`Bridge::keeping`].
    pub(crate) fn new(
        host: impl Into<Arc<Host>>,
        plugins: &Plugins,
        capabilities: Capabilities,
        redactor: Redactor,
    ) -> Self {
        let host = host.into();
        let components = Components::new(Arc::clone(&host), plugins, None);
        Self { host, components, capabilities, redactor }
    }

    /// The same, for runs that outlive the process: what they began with is kept there.
    pub(crate) fn keeping(self, plugins: &Plugins, kept: Kept) -> Self {
        let components = Components::new(Arc::clone(&self.host), plugins, Some(kept));
        Self { components, ..self }
    }

    /// What its calls go to.
    pub(crate) fn components(&self) -> &Components {
        &self.components
    }
}

impl Bridge {
    /// Runs an event source until it ends or is told to.
    pub(crate) async fn listen(
        &self,
        call: &plan::Call,
        with: &Value,
        sink: Arc<dyn Sink>,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let plugin = self.components.present(&call.plugin)?;
        let context = outside_runs(call, Duration::MAX, cancel);
        let told = Call::new(&call.function, with, context, &self.capabilities)
            .with_sink(sink)
            .heard_by(self.log_of(call));
        self.host.call(plugin, told).await.map(|_| ()).map_err(|failure| self.clean(failure))
    }

    /// Calls a function that belongs to no run.
    pub(crate) async fn ask(
        &self,
        call: &plan::Call,
        with: &Value,
        timeout: Duration,
        cancel: CancellationToken,
    ) -> Result<Value, Failure> {
        let plugin = self.components.present(&call.plugin)?;
        let context = outside_runs(call, timeout, cancel);
        let told = Call::new(&call.function, with, context, &self.capabilities).heard_by(self.log_of(call));
        self.host.call(plugin, told).await.map_err(|failure| self.clean(failure))
    }

    /// Lines of calls that belong to no run go to the log of the process.
    fn log_of(&self, call: &plan::Call) -> bascule_plugin::Listener {
        let (redactor, function) = (self.redactor.clone(), format!("{}/{}", call.plugin, call.function));
        Arc::new(move |report| {
            if let bascule_plugin::Report::Log { level, message } = report {
                let message = redactor.redact(&message);
                match level.name() {
                    "error" => tracing::error!(function, "{message}"),
                    "warn" => tracing::warn!(function, "{message}"),
                    "info" => tracing::info!(function, "{message}"),
                    _ => tracing::debug!(function, "{message}"),
                }
            }
        })
    }

    fn clean(&self, mut failure: Failure) -> Failure {
        failure.message = self.redactor.redact(&failure.message).into_owned();
        if let Some(details) = &mut failure.details {
            self.redactor.redact_json(details);
        }
        failure
    }
}

/// What a call is that belongs to no run.
fn outside_runs(call: &plan::Call, timeout: Duration, cancel: CancellationToken) -> Context {
    Context {
        run: String::new(),
        step: format!("{}/{}", call.plugin, call.function),
        attempt: 1,
        idempotency_key: uuid::Uuid::new_v4().simple().to_string(),
        timeout,
        cancel,
    }
}

#[async_trait]
impl Invoke for Bridge {
    async fn keep(&self, plugins: &PinnedPlugins) -> Result<(), Failure> {
        self.components.keep(plugins).await
    }

    async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
        self.components.of(plugin, component).await.map(drop)
    }

    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
        let plugin = match &invocation.component {
            Some(sha256) => self.components.of(&invocation.plugin, sha256).await?,
            None => Arc::clone(self.components.present(&invocation.plugin)?),
        };
        let redactor = self.redactor.clone();
        let speaker = invocation.clone();
        let context = Context {
            run: invocation.run.clone(),
            step: invocation.step.clone(),
            // Above 1, what the call is to do may have been done already.
            attempt: invocation.attempt.saturating_add(invocation.lost),
            idempotency_key: invocation.idempotency_key.clone(),
            timeout: invocation.timeout,
            cancel: invocation.cancel.clone(),
        };
        let hears: bascule_plugin::Listener = Arc::new(move |report| {
            let report = match report {
                bascule_plugin::Report::Log { level, message } => {
                    Report::Log { level: level.name(), message: redactor.redact(&message).into_owned() }
                }
                bascule_plugin::Report::Progress { done, total, unit } => {
                    Report::Progress { done, total, unit }
                }
            };
            listener(&speaker, report);
        });
        let call =
            Call::new(&invocation.function, &invocation.with, context, &self.capabilities).heard_by(hears);
        let mut result = self.host.call(&plugin, call).await;
        // The second net: what a device echoed must not carry a credential into the journal.
        match &mut result {
            Ok(value) => self.redactor.redact_json(value),
            Err(failure) => {
                failure.message = self.redactor.redact(&failure.message).into_owned();
                if let Some(details) = &mut failure.details {
                    self.redactor.redact_json(details);
                }
            }
        }
        result
    }
}
