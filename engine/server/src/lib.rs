//! The HTTP side of `bascule serve`: webhooks in, the API, health and metrics.
//!
//! What it is not: it executes nothing and decides nothing about runs. A delivery goes to
//! [`bascule_trigger::Intake`], which stores it before anything is answered; everything else is asked of the
//! [`bascule_trigger::Dispatcher`] and the journal.
//!
//! Start from [`Server::bind`] and [`ServerParts`]; the routes stand in `api.rs`, the way of a delivery in `hooks.rs`.

mod access;
mod api;
mod hooks;
mod listen;
mod metrics;
mod page;
mod refusal;
mod server;
mod state;
mod tokens;
mod view;

pub use access::Role;
pub use metrics::Metrics;
pub use server::{BindError, Server};
pub use state::{Inventory, RefusedEdit, Reload, ServerParts};
pub use tokens::{TokenError, TokenInfo, Tokens};
pub use view::EventView;
