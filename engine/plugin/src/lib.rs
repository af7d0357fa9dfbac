//! Running plugins: WebAssembly components that may have been written by anyone.
//!
//! What it does: loads a component and refuses what the contract forbids, reads its functions and types off the
//! component itself, turns JSON into typed values and back, and calls functions under limits, with nothing in reach
//! but what the call lends. What it does not: it knows no workflow and no run, does no I/O of its own (that is
//! `bascule-capability`) and opens no file but components, the copies of them that runs need, and its cache. No other crate imports wasmtime.
//!
//! Start from [`Host`] and [`Plugin`]; one call is a [`Call`].
//!
//! ```no_run
//! use bascule_plugin::{Call, Context, Host, HostOptions};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::new(HostOptions::default())?;
//! let plugin = host.load_file("isapi", "target/components/isapi.wasm".as_ref(), None)?;
//! println!("{:?}", plugin.signature().functions.keys());
//! let capabilities = bascule_capability::Capabilities::default();
//! let with = json!({ "terminal": "lobby" });
//! let value = host.call(&plugin, Call::new("device.info", &with, Context::default(), &capabilities)).await?;
//! # drop(value);
//! # Ok(())
//! # }
//! ```

mod cache;
mod call;
mod contract;
mod convert;
mod docs;
mod engine;
mod guests;
mod host;
mod kept;
mod lend;
mod limits;
mod load;
mod report;
mod shape;
mod stop;
mod ticker;
mod wasi;

pub use cache::{Evicted, evict_compiled};
pub use call::{Call, Context};
pub use engine::{Clock, Host, HostError, HostOptions};
pub use host::Sink;
pub use kept::{Kept, KeptError, Swept};
pub use limits::Limits;
pub use load::{LoadError, Plugin};
pub use report::{Level, Listener, Report};
