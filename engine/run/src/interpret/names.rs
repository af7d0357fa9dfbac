//! What expressions see.

use bascule_workflow::expression::{ExpressionError, Group, Scope};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::{Action, Step};
use serde_json::{Map, Value, json};

use crate::interpret::End;
use crate::place::Place;
use crate::status::Status;

/// The names at one point of the walk. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    scope: Scope,
    steps: Group,
}

impl Names {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, steps: Group::default() }
    }

    /// The scope with the steps so far.
    pub(crate) fn scope(&self) -> Scope {
        let mut scope = self.scope.clone();
        scope.set_group("steps", self.steps.clone());
        scope
    }

    /// Binds a name.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: Value) {
        self.scope.set(name, value);
    }

    /// A step ended: `steps.<id>` from now on, and those inside it if it is a block that was walked once.
    pub(crate) fn ended(&mut self, step: &Step, end: &End) {
        bind(&mut self.steps, step, end);
    }
}

fn bind(steps: &mut Group, step: &Step, end: &End) {
    steps.set(step.id.clone(), step_value(step, end));
    let Action::Block { steps: inner, .. } = &step.action else {
        return;
    };
    if step.for_each.is_some() {
        return;
    }
    for step in inner {
        let known = end.inner.iter().find(|(id, _)| *id == step.id);
        match known {
            Some((_, end)) => bind(steps, step, end),
            // The block was not begun, or was skipped.
            None if end.status == Status::Skipped => bind(steps, step, &End::skipped(end.reason.clone())),
            None => bind(steps, step, &End::not_begun()),
        }
    }
}

/// `steps.<id>`: `output`, `status`, `error`, `reason`, and with `for-each` `items` and `counts`, even if it never
/// came to items.
fn step_value(step: &Step, end: &End) -> Value {
    let mut value = Map::new();
    let looped = step.for_each.is_some();
    let output = if looped && end.items.is_none() { Value::Array(Vec::new()) } else { end.output.clone() };
    value.insert("status".into(), end.status.name().into());
    value.insert("output".into(), output);
    value.insert("error".into(), end.failure.as_ref().map_or(Value::Null, failure_value));
    value.insert("reason".into(), end.reason.clone().map_or(Value::Null, Value::from));
    if looped {
        let items = end.items.as_deref().unwrap_or_default();
        let entry = |item: &crate::interpret::ItemEnd| {
            json!({
                "key": item.key,
                "status": item.end.status.name(),
                "output": item.end.output,
                "error": item.end.failure.as_ref().map(failure_value),
                "reason": item.end.reason,
            })
        };
        value.insert("items".into(), items.iter().map(entry).collect());
        value.insert("counts".into(), end.counts().unwrap_or_default().to_value());
    }
    Value::Object(value)
}

/// `error` as expressions see it: every field is there, absent ones are `null`.
pub(crate) fn failure_value(failure: &Failure) -> Value {
    json!({
        "kind": failure.kind.name(),
        "code": failure.code,
        "message": failure.message,
        "effect": failure.effect,
        "retry_after": failure.retry_after,
        "details": failure.details,
    })
}

/// An expression that failed, as the failure of its step.
pub(crate) fn evaluation_failed(
    place: &Place,
    keyword: &str,
    source: Option<&str>,
    error: &ExpressionError,
) -> Failure {
    let shown = source.map_or_else(String::new, |source| format!(" `{source}`"));
    Failure::new(Kind::InvalidInput, format!("`{place}`, {keyword}{shown}: {}", error.in_full()))
        .with_code("bascule:expression")
}

/// A value as a person or a key reads it: text as it is, all else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
