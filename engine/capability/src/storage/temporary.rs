//! Files on their way to their name.
//!
//! A temporary file lies at the root of the folder under [`TEMPORARY_PREFIX`] and is locked by its writer, so that
//! one that nobody holds is known to be left over from a killed process.

use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use bascule_workflow::failure::{Effect, Failure, Kind};
use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;

use super::Entry;
use super::file_name::{FileName, KEPT_PREFIX, TEMPORARY_PREFIX};
use super::folder::{Root, blocking, create_parents, failed, stat, sync_parent};
use super::partial::KEPT_FOR;

/// A file that gets its name only when it is complete; dropped before [`TemporaryFile::finish`], it is removed.
pub struct TemporaryFile {
    file: tokio::fs::File,
    place: Place,
}

/// Where it lies and where it is to go; removes it when dropped.
struct Place {
    root: Arc<Root>,
    temporary: String,
    name: FileName,
    in_place: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.in_place
            && let Err(error) = self.root.dir.remove_file(&self.temporary)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = self.root.name, file = self.temporary, %error, "a temporary file stays behind");
        }
    }
}

impl std::fmt::Debug for TemporaryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemporaryFile").field("name", &self.place.name.as_str()).finish_non_exhaustive()
    }
}

impl TemporaryFile {
    pub(super) fn create(root: Arc<Root>, name: FileName) -> Result<Self, Failure> {
        create_parents(&root.dir, &name)?;
        loop {
            let temporary = format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4().simple());
            let file = root
                .dir
                .open_with(&temporary, OpenOptions::new().write(true).create_new(true))
                .map_err(failed("write", name.as_str()))?
                .into_std();
            let place = Place { root: Arc::clone(&root), temporary, name: name.clone(), in_place: false };
            // Between creation and lock another process that opens the folder may take it for a left-over.
            let ours = match file.try_lock() {
                Ok(()) => file.metadata().is_ok_and(|metadata| metadata.nlink() > 0),
                Err(TryLockError::WouldBlock) => false,
                // A file system without locks: nothing is taken for a left-over there.
                Err(TryLockError::Error(_)) => true,
            };
            if ours {
                return Ok(Self { file: tokio::fs::File::from_std(file), place });
            }
        }
    }

    /// Appends.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.file.write_all(data).await.map_err(failed("write", self.place.name.as_str()))
    }

    /// Syncs the file, gives it its name in one step, and syncs the folder. With `overwrite` an existing file is
    /// replaced; without, it is a `conflict` and stays as it is, however many try at once.
    pub async fn finish(mut self, overwrite: bool) -> Result<Entry, Failure> {
        self.file.flush().await.map_err(failed("write", self.place.name.as_str()))?;
        let file = self.file.into_std().await;
        let mut place = self.place;
        blocking(move || {
            file.sync_all().map_err(failed("write", place.name.as_str()))?;
            let dir = &place.root.dir;
            if overwrite {
                dir.rename(&place.temporary, dir, place.name.as_str())
                    .map_err(failed("write", place.name.as_str()))?;
            } else {
                place_new(dir, &place.temporary, &place.name)?;
            }
            place.in_place = true;
            sync_parent(&place.root.dir, &place.name)
                .and_then(|()| stat(&place.root.dir, &place.name))
                .map_err(|failure| failure.with_effect(Effect::Applied))
        })
        .await
    }
}

/// Renames unless there is something under that name: by `RENAME_NOREPLACE`, or by a hard link where the file system
/// does not know that (NFS).
pub(super) fn place_new(dir: &Dir, temporary: &str, name: &FileName) -> Result<(), Failure> {
    let (parent, last) = name.split();
    // The system call follows links in the names it is given, so it gets names without folders.
    let target = if parent.is_empty() { dir.try_clone() } else { dir.open_dir(parent) };
    let target = target.map_err(failed("write", name.as_str()))?;
    match rustix::fs::renameat_with(dir, temporary, &target, last, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(errno) => return Err(failed("write", name.as_str())(errno.into())),
    }
    dir.hard_link(temporary, &target, last).map_err(failed("write", name.as_str()))?;
    dir.remove_file(temporary).map_err(|error| {
        Failure::new(
            Kind::Internal,
            format!("`{}` is stored, and also under a temporary name: {error}", name.as_str()),
        )
        .with_effect(Effect::Applied)
    })
}

/// Removes what killed processes left behind; what may be gone on with stays for [`KEPT_FOR`].
pub(super) fn remove_stale(dir: &Dir) -> std::io::Result<()> {
    for item in dir.entries()? {
        let item = item?;
        let name = item.file_name();
        let is_temporary = name.to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX));
        if !is_temporary || !item.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = dir.open(&name) else { continue };
        let file = file.into_std();
        if name.to_str().is_some_and(|name| name.starts_with(KEPT_PREFIX)) {
            let age = file.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
            // A time in the future (a clock that was set back) is no age.
            if !age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT_FOR)) {
                continue;
            }
        }
        if file.try_lock().is_err() {
            continue;
        }
        match dir.remove_file(&name) {
            Ok(()) => {
                tracing::info!(file = %name.display(), "removed an unfinished file that was left behind")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
