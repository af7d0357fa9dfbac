//! Black-box tests: the real binary, the real plugins, simulated terminals and a simulated Supabase in this process.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod checking;
mod connections;
mod looking;
mod owning;
mod running;
mod stage;
