//! Signed addresses: relative, with a token that is checked.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Outcome, body, error, get, no_bucket, no_object, upload as store};
use crate::supabase::Supabase;
use crate::wire::{Answer, Request};

pub(super) fn sign(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    let seconds = expires(&body(request)?)?;
    supabase.shelf().buckets.get(bucket).ok_or_else(no_bucket)?.objects.get(name).ok_or_else(no_object)?;
    Ok(Answer::json(200, &json!({ "signedURL": signed_path(bucket, name, seconds) })))
}

pub(super) fn sign_many(supabase: &Supabase, request: &Request, bucket: &str) -> Outcome {
    let given = body(request)?;
    let seconds = expires(&given)?;
    let shelf = supabase.shelf();
    let held = shelf.buckets.get(bucket).ok_or_else(no_bucket)?;
    let names = given.get("paths").and_then(Value::as_array).cloned().unwrap_or_default();
    let one = |name: &str| {
        if held.objects.contains_key(name) {
            json!({ "error": null, "path": name, "signedURL": signed_path(bucket, name, seconds) })
        } else {
            json!({ "error": "Either the object does not exist or you do not have access to it", "path": name, "signedURL": null })
        }
    };
    Ok(Answer::json(200, &names.iter().filter_map(Value::as_str).map(one).collect()))
}

/// An address to which one file may be uploaded without a key, for two hours.
pub(super) fn ticket(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    let upsert = request.header("x-upsert") == Some("true");
    let shelf = supabase.shelf();
    if shelf.buckets.get(bucket).ok_or_else(no_bucket)?.objects.contains_key(name) && !upsert {
        return Err(error("409", "Duplicate", "The resource already exists"));
    }
    let until = Timestamp::now().checked_add(2.hours()).unwrap_or(Timestamp::MAX).as_second();
    let token = token(&upload_key(bucket, upsert), name, until);
    let path = signed_path(bucket, name, 1);
    let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
    let url = format!("{}?token={token}", path.replacen("/object/sign/", "/object/upload/sign/", 1));
    Ok(Answer::json(200, &json!({ "url": url, "token": token })))
}

/// What a ticket for uploading is signed for; it opens nothing else.
fn upload_key(bucket: &str, upsert: bool) -> String {
    format!("upload:{upsert}:{bucket}")
}

/// The upload with a ticket. Whether it may replace is the ticket's word, not the request's.
pub(super) fn upload(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    let given = request.parameter("token").unwrap_or_default();
    let until = given.split('.').nth(1).and_then(|text| text.parse::<i64>().ok());
    let until = until.ok_or_else(|| error("400", "InvalidJWT", "Invalid Compact JWS"))?;
    let ticket =
        [true, false].into_iter().find(|upsert| token(&upload_key(bucket, *upsert), name, until) == given);
    let upsert =
        ticket.ok_or_else(|| error("400", "InvalidSignature", "The url do not match the signature"))?;
    if until <= Timestamp::now().as_second() {
        return Err(error("400", "InvalidJWT", "\"exp\" claim timestamp check failed"));
    }
    let mut request = request.clone();
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-upsert"));
    request.headers.push(("x-upsert".to_owned(), upsert.to_string()));
    store(supabase, &request, bucket, name, false)
}

fn expires(given: &Map<String, Value>) -> Result<i64, Answer> {
    let seconds = given.get("expiresIn").and_then(Value::as_i64).filter(|seconds| *seconds >= 1);
    seconds.ok_or_else(|| error("400", "Error", "body/expiresIn must be >= 1"))
}

/// Relative, and without `/storage/v1`, as the real one.
fn signed_path(bucket: &str, name: &str, seconds: i64) -> String {
    let until = Timestamp::now().checked_add(seconds.seconds()).unwrap_or(Timestamp::MAX).as_second();
    let escaped: Vec<String> = name
        .split('/')
        .map(|piece| {
            url::form_urlencoded::byte_serialize(piece.as_bytes()).collect::<String>().replace('+', "%20")
        })
        .collect();
    format!("/object/sign/{bucket}/{}?token={}", escaped.join("/"), token(bucket, name, until))
}

/// Stands for the JWT: who, until when, and a proof.
fn token(bucket: &str, name: &str, until: i64) -> String {
    let proof = hex::encode(Sha256::digest(format!("simulated-storage-key:{bucket}/{name}:{until}")));
    format!("sim.{until}.{}", proof.get(..32).unwrap_or_default())
}

pub(super) fn signed(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    let given = request.parameter("token").unwrap_or_default();
    let until = given.split('.').nth(1).and_then(|text| text.parse::<i64>().ok());
    match until {
        Some(until) if token(bucket, name, until) == given => {
            if until <= Timestamp::now().as_second() {
                return Err(error("400", "InvalidJWT", "\"exp\" claim timestamp check failed"));
            }
            get(supabase, request, bucket, name)
        }
        Some(_) => Err(error("400", "InvalidSignature", "The url do not match the signature")),
        None => Err(error("400", "InvalidJWT", "Invalid Compact JWS")),
    }
}
