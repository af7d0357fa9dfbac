//! The evaluator: a checked tree and a scope in, a value out.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::filters::{self, Call, FilterKind};
use super::meter::Meter;
use super::operators::{self, kind_name};
use super::predicates::{self, PredicateKind};
use super::syntax::{Arguments, Comparison, Each, Kind, Node, Operator};
use super::{ExpressionError, Group, MAX_RANGE, Range, Scope, suggest};

/// What a node comes to: a value, or the reason why there is none. Only `default()`, `is defined` and `is undefined`
/// look at an absence; for everything else it is the error.
pub(super) enum Outcome<'a> {
    Here(Cow<'a, Value>),
    Absent(Box<ExpressionError>),
}

impl<'a> Outcome<'a> {
    pub(super) fn required(self) -> Result<Cow<'a, Value>, ExpressionError> {
        match self {
            Self::Here(value) => Ok(value),
            Self::Absent(error) => Err(*error),
        }
    }

    fn owned(value: Value) -> Self {
        Self::Here(Cow::Owned(value))
    }

    pub(super) fn absent(error: ExpressionError) -> Self {
        Self::Absent(Box::new(error))
    }
}

pub(super) fn evaluate(source: &str, root: &Node, scope: &Scope) -> Result<Value, ExpressionError> {
    let mut evaluator = Evaluator { source, scope, meter: Meter::new() };
    let value = evaluator.value(root)?;
    Meter::check_result(&value, &root.range)?;
    Ok(value.into_owned())
}

struct Evaluator<'a> {
    source: &'a str,
    scope: &'a Scope,
    meter: Meter,
}

impl<'a> Evaluator<'a> {
    fn value(&mut self, node: &'a Node) -> Result<Cow<'a, Value>, ExpressionError> {
        self.outcome(node)?.required()
    }

    fn owned(&mut self, node: &'a Node) -> Result<Value, ExpressionError> {
        let value = self.value(node)?;
        self.meter.own(value, &node.range)
    }

    fn truthy(&mut self, node: &'a Node) -> Result<bool, ExpressionError> {
        Ok(operators::truthy(&*self.value(node)?))
    }

    fn outcome(&mut self, node: &'a Node) -> Result<Outcome<'a>, ExpressionError> {
        self.meter.work(1, &node.range)?;
        match &node.kind {
            Kind::Constant(value) => Ok(Outcome::Here(Cow::Borrowed(value))),
            Kind::Name(name) => self.name(name, &node.range),
            Kind::Field { of, name, name_range } => self.field(of, name, name_range),
            Kind::Item { of, index } => self.item(of, index),
            Kind::Slice { of, bounds } => self.slice(of, bounds, &node.range),
            Kind::Choose { test, then, otherwise } => {
                self.choose(test, then, otherwise.as_deref(), &node.range)
            }
            Kind::And(left, right) => self.either(left, right, false),
            Kind::Or(left, right) => self.either(left, right, true),
            Kind::Filter { of, filter, arguments } => match filter.kind {
                FilterKind::Default => self.default(of, arguments),
                FilterKind::Plain(run) => self.filter(of, run, arguments, &node.range),
            },
            Kind::Predicate { of, predicate, arguments } => {
                self.test(of, predicate.kind, arguments, &node.range)
            }
            Kind::Each { of, each } => self.each(of, each, &node.range),
            Kind::Not(of) => self.not(of),
            Kind::Negate(of) => self.negate(of, &node.range),
            Kind::Calculate { operator, left, right } => self.calculate(*operator, left, right, &node.range),
            Kind::Compare { first, rest } => self.compare(first, rest),
            Kind::RangeOf(arguments) => self.range_of(arguments, &node.range),
            Kind::List(items) => self.list(items, &node.range),
            Kind::Map(entries) => self.map(entries, &node.range),
        }
    }

    fn choose(
        &mut self,
        test: &'a Node,
        then: &'a Node,
        otherwise: Option<&'a Node>,
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        match (self.truthy(test)?, otherwise) {
            (true, _) => self.outcome(then),
            (false, Some(otherwise)) => self.outcome(otherwise),
            (false, None) => Ok(Outcome::absent(
                ExpressionError::new("the condition is false and there is no `else`", range.clone())
                    .with_help("add `else` and a value"),
            )),
        }
    }

    /// `or` stops at what counts as true, `and` at what does not.
    fn either(
        &mut self,
        left: &'a Node,
        right: &'a Node,
        stop: bool,
    ) -> Result<Outcome<'a>, ExpressionError> {
        let left = self.value(left)?;
        if operators::truthy(&left) == stop { Ok(Outcome::Here(left)) } else { self.outcome(right) }
    }

    fn not(&mut self, of: &'a Node) -> Result<Outcome<'a>, ExpressionError> {
        self.truthy(of).map(|holds| Outcome::owned(Value::Bool(!holds)))
    }

    fn filter(
        &mut self,
        of: &'a Node,
        run: filters::Run,
        arguments: &'a Arguments,
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        let subject = self.value(of)?;
        let arguments = self.arguments(arguments)?;
        run(&mut Call { meter: &mut self.meter, subject, arguments: &arguments, range })
    }

    fn test(
        &mut self,
        of: &'a Node,
        kind: PredicateKind,
        arguments: &'a Arguments,
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        let holds = match kind {
            PredicateKind::Defined => matches!(self.outcome(of)?, Outcome::Here(_)),
            PredicateKind::Undefined => matches!(self.outcome(of)?, Outcome::Absent(_)),
            PredicateKind::Plain(run) => {
                let subject = self.value(of)?;
                let arguments = self.arguments(arguments)?;
                self.weigh(&subject, &arguments, range)?;
                run(&subject, &arguments).map_err(|message| ExpressionError::new(message, range.clone()))?
            }
        };
        Ok(Outcome::owned(Value::Bool(holds)))
    }

    fn list(&mut self, items: &'a [Node], range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        self.meter.build(16, range)?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.owned(item)?);
        }
        Ok(Outcome::owned(Value::Array(values)))
    }

    fn name(&mut self, name: &str, range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        if let Some(value) = self.scope.get(name) {
            return Ok(Outcome::Here(Cow::Borrowed(value)));
        }
        let Some(group) = self.scope.group(name) else {
            return Ok(Outcome::absent(ExpressionError {
                help: suggest::help(name, self.scope.names(), "the names here are"),
                ..ExpressionError::new(format!("unknown name `{name}`"), range.clone())
            }));
        };
        // As a whole it has to be made; a member alone never comes here.
        let mut whole = Map::new();
        for (name, value) in group.iter() {
            whole.insert(name.to_owned(), self.meter.own(Cow::Borrowed(value), range)?);
        }
        Ok(Outcome::owned(Value::Object(whole)))
    }

    /// The group that a node names.
    fn group(&self, node: &Node) -> Option<&'a Group> {
        match &node.kind {
            Kind::Name(name) => self.scope.group(name),
            _ => None,
        }
    }

    fn member(&mut self, group: &'a Group, of: &Node, name: &str, range: &Range) -> Outcome<'a> {
        match group.get(name) {
            Some(value) => Outcome::Here(Cow::Borrowed(value)),
            None => {
                let known = group.iter().map(|(name, _)| name.to_owned()).collect();
                Outcome::absent(filters::Missing::Key(known).describe(name, &self.written(of), range))
            }
        }
    }

    fn field(
        &mut self,
        of: &'a Node,
        name: &str,
        name_range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        if let Some(group) = self.group(of) {
            self.meter.work(1, &of.range)?;
            return Ok(self.member(group, of, name, name_range));
        }
        match self.outcome(of)? {
            Outcome::Here(value) => Ok(self.field_of(value, of, name, name_range)),
            absent @ Outcome::Absent(_) => Ok(absent),
        }
    }

    fn field_of(&self, value: Cow<'a, Value>, of: &Node, name: &str, name_range: &Range) -> Outcome<'a> {
        match filters::field(value, name) {
            Ok(value) => Outcome::Here(value),
            Err(missing) => Outcome::absent(missing.describe(name, &self.written(of), name_range)),
        }
    }

    /// The text of a node, if it is short enough to be read inside a sentence.
    fn written(&self, node: &Node) -> String {
        match self.source.get(node.range.start..node.range.end) {
            Some(text) if text.len() <= 60 && !text.contains('\n') => format!("`{text}`"),
            _ => "the value".to_owned(),
        }
    }

    fn item(&mut self, of: &'a Node, index: &'a Node) -> Result<Outcome<'a>, ExpressionError> {
        if let Some(group) = self.group(of) {
            self.meter.work(1, &of.range)?;
            let position = self.value(index)?;
            if let Value::String(name) = &*position {
                return Ok(self.member(group, of, name, &index.range));
            }
        }
        match self.outcome(of)? {
            Outcome::Here(value) => {
                let position = self.value(index)?;
                self.item_of(value, of, &position, &index.range)
            }
            absent @ Outcome::Absent(_) => Ok(absent),
        }
    }

    fn item_of(
        &mut self,
        value: Cow<'a, Value>,
        of: &Node,
        index: &Value,
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        if let Value::String(name) = index {
            return Ok(self.field_of(value, of, name, range));
        }
        let Some(position) = operators::as_whole(index) else {
            return Err(ExpressionError::new(
                format!("an index is a whole number or text, not {}", kind_name(index)),
                range.clone(),
            ));
        };
        let length = match &*value {
            Value::Array(items) => items.len(),
            Value::String(text) => {
                self.meter.look(text.len(), range)?;
                text.chars().count()
            }
            Value::Object(_) => return Ok(self.field_of(value, of, &position.to_string(), range)),
            other => {
                let what = format!("{} is {}, it has no items", self.written(of), kind_name(other));
                return Ok(Outcome::absent(ExpressionError::new(what, range.clone())));
            }
        };
        let at = if position < 0 { position + length as i128 } else { position };
        let taken = usize::try_from(at).ok().and_then(|at| match value {
            Cow::Borrowed(Value::Array(items)) => items.get(at).map(Cow::Borrowed),
            Cow::Owned(Value::Array(items)) => items.into_iter().nth(at).map(Cow::Owned),
            text => text
                .as_str()
                .and_then(|text| text.chars().nth(at))
                .map(|letter| Cow::Owned(Value::String(letter.to_string()))),
        });
        Ok(taken.map_or_else(
            || {
                let items = if length == 1 { "1 item".to_owned() } else { format!("{length} items") };
                let what = format!("{} has {items}, so there is no item {position}", self.written(of));
                Outcome::absent(ExpressionError::new(what, range.clone()).with_help("the first item is 0"))
            },
            Outcome::Here,
        ))
    }

    fn slice(
        &mut self,
        of: &'a Node,
        bounds: &'a [Option<Node>; 3],
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        match self.outcome(of)? {
            Outcome::Here(value) => self.slice_of(&value, bounds, range).map(Outcome::owned),
            absent @ Outcome::Absent(_) => Ok(absent),
        }
    }

    fn slice_of(
        &mut self,
        value: &Value,
        bounds: &'a [Option<Node>; 3],
        range: &Range,
    ) -> Result<Value, ExpressionError> {
        let mut numbers = [None; 3];
        for (number, bound) in numbers.iter_mut().zip(bounds) {
            if let Some(node) = bound {
                let value = self.value(node)?;
                *number = match &*value {
                    Value::Null => None,
                    value => Some(operators::as_whole(value).ok_or_else(|| {
                        ExpressionError::new("the bounds of a slice are whole numbers", node.range.clone())
                    })?),
                };
            }
        }
        let [start, stop, step] = numbers;
        match value {
            Value::Array(items) => {
                self.meter.work(items.len() as u64, range)?;
                let mut taken = Vec::new();
                for at in positions(items.len(), start, stop, step.unwrap_or(1), range)? {
                    if let Some(item) = items.get(at) {
                        taken.push(self.meter.own(Cow::Borrowed(item), range)?);
                    }
                }
                Ok(Value::Array(taken))
            }
            Value::String(text) => {
                self.meter.look(text.len(), range)?;
                self.meter.build(5 * text.len() as u64, range)?;
                let letters: Vec<char> = text.chars().collect();
                let positions = positions(letters.len(), start, stop, step.unwrap_or(1), range)?;
                Ok(Value::String(positions.filter_map(|at| letters.get(at)).collect()))
            }
            other => {
                Err(ExpressionError::new(format!("{} cannot be sliced", kind_name(other)), range.clone()))
            }
        }
    }

    fn default(&mut self, of: &'a Node, arguments: &'a Arguments) -> Result<Outcome<'a>, ExpressionError> {
        let mut given = arguments.0.iter();
        let (instead, lax) = (given.next().and_then(Option::as_ref), given.next().and_then(Option::as_ref));
        let lax = match lax {
            Some(node) => self.truthy(node)?,
            None => false,
        };
        match self.outcome(of)? {
            Outcome::Here(value) if !lax || operators::truthy(&value) => Ok(Outcome::Here(value)),
            found => match instead {
                Some(node) => self.outcome(node),
                None => Ok(found),
            },
        }
    }

    fn arguments(
        &mut self,
        arguments: &'a Arguments,
    ) -> Result<Vec<Option<Cow<'a, Value>>>, ExpressionError> {
        arguments.0.iter().map(|node| node.as_ref().map(|node| self.value(node)).transpose()).collect()
    }

    /// Pays for comparing or searching values.
    fn weigh(
        &mut self,
        subject: &Value,
        arguments: &[Option<Cow<'_, Value>>],
        range: &Range,
    ) -> Result<(), ExpressionError> {
        predicates::weigh(&mut self.meter, subject, arguments, range)
    }

    fn negate(&mut self, of: &'a Node, range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        let value = self.value(of)?;
        if !value.is_number() {
            return Err(ExpressionError::new(format!("cannot negate {}", kind_name(&value)), range.clone()));
        }
        operators::calculate(Operator::Subtract, &Value::from(0), &value)
            .map(Outcome::owned)
            .map_err(|message| ExpressionError::new(message, range.clone()))
    }

    fn calculate(
        &mut self,
        operator: Operator,
        left_node: &'a Node,
        right_node: &'a Node,
        range: &Range,
    ) -> Result<Outcome<'a>, ExpressionError> {
        let left = self.value(left_node)?;
        let right = self.value(right_node)?;
        if operator == Operator::Join {
            let (first, second) = (text(&left, &left_node.range)?, text(&right, &right_node.range)?);
            self.meter.build((first.len() + second.len()) as u64, range)?;
            return Ok(Outcome::owned(Value::String(format!("{first}{second}"))));
        }
        match (operator, &*left, &*right) {
            (Operator::Add, Value::String(first), Value::String(second)) => {
                self.meter.build((first.len() + second.len()) as u64, range)?;
                return Ok(Outcome::owned(Value::String(format!("{first}{second}"))));
            }
            (Operator::Add, Value::Array(_), Value::Array(_)) => {
                let mut items = self.meter.own(left, range)?;
                let more = self.meter.own(right, range)?;
                if let (Value::Array(items), Value::Array(more)) = (&mut items, more) {
                    items.extend(more);
                }
                return Ok(Outcome::owned(items));
            }
            _ => {}
        }
        operators::calculate(operator, &left, &right).map(Outcome::owned).map_err(|message| {
            let error = ExpressionError::new(message, range.clone());
            if operator == Operator::Add && (left.is_string() || right.is_string()) {
                return error.with_help("write `~` to join text with other values");
            }
            error
        })
    }

    fn compare(
        &mut self,
        first: &'a Node,
        rest: &'a [(Comparison, Node)],
    ) -> Result<Outcome<'a>, ExpressionError> {
        let mut left = self.value(first)?;
        for (comparison, node) in rest {
            let right = self.value(node)?;
            let range = Range::new(first.range.start, node.range.end);
            self.weigh(&left, &[Some(Cow::Borrowed(&*right))], &range)?;
            let holds = match comparison {
                Comparison::Equal => operators::equal(&left, &right),
                Comparison::NotEqual => !operators::equal(&left, &right),
                Comparison::In => predicates::contains(&right, &left)
                    .map_err(|message| ExpressionError::new(message, node.range.clone()))?,
                Comparison::NotIn => !predicates::contains(&right, &left)
                    .map_err(|message| ExpressionError::new(message, node.range.clone()))?,
                Comparison::Less
                | Comparison::LessOrEqual
                | Comparison::Greater
                | Comparison::GreaterOrEqual => {
                    let ordering = predicates::comparable(&left, &right).map_err(|message| {
                        ExpressionError::new(message, range.clone())
                            .with_help("bring both sides to one kind, with `| int`, `| float` or `| string`")
                    })?;
                    match comparison {
                        Comparison::Less => ordering.is_lt(),
                        Comparison::LessOrEqual => ordering.is_le(),
                        Comparison::Greater => ordering.is_gt(),
                        _ => ordering.is_ge(),
                    }
                }
            };
            if !holds {
                return Ok(Outcome::owned(Value::Bool(false)));
            }
            left = right;
        }
        Ok(Outcome::owned(Value::Bool(true)))
    }

    fn range_of(&mut self, arguments: &'a [Node], range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        let mut numbers = Vec::with_capacity(3);
        for node in arguments {
            let value = self.value(node)?;
            let number = operators::as_whole(&value)
                .ok_or_else(|| ExpressionError::new("`range` takes whole numbers", node.range.clone()))?;
            numbers.push(number);
        }
        let (start, stop, step) = match *numbers.as_slice() {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step, ..] => (start, stop, step),
            [] => (0, 0, 1),
        };
        if step == 0 {
            return Err(ExpressionError::new("the step of a range cannot be 0", range.clone()));
        }
        let span = if step > 0 { stop - start } else { start - stop }.max(0);
        let count = (span + step.abs() - 1) / step.abs();
        if count > i128::from(MAX_RANGE) {
            return Err(ExpressionError::new(
                format!("a range has at most {MAX_RANGE} numbers"),
                range.clone(),
            ));
        }
        let count = u64::try_from(count).unwrap_or(0);
        self.meter.work(count, range)?;
        self.meter.build(16 * count, range)?;
        let numbers = (0..count).filter_map(|at| operators::whole(start + step * i128::from(at)));
        Ok(Outcome::owned(Value::Array(numbers.collect())))
    }

    fn map(&mut self, entries: &'a [(Node, Node)], range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        self.meter.build(16, range)?;
        let mut map = Map::new();
        for (key_node, value_node) in entries {
            let key = self.value(key_node)?;
            let key = match &*key {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                other => {
                    return Err(ExpressionError::new(
                        format!("the keys of a map are text, not {}", kind_name(other)),
                        key_node.range.clone(),
                    ));
                }
            };
            self.meter.build(key.len() as u64, range)?;
            let value = self.owned(value_node)?;
            map.insert(key, value);
        }
        Ok(Outcome::owned(Value::Object(map)))
    }

    fn each(&mut self, of: &'a Node, each: &'a Each, range: &Range) -> Result<Outcome<'a>, ExpressionError> {
        let list = self.value(of)?;
        let items = match list {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect::<Vec<_>>(),
            other => {
                let what =
                    format!("this filter goes through a list, {} is {}", self.written(of), kind_name(&other));
                return Err(ExpressionError::new(what, of.range.clone()));
            }
        };
        self.meter.work(items.len() as u64, range)?;
        let mut results = Vec::new();
        match each {
            Each::Attribute { path, default } => {
                for (at, item) in items.into_iter().enumerate() {
                    match filters::attribute(item, path) {
                        Ok(value) => results.push(self.meter.own(value, range)?),
                        Err(missing) => match default {
                            Some(node) => results.push(self.owned(node)?),
                            None => {
                                return Err(missing.in_item(at, path, range).with_help(
                                    "items may do without it: `map(attribute='..', default=none)`",
                                ));
                            }
                        },
                    }
                }
            }
            Each::Apply { filter, arguments } => {
                let FilterKind::Plain(run) = filter.kind else {
                    return Ok(Outcome::owned(Value::Null));
                };
                let arguments = self.arguments(arguments)?;
                for subject in items {
                    let mut call = Call { meter: &mut self.meter, subject, arguments: &arguments, range };
                    let value = run(&mut call)?.required()?;
                    results.push(self.meter.own(value, range)?);
                }
            }
            Each::Keep { wanted, attribute, test } => {
                let arguments = match test {
                    Some((_, arguments)) => self.arguments(arguments)?,
                    None => Vec::new(),
                };
                for (at, item) in items.into_iter().enumerate() {
                    let seen = match attribute {
                        Some(path) => filters::attribute(Cow::Borrowed(&*item), path),
                        None => Ok(Cow::Borrowed(&*item)),
                    };
                    let holds = match (test.as_ref().map(|(predicate, _)| predicate.kind), seen) {
                        (Some(PredicateKind::Defined), seen) => seen.is_ok(),
                        (Some(PredicateKind::Undefined), seen) => seen.is_err(),
                        (_, Err(missing)) => {
                            let path = attribute.as_deref().unwrap_or_default();
                            return Err(missing.in_item(at, path, range).with_help(
                                "choose the items that have it first: `selectattr('..', 'defined')`",
                            ));
                        }
                        (None, Ok(seen)) => operators::truthy(&seen),
                        (Some(PredicateKind::Plain(run)), Ok(seen)) => {
                            predicates::weigh(&mut self.meter, &seen, &arguments, range)?;
                            run(&seen, &arguments)
                                .map_err(|message| ExpressionError::new(message, range.clone()))?
                        }
                    };
                    if holds == *wanted {
                        results.push(self.meter.own(item, range)?);
                    }
                }
            }
        }
        self.meter.build(16, range)?;
        Ok(Outcome::owned(Value::Array(results)))
    }
}

fn text<'v>(value: &'v Value, range: &Range) -> Result<Cow<'v, str>, ExpressionError> {
    operators::text_form(value).map_err(|message| {
        ExpressionError::new(message, range.clone()).with_help(operators::text_help(value))
    })
}

/// The positions that a slice takes, as Python counts them.
fn positions(
    length: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
    range: &Range,
) -> Result<impl Iterator<Item = usize>, ExpressionError> {
    if step == 0 {
        return Err(ExpressionError::new("the step of a slice cannot be 0", range.clone()));
    }
    let length = length as i128;
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |bound: Option<i128>, absent: i128| match bound {
        None => absent,
        Some(bound) if bound < 0 => (bound + length).clamp(least, most),
        Some(bound) => bound.clamp(least, most),
    };
    let (start, stop) = if step > 0 {
        (place(start, 0), place(stop, length))
    } else {
        (place(start, length - 1), place(stop, -1))
    };
    let mut at = start;
    Ok(std::iter::from_fn(move || {
        let inside = if step > 0 { at < stop } else { at > stop };
        let taken = inside.then(|| usize::try_from(at).ok()).flatten();
        at += step;
        taken
    }))
}
