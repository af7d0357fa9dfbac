//! What runs did, as traces for OpenTelemetry: a span for each run, step, item and plugin call, sent in batches to
//! whatever [`Post`] leads to.
//!
//! A span says which and how it ended: ids, numbers of attempts, status, kind and code of a failure. It never holds
//! inputs, outputs, messages or anything else that a peer or a person wrote. The trace's id is the run's, so whoever
//! has one has the other; ids of runs, steps and items are the same whichever process sends them.
//!
//! What it is not: it does no HTTP (whoever implements `Post` does), and it is no part of the record of a run. When
//! nobody takes the spans, runs notice nothing: beyond what fits into the queue spans are dropped and counted.
//!
//! Start from [`Telemetry`] and [`Post`].
//!
//! ```
//! use std::sync::Arc;
//! use bascule_run::clock::SystemClock;
//! use bascule_telemetry::{Answer, Post, Service, Telemetry};
//!
//! struct Nobody;
//! #[async_trait::async_trait]
//! impl Post for Nobody {
//!     async fn post(&self, _json: String) -> Answer {
//!         Answer::Later("nobody listens".to_owned())
//!     }
//! }
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let service = Service { name: "bascule".to_owned(), version: "0.1.0".to_owned() };
//! let telemetry = Telemetry::start(Arc::new(Nobody), Arc::new(SystemClock), service);
//! let observer = telemetry.observer(); // for the runner, beside other observers
//! # drop(observer);
//! telemetry.stop(std::time::Duration::from_secs(1)).await;
//! # });
//! ```

mod export;
mod otlp;
mod span;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use bascule_run::clock::Clock;
use bascule_run::invoke::Invoke;
use bascule_run::observe::Observer;

pub use export::{Answer, Counts, Post};
pub use otlp::Service;

use export::Exporter;
use trace::{Traced, Tracer};

/// Makes spans of what runs do and sends them, until it is stopped.
pub struct Telemetry {
    tracer: Arc<Tracer>,
    exporter: Exporter,
}

impl Telemetry {
    /// Begins to send. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(post: Arc<dyn Post>, clock: Arc<dyn Clock>, service: Service) -> Self {
        let exporter = Exporter::start(post, service);
        Self { tracer: Arc::new(Tracer::new(clock, exporter.queue())), exporter }
    }

    /// Hears runs, steps and items; for the runner.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.tracer) as _
    }

    /// The same way to plugins, with a span for each call.
    #[must_use]
    pub fn around(&self, invoke: Arc<dyn Invoke>) -> Arc<dyn Invoke> {
        Arc::new(Traced::new(invoke, Arc::clone(&self.tracer)))
    }

    /// How many spans were sent and dropped.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.exporter.counts()
    }

    /// Sends what is waiting, once and within `limit`; what could not be sent by then is dropped.
    pub async fn stop(self, limit: Duration) {
        self.exporter.stop(limit).await;
    }
}
