use std::fmt;
use std::io::{ErrorKind as E, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_workflow::failure::{Effect, Failure, Kind};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

use super::file_name::{FileName, MAX_NAME_BYTES, TEMPORARY_PREFIX, check_prefix};
use super::partial::{Found, PartialFile};
use super::temporary::{self, TemporaryFile};

/// Most bytes that [`Folder::read`] returns.
const MAX_READ_BYTES: u64 = 16 << 20;
/// Most entries that [`Folder::list`] returns.
const MAX_ENTRIES: usize = 10_000;

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `/` between parts.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Last change.
    pub modified: jiff::Timestamp,
}

/// Why a folder of `bascule.yaml` cannot be lent.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the folder `{name}` at `{}`", path.display())]
pub struct OpenFolderError {
    /// Its name in `bascule.yaml`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// A rooted folder. Cheap to clone.
///
/// Nothing reaches outside: names with `..`, absolute names, control characters and over-long names are `refused`,
/// and so is every link that leads out, at the moment it would be followed. Links that stay inside are followed by
/// [`Folder::stat`] and [`Folder::read`] and left out by [`Folder::list`]. A full disk is `internal` with the code
/// `host:disk-full`.
#[derive(Clone)]
pub struct Folder {
    root: Arc<Root>,
}

pub(super) struct Root {
    pub(super) name: String,
    pub(super) dir: Dir,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("name", &self.root.name).finish_non_exhaustive()
    }
}

impl Folder {
    /// Opens the folder (`name` is what `bascule.yaml` calls it), creates it where it is missing, and removes the
    /// unfinished files that a killed process left in it; those of processes at work are kept.
    pub async fn open(name: &str, path: &Path) -> Result<Self, OpenFolderError> {
        let (name, path) = (name.to_owned(), path.to_owned());
        let (told_name, told_path) = (name.clone(), path.clone());
        let opened = tokio::task::spawn_blocking(move || {
            Dir::create_ambient_dir_all(&path, ambient_authority())?;
            let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
            temporary::remove_stale(&dir)?;
            Ok(Self { root: Arc::new(Root { name, dir }) })
        });
        opened
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|source| OpenFolderError { name: told_name, path: told_path, source })
    }

    /// The name in `bascule.yaml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.root.name
    }

    /// The files whose names start with `prefix`, sorted by name; more than 10,000 are `invalid-input`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Failure> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |root| list(&root.dir, &prefix)).await
    }

    /// Length and time of one file; `not-found` where there is none.
    pub async fn stat(&self, name: &str) -> Result<Entry, Failure> {
        let name = FileName::parse(name)?;
        self.blocking(move |root| stat(&root.dir, &name)).await
    }

    /// The whole file; more than 16 MiB are `invalid-input`.
    pub async fn read(&self, name: &str) -> Result<Bytes, Failure> {
        let name = FileName::parse(name)?;
        self.blocking(move |root| {
            let too_large = || {
                let text = format!(
                    "`{}` is larger than {MAX_READ_BYTES} bytes and is not read whole",
                    name.as_str()
                );
                Failure::new(Kind::InvalidInput, text)
            };
            let entry = stat(&root.dir, &name)?;
            if entry.bytes > MAX_READ_BYTES {
                return Err(too_large());
            }
            let file = root.dir.open(name.as_str()).map_err(failed("read", name.as_str()))?;
            let mut data = Vec::new();
            file.take(MAX_READ_BYTES + 1).read_to_end(&mut data).map_err(failed("read", name.as_str()))?;
            if u64::try_from(data.len()).unwrap_or(u64::MAX) > MAX_READ_BYTES {
                return Err(too_large());
            }
            Ok(Bytes::from(data))
        })
        .await
    }

    /// Writes under a temporary name, syncs, renames, syncs the folder. An existing file is replaced, missing parent
    /// folders are created.
    pub async fn write(&self, name: &str, data: Bytes) -> Result<Entry, Failure> {
        let mut file = self.create_temporary(name).await?;
        file.write(&data).await?;
        file.finish(true).await
    }

    /// Removes a file; one that is not there is not an error.
    pub async fn delete(&self, name: &str) -> Result<(), Failure> {
        let name = FileName::parse(name)?;
        self.blocking(move |root| {
            match root.dir.remove_file(name.as_str()) {
                Ok(()) => {}
                Err(error) if error.kind() == E::NotFound => return Ok(()),
                Err(error) => return Err(failed("delete", name.as_str())(error)),
            }
            sync_parent(&root.dir, &name).map_err(|failure| failure.with_effect(Effect::Applied))
        })
        .await
    }

    /// Moves a file within the folder, replacing; missing parent folders are created.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let (from, to) = (FileName::parse(from)?, FileName::parse(to)?);
        self.blocking(move |root| {
            let dir = &root.dir;
            stat(dir, &from)?;
            create_parents(dir, &to)?;
            dir.rename(from.as_str(), dir, to.as_str()).map_err(failed("rename", from.as_str()))?;
            sync_parent(dir, &to)
                .and_then(|()| sync_parent(dir, &from))
                .map_err(|failure| failure.with_effect(Effect::Applied))
        })
        .await
    }

    /// A file that gets its name only when it is complete. Dropping it unfinished removes it.
    pub async fn create_temporary(&self, name: &str) -> Result<TemporaryFile, Failure> {
        let name = FileName::parse(name)?;
        let root = Arc::clone(&self.root);
        self.blocking(move |_root| TemporaryFile::create(root, name)).await
    }

    /// The unfinished file that is to become `name`, and what is in it from an earlier transfer.
    pub(crate) async fn open_partial(&self, name: &str) -> Result<(PartialFile, Found), Failure> {
        let name = FileName::parse(name)?;
        let root = Arc::clone(&self.root);
        self.blocking(move |_root| PartialFile::open(root, name)).await
    }

    /// Opens a file for reading, with its length in bytes.
    pub async fn open_file(&self, name: &str) -> Result<(tokio::fs::File, u64), Failure> {
        let name = FileName::parse(name)?;
        self.blocking(move |root| {
            // Before opening, because opening a pipe would wait for its other end.
            stat(&root.dir, &name)?;
            let file = root.dir.open(name.as_str()).map_err(failed("read", name.as_str()))?;
            let bytes = file.metadata().map_err(failed("read", name.as_str()))?.len();
            Ok((tokio::fs::File::from_std(file.into_std()), bytes))
        })
        .await
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&Root) -> Result<T, Failure> + Send + 'static,
    {
        let root = Arc::clone(&self.root);
        blocking(move || work(&root)).await
    }
}

/// Runs file work where it may block.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Failure::new(Kind::Internal, format!("file work ended early: {error}"))),
    }
}

pub(super) fn stat(dir: &Dir, name: &FileName) -> Result<Entry, Failure> {
    let metadata = dir.metadata(name.as_str()).map_err(failed("find", name.as_str()))?;
    if !metadata.is_file() {
        return Err(Failure::new(Kind::InvalidInput, format!("`{}` is not a file", name.as_str())));
    }
    entry(name.as_str().to_owned(), &metadata)
}

pub(super) fn create_parents(dir: &Dir, name: &FileName) -> Result<(), Failure> {
    let (mut parent, _) = name.split();
    if parent.is_empty() || dir.is_dir(parent) {
        return Ok(());
    }
    if let Err(error) = dir.create_dir_all(parent) {
        // Something else than a folder is in the way; opening it says what: a file, or a link that leads out.
        let mut ends = parent.match_indices('/').map(|(end, _)| end).chain([parent.len()]);
        let in_the_way =
            |end| dir.open_dir(parent.get(..end)?).err().filter(|error| error.kind() != E::NotFound);
        let told = ends.find_map(in_the_way).unwrap_or(error);
        return Err(failed("create the folder of", name.as_str())(told));
    }
    // Each new folder is an entry in the one above it.
    while let Some((above, _)) = parent.rsplit_once('/') {
        sync(dir, above).map_err(failed("create the folder of", name.as_str()))?;
        parent = above;
    }
    sync(dir, "").map_err(failed("create the folder of", name.as_str()))
}

pub(super) fn sync_parent(dir: &Dir, name: &FileName) -> Result<(), Failure> {
    sync(dir, name.split().0).map_err(failed("sync the folder of", name.as_str()))
}

fn sync(dir: &Dir, folder: &str) -> std::io::Result<()> {
    dir.open(if folder.is_empty() { "." } else { folder })?.sync_all()
}

fn entry(name: String, metadata: &Metadata) -> Result<Entry, Failure> {
    let modified = metadata
        .modified()
        .map(cap_std::time::SystemTime::into_std)
        .and_then(|time| jiff::Timestamp::try_from(time).map_err(std::io::Error::other))
        .map_err(failed("read the time of", &name))?;
    Ok(Entry { bytes: metadata.len(), modified, name })
}

/// Walks the folder that `prefix` points into; deeper than names may be long it does not go.
fn list(root: &Dir, prefix: &str) -> Result<Vec<Entry>, Failure> {
    let start = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut folders = vec![start.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match root.read_dir(if folder.is_empty() { "." } else { &folder }) {
            Ok(entries) => entries,
            // Not there, or gone since it was found.
            Err(error) if error.kind() == E::NotFound => continue,
            Err(error) if error.kind() == E::NotADirectory && folder == start => continue,
            Err(error) => return Err(failed("list", &folder)(error)),
        };
        for item in entries {
            let item = item.map_err(failed("list", &folder))?;
            let Some(part) = item.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let name = if folder.is_empty() { part } else { format!("{folder}/{part}") };
            let Ok(kind) = item.file_type() else { continue };
            if kind.is_dir() && name.len() < MAX_NAME_BYTES {
                if name.starts_with(prefix) || prefix.starts_with(&name) {
                    folders.push(name);
                }
            } else if kind.is_file() && name.starts_with(prefix) && FileName::parse(&name).is_ok() {
                let metadata = match item.metadata() {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == E::NotFound => continue,
                    Err(error) => return Err(failed("list", &name)(error)),
                };
                found.push(entry(name, &metadata)?);
                if found.len() > MAX_ENTRIES {
                    let text = format!(
                        "more than {MAX_ENTRIES} files start with `{prefix}`: list a narrower prefix"
                    );
                    return Err(Failure::new(Kind::InvalidInput, text));
                }
            }
        }
    }
    debug_assert!(found.iter().all(|entry| !entry.name.contains(TEMPORARY_PREFIX)));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// What the system said, as a failure; the message names the file as the plugin knows it, never where it is.
pub(crate) fn failed<'a>(action: &'a str, name: &'a str) -> impl FnOnce(std::io::Error) -> Failure + use<'a> {
    move |error| {
        let sentence = |text: &str| format!("cannot {action} `{name}`: {text}");
        match error.kind() {
            E::NotFound => Failure::new(Kind::NotFound, format!("there is no file `{name}`")),
            // What cap-std says where a link leads out; the system's own refusals carry a code.
            E::PermissionDenied if error.raw_os_error().is_none() => {
                Failure::new(Kind::Refused, sentence("it leads out of the folder"))
            }
            E::PermissionDenied | E::ReadOnlyFilesystem => {
                Failure::new(Kind::Refused, sentence("the host may not do that there"))
                    .with_code("host:permission-denied")
            }
            E::StorageFull | E::QuotaExceeded => {
                Failure::new(Kind::Internal, sentence("the disk is full")).with_code("host:disk-full")
            }
            E::AlreadyExists => Failure::new(Kind::Conflict, format!("there is already a file `{name}`")),
            E::IsADirectory => Failure::new(Kind::InvalidInput, sentence("it is a folder")),
            E::NotADirectory => Failure::new(Kind::InvalidInput, sentence("a part of the name is a file")),
            E::InvalidFilename => {
                Failure::new(Kind::Refused, sentence("the file system does not take that name"))
            }
            _ => Failure::new(Kind::Internal, sentence(&error.to_string())).with_code("host:file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_a_kind_and_a_code() {
        for (errno, kind, code) in [
            (28, Kind::Internal, Some("host:disk-full")),  // ENOSPC
            (122, Kind::Internal, Some("host:disk-full")), // EDQUOT
            (13, Kind::Refused, Some("host:permission-denied")),
            (30, Kind::Refused, Some("host:permission-denied")), // EROFS
            (2, Kind::NotFound, None),
            (5, Kind::Internal, Some("host:file")), // EIO
        ] {
            let failure = failed("write", "a.txt")(std::io::Error::from_raw_os_error(errno));
            assert_eq!((failure.kind, failure.code.as_deref()), (kind, code), "{errno}");
            assert!(failure.message.contains("`a.txt`"), "{}", failure.message);
        }
    }
}
