//! The body of a delivery as `trigger.body`, read as the trigger says, whatever the sender calls it.

use bascule_capability::storage::Folder;
use bascule_workflow::failure::Failure;
use bascule_workflow::trigger::Body;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::multipart::{self, Part};
use super::{json as strict_json, xml};
use crate::refusal::Refusal;

/// Most fields of a form.
const MAX_FIELDS: usize = 1000;

/// What came in, decoded. Files that it brought are stored; [`Decoded::discard`] removes them where nothing comes of
/// it.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    stored: Vec<String>,
    folder: Option<Folder>,
}

impl Decoded {
    /// Removes the files that were stored.
    pub(crate) async fn discard(&self) {
        let Some(folder) = &self.folder else { return };
        for name in &self.stored {
            if let Err(failure) = folder.delete(name).await {
                tracing::warn!(file = name, %failure.message, "a file of a refused delivery stays behind");
            }
        }
    }
}

/// Refuses a body whose sender says that it is something else. Silence is taken for the right thing.
pub(crate) fn check_type(body: &Body, content_type: Option<&str>) -> Result<(), Refusal> {
    let Some(given) = content_type else { return Ok(()) };
    let essence = essence(given);
    let (fits, wanted) = match body {
        Body::Json => (is_json(&essence), "application/json"),
        Body::Xml => (is_xml(&essence), "application/xml"),
        Body::Form => (essence == "application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        // A terminal sends multipart where there is a picture, and the bare event where there is none.
        Body::Multipart { .. } => (
            essence.starts_with("multipart/") || is_json(&essence) || is_xml(&essence),
            "multipart/form-data",
        ),
        Body::Text => (true, "text/plain"),
    };
    if fits {
        return Ok(());
    }
    let shown: String = essence.chars().take(80).collect();
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-type",
        format!("this webhook does not take `{shown}`"),
    )
    .help(format!("send {wanted}")))
}

/// Decodes the body. `folder` is there for `multipart`; files are stored below `prefix`.
pub(crate) async fn decode(
    kind: &Body,
    content_type: Option<&str>,
    bytes: &Bytes,
    folder: Option<Folder>,
    prefix: &str,
) -> Result<Decoded, Refusal> {
    let plain = |value| Ok(Decoded { value, ..Decoded::default() });
    match kind {
        // GET and DELETE carry nothing.
        Body::Json | Body::Xml | Body::Form if bytes.is_empty() => plain(Value::Null),
        Body::Json => plain(strict_json::parse(bytes).map_err(|why| malformed("JSON", &why))?),
        Body::Xml => plain(xml::parse(bytes).map_err(|why| malformed("XML", &why))?),
        Body::Form => plain(form(bytes)?),
        Body::Text => match std::str::from_utf8(bytes) {
            Ok(text) => plain(Value::from(text)),
            Err(_) => Err(malformed("text", "it is not UTF-8")),
        },
        Body::Multipart { .. } => {
            let content_type = content_type.unwrap_or_default();
            let essence = essence(content_type);
            if is_json(&essence) {
                return plain(strict_json::parse(bytes).map_err(|why| malformed("JSON", &why))?);
            }
            if is_xml(&essence) {
                return plain(xml::parse(bytes).map_err(|why| malformed("XML", &why))?);
            }
            let parts = multipart::boundary(content_type)
                .and_then(|boundary| multipart::parse(bytes, &boundary))
                .map_err(|why| malformed("multipart", &why))?;
            let Some(folder) = folder else {
                return Err(Refusal::unavailable("not-ready", "this webhook has no folder for files"));
            };
            store(parts, folder, prefix).await
        }
    }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn is_xml(essence: &str) -> bool {
    matches!(essence, "application/xml" | "text/xml")
        || (essence.starts_with("application/") && essence.ends_with("+xml"))
}

fn malformed(what: &str, why: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "malformed-body",
        format!("the body is not {what} as it should be: {why}"),
    )
}

/// A name that stands there more than once has a list.
fn put(map: &mut Map<String, Value>, name: String, value: Value, lists: &mut Vec<String>) {
    if lists.contains(&name) {
        if let Some(Value::Array(list)) = map.get_mut(&name) {
            list.push(value);
        }
        return;
    }
    if let Some(first) = map.shift_remove(&name) {
        lists.push(name.clone());
        map.insert(name, Value::Array(vec![first, value]));
        return;
    }
    map.insert(name, value);
}

fn form(bytes: &[u8]) -> Result<Value, Refusal> {
    let (mut map, mut lists) = (Map::new(), Vec::new());
    for (count, (name, value)) in url::form_urlencoded::parse(bytes).enumerate() {
        if count >= MAX_FIELDS {
            return Err(malformed("a form", &format!("it has more than {MAX_FIELDS} fields")));
        }
        put(&mut map, name.into_owned(), Value::from(value.into_owned()), &mut lists);
    }
    Ok(Value::Object(map))
}

async fn store(parts: Vec<Part<'_>>, folder: Folder, prefix: &str) -> Result<Decoded, Refusal> {
    let mut decoded = Decoded { folder: Some(folder.clone()), ..Decoded::default() };
    let (mut map, mut lists) = (Map::new(), Vec::new());
    for (index, part) in parts.into_iter().enumerate() {
        let name = part.name.clone().unwrap_or_else(|| format!("part-{}", index + 1));
        match value_of(&part, index, &folder, prefix, &mut decoded.stored).await {
            Ok(value) => put(&mut map, name, value, &mut lists),
            Err(refusal) => {
                decoded.discard().await;
                return Err(refusal);
            }
        }
    }
    decoded.value = Value::Object(map);
    Ok(decoded)
}

async fn value_of(
    part: &Part<'_>,
    index: usize,
    folder: &Folder,
    prefix: &str,
    stored: &mut Vec<String>,
) -> Result<Value, Refusal> {
    let kind = part.content_type.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(part.data).ok();
    let is_file = part.file_name.is_some() || (text.is_none() || kind.starts_with("image/"));
    if !is_file {
        let text = text.unwrap_or_default();
        let begins = text.trim_start();
        // Terminals send the event without saying what it is.
        let unsaid = kind.is_empty();
        // What turns out to be something else stays text: one odd part is no reason to refuse the pictures beside it.
        let read = if is_json(kind) || (unsaid && begins.starts_with('{')) {
            strict_json::parse(part.data).ok()
        } else if is_xml(kind) || (unsaid && begins.starts_with('<')) {
            xml::parse(part.data).ok()
        } else {
            None
        };
        return Ok(read.unwrap_or_else(|| Value::from(text)));
    }
    let extension = extension(part);
    let file = format!("{prefix}-{}{extension}", index + 1);
    let entry = folder
        .write(&file, Bytes::copy_from_slice(part.data))
        .await
        .map_err(|failure| not_stored(&failure))?;
    stored.push(file);
    Ok(json!({
        "file": entry.name, "bytes": entry.bytes, "sha256": hex::encode(Sha256::digest(part.data)),
        "type": part.content_type, "name": part.file_name,
    }))
}

/// `.jpg` and the like: by the type, else by the sender's name as far as it is harmless.
fn extension(part: &Part<'_>) -> String {
    match part.content_type.as_deref() {
        Some("image/jpeg" | "image/pjpeg" | "image/jpg") => return ".jpg".to_owned(),
        Some("image/png") => return ".png".to_owned(),
        _ => {}
    }
    let name = part.file_name.as_deref().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, extension))
            if (1..=8).contains(&extension.len())
                && extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            format!(".{}", extension.to_ascii_lowercase())
        }
        _ => String::new(),
    }
}

fn not_stored(failure: &Failure) -> Refusal {
    tracing::error!(
        message = failure.message,
        code = failure.code,
        "a file of a delivery could not be stored"
    );
    Refusal::unavailable("not-stored", "a file could not be stored")
        .help("nothing was accepted: send it again later")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    async fn value(kind: &Body, content_type: &str, body: &[u8]) -> Result<Value, Refusal> {
        decode(kind, Some(content_type), &Bytes::copy_from_slice(body), None, "x")
            .await
            .map(|decoded| decoded.value)
    }

    #[tokio::test]
    async fn forms_and_text_become_maps_and_text() {
        let form = value(&Body::Form, "", b"a=1&b=x+y%21&a=2&a=3").await.unwrap();
        assert_eq!(form, json!({ "b": "x y!", "a": ["1", "2", "3"] }));
        assert_eq!(value(&Body::Text, "", "ș".as_bytes()).await.unwrap(), json!("ș"));
        assert_eq!(value(&Body::Text, "", b"\xff").await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert_eq!(value(&Body::Json, "", b"").await.unwrap(), Value::Null);
    }

    #[test]
    fn the_type_comes_from_the_trigger_and_a_contradiction_is_refused() {
        for (kind, content_type, fits) in [
            (Body::Json, Some("application/json; charset=utf-8"), true),
            (Body::Json, Some("application/cloudevents+json"), true),
            (Body::Json, None, true),
            (Body::Json, Some("text/xml"), false),
            (Body::Xml, Some("text/xml"), true),
            (Body::Xml, Some("application/json"), false),
            (Body::Form, Some("multipart/form-data; boundary=x"), false),
            (Body::Multipart { folder: "f".to_owned() }, Some("application/json"), true),
            (Body::Multipart { folder: "f".to_owned() }, Some("image/jpeg"), false),
            (Body::Text, Some("application/octet-stream"), true),
        ] {
            let checked = check_type(&kind, content_type);
            assert_eq!(checked.is_ok(), fits, "{kind:?} {content_type:?}");
            if let Err(refusal) = checked {
                assert_eq!(refusal.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
        }
    }

    #[tokio::test]
    async fn files_of_a_multipart_body_lie_in_the_folder_and_go_when_nothing_comes_of_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open("inbox", place.path()).await.unwrap();
        let body = b"--b\r\nContent-Disposition: form-data; name=\"event_log\"\r\n\r\n{\"id\":7}\r\n--b\r\nContent-Disposition: form-data; name=\"Picture\"; filename=\"../../etc/x.PNG\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\r\n--b--\r\n";
        let kind = Body::Multipart { folder: "inbox".to_owned() };
        let decoded = decode(
            &kind,
            Some("multipart/form-data; boundary=b"),
            &Bytes::from_static(body),
            Some(folder.clone()),
            "2026-11-21/abc",
        )
        .await
        .unwrap();
        assert_eq!(decoded.value["event_log"]["id"], 7);
        let file = decoded.value["Picture"]["file"].as_str().unwrap();
        assert_eq!(file, "2026-11-21/abc-2.jpg");
        assert_eq!(folder.read(file).await.unwrap(), Bytes::from_static(b"\xff\xd8\xff"));
        decoded.discard().await;
        assert!(folder.list("").await.unwrap().is_empty());
    }
}
