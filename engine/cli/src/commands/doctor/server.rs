//! The server, and what needs a person: schedules that were missed, runs of unknown outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use bascule_run::RunId;
use bascule_run::clock::SystemClock;
use bascule_run::journal::{Filter, Journal as _, SqliteJournal};
use bascule_run::status::Status;
use bascule_trigger::Intake;
use bascule_trigger::dispatch::held_runs;
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
    let watches = client.get("/api/v1/triggers/overdue").await?;
    for watch in watches.as_array().into_iter().flatten().filter(|watch| watch["overdue"] == true) {
        let text = |key: &str| watch[key].as_str().unwrap_or_default();
        report.warn(
            "overdue",
            format!(
                "`{}` has had no success for {}, the last one ended {}",
                text("watched"),
                text("no_success_for"),
                watch["last_success_at"].as_str().unwrap_or("never")
            ),
            "what it does is not being done, or not to its end",
            format!(
                "`bascule runs list --workflow {0}` says how it ended lately, `bascule run {0}` does it now",
                text("watched")
            ),
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

/// Runs that cannot go on, and copies of plugins that a run may ask for and that are not there.
pub(super) async fn held(patient: &Patient<'_>, report: &mut Report) -> Result<()> {
    let Some(database) = &patient.database else { return Ok(()) };
    let Ok(journal) = SqliteJournal::open(database.clone()).await else { return Ok(()) };
    let held = held_runs(database).await.unwrap_or_default();
    for one in &held {
        let run = short(one.run);
        report.error(
            "runs",
            format!("run {run} cannot go on: {}", one.reason),
            "it waits until somebody mends that; what it has done so far is kept",
            format!("mend it, then `bascule resume {run}` (a running server goes on by itself)"),
        );
    }
    let mut open: BTreeMap<String, (String, RunId)> = BTreeMap::new();
    for header in journal.open_runs().await? {
        // What cannot be read is told where the run is taken up.
        let Ok(texts) = journal.texts(header.id).await else { continue };
        for (name, sha256) in texts.plugins {
            open.entry(sha256).or_insert((name, header.id));
        }
    }
    let kept = patient.places.kept();
    for (sha256, (name, run)) in &open {
        let Err(error) = kept.read(sha256) else { continue };
        if held.iter().any(|held| held.run == *run) {
            continue;
        }
        report.warn(
            "plugins",
            format!("the copy of plugin `{name}` that run {} goes by cannot be used: {error}", short(*run)),
            "once another build of the plugin is there, the run cannot go on",
            format!("put the component with sha256 {sha256} there"),
        );
    }
    Ok(())
}
