use std::path::PathBuf;
use std::sync::Arc;

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another part of this one) owns the file.
    #[error(
        "`{}` is in use by {}: stop it first, or choose another data folder",
        path.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// Process id of the owner, where it has had time to write it down.
        pid: Option<u32>,
        /// The database file.
        path: PathBuf,
    },
    /// There is no such file (read-only opening only; otherwise it is created).
    #[error("there is no database `{}`", path.display())]
    Missing {
        /// The database file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("`{}` is not a bascule database: move it away, or choose another data folder", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The check after an unclean end found damage.
    #[error(
        "`{}` is damaged ({finding}): keep a copy of it, then restore the last backup or move it away",
        path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found first.
        finding: String,
    },
    /// The folder, the lock file or the file itself could not be created or read.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else that SQLite said.
    #[error("cannot open the database `{}`", path.display())]
    Sql {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

/// Why a read, a write or a migration failed.
///
/// Of a failed write nothing is kept, except with [`DatabaseError::Broken`], where the changes may or may not be
/// found when the file is opened the next time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Writing to disk failed and what is on it is no longer certain. Every later write fails the same way at once;
    /// the process is to end and the next one recovers from the file. Nothing is ever synced a second time.
    #[error("the database can no longer be written ({reason}): check the disk, then restart")]
    Broken {
        /// What SQLite said.
        reason: Arc<str>,
    },
    /// No space left; works again when there is.
    #[error("the disk is full: nothing was stored")]
    Full,
    /// Another job's failure made SQLite undo the transaction that this one was part of. It may be tried again.
    #[error("the transaction was undone because another one failed")]
    Undone,
    /// Closed by [`crate::Database::close`].
    #[error("the database is closed")]
    Closed,
    /// Opened by [`crate::Database::open_read_only`].
    #[error("the database was opened for reading only")]
    ReadOnly,
    /// The file was written by a newer version of the program.
    #[error(
        "the database is newer than this program: its `{component}` part is at version {found}, known here are {known}; \
         use the newer program"
    )]
    NewerSchema {
        /// Whose tables.
        component: &'static str,
        /// Steps that the file has had.
        found: usize,
        /// Steps known here.
        known: usize,
    },
    /// Opened read-only and older than this program, which may not change it.
    #[error(
        "the database is older than this program: its `{component}` part is at version {found} of {known}; it is \
         brought up to date when it is next opened for writing"
    )]
    OlderSchema {
        /// Whose tables.
        component: &'static str,
        /// Steps that the file has had.
        found: usize,
        /// Steps known here.
        known: usize,
    },
    /// A migration step failed; none of the component's steps was kept.
    #[error("step {step} of the `{component}` tables failed")]
    Migration {
        /// Whose tables.
        component: &'static str,
        /// From 1.
        step: usize,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// The job itself panicked; its changes are undone.
    #[error("a database job panicked")]
    Panicked,
    /// Anything else that SQLite said, e.g. a violated constraint.
    #[error("the database refused a statement")]
    Sql(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(code::FULL) => Self::Full,
            _ => Self::Sql(Arc::new(error)),
        }
    }
}

impl DatabaseError {
    /// The text that makes the whole file unusable, if this is that kind of error: an I/O error, damage found while
    /// reading, or the end of the connection itself.
    pub(crate) fn fatal(&self) -> Option<Arc<str>> {
        let error = match self {
            Self::Broken { reason } => return Some(Arc::clone(reason)),
            Self::Sql(error) | Self::Migration { source: error, .. } => error,
            _ => return None,
        };
        let fatal = match &**error {
            sqlx::Error::WorkerCrashed => true,
            other => {
                matches!(primary_code(other), Some(code::IO | code::CORRUPT | code::NOT_A_DATABASE))
            }
        };
        fatal.then(|| error.to_string().into())
    }

    /// True where SQLite said a constraint was violated, e.g. a key exists already.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Sql(error) if primary_code(error) == Some(code::CONSTRAINT))
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html) that are told apart here.
pub(crate) mod code {
    pub(crate) const BUSY: u32 = 5;
    pub(crate) const IO: u32 = 10;
    pub(crate) const CORRUPT: u32 = 11;
    pub(crate) const FULL: u32 = 13;
    pub(crate) const CONSTRAINT: u32 = 19;
    pub(crate) const NOT_A_DATABASE: u32 = 26;
}

/// The primary result code, where SQLite gave one; sqlx reports the extended code as text.
pub(crate) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    let extended: u32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}
