//! Black-box tests: the real binary, the real plugins, simulated terminals and a simulated Supabase in this process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod administering;
mod checking;
mod composing;
mod connections;
mod crowding;
mod enduring;
mod events;
mod faulting;
mod filling;
mod hikcentral;
mod hikpartner;
mod lapsing;
mod looking;
mod lying;
mod operating;
mod ordered;
mod owning;
mod preparing;
mod provisioning;
mod ranging;
mod recording;
mod relay;
mod rewiring;
mod rotating;
mod running;
mod served;
mod serving;
mod stage;
mod storage;
mod tables;
mod testing;
mod tracing_out;
mod triggered;
mod triggering;
mod upgrading;
