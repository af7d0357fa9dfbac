//! `bascule resume`

use std::sync::Arc;

use anyhow::Result;
use bascule_run::journal::{Journal as _, RunHeader};

use crate::arguments::Resume;
use crate::commands::run::Engine;
use crate::commands::runs;
use crate::exit::{Exit, coded};
use crate::paint;
use crate::site::{Places, Site, checked_text};

/// Goes on with one run, or with every run that was cut off; each by the workflow text it began with.
pub(crate) async fn run(places: Places, options: Resume) -> Result<Exit> {
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
        let text = engine.journal.text(header.id).await?;
        let name = format!("{}.yaml", header.workflow);
        let workflow = checked_text(&name, &text, &engine.plugins.signatures(), &site.project)?;
        let exit = engine.drive(header.id, Arc::new(workflow), options.show).await?;
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
