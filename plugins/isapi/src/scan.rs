//! Paged searches of one shape: `{ XCond: { searchID, searchResultPosition, maxResults, .. } }` answered by
//! `{ X: { responseStatusStrg, .., LIST: [..] } }` (`facts/isapi.md` 3.2, 3.3, 5.1).

use bascule_sdk::{Error, Peer, Request, json, log};
use serde_json::{Value, json};

use crate::reply::{self, Page};

/// What terminals accept as a page.
const PAGE: usize = 30;
/// More than any terminal holds.
const MAX_ITEMS: u64 = 500_000;

/// Where and under which names.
pub(crate) struct Search<'a> {
    pub(crate) path: &'a str,
    pub(crate) condition: &'a str,
    pub(crate) result: &'a str,
    pub(crate) list: &'a str,
    /// What is counted, for progress.
    pub(crate) unit: &'a str,
}

/// How a search ended.
pub(crate) enum Ended {
    /// Everything was visited, or the visitor had enough.
    Complete,
    /// The terminal refuses to count any further.
    Refused(Error),
}

/// Calls `visit` with each item until it says false or there are no more. Goes on by what was received; the same page a
/// second time is a `protocol` error.
pub(crate) fn each(
    terminal: &dyn Peer,
    search: &Search<'_>,
    conditions: &Value,
    id: &str,
    visit: &mut dyn FnMut(&Value) -> bool,
) -> Result<Ended, Error> {
    let mut received = 0_u64;
    let mut last: Vec<Value> = Vec::new();
    loop {
        let mut condition = json!({ "searchID": id, "searchResultPosition": received, "maxResults": PAGE });
        if let (Some(condition), Some(more)) = (condition.as_object_mut(), conditions.as_object()) {
            condition.extend(more.clone());
        }
        let request = Request::post(search.path)
            .query("format", "json")
            .json(&json!({ (search.condition): condition }));
        let line = request.line();
        let document = match reply::accept(&terminal.send(request)?, &line) {
            Ok(document) => document,
            Err(error) if received > 0 && error.kind == bascule_sdk::ErrorKind::InvalidInput => {
                return Ok(Ended::Refused(error));
            }
            Err(error) => return Err(error),
        };
        let result = document.json().and_then(|value| json::field(value, search.result));
        let result = result.ok_or_else(|| reply::unexpected(&line, &format!("a {}", search.result)))?;
        let items: Vec<Value> = json::items(json::field(result, search.list)).into_iter().cloned().collect();
        received += items.len() as u64;
        let page = Page::read(result, received);
        if !items.is_empty() && items == last || received > MAX_ITEMS {
            return Err(Error::protocol("the terminal sends the same page again and again"));
        }
        for item in &items {
            if !visit(item) {
                return Ok(Ended::Complete);
            }
        }
        if !page.more || items.is_empty() {
            return Ok(Ended::Complete);
        }
        log::progress(received, page.total, search.unit);
        last = items;
    }
}

/// A number, however it is written.
pub(crate) fn small(value: &Value, name: &str) -> Option<u32> {
    json::field(value, name).and_then(json::as_integer).and_then(|number| u32::try_from(number).ok())
}

/// A text, however it is written; an empty one is none.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    json::field(value, name).and_then(json::as_text).filter(|text| !text.is_empty())
}
