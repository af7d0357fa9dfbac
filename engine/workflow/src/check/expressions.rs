//! Expressions and templates: parsed once; `references` compares their names with the scope.

use serde_json::Value;

use super::Checker;
use super::scope::{Kind, Scope, Shape};
use crate::document::{Data, Node};
use crate::expression::{Expression, ExpressionError, PathSegment, Shape as Written, Template};
use crate::problem::{Problem, codes};

/// What messages say in place of a list that is written out.
const WRITTEN_OUT: &str = "[..]";

impl<'a> Checker<'a> {
    /// A condition: bare or as exactly one `${{ }}`.
    pub(super) fn condition(&mut self, node: &Node, key: &str, scope: &Scope<'a>) -> Option<Expression> {
        self.before_items = key == "if";
        let parsed = self.expression(node, key, scope);
        self.before_items = false;
        let (expression, shape) = parsed?;
        if let Some(kind) = shape.kind().filter(|kind| *kind != Kind::Boolean) {
            let source = expression.source().trim();
            let message = format!("`{key}` must be true or false, `{source}` is {}", kind.name());
            let help = match kind {
                Kind::Text => format!("compare it: `{source} == '..'` or `{source} != ''`"),
                Kind::Integer | Kind::Number => format!("compare it: `{source} > 0`"),
                Kind::List => format!("compare its length: `{source} | length > 0`"),
                _ => "compare one of its fields".to_owned(),
            };
            self.problems.report(Problem::error(codes::EXPRESSION_TYPE, node.span, message).help(help));
        }
        Some(expression)
    }

    /// The list of a `for-each`, and what is known of its items.
    pub(super) fn items(&mut self, node: &Node, scope: &Scope<'a>) -> Option<(Expression, Shape<'a>)> {
        if let Some(items) = node.as_list() {
            return self.written_items(node, items);
        }
        let (expression, shape) = self.expression(node, "for-each", scope)?;
        if let Some(kind) = shape.kind().filter(|kind| *kind != Kind::List) {
            let source = expression.source().trim();
            let message = format!("`for-each` needs a list, `{source}` is {}", kind.name());
            let help = match kind {
                Kind::Text => format!("take the text apart: `{source} | split(',')`"),
                Kind::Map => format!("go through its entries: `{source} | items`"),
                _ => format!("for one item only: `[{source}]`"),
            };
            self.problems.report(Problem::error(codes::EXPRESSION_TYPE, node.span, message).help(help));
        }
        Some((expression, shape.item()))
    }

    /// `for-each: [entrance, exit]`, as long as the file may be: it is data, and only expressions are kept short.
    fn written_items(&mut self, node: &Node, items: &[Node]) -> Option<(Expression, Shape<'a>)> {
        let value = node.to_json();
        if value.to_string().contains("${{") {
            let message = "the items of a list that is written out cannot be expressions";
            self.problems.report(Problem::error(codes::EXPRESSION_TYPE, node.span, message).help(
                "make the list itself the expression: `for-each: ${{ [inputs.first, inputs.second] }}`",
            ));
            return None;
        }
        let shape = match items.first().map(Node::to_json) {
            Some(Value::String(_)) if items.iter().all(|item| item.as_str().is_some()) => Shape::Text,
            _ => Shape::Unknown,
        };
        match Expression::of_value(value, WRITTEN_OUT) {
            Ok(expression) => Some((expression, shape)),
            Err(error) => {
                let problem = Problem::error(codes::EXPRESSION, node.span, error.message.clone());
                self.problems.report(problem.help_if(error.help));
                None
            }
        }
    }

    fn expression(&mut self, node: &Node, key: &str, scope: &Scope<'a>) -> Option<(Expression, Shape<'a>)> {
        let scalar = node.as_scalar().filter(|scalar| !scalar.value.is_null());
        let Some(scalar) = scalar else {
            let help = format!(
                "for example `{key}: {}`",
                if key == "for-each" { "steps.devices.output" } else { "inputs.floor > 3" }
            );
            self.wrong_shape(node, &format!("`{key}`"), "an expression", &help);
            return None;
        };
        match Expression::parse_whole(&scalar.text) {
            Ok((expression, offset)) => {
                let shape = self.references(&expression, offset, node, scope);
                Some((expression, shape))
            }
            Err(error) => {
                let half = error.message.starts_with("text around");
                let code = if half { codes::HALF_INTERPOLATED } else { codes::EXPRESSION };
                let mut problem = self.expression_problem(code, node, &error);
                if half {
                    let inner = scalar.text.replace("${{", "").replace("}}", "");
                    let inner = inner.split_whitespace().collect::<Vec<_>>().join(" ");
                    problem.message =
                        format!("`{key}` has text around its `${{{{ }}}}`, so it would not be a condition");
                    problem.help = Some(format!("write one expression: `{key}: {inner}`"));
                }
                self.problems.report(problem);
                None
            }
        }
    }

    fn expression_problem(
        &self,
        code: crate::problem::Code,
        node: &Node,
        error: &ExpressionError,
    ) -> Problem {
        let span = node.locate(self.text, error.range.start, error.range.end);
        let usual =
            "one expression is expected: names, comparisons, `and`, `or`, `not`, filters; texts in quotes";
        Problem::error(code, span, error.message.clone())
            .help(error.help.clone().unwrap_or_else(|| usual.to_owned()))
    }

    /// A value in which texts may hold expressions.
    pub(super) fn template(&mut self, node: &Node, scope: &Scope<'a>) -> Option<Template> {
        match Template::parse_all(&node.to_json()) {
            Ok(template) => {
                for embedded in template.expressions() {
                    if let Some(node) = descend(node, &embedded.path) {
                        self.references(embedded.expression, embedded.offset, node, scope);
                    }
                }
                Some(template)
            }
            Err(errors) => {
                for error in errors {
                    let node = descend(node, &error.path).unwrap_or(node);
                    let problem = self.expression_problem(codes::EXPRESSION, node, &error);
                    self.problems.report(problem);
                }
                None
            }
        }
    }

    /// What is known of the value of a text: `None` if it is not a template, or not one that parses.
    pub(super) fn shape_of(&mut self, node: &Node, scope: &Scope<'a>) -> Option<Shape<'a>> {
        let text = node.as_str().filter(|text| text.contains("${{"))?;
        let template = Template::parse(&Value::from(text)).ok()?;
        match template.shape() {
            Written::Expression { expression, .. } => Some(self.known(expression, scope)),
            Written::Text(_) => Some(Shape::Text),
            _ => None,
        }
    }
}

/// The node at the end of a path into a template's value.
pub(super) fn descend<'n>(node: &'n Node, path: &[PathSegment]) -> Option<&'n Node> {
    let mut node = node;
    for segment in path {
        node = match (segment, &node.data) {
            (PathSegment::Key(key), Data::Map(_)) => node.get(key)?,
            (PathSegment::Index(index), Data::List(items)) => items.get(*index)?,
            _ => return None,
        };
    }
    Some(node)
}
