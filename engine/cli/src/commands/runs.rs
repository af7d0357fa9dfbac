//! `bascule runs`

use std::collections::HashMap;

use anyhow::Result;
use bascule_database::{Database, OpenError};
use bascule_run::RunId;
use bascule_run::journal::{Filter, Journal, JournalError, Outcome, RunHeader, SqliteJournal};
use bascule_run::record::{AttemptRecord, RunRecord, StepRecord, UndoRecord};
use bascule_run::status::Status;
use bascule_trigger::dispatch::{Held, held_runs};
use bascule_workflow::failure::{Effect, Failure};
use jiff::Timestamp;

use crate::arguments::Runs;
use crate::commands::{cancel, rerun, short};
use crate::exit::{Exit, coded, coded_with_help};
use crate::live::{brief, describe};
use crate::paint;
use crate::site::Places;

/// Reads the journal; another process may own the data folder meanwhile.
pub(crate) async fn run(places: Places, command: Runs) -> Result<Exit> {
    let command = match command {
        Runs::Cancel { run } => return cancel::run(places, &run).await,
        Runs::Rerun(options) => return rerun::run(places, options).await,
        other => other,
    };
    let (journal, held) = match Database::open_read_only(&places.database()).await {
        Ok(database) => {
            let journal = SqliteJournal::open(database.clone()).await?;
            let held = held_runs(&database).await?.into_iter().map(|held| (held.run, held));
            (Some(journal), held.collect::<HashMap<RunId, Held>>())
        }
        Err(OpenError::Missing { .. }) => (None, HashMap::new()),
        Err(error) => return Err(error.into()),
    };
    match command {
        Runs::List { workflow, status, since, limit, json } => {
            let statuses = match status {
                None => Vec::new(),
                Some(word) => vec![Status::from_name(&word).ok_or_else(|| {
                    let known: Vec<&str> = Status::ALL.into_iter().map(Status::name).collect();
                    coded_with_help(
                        Exit::Usage,
                        format!("`{word}` is not a status"),
                        format!("one of {}", known.join(", ")),
                    )
                })?],
            };
            let filter = Filter { workflow, statuses, limit: Some(limit) };
            let runs = match &journal {
                Some(journal) => journal.runs(&filter).await?,
                None => Vec::new(),
            };
            let recent = |run: &RunHeader| since.is_none_or(|since| run.started_at >= since);
            let runs: Vec<RunHeader> = runs.into_iter().filter(recent).collect();
            list(&runs, &held, json)
        }
        // Done above.
        Runs::Cancel { .. } | Runs::Rerun(_) => Ok(Exit::Success),
        Runs::Show { run, step, item, json } => {
            let Some(journal) = &journal else {
                return Err(coded(Exit::NotFound, "nothing has run here yet"));
            };
            let record = find(journal, &run).await?;
            match item {
                Some(item) => show_item(&record, step.as_deref(), &item, json),
                None => show(&record, held.get(&record.header.id), step.as_deref(), json),
            }
        }
    }
}

/// The run that was named: `last`, an id, or the beginning of one.
pub(crate) async fn find(journal: &SqliteJournal, name: &str) -> Result<RunRecord> {
    let id = if name == "last" {
        let newest = journal.runs(&Filter { limit: Some(1), ..Filter::default() }).await?;
        let Some(newest) = newest.first() else {
            return Err(coded(Exit::NotFound, "nothing has run here yet"));
        };
        newest.id.to_string()
    } else {
        name.to_owned()
    };
    RunRecord::read(journal, &id).await.map_err(|error| match error {
        JournalError::NoSuchRun(_) => coded_with_help(
            Exit::NotFound,
            format!("there is no run `{name}`"),
            "`bascule runs list` shows the latest",
        ),
        JournalError::Ambiguous { .. } => coded(Exit::NotFound, error.to_string()),
        other => other.into(),
    })
}

fn list(runs: &[RunHeader], held: &HashMap<RunId, Held>, as_json: bool) -> Result<Exit> {
    if as_json {
        paint::line(serde_json::to_string_pretty(runs)?);
        return Ok(Exit::Success);
    }
    if runs.is_empty() {
        paint::line("no runs");
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            vec![
                short(run.id),
                run.workflow.clone(),
                paint::status(run.status.name()),
                local(run.started_at),
                run.ended_at.map_or_else(|| "-".to_owned(), |end| took(run.started_at, end)),
                match held.get(&run.id) {
                    Some(held) => format!("held: {}", held.reason),
                    None => run.problem.clone().unwrap_or_default(),
                },
            ]
        })
        .collect();
    paint::line(paint::table(&["run", "workflow", "status", "started", "took", "why"], &rows));
    Ok(Exit::Success)
}

/// An instant in this machine's zone, to the second.
fn local(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn took(from: Timestamp, to: Timestamp) -> String {
    paint::span(to.as_millisecond() - from.as_millisecond())
}

fn show(record: &RunRecord, held: Option<&Held>, step: Option<&str>, as_json: bool) -> Result<Exit> {
    if let Some(id) = step
        && !record.steps.iter().any(|known| known.id == id)
    {
        let known: Vec<&str> = record.steps.iter().map(|known| known.id.as_str()).collect();
        return Err(coded_with_help(
            Exit::NotFound,
            format!("the run has no step `{id}`"),
            format!("it has {}", known.join(", ")),
        ));
    }
    if as_json {
        let mut value = serde_json::to_value(record)?;
        value["held"] = serde_json::to_value(held)?;
        paint::line(serde_json::to_string_pretty(&value)?);
        return Ok(Exit::Success);
    }
    let header = &record.header;
    paint::line(format!("{} {}", paint::strong(&header.workflow), paint::status(header.status.name())));
    paint::line(format!("  run      {}", header.id));
    paint::line(format!("  text     sha256:{}", header.digest));
    for (name, sha256) in &record.plugins {
        paint::line(format!("  plugin   {name} sha256:{sha256}"));
    }
    paint::line(format!("  started  {}", local(header.started_at)));
    if let Some(end) = header.ended_at {
        paint::line(format!("  ended    {} (after {})", local(end), took(header.started_at, end)));
    }
    if let Some(deadline) = record.deadline {
        paint::line(format!("  deadline {}", local(deadline)));
    }
    for alert in &record.alerts {
        paint::line(format!("  alert    run {alert}"));
    }
    if let Some(held) = held {
        let since = local(held.since);
        paint::line(format!("  held     since {since}: {}", paint::bad(&held.reason)));
    }
    for (name, value) in &record.inputs {
        paint::line(format!("  input    {name} = {value}"));
    }
    if let Some(failure) = &record.failure {
        explain(failure, "  ");
    }
    paint::line("");
    for record in record.steps.iter().filter(|known| step.is_none_or(|id| known.id == id)) {
        describe_step(record, 0, header.started_at);
    }
    if step.is_none() && !record.output.is_null() {
        paint::line(format!("\noutput {}", serde_json::to_string_pretty(&record.output)?));
    }
    for line in &record.lines {
        paint::line(paint::dim(&format!(
            "{} {} {}: {}",
            local(line.at),
            line.place,
            line.level,
            line.message
        )));
    }
    if header.status == Status::Interrupted {
        paint::line(
            "\nA step's outcome is not known and it may not be repeated (`repeat: never`). Look at the device, then decide what to do.",
        );
    }
    Ok(Exit::Success)
}

/// One item, wherever it is.
fn show_item(record: &RunRecord, step: Option<&str>, item: &str, as_json: bool) -> Result<Exit> {
    fn gather<'r>(steps: &'r [StepRecord], step: Option<&str>, found: &mut Vec<&'r StepRecord>) {
        for one in steps {
            if one.key.is_some() && step.is_none_or(|id| one.id == id) {
                found.push(one);
            }
            gather(&one.inner, step, found);
        }
    }
    let mut items = Vec::new();
    gather(&record.steps, step, &mut items);
    let (wanted, others): (Vec<&StepRecord>, Vec<&StepRecord>) =
        items.into_iter().partition(|one| one.key.as_deref() == Some(item));
    if wanted.is_empty() {
        let mut keys: Vec<&str> = others.iter().filter_map(|one| one.key.as_deref()).collect();
        keys.sort_unstable();
        keys.dedup();
        return Err(coded_with_help(
            Exit::NotFound,
            format!("the run has no item `{item}`"),
            if keys.is_empty() {
                "it has no items".to_owned()
            } else {
                format!("it has {}", keys.join(", "))
            },
        ));
    }
    if as_json {
        paint::line(serde_json::to_string_pretty(&wanted)?);
        return Ok(Exit::Success);
    }
    for one in wanted {
        paint::line(paint::strong(&one.id));
        describe_step(one, 1, record.header.started_at);
    }
    Ok(Exit::Success)
}

fn describe_step(step: &StepRecord, depth: usize, began: Timestamp) {
    let pad = "  ".repeat(depth);
    let name = match &step.key {
        Some(key) => format!("[{key}]"),
        None => step.id.clone(),
    };
    let status = step.status.map_or_else(|| paint::warn("not ended"), |status| paint::status(status.name()));
    let time = step.ended_at.map_or_else(String::new, |end| took(step.started_at, end));
    let counts = step.counts.map_or_else(String::new, |counts| format!(" ({})", brief(&counts)));
    let reason = step.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let at = format!("+{}", took(began, step.started_at));
    paint::line(format!(
        "{pad}{name} {status}{counts}{reason} {}",
        paint::dim(&format!("{at}, took {time}"))
    ));
    if let Some(failure) = &step.failure {
        explain(failure, &format!("{pad}  "));
    }
    // One attempt that simply worked needs no line of its own.
    let plain = step.attempts.len() == 1 && matches!(step.attempts[0].outcome, Some(Outcome::Done(_)));
    if !plain {
        for attempt in &step.attempts {
            describe_attempt(attempt, &format!("{pad}  "));
        }
    }
    if let Some(called) = &step.called {
        paint::line(paint::dim(&format!("{pad}  workflow {}", called.workflow)));
    }
    if let Some(due) = step.waiting_until {
        paint::line(format!("{pad}  waits until {}", local(due)));
    }
    match &step.undo {
        Some(UndoRecord::Undone) => paint::line(format!("{pad}  undone")),
        Some(UndoRecord::Failed(failure)) => {
            paint::line(format!("{pad}  could not be undone: {}", describe(failure)))
        }
        Some(UndoRecord::Registered) | None => {}
    }
    for inner in &step.inner {
        describe_step(inner, depth + 1, began);
    }
}

fn describe_attempt(attempt: &AttemptRecord, pad: &str) {
    let outcome = match &attempt.outcome {
        None => paint::warn("outcome not known"),
        Some(Outcome::Done(_)) => paint::good("done"),
        Some(Outcome::Failed(failure)) => {
            let effect = match failure.effect {
                Effect::None => "",
                Effect::Applied => "; the change was made",
                Effect::Unknown => "; whether it was done is not known",
            };
            format!("{}{effect}", describe(failure))
        }
    };
    let time =
        attempt.ended_at.map_or_else(String::new, |end| format!(" in {}", took(attempt.started_at, end)));
    paint::line(format!(
        "{pad}{} {} attempt {}{time}: {outcome}",
        attempt.role.name(),
        paint::dim(&attempt.function),
        attempt.attempt
    ));
    if let Some(Outcome::Failed(Failure { details: Some(serde_json::Value::Object(details)), .. })) =
        &attempt.outcome
    {
        let details: Vec<String> = details.iter().map(|(name, value)| format!("{name} {value}")).collect();
        paint::line(paint::dim(&format!("{pad}  {}", details.join(", "))));
    }
}

/// A failure with everything that was kept of it.
fn explain(failure: &Failure, pad: &str) {
    paint::line(format!("{pad}{}", paint::bad(&describe(failure))));
    if let Some(after) = failure.retry_after {
        let millis = i64::try_from(after).unwrap_or(i64::MAX);
        paint::line(format!("{pad}  another try may succeed after {}", paint::span(millis)));
    }
    if let Some(serde_json::Value::Object(details)) = &failure.details {
        for (name, value) in details {
            paint::line(paint::dim(&format!("{pad}  {name}: {value}")));
        }
    }
}
