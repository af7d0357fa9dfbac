//! Connections: named peers with address, credentials, policy and pace.
//!
//! A request passes `policy` (method, path, headers), takes its turn (`politeness`), is given credentials
//! (`exchange`), goes out over one socket (`wire`, to an address that `address` allows) and comes back (`receive`).
//!
//! Start from [`Connection`] and [`Request`].

pub(crate) mod address;
mod connection;
mod detour;
mod exchange;
mod health;
mod outgoing;
mod peer;
pub(crate) mod pins;
mod politeness;
#[cfg(test)]
mod rebinding;
mod receive;
mod request;
mod target;
mod tls;
mod wire;

pub use connection::{Connection, Incoming, TestReport};
pub use detour::Detour;
pub use health::{Health, Trouble};
pub use request::{
    Body, CallContext, DownloadOptions, Downloaded, Method, Pace, Part, PartData, ProgressFn, Request,
    Response, Transfer,
};

pub(crate) use connection::Inner;
pub(crate) use exchange::Prepared;
pub(crate) use health::Known;
pub(crate) use outgoing::Payload;
pub(crate) use peer::Shared;
pub(crate) use receive::Received;
pub(crate) use wire::{cancelled, time_is_up, within};
