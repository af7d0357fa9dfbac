use bascule_sdk::testing::{Script, answer, answer_with};

use super::*;

const INFO_LINE: &str = "GET /storage/v1/object/info/photos/dir/a%20b.jpg";

fn jpeg() -> bascule_sdk::Response {
    answer_with(200, &[("Content-Type", "image/jpeg")], [0xFF, 0xD8, 0xFF, 0xD9])
}

fn size(bytes: u64) -> bascule_sdk::Response {
    answer(
        200,
        format!(
            r#"{{"id":"7","name":"dir/a b.jpg","size":{bytes},"content_type":"image/jpeg","etag":"\"e\""}}"#
        ),
    )
}

fn gone() -> bascule_sdk::Response {
    answer(400, r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#)
}

#[test]
fn a_file_is_fetched_by_path_in_a_bucket_or_by_address() {
    let script = Script::new()
        .then(INFO_LINE, size(4))
        .then("GET /storage/v1/object/photos/dir/a%20b.jpg", jpeg())
        .then("GET /storage/v1/object/public/photos/1.jpg", jpeg())
        .then("GET /storage/v1/object/sign/photos/1.jpg?token=a+b", jpeg());
    let file = fetch(&script, "dir/a b.jpg", Some("photos"), "1.jpg", true).unwrap();
    assert_eq!(
        (file.name.as_str(), file.bytes, file.content_type.as_deref()),
        ("1.jpg", 4, Some("image/jpeg"))
    );
    assert_eq!(script.stored("1.jpg").unwrap(), [0xFF, 0xD8, 0xFF, 0xD9]);
    fetch(&script, "/storage/v1/object/public/photos/1.jpg", None, "2.jpg", true).unwrap();
    let signed = format!("{}/storage/v1/object/sign/photos/1.jpg?token=a%2Bb", script.origin());
    fetch(&script, &signed, None, "3.jpg", true).unwrap();
    script.finish();
}

#[test]
fn a_missing_file_is_not_found_and_tokens_stay_out_of_the_error() {
    let script = Script::new().then("GET /storage/v1/object/sign/photos/1.jpg?token=TOK", gone());
    let error =
        fetch(&script, "/storage/v1/object/sign/photos/1.jpg?token=TOK", None, "1.jpg", true).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "Object not found"));
    assert!(!format!("{error:?}").contains("TOK"));
}

#[test]
fn another_host_is_refused_before_anything_is_sent() {
    let error = fetch(&Script::new(), "https://photos.example/1.jpg", None, "1.jpg", true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
}

fn to(path: &str) -> Upload<'_> {
    Upload { bucket: "photos", path, content_type: None, existing: Existing::Keep, cache_seconds: None }
}

#[test]
fn an_upload_is_sent_as_the_official_client_sends_it_and_looked_at() {
    // facts/supabase_wire_capture.json, "storage upload bytes".
    let line = "POST /storage/v1/object/photos/dir/a%20b.jpg";
    let done = || answer(200, r#"{"Id":"7","Key":"photos/dir/a b.jpg"}"#);
    let script = Script::new()
        .file("1.jpg", [1, 2, 3])
        .then(line, done())
        .then(INFO_LINE, size(3))
        .then(line, done())
        .then(INFO_LINE, size(3));
    let stored = upload(&script, "1.jpg", &to("/dir/a b.jpg")).unwrap();
    assert_eq!(
        (stored.path.as_str(), stored.bytes, stored.etag.as_deref()),
        ("dir/a b.jpg", Some(3), Some("e"))
    );
    let replaced = Upload {
        existing: Existing::Replace,
        cache_seconds: Some(60),
        content_type: Some("image/png".into()),
        ..to("dir/a b.jpg")
    };
    upload(&script, "1.jpg", &replaced).unwrap();
    script.finish();
    let sent = script.sent();
    let headers = |index: usize| -> Vec<String> {
        sent[index].headers.iter().map(|field| format!("{}: {}", field.name, field.value)).collect()
    };
    assert_eq!(headers(0), ["x-upsert: false", "cache-control: max-age=3600"]);
    assert_eq!(headers(2), ["x-upsert: true", "cache-control: max-age=60"]);
    assert_eq!((script.body(0), script.body(2)), ("(file) [image/jpeg]".into(), "(file) [image/png]".into()));
}

#[test]
fn a_yes_with_nothing_or_something_else_stored_is_no_success() {
    let line = "POST /storage/v1/object/photos/a.jpg";
    let done = || answer(200, r#"{"Id":"7","Key":"photos/a.jpg"}"#);
    let look = "GET /storage/v1/object/info/photos/a.jpg";
    let cases = [
        (done(), Some(gone()), Effect::None),
        (done(), Some(size(2)), Effect::Applied),
        (answer(200, r#"{"Key":"photos/b.jpg"}"#), None, Effect::Applied),
    ];
    for (answered, looked, effect) in cases {
        let mut script = Script::new().file("1.jpg", [1, 2, 3]).then(line, answered);
        if let Some(looked) = looked {
            script = script.then(look, looked);
        }
        let error = upload(&script, "1.jpg", &to("a.jpg")).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, effect), "{}", error.message);
        script.finish();
    }
    // An error body under a 200, and a page that is none of the storage's.
    let lie = answer(200, r#"{"statusCode":"413","error":"Payload too large","message":"too large"}"#);
    let script = Script::new().file("1.jpg", [1]).then(line, lie).then(line, answer(200, "<html>"));
    assert_eq!(upload(&script, "1.jpg", &to("a.jpg")).unwrap_err().kind, ErrorKind::InvalidInput);
    let error = upload(&script, "1.jpg", &to("a.jpg")).unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Applied));
    // What is there already is not replaced by accident.
    let taken =
        answer(400, r#"{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}"#);
    let script = Script::new().file("1.jpg", [1]).then(line, taken);
    assert_eq!(upload(&script, "1.jpg", &to("a.jpg")).unwrap_err().kind, ErrorKind::Conflict);
}

#[test]
fn a_file_that_is_not_in_the_folder_is_not_sent() {
    assert_eq!(upload(&Script::new(), "1.jpg", &to("a.jpg")).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn older_storages_keep_their_knowledge_in_metadata() {
    let body = r#"{"id":"7","name":"a.jpg","updated_at":"2026-11-21T01:35:21Z","metadata":{"eTag":"\"e\"","size":5,"mimetype":"image/jpeg"}}"#;
    let script = Script::new().then("GET /storage/v1/object/info/b/a.jpg", answer(200, body));
    let stored = info(&script, "b", "a.jpg").unwrap();
    assert_eq!((stored.bytes, stored.content_type.as_deref()), (Some(5), Some("image/jpeg")));
    assert_eq!(stored.modified.as_deref(), Some("2026-11-21T01:35:21Z"));
}
