//! `concurrency`, `priority`, `debounce`: when a run may begin.

use super::Checker;
use super::scope::{Kind, Scope};
use crate::admission::{Collected, Concurrency, Debounce, Priority, WhenBusy};
use crate::document::Node;
use crate::expression::Template;
use crate::problem::{Problem, codes};
use crate::vocabulary::{CONCURRENCY, DEBOUNCE};

/// Without `at-most:` a run begins after so many times `wait`, even if it is never quiet.
const AT_MOST_WAITS: u32 = 10;

impl<'a> Checker<'a> {
    pub(super) fn concurrency(&mut self, node: &Node) -> Option<Concurrency> {
        if let Some(text) = node.as_str() {
            let help = format!("write `concurrency: {{ group: \"{text}\" }}`");
            self.wrong_shape(node, "`concurrency`", "a map", &help);
            return None;
        }
        let fields = self.map(node, &CONCURRENCY)?;
        let group = self
            .required(&fields, "group", "a name; runs of one group are under way one at a time")
            .and_then(|node| self.key_of_run(node, "group"));
        let when_busy =
            fields.get("when-busy").and_then(|node| self.word(node, "when-busy", &WhenBusy::WORDS));
        let when_busy = match when_busy {
            Some("skip") => WhenBusy::Skip,
            Some("replace") => WhenBusy::Replace,
            _ => WhenBusy::Queue,
        };
        Some(Concurrency { group: group?, when_busy })
    }

    pub(super) fn priority(&mut self, node: &Node) -> Option<Priority> {
        self.word(node, "priority", &Priority::WORDS).and_then(Priority::from_name)
    }

    pub(super) fn debounce(&mut self, node: &Node) -> Option<Debounce> {
        if let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.value.is_null()) {
            let help = format!("write `debounce: {{ wait: {} }}`", scalar.text);
            self.wrong_shape(node, "`debounce`", "a map", &help);
            return None;
        }
        let fields = self.map(node, &DEBOUNCE)?;
        let key = fields.get("key").and_then(|node| self.key_of_run(node, "key"));
        let wait = self
            .required(&fields, "wait", "how long it has to be quiet, for example 5s")
            .and_then(|node| self.duration(node, "wait"));
        let at_most = fields.get("at-most").and_then(|node| self.duration(node, "at-most"));
        if let (Some(wait), Some(longest), Some(node)) = (wait, at_most, fields.get("at-most"))
            && longest < wait
        {
            self.problems
                .report(Problem::error(codes::BAD_VALUE, node.span, "`at-most` is shorter than `wait`").help(
                "`wait` is the quiet time after each trigger, `at-most` the longest delay of the first one",
            ));
        }
        let collect = fields.get("collect").and_then(|node| self.word(node, "collect", &Collected::WORDS));
        let collect = if collect == Some("all") { Collected::All } else { Collected::Last };
        let wait = wait?;
        let at_most = at_most.unwrap_or_else(|| wait.saturating_mul(AT_MOST_WAITS));
        Some(Debounce { key, wait, at_most, collect })
    }

    /// A key that is evaluated before there is a run.
    fn key_of_run(&mut self, node: &Node, key: &str) -> Option<Template> {
        let scope = Scope::before_run(&self.inputs);
        if let Some(shape) = self.shape_of(node, &scope)
            && let Some(kind @ (Kind::List | Kind::Map)) = shape.kind()
        {
            let message = format!("`{key}` must be a text or a number, this is {}", kind.name());
            self.problems.report(
                Problem::error(codes::EXPRESSION_TYPE, node.span, message)
                    .help("name one of its fields, or put a text together with `~`"),
            );
            return None;
        }
        if node.as_scalar().is_none() || node.is_null() {
            self.wrong_shape(node, &format!("`{key}`"), "a text", "for example `site-${{ inputs.site }}`");
            return None;
        }
        self.template(node, &scope)
    }
}
