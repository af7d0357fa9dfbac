//! Every file of `tests/fixtures/broken` holds one mistake; the golden text beside it is what the integrator reads.
//! `UPDATE_GOLDEN=1 cargo test -p bascule-workflow --test broken` writes the texts anew: read each of them then.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fixture;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::problem::{Look, Problems};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/broken")
}

/// The files with that extension, by their stem.
fn files(extension: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}

fn problems_of(name: &str, path: &Path) -> Problems {
    let text = std::fs::read_to_string(path).unwrap();
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    check_among(&format!("{name}.yaml"), &text, surroundings).1
}

#[test]
fn every_broken_workflow_gets_its_golden_text() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for (name, path) in files("yaml") {
        let problems = problems_of(&name, &path);
        let text = format!("{}{}\n", problems.render(Look::Plain), problems.summary());
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            different.push(format!("=== {name}\n{text}"));
        }
    }
    assert!(different.is_empty(), "{} texts differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn there_are_enough_of_them_and_none_is_taken_for_good() {
    let files = files("yaml");
    assert!(files.len() >= 70, "{}", files.len());
    for (name, path) in &files {
        let problems = problems_of(name, path);
        assert!(!problems.is_empty(), "{name} is not broken");
        for problem in &problems {
            assert!(problem.help.is_some(), "{name}: {} has no help", problem.message);
        }
    }
}

#[test]
fn no_golden_text_is_left_over() {
    let sources: BTreeSet<String> = files("yaml").into_iter().map(|(name, _)| name).collect();
    let golden: BTreeSet<String> = files("txt").into_iter().map(|(name, _)| name).collect();
    assert_eq!(sources, golden);
}

#[test]
fn every_code_for_workflows_has_a_broken_file() {
    let mut met = BTreeSet::new();
    for (name, path) in files("yaml") {
        met.extend(problems_of(&name, &path).iter().map(|problem| problem.code.name()));
    }
    let all = bascule_workflow::problem::catalog::all();
    let missing: Vec<&str> = all
        .into_iter()
        .map(|code| code.name())
        .filter(|name| name.starts_with("WF") && !met.contains(name))
        .collect();
    if !missing.is_empty() {
        panic!("no broken file shows {missing:?}");
    }
}
