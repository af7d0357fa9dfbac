//! GET and HEAD of a table.

use std::sync::atomic::Ordering;

use super::Role;
use super::query::Query;
use super::refusal::Refusal;
use super::rest::{Call, Media, content_range};
use super::schema::Row;
use super::select;
use crate::wire::Answer;

pub(super) fn answer(call: &Call<'_>, table: &str, query: &Query) -> Result<Answer, Refusal> {
    let database = call.supabase.database();
    let rows = database.need(table)?.rows.clone();
    drop(database);
    page(call, table, rows, query)
}

/// The part of these rows of a table that the query asks for.
pub(super) fn page(call: &Call<'_>, table: &str, rows: Vec<Row>, query: &Query) -> Result<Answer, Refusal> {
    let database = call.supabase.database();
    let table = database.need(table)?;
    select::check(&database, table, &query.items, query, &[])?;
    let mut clauses = query.top();
    // `Range: 0-9` narrows what limit and offset say.
    if let Some((first, last)) = call.request.header("range").and_then(range) {
        clauses.offset += first;
        let most = last.map_or(usize::MAX, |last| (last + 1).saturating_sub(first));
        clauses.limit = Some(clauses.limit.map_or(most, |limit| limit.min(most)));
    }
    let seen = if call.role == Role::Service { rows } else { Vec::new() };
    let mut rows = Vec::new();
    for row in clauses.apply(table, seen)? {
        rows.extend(select::shape(&database, table, &row, &query.items, query, &[])?);
    }
    drop(database);
    let total = rows.len();
    if call.wishes.count && clauses.offset > total {
        let refusal = Refusal::new(416, "PGRST103", "Requested range not satisfiable").details(format!(
            "An offset of {} was requested, but there are only {total} rows.",
            clauses.offset
        ));
        return Err(Refusal { range: Some(format!("*/{total}")), ..refusal });
    }
    let most = call.supabase.max_rows.load(Ordering::Relaxed);
    clauses.limit = Some(clauses.limit.map_or(most, |limit| limit.min(most)));
    let offset = clauses.offset;
    let rows = clauses.page(rows);
    let shown = rows.len();
    let partial = call.wishes.count && shown < total;
    let status = if partial && call.media != Media::Single { 206 } else { 200 };
    let answer = call.deliver(status, rows)?;
    Ok(call.headed(answer, content_range(offset, shown, call.wishes.count.then_some(total))))
}

fn range(text: &str) -> Option<(usize, Option<usize>)> {
    let text = text.trim();
    let (first, last) = text.strip_prefix("items=").unwrap_or(text).split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((first.parse().ok()?, last))
}
