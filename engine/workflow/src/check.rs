//! From a workflow's text to a checked [`Workflow`], or to every problem of the file at once.
//!
//! [`check`] reads the YAML ([`crate::document`]), walks it keyword by keyword and compares every call with the
//! plugins' own types and every expression with the names that are there at its place. Where to add a keyword: the
//! module of its part (`steps`, `outcomes` for what may happen to a step, `triggers`), the type in [`crate::plan`],
//! and a code in [`crate::problem::catalog`] if none fits.

mod calls;
mod capabilities;
mod expressions;
mod fields;
mod inputs;
mod names;
mod outcomes;
mod references;
mod schedules;
mod scope;
mod steps;
mod triggers;
mod values;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::document::{Document, Node};
use crate::expression::{Template, suggest};
use crate::plan::{Input, Workflow};
use crate::problem::{Problem, Problems, codes};
use crate::project::Project;
use crate::signature::{Capability, Plugin};
use scope::{Declared, Scope, Variable};

const KEYS: [&str; 10] = [
    "name",
    "description",
    "inputs",
    "connections",
    "folders",
    "stores",
    "triggers",
    "steps",
    "finally",
    "output",
];

/// Reads and checks a workflow. `file` is shown in problems as it stands; its stem becomes the workflow's id. Without
/// a project any connection, folder and store is taken to exist. The workflow is there if there are no errors;
/// warnings do not prevent it.
///
/// ```
/// use bascule_workflow::check::check;
/// use bascule_workflow::problem::Look;
///
/// let text = "steps:\n  - uses: isapi/device.info\n";
/// let (workflow, problems) = check("hello.yaml", text, &Default::default(), None);
/// assert!(workflow.is_none());
/// assert!(problems.render(Look::Plain).starts_with("error[WF041]: unknown plugin `isapi`\n --> hello.yaml:2:11\n"));
/// ```
#[must_use]
pub fn check(
    file: &str,
    text: &str,
    plugins: &BTreeMap<String, Plugin>,
    project: Option<&Project>,
) -> (Option<Workflow>, Problems) {
    let mut problems = Problems::new(file, text);
    let Some(document) = Document::read(text, &mut problems) else {
        return (None, problems);
    };
    let mut checker = Checker {
        text,
        plugins,
        project,
        problems,
        names: BTreeMap::new(),
        inputs: Vec::new(),
        declared: BTreeMap::new(),
        variables: BTreeMap::new(),
        before_items: false,
    };
    let workflow = checker.workflow(&document.root, stem(file));
    let problems = checker.problems;
    (workflow.filter(|_| !problems.has_errors()), problems)
}

/// `workflows/update-photo.yaml` -> `update-photo`
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name)
}

/// What is known while a file is checked.
struct Checker<'a> {
    text: &'a str,
    plugins: &'a BTreeMap<String, Plugin>,
    project: Option<&'a Project>,
    problems: Problems,
    /// The workflow's own names: capability -> name in steps -> name in the project.
    names: BTreeMap<&'static str, BTreeMap<String, String>>,
    inputs: Vec<Input>,
    /// Every step that has an `id:`, wherever it stands.
    declared: BTreeMap<String, Declared>,
    /// Every loop variable of the file.
    variables: BTreeMap<String, Variable>,
    /// An `if` is being looked at: there are no items yet.
    before_items: bool,
}

impl<'a> Checker<'a> {
    fn workflow(&mut self, root: &Node, id: &str) -> Option<Workflow> {
        if root.is_null() {
            self.problems.report(
                Problem::error(codes::MISSING_KEY, root.span, "the file is empty")
                    .help("a workflow has at least `steps:`, a list of steps"),
            );
            return None;
        }
        let fields = self.map(root, "a workflow", &KEYS)?;
        let name = fields.get("name").and_then(|node| self.text_of(node, "name"));
        let description = fields.get("description").and_then(|node| self.text_of(node, "description"));
        if let Some(node) = fields.get("inputs") {
            self.inputs = self.input_declarations(node);
        }
        for (key, capability) in [
            ("connections", Capability::Connection),
            ("folders", Capability::Folder),
            ("stores", Capability::Store),
        ] {
            if let Some(node) = fields.get(key) {
                let names = self.local_names(node, key, capability);
                self.names.insert(capability.name(), names);
            }
        }
        for key in ["steps", "finally"] {
            if let Some(node) = fields.get(key) {
                self.declare_steps(node, None);
            }
        }
        let mut scope = Scope::of_workflow(&self.inputs);
        let steps = match fields.get("steps") {
            Some(node) => self.step_list(node, "steps", &mut scope, &steps::Surroundings::top("")),
            None => {
                self.missing(&fields, "steps", "a list of steps, each with `uses` and `with`");
                Vec::new()
            }
        };
        let output = fields.get("output").and_then(|node| self.template(node, &scope));
        let finally = match fields.get("finally") {
            Some(node) => self.step_list(node, "finally", &mut scope, &steps::Surroundings::top("finally.")),
            None => Vec::new(),
        };
        let triggers = fields.get("triggers").map(|node| self.trigger_list(node)).unwrap_or_default();
        let mut of = |capability: Capability| self.names.remove(capability.name()).unwrap_or_default();
        Some(Workflow {
            id: id.to_owned(),
            name: name.unwrap_or_else(|| id.to_owned()),
            description,
            connections: of(Capability::Connection),
            folders: of(Capability::Folder),
            stores: of(Capability::Store),
            inputs: std::mem::take(&mut self.inputs),
            steps,
            finally,
            output,
            triggers,
            digest: hex::encode(Sha256::digest(self.text.as_bytes())),
            text: Arc::from(self.text),
        })
    }

    /// `connections: { hr: hr_production }`
    fn local_names(&mut self, node: &Node, key: &str, capability: Capability) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        let Some(entries) = self.entries(node, &format!("`{key}`")) else {
            return names;
        };
        for entry in entries {
            let Some(name) = self.text_of(&entry.value, &entry.key.text) else {
                continue;
            };
            if let Some(known) = self.project_names(capability)
                && !known.contains(&name.as_str())
            {
                let problem = self.unknown_capability(&name, capability, &known, entry.value.span);
                self.problems.report(problem);
            }
            names.insert(entry.key.text.clone(), name);
        }
        names
    }

    /// What `bascule.yaml` declares, if there is one.
    fn project_names(&self, capability: Capability) -> Option<Vec<&'a str>> {
        let project = self.project?;
        Some(match capability {
            Capability::Connection => project.connections.keys().map(String::as_str).collect(),
            Capability::Folder => project.folders.keys().map(String::as_str).collect(),
            Capability::Store => project.stores.keys().map(String::as_str).collect(),
            Capability::Sink => Vec::new(),
        })
    }

    /// A template without expressions.
    fn constant(value: serde_json::Value) -> Template {
        Template::of_literal(value)
    }

    /// "did you mean", or what there is.
    fn candidates<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
        suggest::help(written, candidates, "there are")
    }
}

#[cfg(test)]
mod tests;
