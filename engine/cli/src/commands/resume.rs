//! `bascule resume`

use anyhow::Result;
use bascule_run::journal::{Journal as _, RunHeader};

use crate::arguments::Resume;
use crate::commands::run::Engine;
use crate::commands::{remote, runs};
use crate::exit::{Exit, coded};
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
        engine.make_way(&header).await?;
        let workflow = engine.begun(&site, &header).await?;
        let exit = engine.drive(header.id, workflow, options.show).await?;
        if exit as u8 > worst as u8 {
            worst = exit;
        }
        if exit == Exit::Stopped {
            break;
        }
    }
    site.database.close().await;
    Ok(worst)
}
