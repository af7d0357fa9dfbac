//! Which workflows and test files are meant, and which inventory they belong to.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exit::{Exit, coded, coded_with_help};
use crate::site::{INVENTORY, Places, yaml_files};

/// A workflow and its test file, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) workflow: PathBuf,
    pub(crate) tests: Option<PathBuf>,
    /// The folder of `bascule.yaml`.
    pub(crate) project: PathBuf,
}

/// The targets of these paths (folders, workflows, test files); without any those of the project's `workflows`.
pub(crate) fn targets(places: &Places, paths: &[PathBuf]) -> Result<Vec<Target>> {
    let mut workflows = Vec::new();
    if paths.is_empty() {
        let folder = places.project.join("workflows");
        // The shipped workflows have their inventory beside them.
        workflows = yaml_files(if folder.is_dir() { &folder } else { &places.project })?;
    }
    for path in paths {
        if path.is_dir() {
            workflows.extend(yaml_files(path)?);
        } else if path.exists() {
            workflows.push(workflow_of(path)?);
        } else {
            return Err(coded(Exit::NotFound, format!("there is no `{}`", path.display())));
        }
    }
    workflows.dedup();
    let targets = workflows.into_iter().map(|workflow| {
        let tests = ["test.yaml", "test.yml"]
            .map(|end| workflow.with_extension(end))
            .into_iter()
            .find(|file| file.exists());
        let project = project_of(&workflow, &places.project);
        Target { workflow, tests, project }
    });
    Ok(targets.collect())
}

/// `a.test.yaml` -> `a.yaml`
fn workflow_of(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".test.yaml").or_else(|| name.strip_suffix(".test.yml")) else {
        return Ok(path.to_owned());
    };
    let workflow = ["yaml", "yml"]
        .map(|end| path.with_file_name(format!("{stem}.{end}")))
        .into_iter()
        .find(|file| file.exists());
    workflow.ok_or_else(|| {
        coded_with_help(
            Exit::NotFound,
            format!(
                "`{}` tests the workflow `{stem}`, and there is no `{stem}.yaml` beside it",
                path.display()
            ),
            "a test file stands beside its workflow and has its name",
        )
    })
}

/// The inventory beside the workflow, or in the folder above it, or the project's own.
fn project_of(workflow: &Path, project: &Path) -> PathBuf {
    let beside = workflow.parent().map_or_else(
        || PathBuf::from("."),
        |folder| {
            if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
        },
    );
    let above = beside.join("..");
    if beside.join(INVENTORY).is_file() {
        beside
    } else if above.join(INVENTORY).is_file() {
        above
    } else {
        project.to_owned()
    }
}
