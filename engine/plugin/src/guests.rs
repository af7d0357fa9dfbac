//! The threads that guests run on: few, of low priority, and never those of the host's I/O.
//!
//! A guest runs only while one of these threads polls it, so their number is the number of guests that run at one
//! instant; the others wait in the runtime's queue, first come, first served, and each running guest goes to the end
//! of it with every tick. A call that waits for a host call is in no queue.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The guests' own runtime.
pub(crate) struct Guests(Option<Runtime>);

impl Guests {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("bascule-guest")
            // Timers are looked at after every few slices, not every 61 (each slice can be a whole tick).
            .event_interval(4)
            .on_thread_start(lower_priority)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a guest. `None` only while the host is being dropped.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        guest: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        Some(self.0.as_ref()?.spawn(guest))
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Without waiting, because this may be dropped on a thread of another runtime, where blocking panics.
            runtime.shutdown_background();
        }
    }
}

/// Nice 10 for the calling thread (on Linux the niceness of "process 0" is the calling thread's own).
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%error, "guest threads keep the normal priority");
    }
}
