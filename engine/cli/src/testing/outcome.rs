//! A run as expectations see it.

use std::collections::HashMap;
use std::path::Path;

use bascule_run::RunOutcome;
use bascule_run::journal::{Outcome, Role};
use bascule_run::record::{RunRecord, StepRecord, UndoRecord};
use bascule_workflow::failure::Failure;
use bascule_workflow::project::Project;
use serde_json::{Map, Value, json};

use super::body;

/// Longer files are measured, not shown.
const MOST_SHOWN: u64 = 64 << 10;

/// `{status, output, error, steps, undo, files}`
pub(super) fn result(outcome: &RunOutcome, record: &RunRecord, project: &Project) -> Value {
    let mut steps = Map::new();
    let mut undo = Map::new();
    let mut known: HashMap<String, Vec<String>> = HashMap::new();
    for step in &record.steps {
        gather(step, &mut steps, &mut undo, &mut known);
    }
    // A step that stands inside a block goes by its id alone, where there is only one of it.
    for (id, places) in known {
        if let [place] = places.as_slice()
            && !steps.contains_key(&id)
            && let Some(value) = steps.get(place).cloned()
        {
            steps.insert(id.clone(), value);
            if let Some(value) = undo.get(place).cloned() {
                undo.insert(id, value);
            }
        }
    }
    json!({
        "status": outcome.status.name(), "output": outcome.output, "error": outcome.failure.as_ref().map(error),
        "steps": steps, "undo": undo, "files": files(project),
    })
}

/// Where the run was not even begun.
pub(super) fn not_started(project: &Project) -> Value {
    json!({ "status": "not-started", "output": null, "error": null, "steps": {}, "undo": {}, "files": files(project) })
}

fn gather(
    step: &StepRecord,
    steps: &mut Map<String, Value>,
    undo: &mut Map<String, Value>,
    known: &mut HashMap<String, Vec<String>>,
) {
    let place = step.place.to_string();
    steps.insert(place.clone(), value(step));
    let word = match &step.undo {
        Some(UndoRecord::Undone) => Some("undone"),
        Some(UndoRecord::Failed(_)) => Some("failed"),
        Some(UndoRecord::Registered) => Some("registered"),
        None => None,
    };
    undo.extend(word.map(|word| (place.clone(), json!(word))));
    if step.key.is_none() {
        known.entry(step.id.clone()).or_default().push(place);
    }
    for inner in &step.inner {
        gather(inner, steps, undo, known);
    }
}

fn value(step: &StepRecord) -> Value {
    let own: Vec<_> = step.attempts.iter().filter(|attempt| attempt.role == Role::Call).collect();
    let mut value = json!({
        "status": step.status.map(|status| status.name()), "reason": step.reason,
        "error": step.failure.as_ref().map(error), "output": output(step), "attempts": own.len(),
    });
    if let Some(with) = own.last().and_then(|attempt| attempt.with.clone()) {
        value["with"] = with;
    }
    if let Some(counts) = &step.counts {
        value["counts"] = counts.to_value();
    }
    let items: Map<String, Value> =
        step.inner.iter().filter_map(|inner| Some((inner.key.clone()?, self::value(inner)))).collect();
    if step.counts.is_some() {
        value["items"] = Value::Object(items);
    }
    match &step.undo {
        Some(UndoRecord::Undone) => value["undo"] = json!("undone"),
        Some(UndoRecord::Failed(_)) => value["undo"] = json!("failed"),
        Some(UndoRecord::Registered) => value["undo"] = json!("registered"),
        None => {}
    }
    value
}

/// The record of a `for-each` has no output of its own: it is the list of the items' outputs.
fn output(step: &StepRecord) -> Value {
    if step.counts.is_some() {
        return step
            .inner
            .iter()
            .filter(|inner| inner.key.is_some())
            .map(|inner| inner.output.clone())
            .collect();
    }
    step.output.clone()
}

/// Every field is there, absent ones are null.
pub(super) fn error(failure: &Failure) -> Value {
    json!({
        "kind": failure.kind.name(), "code": failure.code, "message": failure.message, "effect": failure.effect,
        "retry_after": failure.retry_after, "details": failure.details,
    })
}

/// The files of every folder by name: `{bytes, sha256, text}`, text where it is some.
fn files(project: &Project) -> Value {
    let mut folders = Map::new();
    for (name, folder) in &project.folders {
        let mut found = Map::new();
        walk(Path::new(&folder.path), "", &mut found);
        folders.insert(name.clone(), Value::Object(found));
    }
    Value::Object(folders)
}

fn walk(folder: &Path, prefix: &str, found: &mut Map<String, Value>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            walk(&path, &format!("{name}/"), found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let mut value = body::measured(&bytes);
            if bytes.len() as u64 <= MOST_SHOWN
                && let Ok(text) = String::from_utf8(bytes)
            {
                value["text"] = json!(text);
            }
            found.insert(name, value);
        }
    }
}

/// How the step's own calls ended, for coverage: the last failure before a `catch`.
pub(super) fn last_failure(step: &StepRecord) -> Option<&Failure> {
    step.attempts.iter().rev().find_map(|attempt| match (&attempt.role, &attempt.outcome) {
        (Role::Call, Some(Outcome::Failed(failure))) => Some(failure),
        _ => None,
    })
}
