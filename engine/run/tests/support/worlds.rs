//! Worlds that many tests live in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bascule_workflow::failure::Kind;

use super::World;
use super::write::fails;

/// Answers everything with its own `with`.
pub(crate) fn echo() -> World {
    World::answering(|_, call| Ok(call.with.clone()))
}

/// Fails for the named items or steps, echoes else.
pub(crate) fn failing(bad: &'static [(&'static str, Kind)]) -> World {
    World::answering(move |_, call| match bad.iter().find(|(step, _)| *step == call.step) {
        Some((_, kind)) => fails(*kind),
        None => Ok(call.with.clone()),
    })
}

/// Takes a second for everything, and counts how many are at work at once.
pub(crate) fn slow(most: Arc<AtomicUsize>) -> World {
    let now = Arc::new(AtomicUsize::new(0));
    World::new(Box::new(move |_, call, invocation| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let outcome = tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => Ok(call.with),
                () = invocation.cancel.cancelled() => fails(Kind::Cancelled),
            };
            now.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    }))
}
