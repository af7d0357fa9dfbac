//! `/storage/v1/`: buckets, files, signed addresses. Nearly all errors are HTTP 400 with the status as text inside.

mod buckets;
mod signed;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{PUBLISHABLE_KEY, Role, SERVICE_KEY, Supabase, legacy};
use crate::ledger::Kind;
use crate::wire::{Answer, Request, multipart};

/// Stored files by bucket.
pub(super) struct Shelf {
    buckets: BTreeMap<String, Bucket>,
    lie: StorageLie,
}

/// What the storage does although it says yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageLie {
    /// What it says.
    #[default]
    None,
    /// Nothing: what is uploaded, copied or made is not there afterwards.
    Forgets,
    /// It keeps the first half of what is uploaded.
    Halves,
}

struct Bucket {
    public: bool,
    /// The largest file, in bytes.
    limit: usize,
    /// Allowed types; empty for all.
    types: Vec<String>,
    objects: BTreeMap<String, Object>,
}

struct Object {
    id: String,
    content_type: String,
    body: Bytes,
    updated: Timestamp,
}

impl Shelf {
    pub(super) fn new() -> Self {
        let bucket = |public, types: &[&str]| Bucket {
            public,
            limit: 50 * 1024 * 1024,
            types: types.iter().map(|&kind| kind.to_owned()).collect(),
            objects: BTreeMap::new(),
        };
        let photos = bucket(true, &["image/jpeg", "image/png"]);
        let buckets = [("photos".to_owned(), photos), ("documents".to_owned(), bucket(false, &[]))].into();
        Self { buckets, lie: StorageLie::None }
    }

    pub(super) fn set_lie(&mut self, lie: StorageLie) {
        self.lie = lie;
    }

    /// The names of a bucket's files; `None` if there is no such bucket.
    pub(super) fn names(&self, bucket: &str) -> Option<Vec<String>> {
        Some(self.buckets.get(bucket)?.objects.keys().cloned().collect())
    }

    pub(super) fn put(&mut self, bucket: &str, name: &str, content_type: &str, body: Bytes) {
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.put(name, content_type, body);
        }
    }

    pub(super) fn get(&self, bucket: &str, name: &str) -> Option<Bytes> {
        self.buckets.get(bucket)?.objects.get(name).map(|object| object.body.clone())
    }
}

impl Bucket {
    fn put(&mut self, name: &str, content_type: &str, body: Bytes) -> String {
        let id = self
            .objects
            .get(name)
            .map_or_else(|| uuid::Uuid::new_v4().to_string(), |object| object.id.clone());
        let object =
            Object { id: id.clone(), content_type: content_type.to_owned(), body, updated: Timestamp::now() };
        self.objects.insert(name.to_owned(), object);
        id
    }
}

/// An error in storage's own form.
fn error(status: &str, error: &str, message: &str) -> Answer {
    Answer::json(400, &json!({ "statusCode": status, "error": error, "message": message }))
}

fn no_object() -> Answer {
    error("404", "not_found", "Object not found")
}

fn no_bucket() -> Answer {
    error("404", "Bucket not found", "Bucket not found")
}

pub(super) fn answer(supabase: &Supabase, request: &Request, path: &str) -> Answer {
    let pieces: Vec<String> = path.split('/').map(decoded).collect();
    let words: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    let outcome = match (method, words.as_slice()) {
        ("GET" | "HEAD", ["object", "public", bucket, name @ ..]) => {
            public(supabase, request, bucket, &name.join("/"))
        }
        ("GET" | "HEAD", ["object", "sign", bucket, name @ ..]) => {
            signed::signed(supabase, request, bucket, &name.join("/"))
        }
        ("PUT", ["object", "upload", "sign", bucket, name @ ..]) => {
            signed::upload(supabase, request, bucket, &name.join("/"))
        }
        _ => match may_enter(request) {
            Err(answer) => Err(answer),
            Ok(()) => private(supabase, request, method, &words),
        },
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

fn may_enter(request: &Request) -> Result<(), Answer> {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match bearer.or_else(|| request.header("apikey")) {
        Some(SERVICE_KEY) => Ok(()),
        Some(PUBLISHABLE_KEY) => {
            Err(error("403", "Unauthorized", "new row violates row-level security policy"))
        }
        Some(token) => match legacy::read(token) {
            Ok(Role::Service) => Ok(()),
            Ok(Role::Anonymous) => {
                Err(error("403", "Unauthorized", "new row violates row-level security policy"))
            }
            Err(legacy::Flaw::NoToken) => Err(error("403", "Unauthorized", "Invalid Compact JWS")),
            Err(legacy::Flaw::Signature) => {
                Err(error("403", "Unauthorized", "signature verification failed"))
            }
            Err(legacy::Flaw::Expired) => {
                Err(error("403", "Unauthorized", "\"exp\" claim timestamp check failed"))
            }
        },
        None => Err(error("400", "Error", "headers must have required property 'authorization'")),
    }
}

type Outcome = Result<Answer, Answer>;

fn private(supabase: &Supabase, request: &Request, method: &str, words: &[&str]) -> Outcome {
    match (method, words) {
        (_, ["bucket", rest @ ..]) => buckets::answer(supabase, request, method, rest),
        ("POST", ["object", "upload", "sign", bucket, name @ ..]) => {
            signed::ticket(supabase, request, bucket, &name.join("/"))
        }
        ("POST", ["object", "sign", bucket]) => signed::sign_many(supabase, request, bucket),
        ("POST", ["object", "sign", bucket, name @ ..]) => {
            signed::sign(supabase, request, bucket, &name.join("/"))
        }
        ("POST", ["object", "list", bucket]) => list(supabase, request, bucket),
        ("POST", ["object", verb @ ("move" | "copy")]) => transfer(supabase, request, *verb == "move"),
        ("GET", ["object", "info", bucket, name @ ..]) => info(supabase, bucket, &name.join("/")),
        ("GET" | "HEAD", ["object", "authenticated", bucket, name @ ..] | ["object", bucket, name @ ..]) => {
            get(supabase, request, bucket, &name.join("/"))
        }
        ("POST" | "PUT", ["object", bucket, name @ ..]) if !name.is_empty() => {
            upload(supabase, request, bucket, &name.join("/"), method == "PUT")
        }
        ("DELETE", ["object", bucket]) => remove(supabase, request, bucket),
        ("DELETE", ["object", bucket, name @ ..]) => {
            let name = name.join("/");
            let gone = supabase.shelf().buckets.get_mut(*bucket).ok_or_else(no_bucket)?.objects.remove(&name);
            gone.ok_or_else(no_object)?;
            note(supabase, request, &format!("{bucket}/{name}"), "delete");
            Ok(Answer::json(200, &json!({ "message": "Successfully deleted" })))
        }
        _ => {
            let message = format!("Route {}:{} not found", request.method, request.target);
            Err(Answer::json(404, &json!({ "statusCode": "404", "error": "Not Found", "message": message })))
        }
    }
}

fn public(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    if !supabase.shelf().buckets.get(bucket).is_some_and(|bucket| bucket.public) {
        return Err(no_bucket());
    }
    get(supabase, request, bucket, name)
}

fn get(supabase: &Supabase, request: &Request, bucket: &str, name: &str) -> Outcome {
    let shelf = supabase.shelf();
    let object = shelf.buckets.get(bucket).ok_or_else(no_bucket)?.objects.get(name).ok_or_else(no_object)?;
    let tag = format!("\"{}\"", object.tag());
    if request.header("if-none-match") == Some(tag.as_str()) {
        return Ok(Answer::empty(304).with("ETag", tag));
    }
    let mut answer = Answer::new(200, &object.content_type, object.body.clone());
    if let Some(file) = request.parameter("download") {
        let file = if file.is_empty() { name.rsplit('/').next().unwrap_or(name).to_owned() } else { file };
        answer = answer.with("Content-Disposition", format!("attachment; filename=\"{file}\""));
    }
    Ok(answer.with("ETag", tag).with("Cache-Control", "max-age=3600"))
}

impl Object {
    fn tag(&self) -> String {
        hex::encode(Sha256::digest(&self.body)).get(..32).unwrap_or_default().to_owned()
    }
}

fn upload(supabase: &Supabase, request: &Request, bucket: &str, name: &str, overwrite: bool) -> Outcome {
    let mut shelf = supabase.shelf();
    let held = shelf.buckets.get_mut(bucket).ok_or_else(no_bucket)?;
    let kind = request.header("content-type").unwrap_or("application/octet-stream");
    let (kind, body) = if kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        let parts = multipart::parse(kind, &request.body).unwrap_or_default();
        let file = parts.into_iter().find(|part| part.file_name.is_some());
        let file = file.ok_or_else(|| error("400", "Error", "the form holds no file"))?;
        (file.content_type, file.body)
    } else {
        (kind.to_owned(), request.body.clone())
    };
    let plain = kind.split(';').next().unwrap_or_default().trim();
    if !held.types.is_empty() && !held.types.iter().any(|allowed| allowed == plain) {
        return Err(error("415", "invalid_mime_type", &format!("mime type {plain} is not supported")));
    }
    if body.len() > held.limit {
        return Err(error("413", "Payload too large", "The object exceeded the maximum allowed size"));
    }
    let exists = held.objects.contains_key(name);
    let upsert = overwrite || request.header("x-upsert") == Some("true");
    if exists && !upsert {
        return Err(error("409", "Duplicate", "The resource already exists"));
    }
    if overwrite && !exists {
        return Err(no_object());
    }
    let id = keep(&mut shelf, bucket, name, &kind, body)?;
    drop(shelf);
    note(supabase, request, &format!("{bucket}/{name}"), if exists { "overwrite" } else { "create" });
    Ok(Answer::json(200, &json!({ "Id": id, "Key": format!("{bucket}/{name}") })))
}

/// Stores a file, or does what it does instead; the id is given in any case.
fn keep(shelf: &mut Shelf, bucket: &str, name: &str, kind: &str, body: Bytes) -> Result<String, Answer> {
    let lie = shelf.lie;
    let held = shelf.buckets.get_mut(bucket).ok_or_else(no_bucket)?;
    Ok(match lie {
        StorageLie::None => held.put(name, kind, body),
        StorageLie::Forgets => uuid::Uuid::new_v4().to_string(),
        StorageLie::Halves => held.put(name, kind, body.slice(..body.len() / 2)),
    })
}

fn remove(supabase: &Supabase, request: &Request, bucket: &str) -> Outcome {
    let names = body(request)?.get("prefixes").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut shelf = supabase.shelf();
    let held = shelf.buckets.get_mut(bucket).ok_or_else(no_bucket)?;
    let mut gone = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        if let Some(object) = held.objects.remove(name) {
            gone.push(json!({ "name": name, "bucket_id": bucket, "id": object.id }));
        }
    }
    drop(shelf);
    note(supabase, request, bucket, &format!("delete {}", gone.len()));
    Ok(Answer::json(200, &gone.into()))
}

fn transfer(supabase: &Supabase, request: &Request, moves: bool) -> Outcome {
    let given = body(request)?;
    let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (bucket, from, to) = (text("bucketId"), text("sourceKey"), text("destinationKey"));
    let target = match text("destinationBucket") {
        other if !other.is_empty() => other,
        _ => bucket.clone(),
    };
    let mut shelf = supabase.shelf();
    if shelf.buckets.get(&target).ok_or_else(no_bucket)?.objects.contains_key(&to) {
        return Err(error("409", "Duplicate", "The resource already exists"));
    }
    let held = shelf.buckets.get(&bucket).ok_or_else(no_bucket)?;
    let source = held.objects.get(&from).ok_or_else(no_object)?;
    let (kind, body) = (source.content_type.clone(), source.body.clone());
    let id = keep(&mut shelf, &target, &to, &kind, body)?;
    if moves && let Some(held) = shelf.buckets.get_mut(&bucket) {
        held.objects.remove(&from);
    }
    drop(shelf);
    note(supabase, request, &format!("{target}/{to}"), if moves { "move" } else { "copy" });
    Ok(Answer::json(
        200,
        &if moves {
            json!({ "message": "Successfully moved" })
        } else {
            json!({ "Id": id, "Key": format!("{target}/{to}") })
        },
    ))
}

fn info(supabase: &Supabase, bucket: &str, name: &str) -> Outcome {
    let shelf = supabase.shelf();
    let object = shelf.buckets.get(bucket).ok_or_else(no_bucket)?.objects.get(name).ok_or_else(no_object)?;
    Ok(Answer::json(
        200,
        &json!({
            "id": object.id, "name": name, "bucket_id": bucket, "size": object.body.len(),
            "content_type": object.content_type, "etag": object.tag(), "last_modified": object.updated.to_string(),
        }),
    ))
}

/// One level of names below a prefix; folders are rows without an id.
fn list(supabase: &Supabase, request: &Request, bucket: &str) -> Outcome {
    let given = body(request)?;
    let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str, otherwise: usize| {
        given
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(otherwise)
    };
    let prefix = match text("prefix").trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let shelf = supabase.shelf();
    let held = shelf.buckets.get(bucket).ok_or_else(no_bucket)?;
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    for (name, object) in &held.objects {
        let Some(rest) = name.strip_prefix(&prefix).filter(|rest| rest.contains(text("search"))) else {
            continue;
        };
        let row = match rest.split_once('/') {
            Some((folder, _)) => (
                folder,
                json!({ "name": folder, "id": null, "updated_at": null, "created_at": null, "last_accessed_at": null, "metadata": null }),
            ),
            None => (
                rest,
                json!({
                    "name": rest, "id": object.id, "updated_at": object.updated.to_string(),
                    "created_at": object.updated.to_string(), "last_accessed_at": object.updated.to_string(),
                    "metadata": { "size": object.body.len(), "mimetype": object.content_type, "eTag": object.tag() },
                }),
            ),
        };
        rows.insert(row.0.to_owned(), row.1);
    }
    let mut rows: Vec<Value> = rows.into_values().collect();
    let column =
        given.get("sortBy").and_then(|by| by.get("column")).and_then(Value::as_str).unwrap_or("name");
    if !matches!(column, "name" | "created_at" | "updated_at" | "last_accessed_at") {
        return Err(error("400", "Error", "body/sortBy/column must be equal to one of the allowed values"));
    }
    // Folders have no times and come last, as nulls do.
    rows.sort_by_key(|row| {
        let value = row.get(column).and_then(Value::as_str).map(str::to_owned);
        (value.is_none(), value)
    });
    if given.get("sortBy").and_then(|by| by.get("order")).and_then(Value::as_str) == Some("desc") {
        rows.reverse();
    }
    Ok(Answer::json(200, &rows.into_iter().skip(number("offset", 0)).take(number("limit", 100)).collect()))
}

fn body(request: &Request) -> Result<Map<String, Value>, Answer> {
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(error("400", "Error", "body must be object")),
    }
}

fn note(supabase: &Supabase, request: &Request, subject: &str, verb: &str) {
    supabase.note(request, Kind::ObjectWrite, "service key", Some(subject.to_owned()), verb.to_owned());
}

/// Percent-decoding of one path segment; `+` stays.
fn decoded(text: &str) -> String {
    let kept = text.replace('+', "%2B").replace('&', "%26");
    url::form_urlencoded::parse(format!("k={kept}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
