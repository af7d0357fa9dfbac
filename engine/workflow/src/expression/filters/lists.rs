//! Filters that go through lists and maps.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Call, attribute, give};
use crate::expression::evaluate::Outcome;
use crate::expression::operators::{self, kind_name};
use crate::expression::syntax::Operator;
use crate::expression::{ExpressionError, MAX_WORK_BYTES, meter};

type Given<'a> = Result<Outcome<'a>, ExpressionError>;
type Refused = ExpressionError;

impl<'a> Call<'_, 'a> {
    /// The items of the list before the `|`.
    fn take_items(&mut self) -> Result<Vec<Cow<'a, Value>>, Refused> {
        let items: Vec<Cow<'a, Value>> = match std::mem::replace(&mut self.subject, Cow::Owned(Value::Null)) {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            other => {
                self.subject = other;
                return Err(self.misfit("a list"));
            }
        };
        self.meter.work(items.len() as u64, self.range)?;
        Ok(items)
    }

    fn take_map(&mut self) -> Result<Cow<'a, Map<String, Value>>, Refused> {
        let map = match std::mem::replace(&mut self.subject, Cow::Owned(Value::Null)) {
            Cow::Borrowed(Value::Object(map)) => Cow::Borrowed(map),
            Cow::Owned(Value::Object(map)) => Cow::Owned(map),
            other => {
                self.subject = other;
                return Err(self.misfit("a map"));
            }
        };
        self.meter.work(map.len() as u64, self.range)?;
        Ok(map)
    }

    fn give_items(&mut self, items: Vec<Cow<'a, Value>>) -> Given<'a> {
        self.meter.build(16, self.range)?;
        let items =
            items.into_iter().map(|item| self.meter.own(item, self.range)).collect::<Result<_, _>>()?;
        give(Value::Array(items))
    }

    /// Each item with what it is ordered by; text folded unless case matters.
    fn keyed(
        &mut self,
        items: Vec<Cow<'a, Value>>,
        path: Option<&[String]>,
        exact: bool,
        instead: Option<&Value>,
    ) -> Result<Vec<(Value, Cow<'a, Value>)>, Refused> {
        let mut keyed = Vec::with_capacity(items.len());
        let mut nodes = 0;
        for (at, item) in items.into_iter().enumerate() {
            let key = match path {
                None => Cow::Borrowed(&*item),
                Some(path) => match (attribute(Cow::Borrowed(&*item), path), instead) {
                    (Ok(value), _) => value,
                    (Err(_), Some(instead)) => Cow::Borrowed(instead),
                    (Err(missing), None) => return Err(missing.in_item(at, path, self.range)),
                },
            };
            nodes += meter::size(&key, MAX_WORK_BYTES).nodes;
            let key = match &*key {
                Value::String(text) if !exact => {
                    self.meter.build(text.len() as u64, self.range)?;
                    Value::String(text.to_lowercase())
                }
                _ => self.meter.own(key, self.range)?,
            };
            keyed.push((key, item));
        }
        // Sorting compares each key about log2(n) times.
        self.meter.work(nodes * u64::from(usize::BITS - keyed.len().leading_zeros()), self.range)?;
        Ok(keyed)
    }

    fn pairs(&mut self, pairs: Vec<(String, Value)>) -> Given<'a> {
        self.meter.build(32 * pairs.len() as u64, self.range)?;
        give(Value::Array(
            pairs.into_iter().map(|(key, value)| Value::Array(vec![Value::String(key), value])).collect(),
        ))
    }

    fn owned_pairs(&mut self) -> Result<Vec<(String, Value)>, Refused> {
        let map = self.take_map()?;
        let map = match map {
            Cow::Owned(map) => map,
            Cow::Borrowed(map) => {
                let mut copy = Map::with_capacity(map.len());
                for (key, value) in map {
                    self.meter.build(key.len() as u64, self.range)?;
                    copy.insert(key.clone(), self.meter.own(Cow::Borrowed(value), self.range)?);
                }
                copy
            }
        };
        Ok(map.into_iter().collect())
    }
}

pub(super) fn length<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let length = match &*call.subject {
        Value::String(text) => {
            call.meter.look(text.len(), call.range)?;
            text.chars().count()
        }
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => return Err(call.misfit("text, a list or a map")),
    };
    give(Value::from(length))
}

pub(super) fn first<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    end(call, true)
}

pub(super) fn last<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    end(call, false)
}

fn end<'a>(call: &mut Call<'_, 'a>, first: bool) -> Given<'a> {
    if let Value::String(text) = &*call.subject {
        let letter = if first { text.chars().next() } else { text.chars().next_back() };
        return match letter {
            Some(letter) => give(Value::String(letter.to_string())),
            None => Ok(Outcome::absent(call.error("the text is empty"))),
        };
    }
    let mut items = call.take_items()?;
    let item = if first && !items.is_empty() { Some(items.swap_remove(0)) } else { items.pop() };
    Ok(match item {
        Some(item) => Outcome::Here(item),
        None => Outcome::absent(
            call.error("the list is empty").with_help("`| default(..)` says what to use for an empty list"),
        ),
    })
}

pub(super) fn list<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    match &*call.subject {
        Value::Array(_) => Ok(Outcome::Here(std::mem::replace(&mut call.subject, Cow::Owned(Value::Null)))),
        Value::Object(_) => keys(call),
        Value::String(text) => {
            call.meter.work(text.len() as u64, call.range)?;
            call.meter.build(20 * text.len() as u64, call.range)?;
            give(Value::Array(text.chars().map(|letter| Value::String(letter.to_string())).collect()))
        }
        _ => Err(call.misfit("a list, a map or text")),
    }
}

pub(super) fn sort<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let (reverse, exact) = (call.flag(0), call.flag(1));
    let attributes = call.text_argument(2)?.map(str::to_owned);
    let mut items = call.take_items()?;
    // Several attributes: a stable sort by the last one first.
    let paths: Vec<Option<Vec<String>>> = match attributes {
        None => vec![None],
        Some(text) => text
            .split(',')
            .map(|path| Some(path.trim().split('.').map(str::to_owned).collect()))
            .rev()
            .collect(),
    };
    for path in paths {
        let mut keyed = call.keyed(items, path.as_deref(), exact, None)?;
        keyed.sort_by(|(left, _), (right, _)| {
            let ordering = operators::order(left, right);
            if reverse { ordering.reverse() } else { ordering }
        });
        items = keyed.into_iter().map(|(_, item)| item).collect();
    }
    call.give_items(items)
}

pub(super) fn unique<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let exact = call.flag(0);
    let path = call.attribute_argument(1)?;
    let items = call.take_items()?;
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (key, item) in call.keyed(items, path.as_deref(), exact, None)? {
        let mut form = String::new();
        canonical(&key, &mut form);
        call.meter.build(form.len() as u64, call.range)?;
        if seen.insert(form) {
            kept.push(item);
        }
    }
    call.give_items(kept)
}

/// A text that is the same for equal values, whatever the order of keys; `1` and `1.0` are equal.
fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Array(items) => {
            into.push('[');
            for item in items {
                canonical(item, into);
                into.push(',');
            }
            into.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            into.push('{');
            for (key, value) in entries {
                into.push_str(&Value::String(key.clone()).to_string());
                into.push(':');
                canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(0.0);
            // Every float that is a whole number prints all its digits, as the equal integer does.
            into.push_str(&format!("{}", if number == 0.0 { 0.0 } else { number }));
        }
        other => into.push_str(&other.to_string()),
    }
}

pub(super) fn reverse<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    if call.subject.is_string() {
        let text = call.text()?;
        return call.give_text(text.chars().rev().collect());
    }
    let mut items = call.take_items()?;
    items.reverse();
    call.give_items(items)
}

pub(super) fn group_by<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let path = call.attribute_argument(0)?.unwrap_or_default();
    let instead = call.arguments.get(1).and_then(Option::as_deref).cloned();
    let exact = call.flag(2);
    let items = call.take_items()?;
    let mut keyed = call.keyed(items, Some(&path), exact, instead.as_ref())?;
    keyed.sort_by(|(left, _), (right, _)| operators::order(left, right));
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, item) in keyed {
        let shown =
            attribute(Cow::Borrowed(&*item), &path).ok().map(Cow::into_owned).or_else(|| instead.clone());
        let item = call.meter.own(item, call.range)?;
        match groups.last_mut() {
            Some((last, _, list)) if operators::order(last, &key) == Ordering::Equal => list.push(item),
            _ => {
                call.meter.build(64, call.range)?;
                groups.push((key, shown.unwrap_or(Value::Null), vec![item]));
            }
        }
    }
    let groups = groups.into_iter().map(|(_, grouper, list)| {
        let mut group = Map::new();
        group.insert("grouper".to_owned(), grouper);
        group.insert("list".to_owned(), Value::Array(list));
        Value::Object(group)
    });
    give(Value::Array(groups.collect()))
}

pub(super) fn items<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let pairs = call.owned_pairs()?;
    call.pairs(pairs)
}

pub(super) fn sort_map<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let (exact, reverse) = (call.flag(0), call.flag(2));
    let by_value = match call.text_argument(1)? {
        None | Some("key") => false,
        Some("value") => true,
        Some(_) => return Err(call.error("`by` is `key` or `value`")),
    };
    let pairs = call.owned_pairs()?;
    let fold = |value: &Value| match value {
        Value::String(text) if !exact => Value::String(text.to_lowercase()),
        other => other.clone(),
    };
    let mut keyed = Vec::with_capacity(pairs.len());
    let mut nodes = 0;
    for (key, value) in pairs {
        let by = if by_value { fold(&value) } else { fold(&Value::String(key.clone())) };
        let size = meter::size(&by, MAX_WORK_BYTES);
        call.meter.build(size.bytes, call.range)?;
        nodes += size.nodes;
        keyed.push((by, (key, value)));
    }
    call.meter.work(nodes * u64::from(usize::BITS - keyed.len().leading_zeros()), call.range)?;
    keyed.sort_by(|(left, _), (right, _)| {
        let ordering = operators::order(left, right);
        if reverse { ordering.reverse() } else { ordering }
    });
    let pairs = keyed.into_iter().map(|(_, pair)| pair).collect();
    call.pairs(pairs)
}

pub(super) fn keys<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let map = call.take_map()?;
    call.meter.build(map.keys().map(|key| 16 + key.len() as u64).sum(), call.range)?;
    give(Value::Array(map.keys().map(|key| Value::String(key.clone())).collect()))
}

pub(super) fn values<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let values = match call.take_map()? {
        Cow::Borrowed(map) => map.values().map(Cow::Borrowed).collect(),
        Cow::Owned(map) => map.into_iter().map(|(_, value)| Cow::Owned(value)).collect(),
    };
    call.give_items(values)
}

pub(super) fn sum<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    let path = call.attribute_argument(0)?.unwrap_or_default();
    let mut total = call.argument(1).cloned().unwrap_or(Value::from(0));
    for (at, item) in call.take_items()?.into_iter().enumerate() {
        let item = attribute(item, &path).map_err(|missing| missing.in_item(at, &path, call.range))?;
        if !item.is_number() {
            return Err(call.error(format!("`sum` adds numbers, item {at} is {}", kind_name(&item))));
        }
        total = operators::calculate(Operator::Add, &total, &item).map_err(|message| call.error(message))?;
    }
    give(total)
}

pub(super) fn min<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    extreme(call, Ordering::Less)
}

pub(super) fn max<'a>(call: &mut Call<'_, 'a>) -> Given<'a> {
    extreme(call, Ordering::Greater)
}

fn extreme<'a>(call: &mut Call<'_, 'a>, wanted: Ordering) -> Given<'a> {
    let exact = call.flag(0);
    let path = call.attribute_argument(1)?;
    let items = call.take_items()?;
    let mut best: Option<(Value, Cow<'a, Value>)> = None;
    for (key, item) in call.keyed(items, path.as_deref(), exact, None)? {
        if best.as_ref().is_none_or(|(least, _)| operators::order(&key, least) == wanted) {
            best = Some((key, item));
        }
    }
    Ok(match best {
        Some((_, item)) => Outcome::Here(item),
        None => Outcome::absent(
            call.error("the list is empty").with_help("`| default(..)` says what to use for an empty list"),
        ),
    })
}
