//! `bascule schema`

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use bascule_workflow::schema::{Offered, inventory, workflow};
use serde_json::Value;

use crate::arguments::{Schema, SchemaOf};
use crate::exit::Exit;
use crate::paint;
use crate::site::Places;

/// Writes or prints schemas. Opens no data folder: it can run beside a running engine.
pub(crate) fn run(places: &Places, options: &Schema) -> Result<Exit> {
    let of_workflows = || {
        let project = places.inventory()?;
        let (_, plugins) = places.plugins(&project)?;
        let (signatures, library) = (plugins.signatures(), places.library(&[])?);
        anyhow::Ok(workflow(&Offered { plugins: &signatures, project: Some(&project), library: &library }))
    };
    match options.print {
        Some(SchemaOf::Workflow) => paint::line(serde_json::to_string_pretty(&of_workflows()?)?),
        Some(SchemaOf::Inventory) => paint::line(serde_json::to_string_pretty(&inventory())?),
        None => {
            let own = places.project.join("schema");
            let folder = options.folder.as_ref().unwrap_or(&own);
            fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
            write(&folder.join("workflow.json"), &of_workflows()?)?;
            write(&folder.join("bascule.json"), &inventory())?;
            paint::line(
                "\nEditors that know YAML schemas take them from the first line of a file:\n  \
                 # yaml-language-server: $schema=../schema/workflow.json     in workflows/*.yaml\n  \
                 # yaml-language-server: $schema=schema/bascule.json         in bascule.yaml",
            );
        }
    }
    Ok(Exit::Success)
}

/// Whole or not at all: an editor may be reading it.
fn write(file: &Path, schema: &Value) -> Result<()> {
    let context = || format!("cannot write `{}`", file.display());
    let unfinished = file.with_extension("json.unfinished");
    fs::write(&unfinished, serde_json::to_string(schema)? + "\n").with_context(context)?;
    fs::rename(&unfinished, file).with_context(context)?;
    paint::line(format!("{} {}", paint::good("made"), file.display()));
    Ok(())
}
