//! Which steps and catches of a workflow no case reached.

use std::collections::BTreeSet;

use bascule_run::journal::Role;
use bascule_run::record::{RunRecord, StepRecord, UndoRecord};
use bascule_run::status::Status;
use bascule_workflow::plan::{Action, Selector, Step, Workflow};

use super::outcome::last_failure;

/// What cases have reached so far.
#[derive(Default)]
pub(crate) struct Coverage {
    steps: BTreeSet<String>,
    catches: BTreeSet<(String, usize)>,
    undone: BTreeSet<String>,
}

impl Coverage {
    /// Adds what a run reached.
    pub(crate) fn add(&mut self, workflow: &Workflow, record: &RunRecord) {
        for step in &record.steps {
            self.step(workflow, step);
        }
    }

    fn step(&mut self, workflow: &Workflow, record: &StepRecord) {
        let begun = !matches!(record.status, None | Some(Status::Skipped | Status::Cancelled));
        if begun || !record.attempts.is_empty() {
            self.steps.insert(record.id.clone());
        }
        let tried = record.attempts.iter().any(|attempt| attempt.role == Role::Catch);
        if (tried || record.status == Some(Status::Recovered))
            && let Some(failure) = last_failure(record)
            && let Some(step) =
                find(&workflow.steps, &record.id).or_else(|| find(&workflow.finally, &record.id))
            && let Some(index) =
                step.catch.iter().position(|catch| catch.on.iter().any(|on: &Selector| on.matches(failure)))
        {
            self.catches.insert((record.id.clone(), index));
        }
        if matches!(record.undo, Some(UndoRecord::Undone | UndoRecord::Failed(_))) {
            self.undone.insert(record.id.clone());
        }
        for inner in &record.inner {
            self.step(workflow, inner);
        }
    }

    /// What was not reached, in the order of the file: `step \`x\``, `catch 2 of \`photo\``.
    pub(crate) fn missing(&self, workflow: &Workflow) -> Vec<String> {
        let mut missing = Vec::new();
        self.gather(&workflow.steps, &mut missing);
        self.gather(&workflow.finally, &mut missing);
        missing
    }

    fn gather(&self, steps: &[Step], missing: &mut Vec<String>) {
        for step in steps {
            if !self.steps.contains(&step.id) {
                missing.push(format!("step `{}`", step.id));
                continue;
            }
            for (index, catch) in step.catch.iter().enumerate() {
                if self.catches.contains(&(step.id.clone(), index)) {
                    continue;
                }
                let on: Vec<String> = catch.on.iter().take(3).map(word).collect();
                let more = if catch.on.len() > 3 { ", .." } else { "" };
                missing.push(format!("catch of `{}` on {}{more}", step.id, on.join(", ")));
            }
            if step.undo.is_some() && !self.undone.contains(&step.id) {
                missing.push(format!("undo of `{}`", step.id));
            }
            if let Action::Block { steps, .. } = &step.action {
                self.gather(steps, missing);
            }
        }
    }
}

fn word(selector: &Selector) -> String {
    match selector {
        Selector::Any => "any".to_owned(),
        Selector::Kind(kind) => kind.name().to_owned(),
        Selector::Code(code) => code.clone(),
    }
}

fn find<'w>(steps: &'w [Step], id: &str) -> Option<&'w Step> {
    steps.iter().find_map(|step| {
        if step.id == id {
            return Some(step);
        }
        match &step.action {
            Action::Block { steps, .. } => find(steps, id),
            _ => None,
        }
    })
}
