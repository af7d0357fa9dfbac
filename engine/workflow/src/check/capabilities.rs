//! What a step is handed: connections, folders and stores by name.

use serde_json::Value;

use super::Checker;
use super::scope::Scope;
use crate::document::{Entry, Node, Span};
use crate::expression::suggest;
use crate::problem::{Problem, codes};
use crate::signature::Capability;

const LENT: [Capability; 3] = [Capability::Connection, Capability::Folder, Capability::Store];

impl<'a> Checker<'a> {
    /// `database: hr` or `terminal: { connection: terminal, device: .. }`
    pub(super) fn capability(&mut self, node: &Node, capability: Capability, path: &str, scope: &Scope<'a>) {
        let kind = capability.name();
        if let Some(text) = node.as_str() {
            if let Some(name) = self.capability_name(node, text, capability, path) {
                self.connection_params(&name, &[], node.span, capability, path);
            }
            return;
        }
        let Some(entries) = node.as_map() else {
            let message = format!("{path}: expected the name of a {kind}, got {}", node.describe());
            self.problems.report(Problem::error(codes::WRONG_TYPE, node.span, message));
            return;
        };
        let Some(named) = entries.iter().find(|entry| entry.key.text == kind) else {
            let message = format!("{path}: `{kind}` is missing: which one is handed over?");
            let span = entries.first().map_or(node.span, |entry| entry.key.span);
            let help = format!("write `{{ {kind}: NAME, .. }}` with a name of `bascule.yaml`");
            self.problems.report(Problem::error(codes::CAPABILITY_NAME, span, message).help(help));
            for entry in entries {
                self.template(&entry.value, scope);
            }
            return;
        };
        let params: Vec<&Entry> = entries.iter().filter(|entry| entry.key.text != kind).collect();
        for entry in &params {
            self.template(&entry.value, scope);
        }
        let Some(text) = named.value.as_str() else {
            let message =
                format!("{path}.{kind}: expected the name of a {kind}, got {}", named.value.describe());
            self.problems.report(Problem::error(codes::WRONG_TYPE, named.value.span, message));
            return;
        };
        if let Some(name) = self.capability_name(&named.value, text, capability, path) {
            self.connection_params(&name, &params, named.value.span, capability, path);
        }
    }

    /// The value with the name that `bascule.yaml` has for what it names, where the workflow has one of its own.
    pub(super) fn in_project(&self, mut value: Value, capability: Capability) -> Value {
        let own = self.names.get(capability.name());
        let name = match &mut value {
            Value::Object(map) => map.get_mut(capability.name()),
            other => Some(other),
        };
        if let Some(name) = name
            && let Some(project) = name.as_str().and_then(|name| own?.get(name))
        {
            *name = Value::from(project.as_str());
        }
        value
    }

    /// The name in `bascule.yaml` of what `text` names; problems are reported.
    pub(super) fn capability_name(
        &mut self,
        node: &Node,
        text: &str,
        capability: Capability,
        path: &str,
    ) -> Option<String> {
        if text.contains("${{") {
            let kind = capability.name();
            let message = format!("{path}: the name of a {kind} cannot be an expression");
            let help = match capability {
                Capability::Connection => {
                    "write the name out; a connection with `params:` reaches many devices: { connection: NAME, device: .. }"
                }
                _ => "write the name out: what a step can reach stands in the workflow's text",
            };
            self.problems.report(Problem::error(codes::CAPABILITY_NAME, node.span, message).help(help));
            return None;
        }
        if let Some(name) = self.names.get(capability.name()).and_then(|names| names.get(text)) {
            return Some(name.clone());
        }
        let known = match self.project_names(capability) {
            Some(known) if !known.contains(&text) => known,
            _ => return Some(text.to_owned()),
        };
        let local: Vec<String> = self
            .names
            .get(capability.name())
            .map(|names| names.keys().cloned().collect())
            .unwrap_or_default();
        let all: Vec<&str> = local.iter().map(String::as_str).chain(known).collect();
        let mut problem = self.unknown_capability(text, capability, &all, node.span);
        problem.message = format!("{path}: {}", problem.message);
        self.problems.report(problem);
        None
    }

    pub(super) fn unknown_capability(
        &self,
        name: &str,
        capability: Capability,
        known: &[&str],
        span: Span,
    ) -> Problem {
        let kind = capability.name();
        let elsewhere = LENT.into_iter().filter(|other| *other != capability).find(|other| {
            self.project_names(*other).is_some_and(|names| names.contains(&name))
                || self.names.get(other.name()).is_some_and(|names| names.contains_key(name))
        });
        let help = match (elsewhere, suggest::nearest(name, known.iter().copied())) {
            (Some(other), _) => format!("`{name}` is a {}, a {kind} is needed here", other.name()),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) if known.is_empty() => format!("declare it in `bascule.yaml` under `{kind}s:`"),
            (None, None) => {
                format!(
                    "there are {}; others are declared in `bascule.yaml` under `{kind}s:`",
                    suggest::listing(known)
                )
            }
        };
        Problem::error(codes::UNKNOWN_CAPABILITY, span, format!("no {kind} is called `{name}`")).help(help)
    }

    /// `params:` of a connection: each supplied, and no others.
    fn connection_params(
        &mut self,
        name: &str,
        given: &[&Entry],
        span: Span,
        capability: Capability,
        path: &str,
    ) {
        let declared: &[String] = match (capability, self.surroundings.project) {
            (Capability::Connection, None) => return,
            (Capability::Connection, Some(project)) => project
                .connections
                .get(name)
                .map(|connection| connection.params.as_slice())
                .unwrap_or_default(),
            _ => &[],
        };
        let mut misspelt: Vec<&str> = Vec::new();
        for entry in given {
            let written = entry.key.text.as_str();
            if declared.iter().any(|param| param == written) {
                continue;
            }
            let message = match capability {
                Capability::Connection => format!("{path}: connection `{name}` has no parameter `{written}`"),
                other => format!("{path}: a {} has no parameters", other.name()),
            };
            misspelt.extend(suggest::nearest(written, declared.iter().map(String::as_str)));
            let help = if declared.is_empty() {
                Some(format!("write `{name}` alone"))
            } else {
                Self::candidates(written, declared.iter().map(String::as_str))
            };
            self.problems
                .report(Problem::error(codes::CONNECTION_PARAMS, entry.key.span, message).help_if(help));
        }
        let missing: Vec<&str> = declared
            .iter()
            .map(String::as_str)
            .filter(|param| given.iter().all(|entry| entry.key.text != *param) && !misspelt.contains(param))
            .collect();
        if !missing.is_empty() {
            let message =
                format!("{path}: connection `{name}` needs its parameter {}", suggest::listing(&missing));
            let params: Vec<String> = declared.iter().map(|param| format!("{param}: ..")).collect();
            let help = format!("write `{{ connection: {name}, {} }}`", params.join(", "));
            self.problems.report(Problem::error(codes::CONNECTION_PARAMS, span, message).help(help));
        }
    }
}
