//! The whole face library of a terminal, page by page (`facts/isapi.md` 4.2).

use std::collections::BTreeSet;

use bascule_sdk::{Error, ErrorKind, Peer, Request, json, log};
use serde_json::json;

use crate::bindings::exports::bascule::isapi::faces::Listed;
use crate::faces::Library;
use crate::reply::{self, Page, path_of};
use crate::scan::text;

/// What terminals accept as a page.
const PAGE: u32 = 30;
/// More than any terminal holds.
const MAX_FACES: u64 = 500_000;

/// Every face, or so many. The same page again is a `protocol` error.
pub(crate) fn search(
    terminal: &dyn Peer,
    library: &Library,
    limit: Option<u32>,
) -> Result<Vec<Listed>, Error> {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found: Vec<Listed> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut received = 0_u64;
    while found.len() < limit {
        let (fdid, kind) = library.names();
        let request =
            Request::post("/ISAPI/Intelligent/FDLib/FDSearch").query("format", "json").json(&json!({
                "searchResultPosition": received, "maxResults": PAGE, "faceLibType": kind, "FDID": fdid,
            }));
        let line = request.line();
        let document = match reply::accept(&terminal.send(request)?, &line) {
            Ok(document) => document,
            // An empty library is a library without a face on some.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        let told = document.json().filter(|value| {
            ["MatchList", "numOfMatches", "responseStatusStrg"]
                .iter()
                .any(|name| json::field(value, name).is_some())
        });
        let value = told.ok_or_else(|| reply::unexpected(&line, "an FDSearch result"))?;
        let items = json::items(json::field(value, "MatchList"));
        received += items.len() as u64;
        let page = Page::read(value, received);
        let mut news = false;
        for item in &items {
            let Some(fpid) = text(item, "FPID") else { continue };
            if seen.insert(fpid.clone()) {
                news = true;
                let face_path = text(item, "faceURL").as_deref().and_then(path_of);
                found.push(Listed { fpid, name: text(item, "name"), face_path });
            }
        }
        if !page.more || items.is_empty() {
            break;
        }
        if !news || received > MAX_FACES {
            return Err(Error::protocol("the terminal sends the same page of faces again and again"));
        }
        log::progress(received, page.total, "faces");
    }
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::Response;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE: &str = "POST /ISAPI/Intelligent/FDLib/FDSearch?format=json";

    fn page(status: &str, faces: std::ops::Range<u32>) -> Response {
        let list: Vec<_> = faces
            .map(|number| json!({ "FPID": number.to_string(), "faceURL": format!("http://192.168.1.7:80/LOCALS/pic/enrlFace/0/{number}.jpg@WEB5") }))
            .collect();
        let body = json!({ "statusCode": 1, "responseStatusStrg": status, "numOfMatches": list.len(), "totalMatches": 40, "MatchList": list });
        answer(200, body.to_string())
    }

    fn library() -> Library {
        Library::new(None, None)
    }

    #[test]
    fn every_page_is_read_by_what_came() {
        let script = Script::new().then(LINE, page("MORE", 0..30)).then(LINE, page("OK", 30..40));
        let faces = search(&script, &library(), None).unwrap();
        assert_eq!(faces.len(), 40);
        assert_eq!(faces[39].face_path.as_deref(), Some("/LOCALS/pic/enrlFace/0/39.jpg@WEB5"));
        assert!(script.body(1).contains(r#""searchResultPosition":30"#));
        let few = search(&Script::new().then(LINE, page("MORE", 0..30)), &library(), Some(3)).unwrap();
        assert_eq!(few.len(), 3);
    }

    #[test]
    fn none_is_an_answer_and_the_same_page_again_is_not() {
        for status in ["NO MATCH", "NO MATCHES"] {
            assert!(
                search(&Script::new().then(LINE, page(status, 0..0)), &library(), None).unwrap().is_empty()
            );
        }
        let stuck = Script::new().then(LINE, page("MORE", 0..30)).then(LINE, page("MORE", 0..30));
        assert_eq!(search(&stuck, &library(), None).unwrap_err().kind, ErrorKind::Protocol);
        let odd = Script::new().then(LINE, answer(200, r#"{"statusCode":1}"#));
        assert_eq!(search(&odd, &library(), None).unwrap_err().kind, ErrorKind::Protocol);
    }
}
