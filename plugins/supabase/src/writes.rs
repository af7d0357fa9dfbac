//! Changing rows through PostgREST (`facts/hikcentral_hikpartner_supabase.md` C2). A change or deletion without a condition
//! cannot be expressed.

use bascule_sdk::{Effect, Error, Method, Peer, Request, Response, json, log};
use serde_json::{Map, Value};

use crate::bindings::exports::bascule::supabase::tables::{Missing, Written};
use crate::conditions;
use crate::tables::{answer, function_request, in_schema, table_request, total, without_blanks};

/// A list of exactly so many rows from a function looks like one that the server cut.
const SERVERS_LIMIT: usize = 1000;

/// Where a write goes.
pub(crate) struct Target<'a> {
    pub(crate) table: &'a str,
    pub(crate) returning: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) max_affected: Option<u32>,
    /// What a row of a list lacks gets this; the column's default unless told.
    pub(crate) missing: Option<Missing>,
}

impl Target<'_> {
    fn preferences(&self, resolution: Option<&'static str>) -> Vec<&'static str> {
        let missing = (self.missing != Some(Missing::Nulls)).then_some("missing=default");
        resolution.into_iter().chain(missing).collect()
    }
}

/// What becomes of rows that exist already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Change,
    Keep,
}

pub(crate) fn insert(database: &dyn Peer, target: &Target<'_>, rows: &str) -> Result<Written, Error> {
    let Some(request) = rows_request(target, rows)? else {
        return Ok(nothing());
    };
    write(database, target, request, &target.preferences(None))
}

pub(crate) fn upsert(
    database: &dyn Peer,
    target: &Target<'_>,
    rows: &str,
    on_conflict: Option<&str>,
    existing: Existing,
) -> Result<Written, Error> {
    let Some(mut request) = rows_request(target, rows)? else {
        return Ok(nothing());
    };
    if let Some(on_conflict) = on_conflict {
        request = request.query("on_conflict", without_blanks(on_conflict));
    }
    let resolution = match existing {
        Existing::Change => "resolution=merge-duplicates",
        Existing::Keep => "resolution=ignore-duplicates",
    };
    write(database, target, request, &target.preferences(Some(resolution)))
}

pub(crate) fn update(
    database: &dyn Peer,
    target: &Target<'_>,
    where_: &str,
    values: &str,
) -> Result<Written, Error> {
    let values: Map<String, Value> = json::parse(values, "values")?;
    if values.is_empty() {
        return Err(Error::invalid_input("`values` is empty: there is nothing to change"));
    }
    let mut request = table_request(Method::Patch, target.table)?.json(&Value::Object(values));
    for (name, value) in conditions::query_for_writing(where_)? {
        request = request.query(name, value);
    }
    write(database, target, request, &[])
}

pub(crate) fn delete(database: &dyn Peer, target: &Target<'_>, where_: &str) -> Result<Written, Error> {
    let mut request = table_request(Method::Delete, target.table)?;
    for (name, value) in conditions::query_for_writing(where_)? {
        request = request.query(name, value);
    }
    write(database, target, request, &[])
}

pub(crate) fn rpc(
    database: &dyn Peer,
    function: &str,
    args: Option<&str>,
    schema: Option<&str>,
) -> Result<String, Error> {
    let args: Option<Map<String, Value>> = args.map(|args| json::parse(args, "args")).transpose()?;
    let request = function_request(Method::Post, function)?.json(&Value::Object(args.unwrap_or_default()));
    let request = in_schema(request, schema);
    let line = request.line();
    let response = database.send(request)?;
    let value = answer(&response, &line).map_err(|error| unsettled(error, &response))?;
    if value.as_array().is_some_and(|rows| rows.len() == SERVERS_LIMIT) {
        log::warn(&format!(
            "`{function}` gave exactly {SERVERS_LIMIT} rows, where servers cut as a rule; `rows-of` reads them all"
        ));
    }
    Ok(value.to_string())
}

fn rows_request(target: &Target<'_>, rows: &str) -> Result<Option<Request>, Error> {
    let request = table_request(Method::Post, target.table)?;
    let value: Value = json::parse(rows, "rows")?;
    match &value {
        Value::Object(_) => Ok(Some(request.json(&value))),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Array(list) => {
            // PostgREST takes the columns of a list from its first row unless they are named.
            let mut names: Vec<&String> = Vec::new();
            for row in list {
                let row = row
                    .as_object()
                    .ok_or_else(|| Error::invalid_input("`rows` is a list of something else than maps"))?;
                names.extend(row.keys());
            }
            names.sort();
            names.dedup();
            let names: Vec<String> =
                names.into_iter().map(|name| format!("\"{}\"", name.replace('"', "\\\""))).collect();
            Ok(Some(request.query("columns", names.join(",")).json(&value)))
        }
        _ => Err(Error::invalid_input("`rows` is neither a map nor a list of maps")),
    }
}

fn write(
    database: &dyn Peer,
    target: &Target<'_>,
    request: Request,
    preferences: &[&str],
) -> Result<Written, Error> {
    let mut preferences: Vec<String> = preferences.iter().map(|&preference| preference.to_owned()).collect();
    let mut request = in_schema(request, target.schema.as_deref());
    match target.returning.as_deref() {
        Some(returning) => {
            request = request.query("select", without_blanks(returning));
            preferences.push("return=representation".into());
        }
        None => preferences.push("return=minimal".into()),
    }
    preferences.push("count=exact".into());
    if let Some(most) = target.max_affected {
        preferences.push(format!("max-affected={most}"));
        preferences.push("handling=strict".into());
    }
    let request = request.header("Prefer", preferences.join(", "));
    let line = request.line();
    let response = database.send(request)?;
    let rows = answer(&response, &line).map_err(|error| unsettled(error, &response))?;
    let count = total(&response).or_else(|| rows.as_array().map(|rows| rows.len() as u64));
    let rows = if rows.is_null() { "[]".into() } else { rows.to_string() };
    Ok(Written { count, rows })
}

fn nothing() -> Written {
    Written { count: Some(0), rows: "[]".into() }
}

/// A success whose body cannot be read: the change was made all the same.
fn unsettled(error: Error, response: &Response) -> Error {
    if response.is_success() { error.effect(Effect::Applied) } else { error }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
