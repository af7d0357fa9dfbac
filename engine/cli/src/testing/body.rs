//! A request as expectations see it: `{method, path, at, query, headers, body}`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::wire::Raw;

/// Headers that carry a login, or say nothing.
const LEFT_OUT: [&str; 6] =
    ["authorization", "host", "connection", "content-length", "accept-encoding", "user-agent"];

/// The request; `credentials` are headers in lower case that are left out too.
pub(super) fn seen(raw: &Raw, at: &str, credentials: &[String]) -> Value {
    let (path, query) = raw.target.split_once('?').unwrap_or((&raw.target, ""));
    let headers: Map<String, Value> = raw
        .headers
        .iter()
        .filter(|(name, _)| {
            !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("x-ca-") && !credentials.contains(name)
        })
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "method": raw.method, "path": path, "at": at, "query": fields(query.as_bytes()), "headers": headers,
        "body": body(raw.header("content-type").unwrap_or_default(), &raw.body),
    })
}

/// A field that stands several times is a list.
fn fields(encoded: &[u8]) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in url::form_urlencoded::parse(encoded) {
        let value = json!(value);
        match map.get_mut(name.as_ref()) {
            None => {
                map.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    map
}

/// JSON as it is, a form or multipart as a map, text as text, else `{bytes, sha256}`; null where there is none.
pub(super) fn body(content_type: &str, bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/x-www-form-urlencoded" {
        return Value::Object(fields(bytes));
    }
    if kind == "multipart/form-data"
        && let Some(boundary) = parameter(content_type, "boundary")
    {
        return parts(&boundary, bytes);
    }
    content(bytes)
}

/// JSON where it is some, else text, else what can be said of bytes.
pub(super) fn content(bytes: &[u8]) -> Value {
    let Ok(text) = std::str::from_utf8(bytes) else { return measured(bytes) };
    match text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text)) {
        Some(Ok(value)) => value,
        _ => json!(text),
    }
}

/// `{bytes, sha256}`
pub(super) fn measured(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)) })
}

fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// RFC 7578: a part with a file name is `{filename, type, bytes, sha256}`, another one its JSON or text.
fn parts(boundary: &str, bytes: &[u8]) -> Value {
    let mut map = Map::new();
    let mark = format!("--{boundary}");
    let mut rest = bytes;
    while let Some(at) = position(rest, mark.as_bytes()) {
        rest = &rest[at + mark.len()..];
        let Some(part) = rest.strip_prefix(b"\r\n") else { break };
        let Some(head_end) = position(part, b"\r\n\r\n") else { break };
        let next = format!("\r\n{mark}");
        let body = &part[head_end + 4..];
        let Some(end) = position(body, next.as_bytes()) else { break };
        let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
        let line = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let disposition = line("content-disposition").unwrap_or_default();
        let name = parameter(&disposition, "name").unwrap_or_default();
        let data = &body[..end];
        let value = match parameter(&disposition, "filename") {
            None => content(data),
            Some(filename) => {
                let mut value = measured(data);
                value["filename"] = json!(filename);
                value["type"] = json!(line("content-type"));
                value
            }
        };
        map.insert(name, value);
        rest = &body[end + 2..];
    }
    Value::Object(map)
}

fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_body_is_a_map_of_its_parts() {
        let text = "--B\r\nContent-Disposition: form-data; name=\"FaceDataRecord\"\r\nContent-Type: application/json\r\n\r\n\
                    {\"FPID\":\"1\"}\r\n--B\r\nContent-Disposition: form-data; name=\"img\"; filename=\"a.jpg\"\r\n\
                    Content-Type: image/jpeg\r\n\r\nJPEG\r\n--B--\r\n";
        let value = body("multipart/form-data; boundary=B", text.as_bytes());
        assert_eq!(value["FaceDataRecord"]["FPID"], "1");
        assert_eq!((&value["img"]["bytes"], &value["img"]["type"]), (&json!(4), &json!("image/jpeg")));
    }

    #[test]
    fn other_bodies_are_json_text_or_bytes() {
        assert_eq!(body("", b""), Value::Null);
        assert_eq!(body("application/json", b"[1]"), json!([1]));
        assert_eq!(body("application/xml", b"<a/>"), json!("<a/>"));
        assert_eq!(
            body("application/x-www-form-urlencoded", b"a=1&a=2&b=x%20y"),
            json!({ "a": ["1", "2"], "b": "x y" })
        );
        assert_eq!(body("image/jpeg", &[0xff, 0xd8])["bytes"], 2);
    }
}
