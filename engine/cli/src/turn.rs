//! Whose turn it is: `concurrency` of `bascule run` while another process owns the data folder.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use bascule_database::{Database, OpenError};
use bascule_run::Status;
use bascule_run::journal::{Filter, Journal as _, RunHeader, RunId, SqliteJournal};
use bascule_workflow::admission::WhenBusy;
use bascule_workflow::check::Surroundings;
use bascule_workflow::plan::Workflow;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::commands::short;
use crate::exit::{Exit, coded};
use crate::paint;
use crate::site::{Places, Site, checked};

/// How often the other process is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long after the other run's end its process may take to give the data folder back.
const GIVES_BACK: Duration = Duration::from_secs(10);

/// What the wish to run comes to.
pub(crate) enum Turn {
    /// The data folder is this process's.
    Open(Box<Site>),
    /// `when-busy: skip`, and a run of the group is under way.
    Skipped {
        /// That run.
        run: RunId,
        /// The group.
        group: String,
    },
}

/// What the workflow says about its turn.
struct Wish {
    group: String,
    when_busy: WhenBusy,
}

/// Opens the project. While another process owns it and runs the workflow's group, `when-busy` decides; else that
/// the folder is in use is an error, as for every command.
pub(crate) async fn open(
    places: Places,
    file: &Path,
    given: &Map<String, Value>,
    trigger: &Value,
) -> Result<Turn> {
    let mut wish = None;
    let mut told: Option<RunId> = None;
    let mut free_since: Option<Instant> = None;
    loop {
        let error = match Site::open(places.clone()).await {
            Ok(site) => return Ok(Turn::Open(Box::new(site))),
            Err(error) => error,
        };
        if !matches!(error.downcast_ref::<OpenError>(), Some(OpenError::InUse { .. })) {
            return Err(error);
        }
        let wish = match &wish {
            Some(wish) => wish,
            None => match read(&places, file, given, trigger)? {
                Some(read) => wish.insert(read),
                None => return Err(error),
            },
        };
        match running(&places, &wish.group).await? {
            // Not of this group: the folder is in use. Of this group and just ended: about to be given back.
            None => match (told, free_since) {
                (Some(_), None) => free_since = Some(Instant::now()),
                (Some(_), Some(since)) if since.elapsed() < GIVES_BACK => {}
                _ => return Err(error),
            },
            Some(header) => {
                if wish.when_busy == WhenBusy::Skip {
                    return Ok(Turn::Skipped { run: header.id, group: wish.group.clone() });
                }
                free_since = None;
                if told.replace(header.id) != Some(header.id) {
                    let (run, group) = (short(header.id), &wish.group);
                    if wish.when_busy == WhenBusy::Replace {
                        paint::note(format!("cancelling run {run} of group `{group}`"));
                        SqliteJournal::ask_cancel_beside(
                            &places.database(),
                            header.id,
                            Timestamp::now(),
                            "a run that replaces it",
                        )
                        .await?;
                    } else {
                        paint::note(format!("waiting for run {run} of group `{group}`"));
                    }
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The run's concurrency key.
pub(crate) fn key(
    workflow: &Workflow,
    inputs: &Map<String, Value>,
    trigger: &Value,
) -> Result<Option<String>> {
    workflow.concurrency_key(inputs, trigger).map_err(|error| {
        coded(Exit::Unusable, format!("`concurrency.group` of `{}`: {}", workflow.id, error.in_full()))
    })
}

/// Reads the workflow without the data folder; nothing where it has no `concurrency` or its inputs are not accepted,
/// which is said once the folder is open.
fn read(places: &Places, file: &Path, given: &Map<String, Value>, trigger: &Value) -> Result<Option<Wish>> {
    let project = places.inventory()?;
    let (_, plugins) = places.plugins(&project)?;
    let signatures = plugins.signatures();
    let library = places.library(&[file.to_owned()])?;
    let surroundings = Surroundings { plugins: &signatures, project: Some(&project), library: &library };
    let workflow = checked(file, surroundings)?;
    let Ok(inputs) = workflow.accept_inputs(given.clone()) else {
        return Ok(None);
    };
    let group = key(&workflow, &inputs, trigger)?;
    let when_busy = workflow.concurrency.as_ref().map(|concurrency| concurrency.when_busy);
    Ok(group.zip(when_busy).map(|(group, when_busy)| Wish { group, when_busy }))
}

/// The run of the group that is under way.
async fn running(places: &Places, group: &str) -> Result<Option<RunHeader>> {
    let journal = SqliteJournal::open(Database::open_read_only(&places.database()).await?).await?;
    let filter = Filter { statuses: vec![Status::Running], ..Filter::default() };
    let runs = journal.runs(&filter).await?;
    Ok(runs.into_iter().find(|run| run.concurrency_key.as_deref() == Some(group)))
}
