//! The one way in which a run reaches a plugin; the command line wires it to `bascule-plugin`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_workflow::failure::Failure;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::journal::{PinnedPlugins, Role};

/// The code of a failure that says that a component is not there any more which a run goes by.
pub const NOT_THERE: &str = "bascule:plugin-not-there";

/// One call of a plugin function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Plugin name, e.g. `isapi`.
    pub plugin: String,
    /// sha256 of the component that the run goes by, lower-case hexadecimal; `None`: of the one that is there.
    pub component: Option<String>,
    /// Function name, e.g. `faces.modify`.
    pub function: String,
    /// The evaluated `with:`, a map from WIT parameter names to values. Capabilities are still names or maps here.
    pub with: Value,
    /// The run, for logs.
    pub run: String,
    /// The step's id and item key, for logs: `photo[terminal-7]`.
    pub step: String,
    /// Which call of the step: its own, a `catch`, a second look, an `undo`.
    pub role: Role,
    /// 1 for the first attempt; retries count on.
    pub attempt: u32,
    /// How often a crash cut this very attempt off: it may have been sent so many times before.
    pub lost: u32,
    /// 32 lower-case hexadecimal digits; the same on every retry and after a crash.
    pub idempotency_key: String,
    /// How long the call may take; it then ends with `timeout`.
    pub timeout: Duration,
    /// Ends the call with `cancelled`.
    pub cancel: CancellationToken,
}

/// What a plugin says while it works.
#[derive(Clone, Debug)]
pub enum Report {
    /// A log line.
    Log {
        /// `debug`, `info`, `warn`, `error`
        level: &'static str,
        /// Escaped: no control characters.
        message: String,
    },
    /// Progress.
    Progress {
        /// So far.
        done: u64,
        /// Of how many, where known.
        total: Option<u64>,
        /// Of what.
        unit: String,
    },
}

/// Hears reports; must not block.
pub type Listener = Arc<dyn Fn(&Invocation, Report) + Send + Sync>;

/// Calls plugin functions.
#[async_trait]
pub trait Invoke: Send + Sync {
    /// A run begins that goes by these components to its end, whatever is there by then: each is kept, on disk, when
    /// this returns. By default nothing is kept: whatever is there is called.
    ///
    /// # Errors
    /// When one cannot be kept; the run does not begin then.
    async fn keep(&self, _plugins: &PinnedPlugins) -> Result<(), Failure> {
        Ok(())
    }

    /// Makes sure that a component which a run goes by can be called. Asked before every call, so it is to be quick
    /// where all is well.
    ///
    /// # Errors
    /// When it cannot; the run is held with this reason, and nothing was begun. The message says how to mend it.
    async fn ready(&self, _plugin: &str, _component: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Calls the function and waits for its value (`null` for `result<_, error>`).
    async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure>;
}
