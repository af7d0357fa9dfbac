//! `bascule test`: runs the cases of `*.test.yaml` beside the workflows.
//!
//! A case is a real run: the real plugins, the connection's own policy and signing, the real executor. What stands in are the
//! peers (`stand_in`, loopback servers with canned answers, or `simulator`), the journal (in memory), folders, stores and
//! secrets (a temporary folder, invented values) and the clock (`clock`, which jumps over every wait).
//!
//! The site's own data folder is never opened.

pub(crate) mod clock;
pub(crate) mod coverage;
pub(crate) mod find;
pub(crate) mod report;
pub(crate) mod stage;

mod body;
mod login;
mod outcome;
mod project;
mod simulator;
mod stand_in;
mod steps;
mod wire;
