//! A span, and the ids that tie spans together.

use bascule_run::{Place, RunId};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The longest text of an attribute, in characters; what is over is cut.
const MAX_TEXT: usize = 256;

/// Names a span inside its trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId([u8; 8]);

impl SpanId {
    /// Of an attempt of a run as a whole.
    pub(crate) fn of_run(run: RunId, attempt: u32) -> Self {
        Self::of(&[&run.to_string(), &attempt.to_string()])
    }

    /// Of a step or an item in an attempt of a run: the same before and after a crash.
    pub(crate) fn of_place(run: RunId, attempt: u32, place: &Place) -> Self {
        Self::of(&[&run.to_string(), &attempt.to_string(), place.as_str()])
    }

    /// Of a call: the same parts give the same id.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.as_bytes());
            // No place and no id holds it, so that parts cannot run into each other.
            hash.update([0]);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        if id == [0; 8] {
            id[7] = 1;
        }
        Self(id)
    }

    /// 16 lower-case hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        hex::encode(self.0)
    }
}

/// Whose side of a conversation the span is (OTLP `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// Inside this process.
    Internal,
    /// A call of somebody else.
    Client,
}

/// How it ended (OTLP `Status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Neither: it was skipped or cancelled.
    Unset,
    /// All is well.
    Ok,
    /// It failed; kind and code, no message.
    Error(String),
}

/// Something that took time.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) run: RunId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) verdict: Verdict,
}

/// A text for an attribute.
pub(crate) fn text(text: &str) -> Value {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => Value::from(&text[..end]),
        None => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_in_every_process_and_differ_where_anything_differs() {
        let run = RunId::new(Timestamp::UNIX_EPOCH);
        let place = Place::step("photo").item("7");
        assert_eq!(SpanId::of_place(run, 1, &place), SpanId::of_place(run, 1, &Place::from_text("photo[7]")));
        let all = [
            SpanId::of_run(run, 1),
            SpanId::of_run(run, 2),
            SpanId::of_place(run, 1, &place),
            SpanId::of_place(run, 2, &place),
            SpanId::of_place(run, 1, &Place::step("photo")),
            SpanId::of(&["ab", "c"]),
            SpanId::of(&["a", "bc"]),
        ];
        let different: std::collections::BTreeSet<String> = all.iter().map(|id| id.hex()).collect();
        assert_eq!(different.len(), all.len());
        assert!(different.iter().all(|id| id.len() == 16));
    }

    #[test]
    fn a_long_key_is_cut_between_characters() {
        assert_eq!(text("ș").as_str(), Some("ș"));
        let cut = text(&"ș".repeat(MAX_TEXT + 5));
        assert_eq!(cut.as_str().map(|text| text.chars().count()), Some(MAX_TEXT));
    }
}
