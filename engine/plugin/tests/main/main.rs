//! Plugins as the engine runs them: real components, hostile ones among them.
//!
//! Every module begins at [`stage`], which builds the guests of `tests/guests`.

mod compiled_code;
mod hostile;
mod lending;
mod loading;
mod pictures;
mod queue;
mod shipped;
mod stage;
mod values;
mod wasi;
