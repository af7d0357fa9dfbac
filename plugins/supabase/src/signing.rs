//! Addresses that work without a key until they expire.

use bascule_sdk::{Error, Peer, Request, encode_segment, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::supabase::files::{Signed, Ticket};
use crate::{address, storage};

const SIGN: &str = "/storage/v1/object/sign";

/// The whole address of one file.
pub(crate) fn one(
    project: &dyn Peer,
    bucket: &str,
    path: &str,
    expires_in: u32,
    download_as: Option<&str>,
) -> Result<String, Error> {
    let seconds = valid(expires_in)?;
    let request =
        Request::post(address::object_path(path, bucket, SIGN)?).json(&json!({ "expiresIn": seconds }));
    let answer = storage::ask(project, request)?;
    let relative = storage::text(&answer, &["signedURL"])
        .ok_or_else(|| Error::protocol("the storage's answer has no `signedURL`"))?;
    let mut url = whole(&project.origin(), &relative)?;
    if let Some(name) = download_as {
        url.push_str(if url.contains('?') { "&download=" } else { "?download=" });
        url.push_str(&encode_segment(name));
    }
    Ok(url)
}

/// The same for several files; the storage says for each whether it is there.
pub(crate) fn several(
    project: &dyn Peer,
    bucket: &str,
    paths: &[String],
    expires_in: u32,
) -> Result<Vec<Signed>, Error> {
    let seconds = valid(expires_in)?;
    let paths: Vec<&str> = paths.iter().map(|path| address::inside(path)).collect::<Result<_, _>>()?;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let request = Request::post(address::bucket_path(bucket, SIGN)?)
        .json(&json!({ "expiresIn": seconds, "paths": paths }));
    let Value::Array(rows) = storage::ask(project, request)? else {
        return Err(Error::protocol("the storage's answer is no list of signed addresses"));
    };
    let origin = project.origin();
    paths
        .into_iter()
        .map(|path| {
            let row = rows.iter().find(|row| storage::text(row, &["path"]).as_deref() == Some(path));
            let url = row.and_then(|row| storage::text(row, &["signedURL"]));
            let url = url.map(|relative| whole(&origin, &relative)).transpose()?;
            let error = match (&url, row.and_then(|row| storage::text(row, &["error"]))) {
                (Some(_), _) => None,
                (None, Some(error)) => Some(error),
                (None, None) => Some("the storage said nothing about it".to_owned()),
            };
            Ok(Signed { path: path.to_owned(), url, error })
        })
        .collect()
}

/// Where somebody else may upload one file.
pub(crate) fn ticket(project: &dyn Peer, bucket: &str, path: &str, overwrite: bool) -> Result<Ticket, Error> {
    let path = address::object_path(path, bucket, "/storage/v1/object/upload/sign")?;
    let mut request = Request::post(path).json(&json!({}));
    if overwrite {
        request = request.header("x-upsert", "true");
    }
    let answer = storage::ask(project, request)?;
    let relative = storage::text(&answer, &["url", "signedURL"])
        .ok_or_else(|| Error::protocol("the storage's answer has no `url`"))?;
    let url = whole(&project.origin(), &relative)?;
    // Older servers say the token only in the address.
    let token = json::field(&answer, "token").and_then(json::as_text).or_else(|| {
        let query = relative.split_once('?')?.1;
        query.split('&').find_map(|field| field.strip_prefix("token=")).map(str::to_owned)
    });
    let token = token.ok_or_else(|| Error::protocol("the storage's answer has no `token`"))?;
    Ok(Ticket { url, token })
}

fn valid(expires_in: u32) -> Result<u32, Error> {
    if expires_in == 0 {
        return Err(Error::invalid_input("`expires-in` is 0: the address would never work"));
    }
    Ok(expires_in)
}

/// The storage gives addresses that begin behind `/storage/v1`; a few servers give more of them.
fn whole(origin: &str, relative: &str) -> Result<String, Error> {
    let below = if relative.starts_with("/storage/v1/") {
        relative.to_owned()
    } else if relative.starts_with('/') {
        format!("/storage/v1{relative}")
    } else {
        relative.to_owned()
    };
    address::public_url(origin, &below, None)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    #[test]
    fn an_address_is_completed_with_origin_and_prefix() {
        let line = "POST /storage/v1/object/sign/photos/a.jpg";
        let script = || Script::new().at("https://proj.supabase.co:443");
        let real = answer(200, r#"{"signedURL":"/object/sign/photos/a.jpg?token=eyJ.x%2By"}"#);
        let lite = answer(200, r#"{"signedUrl":"/storage/v1/object/sign/photos/a.jpg?token=eyJ.x"}"#);
        let script = script().then(line, real).then(line, lite);
        let expected = "https://proj.supabase.co/storage/v1/object/sign/photos/a.jpg?token=eyJ.x";
        assert_eq!(one(&script, "photos", "a.jpg", 60, None).unwrap(), format!("{expected}%2By"));
        assert_eq!(
            one(&script, "photos", "a.jpg", 60, Some("Ana B.jpg")).unwrap(),
            format!("{expected}&download=Ana%20B.jpg")
        );
        assert_eq!(script.body(0), r#"{"expiresIn":60}"#);
        assert!(one(&Script::new(), "photos", "a.jpg", 0, None).is_err());
    }

    #[test]
    fn a_missing_file_does_not_fail_the_others() {
        let body = r#"[{"error":"Either the object does not exist or you do not have access to it","path":"b.jpg","signedURL":null},
            {"error":null,"path":"a.jpg","signedURL":"/object/sign/photos/a.jpg?token=t"}]"#;
        let script = Script::new().then("POST /storage/v1/object/sign/photos", answer(200, body));
        let paths = ["a.jpg".to_owned(), "/b.jpg".to_owned(), "c.jpg".to_owned()];
        let signed = several(&script, "photos", &paths, 60).unwrap();
        assert_eq!(
            signed[0].url.as_deref(),
            Some("https://peer.test/storage/v1/object/sign/photos/a.jpg?token=t")
        );
        assert!(signed[1].url.is_none() && signed[1].error.as_ref().unwrap().contains("does not exist"));
        assert!(signed[2].url.is_none() && signed[2].error.is_some());
        assert!(several(&Script::new(), "photos", &[], 60).unwrap().is_empty());
    }

    #[test]
    fn an_upload_ticket_has_address_and_token() {
        let line = "POST /storage/v1/object/upload/sign/photos/a.jpg";
        let body = r#"{"url":"/object/upload/sign/photos/a.jpg?token=TOK","token":"TOK"}"#;
        let older = r#"{"url":"/object/upload/sign/photos/a.jpg?token=TOK"}"#;
        let script = Script::new().then(line, answer(200, body)).then(line, answer(200, older));
        for _ in 0..2 {
            let ticket = ticket(&script, "photos", "a.jpg", true).unwrap();
            assert_eq!(ticket.token, "TOK");
            assert_eq!(ticket.url, "https://peer.test/storage/v1/object/upload/sign/photos/a.jpg?token=TOK");
        }
        assert_eq!(script.sent()[0].headers[0].name, "x-upsert");
    }
}
