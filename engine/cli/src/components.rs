//! The components that calls go to: those that are loaded now, and earlier ones that runs were begun with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bascule_plugin::{Host, Kept, KeptError, LoadError, Plugin};
use bascule_run::invoke::NOT_THERE;
use bascule_run::journal::{PinnedPlugins, SqliteJournal};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::signature;

use crate::site::Plugins;

/// A kept component that no run needs goes when nobody has used it for so long. What a run began with is in its record
/// long before.
const UNUSED: Duration = Duration::from_secs(3600);
/// How often it is noted that a kept component is in use.
const MARKED_EVERY: Duration = Duration::from_secs(600);

/// What a file looked like from outside.
type Stamp = Option<(SystemTime, u64)>;

/// Plugins by name and sha256, on one host.
pub(crate) struct Components {
    host: Arc<Host>,
    loaded: BTreeMap<String, (PathBuf, Arc<Plugin>)>,
    /// `None`: runs are not resumed, so nothing is kept for them.
    kept: Option<Kept>,
    earlier: tokio::sync::Mutex<HashMap<(String, String), Arc<Plugin>>>,
    /// Copies that were found sound, and when it was last noted that they are in use.
    sound: Mutex<HashMap<String, Instant>>,
    /// Copies that could not be used, as they looked then.
    missed: Mutex<BTreeMap<PathBuf, Stamp>>,
}

impl Components {
    pub(crate) fn new(host: Arc<Host>, plugins: &Plugins, kept: Option<Kept>) -> Self {
        let loaded = plugins
            .loaded
            .iter()
            .map(|(name, loaded)| (name.clone(), (loaded.file.clone(), Arc::clone(&loaded.plugin))))
            .collect();
        Self {
            host,
            loaded,
            kept,
            earlier: tokio::sync::Mutex::default(),
            sound: Mutex::default(),
            missed: Mutex::default(),
        }
    }

    /// The plugin as it is loaded now.
    pub(crate) fn present(&self, name: &str) -> Result<&Arc<Plugin>, Failure> {
        let found = self.loaded.get(name).map(|(_, plugin)| plugin);
        found.ok_or_else(|| {
            Failure::new(Kind::Unsupported, format!("plugin `{name}` is not there: put its .wasm back"))
        })
    }

    /// The plugin of that sha256: the loaded one, or the copy that was kept for runs which began with it.
    pub(crate) async fn of(&self, name: &str, sha256: &str) -> Result<Arc<Plugin>, Failure> {
        if let Some((_, plugin)) = self.loaded.get(name)
            && plugin.sha256() == sha256
        {
            return Ok(Arc::clone(plugin));
        }
        let key = (name.to_owned(), sha256.to_owned());
        let mut earlier = self.earlier.lock().await;
        if let Some(plugin) = earlier.get(&key) {
            return Ok(Arc::clone(plugin));
        }
        let Some(kept) = self.kept.clone() else {
            return Err(not_there(name, sha256, "no copies are kept here"));
        };
        let file = kept.file(sha256);
        // Noted first: what is put back while it is looked at looks different after.
        let looked = stamp(&file);
        let host = Arc::clone(&self.host);
        let (plugin_name, expected) = key.clone();
        let loaded = blocking(move || {
            let bytes = kept.read(&expected).map_err(Unusable::Copy)?;
            host.load(&plugin_name, &bytes, Some(&expected)).map_err(Unusable::Load)
        })
        .await?;
        match loaded {
            Ok(plugin) => {
                let plugin = Arc::new(plugin);
                earlier.insert(key, Arc::clone(&plugin));
                Ok(plugin)
            }
            Err(why) => {
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).insert(file, looked);
                Err(not_there(name, sha256, &why.told()))
            }
        }
    }

    /// The types of all plugins: of those that a run is pinned to as they were, of the others as they are.
    pub(crate) async fn signatures(
        &self,
        pinned: &PinnedPlugins,
    ) -> Result<BTreeMap<String, signature::Plugin>, Failure> {
        let mut all: BTreeMap<String, signature::Plugin> = self
            .loaded
            .iter()
            .map(|(name, (_, plugin))| (name.clone(), plugin.signature().clone()))
            .collect();
        for (name, sha256) in pinned {
            all.insert(name.clone(), self.of(name, sha256).await?.signature().clone());
        }
        Ok(all)
    }

    /// Whether these are what is loaded.
    pub(crate) fn are_present(&self, pinned: &PinnedPlugins) -> bool {
        pinned
            .iter()
            .all(|(name, sha256)| self.loaded.get(name).is_some_and(|(_, plugin)| plugin.sha256() == sha256))
    }

    /// Keeps a copy of each, on disk when this returns.
    pub(crate) async fn keep(&self, plugins: &PinnedPlugins) -> Result<(), Failure> {
        let Some(kept) = &self.kept else { return Ok(()) };
        for (name, sha256) in plugins {
            if self.is_kept(kept, sha256) {
                continue;
            }
            let file = self.loaded.get(name).filter(|(_, plugin)| plugin.sha256() == sha256);
            let file = file.map(|(file, _)| file.clone());
            let (kept, name, sha256) = (kept.clone(), name.clone(), sha256.clone());
            let expected = sha256.clone();
            blocking(move || keep_one(&kept, &name, &expected, file.as_deref())).await??;
            self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, Instant::now());
        }
        Ok(())
    }

    /// Keeps a copy of each loaded one of these plugins.
    pub(crate) async fn keep_present<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
    ) -> Result<(), Failure> {
        let present = names.filter_map(|name| {
            self.loaded.get(name).map(|(_, plugin)| (name.clone(), plugin.sha256().to_owned()))
        });
        self.keep(&present.collect()).await
    }

    /// Whether a copy is known to be sound and still there. Its bytes are looked at again when they are loaded.
    fn is_kept(&self, kept: &Kept, sha256: &str) -> bool {
        let mut sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(marked) = sound.get_mut(sha256) else { return false };
        if !kept.has(sha256) {
            sound.remove(sha256);
            return false;
        }
        if marked.elapsed() >= MARKED_EVERY {
            kept.mark_used(sha256);
            *marked = Instant::now();
        }
        true
    }

    /// Whether a copy that could not be used looks different by now: then runs that are held for it may go on.
    pub(crate) fn is_mended(&self) -> bool {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = missed.len();
        missed.retain(|file, looked| {
            let now = stamp(file);
            now.is_none() || now == *looked
        });
        missed.len() < before
    }

    /// Removes the copies that no run may still ask for.
    pub(crate) async fn sweep(&self, journal: &SqliteJournal) {
        let Some(kept) = self.kept.clone() else { return };
        let mut needed: BTreeSet<String> = match journal.needed_components().await {
            Ok(needed) => needed,
            Err(error) => {
                tracing::warn!(%error, "it is not known which kept plugins are still needed; all of them stay");
                return;
            }
        };
        needed.extend(self.loaded.values().map(|(_, plugin)| plugin.sha256().to_owned()));
        match tokio::task::spawn_blocking(move || kept.sweep(&needed, UNUSED)).await {
            Ok(Ok(swept)) if swept.files > 0 => tracing::info!(
                files = swept.files,
                bytes = swept.bytes,
                "removed kept plugins that no run needs any more"
            ),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "kept plugins cannot be looked through"),
            Err(error) => tracing::warn!(%error, "looking through kept plugins ended early"),
        }
    }
}

/// Why a copy cannot be used.
enum Unusable {
    Copy(KeptError),
    Load(LoadError),
}

impl Unusable {
    fn told(&self) -> String {
        match self {
            Self::Copy(error) => error.to_string(),
            Self::Load(error) => {
                format!("this version of Bascule cannot load it any more: {}", error.in_full())
            }
        }
    }
}

/// Puts one copy on disk, from the file that it was loaded from.
fn keep_one(kept: &Kept, name: &str, sha256: &str, file: Option<&Path>) -> Result<(), Failure> {
    match kept.read(sha256) {
        Ok(_) => return Ok(()),
        Err(KeptError::Missing { .. }) => {}
        Err(error) => tracing::warn!(plugin = name, %error, "a kept plugin is made anew"),
    }
    let failed = |message: String| Failure::new(Kind::Internal, message).with_code("bascule:plugin-not-kept");
    let Some(file) = file else {
        return Err(failed(format!(
            "plugin `{name}` (sha256 {sha256}) was exchanged a moment ago; start it again"
        )));
    };
    let bytes = std::fs::read(file).map_err(|error| {
        failed(format!("plugin `{name}` cannot be kept for the run: `{}`: {error}", file.display()))
    })?;
    let found = kept.keep(&bytes).map_err(|error| {
        failed(format!(
            "plugin `{name}` cannot be kept for the run in `{}`: {error}",
            kept.file(sha256).display()
        ))
    })?;
    if found != sha256 {
        return Err(failed(format!("`{}` was exchanged a moment ago; start it again", file.display())));
    }
    Ok(())
}

/// Says what is missing, where, and how to mend it.
fn not_there(name: &str, sha256: &str, why: &str) -> Failure {
    let message = format!(
        "plugin `{name}` of the time when the run began cannot be used: {why}; put the file with sha256 {sha256} there (or in \
         place of the present plugin), or go on with the present one: `bascule runs rerun RUN --latest`, after `bascule runs \
         cancel RUN` if it has not ended"
    );
    Failure::new(Kind::Unsupported, message).with_code(NOT_THERE)
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Kind::Internal, format!("reading a plugin ended early: {error}")))
}
