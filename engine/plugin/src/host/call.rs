//! `bascule:host/call`: what this call is part of.

use super::State;
use super::bindings::bascule::host::call;

impl call::Host for State {
    fn attempt(&mut self) -> wasmtime::Result<u32> {
        self.enter()?;
        Ok(self.shared.context.attempt)
    }

    fn idempotency_key(&mut self) -> wasmtime::Result<String> {
        self.enter()?;
        Ok(self.shared.context.idempotency_key.clone())
    }

    fn remaining(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        let left = self.shared.deadline.saturating_duration_since(tokio::time::Instant::now());
        Ok(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        self.enter()?;
        Ok(self.shared.context.cancel.is_cancelled())
    }

    fn now(&mut self) -> wasmtime::Result<String> {
        self.enter()?;
        Ok((self.shared.clock)().to_string())
    }
}
