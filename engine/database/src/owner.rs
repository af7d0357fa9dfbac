//! Who owns the file: an exclusive lock on `<path>.lock`, with the owner's process id inside.
//!
//! The id stands there from opening to a clean close, so a file that is unlocked and not empty tells that its last
//! owner was killed.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fs2::FileExt;

use crate::OpenError;

/// The lock; given up when dropped.
pub(crate) struct Owner {
    file: File,
    /// False where the last owner did not close.
    pub(crate) found_clean: bool,
}

impl Owner {
    /// Takes the lock or says who has it.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = lock_path(database);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let locked = FileExt::try_lock_exclusive(&file);
        let mut content = String::new();
        let read = file.read_to_string(&mut content);
        match locked {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                return Err(OpenError::InUse { pid: content.trim().parse().ok(), path: database.to_owned() });
            }
            Err(source) => return Err(failed(source)),
        }
        // Unreadable content is not a clean end either.
        let found_clean = read.is_ok() && content.is_empty();
        // Over what stands there, and never with nothing in between: where this fails, the next one is still to know that
        // the last owner did not close.
        let id = format!("{}\n", std::process::id());
        file.write_all_at(id.as_bytes(), 0).map_err(failed)?;
        file.set_len(id.len() as u64).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(Self { file, found_clean })
    }

    /// Notes the clean end and gives up the lock.
    pub(crate) fn closed_cleanly(self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_all()
    }
}

pub(crate) fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
