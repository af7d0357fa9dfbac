//! Running checked workflows: the executor and its journal.
//!
//! A [`Runner`] walks a [`bascule_workflow::plan::Workflow`] and calls plugin functions through [`invoke::Invoke`].
//! Before a call its intent is in the [`journal`], after it its result, so that a run that was killed goes on where
//! it stopped: the walk starts from the top again, and what the journal knows is not done again.
//!
//! What it is not: it knows neither wasm nor YAML nor HTTP. Plugins are called by whoever implements `Invoke`.
//!
//! Start from [`Runner`] and [`journal::Journal`]; what people read about a run is a [`record::RunRecord`].
//!
//! ```
//! use std::sync::Arc;
//! use bascule_run::clock::SystemClock;
//! use bascule_run::journal::MemoryJournal;
//! use bascule_run::observe::Silent;
//! use bascule_run::{Parts, Runner, Start, Status};
//! # use bascule_run::invoke::{Invocation, Invoke, Listener};
//! # use bascule_workflow::{expression::Template, failure::Failure, plan};
//! # struct Nobody;
//! # #[async_trait::async_trait]
//! # impl Invoke for Nobody {
//! #     async fn invoke(&self, _: Invocation, _: Listener) -> Result<serde_json::Value, Failure> {
//! #         Ok(serde_json::json!("done"))
//! #     }
//! # }
//! # let step = plan::Step {
//! #     id: "hello".into(), name: None, line: 1, condition: None, skip_if: None, for_each: None, retry: None,
//! #     timeout: None, never_repeat: false, catch: vec![], verify: None, poll: None, once: None, undo: None,
//! #     keep_going: false,
//! #     action: plan::Action::Call(plan::Call {
//! #         plugin: "demo".into(), function: "greet".into(),
//! #         with: Template::parse(&serde_json::json!({})).unwrap(),
//! #     }),
//! # };
//! # let workflow = Arc::new(plan::Workflow {
//! #     id: "hello".into(), steps: vec![step], digest: "0".into(), ..plan::Workflow::default()
//! # });
//! # let plugins = Arc::new(Nobody);
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let runner = Runner::new(Parts {
//!     journal: Arc::new(MemoryJournal::new()),
//!     invoke: plugins,
//!     clock: Arc::new(SystemClock),
//!     observer: Arc::new(Silent),
//! });
//! let run = runner.start(&workflow, Start::default()).await.unwrap();
//! let outcome = runner.execute(run, workflow, Default::default()).await.unwrap();
//! assert_eq!(outcome.status, Status::Succeeded);
//! # });
//! ```

pub mod clock;
pub mod context;
pub mod invoke;
pub mod journal;
pub mod observe;
pub mod place;
pub mod record;
pub mod status;

mod backoff;
mod interpret;
mod local;
mod pins;
mod runner;

pub use journal::RunId;
pub use place::Place;
pub use runner::{Basis, Parts, Rerun, RunError, RunOutcome, Runner, Start, StepOutcome};
pub use status::{Counts, Status};
