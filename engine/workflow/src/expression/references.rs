//! The paths of names that an expression writes out, for the checker.

use serde_json::Value;

use super::Range;
use super::filters::FilterKind;
use super::predicates::PredicateKind;
use super::syntax::{Kind, Node};

/// A path such as `steps.person.output.biometrics`, as far as it is written out: `rows[i].id` gives `rows` (and `i`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name, then fields and whole-number indices as they are written.
    pub path: Vec<String>,
    /// Where each segment stands.
    pub ranges: Vec<Range>,
    /// Where the whole path stands.
    pub range: Range,
    /// True directly under `default()`, `is defined` or `is undefined`: it may be absent.
    pub guarded: bool,
    /// True if something that is not written out follows: `rows[i]`, `rows[1:3]`.
    pub open: bool,
}

pub(super) fn of(root: &Node) -> Vec<Reference> {
    let mut found = Vec::new();
    walk(root, false, &mut found);
    found.sort_by_key(|reference: &Reference| reference.range.start);
    found
}

fn walk(node: &Node, guarded: bool, found: &mut Vec<Reference>) {
    if let Some(reference) = chain(node) {
        found.push(Reference { guarded, ..reference });
        return;
    }
    match &node.kind {
        Kind::Field { of, .. } => walk_base(of, guarded, found),
        Kind::Item { of, index } => {
            walk_base(of, guarded, found);
            walk(index, false, found);
        }
        Kind::Slice { of, bounds } => {
            walk_base(of, guarded, found);
            for bound in bounds.iter().flatten() {
                walk(bound, false, found);
            }
        }
        Kind::Filter { of, filter, arguments } => {
            walk(of, matches!(filter.kind, FilterKind::Default), found);
            for argument in arguments.all() {
                walk(argument, false, found);
            }
        }
        Kind::Predicate { of, predicate, arguments } => {
            walk(of, matches!(predicate.kind, PredicateKind::Defined | PredicateKind::Undefined), found);
            for argument in arguments.all() {
                walk(argument, false, found);
            }
        }
        _ => node.for_each_child(&mut |child| walk(child, false, found)),
    }
}

fn walk_base(of: &Node, guarded: bool, found: &mut Vec<Reference>) {
    let before = found.len();
    walk(of, guarded, found);
    if let Some(reference) = chain(of)
        && let Some(last) = found.get_mut(before)
        && last.range == reference.range
    {
        last.open = true;
    }
}

/// The reference that a node is as a whole.
fn chain(node: &Node) -> Option<Reference> {
    match &node.kind {
        Kind::Name(name) => Some(Reference {
            path: vec![name.clone()],
            ranges: vec![node.range.clone()],
            range: node.range.clone(),
            guarded: false,
            open: false,
        }),
        Kind::Field { of, name, name_range } => {
            let mut reference = chain(of)?;
            reference.path.push(name.clone());
            reference.ranges.push(name_range.clone());
            reference.range = node.range.clone();
            Some(reference)
        }
        Kind::Item { of, index } => {
            let Kind::Constant(Value::Number(number)) = &index.kind else {
                return None;
            };
            let number = number.as_i64()?;
            let mut reference = chain(of)?;
            reference.path.push(number.to_string());
            reference.ranges.push(index.range.clone());
            reference.range = node.range.clone();
            Some(reference)
        }
        _ => None,
    }
}
