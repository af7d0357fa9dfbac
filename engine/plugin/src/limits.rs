//! What one call may use up.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::stop::Stop;

const MIB: usize = 1024 * 1024;

/// What one component and one call of it may use up. The defaults suit plugins built for this host; guests that bring
/// a language runtime along (Python, JavaScript) need more memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a component's file. 32 MiB.
    pub component_bytes: usize,
    /// Bytes of all linear memories of a call together. 64 MiB.
    pub memory_bytes: usize,
    /// Elements of all tables of a call together. 100,000.
    pub table_elements: usize,
    /// Core instances, and as many tables. 200.
    pub instances: usize,
    /// Handles that are alive at once: connections, open responses, WASI streams. 1,000.
    pub handles: usize,
    /// Bytes that one host call, or the result, may copy out of the guest. 32 MiB: a file of 16 MiB fits. In a result
    /// each value of a list or record counts with its size in the host, so a `list<u8>` ends near 1 MiB.
    pub copied_bytes: usize,
    /// Host calls. 100,000.
    pub host_calls: u64,
    /// Bytes of log lines; what is over is dropped and counted. 1 MiB.
    pub log_bytes: usize,
    /// Bytes of the guest's stack. 512 KiB. The same for all calls of a host.
    pub stack_bytes: usize,
    /// Bytes of the values that go in, roughly as JSON. 16 MiB.
    pub input_bytes: usize,
    /// Bytes of the value that comes out, roughly as JSON. 16 MiB.
    pub result_bytes: usize,
    /// How long a call may go on after its run was cancelled, to end in order. 500 ms.
    pub cancel_grace: Duration,
    /// Calls that are alive at once, running or waiting for an answer; further ones queue, and their time runs. 512.
    pub live_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 32 * MIB,
            memory_bytes: 64 * MIB,
            table_elements: 100_000,
            instances: 200,
            handles: 1_000,
            copied_bytes: 32 * MIB,
            host_calls: 100_000,
            log_bytes: MIB,
            stack_bytes: MIB / 2,
            input_bytes: 16 * MIB,
            result_bytes: 16 * MIB,
            cancel_grace: Duration::from_millis(500),
            live_calls: 512,
        }
    }
}

/// Counts what one store has taken. Growing over the limit is a trap, so that the guest's allocator cannot go on
/// with a failure that nobody tested.
pub(crate) struct Meter {
    memory: Gauge,
    table: Gauge,
    instances: usize,
}

#[derive(Clone, Copy)]
struct Gauge {
    used: usize,
    most: usize,
    last: usize,
}

impl Gauge {
    fn new(most: usize) -> Self {
        Self { used: 0, most, last: 0 }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        if self.used.saturating_add(more) > self.most {
            return false;
        }
        self.used += more;
        self.last = more;
        true
    }

    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: Gauge::new(limits.memory_bytes),
            table: Gauge::new(limits.table_elements),
            instances: limits.instances,
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if self.memory.grow(current, desired) { Ok(true) } else { Err(Stop::Memory(self.memory.most).into()) }
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        // Over the memory's own declared maximum: the guest gets its -1.
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if self.table.grow(current, desired) { Ok(true) } else { Err(Stop::Table(self.table.most).into()) }
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_memories_share_one_limit() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).is_ok());
        assert!(meter.memory_growing(0, 60, None).is_err());
        assert!(meter.memory_growing(60, 100, None).is_ok());
        assert!(meter.memory_growing(100, 101, None).is_err());
    }

    #[test]
    fn growth_that_failed_is_given_back() {
        let mut meter = Meter::new(&Limits { table_elements: 10, ..Limits::default() });
        assert!(meter.table_growing(0, 10, Some(5)).is_ok());
        assert!(meter.table_grow_failed(Stop::Handles.into()).is_ok());
        assert!(meter.table_growing(0, 10, None).is_ok());
    }
}
