//! PostgREST's errors: always code, message, details, hint.

use serde_json::{Value, json};

use crate::wire::Answer;

/// An error answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// Boxed because errors should be small.
    pub(super) details: Option<Box<Value>>,
    pub(super) hint: Option<String>,
    /// `Content-Range`, where the error has one.
    pub(super) range: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: None,
            hint: None,
            range: None,
        }
    }

    pub(super) fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(Box::new(details.into()));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn into_answer(self) -> Answer {
        let body =
            json!({ "code": self.code, "details": self.details, "hint": self.hint, "message": self.message });
        let answer = Answer::json(self.status, &body);
        match self.range {
            Some(range) => answer.with("Content-Range", range),
            None => answer,
        }
    }

    /// The query cannot be read.
    pub(super) fn parse(what: &str, text: &str, column: usize) -> Self {
        let message = format!("\"failed to parse {what} ({text})\" (line 1, column {column})");
        Self::new(400, "PGRST100", message).details("unexpected input")
    }

    /// A column that a query names and the table does not have.
    pub(super) fn no_column(table: &str, column: &str) -> Self {
        Self::new(400, "42703", format!("column {table}.{column} does not exist"))
    }

    /// A text that is no value of that type.
    pub(super) fn bad_value(kind: &str, text: &str) -> Self {
        Self::new(400, "22P02", format!("invalid input syntax for type {kind}: \"{text}\""))
    }

    /// One row was asked for.
    pub(super) fn not_single(rows: usize) -> Self {
        Self::new(406, "PGRST116", "Cannot coerce the result to a single JSON object")
            .details(format!("The result contains {rows} rows"))
    }
}
