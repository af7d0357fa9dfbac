//! What is wrong with a file: problems with a stable code, a place and a way to mend them.
//!
//! [`Problems`] gathers every problem of one file and renders them in the look of rustc; the texts behind the codes
//! (`bascule explain WF012`) stand in [`catalog`].
//!
//! ```
//! use bascule_workflow::document::Span;
//! use bascule_workflow::problem::{Look, Problem, Problems, codes};
//!
//! let mut problems = Problems::new("a.yaml", "nmae: x\n");
//! let span = Span { start: 0, end: 4, line: 1, column: 1 };
//! problems.report(Problem::error(codes::UNKNOWN_KEY, span, "unknown key `nmae`").help("did you mean `name`?"));
//! assert!(problems.render(Look::Plain).starts_with("error[WF012]: unknown key `nmae`\n --> a.yaml:1:1\n"));
//! ```

pub mod catalog;
mod render;

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::document::Span;
pub use catalog::codes;

/// More problems than these are counted but not kept.
const MAX_KEPT: usize = 200;

/// A code such as `WF012`, with what the catalog says about it.
#[derive(Clone, Copy)]
pub struct Code(pub(crate) &'static catalog::Entry);

impl Code {
    /// `WF012`
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.code
    }

    /// What the catalog says about it.
    #[must_use]
    pub fn entry(self) -> &'static catalog::Entry {
        self.0
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Code {}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether a file with the problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly means what was meant.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// The file, as it was named to [`Problems::new`].
    pub file: Arc<str>,
    /// Where.
    pub span: Span,
    /// How to mend it.
    pub help: Option<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Problem {
    /// An error; the file is filled in by [`Problems::report`].
    #[must_use]
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message.into())
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message.into())
    }

    fn new(severity: Severity, code: Code, span: Span, message: String) -> Self {
        Self { code, severity, message, file: Arc::from(""), span, help: None, notes: Vec::new() }
    }

    /// With a way to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a way to mend it, where there is one.
    #[must_use]
    pub fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// With something else worth knowing.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// How problems are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Without escape sequences.
    Plain,
    /// With ANSI colours.
    Coloured,
}

/// Every problem of one file, by their place.
#[derive(Clone, Debug)]
pub struct Problems {
    file: Arc<str>,
    source: Arc<str>,
    list: Vec<Problem>,
    not_kept: usize,
}

impl Problems {
    /// No problems yet. `file` is shown as it stands, `source` is the file's text.
    #[must_use]
    pub fn new(file: &str, source: &str) -> Self {
        Self { file: Arc::from(file), source: Arc::from(source), list: Vec::new(), not_kept: 0 }
    }

    /// Adds a problem. The same code at the same place with the same message is kept once (an alias repeats its
    /// problems), and a warning about how a value is written gives way to an error at the same place.
    pub fn report(&mut self, mut problem: Problem) {
        problem.file = Arc::clone(&self.file);
        let same = |other: &Problem| {
            other.code == problem.code && other.span == problem.span && other.message == problem.message
        };
        if self.list.iter().any(same) {
            return;
        }
        let gives_way = |warning: &Problem, error: &Problem| {
            warning.severity == Severity::Warning
                && error.severity == Severity::Error
                && catalog::is_about_writing(warning.code)
                && warning.span == error.span
        };
        if self.list.iter().any(|other| gives_way(&problem, other)) {
            return;
        }
        self.list.retain(|other| !gives_way(other, &problem));
        if self.list.len() >= MAX_KEPT {
            self.not_kept += 1;
            return;
        }
        let at = self.list.partition_point(|other| other.span.start <= problem.span.start);
        self.list.insert(at, problem);
    }

    /// Puts stars over a part of the text that must not be shown again, such as a secret that was written out.
    pub fn blot(&mut self, span: Span) {
        let inside = |at: usize| (span.start..span.end).contains(&at);
        let stars = |(at, character): (usize, char)| match character {
            '\n' => "\n".to_owned(),
            _ if inside(at) => "*".repeat(character.len_utf8()),
            _ => character.to_string(),
        };
        self.source = self.source.char_indices().map(stars).collect::<String>().into();
    }

    /// The problems, by their place in the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// True if there is neither error nor warning.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True if the file cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The file's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All problems as text, each followed by an empty line; empty if there are none.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let mut text = String::new();
        for problem in &self.list {
            text.push_str(&render::problem(problem, &self.source, look));
            text.push_str("\n\n");
        }
        if self.not_kept > 0 {
            text.push_str(&format!("and {} more in {}\n\n", self.not_kept, self.file));
        }
        text
    }

    /// `2 errors, 1 warning`; empty if there are none.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |number: usize, word: &str| match number {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{number} {word}s")),
        };
        let parts = [count(self.errors(), "error"), count(self.warnings(), "warning")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A list of problems: `[{code, severity, message, file, span: {start, end, line, column}, help, notes}]`.
impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
