//! How fast one peer may be talked to: `parallel`, `rate` and `gap`. One exchange counts once, however many requests
//! its login takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::Rate;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{CallContext, within};

/// The turns of one peer.
pub(crate) struct Politeness {
    slots: Arc<Semaphore>,
    rate: Option<Rate>,
    gap: Duration,
    /// When the last exchanges began or will begin; as many as `rate` and `gap` need.
    starts: Mutex<VecDeque<Instant>>,
}

impl Politeness {
    pub(crate) fn new(parallel: u32, rate: Option<Rate>, gap: Option<Duration>) -> Self {
        let slots = usize::try_from(parallel.max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        let rate = rate.filter(|rate| rate.count > 0);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            rate,
            gap: gap.unwrap_or_default(),
            starts: Mutex::default(),
        }
    }

    /// Waits for a turn and takes it; it ends when the permit is dropped.
    pub(crate) async fn turn(&self, context: &CallContext) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = within(context, Arc::clone(&self.slots).acquire_owned())
            .await?
            .map_err(|_closed| Failure::new(Kind::Internal, "the peer's turns have ended"))?;
        let start = self.reserve(context.deadline)?;
        within(context, tokio::time::sleep_until(start)).await?;
        Ok(permit)
    }

    fn reserve(&self, deadline: Instant) -> Result<Instant, Failure> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut start = now;
        if let Some(last) = starts.back() {
            start = start.max(*last + self.gap);
        }
        let kept = self.rate.map_or(1, |rate| usize::try_from(rate.count).unwrap_or(usize::MAX));
        if let Some(rate) = self.rate
            && starts.len() >= kept
            && let Some(first) = starts.get(starts.len() - kept)
        {
            start = start.max(*first + rate.per);
        }
        if start > deadline {
            return Err(Failure::new(
                Kind::Timeout,
                format!(
                    "the connection's rate lets this request begin in {:.1} s, after the step's own time",
                    (start - now).as_secs_f64()
                ),
            )
            .with_code("host:rate"));
        }
        starts.push_back(start);
        while starts.len() > kept {
            starts.pop_front();
        }
        Ok(start)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn context(seconds: u64) -> CallContext {
        CallContext {
            cancel: CancellationToken::new(),
            deadline: Instant::now() + Duration::from_secs(seconds),
            progress: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_holds_more_than_the_rate() {
        let rate = Rate { count: 5, per: Duration::from_secs(1) };
        let turns = Politeness::new(100, Some(rate), None);
        let begin = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..23 {
            drop(turns.turn(&context(60)).await.unwrap());
            starts.push(Instant::now() - begin);
        }
        for window in starts.windows(6) {
            assert!(window[5] - window[0] >= Duration::from_secs(1), "{starts:?}");
        }
        assert!(starts[22] < Duration::from_millis(4_100), "{starts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_lies_between_any_two() {
        let turns = Politeness::new(4, None, Some(Duration::from_millis(300)));
        let begin = Instant::now();
        for _ in 0..4 {
            drop(turns.turn(&context(60)).await.unwrap());
        }
        assert_eq!((begin.elapsed().as_millis() + 5) / 10, 90);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_deadline_or_the_run() {
        let turns = Politeness::new(1, None, None);
        let _held = turns.turn(&context(60)).await.unwrap();
        assert_eq!(turns.turn(&context(1)).await.unwrap_err().kind, Kind::Timeout);
        let cancelled = context(60);
        cancelled.cancel.cancel();
        assert_eq!(turns.turn(&cancelled).await.unwrap_err().kind, Kind::Cancelled);
        let slow = Politeness::new(1, Some(Rate { count: 1, per: Duration::from_secs(60) }), None);
        drop(slow.turn(&context(5)).await.unwrap());
        let begin = Instant::now();
        assert_eq!(slow.turn(&context(5)).await.unwrap_err().kind, Kind::Timeout);
        assert_eq!(begin.elapsed(), Duration::ZERO, "said at once");
    }
}
