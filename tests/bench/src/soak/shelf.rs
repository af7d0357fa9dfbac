//! The workflows of the site, checked once: nobody edits them in the year.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bascule_run::journal::RunTexts;
use bascule_server::Reload;
use bascule_trigger::Book;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::library::Library;
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::Look;
use bascule_workflow::project::{self, Project};
use bascule_workflow::signature::Plugin;
use tokio::sync::watch;

/// A project that was read, with its inventory.
pub(crate) struct Shelf {
    pub(crate) project: Project,
    workflows: BTreeMap<String, Arc<Workflow>>,
    version: watch::Sender<u64>,
}

const INVENTORY: &str = "bascule.yaml";

impl Shelf {
    /// Reads `bascule.yaml` and every other YAML file of the folder.
    pub(crate) fn read(folder: &Path, plugins: &BTreeMap<String, Plugin>) -> Result<Self> {
        let text = fs::read_to_string(folder.join(INVENTORY))?;
        let (project, problems) = project::check(INVENTORY, &text);
        let project = project.with_context(|| problems.render(Look::Plain))?;
        let mut texts = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name != INVENTORY && path.extension().is_some_and(|extension| extension == "yaml") {
                texts.insert(name, fs::read_to_string(&path)?);
            }
        }
        let mut library = Library::default();
        for (file, text) in &texts {
            library.insert(file, text);
        }
        let mut workflows = BTreeMap::new();
        for (file, text) in &texts {
            let around = Surroundings { plugins, project: Some(&project), library: &library };
            let (workflow, problems) = check_among(file, text, around);
            let Some(workflow) = workflow else { bail!("{}", problems.render(Look::Plain)) };
            workflows.insert(workflow.id.clone(), Arc::new(workflow));
        }
        ensure!(!workflows.is_empty(), "no workflows in {}", folder.display());
        Ok(Self { project, workflows, version: watch::Sender::new(1) })
    }
}

#[async_trait]
impl Book for Shelf {
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>> {
        self.workflows.get(workflow).cloned()
    }

    fn all(&self) -> Vec<Arc<Workflow>> {
        self.workflows.values().cloned().collect()
    }

    async fn of_text(
        &self,
        workflow: &str,
        digest: &str,
        _texts: &RunTexts,
    ) -> Result<Arc<Workflow>, Failure> {
        let found = self.current(workflow).filter(|found| found.digest == digest);
        found.ok_or_else(|| Failure::new(Kind::Unsupported, format!("`{workflow}` has another text")))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[async_trait]
impl Reload for Shelf {
    async fn reload(&self) {}
}
