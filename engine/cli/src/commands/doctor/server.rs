//! The server, and what needs a person: schedules that were missed, runs of unknown outcome.

use std::sync::Arc;

use anyhow::Result;
use bascule_run::clock::SystemClock;
use bascule_run::journal::{Filter, Journal as _, SqliteJournal};
use bascule_run::status::Status;
use bascule_trigger::Intake;
use bascule_trigger::schedule::missed_since;
use bascule_workflow::plan::Workflow;
use jiff::{SignedDuration, Timestamp};

use super::{Patient, Report};
use crate::commands::short;
use crate::site::count;

/// How far back missed schedules are told.
const BACK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether somebody waits for triggers.
pub(super) async fn running(
    patient: &Patient<'_>,
    workflows: &[Arc<Workflow>],
    report: &mut Report,
) -> Result<()> {
    let triggers: usize = workflows.iter().map(|workflow| workflow.triggers.len()).sum();
    let Some(client) = &patient.client else {
        if triggers == 0 {
            report.ok("server", "none runs, and no workflow has a trigger");
        } else {
            report.warn(
                "server",
                format!(
                    "none runs, and {}",
                    if triggers == 1 {
                        "a trigger waits for one".to_owned()
                    } else {
                        format!("{triggers} triggers wait for one")
                    }
                ),
                "schedules, webhooks and events are served only while `bascule serve` runs",
                "`systemctl start bascule`, or `bascule serve`; `systemctl status bascule` says why it ended",
            );
        }
        return Ok(());
    };
    report.ok("server", format!("one runs at {}", client.url()));
    let project = client.get("/api/v1/project").await?;
    for edit in project["refused_edits"].as_array().into_iter().flatten() {
        report.error(
            "server",
            format!("the last edit of `{}` is not in use", edit["file"].as_str().unwrap_or_default()),
            "something is wrong with it; the server goes on with what was there before",
            "`bascule check` shows what; the server takes the file up as soon as it is right",
        );
    }
    for problem in project["folder_problems"].as_array().into_iter().flatten() {
        report.error(
            "server",
            format!(
                "the folder of trigger `{}` of `{}` cannot be watched: {}",
                problem["trigger"].as_str().unwrap_or_default(),
                problem["workflow"].as_str().unwrap_or_default(),
                problem["reason"].as_str().unwrap_or_default()
            ),
            "files that arrive there make no run",
            "make the folder, or let the server's user read it",
        );
    }
    Ok(())
}

/// Occurrences of schedules that made no run.
pub(super) async fn missed(patient: &Patient<'_>, report: &mut Report) -> Result<()> {
    let Some(database) = &patient.database else { return Ok(()) };
    let Ok(journal) = SqliteJournal::open(database.clone()).await else { return Ok(()) };
    // Where no server ever ran there are no such tables.
    let Ok(intake) = Intake::open(database.clone(), &journal, Arc::new(SystemClock)).await else {
        return Ok(());
    };
    let missed = missed_since(&intake, Timestamp::now() - BACK).await?;
    for one in &missed {
        report.warn(
            "schedules",
            format!(
                "`{}` missed {} of `{}` in the last 7 days, the last one at {}",
                one.workflow,
                count(usize::try_from(one.count).unwrap_or(usize::MAX), "occurrence"),
                one.trigger,
                one.last
            ),
            "nothing ran at the time, and the schedule's `missed` does not make up for it",
            format!(
                "`bascule run {}` makes up for it by hand; `missed: once` does it by itself",
                one.workflow
            ),
        );
    }
    if missed.is_empty() {
        report.ok("schedules", "none was missed in the last 7 days");
    }
    Ok(())
}

/// Runs that wait for a person.
pub(super) async fn undecided(patient: &Patient<'_>, report: &mut Report) -> Result<()> {
    let Some(database) = &patient.database else { return Ok(()) };
    let Ok(journal) = SqliteJournal::open(database.clone()).await else { return Ok(()) };
    let filter = Filter {
        statuses: vec![Status::Interrupted, Status::RollbackIncomplete],
        limit: Some(100),
        ..Filter::default()
    };
    let runs = journal.runs(&filter).await?;
    if let Some(newest) = runs.first() {
        let run = short(newest.id);
        report.warn(
            "runs",
            format!(
                "{} a person, the newest is {run} of `{}`",
                if runs.len() == 1 { "1 run needs".to_owned() } else { format!("{} runs need", runs.len()) },
                newest.workflow
            ),
            "whether something was done is not known, or it could not be undone: no program may decide that",
            format!("`bascule runs show {run}` says what is in doubt"),
        );
    } else {
        report.ok("runs", "none waits for a person");
    }
    Ok(())
}
