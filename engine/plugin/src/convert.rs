//! JSON to typed values and back, driven by the function's own types.

mod into_guest;
mod out_of_guest;
#[cfg(test)]
mod tests;

use std::fmt;

use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::signature::Capability;
use serde_json::{Map, Value};
use wasmtime::component::Val;

use crate::shape::{Member, Shape};

/// How deep values may nest: what `serde_json` reads.
const DEEPEST: usize = 128;

/// Turns the name of a capability into a handle that a guest can be given.
pub(crate) trait Lend {
    /// `given` is what YAML says, `place` where it says so.
    fn lend(&mut self, capability: Capability, given: &Value, place: &Path<'_>) -> Result<Val, Failure>;

    /// The handle for a parameter that YAML leaves out, if the call brings one along.
    fn brought(&mut self, capability: Capability) -> Option<Result<Val, Failure>>;
}

/// The arguments of a call, in order. `with` is a map from parameter names to values; `null` is the empty map.
/// `most` bounds the bytes, roughly as JSON.
pub(crate) fn arguments(
    params: &[Member<Shape>],
    with: &Value,
    lender: &mut dyn Lend,
    most: usize,
) -> Result<Vec<Val>, Failure> {
    let nothing = Map::new();
    let given = match with {
        Value::Object(given) => given,
        Value::Null => &nothing,
        other => {
            return Err(invalid(&Path::root("with"), &format!("expected a map, got {}", shown(other))));
        }
    };
    into_guest::Encoder::new(lender, most).members(params, given, &Path::root("with"))
}

/// What a function returned, as JSON. `most` bounds the bytes, roughly as JSON.
pub(crate) fn result(shape: &Shape, value: Val, most: usize) -> Result<Value, Failure> {
    out_of_guest::Decoder::new(most).value(shape, value, &Path::root("result"))
}

/// Where in a value something is: `with.faces[2].fpid`.
#[derive(Clone, Copy)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    part: Part<'p>,
}

#[derive(Clone, Copy)]
enum Part<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(crate) fn root(name: &'p str) -> Self {
        Self { parent: None, part: Part::Name(name) }
    }

    pub(crate) fn name(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), part: Part::Name(name) }
    }

    fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), part: Part::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match (self.part, self.parent) {
            (Part::Name(name), None) => f.write_str(name),
            (Part::Name(name), Some(_)) => write!(f, ".{name}"),
            (Part::Index(index), _) => write!(f, "[{index}]"),
        }
    }
}

/// The caller's value is wrong.
pub(crate) fn invalid(place: &Path<'_>, problem: &str) -> Failure {
    Failure::new(Kind::InvalidInput, format!("{place}: {problem}"))
}

/// A value in a message: short, harmless, with its type.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean {value}"),
        Value::Number(value) => format!("number {value}"),
        Value::String(value) => format!("string \"{}\"", crate::report::escape(value, 40)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
