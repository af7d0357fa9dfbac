//! Rows through PostgREST (`facts/hikcentral_hikpartner_supabase.md` C2).

use bascule_sdk::{Effect, Error, ErrorKind, Method, Peer, Request, Response, encode_segment, json, log};
use serde_json::{Map, Value};

use crate::bindings::exports::bascule::supabase::tables::Written;
use crate::{conditions, refusal};

/// What hosted projects give at most at once.
const PAGE_ROWS: u64 = 1000;
/// Where a server's cap was raised; the connection's `max-response` is the bound that counts.
const MAX_PAGE_ROWS: u64 = 10_000;
/// Nobody reads a table of this many rows through a plugin.
const MAX_ROWS: u64 = 10_000_000;

/// Which rows are read, and what of them.
pub(crate) struct Query<'a> {
    pub(crate) table: &'a str,
    pub(crate) columns: Option<String>,
    pub(crate) where_: Option<String>,
    pub(crate) any_of: Option<String>,
    pub(crate) schema: Option<String>,
}

impl Query<'_> {
    fn request(&self) -> Result<Request, Error> {
        let mut request =
            table_request(Method::Get, self.table)?.query("select", columns(self.columns.as_deref()));
        for (name, value) in conditions::query(self.where_.as_deref(), self.any_of.as_deref())? {
            request = request.query(name, value);
        }
        Ok(in_schema(request, self.schema.as_deref()))
    }
}

/// How many rows are read, and in what order.
#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) order: Option<String>,
    pub(crate) limit: Option<u32>,
    pub(crate) page_size: Option<u32>,
}

/// Every row that fits.
///
/// The first page is asked for with a count, so that a server whose own cap is below our page is noticed; after that
/// the position moves by what was received. More than one page needs an order in which no two rows are equal.
pub(crate) fn select(database: &dyn Peer, query: &Query<'_>, pages: &Pages) -> Result<String, Error> {
    if pages.limit == Some(0) {
        return Ok("[]".into());
    }
    let base = query.request()?;
    let given = pages.order.as_deref().map(order);
    let first = read_page(database, &base, given.as_deref(), 0, pages)?;
    if first.is_last {
        return Ok(format!("[{}]", first.rows.join(",")));
    }
    let sorted = match given.as_deref() {
        // The first page is in that order already.
        Some(order) if names_id(order) => return read_all(database, &base, order, pages, Some(first)),
        Some(order) => format!("{order},id.asc"),
        None => "id.asc".into(),
    };
    match read_all(database, &base, &sorted, pages, None) {
        Err(error) if error.code.as_deref() == Some("supabase:42703") => match given {
            // No column `id`: the order that was asked for has to do.
            Some(order) => read_all(database, &base, &order, pages, Some(first)),
            None => Err(Error::invalid_input(format!(
                "`{}` has more rows than the server gives at once and no column `id` to sort them by; say `order:` with columns that tell any two rows apart",
                query.table
            ))),
        },
        other => other,
    }
}

struct RowsPage {
    rows: Vec<String>,
    is_last: bool,
}

/// Page after page in that order; `first` is the first one where it has been read already.
fn read_all(
    database: &dyn Peer,
    base: &Request,
    order: &str,
    pages: &Pages,
    mut first: Option<RowsPage>,
) -> Result<String, Error> {
    let mut all = String::from("[");
    let mut received = 0_u64;
    let mut previous: Option<String> = None;
    loop {
        let page = match first.take() {
            Some(page) => page,
            None => read_page(database, base, Some(order), received, pages)?,
        };
        let text = page.rows.join(",");
        if !page.rows.is_empty() && previous.as_deref() == Some(text.as_str()) {
            return Err(Error::protocol("the server sends the same page of rows again and again"));
        }
        if !page.rows.is_empty() {
            if received > 0 {
                all.push(',');
            }
            all.push_str(&text);
        }
        received += page.rows.len() as u64;
        if page.is_last {
            all.push(']');
            return Ok(all);
        }
        if received > MAX_ROWS {
            return Err(Error::invalid_input("there are more than 10 million rows; narrow the conditions"));
        }
        log::progress(received, pages.limit.map(u64::from), "rows");
        previous = Some(text);
    }
}

fn read_page(
    database: &dyn Peer,
    base: &Request,
    order: Option<&str>,
    offset: u64,
    pages: &Pages,
) -> Result<RowsPage, Error> {
    let size = pages.page_size.map_or(PAGE_ROWS, u64::from).clamp(1, MAX_PAGE_ROWS);
    let left = pages.limit.map_or(u64::MAX, |limit| u64::from(limit).saturating_sub(offset));
    let asked = size.min(left);
    let mut request = base.clone();
    if let Some(order) = order {
        request = request.query("order", order);
    }
    request = request.query("limit", asked.to_string()).query("offset", offset.to_string());
    if pages.limit.is_none() {
        request = request.header("Prefer", "count=exact");
    }
    let line = request.line();
    let response = database.send(request)?;
    // The rows ended meanwhile, exactly at a page's end.
    if response.status == 416 && offset > 0 {
        return Ok(RowsPage { rows: Vec::new(), is_last: true });
    }
    let Value::Array(rows) = answer(&response, &line)? else {
        return Err(Error::protocol(format!("the server's answer to `{line}` is not a list of rows")));
    };
    let received = rows.len() as u64;
    let is_last = match total(&response) {
        _ if received == 0 || received >= left => true,
        Some(total) => offset + received >= total,
        // Nobody says how many there are. A full page promises more; a short one may be the server's own cap, so only
        // an empty one is the end.
        None => false,
    };
    Ok(RowsPage { rows: rows.into_iter().map(|row| row.to_string()).collect(), is_last })
}

/// The one row that fits.
pub(crate) fn one(database: &dyn Peer, query: &Query<'_>) -> Result<String, Error> {
    let request = query.request()?.header("Accept", "application/vnd.pgrst.object+json");
    let line = request.line();
    let response = database.send(request)?;
    if response.status == 406 {
        let mut error = refusal::of_table(&response, &line);
        if error.code.as_deref() == Some("supabase:PGRST116") {
            let several = rows_in(&response).is_some_and(|rows| rows > 1);
            error.kind = if several { ErrorKind::Conflict } else { ErrorKind::NotFound };
            let found = if several { "several rows" } else { "no row" };
            error.message = format!("{found} in `{}` where one was expected", query.table);
        }
        return Err(error);
    }
    match answer(&response, &line)? {
        row @ Value::Object(_) => Ok(row.to_string()),
        _ => Err(Error::protocol(format!("the server's answer to `{line}` is not one row"))),
    }
}

/// N of "The result contains N rows" (older: "Results contain N rows, ..").
fn rows_in(response: &Response) -> Option<u64> {
    let body: Value = response.json().ok()?;
    let details = json::field(&body, "details")?.as_str()?.to_owned();
    details.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}

/// Where a write goes.
pub(crate) struct Target<'a> {
    pub(crate) table: &'a str,
    pub(crate) returning: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) max_affected: Option<u32>,
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
    write(database, target, request, &["missing=default"])
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
    write(database, target, request, &[resolution, "missing=default"])
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
    if function.is_empty() {
        return Err(Error::invalid_input("`function` is empty"));
    }
    let args: Option<Map<String, Value>> = args.map(|args| json::parse(args, "args")).transpose()?;
    let request = Request::post(format!("/rest/v1/rpc/{}", encode_segment(function)))
        .json(&Value::Object(args.unwrap_or_default()));
    let request = in_schema(request, schema);
    let line = request.line();
    let response = database.send(request)?;
    let value = answer(&response, &line).map_err(|error| unsettled(error, &response))?;
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

fn answer(response: &Response, line: &str) -> Result<Value, Error> {
    if !response.is_success() {
        return Err(refusal::of_table(response, line));
    }
    if response.body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    response.json()
}

/// N of `Content-Range: 0-9/N`.
fn total(response: &Response) -> Option<u64> {
    response.header("content-range")?.rsplit_once('/')?.1.trim().parse().ok()
}

fn table_request(method: Method, table: &str) -> Result<Request, Error> {
    if table.trim().is_empty() {
        return Err(Error::invalid_input("`table` is empty"));
    }
    if table.contains('/') {
        return Err(Error::invalid_input(format!(
            "`{}` is no table; another schema is named in `schema`",
            table.escape_debug()
        )));
    }
    Ok(Request::new(method, format!("/rest/v1/{}", encode_segment(table))))
}

fn in_schema(request: Request, schema: Option<&str>) -> Request {
    match schema {
        Some(schema) if request.is_safe() => request.header("Accept-Profile", schema),
        Some(schema) => request.header("Content-Profile", schema),
        None => request,
    }
}

fn columns(columns: Option<&str>) -> String {
    columns.map_or_else(|| "*".into(), without_blanks)
}

fn order(order: &str) -> String {
    without_blanks(order)
}

fn names_id(order: &str) -> bool {
    order.split(',').any(|part| part == "id" || part.starts_with("id."))
}

/// PostgREST allows no blanks in lists of columns, people write them; those inside quotes stay.
fn without_blanks(text: &str) -> String {
    let mut quoted = false;
    text.chars()
        .filter(|&c| {
            if c == '"' {
                quoted = !quoted;
            }
            quoted || !c.is_whitespace()
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
