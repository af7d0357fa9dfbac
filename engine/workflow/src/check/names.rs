//! Names that expressions can say.

use super::Checker;
use crate::document::Span;
use crate::problem::{Problem, codes};

/// True for names that can stand in an expression.
pub(super) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Words of the expression language, and names that are always there or bound at some places.
const RESERVED: [&str; 24] = [
    "inputs", "steps", "run", "trigger", "result", "output", "error", "true", "false", "none", "null", "and",
    "or", "not", "in", "is", "if", "else", "True", "False", "None", "range", "loop", "self",
];

impl Checker<'_> {
    /// A name that expressions can say: an id, an input, a loop variable.
    pub(super) fn name(&mut self, text: &str, span: Span, what: &str) -> bool {
        let problem = if text.len() > 64 {
            Problem::error(codes::BAD_NAME, span, format!("{what} has at most 64 characters"))
        } else if !is_name(text) {
            let mended: String =
                text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
            let mended = mended.trim_matches('_');
            let mended = if mended.starts_with(|c: char| c.is_ascii_digit()) {
                format!("n{mended}")
            } else {
                mended.to_owned()
            };
            let message = format!("`{text}` cannot be {what}: expressions could not say it");
            Problem::error(codes::BAD_NAME, span, message).help(if is_name(&mended) {
                format!("write `{mended}`: letters, digits and `_`, a letter first")
            } else {
                "letters, digits and `_`, a letter first".to_owned()
            })
        } else if RESERVED.contains(&text) && what.contains("variable") {
            Problem::error(
                codes::BAD_NAME,
                span,
                format!("`{text}` cannot be {what}: it means something already"),
            )
            .help("choose another name, for example `item` or `device`")
        } else {
            return true;
        };
        self.problems.report(problem);
        false
    }
}
