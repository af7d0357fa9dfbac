//! From text to a checked tree.

mod arguments;
mod convert;
mod parse;

use serde_json::Value;

use super::filters::Filter;
use super::predicates::Predicate;
use super::{ExpressionError, Range};
pub(super) use parse::parse;

/// A node of the checked tree.
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) range: Range,
}

pub(super) enum Kind {
    Constant(Value),
    Name(String),
    Field {
        of: Box<Node>,
        name: String,
        name_range: Range,
    },
    Item {
        of: Box<Node>,
        index: Box<Node>,
    },
    /// Start, stop, step.
    Slice {
        of: Box<Node>,
        bounds: Box<[Option<Node>; 3]>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    Calculate {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare {
        first: Box<Node>,
        rest: Vec<(Comparison, Node)>,
    },
    Choose {
        test: Box<Node>,
        then: Box<Node>,
        otherwise: Option<Box<Node>>,
    },
    Filter {
        of: Box<Node>,
        filter: &'static Filter,
        arguments: Arguments,
    },
    /// `map`, `select`, `reject`, `selectattr`, `rejectattr`.
    Each {
        of: Box<Node>,
        each: Each,
    },
    Predicate {
        of: Box<Node>,
        predicate: &'static Predicate,
        arguments: Arguments,
    },
    RangeOf(Vec<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

/// What is done with each item of a list.
pub(super) enum Each {
    Attribute { path: Vec<String>, default: Option<Box<Node>> },
    Apply { filter: &'static Filter, arguments: Arguments },
    Keep { wanted: bool, attribute: Option<Vec<String>>, test: Option<(&'static Predicate, Arguments)> },
}

/// One entry for each parameter.
#[derive(Default)]
pub(super) struct Arguments(pub(super) Vec<Option<Node>>);

impl Arguments {
    pub(super) fn all(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().flatten()
    }
}

impl Node {
    /// Calls `visit` for every direct child.
    pub(super) fn for_each_child<'n>(&'n self, visit: &mut dyn FnMut(&'n Node)) {
        match &self.kind {
            Kind::Constant(_) | Kind::Name(_) => {}
            Kind::Field { of, .. } | Kind::Not(of) | Kind::Negate(of) => visit(of),
            Kind::Item { of, index } => {
                visit(of);
                visit(index);
            }
            Kind::Slice { of, bounds } => {
                visit(of);
                bounds.iter().flatten().for_each(visit);
            }
            Kind::Calculate { left, right, .. } | Kind::And(left, right) | Kind::Or(left, right) => {
                visit(left);
                visit(right);
            }
            Kind::Compare { first, rest } => {
                visit(first);
                rest.iter().for_each(|(_, node)| visit(node));
            }
            Kind::Choose { test, then, otherwise } => {
                visit(test);
                visit(then);
                if let Some(node) = otherwise {
                    visit(node);
                }
            }
            Kind::Filter { of, arguments, .. } | Kind::Predicate { of, arguments, .. } => {
                visit(of);
                arguments.all().for_each(visit);
            }
            Kind::Each { of, each } => {
                visit(of);
                match each {
                    Each::Attribute { default, .. } => {
                        if let Some(node) = default {
                            visit(node);
                        }
                    }
                    Each::Apply { arguments, .. } | Each::Keep { test: Some((_, arguments)), .. } => {
                        arguments.all().for_each(visit);
                    }
                    Each::Keep { test: None, .. } => {}
                }
            }
            Kind::RangeOf(items) | Kind::List(items) => items.iter().for_each(visit),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    visit(key);
                    visit(value);
                }
            }
        }
    }
}
