//! minijinja's tree becomes ours; names of filters, tests and functions are looked up on the way.

use minijinja::machinery::ast;
use minijinja::value::ValueKind;
use serde_json::{Number, Value};

use super::arguments::{Given, attribute_path, bind, find_filter, find_predicate, written_out};
use super::parse::{range_of, too_deep};
use super::{Comparison, Each, ExpressionError, Kind, Node, Operator, Range};
use crate::expression::filters::{self, FilterKind};
use crate::expression::operators;

/// How deep the tree may be; long chains of operators count, too.
const MAX_DEPTH: usize = 128;

pub(super) struct Converter<'s> {
    source: &'s str,
}

impl<'s> Converter<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source }
    }

    fn boxed(&self, expr: &ast::Expr<'_>, depth: usize) -> Result<Box<Node>, ExpressionError> {
        self.node(expr, depth).map(Box::new)
    }

    fn maybe(&self, expr: Option<&ast::Expr<'_>>, depth: usize) -> Result<Option<Node>, ExpressionError> {
        expr.map(|expr| self.node(expr, depth)).transpose()
    }

    /// Only hands on, so that its stack frame, of which there are many at once, stays small.
    pub(super) fn node(&self, expr: &ast::Expr<'_>, depth: usize) -> Result<Node, ExpressionError> {
        if depth > MAX_DEPTH {
            return Err(too_deep(range_of(expr.span())));
        }
        match expr {
            ast::Expr::Var(var) => self.name(var.id, range_of(var.span())),
            ast::Expr::Const(constant) => self.constant(constant),
            ast::Expr::GetAttr(get) => self.field(get, depth + 1),
            ast::Expr::GetItem(get) => self.item(get, depth + 1),
            ast::Expr::Slice(slice) => self.slice(slice, depth + 1),
            ast::Expr::UnaryOp(unary) => self.unary(unary, depth + 1),
            ast::Expr::BinOp(binary) => self.binary(binary, depth + 1),
            ast::Expr::Compare(compare) => self.compare(compare, depth + 1),
            ast::Expr::IfExpr(choose) => self.choose(choose, depth + 1),
            ast::Expr::Filter(filter) => self.filter(filter, depth + 1),
            ast::Expr::Test(test) => self.test(test, depth + 1),
            ast::Expr::Call(call) => self.call(call, depth + 1),
            ast::Expr::List(list) => self.list(&list.items, range_of(list.span()), depth + 1),
            ast::Expr::Tuple(tuple) => self.list(&tuple.items, range_of(tuple.span()), depth + 1),
            ast::Expr::Map(map) => self.map(map, depth + 1),
        }
    }

    fn constant(&self, constant: &ast::Spanned<ast::Const>) -> Result<Node, ExpressionError> {
        let range = range_of(constant.span());
        Ok(Node { kind: Kind::Constant(json(&constant.value, &range)?), range })
    }

    fn field(&self, get: &ast::Spanned<ast::GetAttr<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let of = self.boxed(&get.expr, depth)?;
        let end = range_of(get.span()).end;
        let name_range = Range::new(end.saturating_sub(get.name.len()), end);
        let range = Range::new(of.range.start, end);
        Ok(Node { kind: Kind::Field { of, name: get.name.to_owned(), name_range }, range })
    }

    fn item(&self, get: &ast::Spanned<ast::GetItem<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let of = self.boxed(&get.expr, depth)?;
        let index = self.boxed(&get.subscript_expr, depth)?;
        let range = Range::new(of.range.start, range_of(get.span()).end);
        let kind = match index.kind {
            Kind::Constant(Value::String(name)) => Kind::Field { of, name, name_range: index.range },
            _ => Kind::Item { of, index },
        };
        Ok(Node { kind, range })
    }

    fn slice(&self, slice: &ast::Spanned<ast::Slice<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let of = self.boxed(&slice.expr, depth)?;
        let bounds = Box::new([
            self.maybe(slice.start.as_ref(), depth)?,
            self.maybe(slice.stop.as_ref(), depth)?,
            self.maybe(slice.step.as_ref(), depth)?,
        ]);
        let range = Range::new(of.range.start, range_of(slice.span()).end);
        Ok(Node { kind: Kind::Slice { of, bounds }, range })
    }

    fn unary(&self, unary: &ast::Spanned<ast::UnaryOp<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let inner = self.boxed(&unary.expr, depth)?;
        let range = range_of(unary.span());
        Ok(match unary.op {
            ast::UnaryOpKind::Neg => Node { kind: Kind::Negate(inner), range },
            ast::UnaryOpKind::Not => {
                // `a not in b` and `a is not b` come as a negation, too.
                let written = self.source.get(range.start..).is_some_and(|text| text.starts_with("not"));
                let range = if written { range } else { inner.range.clone() };
                Node { kind: Kind::Not(inner), range }
            }
        })
    }

    fn compare(
        &self,
        compare: &ast::Spanned<ast::Compare<'_>>,
        depth: usize,
    ) -> Result<Node, ExpressionError> {
        let first = self.boxed(&compare.expr, depth)?;
        let mut rest = Vec::with_capacity(compare.ops.len());
        for op in &compare.ops {
            rest.push((comparison(op.op), self.node(&op.expr, depth)?));
        }
        let end = rest.last().map_or(first.range.end, |(_, node)| node.range.end);
        let range = Range::new(first.range.start, end);
        Ok(Node { kind: Kind::Compare { first, rest }, range })
    }

    fn choose(&self, choose: &ast::Spanned<ast::IfExpr<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let then = self.boxed(&choose.true_expr, depth)?;
        let test = self.boxed(&choose.test_expr, depth)?;
        let otherwise = self.maybe(choose.false_expr.as_ref(), depth)?.map(Box::new);
        let end = otherwise.as_ref().map_or(test.range.end, |node| node.range.end);
        let range = Range::new(then.range.start, end);
        Ok(Node { kind: Kind::Choose { test, then, otherwise }, range })
    }

    fn test(&self, test: &ast::Spanned<ast::Test<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let span = range_of(test.span());
        let name_range = Range::new(span.start, span.start + test.name.len());
        let of = self.boxed(&test.expr, depth)?;
        let range = Range::new(of.range.start, span.end);
        let predicate = find_predicate(test.name, &name_range)?;
        let given = self.arguments(&test.args, depth)?;
        let arguments =
            bind(predicate.name, "test", predicate.params, predicate.required, given, &name_range)?;
        Ok(Node { kind: Kind::Predicate { of, predicate, arguments }, range })
    }

    fn map(&self, map: &ast::Spanned<ast::Map<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let mut entries = Vec::with_capacity(map.keys.len());
        for (key, value) in map.keys.iter().zip(&map.values) {
            entries.push((self.node(key, depth)?, self.node(value, depth)?));
        }
        Ok(Node { kind: Kind::Map(entries), range: range_of(map.span()) })
    }

    fn list(&self, items: &[ast::Expr<'_>], range: Range, depth: usize) -> Result<Node, ExpressionError> {
        let items = items.iter().map(|item| self.node(item, depth)).collect::<Result<_, _>>()?;
        Ok(Node { kind: Kind::List(items), range })
    }

    fn name(&self, name: &str, range: Range) -> Result<Node, ExpressionError> {
        if name == "null" {
            return Err(ExpressionError::new("unknown name `null`", range).with_help("write `none`"));
        }
        Ok(Node { kind: Kind::Name(name.to_owned()), range })
    }

    fn binary(&self, binary: &ast::Spanned<ast::BinOp<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let span = range_of(binary.span());
        let left = self.boxed(&binary.left, depth)?;
        let right = self.boxed(&binary.right, depth)?;
        // The span of a comparison may begin one token early; brackets around an operand are in the others' spans.
        let bare = Range::new(left.range.start, right.range.end);
        let whole = Range::new(span.start.min(left.range.start), span.end.max(right.range.end));
        let operator = match binary.op {
            ast::BinOpKind::ScAnd => {
                return Ok(Node { kind: Kind::And(left, right), range: bare });
            }
            ast::BinOpKind::ScOr => {
                return Ok(Node { kind: Kind::Or(left, right), range: bare });
            }
            ast::BinOpKind::Add => Operator::Add,
            ast::BinOpKind::Sub => Operator::Subtract,
            ast::BinOpKind::Mul => Operator::Multiply,
            ast::BinOpKind::Div => Operator::Divide,
            ast::BinOpKind::FloorDiv => Operator::FloorDivide,
            ast::BinOpKind::Rem => Operator::Remainder,
            ast::BinOpKind::Pow => Operator::Power,
            ast::BinOpKind::Concat => Operator::Join,
            ast::BinOpKind::Eq => return Ok(compared(left, Comparison::Equal, *right, bare)),
            ast::BinOpKind::Ne => return Ok(compared(left, Comparison::NotEqual, *right, bare)),
            ast::BinOpKind::Lt => return Ok(compared(left, Comparison::Less, *right, bare)),
            ast::BinOpKind::Lte => return Ok(compared(left, Comparison::LessOrEqual, *right, bare)),
            ast::BinOpKind::Gt => return Ok(compared(left, Comparison::Greater, *right, bare)),
            ast::BinOpKind::Gte => return Ok(compared(left, Comparison::GreaterOrEqual, *right, bare)),
            ast::BinOpKind::In => return Ok(compared(left, Comparison::In, *right, bare)),
        };
        Ok(Node { kind: Kind::Calculate { operator, left, right }, range: whole })
    }

    fn call(&self, call: &ast::Spanned<ast::Call<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let span = range_of(call.span());
        match &call.expr {
            ast::Expr::Var(var) if var.id == "range" => {
                let (positional, named) = self.arguments(&call.args, depth)?;
                if !(1..=3).contains(&positional.len()) || !named.is_empty() {
                    return Err(ExpressionError::new("`range` takes one to three whole numbers", span)
                        .with_help("range(stop), range(start, stop) or range(start, stop, step)"));
                }
                let start = range_of(var.span()).start;
                Ok(Node { kind: Kind::RangeOf(positional), range: Range::new(start, span.end) })
            }
            ast::Expr::Var(var) => {
                let range = range_of(var.span());
                let error = ExpressionError::new(format!("there is no function `{}`", var.id), range);
                Err(match var.id {
                    "now" | "today" | "utcnow" | "time" | "date" => error.with_help(
                        "use `run.started_at`: a run that is repeated must come to the same result",
                    ),
                    id if filters::find(id).is_some() || filters::is_each(id) => {
                        error.with_help(format!("`{id}` is a filter: write `value | {id}`"))
                    }
                    _ => error.with_help("the only function is `range`"),
                })
            }
            ast::Expr::GetAttr(get) => {
                let whole = range_of(call.expr.span());
                let range = Range::new(whole.end.saturating_sub(get.name.len()), whole.end);
                let error =
                    ExpressionError::new(format!("values have no methods, so no `{}()`", get.name), range);
                Err(match filters::method(get.name) {
                    Some(instead) => error.with_help(format!("write `{instead}`")),
                    None => error,
                })
            }
            other => Err(ExpressionError::new("only `range` can be called", range_of(other.span()))),
        }
    }

    fn filter(&self, filter: &ast::Spanned<ast::Filter<'_>>, depth: usize) -> Result<Node, ExpressionError> {
        let span = range_of(filter.span());
        let (name, name_range) = (filter.name, Range::new(span.start, span.start + filter.name.len()));
        let Some(of) = &filter.expr else {
            return Err(ExpressionError::new("a filter needs a value before its `|`", name_range));
        };
        let of = self.boxed(of, depth)?;
        let range = Range::new(of.range.start, span.end);
        if filters::is_each(name) {
            let each = self.each(name, &name_range, &filter.args, depth)?;
            return Ok(Node { kind: Kind::Each { of, each }, range });
        }
        let given = self.arguments(&filter.args, depth)?;
        let filter = find_filter(name, &name_range)?;
        let arguments = bind(filter.name, "filter", filter.params, filter.required, given, &name_range)?;
        Ok(Node { kind: Kind::Filter { of, filter, arguments }, range })
    }

    fn each(
        &self,
        name: &str,
        name_range: &Range,
        args: &[ast::CallArg<'_>],
        depth: usize,
    ) -> Result<Each, ExpressionError> {
        let (positional, mut named) = self.arguments(args, depth)?;
        let mut positional = positional.into_iter();
        if name == "map" {
            if let Some(first) = positional.next() {
                if let Some((key, node)) = named.pop() {
                    return Err(ExpressionError::new(
                        format!("`map` with a filter has no parameter `{key}`"),
                        node.range,
                    ));
                }
                let (inner, inner_range) = written_out(first, "the name of a filter")?;
                let filter = find_filter(&inner, &inner_range)?;
                if !matches!(filter.kind, FilterKind::Plain(_)) {
                    return Err(ExpressionError::new(format!("`map` cannot apply `{inner}`"), inner_range)
                        .with_help("for what may be absent: `map(attribute='name', default='')`"));
                }
                let given = (positional.collect(), Vec::new());
                let arguments =
                    bind(filter.name, "filter", filter.params, filter.required, given, &inner_range)?;
                return Ok(Each::Apply { filter, arguments });
            }
            let given = (Vec::new(), named);
            let mut arguments = bind("map", "filter", &["attribute", "default"], 1, given, name_range)
                .map_err(|error| error.with_help("write `map('upper')` or `map(attribute='name')`"))?;
            let default = arguments.0.pop().flatten().map(Box::new);
            let Some(attribute) = arguments.0.pop().flatten() else {
                return Err(ExpressionError::new("`map` needs an attribute", name_range.clone()));
            };
            let path = attribute_path(attribute)?;
            return Ok(Each::Attribute { path, default });
        }
        if let Some((key, node)) = named.pop() {
            return Err(ExpressionError::new(format!("`{name}` has no parameter `{key}`"), node.range));
        }
        let attribute = if name.ends_with("attr") {
            let Some(first) = positional.next() else {
                return Err(ExpressionError::new(format!("`{name}` needs an attribute"), name_range.clone())
                    .with_help(format!("write `{name}('active')` or `{name}('kind', 'equalto', 'door')`")));
            };
            Some(attribute_path(first)?)
        } else {
            None
        };
        let test = match positional.next() {
            Some(first) => {
                let (inner, inner_range) = written_out(first, "the name of a test")?;
                let predicate = find_predicate(&inner, &inner_range)?;
                let given = (positional.collect(), Vec::new());
                let arguments =
                    bind(predicate.name, "test", predicate.params, predicate.required, given, &inner_range)?;
                Some((predicate, arguments))
            }
            None => None,
        };
        Ok(Each::Keep { wanted: name.starts_with("select"), attribute, test })
    }

    fn arguments(&self, args: &[ast::CallArg<'_>], depth: usize) -> Result<Given, ExpressionError> {
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for arg in args {
            match arg {
                ast::CallArg::Pos(expr) => positional.push(self.node(expr, depth)?),
                ast::CallArg::Kwarg(name, expr) => named.push(((*name).to_owned(), self.node(expr, depth)?)),
                ast::CallArg::PosSplat(expr) | ast::CallArg::KwargSplat(expr) => {
                    return Err(ExpressionError::new(
                        "`*` and `**` cannot unpack arguments here",
                        range_of(expr.span()),
                    ));
                }
            }
        }
        Ok((positional, named))
    }
}

fn compared(left: Box<Node>, comparison: Comparison, right: Node, range: Range) -> Node {
    Node { kind: Kind::Compare { first: left, rest: vec![(comparison, right)] }, range }
}

fn comparison(op: ast::CompareOpKind) -> Comparison {
    match op {
        ast::CompareOpKind::Eq => Comparison::Equal,
        ast::CompareOpKind::Ne => Comparison::NotEqual,
        ast::CompareOpKind::Lt => Comparison::Less,
        ast::CompareOpKind::Lte => Comparison::LessOrEqual,
        ast::CompareOpKind::Gt => Comparison::Greater,
        ast::CompareOpKind::Gte => Comparison::GreaterOrEqual,
        ast::CompareOpKind::In => Comparison::In,
        ast::CompareOpKind::NotIn => Comparison::NotIn,
    }
}

fn json(value: &minijinja::Value, range: &Range) -> Result<Value, ExpressionError> {
    let refused = || ExpressionError::new("this number is out of range", range.clone());
    Ok(match value.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number if value.is_integer() => {
            let number = i128::try_from(value.clone()).map_err(|_| refused())?;
            operators::whole(number).ok_or_else(refused)?
        }
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).map_err(|_| refused())?;
            Value::Number(Number::from_f64(number).ok_or_else(refused)?)
        }
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        _ => {
            return Err(ExpressionError::new("this value cannot be written here", range.clone()));
        }
    })
}
