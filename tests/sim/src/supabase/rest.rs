//! `/rest/v1/`: what the headers ask for, and who answers.

use serde_json::{Value, json};

use super::query::Query;
use super::refusal::Refusal;
use super::schema::{Row, plain};
use super::{Role, Supabase, read, rpc, write};
use crate::wire::{Answer, Request};

/// One request to a table or function.
pub(super) struct Call<'a> {
    pub(super) supabase: &'a Supabase,
    pub(super) request: &'a Request,
    pub(super) role: Role,
    pub(super) wishes: Wishes,
    pub(super) media: Media,
}

/// What the answer should look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// One object and not a list.
    Single,
    Csv,
}

/// The `Prefer` header.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) count: bool,
    pub(super) returns: Returns,
    /// `Some(true)` merges, `Some(false)` ignores.
    pub(super) merge: Option<bool>,
    pub(super) missing_default: bool,
    pub(super) max_affected: Option<usize>,
    applied: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Returns {
    #[default]
    Minimal,
    HeadersOnly,
    Representation,
}

pub(super) fn answer(
    supabase: &Supabase,
    request: &Request,
    path: &str,
    role: Role,
) -> Result<Answer, Refusal> {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    let profile = request.header(if reads { "accept-profile" } else { "content-profile" });
    if let Some(schema) = profile.filter(|schema| *schema != "public") {
        return Err(Refusal::new(406, "PGRST106", format!("Invalid schema: {schema}"))
            .hint("Only the following schemas are exposed: public"));
    }
    let call = Call { supabase, request, role, wishes: Wishes::read(request)?, media: media(request)? };
    let (table, function) = match path.split_once('/') {
        None => (path, None),
        Some(("rpc", function)) => ("", Some(function)),
        Some(_) => {
            return Err(Refusal::new(404, "PGRST125", "Invalid path specified in request URL"));
        }
    };
    if let Some(function) = function {
        return rpc::answer(&call, function);
    }
    if table.is_empty() {
        let tables: Vec<String> =
            supabase.database().tables.iter().map(|table| format!("/{}", table.name)).collect();
        return Ok(Answer::json(
            200,
            &json!({ "swagger": "2.0", "info": { "title": "simulated" }, "paths": tables }),
        ));
    }
    supabase.database().need(table)?;
    let parameters = request.parameters();
    match request.method.as_str() {
        "GET" | "HEAD" => read::answer(&call, table, &Query::parse(&parameters)?),
        "POST" => write::insert(&call, table, &Query::parse(&parameters)?),
        "PUT" => write::put(&call, table, &Query::parse(&parameters)?),
        "PATCH" => write::update(&call, table, &Query::parse(&parameters)?),
        "DELETE" => write::delete(&call, table, &Query::parse(&parameters)?),
        other => Err(Refusal::new(405, "PGRST117", format!("Unsupported HTTP method: {other}"))),
    }
}

impl Wishes {
    fn read(request: &Request) -> Result<Self, Refusal> {
        let mut wishes = Self::default();
        let (mut strict, mut unknown, mut affected) = (false, Vec::new(), None);
        let lines = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("prefer"));
        for word in
            lines.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
        {
            match word {
                "count=exact" | "count=planned" | "count=estimated" => wishes.count = true,
                "return=minimal" => wishes.returns = Returns::Minimal,
                "return=headers-only" => wishes.returns = Returns::HeadersOnly,
                "return=representation" => wishes.returns = Returns::Representation,
                "resolution=merge-duplicates" => wishes.merge = Some(true),
                "resolution=ignore-duplicates" => wishes.merge = Some(false),
                "missing=default" => wishes.missing_default = true,
                "missing=null" => wishes.missing_default = false,
                "handling=strict" => strict = true,
                "handling=lenient" => strict = false,
                other => match other.strip_prefix("max-affected=").and_then(|number| number.parse().ok()) {
                    Some(number) => affected = Some(number),
                    None => {
                        unknown.push(other.to_owned());
                        continue;
                    }
                },
            }
            wishes.applied.push(word.to_owned());
        }
        if strict && !unknown.is_empty() {
            return Err(Refusal::new(400, "PGRST122", "Invalid preferences given with handling=strict")
                .details(format!("Invalid preferences: {}", unknown.join(", "))));
        }
        wishes.max_affected = affected.filter(|_| strict);
        Ok(wishes)
    }
}

fn media(request: &Request) -> Result<Media, Refusal> {
    let Some(accept) = request.header("accept") else {
        return Ok(Media::Json);
    };
    for choice in accept.split(',') {
        match choice.split(';').next().unwrap_or_default().trim() {
            "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => return Ok(Media::Single),
            "text/csv" => return Ok(Media::Csv),
            "*/*" | "application/*" | "application/json" | "application/vnd.pgrst.array+json" => {
                return Ok(Media::Json);
            }
            _ => {}
        }
    }
    Err(Refusal::new(406, "PGRST107", format!("None of these media types are available: {accept}")))
}

impl Call<'_> {
    /// Rows as the client wants them. One object needs exactly one row.
    pub(super) fn deliver(&self, status: u16, rows: Vec<Row>) -> Result<Answer, Refusal> {
        Ok(match self.media {
            Media::Json => Answer::json(status, &Value::Array(rows.into_iter().map(Value::Object).collect())),
            Media::Single => {
                let number = rows.len();
                let mut rows = rows.into_iter();
                match (rows.next(), rows.next()) {
                    (Some(row), None) => Answer::new(
                        status,
                        "application/vnd.pgrst.object+json; charset=utf-8",
                        Value::Object(row).to_string(),
                    ),
                    _ => return Err(Refusal::not_single(number)),
                }
            }
            Media::Csv => Answer::new(status, "text/csv; charset=utf-8", csv(&rows)),
        })
    }

    /// `Content-Range` and the preferences that were honoured.
    pub(super) fn headed(&self, answer: Answer, range: String) -> Answer {
        let answer = answer.with("Content-Range", range);
        if self.wishes.applied.is_empty() {
            return answer;
        }
        answer.with("Preference-Applied", self.wishes.applied.join(", "))
    }
}

fn csv(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let field = |text: String| {
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let mut lines = vec![first.keys().cloned().map(field).collect::<Vec<_>>().join(",")];
    for row in rows {
        let value = |value: &Value| {
            if value.is_null() { String::new() } else { field(plain(value)) }
        };
        lines.push(row.values().map(value).collect::<Vec<_>>().join(","));
    }
    lines.join("\n")
}

/// `0-9/123`, `*/0`, `0-9/*`.
pub(super) fn content_range(offset: usize, shown: usize, total: Option<usize>) -> String {
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    if shown == 0 { format!("*/{total}") } else { format!("{offset}-{}/{total}", offset + shown - 1) }
}
