//! The host's side of `/wit`: one file per interface, each a translation to `bascule-capability`. Nothing is decided
//! here: policy, credentials and limits of peers are the capability's, so that there is one gate.

mod call;
mod events;
mod http;
mod log;
mod storage;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task;

use bascule_capability::http::CallContext;
use bascule_workflow::failure::{Effect, Failure, Kind};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::call::Context;
use crate::engine::Clock;
use crate::limits::Meter;
use crate::report::Speech;
use crate::stop::Stop;

pub use events::Sink;
pub(crate) use events::SinkHandle;

/// The bindings of `/wit`.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package bascule:engine;

            world host {
                import bascule:host/call@0.1.0;
                import bascule:host/events@0.1.0;
                import bascule:host/http@0.1.0;
                import bascule:host/log@0.1.0;
                import bascule:host/storage@0.1.0;
                import bascule:host/types@0.1.0;
            }
        ",
        world: "bascule:engine/host",
        imports: {
            "bascule:host/call": trappable,
            "bascule:host/log": trappable,
            default: async | trappable,
        },
        trappable_error_type: {
            "bascule:host/types.error" => super::Refusal,
        },
        with: {
            "bascule:host/http.connection": bascule_capability::http::Connection,
            "bascule:host/http.incoming": super::http::IncomingHandle,
            "bascule:host/storage.folder": bascule_capability::storage::Folder,
            "bascule:host/storage.store": bascule_capability::storage::Store,
            "bascule:host/events.sink": super::events::SinkHandle,
        },
    });
}

use bindings::bascule::host::types;

/// Everything that guests can import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bindings::Host_::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// What one call has of the host: the data of its store.
pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) wasi: WasiCtx,
    pub(crate) shared: Arc<Shared>,
}

/// The part of a call's state that the host keeps a hold of while the guest runs.
pub(crate) struct Shared {
    pub(crate) context: Context,
    /// When the call ends, whatever it is doing.
    pub(crate) deadline: tokio::time::Instant,
    /// What requests get: they end a little earlier, so that the guest can still say what it waited for.
    pub(crate) requests: CallContext,
    /// Cancelled when the call is over: nothing new is begun.
    pub(crate) over: CancellationToken,
    /// Where I/O runs.
    pub(crate) io: Handle,
    pub(crate) speech: Arc<Speech>,
    pub(crate) clock: Clock,
    pub(crate) host_calls: AtomicU64,
    pub(crate) most_host_calls: u64,
    /// Set while and after something is changed outside.
    pub(crate) changed: AtomicBool,
}

impl Shared {
    /// What a call that ends by force did outside, as far as the host can tell.
    pub(crate) fn effect(&self) -> Effect {
        if self.changed.load(Ordering::Acquire) { Effect::Unknown } else { Effect::None }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Why a host function does not return a value: an answer that the guest may handle, or the end of the call.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug)]
pub enum Refusal {
    Answer(Box<Failure>),
    End(wasmtime::Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Answer(Box::new(failure))
    }
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::End(error)
    }
}

impl From<ResourceTableError> for Refusal {
    fn from(error: ResourceTableError) -> Self {
        Self::End(error.into())
    }
}

impl types::Host for State {
    fn convert_error(&mut self, refusal: Refusal) -> wasmtime::Result<types::Error> {
        match refusal {
            Refusal::Answer(failure) => Ok((*failure).into()),
            Refusal::End(error) => Err(error),
        }
    }
}

impl From<Failure> for types::Error {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind.into(),
            code: failure.code,
            message: failure.message,
            effect: match failure.effect {
                Effect::None => types::Effect::None,
                Effect::Applied => types::Effect::Applied,
                Effect::Unknown => types::Effect::Unknown,
            },
            retry_after: failure.retry_after,
            details: failure.details.map(|details| details.to_string()),
        }
    }
}

impl From<Kind> for types::ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::InvalidInput => Self::InvalidInput,
            Kind::Unauthorized => Self::Unauthorized,
            Kind::LockedOut => Self::LockedOut,
            Kind::Refused => Self::Refused,
            Kind::NotFound => Self::NotFound,
            Kind::Conflict => Self::Conflict,
            Kind::Unsupported => Self::Unsupported,
            Kind::Busy => Self::Busy,
            Kind::Offline => Self::Offline,
            Kind::Timeout => Self::Timeout,
            Kind::Cancelled => Self::Cancelled,
            Kind::Protocol => Self::Protocol,
            Kind::VerificationFailed => Self::VerificationFailed,
            Kind::Internal => Self::Internal,
        }
    }
}

/// Whether a host call changes something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    Reads,
    Changes,
}

impl State {
    /// Every host function begins with this.
    fn enter(&self) -> wasmtime::Result<()> {
        let before = self.shared.host_calls.fetch_add(1, Ordering::Relaxed);
        if before >= self.shared.most_host_calls {
            return Err(Stop::HostCalls(self.shared.most_host_calls).into());
        }
        Ok(())
    }

    /// Runs I/O on the host's runtime while the guest waits. It ends with the call: when the guest's future is
    /// dropped, so is this one.
    ///
    /// It is boxed by whoever asks: what is moved about here stays on the guest's own stack for as long as the call lasts, and
    /// a call that listens lasts for months.
    async fn io<T: Send + 'static>(
        &mut self,
        touch: Touch,
        work: Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>,
    ) -> Result<T, Refusal> {
        if self.shared.over.is_cancelled() || self.shared.context.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Cancelled, "the run was cancelled").into());
        }
        let before = self.shared.changed.load(Ordering::Acquire);
        if touch == Touch::Changes {
            self.shared.changed.store(true, Ordering::Release);
        }
        let outcome = Owned(self.shared.io.spawn(work)).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // Aborted only together with this future, so this is a panic, reported by then.
            Err(_) => {
                return Err(Failure::new(Kind::Internal, "the host failed while serving the plugin").into());
            }
        };
        if let Err(failure) = &outcome
            && failure.effect == Effect::None
        {
            self.shared.changed.store(before, Ordering::Release);
        }
        Ok(outcome?)
    }
}

/// A task that ends when its owner does.
pub(crate) struct Owned<T>(pub(crate) JoinHandle<T>);

impl<T> Future for Owned<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
