//! Reading maps and scalars, with the problems that every keyword shares.

use std::time::Duration;

use super::Checker;
use crate::document::{Entry, Node, Span};
use crate::expression::suggest;
use crate::problem::{Problem, codes};
use crate::quantity;
use crate::vocabulary::MapDoc;

/// A map whose keys are all known (the others are reported).
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    /// Misspelt keys with what they are taken for, so that one mistake is not reported twice.
    meant: Vec<(String, &'n Entry)>,
    /// Whether a key was found that a hint explains: what it stands for is not missed as well.
    hinted: bool,
    what: &'static str,
    span: Span,
}

impl<'n> Fields<'n> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        let exact = self.entries.iter().find(|entry| entry.key.text == key);
        exact.or_else(|| self.meant.iter().find(|(meant, _)| meant == key).map(|(_, entry)| *entry))
    }

    /// Where a message about the map as a whole points: its first key.
    pub(super) fn start(&self) -> Span {
        self.entries.first().map_or(self.span, |entry| entry.key.span)
    }
}

/// Keys that people bring along from other systems, or from the design of what is still to come.
fn hint(key: &str, what: &str) -> Option<&'static str> {
    Some(match (what, key) {
        ("a workflow", "on" | "true" | "trigger" | "schedule" | "cron") => {
            "the key is `triggers`, a list such as `- schedule: { cron: \"0 3 * * *\" }`"
        }
        ("a workflow", "jobs" | "tasks" | "stages") => "a workflow has `steps`, which run one after another",
        ("a workflow", "env" | "vars" | "variables" | "params" | "parameters") => {
            "values come from `inputs`; addresses and secrets belong to the connections of `bascule.yaml`"
        }
        (_, "secrets" | "secret" | "password") => {
            "secrets are named by the connections of `bascule.yaml` and never stand in a workflow"
        }
        ("a workflow", "timeout" | "time-limit") => {
            "the key is `deadline`, for the whole run; `timeout` is for steps"
        }
        ("a workflow", "on-error" | "alert" | "notify") => {
            "the key is `on-failure`, a list of steps or the name of a workflow"
        }
        ("`concurrency`", "cancel-in-progress") => "write `when-busy: replace`",
        ("`concurrency`", "key" | "name") => "the key is `group`",
        ("`debounce`", "max" | "max-wait") => "the key is `at-most`",
        ("a workflow", "id" | "version") => "a workflow is known by its file's name",
        ("a step", "needs" | "depends" | "depends-on" | "depends_on" | "after") => {
            "steps run one after another, in the order of the file; remove it"
        }
        ("a step", "run" | "script" | "shell" | "command") => {
            "a step calls a function of a plugin: `uses: PLUGIN/INTERFACE.FUNCTION`"
        }
        ("a step", "when" | "condition") => "the key is `if`",
        ("a step", "loop" | "foreach" | "with-items" | "matrix" | "items") => "the key is `for-each`",
        ("a step", "on-error" | "on-failure" | "rescue" | "fallback") => {
            "the key is `catch`, a list of entries with `on` and `uses`"
        }
        ("a step", "continue-on-error" | "ignore-errors" | "allow-failure") => "the key is `keep-going`",
        ("a step", "parallelism" | "concurrency" | "max-parallel") => "the key is `parallel`",
        ("a step", "connection") => "connections are handed over under `with`, by the parameter's name",
        ("a step", "rollback" | "compensate") => {
            "the key is `undo`, inside a block with `all-or-nothing: true`"
        }
        ("`retry`", "delay" | "interval" | "wait") => "the key is `backoff: { from: 2s, to: 30s }`",
        ("`retry`", "max" | "max-attempts" | "count" | "times") => {
            "the key is `attempts`; the first one counts"
        }
        ("`schedule`", "timezone" | "tz" | "zone") => "the key is `time-zone`",
        _ => return None,
    })
}

impl Checker<'_> {
    pub(super) fn wrong_shape(&mut self, node: &Node, what: &str, expected: &str, help: &str) {
        let message = format!("{what} must be {expected}, this is {}", node.describe());
        let problem = Problem::error(codes::WRONG_SHAPE, node.span, message);
        self.problems.report(if help.is_empty() { problem } else { problem.help(help) });
    }

    /// A map with keys of the user's own.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        if node.as_map().is_none() {
            self.wrong_shape(node, what, "a map", "a map has one `key: value` per line");
        }
        node.as_map()
    }

    /// A map with known keys.
    pub(super) fn map<'n>(&mut self, node: &'n Node, map: &'static MapDoc) -> Option<Fields<'n>> {
        let (what, keys) = (map.what, map.names());
        let Some(entries) = node.as_map() else {
            let shown: Vec<&str> = keys.iter().copied().take(6).collect();
            let help = format!("a map with keys such as {}", suggest::listing(&shown));
            self.wrong_shape(node, what, "a map", &help);
            return None;
        };
        let mut meant = Vec::new();
        let mut hinted = false;
        for entry in entries {
            let key = entry.key.text.as_str();
            if keys.contains(&key) {
                continue;
            }
            let problem =
                Problem::error(codes::UNKNOWN_KEY, entry.key.span, format!("unknown key `{key}` in {what}"));
            let near = suggest::nearest(key, keys.iter().copied());
            if let Some(near) = near {
                meant.push((near.to_owned(), entry));
            }
            let help = match (near, hint(key, what)) {
                (Some(near), None) => format!("did you mean `{near}`?"),
                (_, Some(hint)) => {
                    hinted = true;
                    hint.to_owned()
                }
                (None, None) => format!("{what} has {}", all_of(&keys)),
            };
            self.problems.report(problem.help(help));
        }
        Some(Fields { entries, meant, hinted, what, span: node.span })
    }

    /// Reports that a key is missing.
    pub(super) fn missing(&mut self, fields: &Fields<'_>, key: &str, help: &str) {
        if fields.hinted {
            return;
        }
        let message = format!("{} needs `{key}`", fields.what);
        self.problems.report(
            Problem::error(codes::MISSING_KEY, fields.start(), message).help(format!("add `{key}:`, {help}")),
        );
    }

    /// The node of a key that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, help: &str) -> Option<&'n Node> {
        let node = fields.get(key).filter(|node| !node.is_null());
        if node.is_none() {
            self.missing(fields, key, help);
        }
        node
    }

    /// Reports keys that have no place beside `with`.
    pub(super) fn keys_exclude(&mut self, fields: &Fields<'_>, keys: &[&str], because: &str, help: &str) {
        for key in keys {
            if let Some(entry) = fields.entry(key) {
                let message = format!("`{key}` has no place {because}");
                self.problems
                    .report(Problem::error(codes::KEYS_DO_NOT_FIT, entry.key.span, message).help(help));
            }
        }
    }

    /// A text without expressions.
    pub(super) fn text_of(&mut self, node: &Node, key: &str) -> Option<String> {
        let Some(text) = node.as_str() else {
            let help = match node.as_scalar() {
                Some(scalar) if !scalar.value.is_null() => format!("write \"{}\"", scalar.text),
                _ => String::new(),
            };
            self.wrong_shape(node, &format!("`{key}`"), "a text", &help);
            return None;
        };
        if text.contains("${{") && key != "description" {
            let message = format!("`{key}` cannot be an expression");
            self.problems.report(
                Problem::error(codes::BAD_VALUE, node.span, message)
                    .help("it is read before anything runs: write it out"),
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        let value = node.as_scalar().and_then(|scalar| scalar.value.as_bool());
        if value.is_none() {
            self.wrong_shape(
                node,
                &format!("`{key}`"),
                "true or false",
                "only `true` and `false` are booleans",
            );
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        node: &Node,
        key: &str,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = node.as_scalar().and_then(|scalar| scalar.value.as_u64());
        let fits =
            number.and_then(|number| u32::try_from(number).ok()).filter(|number| bounds.contains(number));
        if fits.is_none() {
            let message = format!(
                "`{key}` must be a whole number from {} to {}, this is {}",
                bounds.start(),
                bounds.end(),
                node.describe()
            );
            let help = format!("for example `{key}: {}`", bounds.start().max(&2).min(bounds.end()));
            self.problems.report(Problem::error(codes::BAD_VALUE, node.span, message).help(help));
        }
        fits
    }

    /// A duration that is longer than nothing.
    pub(super) fn duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let error = |message: String, help: String| {
            Problem::error(codes::BAD_DURATION, node.span, format!("`{key}`: {message}")).help(help)
        };
        let text =
            node.as_scalar().filter(|scalar| !scalar.value.is_null()).map(|scalar| scalar.text.clone());
        let Some(text) = text else {
            self.wrong_shape(node, &format!("`{key}`"), "a duration", "for example 500ms, 90s, 5m or 1h30m");
            return None;
        };
        if text.contains("${{") {
            let message = "cannot be an expression".to_owned();
            self.problems.report(error(
                message,
                "it is read before anything runs: write it out, for example 90s".to_owned(),
            ));
            return None;
        }
        match quantity::duration(&text) {
            Ok(duration) if duration.is_zero() => {
                self.problems.report(error(
                    "must be longer than nothing".to_owned(),
                    "for example 500ms or 5s".to_owned(),
                ));
                None
            }
            Ok(duration) => Some(duration),
            Err(wrong) => {
                self.problems.report(error(wrong.message, wrong.help));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word(&mut self, node: &Node, key: &str, words: &[&'static str]) -> Option<&'static str> {
        let written = node.as_scalar().map(|scalar| scalar.text.as_str());
        let word = written.and_then(|written| words.iter().copied().find(|word| *word == written));
        if word.is_none() {
            let message =
                format!("`{key}` must be one of {}, this is {}", suggest::listing(words), node.describe());
            let near = written.and_then(|written| suggest::nearest(written, words.iter().copied()));
            self.problems.report(Problem::error(codes::BAD_VALUE, node.span, message).help(
                near.map_or_else(
                    || "write one of these words".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ),
            ));
        }
        word
    }

    /// One item or a list of them.
    pub(super) fn one_or_more(node: &Node) -> Vec<&Node> {
        node.as_list().map_or_else(|| vec![node], |items| items.iter().collect())
    }
}

/// Every key, in backticks.
fn all_of(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
