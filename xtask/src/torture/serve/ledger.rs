//! What was promised: the ledger of everything that the server acknowledged and that the terminals saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

/// One delivery, however often it was sent.
#[derive(Clone, Debug, Default)]
pub(in crate::torture) struct Delivery {
    /// How often it was answered with 2xx.
    pub(in crate::torture) acknowledged: u32,
    /// Every run that an answer named.
    pub(in crate::torture) runs: BTreeSet<String>,
}

/// All of it; a copy of each line goes to a file for whoever looks later.
pub(in crate::torture) struct Ledger {
    state: Mutex<State>,
    acknowledged: AtomicU64,
    file: Mutex<File>,
}

#[derive(Default)]
struct State {
    deliveries: BTreeMap<String, Delivery>,
    /// Person (as unique as the event) -> terminal.
    passages: BTreeMap<String, String>,
}

impl Ledger {
    pub(in crate::torture) fn open(path: &Path) -> Result<Self> {
        let file = Mutex::new(File::create(path)?);
        Ok(Self { state: Mutex::default(), acknowledged: AtomicU64::new(0), file })
    }

    /// The server answered this delivery with 2xx; `run` is what the answer named.
    pub(in crate::torture) fn acknowledged(&self, number: &str, run: Option<&str>) -> Result<()> {
        let mut state = self.state();
        let delivery = state.deliveries.entry(number.to_owned()).or_default();
        delivery.acknowledged += 1;
        delivery.runs.extend(run.map(str::to_owned));
        drop(state);
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.keep(&json!({ "at": Timestamp::now(), "acknowledged": number, "run": run }))
    }

    /// Somebody passed a terminal.
    pub(in crate::torture) fn passed(&self, person: &str, terminal: &str) -> Result<()> {
        self.state().passages.insert(person.to_owned(), terminal.to_owned());
        self.keep(&json!({ "at": Timestamp::now(), "passed": person, "terminal": terminal }))
    }

    /// The server was killed.
    pub(in crate::torture) fn killed(&self, at: Timestamp) -> Result<()> {
        self.keep(&json!({ "at": at, "killed": true }))
    }

    /// How many answers with 2xx there were.
    pub(in crate::torture) fn answers(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(in crate::torture) fn deliveries(&self) -> BTreeMap<String, Delivery> {
        self.state().deliveries.clone()
    }

    pub(in crate::torture) fn passages(&self) -> BTreeMap<String, String> {
        self.state().passages.clone()
    }

    fn keep(&self, line: &serde_json::Value) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(file, "{line}")?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
