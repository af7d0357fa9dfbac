//! The clock that interrupts guests: a plain thread of the operating system, because a guest that spins may hold
//! every thread of an async runtime.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How often a running guest is interrupted to see whether it may go on.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks while any guest is alive; ends, and is joined, when dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    live: usize,
    ending: bool,
}

/// Keeps the ticker going; a guest holds one for as long as it may run.
pub(crate) struct Live(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("bascule-ticker".into())
            .spawn(move || of_thread.run(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn live(&self) -> Live {
        self.shared.change(|state| state.live += 1);
        Live(self.shared.clone())
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn run(&self, engine: &Engine) {
        loop {
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let state = self
                    .changed
                    .wait_while(state, |state| state.live == 0 && !state.ending)
                    .unwrap_or_else(PoisonError::into_inner);
                // Even when ending: a guest that is still in its last slice needs the next tick to leave it.
                if state.live == 0 {
                    return;
                }
            }
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.change(|state| state.live -= 1);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.change(|state| state.ending = true);
        if let Some(thread) = self.thread.take() {
            // Its panic, if there was one, has been reported by then.
            drop(thread.join());
        }
    }
}
