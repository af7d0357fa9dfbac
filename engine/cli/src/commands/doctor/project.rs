//! bascule.yaml, plugins, workflows.

use std::collections::BTreeSet;
use std::sync::Arc;

use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::plan::{Action, Call, OnFailure, Step, Workflow};
use bascule_workflow::problem::Problems;
use bascule_workflow::project::Project;
use bascule_workflow::trigger::Source;

use super::{Patient, Report, chain};
use crate::site::{INVENTORY, Places, Plugins, count};

const CHECK: &str = "`bascule check` shows each with its place and its help";

/// Reads bascule.yaml.
pub(super) fn inventory(places: &Places, report: &mut Report) -> Option<Project> {
    let path = places.project.join(INVENTORY);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            report.error(
                "config",
                format!("`{}` cannot be read: {error}", path.display()),
                "without it there is no project: no connection, no workflow",
                "make one with `bascule init FOLDER`, or name one with `-C FOLDER`",
            );
            return None;
        }
    };
    let (project, problems) = bascule_workflow::project::check(&path.display().to_string(), &text);
    tell(report, INVENTORY, &problems);
    project
}

fn tell(report: &mut Report, name: &str, problems: &Problems) {
    let first = problems.iter().next().map(|problem| problem.message.clone()).unwrap_or_default();
    let what = format!(
        "{name} has {} and {}, first: {first}",
        count(problems.errors(), "error"),
        count(problems.warnings(), "warning")
    );
    if problems.errors() > 0 {
        report.error(
            "config",
            what,
            "what has an error is not used; a server goes on with what was there before",
            CHECK,
        );
    } else if problems.warnings() > 0 {
        report.warn("config", what, "it is used, and may not mean what it seems to", CHECK);
    }
}

/// Loads the plugins and checks the workflows; gives those that can be used.
pub(super) fn workflows(patient: &Patient<'_>, report: &mut Report) -> Vec<Arc<Workflow>> {
    let Some(project) = &patient.project else { return Vec::new() };
    let plugins = match patient.places.plugins(project) {
        Ok((_, plugins)) => plugins,
        Err(error) => {
            report.error(
                "plugins",
                chain(&error),
                "no workflow runs as long as a plugin of bascule.yaml does not load",
                "put the right file there, or correct `file` and `sha256` (`bascule plugin list` prints digests)",
            );
            return Vec::new();
        }
    };
    let (library, files) =
        match patient.places.library(&[]).and_then(|library| Ok((library, patient.places.workflow_files()?)))
        {
            Ok(read) => read,
            Err(error) => {
                report.error(
                    "config",
                    chain(&error),
                    "the workflows cannot be read",
                    "look at the folder's permissions",
                );
                return Vec::new();
            }
        };
    let signatures = plugins.signatures();
    let (mut good, mut bad) = (Vec::new(), 0);
    for file in &files {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let surroundings = Surroundings { plugins: &signatures, project: Some(project), library: &library };
        let (workflow, problems) = check_among(&file.display().to_string(), &text, surroundings);
        bad += usize::from(!problems.is_empty());
        tell(report, &file.file_name().unwrap_or_default().to_string_lossy(), &problems);
        good.extend(workflow.map(Arc::new));
    }
    if bad == 0 {
        report.ok("config", format!("{INVENTORY} and {} have no problems", count(files.len(), "workflow")));
    }
    loaded(project, &plugins, &good, report);
    good
}

fn loaded(project: &Project, plugins: &Plugins, workflows: &[Arc<Workflow>], report: &mut Report) {
    let mut used = BTreeSet::new();
    for workflow in workflows {
        of_workflow(workflow, &mut used);
    }
    report.ok("plugins", format!("{} load, {} in use", count(plugins.loaded.len(), "plugin"), used.len()));
    for (name, source) in &project.plugins {
        if !used.contains(name) {
            report.warn(
                "plugins",
                format!("no workflow uses the plugin `{name}` of {INVENTORY}"),
                "what is not needed need not be trusted",
                format!("remove the entry `{name}` from `plugins`"),
            );
        }
        if source.sha256.is_none()
            && let Some(loaded) = plugins.loaded.get(name)
        {
            report.warn(
                "plugins",
                format!("the plugin `{name}` has no `sha256` in {INVENTORY}"),
                "whoever can write its file decides what runs with your connections",
                format!("add `sha256: {}` to its entry", loaded.plugin.sha256()),
            );
        }
    }
}

fn of_workflow(workflow: &Workflow, used: &mut BTreeSet<String>) {
    of_steps(&workflow.steps, used);
    of_steps(&workflow.finally, used);
    match &workflow.on_failure {
        Some(OnFailure::Steps(steps)) => of_steps(steps, used),
        Some(OnFailure::Workflow(other)) => of_workflow(other, used),
        None => {}
    }
    for trigger in &workflow.triggers {
        if let Source::Event(event) = &trigger.source {
            of_call(&event.call, used);
            event.catch_up.iter().for_each(|call| of_call(call, used));
        }
    }
    workflow.children.values().for_each(|child| of_workflow(child, used));
}

fn of_steps(steps: &[Step], used: &mut BTreeSet<String>) {
    for step in steps {
        match &step.action {
            Action::Call(call) => of_call(call, used),
            Action::Workflow(_) => {}
            Action::Block { steps, .. } => of_steps(steps, used),
        }
        let beside = step.catch.iter().filter_map(|catch| catch.call.as_ref());
        let beside = beside.chain(step.verify.iter().map(|verify| &verify.call)).chain(&step.undo);
        beside.for_each(|call| of_call(call, used));
    }
}

fn of_call(call: &Call, used: &mut BTreeSet<String>) {
    used.insert(call.plugin.clone());
}
