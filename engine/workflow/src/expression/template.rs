//! YAML values in which texts may hold `${{ }}`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Expression, ExpressionError, Range, Scope, operators};

/// How deep lists and maps may stand inside each other.
const MAX_DEPTH: usize = 128;
/// The most that a template gives, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// A step on the way into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// The entry of a map.
    Key(String),
    /// The item of a list, from 0.
    Index(usize),
}

/// A path as people write it: `face.photos[2].url`.
#[must_use]
pub fn display_path(path: &[PathSegment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            PathSegment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            PathSegment::Index(index) => {
                text.push_str(&format!("[{index}]"));
            }
        }
    }
    text
}

/// A YAML value in which texts may hold `${{ }}`. Cheap to clone.
///
/// A text that is exactly one `${{ }}` (a line end behind it, which YAML's block texts bring along, does not count)
/// keeps the type of its value (spec 2). In any other text the values become text; null, lists and maps are an error
/// there. `$${{` stands for `${{` itself. Keys of maps are never templates.
#[derive(Clone, Debug)]
pub struct Template {
    node: Arc<Node>,
}

#[derive(Debug)]
enum Node {
    Literal(Value),
    Whole { expression: Expression, offset: usize },
    Text(Vec<TextPart>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

/// A part of a mixed text.
#[derive(Clone, Debug)]
pub enum TextPart {
    /// As it stands.
    Literal(String),
    /// Evaluated and turned into text.
    Expression {
        /// The expression.
        expression: Expression,
        /// Where it begins in the text, in bytes.
        offset: usize,
    },
}

/// What a template is at the top; the checker walks down with it.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'t> {
    /// A value without any expression in it.
    Literal(&'t Value),
    /// Exactly one `${{ }}`.
    Expression {
        /// The expression.
        expression: &'t Expression,
        /// Where it begins in the text, in bytes.
        offset: usize,
    },
    /// Text with expressions in it: always text.
    Text(&'t [TextPart]),
    /// A list with an expression somewhere in it.
    List(&'t [Template]),
    /// A map with an expression somewhere in it.
    Map(&'t [(String, Template)]),
}

/// An expression inside a template.
#[derive(Clone, Debug)]
pub struct Embedded<'t> {
    /// The way to its text.
    pub path: Vec<PathSegment>,
    /// The expression.
    pub expression: &'t Expression,
    /// Where it begins in its text, in bytes.
    pub offset: usize,
    /// True if it is the whole text and so keeps its type.
    pub whole: bool,
}

impl Template {
    /// Parses every text inside `value`.
    ///
    /// # Errors
    /// The first text that does not parse; `path` says which one, `range` is relative to it.
    pub fn parse(value: &Value) -> Result<Self, ExpressionError> {
        Self::parse_all(value).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Parses every text inside `value`.
    ///
    /// # Errors
    /// Every text that does not parse, in order; at least one.
    pub fn parse_all(value: &Value) -> Result<Self, Vec<ExpressionError>> {
        let mut parser = Parser { path: Vec::new(), errors: Vec::new() };
        let template = parser.value(value);
        if parser.errors.is_empty() { Ok(template) } else { Err(parser.errors) }
    }

    /// A template that is this value, whatever its texts hold.
    #[must_use]
    pub fn of_literal(value: Value) -> Self {
        Self { node: Arc::new(Node::Literal(value)) }
    }

    /// What it is at the top.
    #[must_use]
    pub fn shape(&self) -> Shape<'_> {
        match &*self.node {
            Node::Literal(value) => Shape::Literal(value),
            Node::Whole { expression, offset } => Shape::Expression { expression, offset: *offset },
            Node::Text(parts) => Shape::Text(parts),
            Node::List(items) => Shape::List(items),
            Node::Map(entries) => Shape::Map(entries),
        }
    }

    /// The value, if there is no expression in it. `$${{` has become `${{`.
    #[must_use]
    pub fn literal(&self) -> Option<&Value> {
        match &*self.node {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Every expression, in the order of the value.
    #[must_use]
    pub fn expressions(&self) -> Vec<Embedded<'_>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect<'t>(&'t self, path: &mut Vec<PathSegment>, found: &mut Vec<Embedded<'t>>) {
        match &*self.node {
            Node::Literal(_) => {}
            Node::Whole { expression, offset } => {
                found.push(Embedded { path: path.clone(), expression, offset: *offset, whole: true });
            }
            Node::Text(parts) => {
                for part in parts {
                    if let TextPart::Expression { expression, offset } = part {
                        found.push(Embedded {
                            path: path.clone(),
                            expression,
                            offset: *offset,
                            whole: false,
                        });
                    }
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(PathSegment::Index(index));
                    item.collect(path, found);
                    path.pop();
                }
            }
            Node::Map(entries) => {
                for (key, entry) in entries {
                    path.push(PathSegment::Key(key.clone()));
                    entry.collect(path, found);
                    path.pop();
                }
            }
        }
    }

    /// Evaluates to a value. What the scope holds is never evaluated again: a value `${{ 1 }}` stays that text.
    ///
    /// # Errors
    /// As `Expression::evaluate`; also null, a list or a map inside text, and more than 16 MiB in all.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        let mut evaluation = Evaluation { scope, path: Vec::new(), left: MAX_BYTES };
        evaluation.template(self)
    }
}

struct Evaluation<'s> {
    scope: &'s Scope,
    path: Vec<PathSegment>,
    left: u64,
}

impl Evaluation<'_> {
    fn template(&mut self, template: &Template) -> Result<Value, ExpressionError> {
        match &*template.node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Whole { expression, offset } => self.expression(expression, *offset),
            Node::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expression { expression, offset } => {
                            let value = self.expression(expression, *offset)?;
                            let form = operators::text_form(&value).map_err(|message| {
                                let range = Range::new(0, expression.source().len()).moved_by(*offset);
                                ExpressionError::new(message, range)
                                    .with_help(operators::text_help(&value))
                                    .at(&self.path)
                            })?;
                            text.push_str(&form);
                        }
                    }
                }
                Ok(Value::String(text))
            }
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(PathSegment::Index(index));
                    list.push(self.template(item)?);
                    self.path.pop();
                }
                Ok(Value::Array(list))
            }
            Node::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, entry) in entries {
                    self.path.push(PathSegment::Key(key.clone()));
                    map.insert(key.clone(), self.template(entry)?);
                    self.path.pop();
                }
                Ok(Value::Object(map))
            }
        }
    }

    fn expression(&mut self, expression: &Expression, offset: usize) -> Result<Value, ExpressionError> {
        let value = expression.evaluate(self.scope).map_err(|error| error.moved_by(offset).at(&self.path))?;
        let bytes = super::meter::size(&value, self.left).bytes;
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(value)
            }
            None => {
                let range = Range::new(0, expression.source().len()).moved_by(offset);
                Err(ExpressionError::new("the values are larger than 16 MiB in all", range).at(&self.path))
            }
        }
    }
}

struct Parser {
    path: Vec<PathSegment>,
    errors: Vec<ExpressionError>,
}

impl Parser {
    fn value(&mut self, value: &Value) -> Template {
        if self.path.len() > MAX_DEPTH {
            let error = ExpressionError::new("lists and maps are nested too deeply", Range::default());
            self.errors.push(error.at(&self.path));
            return Template::of_literal(Value::Null);
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                let mut templates = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(PathSegment::Index(index));
                    templates.push(self.value(item));
                    self.path.pop();
                }
                match templates.iter().map(Template::literal).collect::<Option<Vec<_>>>() {
                    Some(literals) => Template::of_literal(literals.into_iter().cloned().collect()),
                    None => Template { node: Arc::new(Node::List(templates)) },
                }
            }
            Value::Object(map) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, entry) in map {
                    self.path.push(PathSegment::Key(key.clone()));
                    entries.push((key.clone(), self.value(entry)));
                    self.path.pop();
                }
                let literals =
                    entries.iter().map(|(key, entry)| Some((key.clone(), entry.literal()?.clone())));
                match literals.collect::<Option<Map<_, _>>>() {
                    Some(map) => Template::of_literal(Value::Object(map)),
                    None => Template { node: Arc::new(Node::Map(entries)) },
                }
            }
            other => Template::of_literal(other.clone()),
        }
    }

    fn text(&mut self, text: &str) -> Template {
        match parse_text(text) {
            Ok(node) => Template { node: Arc::new(node) },
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(|error| error.at(&self.path)));
                Template::of_literal(Value::Null)
            }
        }
    }
}

fn parse_text(text: &str) -> Result<Node, Vec<ExpressionError>> {
    let mut parts: Vec<TextPart> = Vec::new();
    let mut errors = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find("${{")).map(|found| at + found) {
        let before = text.get(at..found).unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${{");
            at = found + 3;
            continue;
        }
        literal.push_str(before);
        let start = found + 3;
        let end = match end_of_expression(text, found) {
            Ok(end) => end,
            Err(error) => {
                errors.push(error);
                return Err(errors);
            }
        };
        if !literal.is_empty() {
            parts.push(TextPart::Literal(std::mem::take(&mut literal)));
        }
        match Expression::parse(text.get(start..end).unwrap_or_default()) {
            Ok(expression) => parts.push(TextPart::Expression { expression, offset: start }),
            Err(error) => errors.push(error.moved_by(start)),
        }
        at = end + 2;
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    literal.push_str(text.get(at..).unwrap_or_default());
    Ok(match (parts.as_slice(), literal.as_str()) {
        ([], _) => Node::Literal(Value::String(literal)),
        ([TextPart::Expression { expression, offset }], "" | "\n") => {
            Node::Whole { expression: expression.clone(), offset: *offset }
        }
        (_, "") => Node::Text(parts),
        _ => {
            parts.push(TextPart::Literal(literal));
            Node::Text(parts)
        }
    })
}

/// Where the `}}` stands that closes the `${{` at `opening`; quotes and braces inside the expression are respected.
fn end_of_expression(text: &str, opening: usize) -> Result<usize, ExpressionError> {
    let bytes = text.as_bytes();
    let mut at = opening + 3;
    let mut braces = 0_usize;
    let mut quote: Option<(u8, usize)> = None;
    while let Some(byte) = bytes.get(at).copied() {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some((open, _)), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some((byte, at)),
            (None, b'{') => braces += 1,
            (None, b'}') if braces > 0 => braces -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            (None, _) => {}
        }
        at += 1;
    }
    Err(match quote {
        Some((_, at)) => ExpressionError::new("the quote is not closed", Range::new(at, text.len()))
            .with_help("a quote inside text is written with a backslash: `'it\\'s'`"),
        None => ExpressionError::new("`${{` is not closed", Range::new(opening, text.len()))
            .with_help("close it with `}}`, or write `$${{` where the text `${{` itself is meant"),
    })
}

/// See `Expression::parse_whole`.
pub(super) fn parse_whole(text: &str) -> Result<(Expression, usize), ExpressionError> {
    let Some(opening) = text.find("${{") else {
        return Expression::parse(text).map(|expression| (expression, 0));
    };
    let end = end_of_expression(text, opening)?;
    let around = |part: Option<&str>| part.is_some_and(|part| !part.trim().is_empty());
    if around(text.get(..opening)) || around(text.get(end + 2..)) {
        return Err(ExpressionError::new(
            "text around `${{ }}` is not an expression",
            Range::new(0, text.len()),
        )
        .with_help("write one expression, with or without `${{ }}`: text would always count as true"));
    }
    let start = opening + 3;
    match Expression::parse(text.get(start..end).unwrap_or_default()) {
        Ok(expression) => Ok((expression, start)),
        Err(error) => Err(error.moved_by(start)),
    }
}
