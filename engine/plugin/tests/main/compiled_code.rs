//! The cache of compiled code: loading an entry is running it, so nothing but what was written is loaded.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bascule_plugin::{Host, HostOptions, Limits};
use serde_json::json;

use crate::stage::{call, guest};

fn host(folder: &Path, key: u8, limits: Limits) -> Result<Host> {
    let options = HostOptions {
        cache_folder: Some(folder.to_owned()),
        cache_key: [key; 32],
        limits,
        ..HostOptions::default()
    };
    Ok(Host::new(options)?)
}

/// Loads the probe with a fresh host, sees that it works, and says how often it was compiled.
async fn compilations(folder: &Path, key: u8) -> Result<u64> {
    let host = host(folder, key, Limits::default())?;
    let probe = host.load("probe", &guest("probe")?, None)?;
    assert_eq!(
        call(&host, &probe, "values.join", json!({ "first_word": "a", "second_word": "b" })).await?,
        "a b"
    );
    Ok(host.compilations())
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    assert_eq!(entries.len(), 1, "{entries:?}");
    Ok(entries.first().context("no entry")?.path())
}

#[tokio::test]
async fn a_component_is_compiled_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cache = folder.path().join("a/b");
    assert_eq!(compilations(&cache, 1).await?, 1);
    assert_eq!(compilations(&cache, 1).await?, 0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&cache)?.permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(only_entry(&cache)?)?.permissions().mode() & 0o777, 0o600);
    }
    Ok(())
}

#[tokio::test]
async fn altered_entries_are_compiled_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    assert_eq!(compilations(folder.path(), 1).await?, 1);
    let entry = only_entry(folder.path())?;
    let good = std::fs::read(&entry)?;
    // In the authentication code, at its edge, in the ELF head, in the middle, at the end.
    for (position, bit) in [(0, 0), (31, 7), (32, 0), (64, 3), (good.len() / 2, 5), (good.len() - 1, 7)] {
        let mut bad = good.clone();
        bad[position] ^= 1 << bit;
        std::fs::write(&entry, &bad)?;
        assert_eq!(compilations(folder.path(), 1).await?, 1, "bit {bit} of byte {position}");
        assert_eq!(std::fs::read(&entry)?.len(), good.len());
        assert_eq!(compilations(folder.path(), 1).await?, 0, "after bit {bit} of byte {position}");
    }
    for bad in
        [&good[..0], &good[..31], &good[..32], &good[..good.len() - 1], &[good.as_slice(), b"x"].concat()]
    {
        std::fs::write(&entry, bad)?;
        assert_eq!(compilations(folder.path(), 1).await?, 1, "{} bytes", bad.len());
    }
    Ok(())
}

#[tokio::test]
async fn an_entry_counts_only_for_its_key_component_and_settings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    assert_eq!(compilations(folder.path(), 1).await?, 1);
    let good = std::fs::read(only_entry(folder.path())?)?;
    assert_eq!(compilations(folder.path(), 2).await?, 1, "another key");
    std::fs::write(only_entry(folder.path())?, &good)?;
    assert_eq!(compilations(folder.path(), 1).await?, 0);

    // The probe's code under the name of another component.
    let probe_entry = only_entry(folder.path())?;
    let other = host(folder.path(), 1, Limits::default())?;
    let spin = other.load("spin", &guest("spin")?, None)?;
    let entries =
        std::fs::read_dir(folder.path())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let spin_entry = entries.iter().find(|path| **path != probe_entry).context("no entry")?;
    assert!(spin_entry.to_string_lossy().contains(spin.sha256()));
    std::fs::copy(&probe_entry, spin_entry)?;
    let again = host(folder.path(), 1, Limits::default())?;
    again.load("spin", &guest("spin")?, None)?;
    assert_eq!(again.compilations(), 1);
    Ok(())
}
