//! What people and programs read about cases.

use bascule_run::record::StepRecord;
use bascule_workflow::cases::{Case, Difference, brief};
use serde_json::{Value, json};

use super::stage::Verdict;
use super::stand_in::Unmatched;
use crate::live;
use crate::paint;

/// A case with its verdict, and where its test file is.
pub(crate) struct Told<'a> {
    pub(crate) file: &'a str,
    pub(crate) workflow: &'a str,
    pub(crate) case: &'a Case,
    pub(crate) verdict: &'a Verdict,
}

impl Told<'_> {
    /// One line, and below it what went wrong; with `everything` steps and requests of passed cases too.
    pub(crate) fn text(&self, everything: Everything) -> String {
        let passed = self.verdict.passed();
        let word = if passed { paint::good("ok  ") } else { paint::bad("FAIL") };
        let millis = i64::try_from(self.verdict.took.as_millis()).unwrap_or(i64::MAX);
        let mut text = format!("  {word} {} {}", self.case.name, paint::dim(&paint::span(millis)));
        if passed && everything == Everything::OfFailures {
            return text;
        }
        if let Some(trouble) = &self.verdict.trouble {
            text.push_str(&format!("\n       {}", self.place(self.case.span.line, self.case.span.column)));
            text.push_str(&format!("\n         {}", paint::bad(&format!("{trouble:#}"))));
            if let Some(help) =
                trouble.downcast_ref::<crate::exit::Coded>().and_then(|coded| coded.help.as_ref())
            {
                text.push_str(&format!("\n         help: {help}"));
            }
        }
        for unmatched in &self.verdict.unmatched {
            text.push_str(&self.unmatched(unmatched));
        }
        let differences = &self.verdict.differences;
        if self.verdict.unmatched.is_empty() || everything == Everything::OfAll {
            differences.iter().for_each(|difference| text.push_str(&self.difference(difference)));
        } else if !differences.is_empty() {
            // A request that was answered nonsense upsets the rest.
            let number = crate::site::count(differences.len(), "expectation");
            text.push_str(&format!(
                "\n       {number} not met, which may come of that; --verbose shows them"
            ));
        }
        text.push_str(&self.run());
        text
    }

    fn place(&self, line: u32, column: u32) -> String {
        format!("{}:{line}:{column}", self.file)
    }

    fn difference(&self, difference: &Difference) -> String {
        format!(
            "\n       {}  {}\n         expected  {}\n         came      {}",
            self.place(difference.span.line, difference.span.column),
            paint::strong(&difference.path),
            paint::good(&difference.expected),
            paint::bad(&difference.came)
        )
    }

    fn unmatched(&self, unmatched: &Unmatched) -> String {
        let text = |key: &str| unmatched.request[key].as_str().unwrap_or_default().to_owned();
        let mut lines = format!(
            "\n       {}  no stub of `{}` is for the request\n         {} {}",
            self.place(self.case.span.line, self.case.span.column),
            unmatched.connection,
            paint::bad(&request(&unmatched.request)),
            paint::dim(&format!("at {}", text("at")))
        );
        let body = brief(&unmatched.request["body"]);
        if !body.is_empty() {
            lines.push_str(&format!("\n         body {body}"));
        }
        match &unmatched.nearest {
            None => {
                lines.push_str(&format!(
                    "\n         the case has no stubs for `{}`: add `given: {{ connections: {{ {}: [..] }} }}`",
                    unmatched.connection, unmatched.connection
                ));
            }
            Some(nearest) => {
                lines.push_str(&format!(
                    "\n         the nearest stub is {}  {}",
                    self.place(nearest.span.line, nearest.span.column),
                    nearest.words
                ));
                if let Some(times) = nearest.used_up {
                    lines.push_str(&format!("\n           it is used up after `times: {times}`"));
                }
                for difference in &nearest.differences {
                    lines.push_str(&format!(
                        "\n           {:<9} expected {}, came {}",
                        difference.path,
                        paint::good(&difference.expected),
                        paint::bad(&difference.came)
                    ));
                }
            }
        }
        lines
    }

    /// How the run went: its steps and what was asked.
    fn run(&self) -> String {
        let mut text = String::new();
        let Some(record) = &self.verdict.record else { return text };
        let status = record.header.status.name();
        let why = record
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| format!(": {}", live::describe(failure)));
        text.push_str(&format!("\n       the run {}{why}", paint::status(status)));
        for step in &record.steps {
            describe(step, 0, &mut text);
        }
        if self.verdict.requests.is_empty() {
            text.push_str("\n       no request was made");
        } else {
            text.push_str("\n       requests");
            let rows: Vec<[String; 4]> = self
                .verdict
                .requests
                .iter()
                .map(|(connection, asked)| {
                    let at = asked["at"].as_str().unwrap_or_default().to_owned();
                    let status = match &asked["status"] {
                        Value::String(word) => word.clone(),
                        other => other.to_string(),
                    };
                    [connection.clone(), at, request(asked), status]
                })
                .collect();
            let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let (first, second) = (width(0), width(1));
            for [connection, at, asked, status] in &rows {
                text.push_str(&format!(
                    "\n         {connection:<first$}  {at:<second$}  {asked} -> {status}"
                ));
            }
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let differences: Vec<Value> =
            self.verdict.differences.iter().map(|one| self.difference_json(one)).collect();
        let unmatched: Vec<Value> = self
            .verdict
            .unmatched
            .iter()
            .map(|one| {
                let nearest = one.nearest.as_ref().map(|nearest| {
                    let differences: Vec<Value> =
                        nearest.differences.iter().map(|one| self.difference_json(one)).collect();
                    json!({
                        "line": nearest.span.line, "column": nearest.span.column, "request": nearest.words,
                        "used_up": nearest.used_up.is_some(), "differences": differences,
                    })
                });
                json!({ "connection": one.connection, "request": one.request, "nearest": nearest })
            })
            .collect();
        let requests: Vec<Value> = self
            .verdict
            .requests
            .iter()
            .map(|(connection, request)| json!({ "connection": connection, "request": request }))
            .collect();
        json!({
            "workflow": self.workflow, "file": self.file, "line": self.case.span.line, "name": self.case.name,
            "status": if self.verdict.passed() { "passed" } else { "failed" },
            "millis": u64::try_from(self.verdict.took.as_millis()).unwrap_or(u64::MAX),
            "trouble": self.verdict.trouble.as_ref().map(|trouble| format!("{trouble:#}")),
            "differences": differences, "unmatched": unmatched, "requests": requests,
            "result": {
                "status": self.verdict.result["status"], "output": self.verdict.result["output"],
                "error": self.verdict.result["error"], "steps": self.verdict.result["steps"],
            },
        })
    }

    fn difference_json(&self, one: &Difference) -> Value {
        json!({
            "file": self.file, "line": one.span.line, "column": one.span.column, "path": one.path,
            "expected": one.expected, "came": one.came,
        })
    }
}

/// Of which cases steps and requests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Everything {
    OfFailures,
    OfAll,
}

/// `GET /rest/v1/devices?active=is.true`
fn request(asked: &Value) -> String {
    let text = |key: &str| asked[key].as_str().unwrap_or_default();
    if text("method").is_empty() {
        return "connection".to_owned();
    }
    let query: Vec<String> = asked["query"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            Value::String(value) => format!("{name}={value}"),
            other => format!("{name}={other}"),
        })
        .collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{} {}{query}", text("method"), text("path"))
}

/// One line for a step, with its attempts where there were several, and its inner steps.
fn describe(step: &StepRecord, depth: usize, text: &mut String) {
    let pad = "  ".repeat(depth);
    let name = match &step.key {
        Some(key) => format!("[{key}]"),
        None => step.id.clone(),
    };
    let status = step.status.map_or_else(|| paint::warn("not ended"), |status| paint::status(status.name()));
    let counts = step.counts.map_or_else(String::new, |counts| match live::brief(&counts).as_str() {
        "" => " (no items)".to_owned(),
        brief => format!(" ({brief})"),
    });
    let why = match (&step.failure, &step.reason) {
        (Some(failure), _) => format!(": {}", live::describe(failure)),
        (None, Some(reason)) => format!(": {reason}"),
        (None, None) => String::new(),
    };
    let calls = step.attempts.len();
    let calls = if calls > 1 { format!(" after {calls} calls") } else { String::new() };
    text.push_str(&format!("\n         {pad}{name} {status}{counts}{calls}{why}"));
    for inner in &step.inner {
        describe(inner, depth + 1, text);
    }
}
