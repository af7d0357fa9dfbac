//! Lines for the run's log, and progress. On the author's own machine (tests) they go nowhere.

#[cfg(target_family = "wasm")]
use crate::host::bascule::host::log as host;

/// What only a developer wants to know.
pub fn debug(message: &str) {
    #[cfg(target_family = "wasm")]
    host::write(host::Level::Debug, message);
    #[cfg(not(target_family = "wasm"))]
    let _ = message;
}

/// What the operator may want to know.
pub fn info(message: &str) {
    #[cfg(target_family = "wasm")]
    host::write(host::Level::Info, message);
    #[cfg(not(target_family = "wasm"))]
    let _ = message;
}

/// What the operator should look at although the call goes on.
pub fn warn(message: &str) {
    #[cfg(target_family = "wasm")]
    host::write(host::Level::Warn, message);
    #[cfg(not(target_family = "wasm"))]
    let _ = message;
}

/// How far the call is: `done` of `total` in `unit`, e.g. `people`.
pub fn progress(done: u64, total: Option<u64>, unit: &str) {
    #[cfg(target_family = "wasm")]
    host::progress(done, total, unit);
    #[cfg(not(target_family = "wasm"))]
    let _ = (done, total, unit);
}
