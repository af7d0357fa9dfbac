//! The second net under secrets: what was handed out is struck from every text that leaves.
//!
//! The first net is that secrets have no `Display`. This one catches what a peer sends back, what a template put
//! together, what an error quotes. Each value is looked for as it stands and in the forms in which it travels: base64
//! (both alphabets, with and without padding, also inside longer base64 text), percent-encoded, hexadecimal, escaped
//! for JSON, XML and Rust's `Debug`, and UTF-16LE. Texts of fewer than 4 characters are not looked for: they would
//! strike out half of every text and protect nothing.
//!
//! Start from [`Redactor`] and [`RedactingWriter`].

mod forms;
mod writer;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use zeroize::Zeroizing;

use crate::secret::Secret;

pub use writer::RedactingWriter;

/// What stands in place of a secret.
pub const MARK: &str = "[redacted]";

/// Values with fewer characters are not looked for.
const MIN_CHARACTERS: usize = 4;

/// Strikes known secrets from texts. Cheap to clone; clones share what they know. Costs next to nothing while it knows
/// nothing.
#[derive(Clone, Default)]
pub struct Redactor {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    any: AtomicBool,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    values: HashSet<String>,
    forms: HashSet<Vec<u8>>,
    longest: usize,
    /// `None` after a change; made when it is next needed.
    finder: Option<Arc<Finder>>,
}

struct Finder {
    /// `None` where there are more forms than an automaton can number: then nothing gets through.
    automaton: Option<AhoCorasick>,
    /// Bytes of the longest form.
    longest: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// Looks for this value, in all its forms, from now on.
    pub fn add(&self, secret: &Secret) {
        self.add_text(secret.expose());
    }

    /// Looks for the credentials of Basic auth (`user:password` in base64) and for the password.
    pub fn add_basic(&self, user: &str, password: &Secret) {
        let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
        self.add_text(&pair);
        self.add(password);
    }

    /// Looks for a digest auth HA1 given in hexadecimal: whoever has it can log in as if with the password.
    pub fn add_ha1(&self, ha1_hex: &Secret) {
        self.add(ha1_hex);
        let upper = Zeroizing::new(ha1_hex.expose().to_ascii_uppercase());
        self.add_text(&upper);
    }

    fn add_text(&self, text: &str) {
        if text.chars().count() < MIN_CHARACTERS {
            return;
        }
        let mut known = self.shared.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.values.insert(text.to_owned()) {
            return;
        }
        for form in forms::of(text) {
            known.longest = known.longest.max(form.len());
            known.forms.insert(form);
        }
        known.finder = None;
        self.shared.any.store(true, Ordering::Release);
    }

    /// The text with every secret replaced by [`MARK`].
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut ranges = self.find(text.as_bytes());
        if ranges.is_empty() {
            return Cow::Borrowed(text);
        }
        // A form in UTF-16 may begin or end inside a character.
        for range in &mut ranges {
            range.start = text.floor_char_boundary(range.start);
            range.end = text.ceil_char_boundary(range.end);
        }
        let mut clean = String::with_capacity(text.len());
        let mut from = 0;
        for range in ranges {
            clean.push_str(text.get(from..range.start).unwrap_or_default());
            clean.push_str(MARK);
            from = range.end.max(from);
        }
        clean.push_str(text.get(from..).unwrap_or_default());
        Cow::Owned(clean)
    }

    /// Redacts all texts and keys inside a JSON value; a number that is a secret becomes a text.
    pub fn redact_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        if !self.shared.any.load(Ordering::Acquire) {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Cow::Owned(clean) = self.redact(&number.to_string()) {
                    *value = Value::String(clean);
                }
            }
            Value::String(text) => {
                if let Cow::Owned(clean) = self.redact(text) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.redact_json(field));
                if fields.keys().any(|key| matches!(self.redact(key), Cow::Owned(_))) {
                    let old = std::mem::take(fields);
                    *fields =
                        old.into_iter().map(|(key, field)| (self.redact(&key).into_owned(), field)).collect();
                }
            }
        }
    }

    /// Where secrets stand: sorted, not touching each other.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let Some(finder) = self.finder() else {
            return Vec::new();
        };
        let Some(automaton) = &finder.automaton else {
            return std::iter::once(0..text.len()).collect();
        };
        let mut found: Vec<Range<usize>> =
            automaton.find_overlapping_iter(text).map(|found| found.range()).collect();
        found.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    fn finder(&self) -> Option<Arc<Finder>> {
        if !self.shared.any.load(Ordering::Acquire) {
            return None;
        }
        if let Some(finder) = &self.shared.known.read().unwrap_or_else(PoisonError::into_inner).finder {
            return Some(Arc::clone(finder));
        }
        let mut known = self.shared.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.finder.is_none() {
            let automaton = AhoCorasick::new(&known.forms).ok();
            if automaton.is_none() {
                tracing::error!(
                    "too many secrets are known to look for them: all texts are redacted as a whole"
                );
            }
            known.finder = Some(Arc::new(Finder { automaton, longest: known.longest }));
        }
        known.finder.clone()
    }
}

#[cfg(test)]
mod tests;
