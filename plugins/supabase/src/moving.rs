//! Moving, copying and deleting files of a bucket.

use bascule_sdk::{Error, Method, Peer, Request};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::supabase::files::{Deleted, Stored};
use crate::{address, files, storage};

/// What the storage deletes at once.
const MAX_DELETED: usize = 1000;

/// Where a file comes from and goes to.
pub(crate) struct Way<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) path: &'a str,
    pub(crate) to: &'a str,
    pub(crate) to_bucket: Option<&'a str>,
}

/// What becomes of the file at its old place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Move,
    Copy,
}

/// Moves or copies, and looks whether the file is there.
pub(crate) fn transfer(project: &dyn Peer, way: &Way<'_>, verb: Verb) -> Result<Stored, Error> {
    let (from, to) = (address::inside(way.path)?, address::inside(way.to)?);
    let bucket = way.bucket.trim();
    let target = way.to_bucket.map_or(bucket, str::trim);
    address::bucket_path(bucket, "")?;
    address::bucket_path(target, "")?;
    if from == to && bucket == target {
        return Err(Error::invalid_input("the file is to go where it is already"));
    }
    let before = files::info(project, bucket, from)?;
    let mut body = json!({ "bucketId": bucket, "sourceKey": from, "destinationKey": to });
    if target != bucket {
        body["destinationBucket"] = target.into();
    }
    let path = match verb {
        Verb::Move => "/storage/v1/object/move",
        Verb::Copy => "/storage/v1/object/copy",
    };
    storage::ask(project, Request::post(path).json(&body))?;
    files::arrived(project, target, to, before.bytes)
}

/// Deletes these files; the storage answers with the rows of those that were there.
pub(crate) fn delete(project: &dyn Peer, bucket: &str, paths: &[String]) -> Result<Deleted, Error> {
    if paths.is_empty() || paths.len() > MAX_DELETED {
        return Err(Error::invalid_input(format!(
            "`paths` has {} entries; 1 to {MAX_DELETED} can be deleted at once",
            paths.len()
        )));
    }
    let wanted: Vec<&str> = paths.iter().map(|path| address::inside(path)).collect::<Result<_, _>>()?;
    let request = Request::new(Method::Delete, address::bucket_path(bucket, "/storage/v1/object")?)
        .json(&json!({ "prefixes": wanted }));
    let Value::Array(rows) = storage::ask(project, request)? else {
        return Err(Error::protocol("the storage's answer is no list of the deleted files"));
    };
    let gone: Vec<String> = rows.iter().filter_map(|row| storage::text(row, &["name"])).collect();
    let (deleted, missing) = wanted.into_iter().map(str::to_owned).partition(|path| gone.contains(path));
    Ok(Deleted { deleted, missing })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    #[test]
    fn a_move_is_sent_as_captured_and_looked_at() {
        // facts/supabase_wire_capture.json, "storage move".
        let size = || answer(200, r#"{"size":3}"#);
        let script = Script::new()
            .then("GET /storage/v1/object/info/photos/a", size())
            .then("POST /storage/v1/object/move", answer(200, r#"{"message":"Successfully moved"}"#))
            .then("GET /storage/v1/object/info/photos/b", size());
        let way = Way { bucket: "photos", path: "/a", to: "b", to_bucket: None };
        assert_eq!(transfer(&script, &way, Verb::Move).unwrap().path, "b");
        script.finish();
        assert_eq!(script.body(1), r#"{"bucketId":"photos","sourceKey":"a","destinationKey":"b"}"#);
        let same = Way { to: "a", ..way };
        assert_eq!(transfer(&Script::new(), &same, Verb::Copy).unwrap_err().kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn a_copy_that_did_not_arrive_is_found_out() {
        let gone = answer(400, r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#);
        let script = Script::new()
            .then("GET /storage/v1/object/info/photos/a", answer(200, r#"{"size":3}"#))
            .then("POST /storage/v1/object/copy", answer(200, r#"{"Id":"1","Key":"archive/b"}"#))
            .then("GET /storage/v1/object/info/archive/b", gone);
        let way = Way { bucket: "photos", path: "a", to: "b", to_bucket: Some("archive") };
        let error = transfer(&script, &way, Verb::Copy).unwrap_err();
        assert_eq!(error.kind, ErrorKind::VerificationFailed);
        assert!(script.body(1).contains(r#""destinationBucket":"archive""#));
    }

    #[test]
    fn deleting_says_what_was_there_and_never_means_everything() {
        let body = r#"[{"name":"a.jpg","bucket_id":"photos"}]"#;
        let script = Script::new().then("DELETE /storage/v1/object/photos", answer(200, body));
        let deleted = delete(&script, "photos", &["a.jpg".to_owned(), "/b.jpg".to_owned()]).unwrap();
        assert_eq!((deleted.deleted, deleted.missing), (vec!["a.jpg".to_owned()], vec!["b.jpg".to_owned()]));
        assert_eq!(script.body(0), r#"{"prefixes":["a.jpg","b.jpg"]}"#);
        for paths in [vec![], vec![String::new()], vec!["a//b".to_owned()], vec!["../a".to_owned()]] {
            assert!(delete(&Script::new(), "photos", &paths).is_err(), "{paths:?}");
        }
    }
}
