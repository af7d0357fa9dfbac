//! Reading keys and values of a test file, with the problems that every key shares.

use std::time::Duration;

use crate::document::{Entry, Node, Span};
use crate::expression::suggest;
use crate::problem::{Code, Problem, Problems, codes};
use crate::quantity;

/// Reads nodes and gathers what is wrong with them.
pub(super) struct Reader<'p> {
    pub(super) text: &'p str,
    pub(super) problems: &'p mut Problems,
}

impl Reader<'_> {
    pub(super) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.report(Problem::error(code, span, message).help(help));
    }

    pub(super) fn wrong_shape(&mut self, node: &Node, what: &str, expected: &str, help: &str) {
        let message = format!("{what} must be {expected}, this is {}", node.describe());
        self.error(codes::WRONG_SHAPE, node.span, message, help);
    }

    /// The entries of a map whose keys are known; others are reported and left out. `None` where it is no map.
    pub(super) fn known<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<Vec<&'n Entry>> {
        let Some(entries) = node.as_map() else {
            let help = format!("a map with keys such as {}", suggest::listing(keys));
            self.wrong_shape(node, what, "a map", &help);
            return None;
        };
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = entry.key.text.as_str();
            if keys.contains(&key) {
                known.push(entry);
                continue;
            }
            let problem =
                Problem::error(codes::UNKNOWN_KEY, entry.key.span, format!("unknown key `{key}` in {what}"));
            let help = match hint(key) {
                Some(hint) if suggest::nearest(key, keys.iter().copied()).is_none() => Some(hint.to_owned()),
                _ => suggest::help(key, keys.iter().copied(), "the keys here are"),
            };
            self.problems.report(problem.help_if(help));
        }
        Some(known)
    }

    /// The entries of a map with keys of the author's own; a map that is empty may be left out.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        if node.is_null() {
            return &[];
        }
        if node.as_map().is_none() {
            self.wrong_shape(node, what, "a map", "a map has one `key: value` per line");
        }
        node.as_map().unwrap_or_default()
    }

    /// The items of a list.
    pub(super) fn items<'n>(&mut self, node: &'n Node, what: &str, help: &str) -> &'n [Node] {
        if node.is_null() {
            return &[];
        }
        if node.as_list().is_none() {
            self.wrong_shape(node, what, "a list", help);
        }
        node.as_list().unwrap_or_default()
    }

    /// Reports that a key is missing, at the map's first line.
    pub(super) fn missing(&mut self, node: &Node, what: &str, key: &str, help: &str) {
        let first = node.as_map().and_then(|entries| entries.first());
        let span = first.map_or(node.span, |entry| entry.key.span);
        self.error(
            codes::MISSING_KEY,
            span,
            format!("{what} needs `{key}`"),
            format!("add `{key}:`, {help}"),
        );
    }

    /// A text; a number or boolean that stands there is quoted first.
    pub(super) fn text_of(&mut self, node: &Node, what: &str) -> Option<String> {
        let Some(text) = node.as_str() else {
            let help = match node.as_scalar() {
                Some(scalar) if !scalar.value.is_null() => format!("write \"{}\"", scalar.text),
                _ => "write one text".to_owned(),
            };
            self.wrong_shape(node, what, "a text", &help);
            return None;
        };
        Some(text.to_owned())
    }

    /// One of a few words.
    pub(super) fn word(&mut self, node: &Node, what: &str, words: &[&'static str]) -> Option<&'static str> {
        let written = node.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        let word = words.iter().copied().find(|word| *word == written);
        if word.is_none() {
            let message =
                format!("{what} must be one of {}, this is {}", suggest::listing(words), node.describe());
            let help = suggest::help(written, words.iter().copied(), "write one of");
            self.problems.report(Problem::error(codes::BAD_VALUE, node.span, message).help_if(help));
        }
        word
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        node: &Node,
        what: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = node.as_scalar().and_then(|scalar| scalar.value.as_u64());
        let fits = number.filter(|number| bounds.contains(number));
        if fits.is_none() {
            let message = format!(
                "{what} must be a whole number from {} to {}, this is {}",
                bounds.start(),
                bounds.end(),
                node.describe()
            );
            self.error(codes::BAD_VALUE, node.span, message, "write a number");
        }
        fits
    }

    pub(super) fn duration(&mut self, node: &Node, what: &str, most: Duration) -> Option<Duration> {
        let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.value.is_null()) else {
            self.wrong_shape(node, what, "a duration", "for example 500ms or 2s");
            return None;
        };
        match quantity::duration(&scalar.text) {
            Ok(duration) if duration <= most => Some(duration),
            Ok(_) => {
                let message = format!("{what} is at most {}", quantity::duration_text(most));
                self.error(codes::BAD_DURATION, node.span, message, "it is real time that the test takes");
                None
            }
            Err(wrong) => {
                self.error(codes::BAD_DURATION, node.span, format!("{what}: {}", wrong.message), wrong.help);
                None
            }
        }
    }
}

/// Keys that people bring along from other tools.
fn hint(key: &str) -> Option<&'static str> {
    Some(match key {
        "mock" | "mocks" | "stubs" | "http" => "canned answers stand under `given: { connections: .. }`",
        "assert" | "asserts" | "assertions" | "then" => "what must hold stands under `expect`",
        "when" | "with" => "what starts the run is `inputs` or `trigger`",
        "secrets" | "password" => "secrets are invented for each test, nothing has to be given",
        "response" | "reply" | "returns" | "answer" => "the key is `respond`",
        "body-contains" => "write `body: { contains: .. }`",
        "url" => "the key is `request`, for example `request: GET /ISAPI/System/deviceInfo`",
        _ => return None,
    })
}
