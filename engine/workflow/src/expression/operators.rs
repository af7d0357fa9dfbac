//! Arithmetic, equality and order of JSON values.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::syntax::Operator;

/// A word for the kind of a value.
pub(super) fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A whole number as a value; `None` beyond 64 bits.
pub(super) fn whole(number: i128) -> Option<Value> {
    if let Ok(number) = i64::try_from(number) {
        return Some(Value::from(number));
    }
    u64::try_from(number).ok().map(Value::from)
}

/// A value as a whole number.
pub(super) fn as_whole(value: &Value) -> Option<i128> {
    let Value::Number(number) = value else { return None };
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// What Jinja takes for true: everything but null, false, 0 and what is empty.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Text inside other text. Only what has one obvious form has any.
pub(super) fn text_form(value: &Value) -> Result<Cow<'_, str>, String> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Ok(Cow::Owned(value.to_string())),
        Value::Null => Err("null cannot stand inside text".to_owned()),
        Value::Array(_) | Value::Object(_) => Err(format!("{} cannot stand inside text", kind_name(value))),
    }
}

/// How to mend `text_form`'s error.
pub(super) fn text_help(value: &Value) -> &'static str {
    match value {
        Value::Null => "say what null means: `| default('..', true)`",
        Value::Array(_) => "choose an item, or write `| join(', ')` or `| tojson`",
        _ => "choose a field, or write `| tojson`",
    }
}

/// Equality without regard to the order of keys; `1 == 1.0`.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right) == Ordering::Equal,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        (left, right) => left == right,
    }
}

/// A total order: null, false, true, numbers, text, lists, maps.
pub(super) fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let mut pairs = left.iter().zip(right).map(|(left, right)| order(left, right));
            pairs.find(|ordering| ordering.is_ne()).unwrap_or(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let mut pairs = left.iter().zip(right).map(|((left_key, left), (right_key, right))| {
                left_key.cmp(right_key).then(order(left, right))
            });
            pairs.find(|ordering| ordering.is_ne()).unwrap_or(left.len().cmp(&right.len()))
        }
        (left, right) => rank(left).cmp(&rank(right)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// Exact, also between whole numbers and floats that a conversion would round.
fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (whole_of(left), whole_of(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => compare_mixed(left, float_of(right)),
        (None, Some(right)) => compare_mixed(right, float_of(left)).reverse(),
        (None, None) => float_of(left).partial_cmp(&float_of(right)).unwrap_or(Ordering::Equal),
    }
}

fn whole_of(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn float_of(number: &Number) -> f64 {
    number.as_f64().unwrap_or(0.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates far outside of what a whole number can be"
)]
fn compare_mixed(whole: i128, float: f64) -> Ordering {
    let floor = float.floor();
    whole.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal })
}

/// Calculates; the error is the message.
pub(super) fn calculate(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let (Value::Number(left_number), Value::Number(right_number)) = (left, right) else {
        return Err(misfit(operator, left, right));
    };
    if let (Some(left), Some(right)) = (whole_of(left_number), whole_of(right_number))
        && operator != Operator::Divide
    {
        return calculate_whole(operator, left, right);
    }
    let (left, right) = (float_of(left_number), float_of(right_number));
    if right == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder) {
        return Err("division by zero".to_owned());
    }
    float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide => ((left - floored_remainder(left, right)) / right).round(),
        Operator::Remainder => floored_remainder(left, right),
        Operator::Power | Operator::Join => left.powf(right),
    })
}

/// The remainder with the sign of the divisor.
fn floored_remainder(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }
}

#[expect(clippy::cast_precision_loss, reason = "a negative power of a whole number is a float")]
fn calculate_whole(operator: Operator, left: i128, right: i128) -> Result<Value, String> {
    if right == 0 && matches!(operator, Operator::FloorDivide | Operator::Remainder) {
        return Err("division by zero".to_owned());
    }
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::FloorDivide => {
            let quotient = left.checked_div(right);
            let inexact = left.checked_rem(right).is_some_and(|rest| rest != 0 && (rest < 0) != (right < 0));
            quotient.and_then(|quotient| quotient.checked_sub(i128::from(inexact)))
        }
        Operator::Remainder => left.checked_rem(right).and_then(|rest| {
            if rest != 0 && (rest < 0) != (right < 0) { rest.checked_add(right) } else { Some(rest) }
        }),
        Operator::Power if right < 0 => return float((left as f64).powf(right as f64)),
        Operator::Power => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
        Operator::Divide | Operator::Join => None,
    };
    result.and_then(whole).ok_or_else(|| "the result is too large for a whole number".to_owned())
}

/// A finite float as a value.
pub(super) fn float(number: f64) -> Result<Value, String> {
    Number::from_f64(number).map(Value::Number).ok_or_else(|| "the result is not a finite number".to_owned())
}

fn misfit(operator: Operator, left: &Value, right: &Value) -> String {
    let (left, right) = (kind_name(left), kind_name(right));
    match operator {
        Operator::Add => format!("cannot add {right} to {left}"),
        Operator::Subtract => format!("cannot subtract {right} from {left}"),
        Operator::Multiply => format!("cannot multiply {left} by {right}"),
        Operator::Divide | Operator::FloorDivide | Operator::Remainder => {
            format!("cannot divide {left} by {right}")
        }
        Operator::Power => format!("cannot raise {left} to the power of {right}"),
        Operator::Join => format!("cannot join {left} and {right}"),
    }
}
