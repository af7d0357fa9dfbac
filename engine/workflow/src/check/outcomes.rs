//! What may happen to a call: `retry`, `catch`, `verify`, `poll`, `undo`, `repeat`.

use std::time::Duration;

use super::Checker;
use super::calls::Caller;
use super::scope::{Scope, Shape, error_shape};
use crate::document::Node;
use crate::expression::suggest;
use crate::failure::Kind;
use crate::plan::{Action, Call, Catch, Poll, Retry, Selector, Step, Verify};
use crate::problem::{Problem, codes};
use crate::vocabulary::{BACKOFF, CATCH, POLL, RETRY, UNDO, VERIFY};

impl<'a> Checker<'a> {
    pub(super) fn retry(&mut self, node: &Node) -> Option<Retry> {
        if node.as_scalar().is_some_and(|scalar| scalar.value.is_u64()) {
            let help = format!(
                "write `retry: {{ attempts: {} }}`; the first attempt counts",
                node.as_scalar().map_or("3", |scalar| &scalar.text)
            );
            self.wrong_shape(node, "`retry`", "a map", &help);
            return None;
        }
        let fields = self.map(node, &RETRY)?;
        let attempts = self
            .required(&fields, "attempts", "how often in all, the first attempt included")
            .and_then(|node| self.integer(node, "attempts", 1..=100));
        let on = match fields.get("on") {
            Some(node) => self.selectors(node, true),
            None => [Kind::Offline, Kind::Busy, Kind::Timeout].map(Selector::Kind).to_vec(),
        };
        let (mut from, mut to) = (Duration::from_secs(1), None);
        if let Some(node) = fields.get("backoff")
            && let Some(backoff) = self.map(node, &BACKOFF)
        {
            from = backoff.get("from").and_then(|node| self.duration(node, "from")).unwrap_or(from);
            to = backoff.get("to").and_then(|node| self.duration(node, "to"));
            if let (Some(longest), Some(node)) = (to, backoff.get("to"))
                && longest < from
            {
                self.problems.report(
                    Problem::error(codes::BAD_VALUE, node.span, "`to` is shorter than `from`")
                        .help("`from` is the wait before the second attempt; it doubles up to `to`"),
                );
            }
        }
        let to = to.unwrap_or(Duration::from_secs(60)).max(from);
        Some(Retry { attempts: attempts?, on, from, to })
    }

    /// Kinds, codes with a colon, or `any`.
    fn selectors(&mut self, node: &Node, retried: bool) -> Vec<Selector> {
        let mut selectors = Vec::new();
        if node.as_list().is_some_and(<[Node]>::is_empty) {
            let problem = Problem::error(codes::BAD_VALUE, node.span, "`on` names no failure");
            self.problems.report(problem.help("name kinds such as `offline`, or write `any`"));
        }
        for node in Self::one_or_more(node) {
            let Some(text) = self.text_of(node, "on") else {
                continue;
            };
            let selector = match Kind::from_name(&text) {
                Some(kind) if retried && kind.needs_naming() => {
                    let message = format!("`{kind}` must not be retried");
                    let help = match kind {
                        Kind::Cancelled => "somebody wanted it to end; remove it",
                        _ => {
                            "each try with a refused password brings the account nearer to being locked; remove it, or handle it in `catch`"
                        }
                    };
                    self.problems
                        .report(Problem::error(codes::RETRY_FORBIDDEN, node.span, message).help(help));
                    continue;
                }
                Some(kind) => Selector::Kind(kind),
                None if text == "any" => Selector::Any,
                None if text
                    .split_once(':')
                    .is_some_and(|(system, code)| !system.is_empty() && !code.trim().is_empty()) =>
                {
                    Selector::Code(text)
                }
                None => {
                    self.unknown_failure(node, &text);
                    continue;
                }
            };
            selectors.push(selector);
        }
        selectors
    }

    fn unknown_failure(&mut self, node: &Node, text: &str) {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).chain(["any"]).collect();
        let help = match (text, suggest::nearest(text, names.iter().copied())) {
            (_, Some(near)) => format!("did you mean `{near}`?"),
            ("*" | "all" | "error" | "failure", None) => "write `any`".to_owned(),
            ("connection-refused" | "unreachable" | "network" | "connection", None) => {
                "write `offline`".to_owned()
            }
            ("forbidden" | "denied", None) => "write `refused`".to_owned(),
            ("exists" | "duplicate" | "already-exists", None) => "write `conflict`".to_owned(),
            _ => format!(
                "kinds are {}; a system's own codes have a colon, such as `isapi:deviceUserAlreadyExist`",
                kinds()
            ),
        };
        let message = format!("`{text}` is not a kind of failure");
        self.problems.report(Problem::error(codes::UNKNOWN_FAILURE, node.span, message).help(help));
    }

    /// `catch:`, and what is known of the step's output with it.
    pub(super) fn catch(
        &mut self,
        node: &Node,
        result: &Shape<'a>,
        step: Option<&Step>,
        scope: &Scope<'a>,
    ) -> (Vec<Catch>, Shape<'a>) {
        let Some(nodes) = node.as_list() else {
            self.wrong_shape(node, "`catch`", "a list", "put a `-` before each entry: `- on: [not-found]`");
            return (Vec::new(), Shape::Unknown);
        };
        let scope = scope.with("error", error_shape());
        let mut entries = Vec::new();
        let mut shape = result.clone();
        for node in nodes {
            let Some(fields) = self.map(node, &CATCH) else {
                continue;
            };
            let on =
                match self.required(&fields, "on", "a list of kinds such as [not-found, conflict], or `any`")
                {
                    Some(node) => self.selectors(node, false),
                    None => Vec::new(),
                };
            let mut call = None;
            let mut output = None;
            if fields.get("uses").is_some() {
                self.keys_exclude(
                    &fields,
                    &["output"],
                    "beside `uses`",
                    "the call's result becomes the step's output",
                );
                call = self.call(&fields, Caller::Step, &scope).call;
            } else {
                match fields.get("output") {
                    Some(node) => output = self.template(node, &scope),
                    None => self.missing(
                        &fields,
                        "uses",
                        "what to call instead, or `output:` with the value to go on with",
                    ),
                }
                self.keys_exclude(&fields, &["with"], "without `uses`", "add `uses:`, or remove it");
            }
            let same = matches!((&call, step.map(|step| &step.action)), (Some(call), Some(Action::Call(own))) if call.plugin == own.plugin && call.function == own.function);
            if !same {
                shape = Shape::Unknown;
            }
            entries.push(Catch { on, call, output });
        }
        (entries, shape)
    }

    pub(super) fn verify(&mut self, node: &Node, output: &Shape<'a>, scope: &Scope<'a>) -> Option<Verify> {
        let fields = self.map(node, &VERIFY)?;
        let checked = self.call(&fields, Caller::Step, scope);
        let scope = scope.with("result", checked.result).with("output", output.clone());
        let assert = self
            .required(&fields, "assert", "a condition over `result`, for example `result.found`")
            .and_then(|node| self.condition(node, "assert", &scope));
        let within = fields
            .get("within")
            .and_then(|node| self.duration(node, "within"))
            .unwrap_or(Duration::from_secs(10));
        let every = fields
            .get("every")
            .and_then(|node| self.duration(node, "every"))
            .unwrap_or(Duration::from_secs(1));
        Some(Verify { call: checked.call?, assert: assert?, within, every })
    }

    pub(super) fn poll(&mut self, node: &Node, result: &Shape<'a>, scope: &Scope<'a>) -> Option<Poll> {
        let fields = self.map(node, &POLL)?;
        let scope = scope.with("result", result.clone());
        let until = self
            .required(&fields, "until", "a condition over `result`")
            .and_then(|node| self.condition(node, "until", &scope));
        let every = fields
            .get("every")
            .and_then(|node| self.duration(node, "every"))
            .unwrap_or(Duration::from_secs(5));
        let within = self
            .required(&fields, "within", "how long in all, for example 5m")
            .and_then(|node| self.duration(node, "within"));
        Some(Poll { until: until?, every, within: within? })
    }

    pub(super) fn undo(&mut self, node: &Node, output: &Shape<'a>, scope: &Scope<'a>) -> Option<Call> {
        let fields = self.map(node, &UNDO)?;
        let scope = scope.with("output", output.clone());
        self.call(&fields, Caller::Step, &scope).call
    }

    pub(super) fn never_repeat(&mut self, node: &Node) -> bool {
        let never = node.as_scalar().is_some_and(|scalar| scalar.text == "never");
        if !never {
            let message = format!("`repeat` can only be `never`, this is {}", node.describe());
            self.problems.report(
                Problem::error(codes::BAD_VALUE, node.span, message)
                    .help("`repeat: never` is for calls that must not happen twice; to try again after failures use `retry`"),
            );
        }
        never
    }
}

fn kinds() -> String {
    Kind::ALL.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")
}
