//! The executor and both journals, black box: workflows are built as `check` would build them, plugins are doubles.

mod support;

mod crash;
mod journals;
mod running;
mod spec;
