//! Reading responses.

use serde::de::DeserializeOwned;

use crate::http::Response;
use crate::types::Error;

/// What a body looks like, from its first characters. Content types lie: devices send XML in spite of
/// `?format=json`, and error pages with any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Nothing but white space.
    Empty,
    /// Starts with `{` or `[`.
    Json,
    /// Starts with `<` and is no HTML page.
    Xml,
    /// An HTML page.
    Html,
    /// Something else, e.g. a picture.
    Other,
}

impl Response {
    /// True for 200-299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, compared without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_str())
    }

    /// The body without byte order mark and leading white space.
    fn start(&self) -> &[u8] {
        let body = self.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.body);
        body.trim_ascii_start()
    }

    /// What the body looks like.
    #[must_use]
    pub fn looks(&self) -> Looks {
        let start = self.start();
        match start.first() {
            None => Looks::Empty,
            Some(b'{' | b'[') => Looks::Json,
            Some(b'<') => {
                let head = String::from_utf8_lossy(&start[..start.len().min(512)]).to_ascii_lowercase();
                if head.starts_with("<!doctype html") || head.contains("<html") {
                    Looks::Html
                } else {
                    Looks::Xml
                }
            }
            Some(_) => Looks::Other,
        }
    }

    /// The body as text, without byte order mark; bytes that are not UTF-8 become `U+FFFD`.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.body)).into_owned()
    }

    /// The body parsed as JSON.
    ///
    /// # Errors
    /// `protocol` when it is not JSON of that shape; the effect is `none`, which a writer has to correct.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.start()).map_err(|error| {
            Error::protocol(format!("the answer is not the JSON that was expected: {error}"))
        })
    }

    /// The beginning of the text in one line, for messages: control characters are blanks, at most `limit` characters.
    #[must_use]
    pub fn excerpt(&self, limit: usize) -> String {
        one_line(&self.text(), limit)
    }
}

/// `text` in one line, for messages: control characters and runs of white space are one blank, at most `limit` characters.
#[must_use]
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut characters = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if characters > 0 {
            line.push(' ');
            characters += 1;
        }
        for c in word.chars() {
            if characters >= limit {
                line.push('…');
                return line;
            }
            line.push(c);
            characters += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::answer;

    #[test]
    fn bodies_are_told_apart_by_their_first_characters() {
        let cases = [
            ("", Looks::Empty),
            (" \r\n", Looks::Empty),
            ("\u{FEFF}\n{\"a\":1}", Looks::Json),
            ("[1]", Looks::Json),
            ("<?xml version=\"1.0\"?><a/>", Looks::Xml),
            ("<ResponseStatus/>", Looks::Xml),
            ("<!DOCTYPE html PUBLIC \"-//W3C//DTD\"><html>", Looks::Html),
            ("<HTML><head>", Looks::Html),
            ("\u{1}JFIF", Looks::Other),
        ];
        for (body, looks) in cases {
            assert_eq!(answer(200, body).looks(), looks, "{body:?}");
        }
    }

    #[test]
    fn an_excerpt_is_one_line_of_bounded_length() {
        assert_eq!(answer(500, "a\r\n\tb\u{7}c").excerpt(100), "a b c");
        assert_eq!(answer(500, "ä".repeat(50)).excerpt(3), "äää…");
    }

    #[test]
    fn json_behind_a_byte_order_mark_is_read() {
        let value: serde_json::Value = answer(200, "\u{FEFF} {\"a\":1}").json().unwrap_or_default();
        assert_eq!(value["a"], 1);
    }
}
