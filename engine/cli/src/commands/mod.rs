//! One file per subcommand.

mod cancel;
mod check;
mod completions;
mod connection;
mod doctor;
mod explain;
mod init;
mod plugin;
mod prune;
mod remote;
mod rerun;
mod resume;
pub(crate) mod run;
mod runs;
mod schedule;
mod schema;
mod secret;
mod serve;
mod test;
mod token;
mod workflow;

use anyhow::{Context as _, Result};

use crate::arguments::{Arguments, Command};
use crate::exit::Exit;
use crate::site::Places;

pub(crate) use run::short;

/// Runs the subcommand.
pub(crate) fn dispatch(arguments: Arguments) -> Result<Exit> {
    let places = Places::of(&arguments)?;
    match arguments.command {
        Command::Init(options) => init::run(&options),
        Command::Completions(options) => Ok(completions::run(&options)),
        Command::Explain(options) => explain::run(&options),
        Command::Schema(options) => schema::run(&places, &options),
        Command::Check(options) => in_runtime(check::run(places, options)),
        Command::Run(options) => in_runtime(run::run(places, options)),
        Command::Test(options) => in_runtime(test::run(places, options)),
        Command::Serve(options) => in_runtime(serve::run(places, options)),
        Command::Token(command) => in_runtime(token::run(places, command)),
        Command::Workflow(command) => in_runtime(workflow::run(places, command)),
        Command::Schedule(command) => in_runtime(schedule::run(places, command)),
        Command::Doctor(options) => in_runtime(doctor::run(places, options)),
        Command::Prune(options) => in_runtime(prune::run(places, options)),
        Command::Resume(options) => in_runtime(resume::run(places, options)),
        Command::Runs(options) => in_runtime(runs::run(places, options)),
        Command::Plugin(options) => in_runtime(plugin::run(places, options)),
        Command::Connection(options) => in_runtime(connection::run(places, options)),
        Command::Secret(options) => in_runtime(secret::run(places, options)),
    }
}

/// Runs a command on the runtime that does all I/O; guests run on their own threads elsewhere.
fn in_runtime(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    // Fails only if somebody installed a provider before us, and then there is one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(command)
}
