use bascule_workflow::plan::{Input, InputType, Workflow};
use bascule_workflow::quantity::duration_text;
use bascule_workflow::trigger::{Body, Missed, Respond, Source, Trigger, WebhookAuth};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A workflow in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowSummary {
    /// Its file's stem.
    pub(crate) id: String,
    /// `name:`
    pub(crate) name: String,
    /// `description:`
    pub(crate) description: Option<String>,
    /// sha256 of its text.
    pub(crate) digest: String,
    /// Ids of its triggers.
    pub(crate) triggers: Vec<String>,
    /// Runs that wait.
    pub(crate) queued: usize,
    /// Runs that are under way.
    pub(crate) running: usize,
    /// Since when and why no run of it begins.
    pub(crate) paused: Option<PausedView>,
}

/// Why no run begins.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PausedView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// What whoever paused it said.
    pub(crate) reason: String,
}

/// A workflow.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDetail {
    /// As in a list.
    pub(crate) workflow: WorkflowSummary,
    /// What a run takes.
    pub(crate) inputs: Vec<InputView>,
    /// What starts it.
    pub(crate) triggers: Vec<TriggerView>,
    /// The file.
    pub(crate) text: String,
}

/// What a run takes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct InputView {
    /// Its name.
    pub(crate) name: String,
    /// `string integer number boolean uuid date date-time duration enum json`
    #[serde(rename = "type")]
    pub(crate) ty: &'static str,
    /// Of an `enum`.
    pub(crate) values: Vec<String>,
    /// Whether a run without it is refused.
    pub(crate) required: bool,
    /// Taken where nothing is given.
    pub(crate) default: Option<Value>,
    /// `pattern:`
    pub(crate) pattern: Option<String>,
    /// `description:`
    pub(crate) description: Option<String>,
}

impl From<&Input> for InputView {
    fn from(input: &Input) -> Self {
        let values = match &input.ty {
            InputType::Enum(values) => values.clone(),
            _ => Vec::new(),
        };
        Self {
            name: input.name.clone(),
            ty: word(&input.ty),
            values,
            required: input.required,
            default: input.default.clone(),
            pattern: input.pattern.clone(),
            description: input.description.clone(),
        }
    }
}

fn word(ty: &InputType) -> &'static str {
    match ty {
        InputType::String => "string",
        InputType::Integer => "integer",
        InputType::Number => "number",
        InputType::Boolean => "boolean",
        InputType::Uuid => "uuid",
        InputType::Date => "date",
        InputType::DateTime => "date-time",
        InputType::Duration => "duration",
        InputType::Enum(_) => "enum",
        InputType::Json => "json",
    }
}

/// The inputs of a workflow as a JSON Schema (2020-12), for forms.
pub(crate) fn input_schema(workflow: &Workflow) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &workflow.inputs {
        let mut schema = match &input.ty {
            InputType::String => json!({ "type": "string" }),
            InputType::Integer => json!({ "type": "integer" }),
            InputType::Number => json!({ "type": "number" }),
            InputType::Boolean => json!({ "type": "boolean" }),
            InputType::Uuid => json!({ "type": "string", "format": "uuid" }),
            InputType::Date => json!({ "type": "string", "format": "date" }),
            InputType::DateTime => json!({ "type": "string", "format": "date-time" }),
            InputType::Duration => {
                json!({ "type": ["string", "number"], "examples": ["90s", "5m", "1h30m"] })
            }
            InputType::Enum(values) => json!({ "type": "string", "enum": values }),
            InputType::Json => json!({}),
        };
        if let Some(pattern) = &input.pattern {
            schema["pattern"] = Value::from(format!("^(?:{pattern})$"));
        }
        if let Some(description) = &input.description {
            schema["description"] = Value::from(description.as_str());
        }
        match &input.default {
            Some(default) => schema["default"] = default.clone(),
            None if input.required => required.push(input.name.clone()),
            None => {}
        }
        properties.insert(input.name.clone(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": workflow.name,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What starts a workflow.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TriggerView {
    /// Its workflow.
    pub(crate) workflow: String,
    /// `id:`, or the kind and a number.
    pub(crate) id: String,
    /// `schedule webhook event workflow file`
    pub(crate) kind: &'static str,
    /// 1-based line in the workflow's file.
    pub(crate) line: u32,
    /// In words.
    pub(crate) description: String,
    /// Of a webhook: where to send to, behind the server's address.
    pub(crate) path: Option<String>,
    /// Of a webhook.
    pub(crate) methods: Vec<String>,
    /// Of a webhook: how callers prove who they are.
    pub(crate) auth: Option<&'static str>,
    /// Of a schedule: `cron:`.
    pub(crate) cron: Option<String>,
    /// Of a schedule: its own time zone.
    pub(crate) time_zone: Option<String>,
}

impl TriggerView {
    pub(crate) fn of(workflow: &Workflow, trigger: &Trigger) -> Self {
        let mut view = Self {
            workflow: workflow.id.clone(),
            id: trigger.id.clone(),
            kind: trigger.kind(),
            line: trigger.line,
            description: String::new(),
            path: None,
            methods: Vec::new(),
            auth: None,
            cron: None,
            time_zone: None,
        };
        match &trigger.source {
            Source::Schedule(schedule) => {
                let missed = match schedule.missed {
                    Missed::Skip => "missed ones are counted",
                    Missed::Once => "missed ones make one run",
                    Missed::All => "each missed one is made up for",
                };
                view.description = format!("{} ({missed})", schedule.description);
                view.cron = Some(schedule.cron.clone());
                view.time_zone.clone_from(&schedule.time_zone);
            }
            Source::Webhook(webhook) => {
                let takes = match webhook.body {
                    Body::Json => "JSON",
                    Body::Form => "a form",
                    Body::Xml => "XML",
                    Body::Multipart { .. } => "multipart with files",
                    Body::Text => "text",
                };
                let answers = match webhook.respond {
                    Respond::Accepted => "answers when it is stored",
                    Respond::Result { .. } => "answers with the result",
                    Respond::Empty => "answers 200 and nothing else",
                };
                view.description = format!("takes {takes}, {answers}");
                view.path = Some(format!("/hooks/{}", webhook.path));
                view.methods.clone_from(&webhook.methods);
                view.auth = Some(match webhook.auth {
                    WebhookAuth::None => "none",
                    WebhookAuth::HmacSha256 { .. } => "hmac-sha256",
                    WebhookAuth::Header { .. } => "header",
                    WebhookAuth::Basic { .. } => "basic",
                    WebhookAuth::Digest { .. } => "digest",
                });
            }
            Source::Event(event) => {
                view.description = format!("events of {}/{}", event.call.plugin, event.call.function);
            }
            Source::Workflow(after) => {
                view.description =
                    format!("after {} ends {}", after.names.join(", "), after.statuses.join(", "));
            }
            Source::Overdue(overdue) => {
                let names = overdue.names.join(", ");
                view.description =
                    format!("no success of {names} for {}", duration_text(overdue.no_success_for));
            }
            Source::File(file) => view.description = format!("a file {} in {}", file.pattern, file.folder),
        }
        view
    }
}
