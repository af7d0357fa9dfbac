//! `steps:`: calls and blocks, and what surrounds them. Calls of other workflows are checked in `neighbours`.

use super::Checker;
use super::calls::Caller;
use super::fields::Fields;
use super::scope::{Declared, Scope, Shape, Variable, block_output, loop_shape, step_shape};
use crate::document::Node;
use crate::plan::{Action, Call, ForEach, SkipIf, Step};
use crate::problem::{Problem, codes};
use crate::vocabulary::{MAX_PARALLEL, SKIP_IF, STEP};

/// Keys that belong to a call and have no meaning on a block.
const OF_CALLS: [&str; 9] = ["with", "retry", "timeout", "repeat", "catch", "verify", "poll", "once", "undo"];

/// Where a list of steps stands.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// In front of the ids of steps that have none: `finally.`, `register.`
    prefix: String,
    /// Inside a block with `all-or-nothing: true`.
    undoable: bool,
}

impl Surroundings {
    pub(super) fn top(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), undoable: false }
    }
}

impl<'a> Checker<'a> {
    /// Takes down every `id:` and loop variable before anything is checked.
    pub(super) fn declare_steps(&mut self, node: &Node, inside: Option<&str>) {
        for step in node.as_list().unwrap_or_default() {
            let id = step.entry("id").and_then(|entry| entry.value.as_str().map(|id| (id, entry.value.span)));
            if let Some((id, span)) = id {
                if let Some(earlier) = self.declared.get(id) {
                    let message = format!("two steps have the id `{id}`");
                    let help = format!(
                        "the other one stands on line {}; ids are unique in the whole file",
                        earlier.line
                    );
                    self.problems.report(Problem::error(codes::DUPLICATE_ID, span, message).help(help));
                } else {
                    let declared = Declared { line: span.line, inside: inside.map(str::to_owned) };
                    self.declared.insert(id.to_owned(), declared);
                }
            }
            let looped = step.entry("for-each");
            if let Some(entry) = looped {
                let variable = step.get("as").and_then(Node::as_str).unwrap_or("item");
                self.variables.entry(variable.to_owned()).or_insert(Variable { line: entry.key.span.line });
            }
            if let Some(steps) = step.get("steps") {
                let block = id.map_or("the block around it", |(id, _)| id);
                self.declare_steps(steps, if looped.is_some() { Some(block) } else { inside });
            }
        }
    }

    /// A list of steps; each sees those before it.
    pub(super) fn step_list(
        &mut self,
        node: &Node,
        key: &str,
        scope: &mut Scope<'a>,
        surroundings: &Surroundings,
    ) -> Vec<Step> {
        let Some(nodes) = node.as_list() else {
            let help = "put a `-` before each step: `- uses: isapi/faces.modify`";
            if node.is_null() {
                self.no_steps(node, key);
            } else {
                self.wrong_shape(node, &format!("`{key}`"), "a list of steps", help);
            }
            return Vec::new();
        };
        if nodes.is_empty() {
            self.no_steps(node, key);
        }
        let mut steps = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let default_id = format!("{}step-{}", surroundings.prefix, index + 1);
            if let Some(step) = self.step(node, &default_id, scope, surroundings) {
                steps.push(step);
            }
        }
        steps
    }

    fn no_steps(&mut self, node: &Node, key: &str) {
        let problem = Problem::error(codes::NO_STEPS, node.span, format!("`{key}` has no steps"));
        self.problems.report(problem.help("add at least one: `- uses: isapi/faces.modify`"));
    }

    fn step(
        &mut self,
        node: &Node,
        default_id: &str,
        scope: &mut Scope<'a>,
        surroundings: &Surroundings,
    ) -> Option<Step> {
        if let Some(text) = node.as_str() {
            let help = format!("write `- uses: {text}`");
            self.wrong_shape(node, "a step", "a map", &help);
            return None;
        }
        let fields = self.map(node, &STEP)?;
        let id = self.step_id(&fields).unwrap_or_else(|| default_id.to_owned());
        let name = fields.get("name").and_then(|node| self.text_of(node, "name"));
        let condition = fields.get("if").and_then(|node| self.condition(node, "if", scope));
        let (for_each, inner) = self.for_each(&fields, scope);
        let skip_if = fields.get("skip-if").and_then(|node| self.skip_if(node, &inner));
        let keep_going =
            fields.get("keep-going").and_then(|node| self.boolean(node, "keep-going")).unwrap_or(false);
        let mut step = Step {
            id: id.clone(),
            name,
            line: node.span.line,
            action: Action::Block { steps: Vec::new(), all_or_nothing: false },
            condition,
            skip_if,
            for_each,
            retry: None,
            timeout: None,
            never_repeat: false,
            catch: Vec::new(),
            verify: None,
            poll: None,
            once: None,
            undo: None,
            keep_going,
        };
        let looped = fields.get("for-each").is_some();
        let output = if fields.get("steps").is_some() && fields.get("uses").is_none() {
            self.block(&fields, &mut step, &inner, scope, surroundings)
        } else {
            self.calling(&fields, &mut step, &inner, surroundings)
        };
        if self.declared.contains_key(&id) {
            scope.add_step(&id, if looped { loop_shape(&output) } else { step_shape(output) });
        }
        Some(step)
    }

    fn step_id(&mut self, fields: &Fields<'_>) -> Option<String> {
        let node = fields.get("id")?;
        let id = self.text_of(node, "id")?;
        self.name(&id, node.span, "an id");
        Some(id)
    }

    /// `for-each` with `as`, `key` and `parallel`, and the scope of one item.
    fn for_each(&mut self, fields: &Fields<'_>, scope: &Scope<'a>) -> (Option<ForEach>, Scope<'a>) {
        let Some(node) = fields.get("for-each") else {
            self.keys_exclude(
                fields,
                &["as", "key", "parallel", "pause"],
                "without `for-each`",
                "add `for-each:` with a list, or remove it",
            );
            return (None, scope.clone());
        };
        let items = self.items(node, scope);
        let mut variable = "item".to_owned();
        if let Some(node) = fields.get("as")
            && let Some(name) = self.text_of(node, "as")
        {
            self.name(&name, node.span, "a loop variable");
            variable = name;
        }
        let item = items.as_ref().map_or(Shape::Unknown, |(_, item)| item.clone());
        let inner = scope.with(&variable, item).with(&format!("{variable}_index"), Shape::Integer);
        let key = fields.get("key").and_then(|node| self.template(node, &inner));
        if let (None, Some(entry)) = (fields.get("key"), fields.entry("for-each")) {
            self.problems.report(
                Problem::warning(
                    codes::WITHOUT_KEY,
                    entry.key.span,
                    "`for-each` without `key`: the items are known by their place in the list",
                )
                .help(format!(
                    "add `key:` with what identifies an item, for example `key: ${{{{ {variable}.id }}}}`"
                )),
            );
        }
        let parallel = fields
            .get("parallel")
            .and_then(|node| self.integer(node, "parallel", 1..=MAX_PARALLEL))
            .unwrap_or(1);
        let pause = fields.get("pause").and_then(|node| self.duration(node, "pause")).unwrap_or_default();
        let for_each = items.map(|(items, _)| ForEach { items, variable, key, parallel, pause });
        (for_each, inner)
    }

    fn skip_if(&mut self, node: &Node, scope: &Scope<'a>) -> Option<SkipIf> {
        if node.as_map().is_none() {
            return self.condition(node, "skip-if", scope).map(|when| SkipIf { when, reason: None });
        }
        let fields = self.map(node, &SKIP_IF)?;
        let reason = fields.get("reason").and_then(|node| self.template(node, scope));
        let when = self.required(&fields, "when", "a condition")?;
        let when = self.condition(when, "skip-if.when", scope)?;
        Some(SkipIf { when, reason })
    }

    /// A block of steps; gives what is known of its output.
    fn block(
        &mut self,
        fields: &Fields<'_>,
        step: &mut Step,
        inner: &Scope<'a>,
        scope: &mut Scope<'a>,
        surroundings: &Surroundings,
    ) -> Shape<'a> {
        self.keys_exclude(
            fields,
            &OF_CALLS,
            "on a block of steps",
            "it belongs to a step that calls a function: put it on the steps inside",
        );
        let all_or_nothing = fields
            .get("all-or-nothing")
            .and_then(|node| self.boolean(node, "all-or-nothing"))
            .unwrap_or(false);
        let surroundings = Surroundings {
            prefix: format!("{}.", step.id),
            undoable: surroundings.undoable || all_or_nothing,
        };
        let mark = scope.mark();
        let mut within = inner.clone();
        let steps = match fields.get("steps") {
            Some(node) => self.step_list(node, "steps", &mut within, &surroundings),
            None => Vec::new(),
        };
        let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        let output = block_output(&ids, &within);
        scope.take_steps(&within);
        if step.for_each.is_some() || fields.get("for-each").is_some() {
            scope.forget(mark);
        }
        step.action = Action::Block { steps, all_or_nothing };
        output
    }

    /// A step that calls a function; gives what is known of its output.
    fn calling(
        &mut self,
        fields: &Fields<'_>,
        step: &mut Step,
        scope: &Scope<'a>,
        surroundings: &Surroundings,
    ) -> Shape<'a> {
        if fields.get("uses").is_some() {
            self.keys_exclude(
                fields,
                &["steps"],
                "beside `uses`",
                "a step either calls a function or is a block of steps",
            );
            self.keys_exclude(
                fields,
                &["all-or-nothing"],
                "on a step that calls a function",
                "it belongs to a block: `- all-or-nothing: true` with `steps:` below it",
            );
        }
        if let Some(called) = super::neighbours::called(fields) {
            return self.calling_workflow(fields, called, step, scope);
        }
        let checked = self.call(fields, Caller::Step, scope);
        let call = checked.call.unwrap_or_else(|| Call {
            plugin: String::new(),
            function: String::new(),
            with: Self::constant(serde_json::Value::Null),
        });
        step.action = Action::Call(call);
        step.timeout = self.timeout_of(fields.get("timeout"));
        step.retry = self.retry_of(fields.get("retry"));
        step.never_repeat = fields.get("repeat").is_some_and(|node| self.never_repeat(node));
        step.once = fields.get("once").and_then(|node| self.template(node, scope));
        step.poll = fields.get("poll").and_then(|node| self.poll(node, &checked.result, scope));
        let (catch, caught) = self.catch_of(fields.get("catch"), &checked.result, step, scope);
        step.catch = catch;
        step.verify = fields.get("verify").and_then(|node| self.verify(node, &caught, scope));
        step.undo = fields.get("undo").and_then(|node| self.undo(node, &caught, scope));
        self.advise(fields, step, surroundings);
        caught
    }

    /// What is allowed but hardly meant.
    fn advise(&mut self, fields: &Fields<'_>, step: &Step, surroundings: &Surroundings) {
        // A workflow that others call may run inside a block of theirs.
        let called = self.surroundings.library.is_called(&self.id);
        if let Some(entry) = fields.entry("undo").filter(|_| !surroundings.undoable && !called) {
            self.problems.report(
                Problem::warning(
                    codes::UNDO_OUTSIDE,
                    entry.key.span,
                    "`undo` outside an all-or-nothing block never runs",
                )
                .help("put the step into a block: `- all-or-nothing: true` with `steps:` below it"),
            );
        }
        if surroundings.undoable
            && fields.entry("undo").is_none()
            && let Some(entry) = fields.entry("uses")
        {
            let message = format!("step `{}` of an all-or-nothing block has no `undo`", step.id);
            self.problems.report(
                Problem::warning(codes::WITHOUT_UNDO, entry.value.span, message)
                    .help("add `undo:` with the call that takes it back, or move a step that only reads out of the block"),
            );
        }
        if step.never_repeat
            && step.retry.is_some()
            && let Some(entry) = fields.entry("retry")
        {
            self.problems.report(
                Problem::warning(
                    codes::NEVER_REPEATED,
                    entry.key.span,
                    "`retry` together with `repeat: never`",
                )
                .help("only failures that certainly changed nothing are retried then; remove one of the two"),
            );
        }
    }
}
