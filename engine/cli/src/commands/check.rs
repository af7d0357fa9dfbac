//! `bascule check`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::problem::Problems;
use bascule_workflow::project::Project;

use crate::arguments::{Check, Format};
use crate::exit::{Exit, coded};
use crate::paint;
use crate::site::{INVENTORY, Places, count, print_problems, yaml_files};

/// Checks and reports everything at once. Opens no data folder: it can run beside a running engine.
pub(crate) async fn run(places: Places, options: Check) -> Result<Exit> {
    let mut all: Vec<Problems> = Vec::new();
    let inventory = places.project.join(INVENTORY);
    let project = if inventory.exists() {
        let text = std::fs::read_to_string(&inventory)
            .with_context(|| format!("cannot read `{}`", inventory.display()))?;
        let (project, problems) = bascule_workflow::project::check(&inventory.display().to_string(), &text);
        all.push(problems);
        project
    } else if options.paths.is_empty() {
        // Says what is missing and how to mend it.
        return places.inventory().map(|_| Exit::Success);
    } else {
        None
    };

    let usable = project.clone().unwrap_or_default();
    let (_, plugins) = places.plugins(&usable)?;
    let signatures = plugins.signatures();
    let files = files(&places, &options.paths)?;
    let library = places.library(&files)?;
    for file in &files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let known: Option<&Project> = if inventory.exists() { project.as_ref() } else { None };
        let surroundings = Surroundings { plugins: &signatures, project: known, library: &library };
        let (_, problems) = check_among(&file.display().to_string(), &text, surroundings);
        all.push(problems);
    }

    let errors: usize = all.iter().map(Problems::errors).sum();
    let warnings: usize = all.iter().map(Problems::warnings).sum();
    match options.format {
        Format::Text => {
            for problems in &all {
                print_problems(problems);
            }
            let summary = format!(
                "{} checked: {}, {}",
                count(all.len(), "file"),
                count(errors, "error"),
                count(warnings, "warning")
            );
            if errors == 0 {
                paint::line(summary);
            } else {
                paint::note(summary);
            }
        }
        Format::Json => {
            let list: Vec<_> = all.iter().flat_map(Problems::iter).collect();
            paint::line(serde_json::to_string_pretty(&list)?);
        }
    }
    let refused = errors > 0 || (options.strict && warnings > 0);
    Ok(if refused { Exit::Failed } else { Exit::Success })
}

fn files(places: &Places, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if paths.is_empty() {
        return places.workflow_files();
    }
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(yaml_files(path)?);
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(coded(Exit::NotFound, format!("there is no `{}`", path.display())));
        }
    }
    Ok(files)
}
