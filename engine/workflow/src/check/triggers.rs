//! `triggers:`: schedules, events, files and other workflows; webhooks stand in `webhooks`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Checker;
use super::calls::Caller;
use super::fields::Fields;
use super::scope::{Scope, Shape, Variable};
use crate::document::{Entry, Node};
use crate::expression::{Template, suggest};
use crate::problem::{Problem, codes};
use crate::signature::Capability;
use crate::trigger::{
    AfterWorkflow, Collect, END_STATUSES, Event, EventForEach, File, Overdue, Source, Trigger,
};
use crate::vocabulary::{CATCH_UP, COLLECT, Form, KeyDoc, MAX_COLLECTED, SHARED, TRIGGERS};

/// The shortest time that a workflow is watched for.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

impl<'a> Checker<'a> {
    pub(super) fn trigger_list(&mut self, node: &Node) -> Vec<Trigger> {
        let Some(nodes) = node.as_list() else {
            let help = "put a `-` before each trigger: `- schedule: { cron: \"0 3 * * *\" }`";
            self.wrong_shape(node, "`triggers`", "a list", help);
            return Vec::new();
        };
        let mut triggers: Vec<Trigger> = Vec::new();
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for node in nodes {
            let Some((kind, entry)) = self.trigger_kind(node) else {
                continue;
            };
            let count = counts.entry(kind.key).or_default();
            *count += 1;
            let default_id = format!("{}-{count}", kind.key);
            let Some(trigger) = self.trigger(kind, entry, default_id) else {
                continue;
            };
            if triggers.iter().any(|other| other.id == trigger.id) {
                let message = format!("two triggers have the id `{}`", trigger.id);
                let span = entry.value.get("id").map_or(entry.key.span, |node| node.span);
                self.problems.report(
                    Problem::error(codes::DUPLICATE_ID, span, message).help("give each its own `id:`"),
                );
            }
            self.same_path(&triggers, &trigger, entry);
            triggers.push(trigger);
        }
        triggers
    }

    fn trigger_kind<'n>(&mut self, node: &'n Node) -> Option<(&'static KeyDoc, &'n Entry)> {
        let kinds = || TRIGGERS.iter().map(|doc| doc.key);
        let Some(entries) = node.as_map() else {
            let help = match node.as_str() {
                Some(text) => format!("write `- {text}: {{ .. }}`"),
                None => "for example `- schedule: { cron: \"0 3 * * *\" }`".to_owned(),
            };
            self.wrong_shape(node, "a trigger", "a map", &help);
            return None;
        };
        let mut found = None;
        for entry in entries {
            let key = entry.key.text.as_str();
            match TRIGGERS.iter().find(|doc| doc.key == key) {
                Some(kind) if found.is_none() => found = Some((kind, entry)),
                Some(_) => {
                    let problem = Problem::error(
                        codes::UNKNOWN_TRIGGER,
                        entry.key.span,
                        format!("`{key}` is a trigger of its own"),
                    );
                    self.problems.report(problem.help("begin it with a `-` on a line of its own"));
                }
                None => {
                    let help = match suggest::nearest(key, kinds()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if key == "cron" => "write `- schedule: { cron: .. }`".to_owned(),
                        None if SHARED.contains(&key) || found.is_some() => {
                            let kind = found.map_or("schedule", |(kind, _): (&KeyDoc, _)| kind.key);
                            format!(
                                "`{key}` stands inside: `- {kind}: {{ {key}: .. }}`, indented below `{kind}:`"
                            )
                        }
                        None => format!("triggers are {}", suggest::listing(&kinds().collect::<Vec<_>>())),
                    };
                    let message = format!("`{key}` is not a trigger");
                    self.problems
                        .report(Problem::error(codes::UNKNOWN_TRIGGER, entry.key.span, message).help(help));
                }
            }
        }
        found
    }

    fn trigger(&mut self, doc: &'static KeyDoc, entry: &Entry, default_id: String) -> Option<Trigger> {
        let Form::Map(map) = doc.form else {
            return None;
        };
        let (kind, node) = (doc.key, &entry.value);
        if kind == "schedule"
            && let Some(text) = node.as_str()
        {
            self.wrong_shape(node, map.what, "a map", &format!("write `schedule: {{ cron: \"{text}\" }}`"));
            return None;
        }
        let fields = self.map(node, map)?;
        let scope = Scope::of_trigger();
        let id = fields.get("id").and_then(|node| self.text_of(node, "id")).unwrap_or(default_id);
        let condition = fields.get("if").and_then(|node| self.condition(node, "if", &scope));
        let inputs = self.trigger_inputs(&fields, kind, entry, &scope);
        let source = match kind {
            "schedule" => Source::Schedule(self.schedule(&fields)?),
            "webhook" => Source::Webhook(self.webhook(&fields, &scope)?),
            "event" => Source::Event(Box::new(self.event(&fields, &scope)?)),
            "workflow" => Source::Workflow(self.after_workflow(&fields)?),
            "overdue" => Source::Overdue(self.overdue(&fields)?),
            _ => Source::File(self.file(&fields)?),
        };
        Some(Trigger { id, line: entry.key.span.line, source, condition, inputs })
    }

    /// `inputs:` of a trigger against those of the workflow.
    fn trigger_inputs(
        &mut self,
        fields: &Fields<'_>,
        kind: &str,
        entry: &Entry,
        scope: &Scope<'a>,
    ) -> Option<Template> {
        let node = fields.get("inputs");
        let template = node.and_then(|node| self.template(node, scope));
        let mut given: Vec<&str> = Vec::new();
        if let Some(node) = node {
            if node.as_str().is_some_and(|text| text.contains("${{")) {
                return template;
            }
            for entry in self.entries(node, "`inputs`").unwrap_or_default() {
                given.push(&entry.key.text);
                self.trigger_input(entry);
            }
        } else if kind == "webhook" {
            return None;
        }
        let missing: Vec<String> = self
            .inputs
            .iter()
            .filter(|input| {
                input.required && input.default.is_none() && !given.contains(&input.name.as_str())
            })
            .map(|input| input.name.clone())
            .collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(String::as_str).collect();
            let message =
                format!("this trigger gives no value for the required input {}", suggest::listing(&names));
            let help = match kind {
                "schedule" => format!(
                    "add `inputs: {{ {}: .. }}` to the trigger, or a default to the input",
                    names.join(": .., ")
                ),
                _ => format!(
                    "add `inputs: {{ {}: \"${{{{ trigger.. }}}}\" }}` to the trigger, or a default to the input",
                    names.join(": .., ")
                ),
            };
            self.problems.report(Problem::error(codes::TRIGGER_INPUTS, entry.key.span, message).help(help));
        }
        template
    }

    fn trigger_input(&mut self, entry: &Entry) {
        let name = entry.key.text.as_str();
        let Some(input) = self.inputs.iter().find(|input| input.name == name) else {
            let names = self.inputs.iter().map(|input| input.name.as_str());
            let help =
                Self::candidates(name, names).unwrap_or_else(|| "the workflow declares no inputs".to_owned());
            let message = format!("no input is called `{name}`");
            self.problems.report(Problem::error(codes::UNKNOWN_INPUT, entry.key.span, message).help(help));
            return;
        };
        let value = entry.value.to_json();
        if value.to_string().contains("${{") || value.is_null() {
            return;
        }
        if let Err((message, help)) = input.convert(&value) {
            let message = format!("input `{name}`: {message}");
            let help = help.unwrap_or_else(|| "write a value that the input takes".to_owned());
            self.problems.report(Problem::error(codes::TRIGGER_INPUTS, entry.value.span, message).help(help));
        }
    }

    fn event(&mut self, fields: &Fields<'_>, trigger: &Scope<'a>) -> Option<Event> {
        let mut outer = Scope::of_nothing();
        let mut for_each = None;
        if let Some(entry) = fields.entry("for-each") {
            let items = self.items(&entry.value, &outer);
            let variable = fields
                .get("as")
                .and_then(|node| self.text_of(node, "as"))
                .unwrap_or_else(|| "item".to_owned());
            self.variables.entry(variable.clone()).or_insert(Variable { line: entry.key.span.line });
            let item = items.as_ref().map_or(Shape::Unknown, |(_, item)| item.clone());
            outer = outer.with(&variable, item).with(&format!("{variable}_index"), Shape::Integer);
            let key = fields.get("key").and_then(|node| self.template(node, &outer));
            for_each = items.map(|(items, _)| EventForEach { items, variable, key });
        } else {
            self.keys_exclude(
                fields,
                &["as", "key"],
                "without `for-each`",
                "add `for-each:` with a list, or remove it",
            );
        }
        let checked = self.call(fields, Caller::EventTrigger, &outer);
        let dedupe = fields.get("dedupe").and_then(|node| self.template(node, trigger));
        let silence = fields.get("silence").and_then(|node| self.duration(node, "silence"));
        let collect = fields.get("collect").and_then(|node| self.collect(node));
        let catch_up = fields.get("catch-up").and_then(|node| {
            let fields = self.map(node, &CATCH_UP)?;
            let scope = outer.with("trigger", Shape::Unknown);
            self.call(&fields, Caller::Step, &scope).call
        });
        Some(Event {
            call: checked.call?,
            for_each,
            dedupe,
            collect,
            silence: silence.unwrap_or(Duration::from_secs(120)),
            catch_up,
        })
    }

    fn collect(&mut self, node: &Node) -> Option<Collect> {
        let fields = self.map(node, &COLLECT)?;
        let up_to = self
            .required(&fields, "up-to", "the most events in one run")
            .and_then(|node| self.integer(node, "up-to", 1..=MAX_COLLECTED));
        let within = self
            .required(&fields, "within", "how long the first event waits for more, for example 2s")
            .and_then(|node| self.duration(node, "within"));
        Some(Collect { up_to: up_to?, within: within? })
    }

    fn after_workflow(&mut self, fields: &Fields<'_>) -> Option<AfterWorkflow> {
        let names =
            self.required(fields, "name", "the id of the other workflow, its file's name without .yaml")?;
        let names =
            Self::one_or_more(names).into_iter().filter_map(|node| self.workflow_named(node)).collect();
        let statuses = match fields.get("status") {
            Some(node) => Self::one_or_more(node)
                .into_iter()
                .filter_map(|node| self.word(node, "status", &END_STATUSES))
                .collect(),
            None => vec!["succeeded", "recovered"],
        };
        Some(AfterWorkflow { names, statuses })
    }

    /// Whoever watches the wrong name is told nothing for ever, so each has to be there.
    fn overdue(&mut self, fields: &Fields<'_>) -> Option<Overdue> {
        let names =
            self.required(fields, "name", "the id of the other workflow, its file's name without .yaml");
        let after = self
            .required(fields, "no-success-for", "how long it may take to succeed again, for example 26h")
            .and_then(|node| {
                let time = self.duration(node, "no-success-for")?;
                if time >= SHORTEST_WATCH {
                    return Some(time);
                }
                self.problems.report(
                    Problem::error(codes::BAD_DURATION, node.span, "nothing can succeed so often")
                        .help("write 1s or more: a little longer than the time between two of its runs"),
                );
                None
            });
        let mut watched = Vec::new();
        for node in Self::one_or_more(names?) {
            let Some(name) = self.workflow_named(node) else { continue };
            if name == self.id {
                let message = format!("`{name}` would start itself");
                self.problems.report(Problem::error(codes::RECURSION, node.span, message).help(
                    "what does not succeed cannot tell of it either: put the trigger into a workflow of its own",
                ));
            } else {
                watched.push(name);
            }
        }
        Some(Overdue { names: watched, no_success_for: after? })
    }

    /// The name of another workflow; whoever waits for one that is not there waits for ever.
    fn workflow_named(&mut self, node: &Node) -> Option<String> {
        let name = self.text_of(node, "name")?;
        let library = self.surroundings.library;
        if name == self.id || !library.lacks(&name) {
            return Some(name);
        }
        let message = format!("there is no workflow `{name}`");
        let help = Self::candidates(&name, library.ids())
            .unwrap_or_else(|| "a workflow is known by its file's name without .yaml".to_owned());
        self.problems.report(Problem::error(codes::UNKNOWN_WORKFLOW, node.span, message).help(help));
        None
    }

    fn file(&mut self, fields: &Fields<'_>) -> Option<File> {
        let folder =
            self.required(fields, "folder", "the name of a folder of `bascule.yaml`").and_then(|node| {
                let text = self.text_of(node, "folder")?;
                self.capability_name(node, &text, Capability::Folder, "folder").map(|_| text)
            });
        let pattern = fields.get("pattern").and_then(|node| self.text_of(node, "pattern"));
        let settle = fields.get("settle").and_then(|node| self.duration(node, "settle"));
        Some(File {
            folder: folder?,
            pattern: pattern.unwrap_or_else(|| "*".to_owned()),
            settle: settle.unwrap_or(Duration::from_secs(2)),
        })
    }
}
