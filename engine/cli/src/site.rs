//! A project, opened: where its files are, its inventory, and the engine's parts wired together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bascule_capability::secret::{MasterKey, Secrets};
use bascule_capability::{Capabilities, Parts};
use bascule_database::Database;
use bascule_plugin::{Host, HostOptions, Kept, Limits, Plugin};
use bascule_run::clock::SystemClock;
use bascule_run::journal::SqliteJournal;
use bascule_trigger::Intake;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::library::Library;
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::{Look, Problems};
use bascule_workflow::project::Project;
use bascule_workflow::signature;
use jiff::tz::TimeZone;

use crate::arguments::Arguments;
use crate::exit::{Exit, coded, coded_with_help};
use crate::paint;

/// Compiled plugins that nobody has used for so long are removed.
const COMPILED_UNUSED: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// The file that makes a folder a project.
pub(crate) const INVENTORY: &str = "bascule.yaml";

/// Where things are; nothing is opened yet.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The folder with `bascule.yaml`.
    pub(crate) project: PathBuf,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Where compiled plugins are kept.
    pub(crate) cache: PathBuf,
    /// The master key's file.
    pub(crate) key_file: PathBuf,
    /// Folders in which `NAME.wasm` is looked up, in order.
    pub(crate) plugin_folders: Vec<PathBuf>,
}

impl Places {
    /// From the command line and the environment.
    pub(crate) fn of(arguments: &Arguments) -> Result<Self> {
        let project = arguments.project.clone();
        let data = arguments.data.clone().unwrap_or_else(|| project.join(".bascule"));
        let key_file = match &arguments.key_file {
            Some(file) => file.clone(),
            None => default_key_file()?,
        };
        let mut plugin_folders: Vec<PathBuf> = arguments.plugins.iter().cloned().collect();
        plugin_folders.push(project.join("plugins"));
        if let Ok(executable) = std::env::current_exe()
            && let Some(folder) = executable.parent()
        {
            // An installation keeps plugins beside the program or below `lib`; a build tree in `target/components`.
            plugin_folders.push(folder.join("plugins"));
            plugin_folders.push(folder.join("../lib/bascule/plugins"));
            plugin_folders.push(folder.join("../components"));
        }
        let cache = arguments.cache.clone().unwrap_or_else(|| data.join("compiled"));
        Ok(Self { project, data, cache, key_file, plugin_folders })
    }

    /// The inventory; its problems are printed and end the command.
    pub(crate) fn inventory(&self) -> Result<Project> {
        let path = self.project.join(INVENTORY);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(coded_with_help(
                    Exit::Unusable,
                    format!("`{}` is not a project: it has no {INVENTORY}", self.project.display()),
                    "make one with `bascule init FOLDER`, or name one with `-C FOLDER`",
                ));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        let (project, problems) = bascule_workflow::project::check(&path.display().to_string(), &text);
        print_problems(&problems);
        let mut project = project.ok_or_else(|| {
            coded(Exit::Unusable, format!("`{}` has {}", path.display(), count(problems.errors(), "error")))
        })?;
        crate::telemetry::from_environment(&mut project);
        Ok(project)
    }

    /// The components that runs were begun with.
    pub(crate) fn kept(&self) -> Kept {
        Kept::new(self.data.join("plugins"))
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("bascule.db")
    }

    /// The master key; made when there is none and no database that an earlier one has sealed.
    fn master_key(&self) -> Result<MasterKey> {
        let folder = self.key_file.parent().and_then(|folder| folder.canonicalize().ok());
        if let (Some(folder), Ok(data)) = (folder, self.data.canonicalize())
            && folder.starts_with(&data)
        {
            return Err(coded_with_help(
                Exit::Usage,
                format!(
                    "the key file `{}` is inside the data folder that it protects",
                    self.key_file.display()
                ),
                "keep it elsewhere, or whoever copies the data folder has the secrets too",
            ));
        }
        if self.key_file.exists() {
            return Ok(MasterKey::load(&self.key_file)?);
        }
        if self.database().exists() {
            return Err(coded_with_help(
                Exit::Unusable,
                format!(
                    "the key file `{}` is missing, and this project's secrets were sealed with it",
                    self.key_file.display()
                ),
                "bring it back from your copy (or name it with --key-file); without it move the data folder away and set the secrets again",
            ));
        }
        let key = MasterKey::create(&self.key_file)?;
        paint::note(format!(
            "made the key file {}: keep a copy, without it stored secrets cannot be read",
            self.key_file.display()
        ));
        Ok(key)
    }

    /// A plugin host whose compiled code is kept in the data folder, sealed with the master key; without a key it is
    /// compiled anew each time.
    fn host(&self, project: &Project, key: Option<&MasterKey>) -> Result<Host> {
        self.host_within(project, key, Limits::default())
    }

    fn host_within(&self, project: &Project, key: Option<&MasterKey>, limits: Limits) -> Result<Host> {
        let memory_bytes = usize::try_from(project.limits.memory_bytes).unwrap_or(usize::MAX);
        let mut options = HostOptions { limits: Limits { memory_bytes, ..limits }, ..HostOptions::default() };
        if let Some(key) = key {
            options.cache_folder = Some(self.cache.clone());
            options.cache_key = key.derive("bascule compiled code 1");
        }
        Ok(Host::new(options)?)
    }

    /// Host and plugins for `bascule test`, with the clock that plugins see. Compiled plugins are kept where `--cache` says,
    /// else in the user's own cache: the project's data folder is left alone.
    pub(crate) fn plugins_for_tests(&self, project: &Project, clock: Clock) -> Result<(Host, Plugins)> {
        let memory = usize::try_from(project.limits.memory_bytes).unwrap_or(usize::MAX);
        let mut options = HostOptions {
            limits: Limits { memory_bytes: memory, ..Limits::default() },
            clock,
            ..HostOptions::default()
        };
        if self.key_file.exists() {
            let own = self.data.join("compiled") == self.cache;
            options.cache_folder = if own { user_cache() } else { Some(self.cache.clone()) };
            options.cache_key = MasterKey::load(&self.key_file)?.derive("bascule compiled code 1");
        }
        let host = Host::new(options)?;
        let plugins = Plugins::load(self, project, &host)?;
        Ok((host, plugins))
    }

    /// Host and plugins for commands that only look: they own no data folder and make no key.
    pub(crate) fn plugins(&self, project: &Project) -> Result<(Host, Plugins)> {
        let key = if self.key_file.exists() { Some(MasterKey::load(&self.key_file)?) } else { None };
        let host = self.host(project, key.as_ref())?;
        let plugins = Plugins::load(self, project, &host)?;
        Ok((host, plugins))
    }

    /// The files of the workflows, sorted.
    pub(crate) fn workflow_files(&self) -> Result<Vec<PathBuf>> {
        yaml_files(&self.project.join("workflows"))
    }

    /// The project's workflows as texts, and these files beside (or instead of) them.
    pub(crate) fn library(&self, beside: &[PathBuf]) -> Result<Library> {
        let mut library = Library::default();
        for file in self.workflow_files()?.iter().chain(beside) {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            library.insert(&file.display().to_string(), &text);
        }
        Ok(library)
    }

    /// The file of the workflow of that name, or the file itself.
    pub(crate) fn workflow_file(&self, name: &str) -> Result<PathBuf> {
        let direct = Path::new(name);
        if direct.extension().is_some() && direct.exists() {
            return Ok(direct.to_owned());
        }
        let file = self.project.join("workflows").join(format!("{name}.yaml"));
        if file.exists() {
            return Ok(file);
        }
        let known: Vec<String> =
            self.workflow_files()?.iter().map(|file| format!("`{}`", stem(file))).collect();
        Err(coded_with_help(
            Exit::NotFound,
            format!("there is no workflow `{name}`"),
            if known.is_empty() {
                format!("there are no workflows in {}", self.project.join("workflows").display())
            } else {
                format!("there is {}", known.join(", "))
            },
        ))
    }
}

/// The instant that plugins are told.
pub(crate) type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Where programs of this user keep what they can make again.
fn user_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(cache.join("bascule").join("compiled"))
}

fn default_key_file() -> Result<PathBuf> {
    // systemd's LoadCredential= puts the key there.
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let file = Path::new(&folder).join("bascule-key");
        if file.exists() {
            return Ok(file);
        }
    }
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        .ok_or_else(|| {
            coded_with_help(
                Exit::Usage,
                "cannot tell where the key file is: neither HOME nor XDG_CONFIG_HOME is set",
                "name it with --key-file or BASCULE_KEY_FILE",
            )
        })?;
    Ok(config.join("bascule").join("master.key"))
}

/// A file's name without folder and extension.
pub(crate) fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The YAML files directly in a folder, sorted; test files (`*.test.yaml`) are not workflows.
pub(crate) fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", folder.display())),
    };
    for entry in entries {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if yaml && path.is_file() && name != INVENTORY && !name.contains(".test.") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `3 errors`, `1 error`
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `850 B`, `12 KiB`, `3.4 MiB`
pub(crate) fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (u128::from(number) * 10, 0);
    while tenths >= 10_240 && unit + 1 < units.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    let (whole, part) = (tenths / 10, tenths % 10);
    if unit > 1 && whole < 100 {
        format!("{whole}.{part} {}", units[unit])
    } else {
        format!("{whole} {}", units[unit])
    }
}

/// The zone of schedules that name none.
pub(crate) fn zone(project: &Project) -> TimeZone {
    let Some(name) = &project.time_zone else { return TimeZone::system() };
    TimeZone::get(name).unwrap_or_else(|error| {
        paint::note(format!(
            "{} the time zone `{name}` of {INVENTORY} is not known on this computer ({error}); schedules go by the computer's own",
            paint::warn("warning:")
        ));
        TimeZone::system()
    })
}

/// Prints problems to standard error.
pub(crate) fn print_problems(problems: &Problems) {
    if !problems.is_empty() {
        let look = if paint::colour() { Look::Coloured } else { Look::Plain };
        paint::note(problems.render(look).trim_end());
    }
}

/// The plugins of a project, loaded.
#[derive(Default)]
pub(crate) struct Plugins {
    /// By name.
    pub(crate) loaded: BTreeMap<String, Loaded>,
}

/// A loaded plugin.
pub(crate) struct Loaded {
    /// Its file.
    pub(crate) file: PathBuf,
    /// The plugin.
    pub(crate) plugin: Arc<Plugin>,
}

impl Plugins {
    /// Loads every plugin that bascule.yaml lists, and every other one found in the plugin folders.
    pub(crate) fn load(places: &Places, project: &Project, host: &Host) -> Result<Self> {
        let mut plugins = Self::default();
        for (name, source) in &project.plugins {
            let file = places.project.join(&source.file);
            plugins.add(host, name, file, source.sha256.as_deref())?;
        }
        for folder in &places.plugin_folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut files: Vec<PathBuf> =
                entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
            files.sort();
            for file in files {
                let name = stem(&file);
                let hidden = file.extension().is_none_or(|extension| extension != "wasm");
                if hidden || plugins.loaded.contains_key(&name) {
                    continue;
                }
                // What nobody named must not stop the command: a folder may hold anything.
                if let Err(error) = plugins.add(host, &name, file.clone(), None) {
                    paint::note(format!(
                        "{} left out {}: {error:#}",
                        paint::warn("warning:"),
                        file.display()
                    ));
                }
            }
        }
        // Whatever is in use here was marked as used a moment ago.
        match bascule_plugin::evict_compiled(&places.cache, COMPILED_UNUSED) {
            Ok(evicted) if evicted.files > 0 => tracing::info!(
                files = evicted.files,
                bytes = evicted.bytes,
                "removed compiled plugins that nobody has used for long"
            ),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "old compiled plugins could not be removed"),
        }
        Ok(plugins)
    }

    fn add(&mut self, host: &Host, name: &str, file: PathBuf, sha256: Option<&str>) -> Result<()> {
        let plugin = host
            .load_file(name, &file, sha256)
            .with_context(|| format!("cannot load plugin `{name}` from `{}`", file.display()))?;
        self.loaded.insert(name.to_owned(), Loaded { file, plugin: Arc::new(plugin) });
        Ok(())
    }

    /// The types, for the checker.
    pub(crate) fn signatures(&self) -> BTreeMap<String, signature::Plugin> {
        self.loaded.iter().map(|(name, loaded)| (name.clone(), loaded.plugin.signature().clone())).collect()
    }
}

/// A project whose data folder this process owns.
pub(crate) struct Site {
    /// Where things are.
    pub(crate) places: Places,
    /// The inventory.
    pub(crate) project: Project,
    /// The data folder's database.
    pub(crate) database: Database,
    /// Secrets.
    pub(crate) secrets: Secrets,
    /// The record of runs.
    pub(crate) journal: Arc<SqliteJournal>,
    key: MasterKey,
}

impl Site {
    /// Opens database and secrets.
    pub(crate) async fn open(places: Places) -> Result<Self> {
        let project = places.inventory()?;
        let key = places.master_key()?;
        let database = Database::open(&places.database()).await?;
        let sealing = MasterKey::load(&places.key_file)?;
        let secrets = Secrets::open(
            database.clone(),
            sealing,
            places.project.clone(),
            Arc::new(|name: &str| std::env::var(name).ok()),
        )
        .await?;
        // Brought up to date by whoever comes first, so that `runs list` and `doctor` can read it beside any owner.
        let journal = Arc::new(SqliteJournal::open(database.clone()).await?);
        Intake::open(database.clone(), &journal, Arc::new(SystemClock)).await?;
        Ok(Self { places, project, database, secrets, journal, key })
    }

    /// Closes the database at the end of a command. That its disk failed even then is what the command comes to: what it
    /// did is stored, and the next one may not be.
    pub(crate) async fn close(&self, outcome: Result<Exit>) -> Result<Exit> {
        self.database.close().await;
        match (outcome, self.database.broken()) {
            (Ok(_), Some(reason)) => Err(coded_with_help(
                Exit::Storage,
                format!("the database can no longer be written ({reason})"),
                "what was stored before stays; check the disk",
            )),
            (outcome, _) => outcome,
        }
    }

    /// Loads the plugins.
    pub(crate) fn plugins(&self) -> Result<(Host, Plugins)> {
        self.plugins_for(&self.project)
    }

    /// Loads the plugins as another inventory than the one that was opened says.
    pub(crate) fn plugins_for(&self, project: &Project) -> Result<(Host, Plugins)> {
        let host = self.places.host(project, Some(&self.key))?;
        let plugins = Plugins::load(&self.places, project, &host)?;
        Ok((host, plugins))
    }

    /// Host and plugins for event sources: a call may last for ever, and there may be one for each device.
    pub(crate) fn source_plugins_for(&self, project: &Project) -> Result<(Host, Plugins)> {
        let limits =
            Limits { live_calls: crate::serving::MAX_SOURCES, host_calls: u64::MAX, ..Limits::default() };
        let host = self.places.host_within(project, Some(&self.key), limits)?;
        let plugins = Plugins::load(&self.places, project, &host)?;
        Ok((host, plugins))
    }

    /// Connections, folders and stores.
    pub(crate) async fn capabilities(&self) -> Result<Capabilities> {
        self.capabilities_for(&self.project).await
    }

    /// Connections, folders and stores of another inventory than the one that was opened.
    pub(crate) async fn capabilities_for(&self, project: &Project) -> Result<Capabilities> {
        Ok(Capabilities::open(Parts {
            project: project.clone(),
            root: self.places.project.clone(),
            database: self.database.clone(),
            secrets: self.secrets.clone(),
        })
        .await?)
    }
}

/// Reads and checks a workflow's file; its problems are printed, and errors end the command.
pub(crate) fn checked(file: &Path, surroundings: Surroundings<'_>) -> Result<Workflow> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    checked_text(&file.display().to_string(), &text, surroundings)
}

/// Checks a workflow's text.
pub(crate) fn checked_text(name: &str, text: &str, surroundings: Surroundings<'_>) -> Result<Workflow> {
    let (workflow, problems) = check_among(name, text, surroundings);
    print_problems(&problems);
    workflow.ok_or_else(|| {
        coded(
            Exit::Unusable,
            format!("`{name}` has {}; nothing was started", count(problems.errors(), "error")),
        )
    })
}
