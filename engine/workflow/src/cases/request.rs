//! Which requests are meant: method, path, device, query, headers, body.

use serde_json::{Map, Value};

use super::matcher::{Difference, Matcher, show};
use super::reader::Reader;
use crate::document::{Entry, Node, Span};
use crate::expression::{Scope, suggest};
use crate::problem::codes;

/// The keys of a pattern, beside those of whatever it is part of.
pub(super) const KEYS: [&str; 5] = ["request", "at", "query", "headers", "body"];

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ANY"];

/// Which requests are meant. What is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct RequestPattern {
    /// Where it stands.
    pub span: Span,
    /// Upper case; `None` for any.
    pub method: Option<String>,
    /// `*` stands for anything within a segment, `**` for anything; `None` for any.
    pub path: Option<String>,
    /// `10.0.0.7` or `10.0.0.7:8080`: which device.
    pub at: Option<String>,
    /// A map of the decoded query.
    pub query: Option<Matcher>,
    /// A map of the headers, names in lower case.
    pub headers: Option<Matcher>,
    /// The body: JSON as it is, a form or multipart as a map, else text.
    pub body: Option<Matcher>,
}

impl RequestPattern {
    /// Reads what a pattern's keys say.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        node: &Node,
        entries: &[&Entry],
        names: &[&str],
    ) -> Option<Self> {
        let mut pattern = Self { span: node.span, ..Self::default() };
        let mut good = true;
        for Entry { key, value } in entries {
            match key.text.as_str() {
                "request" => good &= pattern.line(reader, value, names),
                "at" => match reader.text_of(value, "`at`") {
                    Some(at) => pattern.at = Some(at),
                    None => good = false,
                },
                "query" => {
                    if reader.entries(value, "`query`").is_empty() && !value.is_null() {
                        good &= value.as_map().is_some();
                    }
                    pattern.query = Matcher::read(reader, value, names);
                    good &= pattern.query.is_some();
                }
                "headers" => {
                    reader.entries(value, "`headers`");
                    pattern.headers = Matcher::read(reader, &lower_case(value), names);
                    good &= pattern.headers.is_some();
                }
                "body" => {
                    pattern.body = Matcher::read(reader, value, names);
                    good &= pattern.body.is_some();
                }
                _ => {}
            }
        }
        good.then_some(pattern)
    }

    /// `GET /ISAPI/System/deviceInfo`
    fn line(&mut self, reader: &mut Reader<'_>, node: &Node, names: &[&str]) -> bool {
        let Some(text) = reader.text_of(node, "`request`") else { return false };
        self.span = node.span;
        let wrong = |reader: &mut Reader<'_>, message: String, help: String| {
            reader.error(codes::CASE_REQUEST, node.span, message, help);
            false
        };
        let Some((method, path)) = text.trim().split_once(char::is_whitespace) else {
            let help = "write the method and the path: `GET /ISAPI/System/deviceInfo`".to_owned();
            return wrong(reader, format!("`{text}` is not a request"), help);
        };
        if !METHODS.contains(&method) {
            let near = METHODS
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(method))
                .or_else(|| suggest::nearest(&method.to_ascii_uppercase(), METHODS));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("methods are {}", suggest::listing(&METHODS)),
            };
            return wrong(reader, format!("`{method}` is not a method"), help);
        }
        let path = path.trim();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        if !path.starts_with('/') && !path.starts_with("**") {
            let help = "a path begins with `/`; the address is the connection's own, `at:` says which device"
                .to_owned();
            return wrong(reader, format!("`{path}` is not a path"), help);
        }
        if let Some(query) = query {
            let mut map = Map::new();
            for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
                map.insert(name.into_owned(), Value::String(value.into_owned()));
            }
            let literal = literal(node, &map);
            self.query = Matcher::read(reader, &literal, names);
        }
        self.method = (method != "ANY").then(|| method.to_owned());
        self.path = Some(path.to_owned());
        true
    }

    /// How a request, `{method, path, at, query, headers, body}`, differs from the pattern.
    #[must_use]
    pub fn differences(&self, asked: &Value, scope: &Scope) -> Vec<Difference> {
        let mut found = Vec::new();
        let text = |key: &str| asked.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut differs = |path: &str, expected: &str, came: &str| {
            found.push(Difference {
                span: self.span,
                path: path.to_owned(),
                expected: expected.to_owned(),
                came: came.to_owned(),
            });
        };
        if let Some(method) = &self.method
            && method != text("method")
        {
            differs("method", method, text("method"));
        }
        if let Some(path) = &self.path
            && !glob(path, text("path"))
            && !glob(path, &decoded(text("path")))
        {
            differs("path", path, text("path"));
        }
        if let Some(at) = &self.at {
            let came = text("at");
            let host = came.rsplit_once(':').map_or(came, |(host, _)| host);
            if at != came && at != host {
                differs("at", at, came);
            }
        }
        for (key, matcher) in [("query", &self.query), ("headers", &self.headers), ("body", &self.body)] {
            if let Some(matcher) = matcher {
                matcher.compare(asked.get(key), key, scope, &mut found);
            }
        }
        found
    }

    /// How far a request is from being meant: 0 for one that is, less for likelier ones.
    #[must_use]
    pub fn distance(&self, asked: &Value, scope: &Scope) -> usize {
        let text = |key: &str| asked.get(key).and_then(Value::as_str).unwrap_or_default();
        self.differences(asked, scope)
            .iter()
            .map(|difference| match difference.path.as_str() {
                "method" => 6,
                "path" => {
                    10 + strsim::osa_distance(self.path.as_deref().unwrap_or_default(), text("path")).min(60)
                }
                "at" => 4,
                _ => 1,
            })
            .sum()
    }

    /// `PUT /ISAPI/.. at 10.0.0.7`
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = match (&self.method, &self.path) {
            (method, Some(path)) => format!("{} {path}", method.as_deref().unwrap_or("ANY")),
            (method, None) => format!("{} any path", method.as_deref().unwrap_or("ANY")),
        };
        for (word, matcher) in [("query", &self.query), ("headers", &self.headers), ("body", &self.body)] {
            if let Some(matcher) = matcher {
                text.push_str(&format!(" {word} {}", matcher.words()));
            }
        }
        if let Some(at) = &self.at {
            text.push_str(&format!(" at {at}"));
        }
        text
    }
}

/// The same map with its keys in lower case.
fn lower_case(node: &Node) -> Node {
    let mut node = node.clone();
    if let crate::document::Data::Map(entries) = &mut node.data {
        for entry in entries {
            entry.key.text = entry.key.text.to_ascii_lowercase();
        }
    }
    node
}

/// A map that stands where `node` does.
fn literal(node: &Node, map: &Map<String, Value>) -> Node {
    use crate::document::{Data, Key, Scalar, Style};
    let entries = map
        .iter()
        .map(|(name, value)| Entry {
            key: Key { text: name.clone(), span: node.span },
            value: Node {
                span: node.span,
                data: Data::Scalar(Scalar {
                    text: value.as_str().unwrap_or_default().to_owned(),
                    style: Style::DoubleQuoted,
                    value: value.clone(),
                }),
            },
        })
        .collect();
    Node { span: node.span, data: Data::Map(entries) }
}

/// `%20` undone; what is no UTF-8 then is replaced.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `*` is anything but `/`, `**` is anything.
fn glob(pattern: &str, path: &str) -> bool {
    fn from(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|at| from(rest, &path[at..])),
            [b'*', rest @ ..] => {
                let most = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                (0..=most).any(|at| from(rest, &path[at..]))
            }
            [first, rest @ ..] => {
                path.split_first().is_some_and(|(byte, tail)| byte == first && from(rest, tail))
            }
        }
    }
    from(pattern.as_bytes(), path.as_bytes())
}

/// What a request's body says, for messages.
#[must_use]
pub fn brief(body: &Value) -> String {
    if body.is_null() { String::new() } else { show(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_segment_and_two_do_not() {
        for (pattern, path, fits) in [
            ("/ISAPI/System/deviceInfo", "/ISAPI/System/deviceInfo", true),
            ("/ISAPI/*/deviceInfo", "/ISAPI/System/deviceInfo", true),
            ("/ISAPI/*", "/ISAPI/System/deviceInfo", false),
            ("/ISAPI/**", "/ISAPI/System/deviceInfo", true),
            ("**", "/", true),
            ("/storage/v1/object/*.jpg", "/storage/v1/object/a.jpg", true),
            ("/a", "/a/", false),
        ] {
            assert_eq!(glob(pattern, path), fits, "{pattern} {path}");
        }
        assert_eq!(decoded("/a%20b%zz"), "/a b%zz");
    }
}
