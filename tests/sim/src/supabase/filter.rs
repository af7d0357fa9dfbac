//! Filters: `column=op.value`, `or=(..)`, with SQL's three truths.

use std::cmp::Ordering;

use serde_json::Value;

use super::refusal::Refusal;
use super::schema::{Row, Table};
use super::value::{Type, compare, list};

/// A condition on a row.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    Test(Test),
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
}

#[derive(Clone, Debug)]
pub(super) struct Test {
    column: Place,
    operator: String,
    /// `any` or `all`, for a list of values.
    quantifier: Option<bool>,
    value: String,
}

/// A column, or something inside a JSON column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) column: String,
    pub(super) path: Vec<String>,
    /// The last step was `->>`.
    pub(super) as_text: bool,
}

impl Place {
    /// Reads `a`, `a->b`, `a->b->>c`.
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = text.split("->");
        let column = unquoted(pieces.next().unwrap_or_default().trim());
        let mut as_text = false;
        let mut path = Vec::new();
        for piece in pieces {
            as_text = piece.starts_with('>');
            path.push(unquoted(piece.trim_start_matches('>')));
        }
        Self { column, path, as_text }
    }

    /// The value there; null where there is nothing.
    pub(super) fn of(&self, row: &Row) -> Value {
        let mut at = row.get(&self.column).cloned().unwrap_or_default();
        for step in &self.path {
            at = match step.parse::<usize>() {
                Ok(number) if at.is_array() => at.get(number).cloned(),
                _ => at.get(step).cloned(),
            }
            .unwrap_or_default();
        }
        if self.as_text && !at.is_null() && !at.is_string() { at.to_string().into() } else { at }
    }

    pub(super) fn kind(&self, table: &Table) -> Result<Type, Refusal> {
        let column =
            table.column(&self.column).ok_or_else(|| Refusal::no_column(&table.name, &self.column))?;
        Ok(match (self.path.is_empty(), self.as_text) {
            (true, _) => column.kind,
            (false, true) => Type::Text,
            (false, false) => Type::Jsonb,
        })
    }

    /// The key it has in the answer.
    pub(super) fn name(&self) -> String {
        self.path.last().unwrap_or(&self.column).clone()
    }
}

const OPERATORS: [&str; 14] =
    ["eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "is", "isdistinct", "in", "cs", "cd", "ov"];

impl Filter {
    /// `column=not.op.value`.
    pub(super) fn of_column(column: &str, text: &str) -> Result<Self, Refusal> {
        let (negated, rest) = text.strip_prefix("not.").map_or((false, text), |rest| (true, rest));
        let fail = || {
            Refusal::parse("filter", text, 1)
                .details("unexpected input expecting \"not\" or operator (eq, gt, ...)")
        };
        let (operator, value) = rest.split_once('.').ok_or_else(fail)?;
        let (operator, quantifier) = match operator.split_once('(') {
            None => (operator, None),
            Some((operator, "any)")) => (operator, Some(true)),
            Some((operator, "all)")) => (operator, Some(false)),
            Some(_) => return Err(fail()),
        };
        if !OPERATORS.contains(&operator) {
            return Err(fail());
        }
        let test = Test {
            column: Place::parse(column),
            operator: operator.to_owned(),
            quantifier,
            value: value.to_owned(),
        };
        let test = Self::Test(test);
        Ok(if negated { Self::Not(Box::new(test)) } else { test })
    }

    /// `or=(..)`, `and=(..)`, `not.or=(..)`; `key` says which.
    pub(super) fn of_tree(key: &str, text: &str) -> Result<Self, Refusal> {
        let fail = || Refusal::parse("logic tree", text, 1);
        let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(fail)?;
        let mut parts = Vec::new();
        for piece in split(inner) {
            let piece = piece.trim();
            let opens = ["or", "and", "not.or", "not.and"]
                .into_iter()
                .find(|word| piece.strip_prefix(word).is_some_and(|rest| rest.starts_with('(')));
            parts.push(match opens {
                Some(word) => Self::of_tree(word, piece.strip_prefix(word).unwrap_or_default())?,
                None => {
                    let (column, test) = piece.split_once('.').ok_or_else(fail)?;
                    let filter = Self::of_column(column, test)?;
                    filter.with_unquoted_value()
                }
            });
        }
        let (negated, word) = key.strip_prefix("not.").map_or((false, key), |word| (true, word));
        let tree = if word == "or" { Self::Any(parts) } else { Self::All(parts) };
        Ok(if negated { Self::Not(Box::new(tree)) } else { tree })
    }

    /// Inside a tree a value may be quoted because of its commas.
    fn with_unquoted_value(self) -> Self {
        match self {
            Self::Test(test) if test.value.starts_with('"') => {
                Self::Test(Test { value: unquoted(&test.value), ..test })
            }
            Self::Not(inner) => Self::Not(Box::new(inner.with_unquoted_value())),
            other => other,
        }
    }

    /// Whether the columns exist and the values are of their types.
    pub(super) fn check(&self, table: &Table) -> Result<(), Refusal> {
        match self {
            Self::Test(test) => test.holds(table, &Row::new()).map(|_| ()),
            Self::Not(inner) => inner.check(table),
            Self::All(parts) | Self::Any(parts) => parts.iter().try_for_each(|part| part.check(table)),
        }
    }

    /// True, false, or unknown.
    pub(super) fn holds(&self, table: &Table, row: &Row) -> Result<Option<bool>, Refusal> {
        Ok(match self {
            Self::Test(test) => test.holds(table, row)?,
            Self::Not(inner) => inner.holds(table, row)?.map(|truth| !truth),
            Self::All(parts) => fold(parts, table, row, false)?,
            Self::Any(parts) => fold(parts, table, row, true)?,
        })
    }
}

/// `decisive` is the truth that decides at once.
fn fold(parts: &[Filter], table: &Table, row: &Row, decisive: bool) -> Result<Option<bool>, Refusal> {
    let mut unknown = false;
    for part in parts {
        match part.holds(table, row)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(!decisive) })
}

impl Test {
    fn holds(&self, table: &Table, row: &Row) -> Result<Option<bool>, Refusal> {
        let kind = self.column.kind(table)?;
        let held = self.column.of(row);
        if let Some(any) = self.quantifier {
            let fail = || Refusal::parse("filter", &self.value, 1);
            let mut truths = Vec::new();
            for value in list(&self.value).ok_or_else(fail)? {
                truths.push(self.one(kind, &held, &value)?);
            }
            if truths.contains(&Some(any)) {
                return Ok(Some(any));
            }
            return Ok(if truths.contains(&None) { None } else { Some(!any) });
        }
        self.one(kind, &held, &self.value)
    }

    fn one(&self, kind: Type, held: &Value, value: &str) -> Result<Option<bool>, Refusal> {
        let ordered = |fits: fn(Ordering) -> bool| -> Result<Option<bool>, Refusal> {
            Ok(compare(held, &kind.read(value)?).map(fits))
        };
        match self.operator.as_str() {
            "eq" => ordered(Ordering::is_eq),
            "neq" => ordered(Ordering::is_ne),
            "gt" => ordered(Ordering::is_gt),
            "gte" => ordered(Ordering::is_ge),
            "lt" => ordered(Ordering::is_lt),
            "lte" => ordered(Ordering::is_le),
            "isdistinct" => Ok(Some(held != &kind.read(value)?)),
            "like" => Ok(held.as_str().map(|text| like(&text.chars().collect::<Vec<_>>(), value))),
            "ilike" => Ok(held
                .as_str()
                .map(|text| like(&text.to_lowercase().chars().collect::<Vec<_>>(), &value.to_lowercase()))),
            "is" => match value.to_ascii_lowercase().as_str() {
                "null" => Ok(Some(held.is_null())),
                "not_null" => Ok(Some(!held.is_null())),
                "true" => Ok(Some(held == &Value::Bool(true))),
                "false" => Ok(Some(held == &Value::Bool(false))),
                "unknown" => Ok(Some(held.is_null())),
                _ => Err(Refusal::parse("filter", &format!("is.{value}"), 4)),
            },
            "in" => {
                let fail = || Refusal::parse("filter", &format!("in.{value}"), 4);
                let inner =
                    value.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(fail)?;
                let wanted = if inner.is_empty() { Vec::new() } else { items(inner) };
                let wanted = wanted.iter().map(|item| kind.read(item)).collect::<Result<Vec<_>, _>>()?;
                Ok((!held.is_null())
                    .then(|| wanted.iter().any(|wanted| compare(held, wanted) == Some(Ordering::Equal))))
            }
            "cs" => Ok((!held.is_null()).then(|| contains(held, &set(kind, value)))),
            "cd" => Ok((!held.is_null()).then(|| contains(&set(kind, value), held))),
            _ => Ok((!held.is_null()).then(|| {
                let other = set(kind, value);
                let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
                items(held).iter().any(|item| items(&other).contains(item))
            })),
        }
    }
}

/// A filter's text as a set: an array literal or JSON.
fn set(kind: Type, text: &str) -> Value {
    match kind {
        Type::TextArray => list(text).unwrap_or_default().into(),
        _ => serde_json::from_str(text).unwrap_or_default(),
    }
}

/// Whether `whole` has everything that `part` has, as jsonb's `@>`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| contains(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

/// SQL's LIKE, where `*` may stand for `%`.
fn like(text: &[char], pattern: &str) -> bool {
    fn matches(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%' | '*', rest @ ..] => {
                (0..=text.len()).any(|skip| matches(text.get(skip..).unwrap_or_default(), rest))
            }
            ['\\', letter, rest @ ..] => {
                text.first() == Some(letter) && matches(text.get(1..).unwrap_or_default(), rest)
            }
            ['_', rest @ ..] => !text.is_empty() && matches(text.get(1..).unwrap_or_default(), rest),
            [letter, rest @ ..] => {
                text.first() == Some(letter) && matches(text.get(1..).unwrap_or_default(), rest)
            }
        }
    }
    matches(text, &pattern.chars().collect::<Vec<_>>())
}

/// Splits at commas that are outside quotes, parentheses and braces.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut pieces, mut piece, mut depth, mut quoted) = (Vec::new(), String::new(), 0_i32, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted => {
                piece.push(letter);
                piece.extend(letters.next());
                continue;
            }
            '"' => quoted = !quoted,
            '(' | '{' if !quoted => depth += 1,
            ')' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            _ => {}
        }
        piece.push(letter);
    }
    pieces.push(piece);
    pieces
}

/// The values of a list, unquoted.
pub(super) fn items(text: &str) -> Vec<String> {
    split(text).iter().map(|item| unquoted(item)).collect()
}

/// `"a\"b"` as `a"b`; anything else as it is.
pub(super) fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut letters = inner.chars();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::supabase::schema::Database;

    fn table() -> Result<Table, String> {
        let mut database = Database::default();
        database.define(
            "t",
            &json!({ "columns": { "n": "bigint", "s": "text", "b": "boolean", "m": "jsonb", "a": "text[]" }, "primary_key": [] }),
        )?;
        database.table("t").cloned().ok_or_else(|| "no table".to_owned())
    }

    #[test]
    fn filters_know_three_truths() -> Result<(), String> {
        let table = table()?;
        let row = json!({ "n": 5, "s": "a,b", "b": null, "m": { "k": [1, 2], "w": "v" }, "a": ["x", "y"] });
        let row = row.as_object().cloned().unwrap_or_default();
        for (column, text, truth) in [
            ("n", "eq.5", Some(true)),
            ("n", "not.eq.5", Some(false)),
            ("n", "gt.10", Some(false)),
            ("n", "in.(1,5)", Some(true)),
            ("n", "in.()", Some(false)),
            ("n", "eq(any).{4,5}", Some(true)),
            ("s", r#"in.(z,"a,b")"#, Some(true)),
            ("s", "like.a*", Some(true)),
            ("s", "ilike.%B", Some(true)),
            ("s", "like._,_", Some(true)),
            ("s", "like(all).{a%,%z}", Some(false)),
            ("b", "eq.true", None),
            ("b", "not.eq.true", None),
            ("b", "is.null", Some(true)),
            ("b", "not.is.null", Some(false)),
            ("b", "is.true", Some(false)),
            ("m->>w", "eq.v", Some(true)),
            ("m->k->>0", "eq.1", Some(true)),
            ("m", r#"cs.{"k":[2]}"#, Some(true)),
            ("a", "cs.{x}", Some(true)),
            ("a", "cd.{x}", Some(false)),
            ("a", "ov.{q,y}", Some(true)),
        ] {
            let filter = Filter::of_column(column, text).map_err(|refusal| refusal.message)?;
            assert_eq!(filter.holds(&table, &row).ok(), Some(truth), "{column}={text}");
        }
        for (key, text, truth) in [
            ("or", "(n.eq.1,s.eq.\"a,b\")", Some(true)),
            ("and", "(n.eq.5,b.is.true)", Some(false)),
            ("or", "(n.eq.1,b.eq.true)", None),
            ("not.or", "(n.eq.1,and(n.gt.1,n.lt.9))", Some(false)),
            ("or", "(n.in.(1,2),not.and(n.eq.5,s.eq.q))", Some(true)),
        ] {
            let filter = Filter::of_tree(key, text).map_err(|refusal| refusal.message)?;
            assert_eq!(filter.holds(&table, &row).ok(), Some(truth), "{key}={text}");
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_pgrst100_and_what_is_not_there_42703() -> Result<(), String> {
        let table = table()?;
        for text in ["5", "equals.5", "fts.x", "in.1,2", "is.maybe"] {
            let code = match Filter::of_column("n", text) {
                Err(refusal) => refusal.code,
                Ok(filter) => filter.check(&table).err().map(|refusal| refusal.code).unwrap_or_default(),
            };
            assert_eq!(code, "PGRST100", "{text}");
        }
        let filter = Filter::of_column("zz", "eq.1").map_err(|refusal| refusal.message)?;
        assert_eq!(filter.check(&table).err().map(|refusal| refusal.code), Some("42703".to_owned()));
        let filter = Filter::of_column("n", "eq.x").map_err(|refusal| refusal.message)?;
        assert_eq!(filter.check(&table).err().map(|refusal| refusal.code), Some("22P02".to_owned()));
        Ok(())
    }
}
