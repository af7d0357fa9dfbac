//! Compiled components on disk. Loading one is running it, so every entry is authenticated: HMAC-SHA256 with a key
//! that is kept elsewhere, over what was compiled, by which engine with which settings, and the code itself. Whatever
//! does not match is compiled again.

use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::Host;
use crate::stop::chain;

const MAC_BYTES: usize = 32;

/// Where compiled code is kept.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    /// Stands for the engine's version, the compiler's settings and the processor's features.
    engine: [u8; 32],
}

impl Cache {
    pub(crate) fn open(folder: PathBuf, key: [u8; 32], engine: &Engine) -> std::io::Result<Self> {
        create_private(&folder)?;
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder, key, engine: hasher.0.finalize().into() })
    }

    fn path(&self, component: &[u8; 32]) -> PathBuf {
        self.folder.join(format!("{}-{}.cwasm", hex::encode(component), hex::encode(&self.engine[..8])))
    }

    fn mac(&self, component: &[u8; 32], code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(b"bascule compiled component 1\0");
        mac.update(component);
        mac.update(&self.engine);
        mac.update(code);
        Some(mac)
    }

    /// The code that was stored for this component, if every bit of it is as it was written.
    fn read(&self, component: &[u8; 32]) -> Option<Vec<u8>> {
        let mut entry = std::fs::read(self.path(component)).ok()?;
        if entry.len() < MAC_BYTES {
            return None;
        }
        let code = entry.split_off(MAC_BYTES);
        let verified = self.mac(component, &code)?.verify_slice(&entry).is_ok();
        if verified {
            mark_used(&self.path(component));
        } else {
            tracing::warn!(path = %self.path(component).display(), "compiled code was altered; it is compiled again");
        }
        verified.then_some(code)
    }

    /// Stores compiled code: complete and under its name, or not at all.
    fn write(&self, component: &[u8; 32], code: &[u8]) -> std::io::Result<()> {
        let Some(mac) = self.mac(component, code) else {
            return Ok(());
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&mac.finalize().into_bytes())?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(component))?;
        Ok(())
    }
}

/// The file's time is that of its last use; the next use makes up for a failure.
fn mark_used(path: &Path) {
    let marked = std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = marked {
        tracing::debug!(%error, path = %path.display(), "the use of compiled code could not be noted");
    }
}

/// What was taken out of a folder of compiled plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes compiled plugins that nobody has loaded since `unused_for` ago: those of earlier versions of a plugin or of the
/// engine. Other files are left alone. What was removed and is needed after all is compiled again.
///
/// # Errors
/// Where the folder cannot be read; one that is not there is empty.
pub fn evict_compiled(folder: &Path, unused_for: Duration) -> std::io::Result<Evicted> {
    let mut evicted = Evicted::default();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(evicted),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "cwasm") {
            continue;
        }
        // Another process may have removed it in between.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        let unused = metadata.modified().ok().and_then(|at| at.elapsed().ok());
        if unused.is_some_and(|unused| unused >= unused_for) && std::fs::remove_file(&path).is_ok() {
            evicted.files += 1;
            evicted.bytes += metadata.len();
        }
    }
    Ok(evicted)
}

impl Host {
    /// The component's machine code, from the cache or compiled now.
    pub(crate) fn compiled(&self, bytes: &[u8], sha256: &[u8; 32]) -> wasmtime::Result<Component> {
        if let Some(cache) = &self.cache
            && let Some(code) = cache.read(sha256)
        {
            match deserialize(&self.engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "compiled code does not load; it is compiled again")
                }
            }
        }
        self.compilations.fetch_add(1, Ordering::Relaxed);
        let component = Component::new(&self.engine, bytes)?;
        if let Some(cache) = &self.cache {
            let written = component
                .serialize()
                .map_err(|error| chain(&error))
                .and_then(|code| cache.write(sha256, &code).map_err(|error| error.to_string()));
            if let Err(error) = written {
                tracing::warn!(error, "compiled code cannot be stored; the next start compiles again");
            }
        }
        Ok(component)
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime trusts compiled code; the only caller has checked its HMAC over these very bytes"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was written by `Component::serialize` of an engine with the same compatibility hash; `Cache::read`
    // has authenticated it, in memory, with a key that is not kept with it.
    unsafe { Component::deserialize(engine, code) }
}

/// Creates the folder, for its owner alone.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Hashes with SHA-256 what implements `Hash`: std's own hashers may change between Rust versions, and 64 bits are few.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ])
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    fn age(path: &Path) {
        let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - 2 * MONTH).unwrap();
    }

    #[test]
    fn what_nobody_has_loaded_for_long_goes_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().to_owned(), [7; 32], &Engine::default()).unwrap();
        let (used, unused, new) = ([1; 32], [2; 32], [3; 32]);
        for component in [&used, &unused, &new] {
            cache.write(component, b"machine code").unwrap();
        }
        age(&cache.path(&used));
        age(&cache.path(&unused));
        let other = folder.path().join("notes.txt");
        std::fs::write(&other, "somebody's own").unwrap();
        age(&other);

        assert_eq!(cache.read(&used).unwrap(), b"machine code");
        let evicted = evict_compiled(folder.path(), MONTH).unwrap();
        assert_eq!((evicted.files, evicted.bytes), (1, 12 + MAC_BYTES as u64));
        assert!(cache.read(&used).is_some() && cache.read(&new).is_some());
        assert!(cache.read(&unused).is_none() && other.exists());
        assert_eq!(evict_compiled(folder.path(), MONTH).unwrap(), Evicted::default());
        assert_eq!(evict_compiled(&folder.path().join("none"), MONTH).unwrap(), Evicted::default());
    }
}
