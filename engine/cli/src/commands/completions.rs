//! `bascule completions`

use clap::CommandFactory as _;

use crate::arguments::{Arguments, Completions};
use crate::exit::Exit;

/// Prints the script.
pub(crate) fn run(options: &Completions) -> Exit {
    clap_complete::generate(options.shell, &mut Arguments::command(), "bascule", &mut std::io::stdout());
    Exit::Success
}
