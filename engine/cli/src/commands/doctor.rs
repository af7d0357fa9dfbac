//! `bascule doctor`: looks at everything that a site needs and says what is wrong, why it matters and what to do.

mod connections;
mod place;
mod project;
mod secrets;
mod server;

use anyhow::Result;
use bascule_database::Database;
use bascule_workflow::project::Project;
use serde::Serialize;
use serde_json::json;

use crate::arguments::Doctor;
use crate::exit::Exit;
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, count};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not for long.
    Warning,
    /// Something does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at, e.g. `secrets`.
    check: &'static str,
    level: Level,
    /// One sentence.
    what: String,
    /// Why it matters; empty where all is well.
    why: String,
    /// What to do; empty where all is well.
    mend: String,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Level::Ok, what.into(), "", "");
    }

    fn warn(&mut self, check: &'static str, what: impl Into<String>, why: &str, mend: impl AsRef<str>) {
        self.add(check, Level::Warning, what.into(), why, mend.as_ref());
    }

    fn error(&mut self, check: &'static str, what: impl Into<String>, why: &str, mend: impl AsRef<str>) {
        self.add(check, Level::Error, what.into(), why, mend.as_ref());
    }

    fn add(&mut self, check: &'static str, level: Level, what: String, why: &str, mend: &str) {
        self.findings.push(Finding { check, level, what, why: why.to_owned(), mend: mend.to_owned() });
    }

    fn number(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// What the checks share.
struct Patient<'p> {
    places: &'p Places,
    /// `None` where bascule.yaml cannot be used.
    project: Option<Project>,
    /// Opened for reading; `None` where there is none yet, or it cannot be read.
    database: Option<Database>,
    /// The running server.
    client: Option<Client>,
}

/// Looks at everything; fails where something does not work, or with `--strict` where something soon may not.
pub(crate) async fn run(places: Places, options: Doctor) -> Result<Exit> {
    let mut report = Report::default();
    let client = Client::find(&places).await?;
    let project = project::inventory(&places, &mut report);
    place::key(&places, &mut report);
    place::disk(&places, &mut report);
    let database = place::database(&places, project.as_ref(), &mut report).await;
    place::zone(project.as_ref(), &mut report);
    let patient = Patient { places: &places, project, database, client };
    let workflows = project::workflows(&patient, &mut report);
    server::running(&patient, &workflows, &mut report).await?;
    server::missed(&patient, &mut report).await?;
    server::undecided(&patient, &mut report).await?;
    server::held(&patient, &mut report).await?;
    secrets::check(&patient, &workflows, &mut report).await?;
    connections::check(&patient, &options, &mut report).await?;
    print(&report, &options)
}

fn print(report: &Report, options: &Doctor) -> Result<Exit> {
    let (errors, warnings) = (report.number(Level::Error), report.number(Level::Warning));
    if options.json {
        let all = json!({ "errors": errors, "warnings": warnings, "findings": report.findings });
        paint::line(serde_json::to_string_pretty(&all)?);
    } else {
        for finding in &report.findings {
            let word = match finding.level {
                Level::Ok => paint::good("ok"),
                Level::Warning => paint::warn("warning"),
                Level::Error => paint::bad("error"),
            };
            paint::line(format!("{word} {}: {}", finding.check, finding.what));
            if !finding.why.is_empty() {
                paint::line(paint::dim(&format!("   why: {}", finding.why)));
            }
            if !finding.mend.is_empty() {
                paint::line(format!("   do:  {}", finding.mend));
            }
        }
        paint::line(format!(
            "{} looked at: {}, {}",
            count(report.findings.len(), "thing"),
            count(errors, "error"),
            count(warnings, "warning")
        ));
    }
    let bad = errors > 0 || (options.strict && warnings > 0);
    Ok(if bad { Exit::Failed } else { Exit::Success })
}

/// An error with its causes, in one line.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
