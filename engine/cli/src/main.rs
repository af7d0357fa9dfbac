//! `bascule`: the command line. The only crate that reads arguments and the environment, prints, and exits.
//!
//! One file per subcommand in `commands/`; `site.rs` opens a project and wires capabilities, plugins, journal and
//! runner together; `exit.rs` is the table of exit codes.

mod arguments;
mod bridge;
mod commands;
mod components;
mod exit;
mod live;
mod paint;
mod serving;
mod site;
mod telemetry;
mod testing;
mod turn;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let arguments = arguments::Arguments::parse();
    paint::choose(arguments.color);
    let outcome = commands::dispatch(arguments);
    match outcome {
        Ok(code) => match paint::lost() {
            Some(error) => {
                paint::note(format!("{} standard output cannot be written: {error}", paint::bad("error:")));
                if code == exit::Exit::Success { exit::Exit::Storage.into() } else { code.into() }
            }
            None => code.into(),
        },
        Err(error) => {
            paint::error(&error);
            exit::of(&error).into()
        }
    }
}
