//! Black-box tests: the real binary, the real plugins, simulated terminals and a simulated Supabase in this process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod administering;
mod checking;
mod connections;
mod hikcentral;
mod looking;
mod lying;
mod owning;
mod preparing;
mod ranging;
mod recording;
mod running;
mod stage;
