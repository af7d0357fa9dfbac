//! The shapes of the API: what goes out, and its place in the OpenAPI document, are one type each.

mod event;
mod run;
mod workflow;

pub use event::EventView;
pub(crate) use run::{FailureView, LineView, RunDetail, RunView, StepView};
pub(crate) use workflow::{
    InputView, PausedView, TriggerView, WorkflowDetail, WorkflowSummary, input_schema,
};
