//! `bascule:host/log`: lines and progress.

use super::State;
use super::bindings::bascule::host::log;
use crate::report::Level;

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.enter()?;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.shared.speech.line(level, &message);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: Option<u64>, unit: String) -> wasmtime::Result<()> {
        self.enter()?;
        self.shared.speech.progress(done, total, &unit);
        Ok(())
    }
}
