//! Tests: `value is NAME`, and `select('NAME')`.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::meter::{self, Meter};
use super::operators::{self, as_whole, kind_name};
use super::{ExpressionError, Range};

type Arguments<'v, 'a> = &'v [Option<Cow<'a, Value>>];

/// A test.
pub(super) struct Predicate {
    pub(super) name: &'static str,
    pub(super) kind: PredicateKind,
    pub(super) params: &'static [&'static str],
    pub(super) required: usize,
    summary: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum PredicateKind {
    Defined,
    Undefined,
    Plain(fn(&Value, Arguments<'_, '_>) -> Result<bool, String>),
}

/// A line of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredicateDoc {
    /// As it is written after `is`.
    pub name: &'static str,
    /// What it takes, e.g. `number`.
    pub parameters: &'static [&'static str],
    /// What it says.
    pub summary: &'static str,
}

/// Every test, in reading order.
#[must_use]
pub fn documentation() -> Vec<PredicateDoc> {
    TABLE
        .iter()
        .map(|test| PredicateDoc { name: test.name, parameters: test.params, summary: test.summary })
        .collect()
}

pub(super) fn find(name: &str) -> Option<&'static Predicate> {
    let name = match name {
        "equalto" | "==" => "eq",
        "!=" => "ne",
        "lessthan" | "<" => "lt",
        "<=" => "le",
        "greaterthan" | ">" => "gt",
        ">=" => "ge",
        "int" => "integer",
        other => other,
    };
    TABLE.iter().find(|test| test.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|test| test.name)
}

const fn plain(
    name: &'static str,
    run: fn(&Value, Arguments<'_, '_>) -> Result<bool, String>,
    summary: &'static str,
) -> Predicate {
    Predicate { name, kind: PredicateKind::Plain(run), params: &[], required: 0, summary }
}

const fn with(
    name: &'static str,
    params: &'static [&'static str],
    run: fn(&Value, Arguments<'_, '_>) -> Result<bool, String>,
    summary: &'static str,
) -> Predicate {
    Predicate { name, kind: PredicateKind::Plain(run), params, required: 1, summary }
}

static TABLE: &[Predicate] = &[
    Predicate {
        name: "defined",
        kind: PredicateKind::Defined,
        params: &[],
        required: 0,
        summary: "it is there, though it may be null; works for a whole path",
    },
    Predicate {
        name: "undefined",
        kind: PredicateKind::Undefined,
        params: &[],
        required: 0,
        summary: "it is not there",
    },
    plain("none", |value, _| Ok(value.is_null()), "it is null"),
    plain("boolean", |value, _| Ok(value.is_boolean()), "it is true or false"),
    plain("true", |value, _| Ok(*value == Value::Bool(true)), "it is true itself"),
    plain("false", |value, _| Ok(*value == Value::Bool(false)), "it is false itself"),
    plain("number", |value, _| Ok(value.is_number()), "it is a number"),
    plain("integer", |value, _| Ok(as_whole(value).is_some()), "it is a whole number"),
    plain("float", |value, _| Ok(value.is_f64()), "it is a number with a fraction"),
    plain("string", |value, _| Ok(value.is_string()), "it is text"),
    plain("sequence", |value, _| Ok(value.is_array()), "it is a list"),
    plain("mapping", |value, _| Ok(value.is_object()), "it is a map"),
    plain("odd", |value, _| Ok(whole(value)? % 2 != 0), "the whole number is odd"),
    plain("even", |value, _| Ok(whole(value)? % 2 == 0), "the whole number is even"),
    with("divisibleby", &["number"], divisible_by, "the whole number can be divided without a rest"),
    with(
        "startingwith",
        &["text"],
        |value, by| Ok(text(value)?.starts_with(text(argument(by))?)),
        "the text starts so",
    ),
    with(
        "endingwith",
        &["text"],
        |value, by| Ok(text(value)?.ends_with(text(argument(by))?)),
        "the text ends so",
    ),
    plain(
        "lower",
        |value, _| Ok(!text(value)?.chars().any(char::is_uppercase)),
        "the text has no capital letter",
    ),
    plain(
        "upper",
        |value, _| Ok(!text(value)?.chars().any(char::is_lowercase)),
        "the text has no small letter",
    ),
    with(
        "in",
        &["container"],
        |value, by| contains(argument(by), value),
        "it is an item, a key or a part of the text",
    ),
    with("eq", &["other"], |value, by| Ok(operators::equal(value, argument(by))), "equal; also `equalto`"),
    with("ne", &["other"], |value, by| Ok(!operators::equal(value, argument(by))), "not equal"),
    with("lt", &["other"], |value, by| Ok(comparable(value, argument(by))?.is_lt()), "less; also `lessthan`"),
    with("le", &["other"], |value, by| Ok(comparable(value, argument(by))?.is_le()), "less or equal"),
    with(
        "gt",
        &["other"],
        |value, by| Ok(comparable(value, argument(by))?.is_gt()),
        "greater; also `greaterthan`",
    ),
    with("ge", &["other"], |value, by| Ok(comparable(value, argument(by))?.is_ge()), "greater or equal"),
];

fn argument<'v>(arguments: Arguments<'v, '_>) -> &'v Value {
    static NOTHING: Value = Value::Null;
    arguments.first().and_then(Option::as_deref).unwrap_or(&NOTHING)
}

fn whole(value: &Value) -> Result<i128, String> {
    as_whole(value).ok_or_else(|| format!("this test is about a whole number, not {}", kind_name(value)))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("this test is about text, not {}", kind_name(value)))
}

fn divisible_by(value: &Value, arguments: Arguments<'_, '_>) -> Result<bool, String> {
    match whole(argument(arguments))? {
        0 => Err("division by zero".to_owned()),
        by => Ok(whole(value)? % by == 0),
    }
}

/// Whether a list has the item, a map the key, a text the part.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, String> {
    match (container, item) {
        (Value::Array(items), item) => Ok(items.iter().any(|other| operators::equal(other, item))),
        (Value::Object(map), Value::String(key)) => Ok(map.contains_key(key)),
        (Value::Object(_), _) => Ok(false),
        (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        (Value::String(_), other) => Err(format!("{} is never inside text", kind_name(other))),
        (other, _) => Err(format!("nothing can be in {}", kind_name(other))),
    }
}

/// The order of two values of one kind that has an order.
pub(super) fn comparable(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Array(_), Value::Array(_)) => Ok(operators::order(left, right)),
        _ => Err(format!("{} and {} have no order", kind_name(left), kind_name(right))),
    }
}

/// Pays for looking at the subject and the arguments of a test or comparison.
pub(super) fn weigh(
    meter: &mut Meter,
    subject: &Value,
    arguments: Arguments<'_, '_>,
    range: &Range,
) -> Result<(), ExpressionError> {
    let mut look = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => meter.work(1, range),
        Value::String(text) => meter.look(text.len(), range),
        Value::Array(_) | Value::Object(_) => {
            let size = meter::size(value, super::MAX_WORK_BYTES);
            meter.work(size.nodes + size.bytes / 64, range)
        }
    };
    look(subject)?;
    arguments.iter().flatten().try_for_each(|argument| look(argument))
}
