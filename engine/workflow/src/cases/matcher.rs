//! What a value must be like, and how it differs.

use regex_automata::meta::Regex;
use serde_json::Value;

use super::reader::Reader;
use crate::document::{Data, Entry, Node, Span};
use crate::expression::{Expression, Scope, Template, suggest};
use crate::inputs;
use crate::problem::{Problem, codes};

/// What a value must be like. A map matches when each of its keys does, whatever else there is; a list matches item by
/// item; a map with one of the words `any`, `absent`, `matches`, `contains`, `length`, `unordered`, `exactly`, `not`,
/// `one-of` as its only key says something else, see `docs/testing-workflows.md`.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Where it stands in the test file.
    pub span: Span,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Value),
    /// A text with expressions in it.
    Text(Template),
    /// `${{ }}`: must be true with `value` in scope.
    Condition(Expression),
    Map(Vec<(String, Matcher)>),
    List(Vec<Matcher>),
    Any(&'static str),
    Absent,
    Matches(Regex, String),
    Contains(Box<Matcher>),
    Length(Box<Matcher>),
    Unordered(Vec<Matcher>),
    Exactly(Value),
    Not(Box<Matcher>),
    OneOf(Vec<Matcher>),
}

/// Where a value differs from what was expected.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The expectation in the test file.
    pub span: Span,
    /// Which part of the value, e.g. `output.per_device[0].status`.
    pub path: String,
    /// In words or as JSON.
    pub expected: String,
    /// In words or as JSON.
    pub came: String,
}

const WORDS: [&str; 9] =
    ["any", "absent", "matches", "contains", "length", "unordered", "exactly", "not", "one-of"];
const SORTS: [&str; 7] = ["value", "text", "number", "boolean", "list", "map", "true"];
/// Longer values are cut in messages.
const SHOWN: usize = 240;

impl Matcher {
    /// Reads a matcher; `names` are those that expressions see.
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node, names: &[&str]) -> Option<Self> {
        let kind = match &node.data {
            Data::Scalar(scalar) => match scalar.value.as_str().filter(|text| text.contains("${{")) {
                None => Kind::Scalar(scalar.value.clone()),
                Some(text) => expression(reader, node, text, names)?,
            },
            Data::List(items) => {
                Kind::List(items.iter().filter_map(|item| Self::read(reader, item, names)).collect())
            }
            Data::Map(entries) => match entries.as_slice() {
                [only] if WORDS.contains(&only.key.text.as_str()) => word(reader, only, names)?,
                entries => Kind::Map(
                    entries
                        .iter()
                        .filter_map(|entry| {
                            Some((entry.key.text.clone(), Self::read(reader, &entry.value, names)?))
                        })
                        .collect(),
                ),
            },
        };
        Some(Self { span: node.span, kind })
    }

    /// True where the value is as expected.
    #[must_use]
    pub fn is_match(&self, value: Option<&Value>, scope: &Scope) -> bool {
        let mut found = Vec::new();
        self.compare(value, "", scope, &mut found);
        found.is_empty()
    }

    /// Adds every difference between the value (`None`: there is none) and what is expected.
    pub fn compare(&self, value: Option<&Value>, path: &str, scope: &Scope, found: &mut Vec<Difference>) {
        let differs = |came: String| Difference {
            span: self.span,
            path: path.to_owned(),
            expected: self.words(),
            came,
        };
        match (&self.kind, value) {
            (Kind::Absent, None) => {}
            (Kind::Absent, Some(value)) => found.push(differs(show(value))),
            (Kind::Not(inner), value) => {
                if inner.is_match(value, scope) {
                    found.push(differs(value.map_or_else(nothing, show)));
                }
            }
            (Kind::OneOf(choices), value) => {
                if !choices.iter().any(|choice| choice.is_match(value, scope)) {
                    found.push(differs(value.map_or_else(nothing, show)));
                }
            }
            (Kind::Condition(condition), value) => {
                let mut inner = scope.clone();
                inner.set("value", value.cloned().unwrap_or(Value::Null));
                match condition.is_true(&inner) {
                    Ok(true) => {}
                    Ok(false) => found.push(differs(value.map_or_else(nothing, show))),
                    Err(error) => found.push(differs(format!(
                        "{}; it could not be evaluated: {}",
                        value.map_or_else(nothing, show),
                        error.in_full()
                    ))),
                }
            }
            (_, None) => found.push(differs(nothing())),
            (Kind::Scalar(expected), Some(value)) => {
                if !same(expected, value) {
                    found.push(differs(show(value)));
                }
            }
            (Kind::Text(template), Some(value)) => match template.evaluate(scope) {
                Ok(expected) if same(&expected, value) => {}
                Ok(expected) => {
                    found.push(Difference { expected: show(&expected), ..differs(show(value)) });
                }
                Err(error) => found.push(differs(format!(
                    "{}; it could not be evaluated: {}",
                    show(value),
                    error.in_full()
                ))),
            },
            (Kind::Map(entries), Some(value)) => match value {
                Value::Object(map) => {
                    for (key, inner) in entries {
                        inner.compare(map.get(key), &join(path, key), scope, found);
                    }
                }
                other => found.push(differs(show(other))),
            },
            (Kind::List(expected), Some(value)) => match value {
                Value::Array(items) if items.len() == expected.len() => {
                    for (index, (inner, item)) in expected.iter().zip(items).enumerate() {
                        inner.compare(Some(item), &format!("{path}[{index}]"), scope, found);
                    }
                }
                Value::Array(items) => found.push(Difference {
                    expected: format!("{}: {}", count(expected.len()), self.words()),
                    ..differs(format!("{}: {}", count(items.len()), show(value)))
                }),
                other => found.push(differs(show(other))),
            },
            (Kind::Any(sort), Some(value)) => {
                if !is_sort(sort, value) {
                    found.push(differs(show(value)));
                }
            }
            (Kind::Matches(regex, _), Some(value)) => {
                let fits = match value {
                    Value::String(text) => regex.is_match(text),
                    Value::Number(number) => regex.is_match(&number.to_string()),
                    _ => false,
                };
                if !fits {
                    found.push(differs(show(value)));
                }
            }
            (Kind::Contains(inner), Some(value)) => {
                let fits = match (value, &inner.kind) {
                    (Value::String(text), Kind::Scalar(Value::String(part))) => text.contains(part.as_str()),
                    (Value::String(text), Kind::Text(template)) => template
                        .evaluate(scope)
                        .is_ok_and(|part| part.as_str().is_some_and(|part| text.contains(part))),
                    (Value::Array(items), _) => items.iter().any(|item| inner.is_match(Some(item), scope)),
                    _ => false,
                };
                if !fits {
                    found.push(differs(show(value)));
                }
            }
            (Kind::Length(inner), Some(value)) => {
                let length = match value {
                    Value::Array(items) => items.len(),
                    Value::Object(map) => map.len(),
                    Value::String(text) => text.chars().count(),
                    other => return found.push(differs(show(other))),
                };
                if !inner.is_match(Some(&Value::from(length)), scope) {
                    found.push(differs(format!("length {length}: {}", show(value))));
                }
            }
            (Kind::Unordered(expected), Some(value)) => match value {
                Value::Array(items) => {
                    let mut left: Vec<&Value> = items.iter().collect();
                    for inner in expected {
                        match left.iter().position(|item| inner.is_match(Some(item), scope)) {
                            Some(at) => {
                                left.remove(at);
                            }
                            None => found.push(Difference {
                                span: inner.span,
                                path: path.to_owned(),
                                expected: format!("an item like {}", inner.words()),
                                came: show(value),
                            }),
                        }
                    }
                    if expected.len() < items.len() && !left.is_empty() {
                        found.push(differs(format!("{}: {}", count(items.len()), show(value))));
                    }
                }
                other => found.push(differs(show(other))),
            },
            (Kind::Exactly(expected), Some(value)) => exact(expected, value, path, self.span, found),
        }
    }

    /// What is expected, in words or as JSON.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.kind {
            Kind::Scalar(value) => show(value),
            Kind::Text(template) => match template.shape() {
                crate::expression::Shape::Text(parts) => {
                    let text: String = parts
                        .iter()
                        .map(|part| match part {
                            crate::expression::TextPart::Literal(text) => text.clone(),
                            crate::expression::TextPart::Expression { expression, .. } => {
                                format!("${{{{ {} }}}}", expression.source().trim())
                            }
                        })
                        .collect();
                    format!("\"{text}\"")
                }
                _ => "a text".to_owned(),
            },
            Kind::Condition(condition) => format!("`{}`", condition.source().trim()),
            Kind::Map(entries) => {
                let inner: Vec<String> =
                    entries.iter().map(|(key, inner)| format!("\"{key}\":{}", inner.words())).collect();
                cut(&format!("{{{}, ..}}", inner.join(",")))
            }
            Kind::List(items) => {
                cut(&format!("[{}]", items.iter().map(Self::words).collect::<Vec<_>>().join(",")))
            }
            Kind::Any("value" | "true") => "any value".to_owned(),
            Kind::Any(sort) => format!("any {sort}"),
            Kind::Absent => "nothing".to_owned(),
            Kind::Matches(_, pattern) => format!("a text that matches `{pattern}`"),
            Kind::Contains(inner) => format!("something that contains {}", inner.words()),
            Kind::Length(inner) => format!("length {}", inner.words()),
            Kind::Unordered(items) => {
                cut(&format!("in any order {}", items.iter().map(Self::words).collect::<Vec<_>>().join(", ")))
            }
            Kind::Exactly(value) => format!("exactly {}", show(value)),
            Kind::Not(inner) => format!("anything but {}", inner.words()),
            Kind::OneOf(choices) => {
                format!("one of {}", choices.iter().map(Self::words).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn expression(reader: &mut Reader<'_>, node: &Node, text: &str, names: &[&str]) -> Option<Kind> {
    let template = match Template::parse(&Value::from(text)) {
        Ok(template) => template,
        Err(error) => {
            let span = node.locate(reader.text, error.range.start, error.range.end);
            let problem = Problem::error(codes::EXPRESSION, span, error.message.clone());
            reader.problems.report(problem.help_if(error.help));
            return None;
        }
    };
    let mut good = true;
    for embedded in template.expressions() {
        for reference in embedded.expression.references() {
            let Some((name, range)) = reference.path.first().zip(reference.ranges.first()) else { continue };
            if names.contains(&name.as_str()) {
                continue;
            }
            good = false;
            let span = node.locate(reader.text, embedded.offset + range.start, embedded.offset + range.end);
            let help = suggest::help(name, names.iter().copied(), "an expectation sees");
            reader.problems.report(
                Problem::error(codes::CASE_MATCHER, span, format!("unknown name `{name}`")).help_if(help),
            );
        }
    }
    if !good {
        return None;
    }
    Some(match template.shape() {
        crate::expression::Shape::Expression { expression, .. } => Kind::Condition(expression.clone()),
        crate::expression::Shape::Literal(value) => Kind::Scalar(value.clone()),
        _ => Kind::Text(template),
    })
}

fn word(reader: &mut Reader<'_>, entry: &Entry, names: &[&str]) -> Option<Kind> {
    let node = &entry.value;
    let list = |reader: &mut Reader<'_>, what: &str| -> Vec<Matcher> {
        let items = reader.items(node, what, "write `[first, second]`");
        items.iter().filter_map(|item| Matcher::read(reader, item, names)).collect()
    };
    Some(match entry.key.text.as_str() {
        "any" => Kind::Any(reader.word(node, "`any`", &SORTS)?),
        "absent" => {
            if node.as_scalar().and_then(|scalar| scalar.value.as_bool()) != Some(true) {
                let help = "write `{ absent: true }`; for something that must be there `{ any: value }`";
                reader.error(
                    codes::CASE_MATCHER,
                    node.span,
                    format!("`absent` must be true, this is {}", node.describe()),
                    help,
                );
                return None;
            }
            Kind::Absent
        }
        "matches" => {
            let pattern = reader.text_of(node, "`matches`")?;
            match inputs::compile(&pattern) {
                Ok(regex) => Kind::Matches(regex, pattern),
                Err(why) => {
                    reader.error(
                        codes::CASE_MATCHER,
                        node.span,
                        format!("the pattern `{pattern}` cannot be used: {why}"),
                        "the whole text must match; for a part of it write `contains`",
                    );
                    return None;
                }
            }
        }
        "contains" => Kind::Contains(Box::new(Matcher::read(reader, node, names)?)),
        "length" => Kind::Length(Box::new(Matcher::read(reader, node, names)?)),
        "not" => Kind::Not(Box::new(Matcher::read(reader, node, names)?)),
        "unordered" => Kind::Unordered(list(reader, "`unordered`")),
        "one-of" => Kind::OneOf(list(reader, "`one-of`")),
        _ => Kind::Exactly(node.to_json()),
    })
}

fn is_sort(sort: &str, value: &Value) -> bool {
    match sort {
        "text" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "list" => value.is_array(),
        "map" => value.is_object(),
        _ => !value.is_null(),
    }
}

/// Equal, numbers by what they are worth.
fn same(expected: &Value, value: &Value) -> bool {
    match (expected, value) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => expected == value,
    }
}

fn exact(expected: &Value, value: &Value, path: &str, span: Span, found: &mut Vec<Difference>) {
    let mut differs = |path: String, expected: String, came: String| {
        found.push(Difference { span, path, expected, came });
    };
    match (expected, value) {
        (Value::Object(wanted), Value::Object(map)) => {
            for (key, wanted) in wanted {
                match map.get(key) {
                    Some(value) => exact(wanted, value, &join(path, key), span, found),
                    None => found.push(Difference {
                        span,
                        path: join(path, key),
                        expected: show(wanted),
                        came: nothing(),
                    }),
                }
            }
            for (key, value) in map.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                found.push(Difference {
                    span,
                    path: join(path, key),
                    expected: "nothing".to_owned(),
                    came: show(value),
                });
            }
        }
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                exact(wanted, item, &format!("{path}[{index}]"), span, found);
            }
        }
        (expected, value) if same(expected, value) => {}
        (expected, value) => differs(path.to_owned(), show(expected), show(value)),
    }
}

/// `steps.photo`, `items["a b"]`
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        _ => format!("{path}[\"{key}\"]"),
    }
}

fn nothing() -> String {
    "nothing".to_owned()
}

fn count(number: usize) -> String {
    format!("{number} item{}", if number == 1 { "" } else { "s" })
}

/// A value for a message: JSON on one line, cut where it is long.
#[must_use]
pub fn show(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    format!("{}..", text.chars().take(SHOWN).collect::<String>())
}
