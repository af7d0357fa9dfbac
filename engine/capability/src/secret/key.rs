use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// Why the key file could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none yet.
    #[error("there is no key file `{}`", path.display())]
    Missing {
        /// The key file.
        path: PathBuf,
    },
    /// Creating never replaces: a lost key makes every stored secret unreadable.
    #[error("there is already a key file `{}`; it is not replaced", path.display())]
    Exists {
        /// The key file.
        path: PathBuf,
    },
    /// Others than its owner may use the file.
    #[error(
        "others may read or write the key file `{}` (mode {mode:03o}): `chmod 600` it, and set all secrets anew if \
         somebody has seen it",
        path.display()
    )]
    Permissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Some other content.
    #[error("`{}` is not a key file: it holds {bytes} bytes, a key has 32", path.display())]
    NotAKey {
        /// The key file.
        path: PathBuf,
        /// What was found; counted up to 33.
        bytes: usize,
    },
    /// The system has no random numbers.
    #[error("no random numbers for a new key: {0}")]
    Random(getrandom::Error),
    /// Anything else that the system said.
    #[error("cannot use the key file `{}`", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The key from which all others are derived: 32 random bytes in a file of mode 0600 outside the data folder.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Makes a new key and its file (mode 0600, a missing folder 0700). An existing file is never replaced.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *key).map_err(KeyError::Random)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // Whole or not at all: a process that ends in between must not leave an empty file, which would be refused at
        // the next start and could not be replaced.
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(KeyError::Random)?;
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".new-{}", hex::encode(suffix)));
        let unfinished = PathBuf::from(unfinished);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
        let named =
            file.write_all(&*key).and_then(|()| file.sync_all()).and_then(|()| name_new(&unfinished, path));
        if let Err(source) = named {
            let _gone = std::fs::remove_file(&unfinished);
            return Err(failed(source));
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self(key))
    }

    /// Reads the key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let mut file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Permissions { path: path.to_owned(), mode });
        }
        // One byte more than a key has, to notice a longer file.
        let mut content = Zeroizing::new([0; KEY_BYTES + 1]);
        let mut bytes = 0;
        loop {
            match file.read(content.get_mut(bytes..).unwrap_or_default()).map_err(failed)? {
                0 => break,
                more => bytes += more,
            }
        }
        match content.first_chunk::<KEY_BYTES>() {
            Some(key) if bytes == KEY_BYTES => Ok(Self(Zeroizing::new(*key))),
            _ => Err(KeyError::NotAKey { path: path.to_owned(), bytes }),
        }
    }

    /// A key for one purpose: HMAC-SHA256 of the label under this key. Labels are fixed texts, one for each purpose.
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        // A new HMAC takes a key of any length, so this is the only way it can be made.
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&hmac_key(&self.0));
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Gives a file its name unless there is something under that name; where the file system cannot do that in one step (NFS),
/// by a second name for it.
fn name_new(unfinished: &Path, path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(unfinished, path)?;
            std::fs::remove_file(unfinished)
        }
        named => Ok(named?),
    }
}

/// The key padded to the block size of SHA-256, as RFC 2104 section 2 has it.
fn hmac_key(key: &[u8; KEY_BYTES]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_created_key_is_private_and_loads_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.key");
        let key = MasterKey::create(&path).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (32, 0o600));
        let folder_mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777;
        assert_eq!(folder_mode, 0o700);
        assert_eq!(MasterKey::load(&path).unwrap().derive("x"), key.derive("x"));
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }

    #[test]
    fn creating_leaves_nothing_beside_the_key_and_an_unfinished_key_of_a_process_that_died_is_in_nobodys_way()
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(folder.path().join("key.new-0000000000000000"), b"").unwrap();
        MasterKey::create(&path).unwrap();
        MasterKey::load(&path).unwrap();
        assert!(matches!(MasterKey::create(&path), Err(KeyError::Exists { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn creating_does_not_replace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        MasterKey::create(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(MasterKey::create(&path), Err(KeyError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn loading_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(MasterKey::load(&path), Err(KeyError::Missing { .. })));
        MasterKey::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = MasterKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Permissions { mode: found, .. } if found == mode), "{error:?}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        MasterKey::load(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (content, found) in [(&b""[..], 0), (&[7; 31][..], 31), (&[7; 33][..], 33), (&[7; 4000][..], 33)]
        {
            std::fs::write(&path, content).unwrap();
            let error = MasterKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::NotAKey { bytes, .. } if bytes == found), "{error:?}");
        }
    }

    #[test]
    fn derived_keys_are_hmac_sha256_of_the_label() {
        // RFC 4231 test case 2 has a 4-byte key; padded with zeros to 32 bytes it is the same key (RFC 2104 section 2).
        let mut bytes = [0; KEY_BYTES];
        bytes[..4].copy_from_slice(b"Jefe");
        let key = MasterKey(Zeroizing::new(bytes));
        assert_eq!(
            hex::encode(key.derive("what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_ne!(key.derive("a"), key.derive("b"));
    }
}
