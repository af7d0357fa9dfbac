//! Reading rows through PostgREST (`facts/hikcentral_hikpartner_supabase.md` C2), and what reading and writing share.

use bascule_sdk::{Error, ErrorKind, Method, Peer, Request, Response, encode_segment, json, log};
use serde_json::{Map, Value};

use crate::bindings::exports::bascule::supabase::tables::Counting;
use crate::{conditions, refusal};

/// What hosted projects give at most at once.
const PAGE_ROWS: u64 = 1000;
/// Where a server's cap was raised; the connection's `max-response` is the bound that counts.
const MAX_PAGE_ROWS: u64 = 10_000;
/// Nobody reads a table of this many rows through a plugin.
const MAX_ROWS: u64 = 10_000_000;

/// Which rows are read, and what of them.
#[derive(Default)]
pub(crate) struct Query<'a> {
    /// A table or view; with `args` a function.
    pub(crate) table: &'a str,
    /// The arguments of a function whose rows are read.
    pub(crate) args: Option<Map<String, Value>>,
    pub(crate) columns: Option<String>,
    pub(crate) where_: Option<String>,
    pub(crate) any_of: Option<String>,
    pub(crate) embeds: Option<String>,
    pub(crate) schema: Option<String>,
}

impl Query<'_> {
    fn request(&self, method: Method) -> Result<Request, Error> {
        let mut request = match &self.args {
            None => table_request(method, self.table)?,
            Some(args) => {
                let mut request = function_request(method, self.table)?;
                for (name, value) in args {
                    request = request.query(name, argument(name, value)?);
                }
                request
            }
        };
        request = request.query("select", columns(self.columns.as_deref()));
        for (name, value) in conditions::query(self.where_.as_deref(), self.any_of.as_deref())? {
            if self.args.as_ref().is_some_and(|args| args.contains_key(&name)) {
                return Err(Error::invalid_input(format!(
                    "`{name}` is an argument of `{}` and cannot be a condition too",
                    self.table
                )));
            }
            request = request.query(name, value);
        }
        if let Some(embeds) = self.embeds.as_deref() {
            request = embedded(request, embeds)?;
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
    let base = query.request(Method::Get)?;
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
    let request = query.request(Method::Get)?.header("Accept", "application/vnd.pgrst.object+json");
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

/// The one row that fits, or null. Counted here, as the official client does: two rows are asked for at most.
pub(crate) fn maybe_one(database: &dyn Peer, query: &Query<'_>) -> Result<String, Error> {
    let request = query.request(Method::Get)?.query("limit", "2");
    let line = request.line();
    let response = database.send(request)?;
    let Value::Array(rows) = answer(&response, &line)? else {
        return Err(Error::protocol(format!("the server's answer to `{line}` is not a list of rows")));
    };
    match rows.as_slice() {
        [] => Ok("null".into()),
        [row] => Ok(row.to_string()),
        _ => {
            Err(Error::conflict(format!("several rows in `{}` where at most one was expected", query.table)))
        }
    }
}

/// How many rows fit.
pub(crate) fn count(database: &dyn Peer, query: &Query<'_>, counting: Counting) -> Result<u64, Error> {
    let word = match counting {
        Counting::Exact => "count=exact",
        Counting::Planned => "count=planned",
        Counting::Estimated => "count=estimated",
    };
    let line = query.request(Method::Head)?.line();
    let response = database.send(query.request(Method::Head)?.header("Prefer", word))?;
    if !response.is_success() {
        // HEAD has no body, so the words are fetched with a request that has one.
        let request = query.request(Method::Get)?.query("limit", "1");
        let line = request.line();
        let response = database.send(request)?;
        answer(&response, &line)?;
    }
    total(&response)
        .filter(|_| response.is_success())
        .ok_or_else(|| Error::protocol(format!("the server answered `{line}` without a count")))
}

/// N of "The result contains N rows" (older: "Results contain N rows, ..").
fn rows_in(response: &Response) -> Option<u64> {
    let body: Value = response.json().ok()?;
    let details = json::field(&body, "details")?.as_str()?.to_owned();
    details.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}

pub(crate) fn answer(response: &Response, line: &str) -> Result<Value, Error> {
    if !response.is_success() {
        return Err(refusal::of_table(response, line));
    }
    if response.body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    response.json()
}

/// N of `Content-Range: 0-9/N`.
pub(crate) fn total(response: &Response) -> Option<u64> {
    response.header("content-range")?.rsplit_once('/')?.1.trim().parse().ok()
}

pub(crate) fn table_request(method: Method, table: &str) -> Result<Request, Error> {
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

pub(crate) fn function_request(method: Method, function: &str) -> Result<Request, Error> {
    if function.trim().is_empty() {
        return Err(Error::invalid_input("`function` is empty"));
    }
    Ok(Request::new(method, format!("/rest/v1/rpc/{}", encode_segment(function))))
}

/// An argument of a function in a query: lists are PostgreSQL's arrays, `{1,"a b"}`.
fn argument(name: &str, value: &Value) -> Result<String, Error> {
    let wrong = || {
        Error::invalid_input(format!(
            "the argument `{name}` is neither a text, a number, a truth nor a list of them; null is said by leaving it out"
        ))
    };
    match value {
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(json::as_text).collect();
            Ok(conditions::array(&texts.ok_or_else(wrong)?))
        }
        Value::Object(_) => Ok(value.to_string()),
        other => json::as_text(other).ok_or_else(wrong),
    }
}

/// `logs.order=at.desc`, `logs.limit=1`.
fn embedded(mut request: Request, embeds: &str) -> Result<Request, Error> {
    let embeds: Option<Map<String, Value>> = json::parse(embeds, "embeds")?;
    for (path, wishes) in embeds.unwrap_or_default() {
        let Some(wishes) = wishes.as_object().filter(|_| !path.trim().is_empty()) else {
            return Err(Error::invalid_input(format!(
                "`embeds` says for `{path}` something else than a map such as `{{ order: at.desc, limit: 1 }}`"
            )));
        };
        for (wish, value) in wishes {
            let value = match wish.as_str() {
                "order" => value.as_str().map(order),
                "limit" | "offset" => value.as_u64().map(|number| number.to_string()),
                _ => None,
            };
            let value = value.ok_or_else(|| {
                Error::invalid_input(format!(
                    "`embeds` says `{wish}` for `{path}`; `order` (a text), `limit` and `offset` (numbers) can be said"
                ))
            })?;
            request = request.query(format!("{path}.{wish}"), value);
        }
    }
    Ok(request)
}

pub(crate) fn in_schema(request: Request, schema: Option<&str>) -> Request {
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
pub(crate) fn without_blanks(text: &str) -> String {
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
