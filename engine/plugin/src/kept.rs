//! Components that runs were begun with, kept under their sha256: a run goes on with what it began with, whatever the
//! plugin folders hold by then. A copy is believed only after its sha256 was computed anew.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// A folder of components, each under its sha256. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
}

/// Why a kept component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Nobody has kept it, or somebody has removed it.
    #[error("there is no `{}`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It is not what it was.
    #[error("`{}` is damaged: its sha256 is {found}", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// The sha256 that it has now.
        found: String,
    },
    /// The file cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a sweep took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Kept {
    /// The components in that folder; it is made when something is kept.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where a component is, or would be. `sha256` is lower-case hexadecimal.
    #[must_use]
    pub fn file(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}.wasm"))
    }

    /// Whether there is a file for it; nothing is said about what is in it.
    #[must_use]
    pub fn has(&self, sha256: &str) -> bool {
        self.file(sha256).is_file()
    }

    /// Keeps a component and gives its sha256: complete and on disk under its name when this returns, or not at all. A
    /// sound copy is left as it is, a damaged one replaced.
    ///
    /// # Errors
    /// Where the folder or the file cannot be written.
    pub fn keep(&self, component: &[u8]) -> std::io::Result<String> {
        let sha256 = hex::encode(Sha256::digest(component));
        let path = self.file(&sha256);
        if fs::read(&path).is_ok_and(|there| there == component) {
            self.mark_used(&sha256);
            return Ok(sha256);
        }
        create_private(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(component)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        // The name is on disk only with the folder.
        File::open(&self.folder)?.sync_all()?;
        Ok(sha256)
    }

    /// A component as it was kept.
    ///
    /// # Errors
    /// [`KeptError`]: missing, damaged, or not to be read.
    pub fn read(&self, sha256: &str) -> Result<Vec<u8>, KeptError> {
        let path = self.file(sha256);
        let component = match fs::read(&path) {
            Ok(component) => component,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(KeptError::Missing { path });
            }
            Err(source) => return Err(KeptError::Unreadable { path, source }),
        };
        let found = hex::encode(Sha256::digest(&component));
        if found != sha256 {
            return Err(KeptError::Damaged { path, found });
        }
        self.mark_used(sha256);
        Ok(component)
    }

    /// Notes that a component is in use now, so that [`Kept::sweep`] leaves it alone for a while.
    pub fn mark_used(&self, sha256: &str) {
        let path = self.file(sha256);
        let marked = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = marked {
            tracing::debug!(%error, path = %path.display(), "the use of a kept component could not be noted");
        }
    }

    /// Removes the components that are not among `needed` and that nobody has used since `unused_for` ago, and what
    /// writing left behind when it was cut off. Other files are left alone.
    ///
    /// # Errors
    /// Where the folder cannot be read; one that is not there is empty.
    pub fn sweep(&self, needed: &BTreeSet<String>, unused_for: Duration) -> std::io::Result<Swept> {
        let mut swept = Swept::default();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(swept),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let may_go = match digest_of(&path) {
                Some(sha256) => !needed.contains(sha256),
                None => path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(".tmp")),
            };
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let unused = metadata.modified().ok().and_then(|at| at.elapsed().ok());
            if may_go && unused.is_some_and(|unused| unused >= unused_for) && fs::remove_file(&path).is_ok() {
                swept.files += 1;
                swept.bytes += metadata.len();
            }
        }
        Ok(swept)
    }
}

/// The sha256 that a file's name says, if it is the name of a kept component.
fn digest_of(path: &Path) -> Option<&str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (stem.len() == 64 && stem.bytes().all(hexadecimal)).then_some(stem)
}

/// Creates the folder, for its owner alone, and puts its name on disk.
fn create_private(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    match folder.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn age(path: &Path) {
        let file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    }

    #[test]
    fn what_was_kept_is_read_back_and_a_change_of_one_bit_is_noticed_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path().join("plugins"));
        assert!(matches!(kept.read(&"00".repeat(32)), Err(KeptError::Missing { .. })));
        let sha256 = kept.keep(b"a component").unwrap();
        assert_eq!(sha256, hex::encode(Sha256::digest(b"a component")));
        assert_eq!(kept.read(&sha256).unwrap(), b"a component");

        fs::write(kept.file(&sha256), b"a cOmponent").unwrap();
        let error = kept.read(&sha256).unwrap_err();
        assert!(matches!(&error, KeptError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&sha256), "it names the file: {error}");
        assert_eq!(kept.keep(b"a component").unwrap(), sha256);
        assert_eq!(kept.read(&sha256).unwrap(), b"a component");
        let names: Vec<_> = fs::read_dir(folder.path().join("plugins")).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_sweep_takes_what_nobody_needs_and_nobody_used_lately() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path().to_owned());
        let [needed, used, old] = [b"1", b"2", b"3"].map(|component| kept.keep(component).unwrap());
        let (cut_off, foreign) = (folder.path().join(".tmpX1"), folder.path().join("notes.wasm"));
        fs::write(&cut_off, "half").unwrap();
        fs::write(&foreign, "somebody's own").unwrap();
        for path in [kept.file(&needed), kept.file(&used), kept.file(&old), cut_off.clone(), foreign.clone()]
        {
            age(&path);
        }
        kept.read(&used).unwrap();
        let swept = kept.sweep(&BTreeSet::from([needed.clone()]), HOUR).unwrap();
        assert_eq!(swept, Swept { files: 2, bytes: 5 });
        assert!(kept.has(&needed) && kept.has(&used) && foreign.exists());
        assert!(!kept.has(&old) && !cut_off.exists());
        let none = Kept::new(folder.path().join("none"));
        assert_eq!(none.sweep(&BTreeSet::new(), HOUR).unwrap(), Swept::default());
    }
}
