//! `bascule runs cancel`

use anyhow::Result;
use bascule_database::{Database, OpenError};
use bascule_run::journal::{CancelAsked, RunHeader, SqliteJournal};
use jiff::Timestamp;

use crate::arguments::Show;
use crate::commands::run::Engine;
use crate::commands::{remote, runs, short};
use crate::exit::{Exit, coded};
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, Site};

/// Cancels a run: through whoever works on it, or here, when nobody does.
pub(crate) async fn run(places: Places, name: &str) -> Result<Exit> {
    if let Some(client) = Client::find(&places).await? {
        return remote::cancel(&client, name).await;
    }
    // Before anything is opened for writing, so that a slip of the name costs nothing.
    let journal = match Database::open_read_only(&places.database()).await {
        Ok(database) => SqliteJournal::open(database).await?,
        Err(OpenError::Missing { .. }) => return Err(coded(Exit::NotFound, "nothing has run here yet")),
        Err(error) => return Err(error.into()),
    };
    let header = runs::find(&journal, name).await?.header;
    if !header.status.is_open() {
        return Err(too_late(&header));
    }
    match Site::open(places.clone()).await {
        Ok(site) => here(site, &header).await,
        Err(error) => match error.downcast_ref::<OpenError>() {
            Some(OpenError::InUse { pid, .. }) => beside(&places, &header, *pid).await,
            _ => Err(error),
        },
    }
}

/// Nobody works on it: what is left to do, `undo` and `finally`, is done now.
async fn here(site: Site, header: &RunHeader) -> Result<Exit> {
    let show = Show { json: false, quiet: false, verbose: false };
    let engine = Engine::wire(&site, show).await?;
    let outcome = engine.cancel(&site, header.id).await;
    let closed = engine.close(&site, Ok(Exit::Success)).await;
    let outcome = outcome?;
    paint::line(format!(
        "{} {}",
        paint::status(outcome.status.name()),
        paint::dim(&format!("run {}", header.id))
    ));
    closed
}

/// The owner is asked by a note in the journal, which it reads while the run is under way.
async fn beside(places: &Places, header: &RunHeader, pid: Option<u32>) -> Result<Exit> {
    let who = "`bascule runs cancel`";
    let asked =
        SqliteJournal::ask_cancel_beside(&places.database(), header.id, Timestamp::now(), who).await?;
    let run = short(header.id);
    match asked {
        CancelAsked::Ended => paint::line(format!("run {run} had not begun and is cancelled")),
        CancelAsked::Noted => {
            let owner = pid.map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}"));
            paint::line(format!(
                "{owner} was asked to cancel run {run}; `bascule runs show {run}` tells how it ends"
            ));
        }
        CancelAsked::TooLate => return Err(too_late(header)),
    }
    Ok(Exit::Success)
}

fn too_late(header: &RunHeader) -> anyhow::Error {
    coded(Exit::Unusable, format!("run {} has ended: there is nothing to cancel", header.id))
}
