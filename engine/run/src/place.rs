//! Where in a run something happened: `photo`, `photo[terminal-7]`, `site[7]/door`, `finally:tidy`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The path of a step or of one of its items. The same step and item have the same place in every execution of a
/// run, so it is the key under which the journal remembers. Item keys are escaped (`%5B` for `[`), so that no key
/// can look like another place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(Arc<str>);

/// Characters of an item key that have a meaning in a place.
const MEANT: [char; 4] = ['%', '/', '[', ']'];

impl Place {
    /// A step of the workflow's `steps`.
    #[must_use]
    pub fn step(id: &str) -> Self {
        Self(id.into())
    }

    /// A step of the workflow's `finally`.
    #[must_use]
    pub fn finally(id: &str) -> Self {
        Self(format!("finally:{id}").into())
    }

    /// A step of the workflow's `on-failure`.
    #[must_use]
    pub fn on_failure(id: &str) -> Self {
        Self(format!("on-failure:{id}").into())
    }

    /// A step of the `finally` of the workflow that is called here.
    #[must_use]
    pub fn inner_finally(&self, id: &str) -> Self {
        Self(format!("{}/finally:{id}", self.0).into())
    }

    /// A step inside this block (or inside this item of a block).
    #[must_use]
    pub fn inner(&self, id: &str) -> Self {
        Self(format!("{}/{id}", self.0).into())
    }

    /// An item of this step.
    #[must_use]
    pub fn item(&self, key: &str) -> Self {
        let mut text = String::with_capacity(self.0.len() + key.len() + 2);
        text.push_str(&self.0);
        text.push('[');
        for c in key.chars() {
            if MEANT.contains(&c) || c.is_control() {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("%{byte:02X}"));
                }
            } else {
                text.push(c);
            }
        }
        text.push(']');
        Self(text.into())
    }

    /// The place as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A place from its text, e.g. one that was read from a journal or typed by a person.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// What it is inside: the step of an item, the block (or block item) of an inner step.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let at = if self.0.ends_with(']') { self.0.rfind('[') } else { self.0.rfind('/') };
        at.map(|at| Self(self.0[..at].into()))
    }

    /// The id of the step, without blocks around it and without the item.
    #[must_use]
    pub fn id(&self) -> &str {
        let text = match self.0.ends_with(']') {
            true => &self.0[..self.0.rfind('[').unwrap_or(self.0.len())],
            false => &self.0,
        };
        let inner = text.rfind('/').map_or(text, |at| &text[at + 1..]);
        inner.strip_prefix("finally:").or_else(|| inner.strip_prefix("on-failure:")).unwrap_or(inner)
    }

    /// The item's key, if this is an item.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        let text = self.0.strip_suffix(']')?;
        let escaped = &text[text.rfind('[')? + 1..];
        let mut bytes = Vec::with_capacity(escaped.len());
        let mut rest = escaped.as_bytes();
        while let [first, others @ ..] = rest {
            let hexadecimal = (*first == b'%').then(|| others.get(..2)).flatten();
            let byte =
                hexadecimal.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
            bytes.push(byte.unwrap_or(*first));
            rest = if byte.is_some() { &others[2..] } else { others };
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// True for steps of the run's own `finally` and `on-failure`, and for what is inside them.
    #[must_use]
    pub fn is_finally(&self) -> bool {
        self.0.starts_with("finally:") || self.0.starts_with("on-failure:")
    }

    /// The steps whose called workflow has this place in its `finally`.
    pub fn finally_of(&self) -> impl Iterator<Item = Self> {
        self.0.match_indices("/finally:").map(|(at, _)| Self(self.0[..at].into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_full_of_brackets_comes_back_as_it_was() {
        for key in ["terminal-7", "a]/b[c", "100%", "%5B", "line\nbreak", "Şükran", ""] {
            let place = Place::step("site").item("1").inner("photo").item(key);
            assert_eq!(place.key().as_deref(), Some(key));
            assert_eq!(place.id(), "photo");
            assert_eq!(place.parent(), Some(Place::step("site").item("1").inner("photo")));
        }
    }

    #[test]
    fn two_keys_never_share_a_place() {
        let step = Place::step("photo");
        assert_ne!(step.item("a/b"), step.item("a%2Fb"));
        assert_ne!(step.item("x").inner("y"), step.item("x]/y"));
    }

    #[test]
    fn parents_lead_to_the_outermost_step() {
        let place = Place::step("site").item("7").inner("door");
        let mut line = vec![place.to_string()];
        let mut at = place;
        while let Some(parent) = at.parent() {
            line.push(parent.to_string());
            at = parent;
        }
        assert_eq!(line, ["site[7]/door", "site[7]", "site"]);
        assert_eq!(Place::finally("tidy").id(), "tidy");
        assert_eq!(Place::on_failure("ring").id(), "ring");
        let inner = Place::step("site").item("a/finally:b").inner_finally("tidy");
        assert_eq!((inner.id(), inner.parent()), ("tidy", Some(Place::step("site").item("a/finally:b"))));
        assert_eq!(inner.finally_of().collect::<Vec<_>>(), [Place::step("site").item("a/finally:b")]);
    }
}
