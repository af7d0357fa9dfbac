//! Other workflows of the project: `uses: workflow/NAME` and `on-failure`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::scope::{Scope, Shape, error_shape};
use super::{Checker, steps};
use crate::document::{Entry, Node, Span};
use crate::expression::{Template, suggest};
use crate::library::{MAX_DEPTH, PREFIX};
use crate::plan::{Action, OnFailure, Step, Workflow, WorkflowCall};
use crate::problem::{Problem, codes};

/// A workflow that was checked because another one names it.
#[derive(Clone)]
pub(super) enum Neighbour {
    Fine(Arc<Workflow>),
    /// It has so many errors of its own.
    Broken(usize),
}

/// What surrounds a plugin's call and has no place on a call of a workflow.
const OF_PLUGIN_CALLS: [&str; 5] = ["retry", "repeat", "verify", "poll", "once"];

/// The id in `uses: workflow/NAME`.
pub(super) fn called<'f>(fields: &Fields<'f>) -> Option<(&'f Node, &'f str)> {
    let uses = fields.get("uses")?;
    Some((uses, uses.as_str()?.strip_prefix(PREFIX)?))
}

impl<'a> Checker<'a> {
    /// A step that calls a workflow. Its output is any value.
    pub(super) fn calling_workflow(
        &mut self,
        fields: &Fields<'_>,
        (uses, name): (&Node, &str),
        step: &mut Step,
        scope: &Scope<'a>,
    ) -> Shape<'a> {
        self.keys_exclude(
            fields,
            &OF_PLUGIN_CALLS,
            "on a step that calls a workflow",
            "it belongs to a call of a plugin: put it on the steps of that workflow",
        );
        let with = fields.get("with").filter(|node| !node.is_null());
        let span = uses.locate(self.text, PREFIX.len(), PREFIX.len() + name.len());
        let with = match self.neighbour(name, span) {
            Some(workflow) => self.inputs_for(with, uses.span, &workflow, scope),
            None => with.and_then(|with| self.template(with, scope)),
        };
        let with = with.unwrap_or_else(|| Self::constant(Value::Object(Map::new())));
        step.action = Action::Workflow(WorkflowCall { workflow: name.to_owned(), with });
        step.timeout = fields.get("timeout").and_then(|node| self.duration(node, "timeout"));
        if let Some(node) = fields.get("catch") {
            step.catch = self.catch(node, &Shape::Unknown, Some(step), scope).0;
        }
        step.undo = fields.get("undo").and_then(|node| self.undo(node, &Shape::Unknown, scope));
        Shape::Unknown
    }

    /// `with:` against the other workflow's `inputs:`.
    fn inputs_for(
        &mut self,
        with: Option<&Node>,
        uses: Span,
        workflow: &Workflow,
        scope: &Scope<'a>,
    ) -> Option<Template> {
        let entries: &[Entry] = match with {
            None => &[],
            Some(node) if node.as_str().is_some_and(|text| text.contains("${{")) => {
                let help = "write `with:` as a map and the expressions as its values";
                self.wrong_shape(node, "`with`", "a map", help);
                return None;
            }
            Some(node) => self.entries(node, "`with`")?,
        };
        for Entry { key, value } in entries {
            let Some(input) = workflow.inputs.iter().find(|input| input.name == key.text) else {
                let message = format!("workflow `{}` has no input `{}`", workflow.id, key.text);
                let names = workflow.inputs.iter().map(|input| input.name.as_str());
                let help = Self::candidates(&key.text, names).unwrap_or_else(|| "it has none".to_owned());
                self.problems.report(Problem::error(codes::UNKNOWN_PARAMETER, key.span, message).help(help));
                continue;
            };
            let json = value.to_json();
            if json.is_null() || json.to_string().contains("${{") {
                continue;
            }
            if let Err((message, help)) = input.convert(&json) {
                let message = format!("input `{}` of workflow `{}`: {message}", input.name, workflow.id);
                let help = help.unwrap_or_else(|| "write a value that the input takes".to_owned());
                self.problems.report(Problem::error(codes::WRONG_TYPE, value.span, message).help(help));
            }
        }
        for input in &workflow.inputs {
            let given = entries.iter().any(|entry| {
                entry.key.text == input.name
                    || suggest::nearest(&entry.key.text, [input.name.as_str()]).is_some()
            });
            if input.required && input.default.is_none() && !given {
                let message = format!("workflow `{}` needs the input `{}`", workflow.id, input.name);
                let help = format!("add `{}: ..` under `with:`", input.name);
                self.problems.report(Problem::error(codes::MISSING_PARAMETER, uses, message).help(help));
            }
        }
        match with {
            Some(node) => self.template(node, scope),
            None => Some(Self::constant(Value::Object(Map::new()))),
        }
    }

    /// `on-failure:` the name of a workflow, or steps, which see what the others made of it and `error`.
    pub(super) fn on_failure(&mut self, node: &Node, scope: &Scope<'a>) -> Option<OnFailure> {
        let Some(name) = node.as_str() else {
            if node.as_list().is_none() {
                let help = "write the name of a workflow, or a list of steps with a `-` before each";
                self.wrong_shape(node, "`on-failure`", "a workflow's name or a list of steps", help);
                return None;
            }
            let mut scope = scope.with("error", error_shape());
            let top = steps::Surroundings::top("on-failure.");
            return Some(OnFailure::Steps(self.step_list(node, "on-failure", &mut scope, &top)));
        };
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let workflow = self.neighbour(name, node.span)?;
        let missing: Vec<&str> = workflow
            .inputs
            .iter()
            .filter(|input| input.required && input.default.is_none())
            .map(|input| input.name.as_str())
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "workflow `{name}` needs the input {}, and an alert brings none",
                suggest::listing(&missing)
            );
            self.problems.report(
                Problem::error(codes::TRIGGER_INPUTS, node.span, message).help(
                    "give the input a default; what failed stands in `trigger.run` and `trigger.error`",
                ),
            );
        }
        Some(OnFailure::Workflow(workflow))
    }

    /// The workflow of that id, checked; what prevents its use is reported at `span`.
    fn neighbour(&mut self, id: &str, span: Span) -> Option<Arc<Workflow>> {
        let library = self.surroundings.library;
        if library.get(id).is_none() && id != self.id {
            let message = format!("there is no workflow `{id}`");
            let help = Self::candidates(id, library.ids())
                .unwrap_or_else(|| "a workflow is known by its file's name without .yaml".to_owned());
            self.problems.report(Problem::error(codes::UNKNOWN_WORKFLOW, span, message).help(help));
            return None;
        }
        if let Some(way) = library.way(id, &self.id).or_else(|| (id == self.id).then(|| vec![id.to_owned()]))
        {
            let way: Vec<String> = std::iter::once(self.id.clone()).chain(way).collect();
            let message = format!("workflow `{}` would start itself: {}", self.id, way.join(" -> "));
            self.problems.report(Problem::error(codes::RECURSION, span, message).help(
                "a workflow cannot call itself, not even through others; for repetition use `for-each` or `poll`",
            ));
            return None;
        }
        let chain = library.longest(id);
        if chain.len() >= MAX_DEPTH {
            let way: Vec<&str> = std::iter::once(self.id.as_str()).chain(chain).collect();
            let message = format!("workflows call each other {} deep: {}", way.len(), way.join(" -> "));
            let help = format!("at most {MAX_DEPTH} may stand inside each other: join some of them");
            self.problems.report(Problem::error(codes::TOO_DEEP, span, message).help(help));
            return None;
        }
        match self.checked_neighbour(id)? {
            Neighbour::Fine(workflow) => {
                self.children.insert(id.to_owned(), Arc::clone(&workflow));
                Some(workflow)
            }
            Neighbour::Broken(errors) => {
                let noun = if errors == 1 { "error" } else { "errors" };
                let message = format!("workflow `{id}` has {errors} {noun} of its own");
                let help = format!("`bascule check` shows them; mend `{id}` first");
                self.problems.report(Problem::error(codes::BROKEN_WORKFLOW, span, message).help(help));
                None
            }
        }
    }

    fn checked_neighbour(&mut self, id: &str) -> Option<Neighbour> {
        if let Some(known) = self.neighbours.borrow().get(id) {
            return Some(known.clone());
        }
        let found = self.surroundings.library.get(id)?;
        let (workflow, problems) =
            super::check_inner(&found.file, &found.text, self.surroundings, self.neighbours);
        let neighbour = match workflow {
            Some(workflow) => Neighbour::Fine(Arc::new(workflow)),
            None => Neighbour::Broken(problems.errors()),
        };
        self.neighbours.borrow_mut().insert(id.to_owned(), neighbour.clone());
        Some(neighbour)
    }
}
