//! `NAME.test.yaml`: cases of the workflow `NAME`, what stands in for the world in each, and what must come of it.
//!
//! [`check`] reads a file and reports every problem at once, against the workflow's own steps and inputs and the
//! connections and folders of `bascule.yaml`. Running the cases is the command line's business (`bascule test`); comparing
//! is done here: [`Expect::differences`], [`RequestPattern::differences`].
//!
//! Start from [`Suite`].

mod expect;
mod given;
mod matcher;
mod reader;
mod request;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub use expect::Expect;
pub use given::{Answer, Content, Fault, Given, Reply, SYSTEMS, Simulator, StepStub, Stub};
pub use matcher::{Difference, Matcher, show};
pub use request::{RequestPattern, brief};

use crate::document::{Document, Entry, Node, Span};
use crate::expression::{Template, suggest};
use crate::plan::{Action, OnFailure, Step, Workflow};
use crate::problem::{Problem, Problems, codes};
use crate::project::Project;
use reader::Reader;

/// The cases of a workflow.
#[derive(Clone, Debug)]
pub struct Suite {
    /// In their order.
    pub cases: Vec<Case>,
}

/// One run and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, in words.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// `inputs:`, with `simulator` in scope.
    pub inputs: Option<Template>,
    /// `trigger:` as expressions see it.
    pub trigger: Option<TriggerGiven>,
    /// What stands in for the world.
    pub given: Given,
    /// What must come of it.
    pub expect: Expect,
}

/// `trigger: { kind: webhook, body: .. }`
#[derive(Clone, Debug)]
pub struct TriggerGiven {
    /// Where it stands.
    pub span: Span,
    /// Which of the workflow's triggers; without it the only one of that kind.
    pub id: Option<String>,
    /// The value.
    pub value: Map<String, Value>,
}

/// What expressions of `expect` and of request patterns see.
const SEES: [&str; 12] = [
    "value",
    "status",
    "output",
    "error",
    "steps",
    "undo",
    "files",
    "inputs",
    "trigger",
    "run",
    "requests",
    "simulator",
];

/// What there is to be named.
struct Names<'a> {
    workflow: &'a str,
    steps: BTreeSet<String>,
    connections: Option<Vec<&'a str>>,
    folders: Option<Vec<&'a str>>,
}

const KEYS: [&str; 5] = ["description", "shared", "inputs", "given", "cases"];
const CASE: [&str; 6] = ["name", "description", "inputs", "trigger", "given", "expect"];

/// Reads the test file of a workflow. Without a project any connection and folder is taken to exist. The suite is there if
/// there are no errors. `file` is shown in the problems as it stands.
#[must_use]
pub fn check(
    file: &str,
    text: &str,
    workflow: &Workflow,
    project: Option<&Project>,
) -> (Option<Suite>, Problems) {
    let mut problems = Problems::new(file, text);
    let Some(document) = Document::read(text, &mut problems) else {
        return (None, problems);
    };
    let mut steps = BTreeSet::new();
    gather_all(workflow, &mut steps);
    let names = Names {
        workflow: &workflow.id,
        steps,
        connections: project.map(|project| project.connections.keys().map(String::as_str).collect()),
        folders: project.map(|project| project.folders.keys().map(String::as_str).collect()),
    };
    let mut reader = Reader { text, problems: &mut problems };
    let cases = suite(&mut reader, &document.root, workflow, &names);
    (Some(Suite { cases }).filter(|_| !problems.has_errors()), problems)
}

/// The steps of a workflow and of those that it calls.
fn gather_all(workflow: &Workflow, ids: &mut BTreeSet<String>) {
    gather(&workflow.steps, ids);
    gather(&workflow.finally, ids);
    if let Some(OnFailure::Steps(steps)) = &workflow.on_failure {
        gather(steps, ids);
    }
    for child in workflow.children.values() {
        gather_all(child, ids);
    }
}

fn gather(steps: &[Step], ids: &mut BTreeSet<String>) {
    for step in steps {
        ids.insert(step.id.clone());
        if let Action::Block { steps, .. } = &step.action {
            gather(steps, ids);
        }
    }
}

fn suite(reader: &mut Reader<'_>, root: &Node, workflow: &Workflow, names: &Names<'_>) -> Vec<Case> {
    if root.is_null() {
        let help = "a test file has `cases:`, a list of cases, each with `name` and `expect`";
        reader.error(codes::MISSING_KEY, root.span, "the file is empty", help);
        return Vec::new();
    }
    let Some(entries) = reader.known(root, "a test file", &KEYS) else { return Vec::new() };
    let of = |key: &str| entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.value);
    let shared = of("given").map(|node| given::read(reader, node, names)).unwrap_or_default();
    let inputs = of("inputs").map(|node| given::map(reader, node, "`inputs`")).unwrap_or_default();
    let Some(node) = of("cases") else {
        if suggest::nearest("cases", root.as_map().unwrap_or_default().iter().map(|e| e.key.text.as_str()))
            .is_none()
        {
            reader.missing(root, "a test file", "cases", "a list of cases, each with `name` and `expect`");
        }
        return Vec::new();
    };
    let mut cases: Vec<Case> = Vec::new();
    for node in reader.items(node, "`cases`", "each case begins with `- name: ..`") {
        let Some(case) = case(reader, node, workflow, names, &shared, &inputs) else { continue };
        if cases.iter().any(|other| other.name == case.name) {
            let message = format!("two cases are called `{}`", case.name);
            reader.error(codes::CASE_NAME, case.span, message, "give each a name of its own");
        }
        cases.push(case);
    }
    cases
}

fn case(
    reader: &mut Reader<'_>,
    node: &Node,
    workflow: &Workflow,
    names: &Names<'_>,
    shared: &Given,
    common: &Map<String, Value>,
) -> Option<Case> {
    let entries = reader.known(node, "a case", &CASE)?;
    let of = |key: &str| entries.iter().find(|entry| entry.key.text == key).copied();
    let mut span = node.span;
    let name = match of("name") {
        Some(entry) => {
            span = entry.value.span;
            reader.text_of(&entry.value, "`name`")
        }
        None => {
            reader.missing(node, "a case", "name", "what it shows, in words");
            None
        }
    };
    let trigger = of("trigger").and_then(|entry| trigger(reader, &entry.value, workflow));
    let inputs = match (of("inputs"), &trigger) {
        (None, Some(_)) => None,
        (entry, _) => Some(inputs(reader, entry, node, workflow, common)?),
    };
    let given = of("given").map(|entry| given::read(reader, &entry.value, names)).unwrap_or_default();
    let expect = match of("expect") {
        Some(entry) => expect::read(reader, &entry.value, names),
        None => {
            reader.missing(node, "a case", "expect", "at least `status: succeeded`");
            Expect::default()
        }
    };
    Some(Case { name: name?, span, inputs, trigger, given: given.over(shared), expect })
}

/// The inputs over those that all cases share; without expressions they are held against the workflow's own.
fn inputs(
    reader: &mut Reader<'_>,
    entry: Option<&Entry>,
    case: &Node,
    workflow: &Workflow,
    common: &Map<String, Value>,
) -> Option<Template> {
    let own = entry.map(|entry| given::map(reader, &entry.value, "`inputs`")).unwrap_or_default();
    let mut all = common.clone();
    all.extend(own);
    let template = match Template::parse(&Value::Object(all.clone())) {
        Ok(template) => template,
        Err(error) => {
            let span = entry.map_or(case.span, |entry| entry.value.span);
            reader
                .problems
                .report(Problem::error(codes::EXPRESSION, span, error.to_string()).help_if(error.help));
            return None;
        }
    };
    if let Some(Value::Object(values)) = template.literal()
        && let Err(problems) = workflow.accept_inputs(values.clone())
    {
        for problem in problems {
            let written = entry.and_then(|entry| entry.value.entry(&problem.input));
            let first = case.as_map().and_then(|entries| entries.first());
            let span = match (written, entry, first) {
                (Some(input), ..) => input.key.span,
                (None, Some(entry), _) => entry.key.span,
                (None, None, Some(first)) => first.key.span,
                _ => case.span,
            };
            reader
                .problems
                .report(Problem::error(codes::CASE_INPUTS, span, problem.message).help_if(problem.help));
        }
        return None;
    }
    Some(template)
}

fn trigger(reader: &mut Reader<'_>, node: &Node, workflow: &Workflow) -> Option<TriggerGiven> {
    let mut value = given::map(reader, node, "`trigger`");
    let id = match value.shift_remove("id") {
        Some(Value::String(id)) => Some(id),
        _ => None,
    };
    let ids = || workflow.triggers.iter().map(|trigger| trigger.id.as_str());
    if let Some(id) = &id
        && !ids().any(|known| known == id)
    {
        let span = node.get("id").map_or(node.span, |node| node.span);
        let message = format!("`{}` has no trigger `{id}`", workflow.id);
        let help = suggest::help(id, ids(), "there are").unwrap_or_else(|| "it has no triggers".to_owned());
        reader.error(codes::CASE_NAME, span, message, help);
        return None;
    }
    if id.is_none() && !value.contains_key("kind") {
        let help = "for example `kind: webhook`; further keys are what expressions see as `trigger`";
        reader.missing(node, "`trigger`", "kind", help);
        return None;
    }
    Some(TriggerGiven { span: node.span, id, value })
}
