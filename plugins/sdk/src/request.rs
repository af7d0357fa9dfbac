//! Building requests.

use serde_json::Value;

use crate::http::{Body, Content, Field, Method, Pace, Part, PartData, Request};

impl Request {
    /// A request without query, headers or body. `path` starts with `/` and is percent-encoded where needed
    /// ([`encode_segment`] for a value inside it).
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            pace: Pace::Normal,
        }
    }

    /// `GET`
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// `POST`
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    /// `PUT`
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::Put, path)
    }

    /// `PATCH`
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::Patch, path)
    }

    /// `DELETE`
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, path)
    }

    /// Appends a query parameter; the host percent-encodes both sides.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push(Field { name: name.into(), value: value.into() });
        self
    }

    /// Appends a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Field { name: name.into(), value: value.into() });
        self
    }

    /// How long the peer may take.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// A body of that media type.
    #[must_use]
    pub fn content(mut self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Content(Content { content_type: content_type.into(), data: data.into() });
        self
    }

    /// A JSON body, `application/json`.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.content("application/json", value.to_string())
    }

    /// An XML body, `application/xml; charset="UTF-8"`.
    #[must_use]
    pub fn xml(self, text: impl Into<String>) -> Self {
        self.content("application/xml; charset=\"UTF-8\"", text.into())
    }

    /// A `multipart/form-data` body.
    #[must_use]
    pub fn multipart(mut self, parts: Vec<Part>) -> Self {
        self.body = Body::Multipart(parts);
        self
    }

    /// Method, path and query as one line, for messages and tests: `GET /a?b=c d` (the query is not encoded).
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", method_name(self.method), self.path);
        for (index, field) in self.query.iter().enumerate() {
            line.push(if index == 0 { '?' } else { '&' });
            line.push_str(&field.name);
            line.push('=');
            line.push_str(&field.value);
        }
        line
    }

    /// True for methods that change nothing on a peer that keeps to HTTP: GET, HEAD, OPTIONS.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.method, Method::Get | Method::Head | Method::Options)
    }
}

impl Part {
    /// A part that holds these bytes.
    pub fn bytes(name: impl Into<String>, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            filename: None,
            content_type: Some(content_type.into()),
            data: PartData::Bytes(data.into()),
        }
    }

    /// The part that holds the stored file given to `upload`.
    pub fn file(
        name: impl Into<String>,
        filename: impl Into<String>,
        content_type: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            filename: Some(filename.into()),
            content_type: Some(content_type.into()),
            data: PartData::File,
        }
    }
}

/// Percent-encodes a value for use as one segment of a path: everything but letters, digits and `-._~` (RFC 3986,
/// section 2.3); `/` too. The segments `.` and `..`, which would be taken for steps, are encoded whole.
#[must_use]
pub fn encode_segment(value: &str) -> String {
    let steps = matches!(value, "." | "..");
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !steps);
        if plain {
            encoded.push(char::from(byte));
        } else {
            const HEX: [u8; 16] = *b"0123456789ABCDEF";
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_builder_keeps_order_and_kind_of_everything() {
        let request =
            Request::put("/a").query("x", "1").query("x", "2").header("Accept", "b").json(&json!({"k": 1}));
        assert_eq!(request.line(), "PUT /a?x=1&x=2");
        assert_eq!(request.headers, [Field { name: "Accept".into(), value: "b".into() }]);
        let body = Content { content_type: "application/json".into(), data: br#"{"k":1}"#.to_vec() };
        assert_eq!(request.body, Body::Content(body));
        assert!(!request.is_safe());
    }

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        assert_eq!(encode_segment("a b/ü?#%"), "a%20b%2F%C3%BC%3F%23%25");
        assert_eq!(encode_segment(".."), "%2E%2E");
        assert_eq!(encode_segment("0.1_2-3~.jpg"), "0.1_2-3~.jpg");
    }
}
