//! `bascule runs rerun`

use std::sync::Arc;

use anyhow::Result;
use bascule_run::record::RunRecord;
use bascule_run::{Basis, Rerun as Again};
use bascule_workflow::check::Surroundings;
use bascule_workflow::plan::Workflow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::arguments::{From, Rerun};
use crate::commands::run::{Engine, accept_edited, given};
use crate::commands::{remote, runs};
use crate::exit::{Exit, coded_with_help};
use crate::serving::Client;
use crate::site::{Places, Site, checked};

/// Runs again what did not succeed, or all of it.
pub(crate) async fn run(places: Places, options: Rerun) -> Result<Exit> {
    if let Some(client) = Client::find(&places).await? {
        return remote::rerun(&client, &options).await;
    }
    let edits = given(&options.inputs, options.inputs_json.as_deref())?;
    let site = Site::open(places).await?;
    let engine = Engine::wire(&site, options.show).await?;
    let record = runs::find(&engine.journal, &options.run).await?;
    let header = &record.header;
    if header.status.is_open() {
        return Err(coded_with_help(
            Exit::Unusable,
            format!("run {} is `{}`, it has not ended", header.id, header.status),
            "`bascule resume` goes on with a run that was cut off, `bascule runs cancel` ends it",
        ));
    }
    let workflow = match (options.latest, options.from) {
        (true, _) => latest(&site, &engine, &header.workflow)?,
        (false, From::Start) => engine.begun_with_present_plugins(&site, header).await?,
        (false, From::Failed) => engine.begun(&site, header).await?,
    };
    let edited = !edits.is_empty();
    let inputs = accept_edited(&workflow, &record.inputs, edits)?;
    let exit = match options.from {
        From::Start => {
            let trigger = trigger_again(&record);
            engine.start(&site, workflow, (inputs, trigger), options.show).await
        }
        From::Failed => {
            engine.make_way(header).await?;
            let basis = if options.latest { Basis::Latest } else { Basis::AsBegun };
            let again = Again { basis, inputs: (edited || options.latest).then_some(inputs) };
            let cancel = CancellationToken::new();
            let execution = engine.runner.rerun_with(header.id, Arc::clone(&workflow), again, cancel.clone());
            engine.watch(header.id, &workflow, (execution, &cancel), options.show).await
        }
    };
    engine.close(&site, exit).await
}

/// The workflow as its file says it now.
fn latest(site: &Site, engine: &Engine, id: &str) -> Result<Arc<Workflow>> {
    let file = site.places.workflow_file(id)?;
    let library = site.places.library(std::slice::from_ref(&file))?;
    let signatures = engine.plugins.signatures();
    let surroundings = Surroundings { plugins: &signatures, project: Some(&site.project), library: &library };
    Ok(Arc::new(checked(&file, surroundings)?))
}

/// What started the run, so that expressions find what they found then, and which run this repeats.
fn trigger_again(record: &RunRecord) -> Value {
    let mut trigger = record.trigger.clone();
    if let Value::Object(trigger) = &mut trigger {
        trigger.insert("rerun_of".to_owned(), json!(record.header.id));
    }
    trigger
}
