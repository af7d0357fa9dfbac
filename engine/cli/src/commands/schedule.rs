//! `bascule schedule`

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bascule_run::journal::RunTexts;
use bascule_trigger::Book;
use bascule_trigger::schedule::{Next, upcoming};
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Workflow;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::arguments;
use crate::exit::{Exit, coded_with_help};
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, print_problems, stem, zone};

/// Runs the subcommand.
pub(crate) async fn run(places: Places, command: arguments::Schedule) -> Result<Exit> {
    let (count, workflow, json) = match command {
        arguments::Schedule::Next { count, workflow, json } => (count, workflow, json),
        arguments::Schedule::Overdue { json } => return overdue(&places, json).await,
    };
    let rows = match Client::find(&places).await? {
        Some(client) => {
            let only = workflow.as_ref().map(|workflow| format!("&workflow={workflow}")).unwrap_or_default();
            client.get(&format!("/api/v1/triggers/upcoming?limit={count}{only}")).await?
        }
        None => of_folder(&places, Next { workflow: workflow.clone(), count: usize::try_from(count)? })?,
    };
    if let Some(name) = &workflow {
        // Says which workflows there are, where this is none.
        places.workflow_file(name)?;
    }
    print(&rows, &zone(&places.inventory()?), json)
}

/// What the running server watches: without one nobody is told of anything.
async fn overdue(places: &Places, as_json: bool) -> Result<Exit> {
    let rows = server(places, "watch").await?.get("/api/v1/triggers/overdue").await?;
    if as_json {
        paint::line(serde_json::to_string_pretty(&rows)?);
        return Ok(Exit::Success);
    }
    let zone = zone(&places.inventory()?);
    let mut table = Vec::new();
    for row in rows.as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let at = |key: &str| match text(key).parse::<Timestamp>() {
            Ok(at) => shown(at, &zone),
            Err(_) => "never".to_owned(),
        };
        let state = match row["overdue"].as_bool() {
            Some(true) => paint::bad("overdue"),
            _ => paint::good("in time"),
        };
        table.push(vec![
            text("watched"),
            state,
            at("last_success_at"),
            at("due_at"),
            text("no_success_for"),
            format!("{} ({})", text("workflow"), text("trigger")),
        ]);
    }
    if table.is_empty() {
        paint::line(
            "no workflow is watched; `triggers: - overdue: { name: .., no-success-for: 26h }` watches one",
        );
        return Ok(Exit::Success);
    }
    let head = ["workflow", "", "last success", "overdue at", "no success for", "tells"];
    paint::line(paint::table(&head, &table));
    Ok(Exit::Success)
}

/// The workflows of the folder that have no errors.
pub(crate) fn workflows(places: &Places) -> Result<Vec<Arc<Workflow>>> {
    let project = places.inventory()?;
    let (_, plugins) = places.plugins(&project)?;
    let signatures = plugins.signatures();
    let library = places.library(&[])?;
    let mut all = Vec::new();
    for file in places.workflow_files()? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let surroundings = Surroundings { plugins: &signatures, project: Some(&project), library: &library };
        let (workflow, problems) = check_among(&file.display().to_string(), &text, surroundings);
        match workflow {
            Some(workflow) => all.push(Arc::new(workflow)),
            None => {
                print_problems(&problems);
                paint::note(format!("{} left out {}", paint::warn("warning:"), stem(&file)));
            }
        }
    }
    Ok(all)
}

fn of_folder(places: &Places, next: Next) -> Result<Value> {
    let shelf = Shelf(workflows(places)?);
    let rows = upcoming(&shelf, &zone(&places.inventory()?), Timestamp::now(), &next);
    let rows = rows.into_iter().map(|row| {
        json!({
            "workflow": row.workflow, "trigger": row.trigger, "at": row.due_at, "slot_at": row.slot_at,
            "time_zone": row.time_zone, "description": row.description,
        })
    });
    Ok(rows.collect())
}

fn print(rows: &Value, site: &TimeZone, as_json: bool) -> Result<Exit> {
    if as_json {
        paint::line(serde_json::to_string_pretty(rows)?);
        return Ok(Exit::Success);
    }
    let site_name = site.iana_name().unwrap_or("local").to_owned();
    let mut table = Vec::new();
    for row in rows.as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let at: Timestamp = text("at").parse().context("the server named no instant")?;
        let zone_name = text("time_zone");
        let own = TimeZone::get(&zone_name).unwrap_or_else(|_| site.clone());
        table.push(vec![
            shown(at, site),
            if zone_name == site_name {
                "the same".to_owned()
            } else {
                format!("{} {zone_name}", shown(at, &own))
            },
            text("workflow"),
            text("trigger"),
            text("description"),
        ]);
    }
    if table.is_empty() {
        paint::line("no schedule has a next run");
        return Ok(Exit::Success);
    }
    let here = format!("at the site ({site_name})");
    paint::line(paint::table(&[&here, "in the schedule's zone", "workflow", "trigger", "means"], &table));
    Ok(Exit::Success)
}

/// `Mon 2026-11-23 03:00:00 +02`
fn shown(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Workflows that nobody edits meanwhile.
struct Shelf(Vec<Arc<Workflow>>);

#[async_trait::async_trait]
impl Book for Shelf {
    fn current(&self, workflow: &str) -> Option<Arc<Workflow>> {
        self.0.iter().find(|one| one.id == workflow).cloned()
    }

    fn all(&self) -> Vec<Arc<Workflow>> {
        self.0.clone()
    }

    async fn of_text(
        &self,
        workflow: &str,
        _digest: &str,
        _texts: &RunTexts,
    ) -> Result<Arc<Workflow>, Failure> {
        self.current(workflow).ok_or_else(|| Failure::new(Kind::NotFound, "there is no such workflow"))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
}

/// A server has to be there.
pub(crate) async fn server(places: &Places, what: &str) -> Result<Client> {
    Client::find(places).await?.ok_or_else(|| {
        coded_with_help(
            Exit::Unusable,
            format!("no server runs for this data folder, so there is nothing to {what}"),
            "workflows begin by themselves only while `bascule serve` runs",
        )
    })
}
