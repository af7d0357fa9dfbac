//! Files that arrive in folders.
//!
//! A folder is looked at again and again (network folders tell nobody what changes in them). A file that has had the same
//! length and time of change for `settle` has arrived; it makes one run, and another one when its content changes. That
//! it has is stored with the run, and forgotten when the file is gone.

mod pattern;
mod seen;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_database::DatabaseError;
use bascule_run::clock::Clock;
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{File, Source, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, IntakeError};
use crate::book::Book;
use crate::dispatch::chain;
use crate::intake::Intake;
use seen::{Look, Seen};

/// Where the folders of a project are; implemented by whoever knows `bascule.yaml`.
pub trait FolderPaths: Send + Sync {
    /// The folder of that name.
    fn path(&self, folder: &str) -> Option<PathBuf>;
}

/// How often folders are looked at.
pub const EVERY: Duration = Duration::from_secs(1);

/// What is needed to watch folders.
#[derive(Clone)]
pub struct FileParts {
    /// Where runs go.
    pub intake: Intake,
    /// The workflows.
    pub book: Arc<dyn Book>,
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// Where the folders are.
    pub folders: Arc<dyn FolderPaths>,
    /// How often they are looked at; [`EVERY`] is the usual.
    pub every: Duration,
}

/// Makes runs of files. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    parts: FileParts,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Files that have not settled: since when they look like this.
    unsettled: HashMap<(String, String, String), (Look, Timestamp)>,
    problems: BTreeMap<(String, String), String>,
}

/// A folder that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderProblem {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id.
    pub trigger: String,
    /// Why.
    pub reason: String,
}

impl Files {
    /// Does nothing before [`Files::step`] or [`Files::run`].
    #[must_use]
    pub fn new(parts: FileParts) -> Self {
        Self { parts, shared: Arc::default() }
    }

    /// Looks at the folders again and again until it is stopped.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.step().await {
                tracing::error!(error = %chain(&error), "files have to wait for the database");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.parts.every) => {}
            }
        }
    }

    /// The folders that cannot be looked at.
    #[must_use]
    pub fn problems(&self) -> Vec<FolderProblem> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = |((workflow, trigger), reason): (&(String, String), &String)| FolderProblem {
            workflow: workflow.clone(),
            trigger: trigger.clone(),
            reason: reason.clone(),
        };
        shared.problems.iter().map(problem).collect()
    }

    /// Looks at every folder once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn step(&self) -> Result<(), DatabaseError> {
        for workflow in self.parts.book.all() {
            for trigger in &workflow.triggers {
                if let Source::File(file) = &trigger.source {
                    self.look(&workflow, trigger, file).await?;
                }
            }
        }
        Ok(())
    }

    async fn look(
        &self,
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        file: &File,
    ) -> Result<(), DatabaseError> {
        let name = workflow.folders.get(&file.folder).unwrap_or(&file.folder);
        let found = match self.parts.folders.path(name) {
            Some(path) => {
                let pattern = file.pattern.clone();
                let listed = tokio::task::spawn_blocking(move || list(&path, &pattern)).await;
                listed.unwrap_or_else(|error| Err(error.to_string()))
            }
            None => Err(format!("there is no folder `{name}`")),
        };
        let key = (workflow.id.clone(), trigger.id.clone());
        let found = match found {
            Ok(found) => {
                self.shared().problems.remove(&key);
                found
            }
            Err(reason) => {
                if self.shared().problems.insert(key, reason.clone()).as_ref() != Some(&reason) {
                    tracing::warn!(workflow = %workflow.id, trigger = %trigger.id, %reason, "a folder cannot be looked at");
                }
                // A folder that is away for a moment has not lost its files.
                return Ok(());
            }
        };
        let seen = Seen { workflow: workflow.id.clone(), trigger: trigger.id.clone() };
        let known = seen.load(&self.parts.intake).await?;
        let settled = self.settled(workflow, trigger, file, &known, &found);
        for (name, look) in settled {
            self.arrived(workflow, trigger, file, name, look).await?;
        }
        let gone: Vec<String> = known.keys().filter(|name| !found.contains_key(*name)).cloned().collect();
        seen.forget(&self.parts.intake, gone).await
    }

    /// The files that have not changed for long enough and have made no run as they are.
    fn settled(
        &self,
        workflow: &Workflow,
        trigger: &Trigger,
        file: &File,
        known: &BTreeMap<String, Look>,
        found: &BTreeMap<String, Look>,
    ) -> Vec<(String, Look)> {
        let now = self.parts.clock.now();
        let settle = SignedDuration::try_from(file.settle).unwrap_or(SignedDuration::MAX);
        let mut shared = self.shared();
        let ours = |key: &(String, String, String)| key.0 == workflow.id && key.1 == trigger.id;
        shared.unsettled.retain(|key, _| !ours(key) || found.contains_key(&key.2));
        let mut settled = Vec::new();
        for (name, look) in found {
            if known.get(name) == Some(look) {
                continue;
            }
            let key = (workflow.id.clone(), trigger.id.clone(), name.clone());
            let since = match shared.unsettled.get(&key) {
                // A clock that was set back begins the wait again.
                Some((before, since)) if before == look && *since <= now => *since,
                _ => {
                    shared.unsettled.insert(key.clone(), (*look, now));
                    now
                }
            };
            if now.duration_since(since) >= settle {
                shared.unsettled.remove(&key);
                settled.push((name.clone(), *look));
            }
        }
        settled
    }

    async fn arrived(
        &self,
        workflow: &Arc<Workflow>,
        trigger: &Trigger,
        file: &File,
        name: String,
        look: Look,
    ) -> Result<(), DatabaseError> {
        let intake = &self.parts.intake;
        let seen = Seen { workflow: workflow.id.clone(), trigger: trigger.id.clone() };
        let mark = seen.mark(&name, look, self.parts.clock.now());
        let dedupe = look.key(&name);
        let value = json!({
            "kind": "file",
            "id": trigger.id,
            "folder": file.folder,
            "name": name,
            "size": look.bytes,
            "modified_at": look.modified_at().to_string(),
        });
        let refused = match Admission::of_trigger(workflow, trigger, value) {
            Ok(None) => return mark.store_alone(intake).await,
            Ok(Some(admission)) => {
                match intake.admit_beside(vec![admission.with_dedupe(dedupe.clone())], mark.clone()).await {
                    Ok(_) => return Ok(()),
                    Err(IntakeError::Unavailable(error)) => return Err(error),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        match intake.refuse(&workflow.id, &trigger.id, Some(&dedupe), &refused).await {
            Ok(_) => mark.store_alone(intake).await,
            Err(IntakeError::Unavailable(error)) => Err(error),
            Err(_) => Ok(()),
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files in a folder (not in folders inside of it) whose names match; links are not followed.
fn list(folder: &Path, pattern: &str) -> Result<BTreeMap<String, Look>, String> {
    let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", folder.display());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is no text cannot be handed to a workflow.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !pattern::matches(pattern, &name) {
            continue;
        }
        // It may have been taken away between the two looks.
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_file()
            && let Ok(modified) = metadata.modified()
            && let Ok(modified) = Timestamp::try_from(modified)
        {
            found.insert(name, Look { bytes: metadata.len(), modified: modified.as_microsecond() });
        }
    }
    Ok(found)
}
