//! `bascule resume`

use anyhow::Result;
use bascule_run::RunError;
use bascule_run::journal::{Journal as _, JournalError, RunHeader};
use bascule_trigger::dispatch::note_hold;
use bascule_workflow::failure::Failure;
use jiff::Timestamp;

use crate::arguments::Resume;
use crate::commands::run::Engine;
use crate::commands::{remote, runs, short};
use crate::exit::{self, Coded, Exit, coded};
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, Site};

/// Goes on with one run, or with every run that was cut off; each by the workflow text it began with.
pub(crate) async fn run(places: Places, options: Resume) -> Result<Exit> {
    if let Some(client) = Client::find(&places).await? {
        return remote::resume(&client, &options).await;
    }
    let site = Site::open(places).await?;
    let engine = Engine::wire(&site, options.show).await?;
    let open: Vec<RunHeader> = match &options.run {
        None => engine.journal.open_runs().await?,
        Some(name) => {
            let header = runs::find(&engine.journal, name).await?.header;
            if !header.status.is_open() {
                return Err(coded(
                    Exit::Unusable,
                    format!(
                        "run {} has ended `{}`: there is nothing to go on with",
                        header.id, header.status
                    ),
                ));
            }
            vec![header]
        }
    };
    if open.is_empty() {
        paint::line("no run was cut off");
    }
    let mut worst = Exit::Success;
    for header in open {
        let exit = match go_on(&site, &engine, &header, &options).await {
            Ok(exit) => {
                note_hold(&site.database, header.id, Timestamp::now(), None).await?;
                exit
            }
            // The others need not wait for it.
            Err(error) => match held(&error) {
                Some(reason) => {
                    note_hold(&site.database, header.id, Timestamp::now(), Some(reason)).await?;
                    paint::note(format!("run {} of `{}` cannot go on:", short(header.id), header.workflow));
                    paint::error(&error);
                    exit::of(&error)
                }
                None => return Err(error),
            },
        };
        if exit as u8 > worst as u8 {
            worst = exit;
        }
        if exit == Exit::Stopped {
            break;
        }
    }
    engine.close(&site, Ok(worst)).await
}

async fn go_on(site: &Site, engine: &Engine, header: &RunHeader, options: &Resume) -> Result<Exit> {
    engine.make_way(header).await?;
    let workflow = engine.begun(site, header).await?;
    engine.drive(header.id, workflow, options.show).await
}

/// Why a run cannot go on until a person has mended something; `None` for what has nothing to do with the run.
fn held(error: &anyhow::Error) -> Option<String> {
    let reason = |message: &dyn std::fmt::Display| Some(message.to_string());
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return reason(failure);
    }
    if let Some(coded) = error.downcast_ref::<Coded>() {
        return reason(coded);
    }
    match error.downcast_ref::<RunError>() {
        Some(error @ (RunError::Held { .. } | RunError::OtherText { .. } | RunError::OtherPlugin { .. })) => {
            reason(error)
        }
        _ => match error.downcast_ref::<JournalError>() {
            Some(error @ JournalError::Unreadable { .. }) => reason(error),
            _ => None,
        },
    }
}
