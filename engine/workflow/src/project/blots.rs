//! Passwords in plain text, which are not to be repeated on a screen or in a log.

use std::ops::Range;

use crate::problem::{Problems, codes};

/// What stands behind a key that is called a password, also where the file cannot be read as YAML.
pub(super) fn likely(text: &str) -> Vec<Range<usize>> {
    let mut blots = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let folded = line.to_ascii_lowercase();
        for word in ["password", "passwd", "secretkey", "secret-key", "secret_key", "appsecret"] {
            for (at, _) in folded.match_indices(word) {
                if let Some(value) =
                    value_behind(line, at + word.len(), line.trim_start().len() + at == line.len())
                {
                    blots.push(start + value.start..start + value.end);
                }
            }
        }
        start += line.len();
    }
    blots
}

/// The plain value behind the colon of a key that ends at `at`; `alone` if the key begins the line, so that its value
/// is all the rest.
fn value_behind(line: &str, at: usize, alone: bool) -> Option<Range<usize>> {
    let rest = line.get(at..)?;
    let rest = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?.trim_start();
    let from = line.len() - rest.len();
    let rest = rest.trim_end();
    let first = rest.chars().next()?;
    let length = match first {
        // A secret that is named, an alias, an anchor.
        '{' | '*' | '&' | '#' => return None,
        '"' | '\'' => rest.get(1..)?.find(first).map_or(rest.len(), |end| end + 2),
        _ if alone => rest.len(),
        _ => rest.find([',', '}']).unwrap_or(rest.len()),
    };
    Some(from..from + length)
}

/// The same problems over a text in which the bytes of each blot are stars. Warnings about how a blotted value is
/// written are left out, as they repeat it.
pub(super) fn apply(file: &str, text: &str, problems: &Problems, blots: &[Range<usize>]) -> Problems {
    let mut masked = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if character != '\n' && blots.iter().any(|blot| blot.contains(&at)) {
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            masked.push(character);
        }
    }
    let repeats = [codes::LEADING_ZEROS, codes::BOOLEAN_WORD, codes::SEXAGESIMAL, codes::LONG_NUMBER];
    let mut shown = Problems::new(file, &masked);
    for problem in problems {
        let inside = blots.iter().any(|blot| blot.contains(&problem.span.start));
        if !(inside && repeats.contains(&problem.code)) {
            shown.report(problem.clone());
        }
    }
    shown
}
