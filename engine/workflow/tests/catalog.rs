//! The examples of the catalog do what they say: `wrong` has the problem, `right` has none.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod fixture;

use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::problem::{Look, Problems, catalog};

/// Examples are parts of a file; what lacks steps gets some.
fn problems_of(example: &str) -> Problems {
    let has_steps = example.lines().any(|line| line.starts_with("steps:"));
    let rest = "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
    let text = if has_steps { example.to_owned() } else { format!("{example}{rest}") };
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    check_among("example.yaml", &text, surroundings).1
}

#[test]
fn the_examples_of_every_code_for_workflows_are_true() {
    let mut wrong = Vec::new();
    for code in catalog::all().into_iter().filter(|code| code.name().starts_with("WF")) {
        let entry = code.entry();
        let found = problems_of(entry.wrong);
        if !found.iter().all(|problem| problem.code == code) || found.is_empty() {
            wrong.push(format!("{code}: the wrong example gives\n{}", found.render(Look::Plain)));
        }
        let found = problems_of(entry.right);
        if !found.is_empty() {
            wrong.push(format!("{code}: the right example gives\n{}", found.render(Look::Plain)));
        }
    }
    if !wrong.is_empty() {
        panic!("{}", wrong.join("\n"));
    }
}
