//! YAML text as a tree of nodes that know where they stand.
//!
//! Events of `granit-parser` (the parser inside serde-saphyr) become [`Node`]s with the spans of keys and values and
//! the scalars' own text, so that a check can point at a word and sees `007` before it becomes 7. Scalars follow the
//! YAML 1.2 core schema: only `true` and `false` are booleans.
//!
//! Refused: tags, merge keys, duplicate keys, several documents, and whatever is over [`Limits`]. Anchors and aliases
//! are allowed within the limits; an alias counts as much as what it stands for.
//!
//! ```
//! use bascule_workflow::document::Document;
//! use bascule_workflow::problem::Problems;
//!
//! let mut problems = Problems::new("hello.yaml", "name: hello\n");
//! let document = Document::read("name: hello\n", &mut problems).unwrap();
//! let entry = document.root.entry("name").unwrap();
//! assert_eq!((entry.value.span.line, entry.value.span.column), (1, 7));
//! ```

mod locate;
mod mistakes;
mod read;
mod scalar;
mod surprises;

use serde_json::{Map, Value};

/// What a file may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Values, those behind aliases counted each time.
    pub nodes: usize,
    /// Lists and maps inside each other.
    pub depth: usize,
    /// Aliases (`*name`).
    pub aliases: usize,
}

/// 256 KiB, 20,000 values, 32 levels, 200 aliases.
pub const LIMITS: Limits = Limits { bytes: 256 * 1024, nodes: 20_000, depth: 32, aliases: 200 };

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Of `start`, counted from 1.
    pub line: u32,
    /// Of `start`, in characters, counted from 1.
    pub column: u32,
}

/// A file's text and its tree.
#[derive(Clone, Debug)]
pub struct Document {
    /// The value of the whole file.
    pub root: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Of the value itself, without anchor.
    pub span: Span,
    /// The value.
    pub data: Data,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Data {
    /// Text, number, boolean or null.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map; keys are texts and occur once.
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Node,
}

/// The key of an entry.
#[derive(Clone, Debug)]
pub struct Key {
    /// As it is meant, without quotes.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes; may be a number, a boolean or null.
    Plain,
    /// `'..'`
    SingleQuoted,
    /// `".."`
    DoubleQuoted,
    /// `|` or `>`
    Block,
}

/// A scalar.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text after quotes and escapes are undone; for plain scalars as it stands in the file.
    pub text: String,
    /// How it is written.
    pub style: Style,
    /// What it means: null, a boolean, a number or a string.
    pub value: Value,
}

impl Node {
    /// The entries, if it is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.data {
            Data::List(items) => Some(items),
            _ => None,
        }
    }

    /// The scalar, if it is one.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text, if it is a scalar that means a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar().and_then(|scalar| scalar.value.as_str())
    }

    /// True for `null`, `~` and nothing at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.value.is_null())
    }

    /// The entry of that key, if it is a map that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key.text == key)
    }

    /// The value of that key, if it is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(scalar) => scalar.value.clone(),
            Data::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.text.clone(), entry.value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, for messages: `text`, ``number `12` ``, `a list`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.data {
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
            Data::Scalar(scalar) => match &scalar.value {
                Value::Null => "nothing".to_owned(),
                Value::Bool(value) => format!("boolean {value}"),
                Value::Number(_) => format!("number {}", scalar.text),
                _ => format!("text `{}`", shorten(&scalar.text)),
            },
        }
    }

    /// Where a part of the scalar's text stands; `start` and `end` are bytes of [`Scalar::text`].
    #[must_use]
    pub fn locate(&self, source: &str, start: usize, end: usize) -> Span {
        match &self.data {
            Data::Scalar(scalar) => locate::part(source, self.span, scalar, start, end),
            _ => self.span,
        }
    }
}

/// A text cut for a message: one line, at most 40 characters.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(40).collect();
    if cut.len() < text.trim().len() { format!("{cut}...") } else { cut }
}

#[cfg(test)]
mod tests;
