//! Joins the executor to the plugins: `bascule-run` knows only `Invoke`, `bascule-plugin` knows no run.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bascule_capability::Capabilities;
use bascule_capability::redact::Redactor;
use bascule_plugin::{Call, Context, Host, Plugin};
use bascule_run::invoke::{Invocation, Invoke, Listener, Report};
use bascule_workflow::failure::{Failure, Kind};
use serde_json::Value;

use crate::site::Plugins;

/// Calls the functions of loaded plugins.
pub(crate) struct Bridge {
    host: Host,
    plugins: BTreeMap<String, Arc<Plugin>>,
    capabilities: Capabilities,
    redactor: Redactor,
}

impl Bridge {
    pub(crate) fn new(host: Host, plugins: &Plugins, capabilities: Capabilities, redactor: Redactor) -> Self {
        let plugins =
            plugins.loaded.iter().map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.plugin))).collect();
        Self { host, plugins, capabilities, redactor }
    }
}

#[async_trait]
impl Invoke for Bridge {
    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
        let Some(plugin) = self.plugins.get(&invocation.plugin) else {
            return Err(Failure::new(
                Kind::Unsupported,
                format!("plugin `{}` is no longer there: put its .wasm back, then resume", invocation.plugin),
            ));
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
        let mut result = self.host.call(plugin, call).await;
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
