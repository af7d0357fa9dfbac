//! `bascule prune`

use std::sync::Arc;

use anyhow::Result;
use bascule_database::{Database, OpenError};
use bascule_run::clock::SystemClock;
use bascule_run::journal::SqliteJournal;
use bascule_trigger::{Intake, Janitor};
use bascule_workflow::project::Retention;
use serde_json::{Value, json};

use crate::arguments::Prune;
use crate::exit::Exit;
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, Site, bytes, count};

/// Takes away what is over: through the server where one is running, else here.
pub(crate) async fn run(places: Places, options: Prune) -> Result<Exit> {
    if options.dry_run {
        return look(&places, &options).await;
    }
    let swept = match Client::find(&places).await? {
        Some(client) => client.post("/api/v1/prune", &json!({})).await?,
        None => {
            let site = Site::open(places).await?;
            let janitor = janitor(site.database.clone(), Arc::clone(&site.journal)).await?;
            let swept = janitor.sweep(&site.project.retention).await;
            site.database.close().await;
            serde_json::to_value(swept?)?
        }
    };
    print(&swept, options.json, "removed")
}

/// Reads beside whoever owns the data folder.
async fn look(places: &Places, options: &Prune) -> Result<Exit> {
    let retention: Retention = places.inventory()?.retention;
    let database = match Database::open_read_only(&places.database()).await {
        Ok(database) => database,
        Err(OpenError::Missing { .. }) => {
            paint::line("nothing has run here yet");
            return Ok(Exit::Success);
        }
        Err(error) => return Err(error.into()),
    };
    let journal = Arc::new(SqliteJournal::open(database.clone()).await?);
    let found = janitor(database, journal).await?.look(&retention).await?;
    let exit = print(&serde_json::to_value(found)?, options.json, "would be removed")?;
    if found.over_bytes > 0 && !options.json {
        paint::line(format!(
            "{} more than `retention: max-size` allows: beyond these, the oldest ended runs would go before their time",
            bytes(found.over_bytes)
        ));
    }
    Ok(exit)
}

async fn janitor(database: Database, journal: Arc<SqliteJournal>) -> Result<Janitor> {
    let clock = Arc::new(SystemClock);
    let intake = Intake::open(database, &journal, Arc::clone(&clock) as _).await?;
    Ok(Janitor::new(intake, journal, clock))
}

fn print(swept: &Value, as_json: bool, what: &str) -> Result<Exit> {
    if as_json {
        paint::line(serde_json::to_string_pretty(swept)?);
        return Ok(Exit::Success);
    }
    let number = |key: &str| swept[key].as_u64().unwrap_or(0);
    let counted = |key: &str, name: &str| count(usize::try_from(number(key)).unwrap_or(usize::MAX), name);
    paint::line(format!(
        "{}, {} and {} {what}",
        counted("runs", "run"),
        counted("deliveries", "delivery or occurrence row"),
        counted("once", "`once` key"),
    ));
    if number("runs_for_space") > 0 {
        paint::line(format!("{} went before their time, for `max-size`", counted("runs_for_space", "run")));
    }
    let given = match number("given_back_bytes") {
        0 => String::new(),
        given => format!("; the file became {} smaller", bytes(given)),
    };
    paint::line(format!("the database holds {}{given}", bytes(number("used_bytes"))));
    Ok(Exit::Success)
}
