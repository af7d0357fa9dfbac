//! The host: one wasmtime engine for all plugins, its threads, its limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Strategy, WasmBacktraceDetails};

use crate::cache::Cache;
use crate::guests::Guests;
use crate::host::{self, State};
use crate::limits::Limits;
use crate::ticker::Ticker;

/// Tells the time to guests.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// How a host is set up. The default has no cache.
#[derive(Clone)]
pub struct HostOptions {
    /// Where compiled code is kept; created, for its owner alone. `None`: components are compiled at every start.
    pub cache_folder: Option<PathBuf>,
    /// Authenticates compiled code. Keep it outside `cache_folder`: whoever can write both can run code.
    pub cache_key: [u8; 32],
    /// What one component and one call may use up.
    pub limits: Limits,
    /// Threads that run guests: as many guests run at one instant. 2.
    pub guest_threads: usize,
    /// The clock that guests see in `bascule:host/call.now`.
    pub clock: Clock,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            cache_folder: None,
            cache_key: [0; 32],
            limits: Limits::default(),
            guest_threads: 2,
            clock: Arc::new(jiff::Timestamp::now),
        }
    }
}

/// Why a host cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine does not accept this machine or its settings.
    #[error("the WebAssembly engine cannot be set up")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread cannot be started.
    #[error("the threads for plugins cannot be started")]
    Threads(#[source] std::io::Error),
    /// The cache's folder cannot be used.
    #[error("the folder `{}` for compiled plugins cannot be used", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Loads and calls plugins. One per process is enough; dropping it ends every guest.
pub struct Host {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) cache: Option<Cache>,
    pub(crate) compilations: AtomicU64,
    pub(crate) places: Arc<Semaphore>,
    // Dropped in this order: the guests are told to end, then the ticker interrupts the last of them and is joined.
    pub(crate) guests: Guests,
    pub(crate) ticker: Ticker,
}

impl Host {
    /// Sets up the engine and starts its threads.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let refused = |error: wasmtime::Error| HostError::Engine(error.into());
        let engine = Engine::new(&config(&options.limits)).map_err(refused)?;
        let linker = host::linker(&engine).map_err(refused)?;
        let cache = match options.cache_folder {
            Some(path) => Some(
                Cache::open(path.clone(), options.cache_key, &engine)
                    .map_err(|source| HostError::Cache { path, source })?,
            ),
            None => None,
        };
        Ok(Self {
            linker,
            cache,
            compilations: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(options.limits.live_calls.clamp(1, Semaphore::MAX_PERMITS))),
            guests: Guests::start(options.guest_threads).map_err(HostError::Threads)?,
            ticker: Ticker::start(engine.clone()).map_err(HostError::Threads)?,
            limits: options.limits,
            clock: options.clock,
            engine,
        })
    }

    /// How many components this host has compiled, as opposed to taken from the cache.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.compilations.load(Ordering::Relaxed)
    }
}

/// The stack beside the guest's own, for the host functions that run on the same fiber.
const HOST_STACK_BYTES: usize = 1024 * 1024;

/// Cranelift only, memory on demand, and nothing of WebAssembly that plugins do not need.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes + HOST_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}
