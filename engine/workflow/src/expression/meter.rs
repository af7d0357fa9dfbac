//! What one evaluation may spend.

use std::borrow::Cow;

use serde_json::Value;

use super::{ExpressionError, FUEL, MAX_RESULT_BYTES, MAX_WORK_BYTES, Range};

/// Counts work and bytes; every error names the part of the expression that was being evaluated.
pub(super) struct Meter {
    fuel: u64,
    bytes: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { fuel: FUEL, bytes: MAX_WORK_BYTES }
    }

    /// Spends `units` of fuel.
    pub(super) fn work(&mut self, units: u64, range: &Range) -> Result<(), ExpressionError> {
        match self.fuel.checked_sub(units) {
            Some(left) => {
                self.fuel = left;
                Ok(())
            }
            None => Err(ExpressionError::new("the expression takes too much work", range.clone()).with_help(
                "let the system that has the data filter or sort it, or split the work into steps",
            )),
        }
    }

    /// Spends fuel for looking through `bytes` of text.
    pub(super) fn look(&mut self, bytes: usize, range: &Range) -> Result<(), ExpressionError> {
        self.work(1 + bytes as u64 / 64, range)
    }

    /// Takes `bytes` of memory for something that is about to be built.
    pub(super) fn build(&mut self, bytes: u64, range: &Range) -> Result<(), ExpressionError> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(ExpressionError::new("the expression builds too much data", range.clone())
                .with_help("keep large data in files; an expression may build 16 MiB in all")),
        }
    }

    /// The value itself; a borrowed one is paid for and copied.
    pub(super) fn own(&mut self, value: Cow<'_, Value>, range: &Range) -> Result<Value, ExpressionError> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => {
                let size = size(value, self.bytes);
                self.work(size.nodes, range)?;
                self.build(size.bytes, range)?;
                Ok(value.clone())
            }
        }
    }

    /// Refuses a result that is larger than `MAX_RESULT_BYTES`.
    pub(super) fn check_result(value: &Value, range: &Range) -> Result<(), ExpressionError> {
        if size(value, MAX_RESULT_BYTES).bytes > MAX_RESULT_BYTES {
            return Err(ExpressionError::new("the value is larger than 4 MiB", range.clone())
                .with_help("keep large data in files and hand their names on"));
        }
        Ok(())
    }
}

/// How much there is of a value.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    /// Values, nested ones included.
    pub(super) nodes: u64,
    /// Text, and 16 bytes for each value.
    pub(super) bytes: u64,
}

/// Counts until `enough` bytes are exceeded.
pub(super) fn size(value: &Value, enough: u64) -> Size {
    let mut total = Size::default();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        total.nodes += 1;
        total.bytes += 16;
        match value {
            Value::String(text) => total.bytes += text.len() as u64,
            Value::Array(items) => open.extend(items),
            Value::Object(map) => {
                total.bytes += map.keys().map(|key| key.len() as u64).sum::<u64>();
                open.extend(map.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if total.bytes > enough {
            break;
        }
    }
    total
}
