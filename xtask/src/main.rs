//! The project's own commands: `cargo xtask help`.

mod bench;
mod conformance;
mod demo;
mod house;
mod interrupt;
mod package;
mod process;
mod recorder;
mod soak;
mod stage;
mod suite;
mod torture;
mod zones;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands; each does all of its own set-up")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the main job: simulated Supabase and terminals, real engine, real plugins.
    Demo(demo::Options),
    /// Build everything and run every test; then look for leaked secrets in all that was written.
    Test(suite::Options),
    /// Build plugins and guests into components under target/components.
    Components,
    /// The checks of CONTRIBUTING.md that a program can make.
    House,
    /// Write the generated reference pages (docs/reference).
    Generate,
    /// Kill the engine at random instants and judge what comes back.
    Torture(torture::Options),
    /// Test against real programs: Apache, @supabase/lite, Python, ImageMagick, ffprobe (installed by this command).
    Conformance(conformance::Options),
    /// Hold schedules against two other implementations around every change of every time zone until 2037 (a few minutes).
    Zones,
    /// Live through twelve months of a small site, on a clock moved by hand: fails where it grows, leaks or gets slower.
    Soak(soak::Options),
    /// Make the Debian package; `--check` installs it in a copy of this system, starts it and removes it.
    Package(package::Options),
    /// Measure, each figure as a ratio against another program in the same run.
    Bench(bench::Options),
}

fn main() -> Result<()> {
    std::env::set_current_dir(process::root())?;
    let arguments = Arguments::parse();
    interrupt::ends_children_too()?;
    match arguments.command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => suite::run(&options),
        Command::Components => {
            for folder in [xtask::components::plugins()?, xtask::components::guests()?] {
                process::say(&format!("components: {}", folder.display()));
            }
            Ok(())
        }
        Command::House => house::check(),
        Command::Generate => house::generate(),
        Command::Torture(options) => torture::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Zones => zones::run(),
        Command::Soak(options) => soak::run(&options),
        Command::Package(options) => package::run(&options),
        Command::Bench(options) => bench::run(&options),
    }
}
