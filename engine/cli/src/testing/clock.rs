//! A clock that stands still while anything is at work, and jumps to the next instant that somebody waits for when nothing
//! is: retries, polls, pauses and second looks take no real time.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use bascule_run::clock::Clock;
use jiff::{Timestamp, Unit};

/// A run that waits more often than this is taken to have no end.
const MOST_JUMPS: u32 = 200_000;

/// The clock of a case.
#[derive(Default)]
pub(crate) struct VirtualClock {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    next: u64,
    busy: usize,
    jumps: u32,
}

/// While it is held, time stands still.
pub(crate) struct Busy<'c>(&'c VirtualClock);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy = state.busy.saturating_sub(1);
    }
}

impl VirtualClock {
    /// Shows `now`; nobody waits.
    pub(crate) fn starting_at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.state().now = now.round(Unit::Microsecond).unwrap_or(now);
        clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something outside of the run is at work.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.state().busy += 1;
        Busy(self)
    }

    /// Jumps to the first instant that is waited for, if nothing is at work and somebody waits.
    fn jump(&self) -> Jump {
        let woken = {
            let mut state = self.state();
            if state.busy > 0 {
                return Jump::No;
            }
            let Some((at, _)) = state.sleepers.first_key_value().map(|(key, _)| *key) else {
                return Jump::No;
            };
            if state.jumps >= MOST_JUMPS {
                return Jump::TooMany;
            }
            state.jumps += 1;
            state.now = state.now.max(at);
            let later = state.sleepers.split_off(&(at, u64::MAX));
            std::mem::replace(&mut state.sleepers, later)
        };
        woken.into_values().for_each(Waker::wake);
        Jump::Done
    }
}

enum Jump {
    No,
    Done,
    TooMany,
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    async fn sleep_until(&self, at: Timestamp) {
        Sleep { clock: self, at, key: None }.await;
    }
}

struct Sleep<'c> {
    clock: &'c VirtualClock,
    at: Timestamp,
    key: Option<(Timestamp, u64)>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock;
        let mut state = clock.state();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                state.next += 1;
                (self.at, state.next)
            }
        };
        self.key = Some(key);
        state.sleepers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.state().sleepers.remove(&key);
        }
    }
}

/// Remembers that it was woken, and passes it on.
struct Bell {
    rung: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

/// The work waits again and again and does not come to an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endless;

/// Drives `work` to its end, and lets the clock jump whenever all of it waits for the clock and nothing is at work outside.
pub(crate) async fn drive<F: Future>(clock: &VirtualClock, work: F) -> Result<F::Output, Endless> {
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), outer: Mutex::new(None) });
    let waker = Waker::from(Arc::clone(&bell));
    // Without a budget: "not ready" then always means that somebody waits.
    let mut work = pin!(tokio::task::unconstrained(work));
    poll_fn(|outer| {
        *bell.outer.lock().unwrap_or_else(PoisonError::into_inner) = Some(outer.waker().clone());
        loop {
            bell.rung.store(false, Ordering::SeqCst);
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(Ok(done));
            }
            if bell.rung.load(Ordering::SeqCst) {
                continue;
            }
            match clock.jump() {
                Jump::Done => {}
                Jump::No => return Poll::Pending,
                Jump::TooMany => return Poll::Ready(Err(Endless)),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bascule_run::clock::later;

    use super::*;

    #[tokio::test]
    async fn waits_take_no_time_and_end_in_their_order() {
        let clock = VirtualClock::starting_at(Timestamp::UNIX_EPOCH);
        let ends = Mutex::new(Vec::new());
        let begun = Instant::now();
        let wait = |hours: u64| {
            let (clock, ends) = (&clock, &ends);
            async move {
                clock.sleep_until(later(Timestamp::UNIX_EPOCH, Duration::from_secs(hours * 3600))).await;
                ends.lock().unwrap_or_else(PoisonError::into_inner).push(hours);
            }
        };
        let done = drive(&clock, async { tokio::join!(wait(3), wait(1), wait(2)) }).await;
        assert!(done.is_ok());
        assert_eq!(*ends.lock().unwrap_or_else(PoisonError::into_inner), [1, 2, 3]);
        assert_eq!(clock.now(), later(Timestamp::UNIX_EPOCH, Duration::from_secs(3 * 3600)));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn time_stands_still_while_something_is_at_work() {
        let clock = VirtualClock::starting_at(Timestamp::UNIX_EPOCH);
        let (tell, told) = tokio::sync::oneshot::channel();
        let other = std::thread::spawn(move || tell.send(()));
        let done = drive(&clock, async {
            let work = async {
                let _busy = clock.busy();
                let heard = told.await;
                (heard.is_ok(), clock.now())
            };
            let wait = clock.sleep_until(later(Timestamp::UNIX_EPOCH, Duration::from_secs(5)));
            tokio::join!(work, wait).0
        })
        .await;
        assert_eq!(done, Ok((true, Timestamp::UNIX_EPOCH)));
        assert!(other.join().is_ok());
    }

    #[tokio::test]
    async fn waiting_without_end_is_noticed() {
        let clock = VirtualClock::starting_at(Timestamp::UNIX_EPOCH);
        let done = drive(&clock, async {
            loop {
                clock.sleep_until(later(clock.now(), Duration::from_secs(1))).await;
            }
        })
        .await;
        assert_eq!(done, Err::<(), _>(Endless));
    }
}
