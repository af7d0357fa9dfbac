//! Buckets: listed, looked at, made, emptied, deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bucket, Outcome, StorageLie, body, error, no_bucket, note};
use crate::supabase::Supabase;
use crate::wire::{Answer, Request};

const DEFAULT_LIMIT: usize = 50 * 1024 * 1024;

pub(super) fn answer(supabase: &Supabase, request: &Request, method: &str, path: &[&str]) -> Outcome {
    match (method, path) {
        ("GET", []) => {
            let shelf = supabase.shelf();
            Ok(Answer::json(
                200,
                &shelf.buckets.iter().map(|(name, bucket)| bucket_json(name, bucket)).collect(),
            ))
        }
        ("GET", [name]) => {
            let shelf = supabase.shelf();
            let bucket = shelf.buckets.get(*name).ok_or_else(no_bucket)?;
            Ok(Answer::json(200, &bucket_json(name, bucket)))
        }
        ("POST", []) => create(supabase, request),
        ("POST", [name, "empty"]) => {
            supabase.shelf().buckets.get_mut(*name).ok_or_else(no_bucket)?.objects.clear();
            note(supabase, request, name, "empty bucket");
            Ok(Answer::json(200, &json!({ "message": "Successfully emptied" })))
        }
        ("DELETE", [name]) => {
            let mut shelf = supabase.shelf();
            if !shelf.buckets.get(*name).ok_or_else(no_bucket)?.objects.is_empty() {
                return Err(error("409", "InvalidRequest", "The bucket you tried to delete is not empty"));
            }
            shelf.buckets.remove(*name);
            drop(shelf);
            note(supabase, request, name, "delete bucket");
            Ok(Answer::json(200, &json!({ "message": "Successfully deleted" })))
        }
        _ => Err(error("404", "Not Found", "no such route")),
    }
}

fn create(supabase: &Supabase, request: &Request) -> Outcome {
    let given = body(request)?;
    let name = given.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| error("400", "Error", "body must have required property 'name'"))?;
    let types = given.get("allowed_mime_types").and_then(Value::as_array);
    let limit = given.get("file_size_limit").and_then(Value::as_u64);
    let bucket = Bucket {
        public: given.get("public").and_then(Value::as_bool).unwrap_or_default(),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT),
        types: types.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        objects: BTreeMap::new(),
    };
    let mut shelf = supabase.shelf();
    if shelf.buckets.contains_key(name) {
        return Err(error("409", "Duplicate", "The resource already exists"));
    }
    if shelf.lie != StorageLie::Forgets {
        shelf.buckets.insert(name.to_owned(), bucket);
    }
    drop(shelf);
    note(supabase, request, name, "create bucket");
    Ok(Answer::json(200, &json!({ "name": name })))
}

fn bucket_json(name: &str, bucket: &Bucket) -> Value {
    let types = if bucket.types.is_empty() { Value::Null } else { json!(bucket.types) };
    json!({ "id": name, "name": name, "public": bucket.public, "file_size_limit": bucket.limit, "allowed_mime_types": types })
}
