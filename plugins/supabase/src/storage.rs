//! One question to the storage and its answer, as all functions of `files` and `buckets` put it.

use bascule_sdk::{Effect, Error, Peer, Request, Response, json};
use serde_json::Value;

use crate::refusal;

/// Sends a request and reads the JSON that comes back. A request that changes something and succeeds with an answer that
/// cannot be read has changed it all the same.
pub(crate) fn ask(project: &dyn Peer, request: Request) -> Result<Value, Error> {
    let (line, safe) = (line(&request), request.is_safe());
    read(&project.send(request)?, &line, safe)
}

/// The JSON of an answer to the request of that line.
pub(crate) fn read(response: &Response, line: &str, safe: bool) -> Result<Value, Error> {
    if !response.is_success() || refusal::in_disguise(response) {
        return Err(refusal::of_storage(response, line));
    }
    let effect = if safe { Effect::None } else { Effect::Applied };
    response.json().map_err(|error| error.effect(effect))
}

/// Method and path; the query may hold a token.
pub(crate) fn line(request: &Request) -> String {
    let whole = request.line();
    whole.split_once('?').map_or(whole.clone(), |(line, _)| line.to_owned())
}

/// A text of the answer, or one inside its `metadata`, under any of these names.
pub(crate) fn text(row: &Value, names: &[&str]) -> Option<String> {
    find(row, names).and_then(json::as_text).filter(|text| !text.is_empty())
}

/// A length, likewise.
pub(crate) fn length(row: &Value, names: &[&str]) -> Option<u64> {
    find(row, names).and_then(json::as_integer).and_then(|length| u64::try_from(length).ok())
}

fn find<'a>(row: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let metadata = json::field(row, "metadata");
    names
        .iter()
        .find_map(|name| json::field(row, name).or_else(|| metadata.and_then(|held| json::field(held, name))))
}
