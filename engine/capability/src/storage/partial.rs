//! Files that stay, unfinished, when a transfer breaks off, so that a later one goes on with them.
//!
//! Such a file lies at the root of the folder under [`KEPT_PREFIX`] and a hash of the name it is to get, with a record of
//! its owner's beside it. Its writer holds a lock on it. What nobody went on with for [`KEPT_FOR`] is removed when the
//! folder is opened.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind as E, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_workflow::failure::{Effect, Failure, Kind};
use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest as _, Sha256};

use super::Entry;
use super::file_name::{FileName, KEPT_PREFIX};
use super::folder::{Root, blocking, create_parents, failed, stat, sync_parent};
use super::temporary::place_new;

/// An unfinished file that nobody went on with for so long is given up.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A call that was given up may still be writing its last bytes; the next one waits so long for it.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// A record is small; what is longer is none.
const MAX_RECORD_BYTES: u64 = 16 << 10;

/// An unfinished file, locked. Dropping it leaves it where it is.
pub(crate) struct PartialFile {
    file: Arc<File>,
    root: Arc<Root>,
    name: FileName,
    part: String,
}

/// What lay there when it was opened.
pub(crate) struct Found {
    /// Length of the file.
    pub(crate) bytes: u64,
    /// What [`Keeper::keep`] wrote last.
    pub(crate) record: Option<Vec<u8>>,
}

/// Writes records beside the file; can be used while the file is written to.
#[derive(Clone)]
pub(crate) struct Keeper {
    file: Arc<File>,
    root: Arc<Root>,
    part: String,
}

impl PartialFile {
    /// Opens the unfinished file that is to become `name`, or begins one. One that another transfer is at work on is a
    /// `conflict`.
    pub(super) fn open(root: Arc<Root>, name: FileName) -> Result<(Self, Found), Failure> {
        create_parents(&root.dir, &name)?;
        let hash = hex::encode(Sha256::digest(name.as_str()));
        let part = format!("{KEPT_PREFIX}{}", hash.get(..32).unwrap_or(&hash));
        let patience = Instant::now() + LOCK_WAIT;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true);
            let file =
                root.dir.open_with(&part, &options).map_err(failed("write", name.as_str()))?.into_std();
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    std::thread::sleep(LOCK_LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let text = format!("`{}` is being downloaded by another call", name.as_str());
                    return Err(Failure::new(Kind::Conflict, text).with_code("host:being-downloaded"));
                }
                // A file system without locks: the calls of one run do not share a name.
                Err(TryLockError::Error(_)) => {}
            }
            // Between opening and lock its last owner may have finished or removed it.
            let metadata = file.metadata().map_err(failed("write", name.as_str()))?;
            if metadata.nlink() > 0 && is_same(&root.dir, &part, &metadata) {
                let record = read_record(&root.dir, &part);
                let found = Found { bytes: metadata.len(), record };
                return Ok((Self { file: Arc::new(file), root, name, part }, found));
            }
        }
    }

    /// For reading and writing at places.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn keeper(&self) -> Keeper {
        Keeper { file: Arc::clone(&self.file), root: Arc::clone(&self.root), part: self.part.clone() }
    }

    /// Syncs the file, gives it its name in one step, removes the record. With `overwrite` an existing file is replaced;
    /// without, it is a `conflict` and stays as it is.
    pub(crate) async fn finish(self, overwrite: bool) -> Result<Entry, Failure> {
        blocking(move || {
            let Self { file, root, name, part } = self;
            let dir = &root.dir;
            if let Err(error) = file.sync_all() {
                forget(dir, &part);
                return Err(failed("write", name.as_str())(error));
            }
            if overwrite {
                dir.rename(&part, dir, name.as_str()).map_err(failed("write", name.as_str()))?;
            } else {
                place_new(dir, &part, &name)?;
            }
            remove(dir, &record_name(&part));
            sync_parent(dir, &name)
                .and_then(|()| stat(dir, &name))
                .map_err(|failure| failure.with_effect(Effect::Applied))
        })
        .await
    }

    /// Removes it: there is no use in going on.
    pub(crate) async fn discard(self) -> Result<(), Failure> {
        blocking(move || {
            forget(&self.root.dir, &self.part);
            Ok(())
        })
        .await
    }
}

impl Keeper {
    /// Makes what was written so far durable, then the record about it. Blocks. Where the first of the two fails, nothing
    /// more can be made of the file: it is removed.
    pub(crate) fn keep(&self, record: &[u8]) -> std::io::Result<()> {
        self.file.sync_data().inspect_err(|_lost| forget(&self.root.dir, &self.part))?;
        let (fresh, name) = (format!("{}.new", self.part), record_name(&self.part));
        let mut file = self.root.dir.create(&fresh)?;
        file.write_all(record)?;
        file.sync_data()?;
        self.root.dir.rename(&fresh, &self.root.dir, &name)?;
        self.root.dir.open(".")?.sync_all()
    }
}

/// Removes an unfinished file with its record. After a failed sync that is all that can be done: the next sync may succeed
/// with pages missing that the first one could not write, and whoever goes on reads them from memory and finds them right.
fn forget(dir: &Dir, part: &str) {
    remove(dir, &record_name(part));
    remove(dir, part);
}

fn record_name(part: &str) -> String {
    format!("{part}.json")
}

fn read_record(dir: &Dir, part: &str) -> Option<Vec<u8>> {
    let file = dir.open(record_name(part)).ok()?;
    let mut text = Vec::new();
    file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut text).ok()?;
    (u64::try_from(text.len()).ok()? <= MAX_RECORD_BYTES).then_some(text)
}

fn is_same(dir: &Dir, name: &str, held: &std::fs::Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    dir.metadata(name).is_ok_and(|there| there.ino() == held.ino() && there.dev() == held.dev())
}

fn remove(dir: &Dir, name: &str) {
    if let Err(error) = dir.remove_file(name)
        && error.kind() != E::NotFound
    {
        tracing::warn!(file = name, %error, "an unfinished file stays behind");
    }
}
