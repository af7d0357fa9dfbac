//! Room on the disk: a reserve that is let go when the disk is full, so that what must still be written can be, and a
//! look at the disk that tells when there is enough again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use fs2::FileExt as _;

use crate::writer::State;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Whether the disk has room for more than the end of what has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// It has.
    #[default]
    Enough,
    /// Hardly any: nothing new is to be taken. Small writes still succeed as long as the reserve lasts.
    Short,
}

/// A file of real bytes beside the database that stands for room.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(crate) fn new(database: &Path, bytes: u64) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(".reserve");
        Self { path: path.into(), bytes }
    }

    fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() >= self.bytes)
    }

    /// Takes the room, unless it is taken. Nothing is left behind where there is not enough.
    fn take(&self) -> io::Result<()> {
        if self.is_there() {
            return Ok(());
        }
        let taken = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .and_then(|file: File| file.allocate(self.bytes));
        if taken.is_err() {
            self.let_go();
        }
        taken
    }

    /// Gives the room to whoever writes next; true where there was any.
    pub(crate) fn let_go(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Bytes that the disk has beside the reserve.
    fn free_bytes(&self) -> io::Result<u64> {
        fs2::available_space(self.path.parent().unwrap_or_else(|| Path::new(".")))
    }

    /// What there is now. Short begins where the disk has less than the reserve beside it, and ends where the reserve is
    /// whole again and half as much more is free: otherwise the two would alternate.
    fn look(&self, before: Room) -> io::Result<Room> {
        let free = self.free_bytes()?;
        if before == Room::Enough {
            return Ok(if free < self.bytes { Room::Short } else { Room::Enough });
        }
        let taken = if self.is_there() { 0 } else { self.bytes };
        if free < self.bytes + self.bytes / 2 + taken {
            return Ok(Room::Short);
        }
        self.take()?;
        Ok(Room::Enough)
    }
}

/// Looks at the disk until the writer is gone.
pub(crate) async fn watch(state: Weak<State>) {
    let mut failing = false;
    // Short as long as the reserve has not been taken.
    let mut first = true;
    loop {
        let Some(state) = state.upgrade() else { return };
        let Some(reserve) = state.reserve.get() else { return };
        let before = if first { Room::Short } else { *state.room.borrow() };
        first = false;
        match reserve.look(before) {
            Ok(now) => {
                failing = false;
                state.set_room(now);
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, path = %reserve.path.display(), "no room could be kept on the disk");
                }
                failing = true;
            }
        }
        drop(state);
        tokio::time::sleep(LOOK).await;
    }
}
