//! Plain scalars that other YAML programs, or their writers, take for something else.

use serde_json::Value;

use super::{Span, scalar};
use crate::problem::{Problem, Problems, codes};

const BOOLEAN_WORDS: [&str; 12] =
    ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"];

pub(super) fn warn(text: &str, value: &Value, span: Span, problems: &mut Problems) {
    if let Some(problem) = surprise(text, value, span) {
        problems.report(problem);
    }
}

fn surprise(text: &str, value: &Value, span: Span) -> Option<Problem> {
    if BOOLEAN_WORDS.contains(&text) {
        let boolean = matches!(text.to_ascii_lowercase().as_str(), "yes" | "on");
        return Some(
            Problem::warning(codes::BOOLEAN_WORD, span, format!("`{text}` is a text here, not a boolean"))
                .help(format!("write {boolean} if you mean a boolean, \"{text}\" if you mean the word")),
        );
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if value.is_number() {
        let mut bytes = unsigned.bytes();
        if bytes.next() == Some(b'0') && bytes.next().is_some_and(|byte| byte.is_ascii_digit()) {
            return Some(
                Problem::warning(
                    codes::LEADING_ZEROS,
                    span,
                    format!("`{text}` is the number {value}: its leading zeros are lost"),
                )
                .help(format!("numbers of people, cards and doors are texts: write \"{text}\"")),
            );
        }
        if scalar::is_integer(unsigned) && !value.is_i64() && !value.is_u64() {
            return Some(
                Problem::warning(
                    codes::LONG_NUMBER,
                    span,
                    format!("`{text}` has too many digits to be kept exactly"),
                )
                .help(format!("write \"{text}\" to keep every digit")),
            );
        }
        return None;
    }
    if is_sexagesimal(unsigned) {
        return Some(
            Problem::warning(
                codes::SEXAGESIMAL,
                span,
                format!("`{text}` is a text here; older YAML programs read it as a number to the base 60"),
            )
            .help(format!(
                "write \"{text}\" to be understood everywhere; durations are written 90s, 5m or 1h30m"
            )),
        );
    }
    None
}

/// `1:30`, `12:30:45`
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = text.split(':');
    let first = parts.next().is_some_and(|part| (1..=3).contains(&part.len()) && scalar::is_integer(part));
    let rest: Vec<&str> = parts.collect();
    let fits = |part: &&str| {
        part.len() <= 2 && scalar::is_integer(part) && part.parse::<u8>().is_ok_and(|number| number < 60)
    };
    first && (1..=2).contains(&rest.len()) && rest.iter().all(fits)
}
