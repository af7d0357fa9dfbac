//! What a run is given, against what the workflow declares.

use std::time::Duration;

use regex_automata::meta::Regex;
use serde_json::{Map, Number, Value};

use crate::document::shorten;
use crate::expression::suggest;
use crate::plan::{Input, InputType, Workflow};
use crate::quantity;

/// Compiled patterns may take this much memory.
const PATTERN_BYTES: usize = 1 << 20;

/// Why an input is refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{message}")]
pub struct InputProblem {
    /// The input.
    pub input: String,
    /// One sentence, lower case, no full stop; names the input.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Workflow {
    /// What the run's expressions see as `inputs`: every declared input, converted to its type; without value and
    /// default it is null. Texts are converted (`--input floor=3`), so that callers may hand over texts only.
    /// A duration becomes its seconds, a uuid lower case; for `json` a text that begins with `{` or `[` is parsed.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the declarations, unknown inputs last.
    pub fn accept_inputs(&self, given: Map<String, Value>) -> Result<Map<String, Value>, Vec<InputProblem>> {
        self.accept_edited_inputs(&Map::new(), given)
    }

    /// [`Workflow::accept_inputs`] for a rerun: what is not given stays as it was accepted before.
    ///
    /// # Errors
    /// As `accept_inputs`.
    pub fn accept_edited_inputs(
        &self,
        before: &Map<String, Value>,
        mut given: Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<InputProblem>> {
        let mut accepted = Map::new();
        let mut problems = Vec::new();
        for input in &self.inputs {
            let given = given.shift_remove(&input.name);
            if let (None, Some(kept)) = (&given, before.get(&input.name)) {
                accepted.insert(input.name.clone(), kept.clone());
                continue;
            }
            let value = match given {
                None | Some(Value::Null) => match &input.default {
                    Some(default) => Some(default.clone()),
                    None if input.required => {
                        problems.push(InputProblem {
                            message: format!("input `{}` is missing", input.name),
                            help: Some(match &input.description {
                                Some(text) => format!("{}: {}", type_name(&input.ty), text.trim()),
                                None => format!("it takes {}", type_name(&input.ty)),
                            }),
                            input: input.name.clone(),
                        });
                        continue;
                    }
                    None => {
                        accepted.insert(input.name.clone(), Value::Null);
                        continue;
                    }
                },
                given => given,
            };
            match input.convert(&value.unwrap_or(Value::Null)) {
                Ok(value) => {
                    accepted.insert(input.name.clone(), value);
                }
                Err((message, help)) => problems.push(InputProblem {
                    message: format!("input `{}`: {message}", input.name),
                    help,
                    input: input.name.clone(),
                }),
            }
        }
        for name in given.keys() {
            let names = self.inputs.iter().map(|input| input.name.as_str());
            problems.push(InputProblem {
                input: name.clone(),
                message: format!("unknown input `{name}`"),
                help: suggest::help(name, names, "there are")
                    .or_else(|| Some("the workflow declares no inputs".to_owned())),
            });
        }
        if problems.is_empty() { Ok(accepted) } else { Err(problems) }
    }
}

type Refusal = (String, Option<String>);

impl Input {
    /// The value as this input's type, or why not.
    pub(crate) fn convert(&self, value: &Value) -> Result<Value, Refusal> {
        let converted = convert(&self.ty, value)?;
        if let (Some(pattern), Some(text)) = (&self.pattern, converted.as_str()) {
            let fits = compile(pattern).is_ok_and(|regex| regex.is_match(text));
            if !fits {
                return Err((
                    format!("`{}` does not match the pattern `{pattern}`", shorten(text)),
                    self.description.clone(),
                ));
            }
        }
        Ok(converted)
    }
}

/// A pattern that must match the whole text.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let config = Regex::config().nfa_size_limit(Some(PATTERN_BYTES)).onepass_size_limit(Some(PATTERN_BYTES));
    let anchored = |pattern: &str| Regex::builder().configure(config.clone()).build(pattern);
    // By itself first: `a)(b` must not become valid by the brackets around it.
    anchored(pattern).map_err(|error| reason(&error))?;
    anchored(&format!(r"\A(?:{pattern})\z")).map_err(|error| reason(&error))
}

/// What the pattern's parser says, in one line.
fn reason(error: &regex_automata::meta::BuildError) -> String {
    let Some(syntax) = error.syntax_error() else {
        return "it is too large".to_owned();
    };
    let text = syntax.to_string();
    let last = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
    last.unwrap_or("it cannot be read").to_owned()
}

/// A type for messages: `a whole number`.
pub(crate) fn type_name(ty: &InputType) -> String {
    match ty {
        InputType::String => "a text".to_owned(),
        InputType::Integer => "a whole number".to_owned(),
        InputType::Number => "a number".to_owned(),
        InputType::Boolean => "true or false".to_owned(),
        InputType::Uuid => "a uuid such as 0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e".to_owned(),
        InputType::Date => "a date such as 2026-11-21".to_owned(),
        InputType::DateTime => "a date and time with offset such as 2026-11-21T03:51:00+02:00".to_owned(),
        InputType::Duration => "a duration such as 90s, 5m or 1h30m".to_owned(),
        InputType::Enum(values) => {
            let names: Vec<&str> = values.iter().map(String::as_str).collect();
            format!("one of {}", suggest::listing(&names))
        }
        InputType::Json => "any value".to_owned(),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("number {number}"),
        Value::String(text) => format!("`{}`", shorten(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn convert(ty: &InputType, value: &Value) -> Result<Value, Refusal> {
    let refused = || Err((format!("expected {}, got {}", type_name(ty), describe(value)), None));
    let text = value.as_str();
    let converted = match ty {
        InputType::String => text.map(Value::from),
        InputType::Integer => integer(value).map(Value::Number),
        InputType::Number => match value {
            Value::Number(number) => Some(Value::Number(number.clone())),
            _ => text.and_then(|text| integer(value).or_else(|| number(text))).map(Value::Number),
        },
        InputType::Boolean => match (value, text) {
            (Value::Bool(value), _) => Some(Value::Bool(*value)),
            (_, Some("true")) => Some(Value::Bool(true)),
            (_, Some("false")) => Some(Value::Bool(false)),
            _ => None,
        },
        InputType::Uuid => text
            .filter(|text| text.len() == 36)
            .and_then(|text| uuid::Uuid::try_parse(text).ok())
            .map(|uuid| Value::from(uuid.hyphenated().to_string())),
        InputType::Date => text
            .filter(|text| text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == *text))
            .map(Value::from),
        InputType::DateTime => text.filter(|text| is_instant(text)).map(Value::from),
        InputType::Duration => match value {
            Value::Number(number) => number.as_f64().filter(|seconds| *seconds >= 0.0).map(|_| value.clone()),
            _ => match text.map(quantity::duration) {
                Some(Ok(duration)) => Some(seconds(duration)),
                Some(Err(error)) => return Err((error.message, Some(error.help))),
                None => None,
            },
        },
        InputType::Enum(values) => {
            let Some(text) = text else { return refused() };
            if values.iter().any(|value| value == text) {
                return Ok(Value::from(text));
            }
            let near = suggest::nearest(text, values.iter().map(String::as_str));
            let message = format!("expected {}, got {}", type_name(ty), describe(value));
            return Err((message, near.map(|near| format!("did you mean `{near}`?"))));
        }
        InputType::Json => match text.map(str::trim_start) {
            Some(text) if text.starts_with(['{', '[']) => match serde_json::from_str(text) {
                Ok(value) => Some(value),
                Err(error) => return Err((format!("not JSON: {error}"), None)),
            },
            _ => Some(value.clone()),
        },
    };
    converted.map_or_else(refused, Ok)
}

fn integer(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.clone()),
        Value::String(text) => text.parse::<i64>().ok().map(Number::from),
        _ => None,
    }
}

fn number(text: &str) -> Option<Number> {
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        return Value::from(duration.as_secs());
    }
    Number::from_f64(duration.as_secs_f64()).map_or(Value::Null, Value::Number)
}

/// RFC 3339 with an offset.
pub(crate) fn is_instant(text: &str) -> bool {
    text.contains('T') && !text.contains('[') && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests;
