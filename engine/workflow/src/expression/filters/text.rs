//! Filters that give or take text.

use std::fmt::Write;

use serde_json::Value;

use super::{Call, attribute, give};
use crate::expression::ExpressionError;
use crate::expression::evaluate::Outcome;
use crate::expression::operators::{kind_name, text_form, text_help};

type Given<'a> = Result<Outcome<'a>, ExpressionError>;

pub(super) fn lower<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    call.give_text(text.to_lowercase())
}

pub(super) fn upper<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    call.give_text(text.to_uppercase())
}

pub(super) fn title<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let mut titled = String::with_capacity(text.len());
    let mut at_start = true;
    for letter in text.chars() {
        if at_start {
            titled.extend(letter.to_uppercase());
        } else {
            titled.extend(letter.to_lowercase());
        }
        at_start = letter.is_whitespace() || matches!(letter, '-' | '(' | '{' | '[' | '<');
    }
    call.give_text(titled)
}

pub(super) fn capitalize<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let mut letters = text.chars();
    let mut capitalized: String =
        letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    capitalized.push_str(&letters.as_str().to_lowercase());
    call.give_text(capitalized)
}

pub(super) fn trim<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let trimmed = match call.text_argument(0)? {
        Some(letters) => text.trim_matches(|letter| letters.contains(letter)),
        None => text.trim(),
    };
    call.give_text(trimmed.to_owned())
}

pub(super) fn replace<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let (Some(from), Some(to)) = (call.text_argument(0)?, call.text_argument(1)?) else {
        return Err(call.error("`replace` needs two texts"));
    };
    let count = text.matches(from).count();
    let length = (text.len() + count * to.len()) as u64;
    call.meter.build(length, call.range)?;
    call.meter.work(1 + length / 64, call.range)?;
    give(Value::String(text.replace(from, to)))
}

pub(super) fn split<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let most = call.whole_argument(1)?.and_then(|most| usize::try_from(most).ok());
    let separator = call.text_argument(0)?;
    let owned = |part: &str| Value::String(part.to_owned());
    // Paid for before it is built: a part for each character is the most there can be.
    let parts = match separator {
        Some("") => {
            return Err(call
                .error("the separator cannot be empty")
                .with_help("for single characters: `| list`"));
        }
        Some(separator) => text.matches(separator).count() + 1,
        None => text.split_whitespace().count(),
    };
    call.meter.work(parts as u64, call.range)?;
    call.meter.build((16 * parts + text.len()) as u64, call.range)?;
    let parts: Vec<Value> = match (separator, most) {
        (Some(separator), Some(most)) => text.splitn(most + 1, separator).map(owned).collect(),
        (Some(separator), None) => text.split(separator).map(owned).collect(),
        (None, None) => text.split_whitespace().map(owned).collect(),
        (None, Some(most)) => {
            let mut rest = text.trim_start();
            let mut parts = Vec::new();
            while !rest.is_empty() {
                let end = if parts.len() < most { rest.find(char::is_whitespace) } else { None };
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(owned(part));
                rest = after.trim_start();
            }
            parts
        }
    };
    give(Value::Array(parts))
}

pub(super) fn lines<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = call.text()?;
    let count = text.lines().count();
    call.meter.work(count as u64, call.range)?;
    call.meter.build((16 * count + text.len()) as u64, call.range)?;
    give(Value::Array(text.lines().map(|line| Value::String(line.to_owned())).collect()))
}

pub(super) fn join<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let path = call.attribute_argument(1)?.unwrap_or_default();
    let between = call.text_argument(0)?.unwrap_or_default().to_owned();
    let Value::Array(items) = &*call.subject else {
        return Err(call.misfit("a list"));
    };
    call.meter.work(items.len() as u64, call.range)?;
    let mut joined = String::new();
    for (at, item) in items.iter().enumerate() {
        let item = attribute(std::borrow::Cow::Borrowed(item), &path)
            .map_err(|missing| missing.in_item(at, &path, call.range))?;
        let part = text_form(&item)
            .map_err(|message| call.error(format!("item {at}: {message}")).with_help(text_help(&item)))?;
        call.meter.build((part.len() + between.len()) as u64, call.range)?;
        call.meter.look(part.len(), call.range)?;
        if at > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&part);
    }
    give(Value::String(joined))
}

pub(super) fn string<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let text = text_form(&call.subject).map_err(|_| {
        call.error(format!("{} is not turned into text", kind_name(&call.subject)))
            .with_help(text_help(&call.subject))
    })?;
    let text = text.into_owned();
    call.give_text(text)
}

pub(super) fn to_json<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let size = crate::expression::meter::size(&call.subject, crate::expression::MAX_WORK_BYTES);
    // A control character takes six bytes.
    call.meter.work(size.nodes, call.range)?;
    call.meter.build(size.bytes, call.range)?;
    let text =
        serde_json::to_string(&*call.subject).map_err(|_| call.error("this value has no JSON form"))?;
    call.give_text(text)
}

pub(super) fn url_encode<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    if let Value::Object(map) = &*call.subject {
        call.meter.work(map.len() as u64, call.range)?;
        let mut query = String::new();
        for (key, value) in map {
            if value.is_null() {
                continue;
            }
            let text = text_form(value).map_err(|message| call.error(message).with_help(text_help(value)))?;
            call.meter.build(3 * (key.len() + text.len()) as u64, call.range)?;
            call.meter.look(key.len() + text.len(), call.range)?;
            if !query.is_empty() {
                query.push('&');
            }
            percent_encode(key, &mut query);
            query.push('=');
            percent_encode(&text, &mut query);
        }
        return give(Value::String(query));
    }
    let text = call.text()?;
    call.meter.build(3 * text.len() as u64, call.range)?;
    let mut encoded = String::new();
    percent_encode(&text, &mut encoded);
    give(Value::String(encoded))
}

fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            into.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}
