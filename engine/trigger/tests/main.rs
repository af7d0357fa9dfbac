//! The triggers' tests: one binary over one set of doubles.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod arriving;
mod dispatching;
mod following;
mod intake;
mod lapsing;
mod listening;
mod retention;
mod scheduling;
mod support;
