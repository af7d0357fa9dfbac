//! The file by which other commands find the server: where it listens, and a token that is good as long as it runs.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, coded_with_help};
use crate::site::Places;

/// What the file says. Readable by the user that the server runs as, and nobody else.
#[derive(Serialize, Deserialize)]
pub(crate) struct Address {
    /// `http://127.0.0.1:8710`
    pub(crate) url: String,
    /// The server's process.
    pub(crate) pid: u32,
    /// A token for this server's life.
    pub(crate) token: String,
}

impl Address {
    /// Where it lies.
    pub(crate) fn file(places: &Places) -> PathBuf {
        places.data.join("server.json")
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, places: &Places) -> Result<()> {
        write_private(&Self::file(places), serde_json::to_string_pretty(self)?.as_bytes())
    }

    /// Reads it; `None` where no server says that it is there.
    pub(crate) fn read(places: &Places) -> Option<Self> {
        let text = std::fs::read_to_string(Self::file(places)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Removes it.
    pub(crate) fn remove(places: &Places) {
        if let Err(error) = std::fs::remove_file(Self::file(places)) {
            tracing::debug!(%error, "the address file could not be removed");
        }
    }
}

/// Writes a file of the data folder that only its owner may read, whole or not at all; it is on disk when this returns.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content).map_err(|error| {
        coded_with_help(
            Exit::Storage,
            format!("cannot write `{}`: {error}", path.display()),
            "look at the disk and at who owns the data folder",
        )
    })
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    drop(std::fs::remove_file(&temporary));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}
