//! What is in a bucket, folder by folder, page by page.

use std::collections::VecDeque;

use bascule_sdk::{Error, Peer, Request, log};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::supabase::files::{Entry, Sorting};
use crate::{address, storage};

/// Rows per request.
const PAGE: usize = 1000;
/// Nobody reads a longer listing through a plugin.
const MAX_ENTRIES: usize = 200_000;

/// What is listed, and in what order.
#[derive(Default)]
pub(crate) struct Listing<'a> {
    pub(crate) folder: Option<&'a str>,
    pub(crate) search: Option<&'a str>,
    pub(crate) sort_by: Option<Sorting>,
    pub(crate) descending: bool,
    pub(crate) limit: Option<u32>,
    pub(crate) recursive: bool,
}

/// Everything in the folder, and with `recursive` in the folders inside it.
pub(crate) fn list(project: &dyn Peer, bucket: &str, listing: &Listing<'_>) -> Result<Vec<Entry>, Error> {
    let path = address::bucket_path(bucket, "/storage/v1/object/list")?;
    let top = listing.folder.map(|folder| folder.trim().trim_matches('/')).unwrap_or_default();
    if !top.is_empty() {
        address::inside(top)?;
    }
    let limit = listing.limit.map_or(MAX_ENTRIES, |limit| limit as usize);
    let mut entries = Vec::new();
    let mut folders = VecDeque::from([top.to_owned()]);
    while let Some(folder) = folders.pop_front() {
        if entries.len() >= limit {
            break;
        }
        let found = read_folder(project, &path, &folder, listing, limit - entries.len())?;
        if listing.recursive {
            folders.extend(found.iter().filter(|entry| entry.is_folder).map(|entry| entry.path.clone()));
        }
        // The storage's own search would hide the folders on the way.
        let wanted = listing.search.filter(|_| listing.recursive).unwrap_or_default();
        entries.extend(found.into_iter().filter(|entry| entry.name.contains(wanted)));
    }
    entries.truncate(limit);
    if listing.limit.is_none() && entries.len() >= MAX_ENTRIES {
        return Err(Error::invalid_input(format!(
            "there are more than {MAX_ENTRIES} entries; list a folder inside, or set `limit`"
        )));
    }
    Ok(entries)
}

fn read_folder(
    project: &dyn Peer,
    path: &str,
    folder: &str,
    listing: &Listing<'_>,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    // What the search leaves is not known before it is read.
    let limit = if listing.recursive { MAX_ENTRIES } else { limit };
    let mut entries = Vec::new();
    let column = match listing.sort_by {
        None | Some(Sorting::Name) => "name",
        Some(Sorting::Created) => "created_at",
        Some(Sorting::Modified) => "updated_at",
    };
    let order = if listing.descending { "desc" } else { "asc" };
    let (mut offset, mut previous) = (0, None);
    loop {
        let asked = PAGE.min(limit.saturating_sub(entries.len()));
        if asked == 0 {
            return Ok(entries);
        }
        let mut body = json!({
            "prefix": folder, "limit": asked, "offset": offset, "sortBy": { "column": column, "order": order },
        });
        if let Some(search) = listing.search.filter(|_| !listing.recursive) {
            body["search"] = search.into();
        }
        let Value::Array(rows) = storage::ask(project, Request::post(path).json(&body))? else {
            return Err(Error::protocol("the storage's listing is no list"));
        };
        if !rows.is_empty() && previous.as_ref() == Some(&rows) {
            return Err(Error::protocol("the storage sends the same page of the listing again and again"));
        }
        let received = rows.len();
        for row in &rows {
            entries.push(entry(row, folder)?);
        }
        if received < asked {
            return Ok(entries);
        }
        offset += received;
        log::progress(entries.len() as u64, None, "entries");
        previous = Some(rows);
    }
}

fn entry(row: &Value, folder: &str) -> Result<Entry, Error> {
    let given = storage::text(row, &["name"])
        .ok_or_else(|| Error::protocol("a row of the storage's listing has no name"))?;
    // Some servers give the whole path as the name.
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let name = given.strip_prefix(&prefix).unwrap_or(&given).trim_end_matches('/').to_owned();
    let id = storage::text(row, &["id"]);
    Ok(Entry {
        path: format!("{prefix}{name}"),
        name,
        is_folder: id.is_none(),
        id,
        bytes: storage::length(row, &["size", "contentLength"]),
        content_type: storage::text(row, &["mimetype", "content_type"]),
        modified: storage::text(row, &["updated_at", "lastModified"]),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};
    use bascule_sdk::{ErrorKind, Response};

    use super::*;

    const LINE: &str = "POST /storage/v1/object/list/photos";

    fn rows(range: std::ops::Range<usize>) -> Response {
        let row = |number: usize| json!({ "name": format!("{number:05}.jpg"), "id": number.to_string(), "metadata": { "size": number, "mimetype": "image/jpeg" } });
        answer(200, Value::from(range.map(row).collect::<Vec<_>>()).to_string())
    }

    #[test]
    fn a_long_folder_is_read_page_by_page() {
        let script = Script::new().then(LINE, rows(0..1000)).then(LINE, rows(1000..1003));
        let listing = Listing { folder: Some("/faces/"), search: Some("jpg"), ..Listing::default() };
        let entries = list(&script, "photos", &listing).unwrap();
        script.finish();
        assert_eq!(entries.len(), 1003);
        let last = entries.last().unwrap();
        assert_eq!((last.path.as_str(), last.bytes, last.is_folder), ("faces/01002.jpg", Some(1002), false));
        // facts/supabase_wire_capture.json, "storage list".
        let sent: Value = serde_json::from_str(&script.body(1)).unwrap();
        assert_eq!(
            sent,
            json!({ "limit": 1000, "offset": 1000, "sortBy": { "column": "name", "order": "asc" }, "search": "jpg", "prefix": "faces" })
        );
    }

    #[test]
    fn a_page_that_comes_again_ends_the_listing_with_an_error() {
        let script = Script::new().then(LINE, rows(0..1000)).then(LINE, rows(0..1000));
        let error = list(&script, "photos", &Listing::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
    }

    #[test]
    fn folders_are_walked_and_a_limit_is_kept() {
        let folders =
            r#"[{"name":"a","id":null,"metadata":null},{"name":"x.jpg","id":"1","metadata":{"size":1}}]"#;
        let script = || {
            Script::new()
                .then(LINE, answer(200, folders))
                .then(LINE, answer(200, r#"[{"name":"y.jpg","id":"2","metadata":{"size":2}}]"#))
        };
        let walked = Listing { recursive: true, ..Listing::default() };
        let walk = script();
        let paths: Vec<String> =
            list(&walk, "photos", &walked).unwrap().into_iter().map(|entry| entry.path).collect();
        walk.finish();
        assert_eq!(paths, ["a", "x.jpg", "a/y.jpg"]);
        let limited = Listing { limit: Some(2), ..walked };
        assert_eq!(list(&script(), "photos", &limited).unwrap().len(), 2);
    }
}
