//! POST, PUT, PATCH and DELETE of a table. A refused request changes nothing.

use serde_json::Value;

use super::query::Query;
use super::refusal::Refusal;
use super::rest::{Call, Media, Returns, content_range};
use super::schema::{Database, Row, unknown_column};
use super::{Role, select};
use crate::ledger::Kind;
use crate::wire::Answer;

pub(super) fn insert(call: &Call<'_>, table: &str, query: &Query) -> Result<Answer, Refusal> {
    let (given, several) = rows(call, query)?;
    let mut held = call.supabase.database();
    let definition = held.need(table)?;
    select::check(&held, definition, &query.items, query, &[])?;
    for column in query.columns.iter().flatten() {
        if definition.column(column).is_none() {
            return Err(unknown_column(table, column));
        }
    }
    if call.role == Role::Anonymous {
        let message = format!("new row violates row-level security policy for table \"{table}\"");
        return Err(Refusal::new(401, "42501", message));
    }
    let key = query.on_conflict.clone().unwrap_or_else(|| definition.primary_key.clone());
    if call.wishes.merge.is_some() && query.on_conflict.is_some() && !definition.has_key(&key) {
        let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
        return Err(Refusal::new(400, "42P10", message));
    }
    // What a list names and a row of it lacks is null, unless defaults are wanted.
    let null_for = match (&query.columns, several && !call.wishes.missing_default) {
        (Some(columns), true) => columns.clone(),
        _ => Vec::new(),
    };
    let mut database = held.clone();
    let (mut written, mut inserted) = (Vec::new(), 0);
    for row in given {
        let whole = database.complete(table, &row, &null_for)?;
        let place = call.wishes.merge.and_then(|_| database.table(table)?.place(&key, &whole));
        match (call.wishes.merge, place) {
            (Some(true), Some(place)) => {
                let change: Row = whole.into_iter().filter(|(name, _)| row.contains_key(name)).collect();
                written.push(database.change(table, place, &change)?);
            }
            (Some(false), Some(_)) => {}
            _ => {
                written.push(database.insert(table, &whole, &[])?);
                inserted += 1;
            }
        }
    }
    let status = if call.wishes.merge == Some(true) && inserted == 0 { 200 } else { 201 };
    let total = call.wishes.count.then_some(written.len());
    let mut answer = finish(call, &database, table, query, status, &written, content_range(0, 0, total))?;
    if call.wishes.returns == Returns::HeadersOnly
        && let ([row], Some([column])) =
            (written.as_slice(), database.table(table).map(|table| table.primary_key.as_slice()))
    {
        let value = row.get(column).map(super::schema::plain).unwrap_or_default();
        answer = answer.with("Location", format!("/{table}?{column}=eq.{value}"));
    }
    note(call, &database, table, "insert", &written);
    *held = database;
    Ok(answer)
}

/// PUT: one row, whose primary key the filters and the body agree on.
pub(super) fn put(call: &Call<'_>, table: &str, query: &Query) -> Result<Answer, Refusal> {
    let (mut given, _) = rows(call, query)?;
    let mut held = call.supabase.database();
    let definition = held.need(table)?;
    select::check(&held, definition, &query.items, query, &[])?;
    let clauses = query.top();
    if clauses.limit.is_some() || clauses.offset > 0 {
        return Err(Refusal::new(
            400,
            "PGRST114",
            "limit/offset querystring parameters are not allowed for PUT",
        ));
    }
    if clauses.filters.len() != definition.primary_key.len() {
        let message = "Filters must include all and only primary key columns with 'eq' operators";
        return Err(Refusal::new(405, "PGRST105", message));
    }
    let (Some(row), None) = (given.pop(), given.pop()) else {
        return Err(Refusal::new(400, "PGRST102", "PUT needs one row"));
    };
    if call.role == Role::Anonymous {
        return Err(Refusal::new(401, "42501", format!("permission denied for table {table}")));
    }
    let mut database = held.clone();
    let whole = database.complete(table, &row, &[])?;
    if !clauses.keeps(definition, &whole)? {
        let message = "Payload values do not match URL in primary key column(s)";
        return Err(Refusal::new(400, "PGRST115", message));
    }
    let place = definition.place(&definition.primary_key, &whole);
    let written = match place {
        Some(place) => database.change(table, place, &whole)?,
        None => database.insert(table, &whole, &[])?,
    };
    let status = match (call.wishes.returns, place) {
        (Returns::Representation, None) => 201,
        (Returns::Representation, Some(_)) => 200,
        _ => 204,
    };
    let written = [written];
    let answer = finish(call, &database, table, query, status, &written, content_range(0, 0, None))?;
    note(call, &database, table, "put", &written);
    *held = database;
    Ok(answer)
}

pub(super) fn update(call: &Call<'_>, table: &str, query: &Query) -> Result<Answer, Refusal> {
    let change = match body(call)? {
        Value::Object(change) => change,
        Value::Array(mut list) if list.len() == 1 => match list.pop() {
            Some(Value::Object(change)) => change,
            _ => return Err(not_json()),
        },
        _ => return Err(not_json()),
    };
    let mut held = call.supabase.database();
    let places = affected(call, &held, table, query, "UPDATE")?;
    let mut database = held.clone();
    let change: Row = match &query.columns {
        Some(columns) => change.into_iter().filter(|(name, _)| columns.contains(name)).collect(),
        None => change,
    };
    let definition = held.need(table)?;
    if let Some(unknown) = change.keys().find(|name| definition.column(name).is_none()) {
        return Err(unknown_column(table, unknown));
    }
    let mut written = Vec::new();
    if !change.is_empty() {
        for place in places {
            written.push(database.change(table, place, &change)?);
        }
    }
    let status = if call.wishes.returns == Returns::Representation { 200 } else { 204 };
    let range = content_range(0, written.len(), call.wishes.count.then_some(written.len()));
    let answer = finish(call, &database, table, query, status, &written, range)?;
    note(call, &database, table, "update", &written);
    *held = database;
    Ok(answer)
}

pub(super) fn delete(call: &Call<'_>, table: &str, query: &Query) -> Result<Answer, Refusal> {
    let mut held = call.supabase.database();
    let places = affected(call, &held, table, query, "DELETE")?;
    let definition = held.need(table)?;
    let gone: Vec<Row> = places.iter().filter_map(|place| definition.rows.get(*place).cloned()).collect();
    let mut database = held.clone();
    for row in &gone {
        database.delete(table, row)?;
    }
    let status = if call.wishes.returns == Returns::Representation { 200 } else { 204 };
    let range = content_range(0, 0, call.wishes.count.then_some(gone.len()));
    // Embedded rows are shown as they were.
    let answer = finish(call, &held, table, query, status, &gone, range)?;
    note(call, &held, table, "delete", &gone);
    *held = database;
    Ok(answer)
}

/// The places of the rows that a change is about.
fn affected(
    call: &Call<'_>,
    database: &Database,
    table: &str,
    query: &Query,
    verb: &str,
) -> Result<Vec<usize>, Refusal> {
    let definition = database.need(table)?;
    select::check(database, definition, &query.items, query, &[])?;
    let clauses = query.top();
    // Hosted projects load the extension safeupdate for the API's role.
    if clauses.filters.is_empty() {
        return Err(Refusal::new(400, "21000", format!("{verb} requires a WHERE clause")));
    }
    if call.role == Role::Anonymous {
        return Ok(Vec::new());
    }
    let mut places = Vec::new();
    for (place, row) in definition.rows.iter().enumerate() {
        if clauses.keeps(definition, row)? {
            places.push(place);
        }
    }
    if let Some(most) = call.wishes.max_affected.filter(|most| places.len() > *most) {
        let details = format!("The query affects {} rows, more than {most}", places.len());
        return Err(Refusal::new(400, "PGRST124", "Query result exceeds max-affected preference constraint")
            .details(details));
    }
    Ok(places)
}

/// The answer to a write, with its rows if they are wanted.
fn finish(
    call: &Call<'_>,
    database: &Database,
    table: &str,
    query: &Query,
    status: u16,
    written: &[Row],
    range: String,
) -> Result<Answer, Refusal> {
    if call.media == Media::Single && written.len() != 1 {
        return Err(Refusal::not_single(written.len()));
    }
    if call.wishes.returns != Returns::Representation {
        return Ok(call.headed(Answer::empty(status), range));
    }
    let definition = database.need(table)?;
    let mut shown = Vec::new();
    for row in written {
        shown.extend(select::shape(database, definition, row, &query.items, query, &[])?);
    }
    Ok(call.headed(call.deliver(status, shown)?, range))
}

fn body(call: &Call<'_>) -> Result<Value, Refusal> {
    serde_json::from_slice(&call.request.body).map_err(|_| not_json())
}

fn not_json() -> Refusal {
    Refusal::new(400, "PGRST102", "Empty or invalid json")
}

/// The rows of a body, and whether they came as a list.
fn rows(call: &Call<'_>, query: &Query) -> Result<(Vec<Row>, bool), Refusal> {
    let (list, several) = match body(call)? {
        Value::Array(list) => (list, true),
        one @ Value::Object(_) => (vec![one], false),
        _ => return Err(not_json()),
    };
    let mut rows = Vec::new();
    for item in list {
        let Value::Object(mut row) = item else {
            return Err(not_json());
        };
        if let Some(columns) = &query.columns {
            row.retain(|name, _| columns.contains(name));
        }
        rows.push(row);
    }
    let keys = |row: &Row| row.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    if query.columns.is_none()
        && rows.windows(2).any(|pair| matches!(pair, [one, other] if keys(one) != keys(other)))
    {
        return Err(Refusal::new(400, "PGRST102", "All object keys must match"));
    }
    Ok((rows, several))
}

fn note(call: &Call<'_>, database: &Database, table: &str, verb: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let keys: Vec<String> = database
        .table(table)
        .map(|table| rows.iter().map(|row| table.key_of(row)).collect())
        .unwrap_or_default();
    let text = format!("{verb} {} in {table}", rows.len());
    call.supabase.note(call.request, Kind::RowWrite, "service key", Some(keys.join(" ")), text);
}
