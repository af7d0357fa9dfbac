//! The slots that `parallel` counts. Whoever only waits gives its slot to others (spec 5), and with it the slots of
//! the items that it is inside of, unless something else in them is at work.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slot of one item, or the root, which needs none.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    semaphore: Option<Arc<Semaphore>>,
    around: Option<Arc<Slot>>,
    busy: Mutex<Busy>,
}

#[derive(Debug, Default)]
struct Busy {
    /// How many are at work inside.
    count: usize,
    held: Option<(Option<OwnedSemaphorePermit>, Option<Held>)>,
}

/// Being at work inside a slot.
#[derive(Debug)]
pub(crate) struct Held {
    slot: Arc<Slot>,
}

impl Slot {
    /// The slot of an item, out of those that `semaphore` counts, inside another.
    pub(crate) fn of_item(semaphore: Arc<Semaphore>, around: Arc<Self>) -> Arc<Self> {
        Arc::new(Self { semaphore: Some(semaphore), around: Some(around), busy: Mutex::default() })
    }

    /// Waits until the slot, and those around it, may be worked in.
    fn enter(self: &Arc<Self>) -> BoxFuture<'_, Held> {
        async move {
            if let Some(held) = self.join() {
                return held;
            }
            let around = match &self.around {
                Some(around) => Some(around.enter().await),
                None => None,
            };
            let permit = match &self.semaphore {
                // Never closed, so never an error.
                Some(semaphore) => Arc::clone(semaphore).acquire_owned().await.ok(),
                None => None,
            };
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.count += 1;
            if busy.held.is_none() {
                busy.held = Some((permit, around));
            } else {
                // Another came first; give back outside of the lock.
                drop(busy);
                drop((permit, around));
            }
            Held { slot: Arc::clone(self) }
        }
        .boxed()
    }

    fn join(self: &Arc<Self>) -> Option<Held> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        (busy.count > 0).then(|| {
            busy.count += 1;
            Held { slot: Arc::clone(self) }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let given_back = {
            let mut busy = self.slot.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.count -= 1;
            if busy.count == 0 { busy.held.take() } else { None }
        };
        drop(given_back);
    }
}

/// One line of work and its hold on a slot.
#[derive(Debug)]
pub(crate) struct Grip {
    slot: Arc<Slot>,
    held: Option<Held>,
}

impl Grip {
    /// At work where nothing is counted.
    pub(crate) fn root() -> Self {
        Self { slot: Arc::default(), held: None }
    }

    /// At work in the slot, as soon as there is one.
    pub(crate) async fn on(slot: Arc<Slot>) -> Self {
        let held = slot.enter().await;
        Self { slot, held: Some(held) }
    }

    pub(crate) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// Only waiting from now on.
    pub(crate) fn loosen(&mut self) {
        self.held = None;
    }

    /// At work again, as soon as there is a slot.
    pub(crate) async fn tighten(&mut self) {
        if self.held.is_none() {
            self.held = Some(self.slot.enter().await);
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[test]
    fn one_that_waits_gives_its_slot_to_the_next() {
        let semaphore = Arc::new(Semaphore::new(1));
        let root = Arc::new(Slot::default());
        let mut first =
            ready(Grip::on(Slot::of_item(Arc::clone(&semaphore), Arc::clone(&root)))).expect("free");
        assert!(ready(Grip::on(Slot::of_item(Arc::clone(&semaphore), Arc::clone(&root)))).is_none());
        first.loosen();
        let second = ready(Grip::on(Slot::of_item(Arc::clone(&semaphore), root))).expect("given back");
        assert!(ready(first.tighten()).is_none());
        drop(second);
        assert!(ready(first.tighten()).is_some());
    }

    #[test]
    fn an_outer_slot_is_held_while_anything_inside_works() {
        let outer = Arc::new(Semaphore::new(1));
        let inner = Arc::new(Semaphore::new(2));
        let mut site = ready(Grip::on(Slot::of_item(Arc::clone(&outer), Arc::default()))).expect("free");
        let mut one = ready(Grip::on(Slot::of_item(Arc::clone(&inner), site.slot()))).expect("free");
        let mut two = ready(Grip::on(Slot::of_item(Arc::clone(&inner), site.slot()))).expect("free");
        site.loosen();
        one.loosen();
        assert_eq!((outer.available_permits(), inner.available_permits()), (0, 1));
        two.loosen();
        assert_eq!((outer.available_permits(), inner.available_permits()), (1, 2));
        assert!(ready(one.tighten()).is_some());
        assert_eq!((outer.available_permits(), inner.available_permits()), (0, 1));
    }

    #[test]
    fn giving_up_halfway_gives_everything_back() {
        let outer = Arc::new(Semaphore::new(1));
        let inner = Arc::new(Semaphore::new(0));
        let around = Slot::of_item(Arc::clone(&outer), Arc::default());
        assert!(ready(Grip::on(Slot::of_item(inner, around))).is_none());
        assert_eq!(outer.available_permits(), 1);
    }
}
