//! When a run may begin: `concurrency`, `priority`, `debounce`. Parsed and checked here; whoever admits runs (the
//! server's queue, `bascule run`) goes by it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::expression::{ExpressionError, Scope, Template};
use crate::plan::Workflow;

/// `concurrency: { group: "export-${{ inputs.site }}", when-busy: skip }`
///
/// Of all runs of the project with the same group, whatever their workflow, one is under way at a time.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// `group:` with `inputs` and `trigger` in scope; [`Workflow::concurrency_key`] evaluates it.
    pub group: Template,
    /// `when-busy:`
    pub when_busy: WhenBusy,
}

/// `when-busy:` what becomes of a run whose group is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenBusy {
    /// `queue`: it waits; those of higher `priority` first, then in the order in which they came. The default.
    #[default]
    Queue,
    /// `skip`: it ends `skipped` without having begun.
    Skip,
    /// `replace`: the one under way is cancelled (its `undo` and `finally` run), those that wait end `skipped`, and
    /// this one follows.
    Replace,
}

impl WhenBusy {
    /// The words of YAML, in the order of the variants.
    pub const WORDS: [&'static str; 3] = ["queue", "skip", "replace"];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Skip => "skip",
            Self::Replace => "replace",
        }
    }
}

/// `priority:` which of several waiting runs begins first. Those that are under way are not disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// `low`
    Low,
    /// `normal`, the default.
    #[default]
    Normal,
    /// `high`
    High,
}

impl Priority {
    /// The words of YAML, from the last to the first to begin.
    pub const WORDS: [&'static str; 3] = ["low", "normal", "high"];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// The priority of that word.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        [Self::Low, Self::Normal, Self::High].into_iter().find(|priority| priority.name() == word)
    }
}

/// `debounce: { key: "${{ trigger.body.id }}", wait: 5s, at-most: 1m, collect: all }`
///
/// Triggers with one key that follow each other within `wait` make one run, when it has been quiet for so long.
/// Starting by hand is not put off.
#[derive(Clone, Debug)]
pub struct Debounce {
    /// `key:` with `inputs` and `trigger` in scope; without it all triggers of the workflow are one.
    /// [`Workflow::debounce_key`] evaluates it.
    pub key: Option<Template>,
    /// `wait:` how long it has to be quiet.
    pub wait: Duration,
    /// `at-most:` how long after the first trigger the run begins even if it is never quiet. By default ten times
    /// `wait`.
    pub at_most: Duration,
    /// `collect:`
    pub collect: Collected,
}

/// `collect:` of a `debounce`: what the run is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collected {
    /// `last`: inputs and `trigger` of the last trigger. The default.
    #[default]
    Last,
    /// `all`: those of the last one, and `trigger.collected` is the list of all, in order.
    All,
}

impl Collected {
    /// The words of YAML.
    pub const WORDS: [&'static str; 2] = ["last", "all"];
}

impl Workflow {
    /// The evaluated `concurrency.group`, if there is one: `concurrency_key` of the run that is to begin.
    ///
    /// # Errors
    /// When the expression fails, e.g. because the trigger has no such field.
    pub fn concurrency_key(
        &self,
        inputs: &Map<String, Value>,
        trigger: &Value,
    ) -> Result<Option<String>, ExpressionError> {
        self.concurrency.as_ref().map(|concurrency| key(&concurrency.group, inputs, trigger)).transpose()
    }

    /// The evaluated `debounce.key`; `""` where the workflow debounces without a key, `None` where it does not
    /// debounce.
    ///
    /// # Errors
    /// When the expression fails.
    pub fn debounce_key(
        &self,
        inputs: &Map<String, Value>,
        trigger: &Value,
    ) -> Result<Option<String>, ExpressionError> {
        let Some(debounce) = &self.debounce else {
            return Ok(None);
        };
        debounce.key.as_ref().map_or(Ok(Some(String::new())), |own| key(own, inputs, trigger).map(Some))
    }
}

/// Text as it is, all else as JSON.
fn key(template: &Template, inputs: &Map<String, Value>, trigger: &Value) -> Result<String, ExpressionError> {
    let mut scope = Scope::new();
    scope.set("inputs", Value::Object(inputs.clone()));
    scope.set("trigger", trigger.clone());
    Ok(match template.evaluate(&scope)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}
