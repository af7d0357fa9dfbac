//! From a workflow's text to a checked [`Workflow`], or to every problem of the file at once.
//!
//! [`check`] reads the YAML ([`crate::document`]), walks it keyword by keyword and compares every call with the
//! plugins' own types and every expression with the names that are there at its place. Where to add a keyword: the
//! module of its part (`steps`, `outcomes` for what may happen to a step, `triggers`), the type in [`crate::plan`],
//! and a code in [`crate::problem::catalog`] if none fits.

mod admission;
mod calls;
mod capabilities;
mod defaults;
mod expressions;
mod fields;
mod inputs;
mod names;
mod neighbours;
mod outcomes;
mod references;
mod schedules;
mod scope;
mod steps;
mod triggers;
mod values;
mod webhooks;

pub(crate) use schedules::unknown_zone;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::document::{Document, Node};
use crate::expression::{Template, suggest};
use crate::library::Library;
use crate::plan::{Input, Workflow};
use crate::problem::{Problem, Problems, codes};
use crate::project::Project;
use crate::signature::{Capability, Plugin};
use crate::vocabulary::WORKFLOW;
use defaults::Defaults;
use scope::{Declared, Scope, Variable};

/// What a workflow is held against.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The plugins' types, by name.
    pub plugins: &'a BTreeMap<String, Plugin>,
    /// The inventory. Without one any connection, folder and store is taken to exist.
    pub project: Option<&'a Project>,
    /// The project's workflows, this one or not, for `uses: workflow/NAME` and `on-failure`.
    pub library: &'a Library,
}

/// Workflows that were checked because others name them.
type Neighbours = RefCell<BTreeMap<String, neighbours::Neighbour>>;

/// Reads and checks a workflow that stands alone: it can name no other one. Else as [`check_among`].
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
    let library = Library::default();
    check_among(file, text, Surroundings { plugins, project, library: &library })
}

/// Reads and checks a workflow. `file` is shown in problems as it stands; its stem becomes the workflow's id. The
/// workflow is there if there are no errors; warnings do not prevent it. Of the workflows that it names only the
/// number of errors is told: each is checked by itself to see them.
#[must_use]
pub fn check_among(file: &str, text: &str, surroundings: Surroundings<'_>) -> (Option<Workflow>, Problems) {
    check_inner(file, text, surroundings, &Neighbours::default())
}

fn check_inner(
    file: &str,
    text: &str,
    surroundings: Surroundings<'_>,
    neighbours: &Neighbours,
) -> (Option<Workflow>, Problems) {
    let mut problems = Problems::new(file, text);
    let Some(document) = Document::read(text, &mut problems) else {
        return (None, problems);
    };
    let mut checker = Checker {
        id: stem(file).to_owned(),
        text,
        surroundings,
        neighbours,
        children: BTreeMap::new(),
        plugins: BTreeMap::new(),
        defaults: Defaults::default(),
        problems,
        names: BTreeMap::new(),
        inputs: Vec::new(),
        declared: BTreeMap::new(),
        variables: BTreeMap::new(),
        before_items: false,
    };
    let workflow = checker.workflow(&document.root);
    let problems = checker.problems;
    (workflow.filter(|_| !problems.has_errors()), problems)
}

/// `workflows/update-photo.yaml` -> `update-photo`
pub(crate) fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name)
}

/// What is known while a file is checked.
struct Checker<'a> {
    id: String,
    text: &'a str,
    surroundings: Surroundings<'a>,
    neighbours: &'a Neighbours,
    /// The neighbours that it names.
    children: BTreeMap<String, Arc<Workflow>>,
    /// The plugins that it names, with the sha256 of their components.
    plugins: BTreeMap<String, String>,
    defaults: Defaults,
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
    fn workflow(&mut self, root: &Node) -> Option<Workflow> {
        if root.is_null() {
            self.problems.report(
                Problem::error(codes::MISSING_KEY, root.span, "the file is empty")
                    .help("a workflow has at least `steps:`, a list of steps"),
            );
            return None;
        }
        let fields = self.map(root, &WORKFLOW)?;
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
        for key in ["steps", "finally", "on-failure"] {
            if let Some(node) = fields.get(key) {
                self.declare_steps(node, None);
            }
        }
        let mut scope = Scope::of_workflow(&self.inputs);
        if let Some(node) = fields.get("defaults") {
            self.defaults = self.defaults(node, &scope);
        }
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
        let on_failure = fields.get("on-failure").and_then(|node| self.on_failure(node, &scope));
        let triggers = fields.get("triggers").map(|node| self.trigger_list(node)).unwrap_or_default();
        let concurrency = fields.get("concurrency").and_then(|node| self.concurrency(node));
        let priority = fields.get("priority").and_then(|node| self.priority(node));
        let debounce = fields.get("debounce").and_then(|node| self.debounce(node));
        let deadline = fields.get("deadline").and_then(|node| self.duration(node, "deadline"));
        let id = self.id.clone();
        let mut of = |capability: Capability| self.names.remove(capability.name()).unwrap_or_default();
        Some(Workflow {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            description,
            connections: of(Capability::Connection),
            folders: of(Capability::Folder),
            stores: of(Capability::Store),
            inputs: std::mem::take(&mut self.inputs),
            steps,
            finally,
            output,
            triggers,
            concurrency,
            priority: priority.unwrap_or_default(),
            debounce,
            deadline,
            on_failure,
            children: std::mem::take(&mut self.children),
            plugins: std::mem::take(&mut self.plugins),
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
        let project = self.surroundings.project?;
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
