//! Conditions as YAML writes them, turned into PostgREST's query (`facts/hikcentral_hikpartner_supabase.md` C2). The
//! host percent-encodes the values; what is done here is PostgREST's own quoting inside lists and groups.

use bascule_sdk::{Error, json};
use serde_json::{Map, Value};

/// PostgREST's operators; each may have `not.` before it, and the first five after the dash `(any)` or `(all)` behind.
const OPERATORS: [&str; 26] = [
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "like",
    "ilike",
    "match",
    "imatch",
    "is",
    "isdistinct",
    "in",
    "cs",
    "cd",
    "ov",
    "sl",
    "sr",
    "nxr",
    "nxl",
    "adj",
    "fts",
    "plfts",
    "phfts",
    "wfts",
    "not",
];

/// Parameters that PostgREST reads as something else than a column.
const RESERVED: [&str; 6] = ["select", "order", "limit", "offset", "columns", "on_conflict"];

/// Keys that hold a group of maps instead of a condition.
const GROUPS: [&str; 4] = ["not.or", "not.and", "or", "and"];

/// How deep groups may stand in groups.
const MAX_DEPTH: u32 = 16;

/// The query parameters of `where` and `any-of`, in order.
pub(crate) fn query(where_: Option<&str>, any_of: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    let mut query = Vec::new();
    if let Some(text) = where_ {
        for (column, condition) in map(text, "where")? {
            if RESERVED.contains(&column.as_str()) {
                return Err(Error::invalid_input(format!(
                    "a column called `{column}` cannot be named in `where`; write `any-of: [{{ {column}: .. }}]`"
                )));
            }
            if group_of(&column).is_some() {
                let text = group(&column, &condition, 0)?;
                query.push((column, text));
                continue;
            }
            for condition in conditions(&column, &condition)? {
                query.push((column.clone(), condition.plain()));
            }
        }
    }
    let alternatives: Option<Value> = any_of.map(|text| json::parse(text, "any-of")).transpose()?;
    if let Some(alternatives) = alternatives.filter(|value| !value.is_null()) {
        query.push(("or".into(), group("any-of", &alternatives, 0)?));
    }
    Ok(query)
}

/// The word of a key that holds a group: `or` of `or` and of `biometrics.or`.
fn group_of(key: &str) -> Option<&'static str> {
    GROUPS.into_iter().find(|word| {
        key.strip_suffix(word)
            .is_some_and(|before| before.is_empty() || before.ends_with('.') && before.len() > 1)
    })
}

/// `(..,..)`: the maps of a group.
fn group(key: &str, value: &Value, depth: u32) -> Result<String, Error> {
    let wrong = |why: &str| Error::invalid_input(format!("`{key}` {why}"));
    if depth >= MAX_DEPTH {
        return Err(wrong("stands in too many other groups"));
    }
    let Some(members) = value.as_array() else {
        return Err(wrong("is no list of maps such as `[{ a: eq.1 }, { b: gt.2 }]`"));
    };
    let mut groups = Vec::new();
    for member in members {
        let member = member.as_object().ok_or_else(|| wrong("has something else than maps in it"))?;
        let mut parts = Vec::new();
        for (column, condition) in member {
            if GROUPS.contains(&column.as_str()) {
                parts.push(format!("{column}{}", group(column, condition, depth + 1)?));
                continue;
            }
            for condition in conditions(column, condition)? {
                parts.push(format!("{}.{}", column_in_group(column), condition.grouped(column)?));
            }
        }
        match parts.as_slice() {
            [] => return Err(wrong("has a map without conditions in it")),
            [one] => groups.push(one.clone()),
            several => groups.push(format!("and({})", several.join(","))),
        }
    }
    if groups.is_empty() {
        return Err(wrong("is an empty list"));
    }
    Ok(format!("({})", groups.join(",")))
}

/// As `query`, for writes: no condition at all would mean every row.
pub(crate) fn query_for_writing(where_: &str) -> Result<Vec<(String, String)>, Error> {
    let query = query(Some(where_), None)?;
    if query.is_empty() {
        return Err(Error::invalid_input("`where` is empty, which would mean every row of the table"));
    }
    Ok(query)
}

fn map(text: &str, parameter: &str) -> Result<Map<String, Value>, Error> {
    // `where: null` and no `where` are the same.
    Ok(json::parse::<Option<Map<String, Value>>>(text, parameter)?.unwrap_or_default())
}

enum Condition {
    /// PostgREST's own text, `op.value`.
    Text(String),
    /// `op` and an unquoted value.
    One(String, String),
    /// `op` and unquoted values of a list; the flag says braces (arrays) or parentheses (`in`).
    Many(String, Vec<String>, Brackets),
}

#[derive(Clone, Copy)]
enum Brackets {
    Round,
    Curly,
}

impl Condition {
    /// As the value of a query parameter of its own: the text after the operator is taken whole.
    fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::One(operator, value) => format!("{operator}.{value}"),
            Self::Many(operator, values, brackets) => format!("{operator}.{}", enclose(values, *brackets)),
        }
    }

    /// Inside `or=(..)`, where commas, dots and parentheses mean something: nothing that a value holds may end it.
    fn grouped(&self, column: &str) -> Result<String, Error> {
        match self {
            Self::Text(text) => grouped_text(column, text),
            Self::One(operator, value) if operator.trim_start_matches("not.") == "is" => {
                grouped_text(column, &format!("{operator}.{value}"))
            }
            Self::One(operator, value) => Ok(format!("{operator}.{}", value_in_group(value))),
            Self::Many(operator, values, brackets @ Brackets::Round) => {
                Ok(format!("{operator}.{}", enclose(values, *brackets)))
            }
            Self::Many(operator, values, brackets @ Brackets::Curly) => {
                Ok(format!("{operator}.{}", value_in_group(&enclose(values, *brackets))))
            }
        }
    }
}

/// PostgREST's own text inside a group. The value may have been filled in from outside, so it stays one value: `in`
/// must be one closed list, `is` one word, and everything else is quoted unless it is plain or quoted already.
fn grouped_text(column: &str, text: &str) -> Result<String, Error> {
    let (not, rest) = text.strip_prefix("not.").map_or(("", text), |rest| ("not.", rest));
    let (operator, value) = rest.split_once('.').unwrap_or((rest, ""));
    let value = match operator {
        "in" if is_one_list(value) => value.to_owned(),
        "is" if value.chars().all(|c| c.is_ascii_alphabetic() || c == '_') => value.to_owned(),
        "in" | "is" => {
            return Err(Error::invalid_input(format!(
                "the condition on `{column}`: what follows `{operator}.` is not one {}",
                if operator == "in" { "list in parentheses" } else { "word such as `null`" }
            )));
        }
        _ if is_one_quoted(value) => value.to_owned(),
        _ => value_in_group(value),
    };
    Ok(format!("{not}{operator}.{value}"))
}

/// `(..)` that closes with its last character; parentheses inside quotes do not count.
fn is_one_list(value: &str) -> bool {
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return index + 1 == value.len();
                }
            }
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// `".."` whose closing quote is its last character.
fn is_one_quoted(value: &str) -> bool {
    let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut escaped = false;
    for c in inside.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !escaped
}

fn conditions(column: &str, value: &Value) -> Result<Vec<Condition>, Error> {
    if column.trim().is_empty() {
        return Err(Error::invalid_input("a condition has no column"));
    }
    match value {
        Value::String(text) => {
            check_operator(column, text)?;
            Ok(vec![Condition::Text(text.clone())])
        }
        Value::Array(several) if several.is_empty() => {
            Err(Error::invalid_input(format!("the condition on `{column}` is an empty list")))
        }
        Value::Array(several) => {
            let mut all = Vec::new();
            for one in several {
                if one.is_array() {
                    return Err(wrong(column, one));
                }
                all.extend(conditions(column, one)?);
            }
            Ok(all)
        }
        Value::Object(operators) if !operators.is_empty() => {
            operators.iter().map(|(operator, value)| structured(column, operator, value)).collect()
        }
        other => Err(wrong(column, other)),
    }
}

fn structured(column: &str, operator: &str, value: &Value) -> Result<Condition, Error> {
    check_operator(column, &format!("{operator}."))?;
    let base = operator.strip_prefix("not.").unwrap_or(operator);
    match value {
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(json::as_text).collect();
            let texts = texts.ok_or_else(|| wrong(column, value))?;
            match base {
                "in" => Ok(Condition::Many(operator.into(), texts, Brackets::Round)),
                _ if base.ends_with("(any)")
                    || base.ends_with("(all)")
                    || matches!(base, "cs" | "cd" | "ov") =>
                {
                    Ok(Condition::Many(operator.into(), texts, Brackets::Curly))
                }
                _ => Err(Error::invalid_input(format!(
                    "the condition on `{column}`: `{operator}` takes no list"
                ))),
            }
        }
        Value::Null if base == "is" => Ok(Condition::One(operator.into(), "null".into())),
        _ if base == "in" => {
            Err(Error::invalid_input(format!("the condition on `{column}`: `in` takes a list")))
        }
        // A JSON value for a JSON column.
        Value::Object(_) if matches!(base, "cs" | "cd") => {
            Ok(Condition::One(operator.into(), value.to_string()))
        }
        _ => match json::as_text(value) {
            Some(text) => Ok(Condition::One(operator.into(), text)),
            None => Err(wrong(column, value)),
        },
    }
}

fn check_operator(column: &str, text: &str) -> Result<(), Error> {
    let text = text.strip_prefix("not.").unwrap_or(text);
    let operator = text.split_once('.').map_or("", |(operator, _)| operator);
    // `like(any)`, and full-text search with its language, `fts(english)`.
    let base = operator.split_once('(').map_or(operator, |(base, _)| base);
    let closed = operator.contains('(') == operator.ends_with(')');
    if base != "not" && closed && OPERATORS.contains(&base) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "the condition on `{column}` does not begin with an operator of PostgREST; write e.g. `eq.{text}`"
    )))
}

fn wrong(column: &str, value: &Value) -> Error {
    let help = json::as_text(value).map_or_else(String::new, |text| format!("; write `eq.{text}`"));
    Error::invalid_input(format!(
        "the condition on `{column}` is neither a text such as `eq.5` nor a map such as `{{ in: [1, 2] }}`{help}"
    ))
}

fn column_in_group(column: &str) -> String {
    let plain = column.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '>'));
    if plain { column.to_owned() } else { quote_always(column) }
}

/// PostgreSQL's array literal.
pub(crate) fn array(values: &[String]) -> String {
    enclose(values, Brackets::Curly)
}

fn enclose(values: &[String], brackets: Brackets) -> String {
    let inside = values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(",");
    match brackets {
        Brackets::Round => format!("({inside})"),
        Brackets::Curly => format!("{{{inside}}}"),
    }
}

/// `{..}` without braces inside is one value in a group as it stands; anything else is quoted where it has to be.
fn value_in_group(value: &str) -> String {
    let inside = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let flat = inside.is_some_and(|inside| {
        !inside.contains(['{', '}']) && inside.replace("\\\"", "").matches('"').count() % 2 == 0
    });
    if flat { value.to_owned() } else { quote(value) }
}

/// Quotes a value where PostgREST would take a part of it for something else.
fn quote(value: &str) -> String {
    let plain = !value.is_empty()
        && !value.eq_ignore_ascii_case("null")
        && value.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '+' | '*' | '%' | '/'));
    if plain { value.to_owned() } else { quote_always(value) }
}

fn quote_always(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
