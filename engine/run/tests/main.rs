//! The executor and both journals, black box: workflows are built as `check` would build them, plugins are doubles.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod composing;
mod crash;
mod executing;
mod golden;
mod journals;
mod pinning;
mod pruning;
mod running;
mod spec;
mod undoing;
mod written;
