//! The project folder, kept up to date: what changes on disk is checked and comes into use; what is wrong is told with its
//! place, and what was there before goes on.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use async_trait::async_trait;
use bascule_run::journal::RunTexts;
use bascule_server::{Inventory, RefusedEdit, Reload};
use bascule_trigger::Book;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::library::Library;
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::{Look, Problems};
use bascule_workflow::project::Project;
use bascule_workflow::signature;
use tokio::sync::watch;

use crate::bridge::Bridge;
use crate::serving::Switch;
use crate::site::{INVENTORY, Site, stem, yaml_files};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often kept plugins are looked through.
const SWEEP: Duration = Duration::from_secs(15 * 60);
/// Most texts of earlier versions that are kept checked.
const MAX_PINNED: usize = 256;

/// What a file looked like from outside.
type Stamp = (Option<SystemTime>, u64);

/// The workflows of a project folder.
pub(crate) struct FolderBook {
    site: Arc<Site>,
    state: RwLock<State>,
    switch: Arc<Switch>,
    sources: Arc<Switch>,
    inventory: watch::Sender<Arc<Inventory>>,
    revision: watch::Sender<u64>,
    pinned: Mutex<HashMap<String, Arc<Workflow>>>,
    /// Held while the folder is looked at.
    looking: tokio::sync::Mutex<()>,
}

/// What is in use.
struct State {
    workflows: BTreeMap<String, Arc<Workflow>>,
    library: Arc<Library>,
    project: Project,
    signatures: Arc<BTreeMap<String, signature::Plugin>>,
    stamps: Stamps,
}

/// What the files looked like when they were last read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stamps {
    workflows: BTreeMap<PathBuf, Stamp>,
    /// `bascule.yaml` and the plugins.
    base: BTreeMap<PathBuf, Stamp>,
}

/// The workflows as they were read from the folder.
struct Reading {
    workflows: BTreeMap<String, Arc<Workflow>>,
    library: Library,
    refused: Vec<RefusedEdit>,
}

impl FolderBook {
    /// Reads the folder. Workflows with problems are told and left out; without a usable inventory there is nothing.
    pub(crate) async fn open(site: Arc<Site>) -> Result<Self> {
        let stamps = Stamps::of(&site);
        let (host, plugins) = site.plugins()?;
        let capabilities = site.capabilities().await?;
        let redactor = site.secrets.redactor().clone();
        let bridge = Bridge::new(host, &plugins, capabilities.clone(), redactor.clone())
            .keeping(&plugins, site.places.kept());
        let (host, for_sources) = site.source_plugins_for(&site.project)?;
        let sources = Bridge::new(host, &for_sources, capabilities.clone(), redactor);
        let signatures = Arc::new(plugins.signatures());
        let project = site.project.clone();
        let reading = read(&site, &signatures, &project, &BTreeMap::new())?;
        tell(&reading.refused, &[]);
        keep(&bridge, &reading.workflows).await;
        let inventory = Inventory { project: project.clone(), capabilities, refused: reading.refused };
        let state = State {
            workflows: reading.workflows,
            library: Arc::new(reading.library),
            project,
            signatures,
            stamps,
        };
        Ok(Self {
            site,
            state: RwLock::new(state),
            switch: Arc::new(Switch::new(Arc::new(bridge))),
            sources: Arc::new(Switch::new(Arc::new(sources))),
            inventory: watch::Sender::new(Arc::new(inventory)),
            revision: watch::Sender::new(1),
            pinned: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// What calls plugins.
    pub(crate) fn switch(&self) -> Arc<Switch> {
        Arc::clone(&self.switch)
    }

    /// What calls event sources.
    pub(crate) fn sources(&self) -> Arc<Switch> {
        Arc::clone(&self.sources)
    }

    /// The inventory as it stands now.
    pub(crate) fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    /// Looks at the folder again and again. Never returns.
    pub(crate) async fn watch(&self) {
        let mut last = self.read_state(|state| state.stamps.clone());
        loop {
            tokio::time::sleep(LOOK).await;
            let _alone = self.looking.lock().await;
            if self.switch.bridge().components().is_mended() {
                tracing::info!("a kept plugin is back; runs that were held for it are tried again");
                self.revision.send_modify(|revision| *revision += 1);
            }
            let stamps = Stamps::of(&self.site);
            if self.read_state(|state| state.stamps == stamps) {
                last = stamps;
                continue;
            }
            // A file that is still being written changes between two looks.
            if stamps != last {
                last = stamps;
                continue;
            }
            self.take(stamps).await;
        }
    }

    /// Removes the copies of plugins that no run needs any more, again and again. Never returns.
    pub(crate) async fn look_after_kept(&self) {
        loop {
            self.switch.bridge().components().sweep(&self.site.journal).await;
            tokio::time::sleep(SWEEP).await;
        }
    }

    async fn take(&self, stamps: Stamps) {
        if let Err(error) = self.change(stamps).await {
            tracing::error!("the project folder cannot be read: {error:#}; what is in use stays");
        }
    }

    fn read_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn change(&self, stamps: Stamps) -> Result<()> {
        let base_changed = self.read_state(|state| state.stamps.base != stamps.base);
        let before = Arc::clone(&self.inventory.borrow());
        // Whatever comes of it, this is what was looked at.
        self.state.write().unwrap_or_else(PoisonError::into_inner).stamps = stamps;
        let mut refused = Vec::new();
        let mut base = None;
        if base_changed {
            match self.reopen().await {
                Ok(opened) => base = Some(opened),
                Err(edit) => refused.push(edit),
            }
        } else {
            refused.extend(before.refused.iter().filter(|edit| edit.file.ends_with(INVENTORY)).cloned());
        }
        let (signatures, project, known) = self.read_state(|state| {
            let (signatures, project) = match &base {
                Some(base) => (Arc::clone(&base.signatures), base.project.clone()),
                None => (Arc::clone(&state.signatures), state.project.clone()),
            };
            (signatures, project, state.workflows.clone())
        });
        let reading = read(&self.site, &signatures, &project, &known)?;
        refused.extend(reading.refused);
        tell(&refused, &before.refused);
        let changed = differ(&known, &reading.workflows);
        for id in &changed {
            tracing::info!(workflow = id, "the workflow's last edit is in use");
        }
        // Before it is needed, so that a run can begin also when the file has been exchanged for a bad one meanwhile.
        match &base {
            Some(base) => keep(&base.bridge, &reading.workflows).await,
            None => keep(&self.switch.bridge(), &reading.workflows).await,
        }
        let base_in_use = base.is_some();
        let capabilities = match base {
            Some(base) => {
                tell_what_waits(&self.site.project, &project);
                self.switch.turn(Arc::new(base.bridge));
                self.sources.turn(Arc::new(base.sources));
                self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clear();
                tracing::info!("the last edit of {INVENTORY} and the plugins is in use");
                base.capabilities
            }
            None => before.capabilities.clone(),
        };
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.workflows = reading.workflows;
            state.library = Arc::new(reading.library);
            state.signatures = signatures;
            state.project = project.clone();
        }
        self.inventory.send_replace(Arc::new(Inventory { project, capabilities, refused }));
        if base_in_use || !changed.is_empty() {
            self.revision.send_modify(|revision| *revision += 1);
        }
        Ok(())
    }

    /// Reads `bascule.yaml` and the plugins anew.
    async fn reopen(&self) -> Result<Base, RefusedEdit> {
        let path = self.site.places.project.join(INVENTORY);
        let file = path.display().to_string();
        let refuse = |problems: String| RefusedEdit { file: file.clone(), problems };
        let text =
            std::fs::read_to_string(&path).map_err(|error| refuse(format!("cannot read it: {error}")))?;
        let (project, problems) = bascule_workflow::project::check(&file, &text);
        let Some(mut project) = project else {
            return Err(refuse(problems.render(Look::Plain)));
        };
        crate::telemetry::from_environment(&mut project);
        let (host, plugins) =
            self.site.plugins_for(&project).map_err(|error| refuse(format!("{error:#}")))?;
        let capabilities =
            self.site.capabilities_for(&project).await.map_err(|error| refuse(format!("{error:#}")))?;
        let redactor = self.site.secrets.redactor().clone();
        let signatures = Arc::new(plugins.signatures());
        let bridge = Bridge::new(host, &plugins, capabilities.clone(), redactor.clone())
            .keeping(&plugins, self.site.places.kept());
        let (host, plugins) =
            self.site.source_plugins_for(&project).map_err(|error| refuse(format!("{error:#}")))?;
        let sources = Bridge::new(host, &plugins, capabilities.clone(), redactor);
        Ok(Base { project, capabilities, signatures, bridge, sources })
    }
}

/// What `bascule.yaml` and the plugins make.
struct Base {
    project: Project,
    capabilities: bascule_capability::Capabilities,
    signatures: Arc<BTreeMap<String, signature::Plugin>>,
    bridge: Bridge,
    sources: Bridge,
}

#[async_trait]
impl Reload for FolderBook {
    async fn reload(&self) {
        let _alone = self.looking.lock().await;
        let stamps = Stamps::of(&self.site);
        if self.read_state(|state| state.stamps != stamps) {
            self.take(stamps).await;
        }
    }
}

#[async_trait]
impl Book for FolderBook {
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>> {
        self.read_state(|state| state.workflows.get(workflow).cloned())
    }

    fn all(&self) -> Vec<Arc<Workflow>> {
        self.read_state(|state| state.workflows.values().cloned().collect())
    }

    async fn of_text(
        &self,
        workflow: &str,
        digest: &str,
        texts: &RunTexts,
    ) -> Result<Arc<Workflow>, Failure> {
        // A run that has not begun goes by the present texts of the others, which may change: those are not kept.
        let key = (!texts.named.is_empty() || !texts.plugins.is_empty()).then(|| {
            let named = texts.named.iter().map(|(id, text)| format!("{id}={}", text.digest));
            let plugins = texts.plugins.iter().map(|(name, sha256)| format!("{name}/{sha256}"));
            let all: Vec<String> = named.chain(plugins).collect();
            format!("{workflow} {digest} {}", all.join(" "))
        });
        let bridge = self.switch.bridge();
        let present = bridge.components().are_present(&texts.plugins);
        if let Some(current) = self.current(workflow)
            && current.digest == digest
            && current.children.is_empty()
            && present
        {
            return Ok(current);
        }
        if let Some(key) = &key
            && let Some(known) = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(key)
        {
            return Ok(Arc::clone(known));
        }
        let (mut signatures, project, shelf) = self.read_state(|state| {
            (Arc::clone(&state.signatures), state.project.clone(), Arc::clone(&state.library))
        });
        if !present {
            signatures = Arc::new(bridge.components().signatures(&texts.plugins).await?);
        }
        let mut library = if texts.named.is_empty() { Library::clone(&shelf) } else { Library::default() };
        for (id, named) in &texts.named {
            library.insert(&format!("{id}.yaml"), &named.text);
        }
        let library = library.of_begun_run();
        let surroundings = Surroundings { plugins: &signatures, project: Some(&project), library: &library };
        let (checked, problems) = check_among(&format!("{workflow}.yaml"), &texts.text, surroundings);
        let Some(checked) = checked.map(Arc::new) else {
            let first = problems.iter().next().map(|problem| problem.message.clone()).unwrap_or_default();
            return Err(Failure::new(
                Kind::Unsupported,
                format!("the text that the run began with cannot be used any more: {first}"),
            )
            .with_code("bascule:text"));
        };
        if let Some(key) = key {
            let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            if pinned.len() >= MAX_PINNED {
                pinned.clear();
            }
            pinned.insert(key, Arc::clone(&checked));
        }
        Ok(checked)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

/// Keeps the plugins that the workflows name, for runs that are going to begin.
async fn keep(bridge: &Bridge, workflows: &BTreeMap<String, Arc<Workflow>>) {
    let names = workflows.values().flat_map(|workflow| workflow.plugins.keys());
    if let Err(error) = bridge.components().keep_present(names).await {
        tracing::error!(%error, "no run that needs this plugin can begin");
    }
}

/// Tells what of an edit comes into use with the next start only.
fn tell_what_waits(begun_with: &Project, now: &Project) {
    let keys = [
        ("limits: runs", begun_with.limits.runs == now.limits.runs),
        ("limits: call", begun_with.limits.call == now.limits.call),
        ("time-zone", begun_with.time_zone == now.time_zone),
        // Where to is read for each batch; whether at all, once.
        ("telemetry", begun_with.telemetry.is_some() == now.telemetry.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, same)| !same) {
        tracing::warn!(
            "`{key}` of {INVENTORY} differs from what the server began with; it counts from the next start on"
        );
    }
}

/// Reads and checks every workflow; one with errors stays as it was before, if it was.
fn read(
    site: &Site,
    signatures: &BTreeMap<String, signature::Plugin>,
    project: &Project,
    before: &BTreeMap<String, Arc<Workflow>>,
) -> Result<Reading> {
    let files = site.places.workflow_files()?;
    let mut library = Library::default();
    let mut texts = Vec::new();
    let mut reading =
        Reading { workflows: BTreeMap::new(), library: Library::default(), refused: Vec::new() };
    for path in files {
        let (id, file) = (stem(&path), path.display().to_string());
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                library.insert(&file, &text);
                texts.push((id, file, text));
            }
            Err(error) => {
                reading.refused.push(RefusedEdit { file, problems: format!("cannot read it: {error}") });
                reading.workflows.extend(before.get(&id).map(|old| (id, Arc::clone(old))));
            }
        }
    }
    for (id, file, text) in texts {
        let surroundings = Surroundings { plugins: signatures, project: Some(project), library: &library };
        let (workflow, problems) = check_among(&file, &text, surroundings);
        match workflow {
            Some(workflow) => {
                reading.workflows.insert(id, Arc::new(workflow));
            }
            None => {
                reading.refused.push(RefusedEdit { file, problems: rendered(&problems) });
                reading.workflows.extend(before.get(&id).map(|old| (id, Arc::clone(old))));
            }
        }
    }
    reading.library = library;
    Ok(reading)
}

fn rendered(problems: &Problems) -> String {
    problems.render(Look::Plain).trim_end().to_owned()
}

/// Tells each refused edit once.
fn tell(refused: &[RefusedEdit], before: &[RefusedEdit]) {
    for edit in refused.iter().filter(|edit| !before.contains(edit)) {
        tracing::error!(
            file = edit.file,
            "this edit is not in use, what was there before stays:\n{}",
            edit.problems
        );
    }
}

/// Ids whose workflow is there on one side only, or is another on each.
fn differ(one: &BTreeMap<String, Arc<Workflow>>, other: &BTreeMap<String, Arc<Workflow>>) -> Vec<String> {
    let same = |id: &String| match (one.get(id), other.get(id)) {
        (Some(one), Some(other)) => one.digest == other.digest && same_children(one, other),
        _ => false,
    };
    let mut ids: Vec<String> = one.keys().chain(other.keys()).filter(|id| !same(id)).cloned().collect();
    ids.sort();
    ids.dedup();
    ids
}

fn same_children(one: &Workflow, other: &Workflow) -> bool {
    one.children.len() == other.children.len()
        && one.children.iter().zip(&other.children).all(|((id, one), (other_id, other))| {
            id == other_id && one.digest == other.digest && same_children(one, other)
        })
}

impl Stamps {
    fn of(site: &Site) -> Self {
        let mut stamps = Self::default();
        for file in yaml_files(&site.places.project.join("workflows")).unwrap_or_default() {
            stamps.workflows.insert(file.clone(), stamp(&file));
        }
        let inventory = site.places.project.join(INVENTORY);
        stamps.base.insert(inventory.clone(), stamp(&inventory));
        for folder in &site.places.plugin_folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
                if path.extension().is_some_and(|extension| extension == "wasm") {
                    stamps.base.insert(path.clone(), stamp(&path));
                }
            }
        }
        stamps
    }
}

fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).map_or((None, 0), |metadata| (metadata.modified().ok(), metadata.len()))
}
