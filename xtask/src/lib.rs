//! The part of the project's own commands that tests call too: making components out of the plugins and the test
//! guests. Not a build script on purpose: nothing is built for wasm until somebody needs a component.
//!
//! Start from [`components::plugins`] and [`components::guests`].

pub mod canary;
pub mod components;
