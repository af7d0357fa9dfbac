//! Runs on invented plugins, and a collector that decodes what it is sent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod collector;
mod delivering;
mod stage;
mod tracing_runs;
