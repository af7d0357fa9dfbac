//! `bascule completions`

use clap::CommandFactory as _;

use crate::arguments::{Arguments, Completions};
use crate::exit::Exit;
use crate::paint;

/// Prints the script.
pub(crate) fn run(options: &Completions) -> Exit {
    // Written by itself it would panic where nobody reads it to its end.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "bascule", &mut script);
    paint::line(String::from_utf8_lossy(&script).trim_end());
    Exit::Success
}
