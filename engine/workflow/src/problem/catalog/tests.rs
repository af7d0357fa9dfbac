#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Every `codes::NAME` in the sources of this crate, the catalog aside.
fn used(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "catalog" {
                used(&path, found);
            }
        } else if path.file_name().unwrap() != "tests.rs" && path.file_name().unwrap() != "catalog.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for part in text.split("codes::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
                if name.len() > 1 {
                    found.insert(name);
                }
            }
        }
    }
}

/// Every `NAME = "XX000"` of the catalog's files.
fn registered() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/problem/catalog");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == "tests.rs" {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if let Some((name, rest)) = line.trim().split_once(" = \"")
                && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            {
                found.insert((name.to_owned(), rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_code_of_the_catalog_is_used_and_every_code_used_stands_in_it() {
    let mut in_use = BTreeSet::new();
    used(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut in_use);
    let registered: BTreeSet<String> = registered().into_iter().map(|(name, _)| name).collect();
    assert_eq!(in_use, registered);
}

#[test]
fn every_registered_code_is_listed_once() {
    let listed: Vec<&str> = all().into_iter().map(Code::name).collect();
    let numbers: Vec<String> =
        registered().into_iter().map(|(_, code)| code).collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(listed, numbers);
}

#[test]
fn every_entry_has_a_title_an_explanation_and_two_examples_that_differ() {
    for code in all() {
        let entry = code.entry();
        assert!(!entry.title.is_empty() && !entry.title.ends_with('.'), "{code}");
        assert!(entry.explanation.ends_with('.'), "{code}");
        assert!(!entry.wrong.is_empty() && !entry.right.is_empty() && entry.wrong != entry.right, "{code}");
    }
}

#[test]
fn a_code_is_explained_in_any_case_and_an_unknown_one_is_not() {
    assert_eq!(explain("wf012").unwrap().code, "WF012");
    assert_eq!(explain("WF999"), None);
}
