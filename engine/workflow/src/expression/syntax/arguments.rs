//! Filters and tests by name, and their arguments by position and name.

use serde_json::Value;

use super::{Arguments, ExpressionError, Kind, Node, Range};
use crate::expression::filters::{self, Filter};
use crate::expression::predicates::{self, Predicate};
use crate::expression::suggest;

/// Arguments by position, then by name.
pub(super) type Given = (Vec<Node>, Vec<(String, Node)>);

pub(super) fn written_out(node: Node, what: &str) -> Result<(String, Range), ExpressionError> {
    match node.kind {
        Kind::Constant(Value::String(text)) => Ok((text, node.range)),
        _ => Err(ExpressionError::new(format!("{what} has to be written out as text"), node.range)),
    }
}

pub(super) fn attribute_path(node: Node) -> Result<Vec<String>, ExpressionError> {
    let (text, range) = written_out(node, "an attribute")?;
    if text.is_empty() || text.split('.').any(str::is_empty) {
        return Err(ExpressionError::new(format!("`{text}` is not an attribute"), range));
    }
    Ok(text.split('.').map(str::to_owned).collect())
}

pub(super) fn find_filter(name: &str, range: &Range) -> Result<&'static Filter, ExpressionError> {
    filters::find(name).ok_or_else(|| {
        let error = ExpressionError::new(format!("there is no filter `{name}`"), range.clone());
        match suggest::nearest(name, filters::names()) {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None => error.with_help("docs/expressions.md lists the filters"),
        }
    })
}

pub(super) fn find_predicate(name: &str, range: &Range) -> Result<&'static Predicate, ExpressionError> {
    predicates::find(name).ok_or_else(|| {
        let error = ExpressionError::new(format!("there is no test `{name}`"), range.clone());
        match suggest::nearest(name, predicates::names()) {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None if name == "null" => error.with_help("write `is none`"),
            None => error.with_help("to compare, write `==`"),
        }
    })
}

pub(super) fn bind(
    name: &str,
    sort: &str,
    params: &[&str],
    required: usize,
    (positional, named): Given,
    range: &Range,
) -> Result<Arguments, ExpressionError> {
    if let Some(extra) = positional.get(params.len()) {
        let most = match params.len() {
            0 => "none".to_owned(),
            most => most.to_string(),
        };
        return Err(ExpressionError::new(
            format!("too many arguments for the {sort} `{name}`, it takes {most}"),
            extra.range.clone(),
        ));
    }
    let mut bound: Vec<Option<Node>> = positional.into_iter().map(Some).collect();
    bound.resize_with(params.len(), || None);
    for (key, node) in named {
        let slot = params.iter().position(|param| *param == key).and_then(|at| bound.get_mut(at));
        match slot {
            Some(slot @ None) => *slot = Some(node),
            Some(Some(_)) => {
                return Err(ExpressionError::new(format!("`{key}` is given twice"), node.range));
            }
            None => {
                let error =
                    ExpressionError::new(format!("the {sort} `{name}` has no parameter `{key}`"), node.range);
                return Err(match suggest::help(&key, params.iter().copied(), "it has") {
                    Some(help) => error.with_help(help),
                    None => error,
                });
            }
        }
    }
    if let Some((missing, _)) = params.iter().zip(&bound).take(required).find(|(_, given)| given.is_none()) {
        let error = ExpressionError::new(format!("the {sort} `{name}` needs `{missing}`"), range.clone());
        return Err(match name {
            "default" => error.with_help("write `default('')` where empty text is meant"),
            _ => error,
        });
    }
    Ok(Arguments(bound))
}
