//! Expressions: minijinja's expression grammar inside `${{ }}`, parsed once, evaluated to typed JSON values.
//!
//! minijinja reads the text (lexer and parser); the tree is checked and turned into our own at once, and evaluated
//! here. The reasons for an evaluator of our own: an absent name is an error with its place and a suggestion (spec 1),
//! `default()` covers a whole path, values stay JSON values (whole numbers, order of keys) and are borrowed instead of
//! copied, and both work and memory are metered. A test compares the two evaluators.
//!
//! What differs from Jinja on purpose: nothing is silently empty; `null`, lists and maps do not turn into text;
//! text and lists are not repeated with `*`; `<` between different kinds is an error; `true` prints as `true`;
//! `groupby` gives maps `{grouper, list}`; there are no statements, no macros, no methods and no functions but
//! `range` (so no `now()`, spec 11).
//!
//! ```
//! use bascule_workflow::expression::{Expression, Scope};
//!
//! let mut scope = Scope::new();
//! scope.set("inputs", serde_json::json!({ "floor": 3, "name": "Ann" }));
//! let expression = Expression::parse("inputs.name ~ ' on ' ~ (inputs.floor + 1)").unwrap();
//! assert_eq!(expression.evaluate(&scope).unwrap(), serde_json::json!("Ann on 4"));
//!
//! let error = Expression::parse("inputs.flor").unwrap().evaluate(&scope).unwrap_err();
//! assert_eq!(error.message, "unknown field `flor` of `inputs`");
//! assert_eq!(error.help.as_deref(), Some("did you mean `floor`?"));
//! ```

mod evaluate;
mod filters;
mod meter;
mod operators;
mod predicates;
mod references;
pub(crate) mod suggest;
mod syntax;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub use filters::{FilterDoc, documentation as filter_documentation};
pub use predicates::{PredicateDoc, documentation as test_documentation};
pub use references::Reference;
pub use template::{Embedded, PathSegment, Shape, Template, TextPart, display_path};

/// The longest expression, in bytes of its text.
pub const MAX_SOURCE_BYTES: usize = 4 * 1024;
/// The largest value that an expression may give, in bytes (text counts its length, every value 16 more).
pub const MAX_RESULT_BYTES: u64 = 4 << 20;
/// How much one evaluation may copy and build, in bytes.
pub const MAX_WORK_BYTES: u64 = 16 << 20;
/// Steps of work that one evaluation may take; a step is one node of the expression, one item of a list or 64 bytes
/// of text looked at.
pub const FUEL: u64 = 1_000_000;
/// The most numbers that `range()` gives.
pub const MAX_RANGE: u64 = 10_000;
/// How deep brackets may stand inside each other, and how many `-`, `not` or `else` may follow each other. The parser
/// takes up to 24 KiB of stack for each bracket (measured without optimisation).
pub const MAX_NESTING: usize = 32;

/// Names an expression can see: `inputs`, `steps`, `run`, `trigger`, loop variables, `result`, `error`, `output`.
/// Cheap to clone: the values are shared.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    values: BTreeMap<String, Bound>,
}

#[derive(Clone, Debug)]
enum Bound {
    Value(Arc<Value>),
    Group(Group),
}

/// Values by name under one name of a [`Scope`], such as `steps`. Expressions see a map. Each value is shared on its own:
/// adding one copies none of the others, however large they are.
#[derive(Clone, Debug, Default)]
pub struct Group {
    members: Arc<Vec<(String, Arc<Value>)>>,
}

impl Group {
    /// Adds a member, replacing one of that name.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let (name, value) = (name.into(), Arc::new(value));
        let members = Arc::make_mut(&mut self.members);
        match members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) => *held = value,
            None => members.push((name, value)),
        }
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All members, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }
}

impl Scope {
    /// A scope without names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds a name, replacing what it was.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        self.values.insert(name.into(), Bound::Value(Arc::new(value)));
    }

    /// Binds a name to values that are shared one by one.
    pub fn set_group(&mut self, name: impl Into<String>, group: Group) {
        self.values.insert(name.into(), Bound::Group(group));
    }

    /// The value of a name; `None` also where it is a group.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self.values.get(name)? {
            Bound::Value(value) => Some(value),
            Bound::Group(_) => None,
        }
    }

    /// The group of a name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        match self.values.get(name)? {
            Bound::Group(group) => Some(group),
            Bound::Value(_) => None,
        }
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// Where in the source text, in bytes from the start of the expression (or of the template's text).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Range {
    /// From `start` up to, not including, `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(crate) fn moved_by(self, offset: usize) -> Self {
        Self { start: self.start + offset, end: self.end + offset }
    }
}

/// An expression that could not be parsed or evaluated. `Display` is the message, after the place inside a template's
/// value where there is one: ``face.fpid: unknown field `no` of `device` ``. Never holds a value of the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// How to mend it, e.g. "did you mean `biometrics`?".
    pub help: Option<String>,
    /// Where, in the text that holds the expression: for a template the text at `path`, else the expression itself.
    pub range: Range,
    /// Which text of a template's value; empty for an expression by itself.
    pub path: Vec<PathSegment>,
}

impl ExpressionError {
    pub(crate) fn new(message: impl Into<String>, range: Range) -> Self {
        Self { message: message.into(), help: None, range, path: Vec::new() }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn moved_by(mut self, offset: usize) -> Self {
        self.range = self.range.moved_by(offset);
        self
    }

    pub(crate) fn at(mut self, path: &[PathSegment]) -> Self {
        self.path = path.to_vec();
        self
    }

    /// Message and help in one line, for logs and failures of a run.
    #[must_use]
    pub fn in_full(&self) -> String {
        match &self.help {
            Some(help) => format!("{self}: {help}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", display_path(&self.path))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExpressionError {}

/// A parsed expression without its `${{ }}`. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

struct Inner {
    source: String,
    root: syntax::Node,
    references: Vec<Reference>,
}

impl Expression {
    /// Parses the text between `${{` and `}}`.
    ///
    /// # Errors
    /// When it is not an expression, is longer than 4 KiB, is nested too deeply or uses an unknown filter, test or
    /// function.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        let root = syntax::parse(source)?;
        let references = references::of(&root);
        Ok(Self { inner: Arc::new(Inner { source: source.to_owned(), root, references }) })
    }

    /// An expression that is this value, whatever its texts hold: a list that is written out in YAML. It is bounded by the
    /// largest value that an expression may give, not by the longest text of one. `source` is what people read in its place.
    ///
    /// # Errors
    /// When the value is larger than 4 MiB.
    pub fn of_value(value: Value, source: &str) -> Result<Self, ExpressionError> {
        let range = Range::new(0, source.len());
        meter::Meter::check_result(&value, &range)?;
        let root = syntax::Node { kind: syntax::Kind::Constant(value), range };
        Ok(Self { inner: Arc::new(Inner { source: source.to_owned(), root, references: Vec::new() }) })
    }

    /// Parses a text that is an expression as a whole (`if:`, `assert:`, `until:`, `for-each:`; spec 3): either bare,
    /// `result.found`, or as exactly one `${{ result.found }}`. Gives the offset of the expression in the text, too;
    /// ranges of later errors are relative to the expression.
    ///
    /// # Errors
    /// As `parse`, and where there is text around `${{ }}`. The range is relative to `text`.
    pub fn parse_whole(text: &str) -> Result<(Self, usize), ExpressionError> {
        template::parse_whole(text)
    }

    /// The text it was parsed from; of a value that was written out, a word for it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// Every path of names that is written out, in the order of the text.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.inner.references
    }

    /// Evaluates to a value; an undefined name or field is an error (spec 1).
    ///
    /// # Errors
    /// When a name is undefined, a type does not fit, the result is too large or the fuel is spent.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        evaluate::evaluate(&self.inner.source, &self.inner.root, scope)
    }

    /// Evaluates a condition: must be `true` or `false`.
    ///
    /// # Errors
    /// As `evaluate`, and when the value is not a boolean.
    pub fn is_true(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        match self.evaluate(scope)? {
            Value::Bool(value) => Ok(value),
            other => Err(ExpressionError::new(
                format!("a condition must be true or false, this is {}", operators::kind_name(&other)),
                Range::new(0, self.inner.source.len()),
            )
            .with_help("compare it (`!= 0`, `!= ''`, `| length > 0`) or write `| bool`")),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.inner.source).finish()
    }
}

#[cfg(test)]
mod tests;
