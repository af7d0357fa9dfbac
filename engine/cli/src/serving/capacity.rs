//! How many event sources this process holds at once. Each takes a socket and some memory mappings, of which the system gives
//! only so many; a process that has used them up fails in places that have nothing to do with events. So there is a number of
//! places below that, and sources without one wait and say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bascule_trigger::SourceSink;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most event sources at one time, whatever the system allows.
pub(crate) const MAX_SOURCES: usize = 16_384;
/// Files and sockets for everything else: database, API, webhooks, the requests of steps.
const OTHER_FILES: u64 = 128;
/// Memory mappings for everything else, and those of one source (measured: 7).
const OTHER_MAPPINGS: u64 = 4_096;
const MAPPINGS: u64 = 8;
/// What Linux allows where it cannot be asked.
const USUAL_MAPPINGS: u64 = 65_530;
/// Whoever waits for a place shows that it does, well within the shortest usual `silence`.
const SHOW: Duration = Duration::from_secs(20);

/// Places for event sources.
pub(crate) struct Capacity {
    free: Arc<Semaphore>,
    count: usize,
    bound: String,
    told: AtomicBool,
}

impl Capacity {
    /// As many as the limits of this process allow.
    pub(crate) fn of_this_process() -> Self {
        use rustix::process::{Resource, getrlimit};
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let mappings = mappings.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_MAPPINGS);
        Self::within(files, mappings)
    }

    fn within(files: u64, mappings: u64) -> Self {
        // One at least: a source that cannot have its socket says so itself.
        let by_files = files.saturating_sub(OTHER_FILES).max(1);
        let by_mappings = (mappings.saturating_sub(OTHER_MAPPINGS) / MAPPINGS).max(1);
        let count = usize::try_from(by_files.min(by_mappings)).unwrap_or(usize::MAX).min(MAX_SOURCES);
        let bound = if count == MAX_SOURCES {
            "more are not held by one process".to_owned()
        } else if by_files <= by_mappings {
            format!(
                "this process may have {files} files and sockets open: raise `LimitNOFILE=` of the unit, or `ulimit -Hn`, and \
                 start again"
            )
        } else {
            format!(
                "this system allows {mappings} memory mappings: raise `vm.max_map_count` with sysctl, and start again"
            )
        };
        Self { free: Arc::new(Semaphore::new(count)), count, bound, told: AtomicBool::new(false) }
    }

    /// Waits for a place, which is free again when the permit is dropped. `None` only while the process ends.
    pub(crate) async fn take(&self, sink: &dyn SourceSink) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "{} event sources are held, and the others wait for a place: {}",
                self.count,
                self.bound
            );
        }
        let place = Arc::clone(&self.free).acquire_owned();
        tokio::pin!(place);
        loop {
            sink.state(false, &format!("waits for one of {} places: {}", self.count, self.bound));
            tokio::select! {
                place = &mut place => return place.ok(),
                () = tokio::time::sleep(SHOW) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts_and_is_named() {
        let usual = Capacity::within(1_024, 65_530);
        assert_eq!(usual.count, 896);
        assert!(usual.bound.contains("1024 files") && usual.bound.contains("LimitNOFILE"), "{}", usual.bound);
        let many = Capacity::within(1 << 20, 65_530);
        assert_eq!(many.count, 7_679);
        assert!(many.bound.contains("vm.max_map_count"), "{}", many.bound);
        assert_eq!(Capacity::within(u64::MAX, 1 << 20).count, MAX_SOURCES);
        assert_eq!(Capacity::within(0, 0).count, 1);
    }
}
