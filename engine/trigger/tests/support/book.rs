//! Workflows from YAML texts, checked against two invented plugins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bascule_run::journal::RunTexts;
use bascule_trigger::Book;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::library::Library;
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::Look;
use bascule_workflow::signature::{Capability, Function, Param, Plugin, Type};
use tokio::sync::watch;

pub(crate) struct Shelf {
    plugins: Mutex<BTreeMap<String, Plugin>>,
    texts: Mutex<BTreeMap<String, String>>,
    version: watch::Sender<u64>,
}

fn plugins() -> BTreeMap<String, Plugin> {
    let param = |name: &str, ty: Type| Param { name: name.to_owned(), ty };
    let function = |params: Vec<Param>| Function { params, result: Some(Type::Json), docs: None };
    let value = || param("value", Type::Option(Box::new(Type::Json)));
    let sink = || param("sink", Type::Capability(Capability::Sink));
    let plugin = |name: &str, functions: Vec<(&str, Function)>| {
        let functions = functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
        (name.to_owned(), Plugin { name: name.to_owned(), functions, ..Plugin::default() })
    };
    BTreeMap::from([
        plugin(
            "demo",
            vec![
                ("things.echo", function(vec![value()])),
                ("things.wait", function(vec![value()])),
                ("things.fail", function(vec![value()])),
                ("events.missed", function(vec![value()])),
                ("events.stream", function(vec![sink(), value()])),
            ],
        ),
        plugin("other", vec![("things.echo", function(vec![value()]))]),
    ])
}

/// The texts as workflows find each other.
fn library<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Library {
    let mut library = Library::default();
    for (id, text) in texts {
        library.insert(&format!("{id}.yaml"), text);
    }
    library
}

/// A workflow of that text.
fn checked(
    id: &str,
    text: &str,
    plugins: &BTreeMap<String, Plugin>,
    library: &Library,
) -> Result<Workflow, String> {
    let surroundings = Surroundings { plugins, project: None, library };
    let (workflow, problems) = check_among(&format!("{id}.yaml"), text, surroundings);
    workflow.ok_or_else(|| problems.render(Look::Plain))
}

impl Shelf {
    pub(crate) fn new(workflows: &[(&str, &str)]) -> Self {
        let texts = workflows.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
        let shelf =
            Self { plugins: Mutex::new(plugins()), texts: Mutex::new(texts), version: watch::Sender::new(0) };
        let library = library(workflows.iter().copied());
        for (id, text) in workflows {
            if let Err(problems) = checked(id, text, &plugins(), &library) {
                panic!("{problems}");
            }
        }
        shelf
    }

    /// A file is edited, added, or (without text) removed.
    pub(crate) fn edit(&self, id: &str, text: Option<&str>) {
        let mut texts = self.texts.lock().unwrap();
        match text {
            Some(text) => texts.insert(id.to_owned(), text.to_owned()),
            None => texts.remove(id),
        };
        drop(texts);
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn remove_plugin(&self, name: &str) {
        self.plugins.lock().unwrap().remove(name);
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn bring_back_plugins(&self) {
        *self.plugins.lock().unwrap() = plugins();
        self.version.send_modify(|version| *version += 1);
    }
}

#[async_trait::async_trait]
impl Book for Shelf {
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>> {
        let texts = self.texts.lock().unwrap().clone();
        let library = library(texts.iter().map(|(id, text)| (id.as_str(), text.as_str())));
        checked(workflow, texts.get(workflow)?, &self.plugins.lock().unwrap(), &library).ok().map(Arc::new)
    }

    fn all(&self) -> Vec<Arc<Workflow>> {
        let ids: Vec<String> = self.texts.lock().unwrap().keys().cloned().collect();
        ids.iter().filter_map(|id| self.current(id)).collect()
    }

    async fn of_text(
        &self,
        workflow: &str,
        digest: &str,
        texts: &RunTexts,
    ) -> Result<Arc<Workflow>, Failure> {
        let all = self.texts.lock().unwrap().clone();
        let library = library(all.iter().map(|(id, text)| (id.as_str(), text.as_str())));
        let found = checked(workflow, &texts.text, &self.plugins.lock().unwrap(), &library);
        let found = found.map_err(|problems| Failure::new(Kind::Unsupported, problems))?;
        assert_eq!(found.digest, digest);
        Ok(Arc::new(found))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
