//! A checked workflow, ready for the executor. Only `check` makes these; nothing in here is text that would be
//! interpreted again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Concurrency, Debounce, Priority};
use crate::expression::{Expression, Template};
use crate::failure::Kind;

/// A workflow without problems. The default is an empty one, to fill in.
#[derive(Clone, Debug, Default)]
pub struct Workflow {
    /// The file's stem, e.g. `update-face-photo`: what `bascule run` and `uses: workflow/..` name.
    pub id: String,
    /// `name:`, or the id.
    pub name: String,
    /// `description:`
    pub description: Option<String>,
    /// `inputs:` in order.
    pub inputs: Vec<Input>,
    /// `connections:` by the name that the steps use -> the name in `bascule.yaml`. Empty: all names are the project's.
    pub connections: BTreeMap<String, String>,
    /// `folders:` likewise.
    pub folders: BTreeMap<String, String>,
    /// `stores:` likewise.
    pub stores: BTreeMap<String, String>,
    /// `steps:`
    pub steps: Vec<Step>,
    /// `finally:` steps, run however the steps ended.
    pub finally: Vec<Step>,
    /// `output:`
    pub output: Option<Template>,
    /// `triggers:`, checked.
    pub triggers: Vec<crate::trigger::Trigger>,
    /// `concurrency:` of runs of their own; called by another workflow, it is part of that one's run.
    pub concurrency: Option<Concurrency>,
    /// `priority:`
    pub priority: Priority,
    /// `debounce:`
    pub debounce: Option<Debounce>,
    /// `deadline:` for the whole run, counted from the moment it begins. Then it is cancelled and ends `failed`;
    /// `undo` and `finally` still run.
    pub deadline: Option<Duration>,
    /// `on-failure:`
    pub on_failure: Option<OnFailure>,
    /// The workflows that its steps call and that `on-failure` starts, by id, each with its own.
    pub children: BTreeMap<String, Arc<Workflow>>,
    /// The plugins that the text itself names, with the sha256 of the component against which it was checked. Where
    /// there was no component it is not in here.
    pub plugins: BTreeMap<String, String>,
    /// sha256 of `text`, lower-case hexadecimal.
    pub digest: String,
    /// The file as it was read.
    pub text: Arc<str>,
}

/// `on-failure:` what is done when a run has ended `failed`, `rolled-back`, `rollback-incomplete` or `interrupted`.
/// Not for workflows that run as a step of another one: that one is told.
#[derive(Clone, Debug)]
pub enum OnFailure {
    /// Steps at the end of the run itself, with `error` in scope. What becomes of them does not change how the run
    /// ended.
    Steps(Vec<Step>),
    /// A run of another workflow, with the failed run as its `trigger`.
    Workflow(Arc<Workflow>),
}

/// One declared input.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name, as expressions say it: `inputs.NAME`.
    pub name: String,
    /// Its type.
    pub ty: InputType,
    /// Whether a run without it is refused.
    pub required: bool,
    /// Used when the caller gives none.
    pub default: Option<serde_json::Value>,
    /// `pattern:` for strings, anchored at both ends.
    pub pattern: Option<String>,
    /// `description:`
    pub description: Option<String>,
}

/// The type of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum InputType {
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
    /// `uuid`: kept as lower-case text.
    Uuid,
    /// `date`: `2026-11-21`
    Date,
    /// `date-time`: RFC 3339
    DateTime,
    /// `duration`: `90s`, `5m`, `1h30m`; expressions see seconds as a number.
    Duration,
    /// `enum` with its `values:`
    Enum(Vec<String>),
    /// `json`: anything.
    Json,
}

/// One step: a call of a plugin function, or a block of steps.
#[derive(Clone, Debug)]
pub struct Step {
    /// `id:`, or `step-N` counted from 1 within its block. Unique in the workflow.
    pub id: String,
    /// `name:` for people.
    pub name: Option<String>,
    /// Where it stands in the file, 1-based line.
    pub line: u32,
    /// What it does.
    pub action: Action,
    /// `if:`; false ends the step `skipped`.
    pub condition: Option<Expression>,
    /// `skip-if:`; true ends the step (each item, with `for-each`) `skipped` with the reason.
    pub skip_if: Option<SkipIf>,
    /// `for-each:`
    pub for_each: Option<ForEach>,
    /// `retry:`
    pub retry: Option<Retry>,
    /// `timeout:` for one attempt.
    pub timeout: Option<Duration>,
    /// `repeat: never`: an attempt of unknown outcome is not repeated.
    pub never_repeat: bool,
    /// `catch:` in order; the first that matches is used.
    pub catch: Vec<Catch>,
    /// `verify:`
    pub verify: Option<Verify>,
    /// `poll:`
    pub poll: Option<Poll>,
    /// `once:`; done with this key in an earlier run: skipped.
    pub once: Option<Template>,
    /// `undo:`; for steps inside an all-or-nothing block.
    pub undo: Option<Call>,
    /// `keep-going: true`: a failure of this step (or of items) does not end the run at once.
    pub keep_going: bool,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// `uses:` with `with:`
    Call(Call),
    /// `uses: workflow/NAME` with `with:`
    Workflow(WorkflowCall),
    /// `steps:` one after another.
    Block {
        /// The steps.
        steps: Vec<Step>,
        /// `all-or-nothing: true`
        all_or_nothing: bool,
    },
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct Call {
    /// Plugin name, e.g. `isapi`.
    pub plugin: String,
    /// Function name, e.g. `faces.modify`.
    pub function: String,
    /// `with:` a map whose keys are the parameters' WIT names.
    pub with: Template,
}

/// A call of another workflow, as a part of the same run.
#[derive(Clone, Debug)]
pub struct WorkflowCall {
    /// Which of [`Workflow::children`].
    pub workflow: String,
    /// `with:` a map for its `accept_inputs`.
    pub with: Template,
}

/// `skip-if:`
#[derive(Clone, Debug)]
pub struct SkipIf {
    /// When.
    pub when: Expression,
    /// Why, for the history.
    pub reason: Option<Template>,
}

/// `for-each:`
#[derive(Clone, Debug)]
pub struct ForEach {
    /// A list.
    pub items: Expression,
    /// `as:`, by default `item`. `NAME_index` counts from 0.
    pub variable: String,
    /// `key:`; by default the index. Two items with one key are an error.
    pub key: Option<Template>,
    /// `parallel:`, by default 1.
    pub parallel: u32,
    /// `pause:` a rest after each item before the next one takes its place; by default none. Skipped items need none.
    pub pause: Duration,
}

/// Which failures a `retry` or `catch` is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `any`: every kind but `unauthorized`, `locked-out`, `cancelled` (spec 8).
    Any,
    /// A kind, e.g. `not-found`.
    Kind(Kind),
    /// A code, e.g. `isapi:deviceUserAlreadyExist`.
    Code(String),
}

impl Selector {
    /// Whether the failure is meant.
    #[must_use]
    pub fn matches(&self, failure: &crate::failure::Failure) -> bool {
        match self {
            Self::Any => !failure.kind.needs_naming(),
            Self::Kind(kind) => failure.kind == *kind,
            Self::Code(code) => failure.code.as_deref() == Some(code.as_str()),
        }
    }
}

/// `retry:`
#[derive(Clone, Debug)]
pub struct Retry {
    /// All attempts, the first included; 1..=100.
    pub attempts: u32,
    /// By default `offline`, `busy`, `timeout`.
    pub on: Vec<Selector>,
    /// Wait before the second attempt; doubles. By default 1 s.
    pub from: Duration,
    /// Longest wait. By default 60 s.
    pub to: Duration,
}

/// One entry of `catch:`
#[derive(Clone, Debug)]
pub struct Catch {
    /// For which failures.
    pub on: Vec<Selector>,
    /// What to call instead; its result becomes the step's. `error` is in scope.
    pub call: Option<Call>,
    /// Without `uses`: the value that becomes the step's output.
    pub output: Option<Template>,
}

/// `verify:`
#[derive(Clone, Debug)]
pub struct Verify {
    /// The second look.
    pub call: Call,
    /// `assert:` with `result` (of the call) and `output` (of the step) in scope.
    pub assert: Expression,
    /// How long it may take to become true. By default 10 s.
    pub within: Duration,
    /// Wait between looks. By default 1 s.
    pub every: Duration,
}

/// `poll:` repeats the call until its output satisfies `until`.
#[derive(Clone, Debug)]
pub struct Poll {
    /// With `result` in scope.
    pub until: Expression,
    /// Wait between calls. By default 5 s.
    pub every: Duration,
    /// Then the step fails with `timeout`.
    pub within: Duration,
}
