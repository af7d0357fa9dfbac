//! Compiled components on disk. Loading one is running it, so every entry is authenticated: HMAC-SHA256 with a key
//! that is kept elsewhere, over what was compiled, by which engine with which settings, and the code itself. Whatever
//! does not match is compiled again.

use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

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
        if !verified {
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
