//! Files in storage: one at a time, in and out (`facts/hikcentral_hikpartner_supabase.md` C3).

use bascule_sdk::{Body, DownloadOptions, Downloaded, Effect, Error, ErrorKind, Files, Pace, Peer, Request};
use serde_json::Value;

use crate::address::{self, Address};
use crate::bindings::exports::bascule::supabase::files::{File, Stored};
use crate::{refusal, storage};

const OBJECT: &str = "/storage/v1/object";
const INFO: &str = "/storage/v1/object/info";
/// What the storage's own client says.
const CACHE_SECONDS: u32 = 3600;

/// Stores a file of the project in the folder.
pub(crate) fn fetch(
    project: &dyn Files,
    address: &str,
    bucket: Option<&str>,
    name: &str,
    overwrite: bool,
) -> Result<File, Error> {
    let (parsed, expected_bytes) = match bucket {
        // With the key, whether the bucket is public or not.
        Some(bucket) => (address::object(address, bucket, OBJECT)?, info(project, bucket, address)?.bytes),
        None => (address::parse(&project.origin(), address)?, None),
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
    let line = storage::line(&request);
    // An error with status 200 is no file, whatever its name.
    let answer_prefixes = vec!["{\"statusCode\":".to_owned()];
    let options = DownloadOptions { expected_bytes, answer_prefixes, overwrite, resume: false };
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

/// What an upload needs to know besides the file.
pub(crate) struct Upload<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) path: &'a str,
    pub(crate) content_type: Option<String>,
    pub(crate) existing: Existing,
    pub(crate) cache_seconds: Option<u32>,
}

/// What becomes of a file that has the path already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Keep,
}

/// Stores a file of the folder in a bucket, and looks whether it is there.
pub(crate) fn upload(project: &dyn Files, name: &str, upload: &Upload<'_>) -> Result<Stored, Error> {
    let bytes = project.size(name)?;
    let content_type = upload.content_type.clone().unwrap_or_else(|| media_type(upload.path).to_owned());
    let mut request = Request::post(address::object_path(upload.path, upload.bucket, OBJECT)?)
        .header("x-upsert", if upload.existing == Existing::Replace { "true" } else { "false" })
        .header("cache-control", format!("max-age={}", upload.cache_seconds.unwrap_or(CACHE_SECONDS)))
        .pace(Pace::Bulk);
    request.body = Body::File(content_type);
    let line = storage::line(&request);
    let answer = storage::read(&project.upload(request, name)?, &line, false)?;
    // {"Id": .., "Key": "bucket/path"}; where it says something else, it wrote something else.
    let path = address::inside(upload.path)?;
    let key = storage::text(&answer, &["Key"]);
    if key.as_ref().is_some_and(|key| *key != format!("{}/{path}", upload.bucket.trim())) {
        return Err(not_so(format!("the storage wrote `{}` instead of `{path}`", key.unwrap_or_default()))
            .effect(Effect::Applied));
    }
    arrived(project, upload.bucket, path, Some(bytes))
}

/// What the storage knows of a file.
pub(crate) fn info(project: &dyn Peer, bucket: &str, path: &str) -> Result<Stored, Error> {
    let row = storage::ask(project, Request::get(address::object_path(path, bucket, INFO)?))?;
    if !row.is_object() {
        return Err(Error::protocol("the storage's answer about the file is no map"));
    }
    Ok(described(&row, bucket, path))
}

/// Looks whether a file is there after a write that was answered with success; with a length, whether it has it.
pub(crate) fn arrived(
    project: &dyn Peer,
    bucket: &str,
    path: &str,
    bytes: Option<u64>,
) -> Result<Stored, Error> {
    let stored = info(project, bucket, path).map_err(|error| match error.kind {
        ErrorKind::NotFound => {
            not_so(format!("the storage said yes, and `{path}` is not in `{}`", bucket.trim()))
        }
        // It was written; that it could not be looked at is another matter.
        _ => error.effect(Effect::Applied),
    })?;
    match (stored.bytes, bytes) {
        (Some(there), Some(sent)) if there != sent => Err(not_so(format!(
            "the storage said yes, and `{path}` has {there} bytes there instead of {sent}"
        ))
        .effect(Effect::Applied)),
        _ => Ok(stored),
    }
}

fn not_so(message: String) -> Error {
    Error::new(ErrorKind::VerificationFailed, message).code("supabase:not-stored")
}

fn described(row: &Value, bucket: &str, path: &str) -> Stored {
    Stored {
        bucket: bucket.trim().to_owned(),
        path: path.trim().trim_start_matches('/').to_owned(),
        id: storage::text(row, &["id"]),
        bytes: storage::length(row, &["size", "contentLength"]),
        content_type: storage::text(row, &["content_type", "contentType", "mimetype"]),
        etag: storage::text(row, &["etag"]).map(|tag| tag.trim_matches('"').to_owned()),
        modified: storage::text(row, &["last_modified", "lastModified", "updated_at"]),
    }
}

/// By the ending of the name.
fn media_type(path: &str) -> &'static str {
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending.unwrap_or_default().to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "csv" => "text/csv",
        "txt" | "log" => "text/plain",
        "mp4" => "video/mp4",
        "mpg" | "mpeg" | "ps" => "video/mpeg",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
