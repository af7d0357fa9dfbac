//! Filters that give numbers and booleans.

use serde_json::Value;

use super::{Call, give};
use crate::expression::ExpressionError;
use crate::expression::evaluate::Outcome;
use crate::expression::operators::{self, as_whole, kind_name};

type Given<'a> = Result<Outcome<'a>, ExpressionError>;

pub(super) fn abs<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    if let Some(number) = as_whole(&call.subject) {
        return operators::whole(number.abs())
            .map_or_else(|| Err(call.error("the number is too large")), give);
    }
    match call.subject.as_f64() {
        Some(number) => operators::float(number.abs()).map_err(|message| call.error(message)).and_then(give),
        None => Err(call.misfit("a number")),
    }
}

pub(super) fn round<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let precision = call.whole_argument(0)?.unwrap_or(0);
    let Some(places) = usize::try_from(precision).ok().filter(|places| *places <= 15) else {
        return Err(call.error("the precision is a whole number from 0 to 15"));
    };
    let method = call.text_argument(1)?.unwrap_or("common");
    if !matches!(method, "common" | "ceil" | "floor") {
        return Err(call.error("the method is `common`, `ceil` or `floor`"));
    }
    if as_whole(&call.subject).is_some() {
        return give(call.subject.clone().into_owned());
    }
    let Some(number) = call.subject.as_f64() else {
        return Err(call.misfit("a number"));
    };
    let rounded = if method == "common" {
        // Formatting rounds the decimal form; scaling by a power of ten would first change the number.
        format!("{number:.places$}").parse().unwrap_or(number)
    } else {
        let factor: f64 = format!("1e{places}").parse().unwrap_or(1.0);
        let scaled = number * factor;
        if scaled.is_finite() {
            (if method == "ceil" { scaled.ceil() } else { scaled.floor() } + 0.0) / factor
        } else {
            number
        }
    };
    operators::float(rounded).map_err(|message| call.error(message)).and_then(give)
}

pub(super) fn int<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let base = match call.whole_argument(1)? {
        None => 10,
        Some(base) => match u32::try_from(base).ok().filter(|base| (2..=36).contains(base)) {
            Some(base) => base,
            None => return Err(call.error("the base is a whole number from 2 to 36")),
        },
    };
    match whole_number(&call.subject, base) {
        Ok(number) => {
            operators::whole(number).map_or_else(|| Err(call.error("the number is too large")), give)
        }
        Err(message) => instead(call, message),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "cutting off the fraction is the purpose; the range is checked"
)]
fn whole_number(value: &Value, base: u32) -> Result<i128, String> {
    if let Some(number) = as_whole(value) {
        return Ok(number);
    }
    match value {
        Value::Bool(value) => Ok(i128::from(*value)),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(0.0) as i128),
        Value::String(text) => {
            let text = text.trim();
            if let Ok(number) = i128::from_str_radix(text, base) {
                return Ok(number);
            }
            match text.parse::<f64>() {
                Ok(number) if base == 10 && number.is_finite() => Ok(number as i128),
                _ => Err("this text is not a number".to_owned()),
            }
        }
        other => Err(format!("{} is not a number", kind_name(other))),
    }
}

pub(super) fn float<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let number = match &*call.subject {
        Value::Bool(value) => Ok(f64::from(u8::from(*value))),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("this text is not a number".to_owned()),
        },
        other => Err(format!("{} is not a number", kind_name(other))),
    };
    match number {
        Ok(number) => operators::float(number).map_err(|message| call.error(message)).and_then(give),
        Err(message) => instead(call, message),
    }
}

/// The `default` argument, or the error.
fn instead<'a>(call: &mut Call<'_, 'a>, message: String) -> Given<'a> {
    match call.arguments.first() {
        Some(Some(default)) => Ok(Outcome::Here(default.clone())),
        _ => Err(call.error(message).with_help("say what to use instead: `| int(default=0)`")),
    }
}

pub(super) fn bool<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    give(Value::Bool(operators::truthy(&call.subject)))
}
