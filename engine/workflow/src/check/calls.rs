//! `uses:` and `with:`.

use serde_json::{Map, Value};

use super::Checker;
use super::fields::Fields;
use super::scope::{Scope, Shape};
use super::values::{one_of, type_name};
use crate::document::{Entry, Node, Span};
use crate::expression::{Template, suggest};
use crate::plan::Call;
use crate::problem::{Problem, codes};
use crate::signature::{Capability, Function, Type};

/// A call that was read, and what is known of its value.
pub(super) struct Checked<'a> {
    pub(super) call: Option<Call>,
    pub(super) result: Shape<'a>,
}

/// Who calls: a step, or a trigger that starts event sources.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Step,
    EventTrigger,
}

impl<'a> Checker<'a> {
    /// `uses:` and `with:` of a step, or of what belongs to it.
    pub(super) fn call(&mut self, fields: &Fields<'_>, caller: Caller, scope: &Scope<'a>) -> Checked<'a> {
        let nothing = Checked { call: None, result: Shape::Unknown };
        let with = fields.get("with").filter(|node| !node.is_null());
        let Some(uses) = self.required(fields, "uses", "for example `isapi/faces.modify`") else {
            if let Some(with) = with {
                self.template(with, scope);
            }
            return nothing;
        };
        let named = self.function(uses, caller);
        let Some((plugin, name, function)) = named else {
            if let Some(with) = with {
                self.template(with, scope);
            }
            return nothing;
        };
        let result = function.result.as_ref().map_or(Shape::Unknown, Shape::Wit);
        let with = self.arguments(with, uses.span, &name, function, scope);
        Checked { call: with.map(|with| Call { plugin, function: name, with }), result }
    }

    /// `isapi/faces.modify` -> plugin, function and its types.
    fn function(&mut self, uses: &Node, caller: Caller) -> Option<(String, String, &'a Function)> {
        let text = self.text_of(uses, "uses")?;
        let malformed = |help: String| {
            Problem::error(codes::BAD_USES, uses.span, format!("`{text}` does not name a function"))
                .help(help)
        };
        let Some((plugin_name, name)) = text.split_once('/') else {
            let plugin = self.surroundings.plugins.keys().find(|plugin| text.starts_with(plugin.as_str()));
            let rest = plugin
                .and_then(|plugin| text.strip_prefix(plugin.as_str()))
                .map(|rest| rest.trim_start_matches(['.', ':', '-']));
            let help = match (plugin, rest) {
                (Some(plugin), Some(rest)) if !rest.is_empty() => format!("write `{plugin}/{rest}`"),
                _ => "write `PLUGIN/INTERFACE.FUNCTION`, for example `isapi/faces.modify`".to_owned(),
            };
            self.problems.report(malformed(help));
            return None;
        };
        let plugin_span = uses.locate(self.text, 0, plugin_name.len());
        let name_span = uses.locate(self.text, plugin_name.len() + 1, text.len());
        let Some(plugin) = self.surroundings.plugins.get(plugin_name) else {
            let problem = if plugin_name == "workflow" {
                Problem::error(codes::BAD_USES, uses.span, "only a step can call a workflow").help(
                    "give the call a step of its own; `catch`, `verify`, `undo` and event sources call plugins",
                )
            } else {
                let names = self.surroundings.plugins.keys().map(String::as_str);
                Problem::error(codes::UNKNOWN_PLUGIN, plugin_span, format!("unknown plugin `{plugin_name}`"))
                    .help(
                        Self::candidates(plugin_name, names)
                            .unwrap_or_else(|| "declare it in `bascule.yaml` under `plugins:`".to_owned()),
                    )
            };
            self.problems.report(problem);
            return None;
        };
        if let Some(sha256) = &plugin.sha256 {
            self.plugins.insert(plugin_name.to_owned(), sha256.clone());
        }
        let Some(function) = plugin.functions.get(name) else {
            let found = one_of(name, plugin.functions.keys().map(String::as_str));
            let (_, last) = name.rsplit_once(['.', '/']).unwrap_or(("", name));
            let elsewhere = plugin.functions.keys().find(|known| {
                known.rsplit_once('.').is_some_and(|(_, function)| function == last) && !last.is_empty()
            });
            let names = plugin.functions.keys().map(String::as_str);
            let help = match (found, elsewhere) {
                (Some(known), _) => format!("write `{plugin_name}/{known}`"),
                (None, Some(known)) if suggest::nearest(name, names.clone()).is_none() => {
                    format!("did you mean `{known}`?")
                }
                _ => Self::candidates(name, names).unwrap_or_default(),
            };
            let message = format!("plugin `{plugin_name}` has no function `{name}`");
            self.problems.report(Problem::error(codes::UNKNOWN_FUNCTION, name_span, message).help(help));
            return None;
        };
        if function.is_event_source() && caller == Caller::Step {
            let message = format!("`{text}` is an event source: a step cannot wait for it");
            self.problems.report(
                Problem::error(codes::EVENT_SOURCE, uses.span, message).help(format!(
                    "start it with a trigger: `triggers: - event: {{ uses: {text}, with: .. }}`"
                )),
            );
        }
        if !function.is_event_source() && caller == Caller::EventTrigger {
            let sources: Vec<&str> = plugin
                .functions
                .iter()
                .filter(|(_, function)| function.is_event_source())
                .map(|(name, _)| name.as_str())
                .collect();
            let help = if sources.is_empty() {
                format!("plugin `{plugin_name}` has none; functions like this one are called by steps")
            } else {
                format!("event sources of `{plugin_name}`: {}", suggest::listing(&sources))
            };
            let message = format!("`{text}` is not an event source");
            self.problems.report(Problem::error(codes::NOT_AN_EVENT_SOURCE, uses.span, message).help(help));
        }
        Some((plugin_name.to_owned(), name.to_owned(), function))
    }

    /// `with:` with the parameters' own names as keys.
    fn arguments(
        &mut self,
        with: Option<&Node>,
        uses: Span,
        function_name: &str,
        function: &'a Function,
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
        let params: Vec<_> =
            function.params.iter().filter(|param| param.ty != Type::Capability(Capability::Sink)).collect();
        let names = || params.iter().map(|param| param.name.as_str());
        let mut values = Map::new();
        let mut complete = true;
        let mut misspelt: Vec<&str> = Vec::new();
        for entry in entries {
            let written = entry.key.text.as_str();
            let Some(param) =
                one_of(written, names()).and_then(|name| params.iter().find(|param| param.name == name))
            else {
                misspelt.extend(suggest::nearest(written, names()));
                self.unknown_parameter(entry, function_name, names().collect());
                self.template(&entry.value, scope);
                continue;
            };
            if values.contains_key(&param.name) {
                let message = format!("parameter `{}` is given already, in another spelling", param.name);
                self.problems.report(
                    Problem::error(codes::SAME_PARAMETER, entry.key.span, message).help("keep one of them"),
                );
                continue;
            }
            if !matches!(param.ty, Type::Capability(_)) {
                complete &= self.template(&entry.value, scope).is_some();
            }
            self.value(&entry.value, &param.ty, &format!("with.{written}"), scope);
            let value = match param.ty {
                Type::Capability(capability) => self.in_project(entry.value.to_json(), capability),
                _ => entry.value.to_json(),
            };
            values.insert(param.name.clone(), value);
        }
        for param in &params {
            let given = values.contains_key(&param.name) || misspelt.contains(&param.name.as_str());
            if given || matches!(param.ty, Type::Option(_)) {
                continue;
            }
            let message = format!("`{function_name}` needs the parameter `{}`", param.name);
            let help = match &param.ty {
                Type::Capability(capability) => {
                    format!("add `{}: NAME` under `with:`, the name of a {}", param.name, capability.name())
                }
                ty => format!("add `{}: ..` under `with:`, {}", param.name, type_name(ty)),
            };
            self.problems.report(Problem::error(codes::MISSING_PARAMETER, uses, message).help(help));
        }
        if !complete {
            return None;
        }
        Template::parse(&Value::Object(values)).ok()
    }

    fn unknown_parameter(&mut self, entry: &Entry, function: &str, names: Vec<&str>) {
        let written = entry.key.text.as_str();
        let message = format!("`{function}` has no parameter `{written}`");
        let step_key = ["timeout", "retry", "if", "for-each", "catch", "verify"].contains(&written);
        let help = if step_key {
            Some(format!("`{written}` belongs to the step: indent it like `with`"))
        } else if names.is_empty() {
            Some("it has none".to_owned())
        } else {
            suggest::help(written, names, "its parameters are")
        };
        self.problems.report(Problem::error(codes::UNKNOWN_PARAMETER, entry.key.span, message).help_if(help));
    }
}
