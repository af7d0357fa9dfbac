//! `bascule test`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use bascule_workflow::cases::Suite;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::plan::Workflow;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{Format, Test};
use crate::exit::{Exit, coded};
use crate::paint;
use crate::site::{Places, count, print_problems, stem, yaml_files};
use crate::testing::clock::VirtualClock;
use crate::testing::coverage::Coverage;
use crate::testing::find::{Target, targets};
use crate::testing::report::{Everything, Told};
use crate::testing::stage::{Shown, Stage, shown_clock};

/// A workflow with its cases, both checked.
struct Ready {
    /// As it is shown.
    file: String,
    tests: PathBuf,
    workflow: Arc<Workflow>,
    suite: Suite,
    stage: Arc<Stage>,
}

/// Checks everything, then runs the cases one after another.
pub(crate) async fn run(places: Places, options: Test) -> Result<Exit> {
    let targets = targets(&places, &options.paths)?;
    let (ready, untested) = ready(&places, targets)?;
    if ready.is_empty() && untested.is_empty() {
        return Err(coded(Exit::NotFound, "there are no workflows to test"));
    }
    let everything = if options.verbose { Everything::OfAll } else { Everything::OfFailures };
    let mut tally = Tally { untested, ..Tally::default() };
    for one in &ready {
        let chosen: Vec<_> = one
            .suite
            .cases
            .iter()
            .filter(|case| {
                options.filter.as_ref().is_none_or(|part| named(one, &case.name).contains(part.as_str()))
            })
            .collect();
        tally.left_out += one.suite.cases.len() - chosen.len();
        if chosen.is_empty() {
            continue;
        }
        if options.format == Format::Text {
            paint::line(format!("{} {}", paint::strong(&one.workflow.id), paint::dim(&one.file)));
        }
        let mut coverage = Coverage::default();
        for case in &chosen {
            let verdict = one.stage.run(&one.workflow, case, &one.tests).await;
            if let Some(record) = &verdict.record {
                coverage.add(&one.workflow, record);
            }
            let told = Told { file: &one.file, workflow: &one.workflow.id, case, verdict: &verdict };
            match options.format {
                Format::Text => paint::line(told.text(everything)),
                Format::Json => tally.cases.push(told.json()),
            }
            if verdict.passed() {
                tally.passed += 1;
            } else {
                tally.failed += 1;
            }
        }
        // A part of the cases says nothing about what the others reach.
        if chosen.len() == one.suite.cases.len() {
            let missing = coverage.missing(&one.workflow);
            if !missing.is_empty() {
                if options.format == Format::Text {
                    paint::line(paint::dim(&format!("       no case reaches {}", missing.join(", "))));
                }
                tally.not_reached.insert(one.workflow.id.clone(), missing);
            }
        }
    }
    if let (Some(part), 0) = (&options.filter, tally.passed + tally.failed) {
        return Err(coded(Exit::NotFound, format!("no case is called anything like `{part}`")));
    }
    match options.format {
        Format::Text => paint::line(tally.text()),
        Format::Json => paint::line(serde_json::to_string_pretty(&tally.json())?),
    }
    Ok(if tally.failed > 0 { Exit::Failed } else { Exit::Success })
}

/// `update-face-photo: goes well`, what `--filter` looks at.
fn named(one: &Ready, case: &str) -> String {
    format!("{}: {case}", one.workflow.id)
}

/// Reads and checks all of it; problems are printed, and errors end the command before anything runs.
fn ready(places: &Places, targets: Vec<Target>) -> Result<(Vec<Ready>, Vec<String>)> {
    let mut stages: BTreeMap<PathBuf, Arc<Stage>> = BTreeMap::new();
    let (mut ready, mut untested, mut errors) = (Vec::new(), Vec::new(), 0);
    for target in targets {
        let Some(tests) = target.tests else {
            untested.push(stem(&target.workflow));
            continue;
        };
        let stage = match stages.get(&target.project) {
            Some(stage) => Arc::clone(stage),
            None => {
                let stage = Arc::new(stage(places, &target.project)?);
                stages.insert(target.project.clone(), Arc::clone(&stage));
                stage
            }
        };
        let read = |file: &Path| {
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))
        };
        let signatures = stage.plugins.signatures();
        let (shown, text) = (target.workflow.display().to_string(), read(&target.workflow)?);
        // Those beside it may be named by it.
        let beside = target.workflow.parent().map(yaml_files).transpose()?.unwrap_or_default();
        let library = Places { project: target.project.clone(), ..places.clone() }.library(&beside)?;
        let surroundings =
            Surroundings { plugins: &signatures, project: Some(&stage.project), library: &library };
        let (workflow, problems) = check_among(&shown, &text, surroundings);
        print_problems(&problems);
        errors += problems.errors();
        let Some(workflow) = workflow else { continue };
        let (file, text) = (tests.display().to_string(), read(&tests)?);
        let (suite, problems) = bascule_workflow::cases::check(&file, &text, &workflow, Some(&stage.project));
        print_problems(&problems);
        errors += problems.errors();
        let Some(suite) = suite else { continue };
        ready.push(Ready { file, tests, workflow: Arc::new(workflow), suite, stage });
    }
    if errors > 0 {
        return Err(coded(Exit::Unusable, format!("{}; no case was run", count(errors, "error"))));
    }
    Ok((ready, untested))
}

/// Plugins and inventory of the project in that folder.
fn stage(places: &Places, folder: &Path) -> Result<Stage> {
    let mut places = places.clone();
    if folder != places.project {
        places.project = folder.to_owned();
        places.plugin_folders.push(folder.join("plugins"));
    }
    let project = places.inventory()?;
    let shown: Shown = Arc::new(Mutex::new(Arc::new(VirtualClock::starting_at(Timestamp::UNIX_EPOCH))));
    let (host, plugins) = places.plugins_for_tests(&project, shown_clock(&shown))?;
    Ok(Stage { project, host: Arc::new(host), plugins, shown })
}

/// What the whole came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    left_out: usize,
    untested: Vec<String>,
    cases: Vec<Value>,
    not_reached: BTreeMap<String, Vec<String>>,
}

impl Tally {
    fn text(&self) -> String {
        let mut text = format!("{}: {} passed", count(self.passed + self.failed, "case"), self.passed);
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if self.left_out > 0 {
            text.push_str(&format!(", {} left out by --filter", self.left_out));
        }
        if !self.untested.is_empty() {
            let list = self.untested.join(", ");
            text.push_str(&format!(
                "\n{} without a test file: {list}",
                count(self.untested.len(), "workflow")
            ));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "passed": self.passed, "failed": self.failed, "left_out": self.left_out, "untested": self.untested,
            "not_reached": self.not_reached, "cases": self.cases,
        })
    }
}
