//! Buckets.

use bascule_sdk::{Error, ErrorKind, Peer, Request, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::supabase::buckets::{Bucket, Ensured};
use crate::{address, storage};

const ROOT: &str = "/storage/v1/bucket";

/// All buckets.
pub(crate) fn list(project: &dyn Peer) -> Result<Vec<Bucket>, Error> {
    let Value::Array(rows) = storage::ask(project, Request::get(ROOT))? else {
        return Err(Error::protocol("the storage's answer is no list of buckets"));
    };
    rows.iter().map(described).collect()
}

/// The bucket, made where there is none.
pub(crate) fn ensure(project: &dyn Peer, wanted: &Bucket) -> Result<Ensured, Error> {
    let path = address::bucket_path(&wanted.name, ROOT)?;
    let look = || {
        let row = storage::ask(project, Request::get(&*path))?;
        described(&row)
    };
    match look() {
        Ok(bucket) => return as_wanted(bucket, wanted, false),
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = wanted.name.trim();
    let mut body = json!({ "id": name, "name": name, "public": wanted.public });
    if let Some(bytes) = wanted.max_file_bytes {
        body["file_size_limit"] = bytes.into();
    }
    if !wanted.types.is_empty() {
        body["allowed_mime_types"] = json!(wanted.types);
    }
    let created = match storage::ask(project, Request::post(ROOT).json(&body)) {
        Ok(_) => true,
        // Somebody else made it in the meantime.
        Err(error) if error.kind == ErrorKind::Conflict => false,
        Err(error) => return Err(error),
    };
    let bucket = look().map_err(|error| match error.kind {
        ErrorKind::NotFound => Error::new(
            ErrorKind::VerificationFailed,
            format!("the storage said yes, and there is no bucket `{name}`"),
        )
        .code("supabase:not-stored"),
        _ => error,
    })?;
    as_wanted(bucket, wanted, created)
}

fn as_wanted(bucket: Bucket, wanted: &Bucket, created: bool) -> Result<Ensured, Error> {
    if bucket.public == wanted.public {
        return Ok(Ensured { created, bucket });
    }
    let word = |public: bool| if public { "public" } else { "private" };
    Err(Error::conflict(format!(
        "the bucket `{}` is {} and not {}; change that by hand if it is meant",
        bucket.name,
        word(bucket.public),
        word(wanted.public)
    ))
    .code("supabase:bucket-access"))
}

fn described(row: &Value) -> Result<Bucket, Error> {
    let name = storage::text(row, &["name"]).or_else(|| storage::text(row, &["id"]));
    let types = json::field(row, "allowed_mime_types").and_then(Value::as_array);
    Ok(Bucket {
        name: name.ok_or_else(|| Error::protocol("the storage's answer about a bucket has no name"))?,
        public: json::field(row, "public").and_then(json::as_truth).unwrap_or_default(),
        max_file_bytes: storage::length(row, &["file_size_limit"]),
        types: types.into_iter().flatten().filter_map(json::as_text).collect(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::Response;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    fn photos(public: bool) -> Bucket {
        Bucket {
            name: "photos".into(),
            public,
            max_file_bytes: Some(1_048_576),
            types: vec!["image/jpeg".into()],
        }
    }

    fn there(public: bool) -> Response {
        let row = json!({ "id": "photos", "name": "photos", "public": public, "file_size_limit": 1_048_576, "allowed_mime_types": ["image/jpeg"] });
        answer(200, row.to_string())
    }

    fn missing() -> Response {
        answer(400, r#"{"statusCode":"404","error":"Bucket not found","message":"Bucket not found"}"#)
    }

    #[test]
    fn a_bucket_is_made_once() {
        let line = "GET /storage/v1/bucket/photos";
        let script = Script::new()
            .then(line, missing())
            .then("POST /storage/v1/bucket", answer(200, r#"{"name":"photos"}"#))
            .then(line, there(true))
            .then(line, there(true));
        let made = ensure(&script, &photos(true)).unwrap();
        assert_eq!((made.created, made.bucket), (true, photos(true)));
        assert!(!ensure(&script, &photos(true)).unwrap().created);
        script.finish();
        // facts/supabase_wire_capture.json, "bucket create"; the limit in bytes.
        assert_eq!(
            script.body(1),
            r#"{"id":"photos","name":"photos","public":true,"file_size_limit":1048576,"allowed_mime_types":["image/jpeg"]}"#
        );
    }

    #[test]
    fn nobodys_files_become_public_by_a_workflow() {
        let script = Script::new().then("GET /storage/v1/bucket/photos", there(false));
        let error = ensure(&script, &photos(true)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains("is private and not public"), "{}", error.message);
    }

    #[test]
    fn a_yes_without_a_bucket_is_no_success() {
        let line = "GET /storage/v1/bucket/photos";
        let script = Script::new()
            .then(line, missing())
            .then("POST /storage/v1/bucket", answer(200, r#"{"name":"photos"}"#))
            .then(line, missing());
        assert_eq!(ensure(&script, &photos(true)).unwrap_err().kind, ErrorKind::VerificationFailed);
    }

    #[test]
    fn buckets_without_limits_have_none() {
        let body =
            r#"[{"id":"a","name":"a","public":false,"file_size_limit":null,"allowed_mime_types":null}]"#;
        let script = Script::new().then("GET /storage/v1/bucket", answer(200, body));
        let expected = Bucket { name: "a".into(), public: false, max_file_bytes: None, types: Vec::new() };
        assert_eq!(list(&script).unwrap(), [expected]);
    }
}
