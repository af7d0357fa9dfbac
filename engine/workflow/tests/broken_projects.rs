//! Every broken `bascule.yaml` under `tests/fixtures/broken-projects` is reported with its golden text.
//! `UPDATE_GOLDEN=1 cargo test -p bascule-workflow --test broken_projects` writes the texts anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bascule_workflow::problem::{Look, catalog};
use bascule_workflow::project;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/broken-projects")
}

fn fixtures() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn each_is_reported_with_its_golden_text() {
    let mut differing = Vec::new();
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (project, problems) = project::check(&name, &text);
        assert_eq!(project.is_some(), !problems.has_errors(), "{name}");
        assert!(!problems.is_empty(), "{name} is reported without a problem");
        let shown = format!("{}{}\n", problems.render(Look::Plain), problems.summary());
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            differing.push(format!("--- {name} now gives ---\n{shown}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(fixtures().len() >= 20);
}

#[test]
fn every_code_of_the_inventory_is_shown_by_one_of_them() {
    let mut shown = BTreeSet::new();
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).unwrap();
        shown.extend(project::check("bascule.yaml", &text).1.iter().map(|problem| problem.code.name()));
    }
    for code in catalog::all().into_iter().filter(|code| code.name().starts_with("PJ")) {
        assert!(shown.contains(code.name()), "{code} has no example under tests/fixtures/broken-projects");
    }
}

#[test]
fn the_shipped_inventory_has_no_problems() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workflows/bascule.yaml"))
            .unwrap();
    let (project, problems) = project::check("bascule.yaml", &text);
    assert!(project.is_some() && problems.is_empty(), "{}", problems.render(Look::Plain));
}
