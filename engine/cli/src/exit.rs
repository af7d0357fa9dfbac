//! Exit codes: one meaning each, printed by `bascule help exit-codes`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well; a run `succeeded`, `recovered` or was `skipped`.
    Success = 0,
    /// The command did its work and the answer is no: the run failed, the check found errors, a test failed.
    Failed = 1,
    /// Wrong command line (clap uses the same code).
    Usage = 2,
    /// The project, a workflow, a test file, a plugin or an input is not usable; nothing was started.
    Unusable = 3,
    /// A person is needed: the run ended `interrupted` or `rollback-incomplete`.
    NeedsPerson = 4,
    /// Another process owns the data folder.
    InUse = 5,
    /// What was named does not exist: no such run, workflow, secret, plugin, code.
    NotFound = 6,
    /// The data folder cannot be read or written, and nothing more was accepted; or standard output cannot be written.
    Storage = 70,
    /// Ended by Ctrl-C or SIGTERM; `bascule resume` goes on.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What the table in `--help` says.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    success (a run that `succeeded`, `recovered` or was `skipped`)
  1    the answer is no: the run failed, the check found errors, a test failed
  2    wrong command line
  3    project, workflow, test file, plugin or input not usable; nothing was started
  4    a person is needed: `interrupted` or `rollback-incomplete`
  5    another process owns the data folder
  6    what was named does not exist
  70   the data folder cannot be read or written, or standard output cannot be written
  130  stopped by Ctrl-C or SIGTERM; `bascule resume` goes on";

/// An error that already knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    /// The exit code.
    pub(crate) exit: Exit,
    /// One sentence.
    pub(crate) message: String,
    /// How to mend it.
    pub(crate) help: Option<String>,
}

/// An error with an exit code.
pub(crate) fn coded(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Coded { exit, message: message.into(), help: None }.into()
}

/// An error with an exit code and a way out.
pub(crate) fn coded_with_help(
    exit: Exit,
    message: impl Into<String>,
    help: impl Into<String>,
) -> anyhow::Error {
    Coded { exit, message: message.into(), help: Some(help.into()) }.into()
}

/// The exit code of an error; `Unusable` for those that do not say.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if let Some(coded) = error.downcast_ref::<Coded>() {
        return coded.exit;
    }
    // Whoever asked the database may have put its own words around what it said.
    for cause in error.chain() {
        match cause.downcast_ref::<bascule_database::OpenError>() {
            Some(bascule_database::OpenError::InUse { .. }) => return Exit::InUse,
            Some(_) => return Exit::Storage,
            None => {}
        }
        if cause.is::<bascule_database::DatabaseError>() {
            return Exit::Storage;
        }
    }
    Exit::Unusable
}
