//! Reading workflows: YAML text in, a checked [`plan::Workflow`] or a list of problems out.
//!
//! Pure: no I/O, no clock, no tokio, no wasmtime. Start from [`plan::Workflow`] and [`signature::Plugin`].

pub mod admission;
pub mod cases;
pub mod check;
pub mod document;
pub mod expression;
pub mod failure;
pub mod inputs;
pub mod library;
pub mod plan;
pub mod problem;
pub mod project;
pub mod quantity;
pub mod schema;
pub mod signature;
pub mod trigger;
pub mod vocabulary;
