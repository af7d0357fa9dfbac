//! Files in storage.

use bascule_sdk::{DownloadOptions, Downloaded, Error, Files, Pace, Request};

use crate::address::{self, Address};
use crate::bindings::exports::bascule::supabase::files::File;
use crate::refusal;

/// Stores a file of the project in the folder.
pub(crate) fn fetch(
    project: &dyn Files,
    address: &str,
    bucket: Option<&str>,
    name: &str,
    overwrite: bool,
) -> Result<File, Error> {
    let parsed = match bucket {
        // With the key, whether the bucket is public or not.
        Some(bucket) => address::object(address, bucket, "/storage/v1/object")?,
        None => address::parse(&project.origin(), address)?,
    };
    let Address::Own { path, query, .. } = parsed else {
        return Err(Error::refused(format!(
            "`{}` is not an address of this connection ({}); another host needs a connection of its own",
            address.escape_debug(),
            project.origin()
        )));
    };
    let mut request = Request::get(path).pace(Pace::Bulk);
    for (name, value) in query {
        request = request.query(name, value);
    }
    // Without the query: it may hold a token.
    let line = format!("GET {}", request.path);
    let options = DownloadOptions { expected_bytes: None, answer_prefixes: Vec::new(), overwrite };
    match project.download(request, name, &options)? {
        Downloaded::Stored(transfer) => Ok(File {
            name: transfer.name,
            bytes: transfer.bytes,
            sha256: transfer.sha256,
            content_type: transfer.content_type,
        }),
        Downloaded::Answered(response) => Err(refusal::of_storage(&response, &line)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer, answer_with};
    use bascule_sdk::{ErrorKind, Peer as _};

    use super::*;

    #[test]
    fn a_file_is_fetched_by_path_in_a_bucket_or_by_address() {
        let jpeg = || answer_with(200, &[("Content-Type", "image/jpeg")], [0xFF, 0xD8, 0xFF, 0xD9]);
        let script = Script::new()
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
        let body = r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#;
        let script =
            Script::new().then("GET /storage/v1/object/sign/photos/1.jpg?token=TOK", answer(400, body));
        let error = fetch(&script, "/storage/v1/object/sign/photos/1.jpg?token=TOK", None, "1.jpg", true)
            .unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "Object not found"));
        assert!(!format!("{error:?}").contains("TOK"));
    }

    #[test]
    fn another_host_is_refused_before_anything_is_sent() {
        let error = fetch(&Script::new(), "https://photos.example/1.jpg", None, "1.jpg", true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }
}
