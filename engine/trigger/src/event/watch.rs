//! Signs of life, on a clock that nobody sets.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Knows when a source was last heard of.
pub(super) struct Watch {
    last: Mutex<Instant>,
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    pub(super) fn sign(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when there was no sign of life for so long.
    pub(super) async fn silent_for(&self, silence: Duration) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let until = last + silence;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_sign_begins_the_silence_anew() {
        let watch = Watch::begin();
        let begun = Instant::now();
        let silence = Duration::from_secs(120);
        let signs = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(100)).await;
                watch.sign();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watch.silent_for(silence) => {}
            () = signs => {}
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(1120));
    }
}
