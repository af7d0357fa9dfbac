//! From a part of a scalar's text back to the bytes of the file.

use super::{Scalar, Span, Style};

/// A span with its line and column.
pub(crate) fn span(source: &str, start: usize, end: usize) -> Span {
    let start = floor(source, start);
    let end = floor(source, end).max(start);
    let before = source.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let text = before.get(line_start..).unwrap_or_default();
    let column = text.strip_prefix('\u{feff}').unwrap_or(text).chars().count() + 1;
    Span {
        start,
        end,
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

/// The nearest character boundary at or before `at`.
pub(super) fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

pub(super) fn part(source: &str, whole: Span, scalar: &Scalar, start: usize, end: usize) -> Span {
    let Some(written) = source.get(whole.start..whole.end) else {
        return whole;
    };
    let quote = usize::from(matches!(scalar.style, Style::SingleQuoted | Style::DoubleQuoted));
    let inner = written.get(quote..written.len().saturating_sub(quote)).unwrap_or_default();
    let offset = whole.start + quote;
    let (start, end) = (floor(&scalar.text, start), floor(&scalar.text, end));
    if inner == scalar.text {
        return span(source, offset + start, offset + end);
    }
    let Some(from) = source_offset(inner, scalar, start) else {
        return whole;
    };
    // The last character's end, not the next one's beginning: white space of the file may lie between.
    let to = scalar.text.get(..end).and_then(|text| text.char_indices().next_back()).map_or(
        Some(from),
        |(at, last)| {
            source_offset(inner, scalar, at)
                .map(|at| at + inner.get(at..).map_or(0, |rest| width(rest, last, scalar.style)))
        },
    );
    span(source, offset + from, offset + to.unwrap_or(from).max(from))
}

/// How many bytes one character of the text takes in the file.
fn width(rest: &str, character: char, style: Style) -> usize {
    match style {
        Style::DoubleQuoted if rest.starts_with('\\') => escape_width(rest),
        Style::SingleQuoted if rest.starts_with("''") => 2,
        _ => rest.chars().next().map_or(character.len_utf8(), char::len_utf8),
    }
}

fn escape_width(rest: &str) -> usize {
    match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
    }
}

/// Where the character at byte `at` of the text begins in the written form. Folding and indentation change white
/// space only, so the other characters are found one after another.
fn source_offset(inner: &str, scalar: &Scalar, at: usize) -> Option<usize> {
    let mut position = 0;
    let mut found = 0;
    for (index, character) in scalar.text.char_indices() {
        if index > at {
            break;
        }
        if character.is_whitespace() {
            found = position;
            continue;
        }
        loop {
            let rest = inner.get(position..)?;
            let next = rest.chars().next()?;
            let escaped = scalar.style == Style::DoubleQuoted && next == '\\';
            if escaped && rest.get(1..).is_some_and(|rest| rest.starts_with(['\n', '\r'])) {
                position += 1;
                continue;
            }
            if escaped
                && rest
                    .get(1..)
                    .is_some_and(|rest| rest.starts_with(['n', 't', 'r', ' ', '_', 'N', 'L', 'P']))
            {
                position += 2;
                continue;
            }
            if next == character || escaped {
                found = position;
                position += width(rest, character, scalar.style);
                break;
            }
            position += next.len_utf8();
        }
    }
    Some(if at >= scalar.text.len() { inner.len() } else { found })
}
