//! From what a workflow says to a request.

use bascule_sdk::{Body, Error, Field, Method, Pace, Request, json};
use serde_json::{Map, Value};

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<String>,
    pub(crate) headers: Option<String>,
    pub(crate) body: Content,
    pub(crate) pace: Pace,
}

/// The body in one of its forms.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) json: Option<String>,
    pub(crate) form: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) content_type: Option<String>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: None, headers: None, body: Content::default(), pace: Pace::Normal }
    }

    pub(crate) fn request(&self) -> Result<Request, Error> {
        let mut request = Request::new(self.method, path(self.path)?).pace(self.pace);
        request.query = fields(self.query.as_deref(), "query")?;
        request.headers = fields(self.headers.as_deref(), "headers")?;
        let content_type = self.body.content_type.as_deref();
        match (&self.body.json, &self.body.form, &self.body.text) {
            (None, None, None) if content_type.is_some() => {
                return Err(Error::invalid_input("`content-type` is said, and there is no `text`"));
            }
            (None, None, None) => {}
            (Some(value), None, None) => {
                let value: Value = json::parse(value, "json")?;
                request = request.content(content_type.unwrap_or("application/json"), value.to_string());
            }
            (None, Some(form), None) if content_type.is_none() => {
                request.body = Body::Form(fields(Some(form), "form")?);
            }
            (None, None, Some(text)) => {
                request = request.content(content_type.unwrap_or("text/plain; charset=utf-8"), text.as_str());
            }
            _ => {
                return Err(Error::invalid_input(
                    "a request has one body: `json`, `form`, or `text` with `content-type`",
                ));
            }
        }
        Ok(request)
    }
}

/// The path with what may not stand in one percent-encoded; what is encoded already stays. That it leads nowhere else is the
/// host's to check; `?` and `#` are refused here, where the remedy is known.
fn path(path: &str) -> Result<String, Error> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(Error::invalid_input(format!(
            "`{}` is no path: it begins with `/`, and what would follow a `?` goes into `query`",
            path.escape_debug()
        )));
    }
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(encoded)
}

/// A map from name to value; a list is the name several times, null leaves it out.
pub(crate) fn fields(text: Option<&str>, parameter: &str) -> Result<Vec<Field>, Error> {
    let map: Option<Map<String, Value>> =
        text.map(|text| json::parse(text, parameter)).transpose()?.flatten();
    let mut fields = Vec::new();
    for (name, value) in map.unwrap_or_default() {
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(values) => values,
            other => vec![other],
        };
        for value in values {
            let value = json::as_text(&value).ok_or_else(|| {
                Error::invalid_input(format!(
                    "`{parameter}` says for `{name}` neither a text, a number nor a truth"
                ))
            })?;
            fields.push(Field { name: name.clone(), value });
        }
    }
    Ok(fields)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn ask(path: &str) -> Ask<'_> {
        Ask::new(Method::Post, path)
    }

    fn content(request: &Request) -> (String, String) {
        match &request.body {
            Body::Content(content) => {
                (content.content_type.clone(), String::from_utf8_lossy(&content.data).into_owned())
            }
            _ => (String::new(), String::new()),
        }
    }

    #[test]
    fn query_headers_and_path_are_taken_as_they_are_meant() {
        let request = Ask {
            query: Some(r#"{"q":"a b","n":5,"tag":["x","y"],"none":null,"on":true}"#.into()),
            headers: Some(r#"{"X-Request":"7"}"#.into()),
            ..ask("/schools/școala 1/a%20b")
        };
        let request = request.request().unwrap();
        assert_eq!(request.line(), "POST /schools/%C8%99coala%201/a%20b?q=a b&n=5&tag=x&tag=y&on=true");
        assert_eq!(request.headers, [Field { name: "X-Request".into(), value: "7".into() }]);
        assert_eq!(request.body, Body::Empty);
    }

    #[test]
    fn a_body_is_json_or_a_form_or_text() {
        let with = |body| Ask { body, ..ask("/x") }.request();
        let text = |text: &str| Some(text.to_owned());
        let request = with(Content { json: text(r#"{ "a": [1] }"#), ..Content::default() }).unwrap();
        assert_eq!(content(&request), ("application/json".into(), r#"{"a":[1]}"#.into()));
        let merge = Content {
            json: text("{}"),
            content_type: text("application/merge-patch+json"),
            ..Content::default()
        };
        assert_eq!(content(&with(merge).unwrap()).0, "application/merge-patch+json");
        let request = with(Content { form: text(r#"{"a":1}"#), ..Content::default() }).unwrap();
        assert_eq!(request.body, Body::Form(vec![Field { name: "a".into(), value: "1".into() }]));
        let csv = Content { text: text("a;b"), content_type: text("text/csv"), ..Content::default() };
        assert_eq!(content(&with(csv).unwrap()), ("text/csv".into(), "a;b".into()));
        for wrong in [
            Content { json: text("1"), text: text("x"), ..Content::default() },
            Content { form: text("{}"), content_type: text("x/y"), ..Content::default() },
            Content { content_type: text("x/y"), ..Content::default() },
            Content { form: text(r#"{"a":{}}"#), ..Content::default() },
        ] {
            assert!(with(wrong).is_err());
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_a_remedy() {
        for path in ["", "x", "https://x/y", "/a?b=1", "/a#b"] {
            let error = ask(path).request().unwrap_err();
            assert!(error.message.contains("goes into `query`"), "{path}");
        }
    }
}
