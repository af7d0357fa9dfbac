//! What a trigger asks for, and what became of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bascule_run::RunId;
use bascule_workflow::expression::{ExpressionError, Range, Scope};
use bascule_workflow::inputs::InputProblem;
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{Source, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// How many runs may start each other in a row, the first one not counted.
pub const MAX_DEPTH: u32 = 8;

/// Names a delivery: a UUID version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(Uuid);

impl DeliveryId {
    /// A new id for what came at this instant.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds)))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for DeliveryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// One demand for a run.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Of which workflow, and by which text.
    pub workflow: Arc<Workflow>,
    /// Who asks: the id of the trigger, or `api`.
    pub source: String,
    /// As expressions see `trigger`; it has at least `kind`.
    pub trigger: Value,
    /// As they were given; they are held against the workflow's `inputs` when they are admitted.
    pub inputs: Map<String, Value>,
    /// The same workflow, source and key again make no second run.
    pub dedupe: Option<String>,
    /// sha256 of what came in, lower-case hexadecimal.
    pub body_sha256: Option<String>,
    /// The HTTP status that the caller is going to be answered with.
    pub answer: Option<u16>,
    /// How many runs started each other before this one; above [`MAX_DEPTH`] it is refused.
    pub depth: u32,
    /// Whether the workflow's `debounce` counts; starting by hand is not put off.
    pub timing: Timing,
}

/// Whether a `debounce` of the workflow counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// As the workflow says.
    AsWritten,
    /// At once: somebody asked for it by hand.
    AtOnce,
}

impl Admission {
    /// A demand without inputs, key and digest.
    #[must_use]
    pub fn new(workflow: Arc<Workflow>, source: impl Into<String>, trigger: Value) -> Self {
        Self {
            workflow,
            source: source.into(),
            trigger,
            inputs: Map::new(),
            dedupe: None,
            body_sha256: None,
            answer: None,
            depth: 0,
            timing: Timing::AsWritten,
        }
    }

    /// A demand by hand, through the API or the command line; `trigger.by` is who.
    #[must_use]
    pub fn by_hand(workflow: Arc<Workflow>, who: &str, inputs: Map<String, Value>) -> Self {
        let trigger = serde_json::json!({ "kind": "manual", "by": who });
        Self { inputs, timing: Timing::AtOnce, ..Self::new(workflow, "api", trigger) }
    }

    /// What a trigger of the workflow makes of a value of `trigger`: its `if`, its `inputs` (a webhook without
    /// `inputs` takes the body, where that is a map) and the `dedupe` of webhooks and events.
    ///
    /// `None` where `if` says no.
    ///
    /// # Errors
    /// [`TriggerError`] when an expression fails.
    pub fn of_trigger(
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        value: Value,
    ) -> Result<Option<Self>, TriggerError> {
        let Some(mut admission) = Self::of_part(workflow, trigger, value)? else {
            return Ok(None);
        };
        admission.inputs = inputs(trigger, &admission.trigger)?;
        Ok(Some(admission))
    }

    /// As `of_trigger` for an event that is to be a part of a batch: `inputs` are evaluated for the batch.
    pub(crate) fn of_part(
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        value: Value,
    ) -> Result<Option<Self>, TriggerError> {
        let mut scope = Scope::new();
        scope.set("trigger", value);
        if let Some(condition) = &trigger.condition
            && !condition.is_true(&scope).map_err(failed(trigger, "if"))?
        {
            return Ok(None);
        }
        let dedupe = match &trigger.source {
            Source::Webhook(webhook) => webhook.dedupe.as_ref(),
            Source::Event(event) => event.dedupe.as_ref(),
            Source::Schedule(_) | Source::Workflow(_) | Source::Overdue(_) | Source::File(_) => None,
        };
        let dedupe = dedupe.map(|key| key.evaluate(&scope)).transpose().map_err(failed(trigger, "dedupe"))?;
        let dedupe = match dedupe {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        let value = scope.get("trigger").cloned().unwrap_or(Value::Null);
        Ok(Some(Self { dedupe, ..Self::new(Arc::clone(workflow), trigger.id.clone(), value) }))
    }

    /// The run of a batch of events: `trigger.events` is the list, in order.
    pub(crate) fn of_batch(
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        events: Vec<Value>,
    ) -> Result<Self, TriggerError> {
        let value = serde_json::json!({
            "kind": "event",
            "id": trigger.id,
            "count": events.len(),
            "events": events,
        });
        let inputs = inputs(trigger, &value)?;
        let timing = Timing::AtOnce;
        Ok(Self { inputs, timing, ..Self::new(Arc::clone(workflow), trigger.id.clone(), value) })
    }

    /// The same demand with a key of its own.
    #[must_use]
    pub fn with_dedupe(mut self, key: impl Into<String>) -> Self {
        self.dedupe = Some(key.into());
        self
    }
}

fn failed(trigger: &Trigger, key: &'static str) -> impl FnOnce(ExpressionError) -> TriggerError {
    let trigger = trigger.id.clone();
    move |error| TriggerError { trigger, key, error }
}

/// `inputs:` of a trigger, evaluated.
fn inputs(trigger: &Trigger, value: &Value) -> Result<Map<String, Value>, TriggerError> {
    let Some(inputs) = &trigger.inputs else {
        return Ok(match (&trigger.source, value.get("body")) {
            (Source::Webhook(_), Some(Value::Object(body))) => body.clone(),
            _ => Map::new(),
        });
    };
    let mut scope = Scope::new();
    scope.set("trigger", value.clone());
    match inputs.evaluate(&scope).map_err(failed(trigger, "inputs"))? {
        Value::Object(map) => Ok(map),
        _ => Err(failed(trigger, "inputs")(ExpressionError {
            message: "it must give a map".to_owned(),
            help: Some("write `inputs: { name: value }`".to_owned()),
            range: Range::default(),
            path: Vec::new(),
        })),
    }
}

/// An expression of a trigger that failed on what came in.
#[derive(Clone, Debug, thiserror::Error)]
#[error("trigger `{trigger}`, `{key}`: {}", error.in_full())]
pub struct TriggerError {
    /// The trigger's id.
    pub trigger: String,
    /// Which keyword.
    pub key: &'static str,
    /// Why.
    pub error: ExpressionError,
}

/// What became of a demand. It is on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Admitted {
    /// Its record; of a duplicate the record of the first one.
    pub delivery: DeliveryId,
    /// The run, if there is one.
    pub run: Option<RunId>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why there is no run.
    pub reason: Option<String>,
}

/// What became of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is a run now.
    Accepted,
    /// The same came before; `run` is what that one became.
    Duplicate,
    /// `when-busy: skip`, and its group is at work.
    Skipped,
    /// `debounce` or `collect`: it waits for more, and becomes part of a run later.
    Held,
    /// Not possible, e.g. because too many runs started each other.
    Refused,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Skipped => "skipped",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }

    /// The verdict of that word.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        [Self::Accepted, Self::Duplicate, Self::Skipped, Self::Held, Self::Refused]
            .into_iter()
            .find(|verdict| verdict.name() == word)
    }
}

/// Why a demand was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The inputs do not fit the workflow. Nothing was stored.
    #[error("workflow `{workflow}` does not take these inputs: {}", problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
    Inputs {
        /// The workflow's id.
        workflow: String,
        /// Everything that is wrong.
        problems: Vec<InputProblem>,
    },
    /// `concurrency.group` or `debounce.key` failed. Nothing was stored.
    #[error("workflow `{workflow}`, `{key}`: {}", error.in_full())]
    Key {
        /// The workflow's id.
        workflow: String,
        /// Which keyword.
        key: &'static str,
        /// Why.
        error: ExpressionError,
    },
    /// It could not be stored; whoever asked has to come again. A webhook is answered with 503.
    #[error("nothing can be stored at the moment")]
    Unavailable(#[source] bascule_database::DatabaseError),
}
