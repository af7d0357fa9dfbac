//! What Bascule costs, each figure as a ratio between two programs that are measured in turn within one run.
//!
//! It is not a profiler and has no thresholds: `docs/benchmarks.md` says what each figure means. `cargo xtask bench`
//! builds what is needed and runs it. Each figure is one module with a `measure`; [`samples`] keeps the rounds.

mod call;
mod digest;
mod export;
mod fleet;
mod journal;
mod load;
mod machine;
mod persons;
mod plain;
mod plain_hooks;
mod receiver;
mod samples;
mod served;
mod soak;
mod streams;
mod webhooks;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bascule-bench", about = "Measures; `cargo xtask bench` prepares what this needs")]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
    /// Fewer and shorter rounds.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Subcommand)]
enum Figure {
    /// A call of a trivial function through the crate `bascule-plugin`, against wasmtime alone.
    Call {
        /// The component of `tests/guests/examples/trivial.rs`.
        component: PathBuf,
    },
    /// Journaled steps, against plain inserts.
    Journal {
        /// Where databases are made; on the disk that is meant.
        folder: PathBuf,
    },
    /// The photo workflow over simulated terminals, against a plain client.
    Fleet {
        /// A JSON file that says where everything is (`fleet::Plan`).
        plan: PathBuf,
    },
    /// One large recording with cuts, against `curl --digest`.
    Export {
        /// A JSON file that says where everything is (`export::Plan`).
        plan: PathBuf,
    },
    /// Many persons onto many terminals: rate and memory.
    Persons {
        /// A JSON file that says where everything is (`persons::Plan`).
        plan: PathBuf,
    },
    /// Webhooks into the server at a fixed rate, against a plain program that keeps a row for each.
    Webhooks {
        /// A JSON file that says where everything is (`webhooks::Plan`).
        plan: PathBuf,
    },
    /// Many event streams at once, some of which break again and again.
    Streams {
        /// A JSON file that says where everything is (`streams::Plan`).
        plan: PathBuf,
    },
    /// Months of a small site on a clock that is moved by hand: fails where it grows, leaks or gets slower.
    Soak(soak::Options),
    /// The process that `soak` has beside it; does what it reads until there is no more.
    SoakBeside(soak::Place),
    /// The plain program that `webhooks` compares with; serves until it is killed.
    PlainHooks {
        /// For its database.
        folder: PathBuf,
        /// What the header `X-Key` has to say.
        key: String,
    },
    /// One pass of the plain client that `fleet` compares with.
    Plain {
        /// As for `fleet`.
        plan: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { figure, quick } = Arguments::parse();
    let pace = if quick { Pace::Quick } else { Pace::Full };
    match figure {
        Figure::Call { component } => call::measure(&component, pace).await,
        Figure::Journal { folder } => journal::measure(&folder, pace).await,
        Figure::Fleet { plan } => fleet::measure(&plan, pace).await,
        Figure::Export { plan } => export::measure(&plan, pace).await,
        Figure::Persons { plan } => persons::measure(&plan).await,
        Figure::Webhooks { plan } => webhooks::measure(&plan, pace).await,
        Figure::Streams { plan } => streams::measure(&plan, pace).await,
        Figure::Soak(options) => soak::measure(&options, pace).await,
        Figure::SoakBeside(place) => soak::beside(&place).await,
        Figure::PlainHooks { folder, key } => plain_hooks::serve(&folder, &key).await,
        Figure::Plain { plan } => plain::pass(&plan).await,
    }
}

/// How long measuring may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Seconds: to see that it works.
    Quick,
    /// Minutes: figures to keep.
    Full,
}

impl Pace {
    /// The one or the other number.
    fn of<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A line of the report.
fn say(text: &str) {
    // Nobody is left to tell when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mib(bytes: u64) -> String {
    format!("{} MiB", samples::number(bytes as f64 / f64::from(1 << 20)))
}
