//! Months of a small site, as fast as they can be worked off: what grows, what leaks, what gets slower.
//!
//! The site is what `bascule serve` puts together, in this process, on a clock that is moved by hand (`clock.rs`): intake over
//! HTTP, schedules, events, files, the executor, the journal and the stores on disk, one real component in the sandbox, and
//! the retention of `tests/fixtures/soak/bascule.yaml`. `docs/benchmarks.md` says what is asked of it.

mod beside;
mod calendar;
mod clock;
mod desk;
mod ear;
mod figures;
mod judge;
mod shelf;
mod site;
mod year;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_capability::secret::MasterKey;
use bascule_workflow::project::Retention;

use crate::machine::{Watch, flushes};
use crate::samples::{Samples, number};
use crate::{Pace, say};
use beside::Beside;
use desk::Sandbox;
use judge::Asked;
use shelf::Shelf;
use site::Tools;
use year::{Course, Year};

/// Where things are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// The component of `tests/guests/examples/trivial.rs`.
    component: PathBuf,
    /// The folder with the site's workflows.
    project: PathBuf,
    /// Where databases are made; emptied before.
    ground: PathBuf,
}

/// What `cargo xtask soak` says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// How many months.
    #[arg(long)]
    months: u32,
    /// Where the random numbers start.
    #[arg(long)]
    seed: u64,
}

/// Days of a month: each as long as the others, so that months can be compared.
const DAYS: u32 = 30;
/// The site's first instant.
const BEGIN: &str = "2027-01-01T00:00:00Z";

pub(crate) async fn measure(options: &Options, pace: Pace) -> Result<()> {
    let begun = Instant::now();
    let Options { place, months, seed } = options;
    let Place { component, project, ground } = place;
    clear(ground)?;
    let days = pace.of(1, DAYS);
    MasterKey::create(&key_file(ground)).context("cannot make a key")?;
    let tools = tools(component, project, ground)?;
    let beside = Beside::start(component, project, ground)?;
    let retention = shortened(&tools.shelf.project.retention, DAYS / days);
    let asked = Asked { cap_bytes: retention.max_size_bytes, timed: pace == Pace::Full };
    say(&format!(
        "soak: {months} months of {days} days, seed {seed}; a flush of 4 KiB takes {} ms here",
        number(flushes(ground)?.median() * 1e3)
    ));
    let watch = Watch::start(None);
    let begin = BEGIN.parse()?;
    let course = Course { seed: *seed, begin, days, retention, ground: ground.clone() };
    let mut year = Year::open(&tools, course, beside).await?;
    say(&figures::head());
    let mut all = Vec::new();
    for number in 1..=*months {
        let month = year.month(number).await.with_context(|| format!("in month {number}"))?;
        say(&month.line());
        all.push(month);
    }
    year.close().await?;
    fs::remove_dir_all(ground)?;

    if let Some(last) = all.last() {
        let runs: u64 = all.iter().map(figures::Month::ended).sum();
        say(&format!(
            "{runs} runs and {} steps ended, all that should have and no others; {} webhooks came again and made none",
            all.iter().map(|month| month.steps).sum::<u64>(),
            all.iter().map(|month| month.again).sum::<u64>()
        ));
        let rows: Vec<String> = last.rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
        say(&format!("rows at the end: {}", rows.join(", ")));
    }
    let verdicts = judge::judge(&all, asked);
    for verdict in &verdicts {
        match verdict {
            Ok(text) => say(&format!("  ok      {text}")),
            Err(text) => say(&format!("  FAILED  {text}")),
        }
    }
    say(&watch.caveat(&Samples::default()));
    say(&format!("took {} s", number(begun.elapsed().as_secs_f64())));
    let wrong = verdicts.iter().filter(|verdict| verdict.is_err()).count();
    if wrong > 0 {
        bail!("{wrong} of {} bounds were not kept", verdicts.len());
    }
    Ok(())
}

/// The process beside a soak (`beside.rs`).
pub(crate) async fn beside(place: &Place) -> Result<()> {
    let Place { component, project, ground } = place;
    beside::serve(tools(component, project, ground)?, ground).await
}

fn key_file(ground: &Path) -> PathBuf {
    ground.join("key").join("master.key")
}

fn tools(component: &Path, project: &Path, ground: &Path) -> Result<Tools> {
    let sandbox = Arc::new(Sandbox::open(component)?);
    let shelf = Arc::new(Shelf::read(project, &sandbox.signatures())?);
    Ok(Tools { sandbox, shelf, client: reqwest::Client::new(), key_file: key_file(ground) })
}

/// A file in the ground that says whose it is.
const MARK: &str = ".bascule-soak";

/// Makes the ground, or empties the one of an earlier soak; never anything else.
fn clear(ground: &Path) -> Result<()> {
    let filled = fs::read_dir(ground).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !filled || ground.join(MARK).exists(),
        "`{}` holds something else: name a folder that is empty or not there yet",
        ground.display()
    );
    if filled {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground)?;
    Ok(fs::write(ground.join(MARK), "")?)
}

/// What short months are kept for, in proportion.
fn shortened(retention: &Retention, by: u32) -> Retention {
    let part = |time: Duration| time / by;
    Retention {
        runs: part(retention.runs),
        failed_runs: part(retention.failed_runs),
        deliveries: part(retention.deliveries),
        once: part(retention.once),
        max_size_bytes: retention.max_size_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ground_of_an_earlier_soak_is_emptied() {
        let ground = std::env::temp_dir().join(format!("bascule-soak-{}", std::process::id()));
        assert!(clear(&ground).is_ok());
        assert!(fs::write(ground.join("left"), "").is_ok());
        assert!(clear(&ground).is_ok());
        assert!(!ground.join("left").exists());
        assert!(fs::remove_file(ground.join(MARK)).is_ok());
        assert!(fs::write(ground.join("of somebody else"), "").is_ok());
        assert!(clear(&ground).is_err());
        assert!(ground.join("of somebody else").exists());
        assert!(fs::remove_dir_all(&ground).is_ok());
    }
}
