//! Filters: `value | NAME(..)`. One table feeds the parser, the evaluator and the reference.

mod lists;
mod numbers;
mod text;

use std::borrow::Cow;

use serde_json::Value;

use super::evaluate::Outcome;
use super::meter::Meter;
use super::operators::{self, kind_name};
use super::{ExpressionError, Range, suggest};

/// A filter.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) kind: FilterKind,
    pub(super) params: &'static [&'static str],
    pub(super) required: usize,
    summary: &'static str,
}

pub(super) type Run = for<'a> fn(&mut Call<'_, 'a>) -> Result<Outcome<'a>, ExpressionError>;

#[derive(Clone, Copy)]
pub(super) enum FilterKind {
    /// `default`: the one that looks at what is absent.
    Default,
    Plain(Run),
}

/// A line of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterDoc {
    /// As it is written after `|`.
    pub name: &'static str,
    /// What it takes, in order; each may be given by name.
    pub parameters: &'static [&'static str],
    /// How many of them have to be given.
    pub required: usize,
    /// What it gives.
    pub summary: &'static str,
}

/// Every filter, in reading order.
#[must_use]
pub fn documentation() -> Vec<FilterDoc> {
    let plain = TABLE.iter().map(|filter| FilterDoc {
        name: filter.name,
        parameters: filter.params,
        required: filter.required,
        summary: filter.summary,
    });
    let each = EACH.iter().map(|(name, parameters, required, summary)| FilterDoc {
        name,
        parameters,
        required: *required,
        summary,
    });
    plain.chain(each).collect()
}

pub(super) fn find(name: &str) -> Option<&'static Filter> {
    let name = match name {
        "d" => "default",
        "count" => "length",
        other => other,
    };
    TABLE.iter().find(|filter| filter.name == name)
}

/// True for the filters that take other filters or tests.
pub(super) fn is_each(name: &str) -> bool {
    EACH.iter().any(|(each, ..)| *each == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|filter| filter.name).chain(EACH.iter().map(|(name, ..)| *name))
}

/// What to write where other languages have a method.
pub(super) fn method(name: &str) -> Option<&'static str> {
    Some(match name {
        "get" => "value.name | default(..)",
        "items" => "value | items",
        "keys" => "value | keys",
        "values" => "value | values",
        "lower" | "toLowerCase" => "value | lower",
        "upper" | "toUpperCase" => "value | upper",
        "strip" | "trim" => "value | trim",
        "split" => "value | split(',')",
        "join" => "list | join(',')",
        "replace" => "value | replace('a', 'b')",
        "startswith" | "startsWith" => "value is startingwith('a')",
        "endswith" | "endsWith" => "value is endingwith('a')",
        "length" | "len" | "size" => "value | length",
        _ => return None,
    })
}

type EachRow = (&'static str, &'static [&'static str], usize, &'static str);

static EACH: &[EachRow] = &[
    (
        "map",
        &["filter or attribute=", "arguments or default="],
        1,
        "each item through a filter, or one field of each item",
    ),
    (
        "select",
        &["test", "arguments"],
        0,
        "the items for which the test holds; without a test, those that are not empty",
    ),
    ("reject", &["test", "arguments"], 0, "the other items"),
    ("selectattr", &["attribute", "test", "arguments"], 1, "the items whose field passes the test"),
    ("rejectattr", &["attribute", "test", "arguments"], 1, "the other items"),
];

const fn row(
    name: &'static str,
    params: &'static [&'static str],
    required: usize,
    run: Run,
    summary: &'static str,
) -> Filter {
    Filter { name, kind: FilterKind::Plain(run), params, required, summary }
}

static TABLE: &[Filter] = &[
    Filter {
        name: "default",
        kind: FilterKind::Default,
        params: &["default_value", "boolean"],
        required: 1,
        summary: "what to use where the path before it is absent; with `true` also for null and what is empty; also `d`",
    },
    row("length", &[], 0, lists::length, "how many characters, items or keys; also `count`"),
    row("lower", &[], 0, text::lower, "small letters"),
    row("upper", &[], 0, text::upper, "capital letters"),
    row("title", &[], 0, text::title, "a capital at the start of each word"),
    row("capitalize", &[], 0, text::capitalize, "a capital at the start, small letters after it"),
    row("trim", &["chars"], 0, text::trim, "without white space, or without these characters, at both ends"),
    row("replace", &["from", "to"], 2, text::replace, "every occurrence replaced"),
    row(
        "split",
        &["separator", "maxsplit"],
        0,
        text::split,
        "the parts of a text; at white space without a separator",
    ),
    row("lines", &[], 0, text::lines, "the lines of a text"),
    row("join", &["d", "attribute"], 0, text::join, "the items as one text, with `d` between them"),
    row("string", &[], 0, text::string, "the value as text"),
    row("tojson", &[], 0, text::to_json, "the value as JSON text"),
    row(
        "urlencode",
        &[],
        0,
        text::url_encode,
        "percent-encoded for a query, `/` kept; a map becomes `key=value&..`",
    ),
    row("first", &[], 0, lists::first, "the first item or character; absent if there is none"),
    row("last", &[], 0, lists::last, "the last item or character; absent if there is none"),
    row("list", &[], 0, lists::list, "the characters of a text, the keys of a map"),
    row(
        "sort",
        &["reverse", "case_sensitive", "attribute"],
        0,
        lists::sort,
        "in order; text without regard to case",
    ),
    row("unique", &["case_sensitive", "attribute"], 0, lists::unique, "the first of equal items"),
    row("reverse", &[], 0, lists::reverse, "the other way round"),
    row(
        "groupby",
        &["attribute", "default", "case_sensitive"],
        1,
        lists::group_by,
        "maps `{grouper, list}`, in order",
    ),
    row("items", &[], 0, lists::items, "the pairs `[key, value]` of a map"),
    row(
        "dictsort",
        &["case_sensitive", "by", "reverse"],
        0,
        lists::sort_map,
        "the pairs `[key, value]` of a map, in order",
    ),
    row("keys", &[], 0, lists::keys, "the keys of a map"),
    row("values", &[], 0, lists::values, "the values of a map"),
    row("sum", &["attribute", "start"], 0, lists::sum, "the sum of the items"),
    row("min", &["case_sensitive", "attribute"], 0, lists::min, "the least item; absent if there is none"),
    row("max", &["case_sensitive", "attribute"], 0, lists::max, "the greatest item; absent if there is none"),
    row("abs", &[], 0, numbers::abs, "without the sign"),
    row(
        "round",
        &["precision", "method"],
        0,
        numbers::round,
        "rounded; `method` is `common`, `ceil` or `floor`",
    ),
    row(
        "int",
        &["default", "base"],
        0,
        numbers::int,
        "a whole number, from text or by cutting off the fraction",
    ),
    row("float", &["default"], 0, numbers::float, "a number with a fraction, from text or a whole number"),
    row("bool", &[], 0, numbers::bool, "false for null, 0 and what is empty, else true"),
];

/// One use of a filter.
pub(super) struct Call<'c, 'a> {
    pub(super) meter: &'c mut Meter,
    /// What stands before the `|`.
    pub(super) subject: Cow<'a, Value>,
    /// One for each parameter.
    pub(super) arguments: &'c [Option<Cow<'a, Value>>],
    /// Where the value and the filter stand.
    pub(super) range: &'c Range,
}

impl<'c, 'a> Call<'c, 'a> {
    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(message, self.range.clone())
    }

    fn misfit(&self, wanted: &str) -> ExpressionError {
        self.error(format!("this filter works on {wanted}, not on {}", kind_name(&self.subject)))
    }

    fn argument(&self, at: usize) -> Option<&'c Value> {
        self.arguments.get(at).and_then(Option::as_deref).filter(|value| !value.is_null())
    }

    fn flag(&self, at: usize) -> bool {
        self.argument(at).is_some_and(operators::truthy)
    }

    fn text_argument(&self, at: usize) -> Result<Option<&'c str>, ExpressionError> {
        match self.argument(at) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(format!("this argument is text, not {}", kind_name(other)))),
        }
    }

    fn whole_argument(&self, at: usize) -> Result<Option<i128>, ExpressionError> {
        match self.argument(at) {
            None => Ok(None),
            Some(value) => match operators::as_whole(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(format!("this argument is a whole number, not {}", kind_name(value)))),
            },
        }
    }

    /// The path that an `attribute` argument names.
    fn attribute_argument(&self, at: usize) -> Result<Option<Vec<String>>, ExpressionError> {
        Ok(self.text_argument(at)?.map(|text| text.split('.').map(str::to_owned).collect()))
    }

    /// The subject as text; numbers and booleans in their JSON form.
    fn text(&mut self) -> Result<Cow<'a, str>, ExpressionError> {
        let subject = std::mem::replace(&mut self.subject, Cow::Owned(Value::Null));
        let text = match subject {
            Cow::Borrowed(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Cow::Owned(Value::String(text)) => Cow::Owned(text),
            other => Cow::Owned(operators::text_form(&other).map(Cow::into_owned).map_err(|_| {
                self.error(format!("this filter works on text, not on {}", kind_name(&other)))
            })?),
        };
        self.meter.look(text.len(), self.range)?;
        Ok(text)
    }

    fn give_text(&mut self, text: String) -> Result<Outcome<'a>, ExpressionError> {
        self.meter.look(text.len(), self.range)?;
        self.meter.build(text.len() as u64, self.range)?;
        give(Value::String(text))
    }
}

fn give<'a>(value: Value) -> Result<Outcome<'a>, ExpressionError> {
    Ok(Outcome::Here(Cow::Owned(value)))
}

/// Why a field is not there.
pub(super) enum Missing {
    /// A map with these other keys.
    Key(Vec<String>),
    /// A list.
    List,
    /// Something that has no fields.
    Fieldless(&'static str),
}

impl Missing {
    /// The error for `base.name`; `base` is quoted already.
    pub(super) fn describe(self, name: &str, base: &str, range: &Range) -> ExpressionError {
        match self {
            Self::Key(keys) => {
                let error = ExpressionError::new(format!("unknown field `{name}` of {base}"), range.clone());
                match suggest::help(name, keys.iter().map(String::as_str), "it has") {
                    Some(help) => error.with_help(help),
                    None => error.with_help("it is an empty map"),
                }
            }
            Self::List => {
                ExpressionError::new(format!("{base} is a list, it has no field `{name}`"), range.clone())
                    .with_help("take one item, `[0]`, or the field of each item, `| map(attribute='..')`")
            }
            Self::Fieldless(kind) => {
                let error = ExpressionError::new(
                    format!("{base} is {kind}, it has no field `{name}`"),
                    range.clone(),
                );
                if kind == "null" {
                    error.with_help("`| default(..)` behind the path accepts that")
                } else {
                    error
                }
            }
        }
    }

    /// The error for a path inside the item of a list.
    pub(super) fn in_item(self, at: usize, path: &[String], range: &Range) -> ExpressionError {
        self.describe(&path.join("."), &format!("item {at}"), range)
    }
}

/// A field of a value.
pub(super) fn field<'a>(value: Cow<'a, Value>, name: &str) -> Result<Cow<'a, Value>, Missing> {
    match value {
        Cow::Borrowed(Value::Object(map)) => {
            map.get(name).map(Cow::Borrowed).ok_or_else(|| Missing::Key(map.keys().cloned().collect()))
        }
        Cow::Owned(Value::Object(mut map)) => match map.get_mut(name) {
            Some(value) => Ok(Cow::Owned(value.take())),
            None => Err(Missing::Key(map.keys().cloned().collect())),
        },
        Cow::Borrowed(Value::Array(_)) | Cow::Owned(Value::Array(_)) => Err(Missing::List),
        other => Err(Missing::Fieldless(kind_name(&other))),
    }
}

/// What a path of fields (and positions in lists) leads to.
pub(super) fn attribute<'a>(mut value: Cow<'a, Value>, path: &[String]) -> Result<Cow<'a, Value>, Missing> {
    for name in path {
        value = match (value, name.parse::<usize>()) {
            (Cow::Borrowed(Value::Array(items)), Ok(at)) => {
                items.get(at).map(Cow::Borrowed).ok_or(Missing::List)?
            }
            (Cow::Owned(Value::Array(items)), Ok(at)) => {
                items.into_iter().nth(at).map(Cow::Owned).ok_or(Missing::List)?
            }
            (value, _) => field(value, name)?,
        };
    }
    Ok(value)
}
