//! Test files with every mistake, reported with their golden text; and the examples of the catalog.
//! `UPDATE_GOLDEN=1 cargo test -p bascule-workflow --test broken_tests` writes the text anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;

use bascule_workflow::cases::check;
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::{Look, catalog};

/// What the cases are of.
const WORKFLOW: &str = "inputs:\n  floor: { type: integer, default: 1 }\nsteps:\n  - id: info\n    uses: isapi/device.info\n    \
                        with: { terminal: entrance }\nfinally:\n  - id: tidy\n    uses: isapi/device.info\n    with: { terminal: entrance }\n";

fn workflow() -> Workflow {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    check_among("demo.yaml", WORKFLOW, surroundings).0.unwrap()
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place_and_a_way_to_mend_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/broken-tests");
    let text = std::fs::read_to_string(folder.join("everything.yaml")).unwrap();
    let (suite, problems) = check("everything.yaml", &text, &workflow(), Some(&fixture::project()));
    assert!(suite.is_none());
    let shown = format!("{}{}\n", problems.render(Look::Plain), problems.summary());
    let golden = folder.join("everything.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&golden).unwrap_or_default());
    let codes: BTreeSet<&str> = problems.iter().map(|problem| problem.code.name()).collect();
    for code in catalog::all().into_iter().filter(|code| code.name().starts_with("TS")) {
        assert!(codes.contains(code.name()), "{code} is not shown");
    }
}

#[test]
fn the_examples_of_the_catalog_do_what_they_say() {
    for code in catalog::all().into_iter().filter(|code| code.name().starts_with("TS")) {
        // The fixture's connection goes by another name.
        let of = |example: &str| {
            example.replace("terminal: []", "entrance: []").replace("terminal:\n", "entrance:\n")
        };
        let entry = code.entry();
        let (_, wrong) = check("a.test.yaml", &of(entry.wrong), &workflow(), Some(&fixture::project()));
        assert!(
            !wrong.is_empty() && wrong.iter().all(|problem| problem.code == code),
            "{}",
            wrong.render(Look::Plain)
        );
        let (_, right) = check("a.test.yaml", &of(entry.right), &workflow(), Some(&fixture::project()));
        assert!(right.is_empty(), "{}", right.render(Look::Plain));
    }
}
