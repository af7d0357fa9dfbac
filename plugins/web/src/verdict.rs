//! Which answers are a success, what the others mean, and what a workflow gets to see.

use std::time::Duration;

use bascule_sdk::{Effect, Error, ErrorKind, Request, Response};
use serde_json::{Map, Value};

use crate::bindings::exports::bascule::web::requests::Answer;

/// How much of a body an error keeps, in characters.
const EXCERPT: usize = 1000;
/// How much of it the message quotes.
const QUOTED: usize = 200;

/// What was asked, for judging the answer.
pub(crate) struct Asked {
    /// Method and path; a query may hold what nobody should read.
    line: String,
    safe: bool,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let whole = request.line();
        let line = whole.split_once('?').map_or(whole.as_str(), |(line, _)| line);
        Self { line: line.to_owned(), safe: request.is_safe() }
    }
}

/// The statuses that are a success.
#[derive(Debug)]
pub(crate) struct Expected(Vec<(u16, u16)>);

impl Expected {
    /// From `["2xx", "404"]`; 200 to 299 where nothing is said.
    pub(crate) fn read(words: Option<Vec<String>>) -> Result<Self, Error> {
        let Some(words) = words else {
            return Ok(Self(vec![(200, 299)]));
        };
        let range = |word: &String| {
            let word = word.trim().to_ascii_lowercase();
            let hundred = word.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
            let range = match hundred {
                Some(hundred) => (hundred * 100, hundred * 100 + 99),
                None => word.parse().map(|status| (status, status)).unwrap_or_default(),
            };
            (200..600).contains(&range.0).then_some(range).ok_or_else(|| {
                Error::invalid_input(format!(
                    "`expect` has `{}` in it, which is neither a status such as `404` nor a kind such as `2xx`",
                    word.escape_debug()
                ))
            })
        };
        let ranges: Vec<_> = words.iter().map(range).collect::<Result<_, _>>()?;
        if ranges.is_empty() {
            return Err(Error::invalid_input("`expect` is empty, so that no answer could be a success"));
        }
        Ok(Self(ranges))
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

/// The answer where its status was expected.
pub(crate) fn answer(response: Response, asked: &Asked, expected: &Expected) -> Result<Answer, Error> {
    if !expected.has(response.status) {
        return Err(refusal(&response, asked));
    }
    let mut headers: Map<String, Value> = Map::new();
    for field in &response.headers {
        let name = field.name.to_ascii_lowercase();
        let value = match headers.get(&name).and_then(Value::as_str) {
            Some(earlier) => format!("{earlier}, {}", field.value),
            None => field.value.clone(),
        };
        headers.insert(name, value.into());
    }
    let claims_json = response.header("content-type").is_some_and(is_json);
    let text = response.text();
    let json = match serde_json::from_str::<Value>(&text) {
        // A bare word or number is JSON only where the server says so.
        Ok(value) if claims_json || value.is_object() || value.is_array() => Some(value),
        Err(error) if claims_json && !text.trim().is_empty() => {
            let effect = if asked.safe { Effect::None } else { Effect::Applied };
            return Err(Error::protocol(format!(
                "the server's answer to `{}` is no JSON: {error}",
                asked.line
            ))
            .code("web:no-json")
            .effect(effect)
            .details(&details(&response, asked)));
        }
        _ => None,
    };
    Ok(Answer {
        status: response.status,
        headers: Value::Object(headers).to_string(),
        text: if json.is_some() { String::new() } else { text },
        json: json.unwrap_or_default().to_string(),
    })
}

fn is_json(content_type: &str) -> bool {
    let plain = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    plain == "application/json" || plain.ends_with("+json")
}

/// The error for a status that was not expected.
pub(crate) fn refusal(response: &Response, asked: &Asked) -> Error {
    let status = response.status;
    let kind = match status {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Refused,
        404 | 410 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        405 | 406 | 415 | 501 => ErrorKind::Unsupported,
        504 => ErrorKind::Timeout,
        408 | 425 | 429 | 500..=599 => ErrorKind::Busy,
        400..=499 => ErrorKind::InvalidInput,
        _ => ErrorKind::Protocol,
    };
    let effect = match status {
        _ if asked.safe => Effect::None,
        200..=299 => Effect::Applied,
        // A server that broke down may have done it before.
        408 | 500 | 502 | 504..=599 => Effect::Unknown,
        _ => Effect::None,
    };
    let quoted = match response.looks() {
        bascule_sdk::Looks::Html | bascule_sdk::Looks::Empty => String::new(),
        _ => format!(": {}", response.excerpt(QUOTED)),
    };
    let message = match status {
        300..=399 => format!(
            "the server answered `{}` with HTTP {status}, a redirect to {}, which is not followed",
            asked.line,
            response
                .header("location")
                .map_or_else(|| "nowhere".to_owned(), |to| format!("`{}`", to.escape_debug()))
        ),
        _ => format!("the server answered `{}` with HTTP {status}{quoted}", asked.line),
    };
    let mut error = Error::new(kind, message)
        .code(format!("web:http-{status}"))
        .effect(effect)
        .details(&details(response, asked));
    if kind == ErrorKind::Busy
        && let Some(seconds) = response.header("retry-after").and_then(|value| value.trim().parse().ok())
    {
        error = error.retry_after(Duration::from_secs(seconds));
    }
    error
}

fn details(response: &Response, asked: &Asked) -> Value {
    let mut details = Map::new();
    details.insert("request".into(), asked.line.as_str().into());
    details.insert("httpStatus".into(), response.status.into());
    if let Some(location) = response.header("location") {
        details.insert("location".into(), location.into());
    }
    let excerpt = response.excerpt(EXCERPT);
    if !excerpt.is_empty() {
        details.insert("body".into(), excerpt.into());
    }
    Value::Object(details)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{answer as response, answer_with};

    use super::*;

    fn asked(request: &Request) -> Asked {
        Asked::of(request)
    }

    fn expected(words: &[&str]) -> Result<Expected, Error> {
        Expected::read(Some(words.iter().map(|&word| word.to_owned()).collect()))
    }

    #[test]
    fn statuses_become_kinds_and_effects() {
        let (post, get) = (asked(&Request::post("/a?x")), asked(&Request::get("/a")));
        for (status, kind, effect) in [
            (400, ErrorKind::InvalidInput, Effect::None),
            (422, ErrorKind::InvalidInput, Effect::None),
            (403, ErrorKind::Refused, Effect::None),
            (404, ErrorKind::NotFound, Effect::None),
            (410, ErrorKind::NotFound, Effect::None),
            (409, ErrorKind::Conflict, Effect::None),
            (405, ErrorKind::Unsupported, Effect::None),
            (429, ErrorKind::Busy, Effect::None),
            (500, ErrorKind::Busy, Effect::Unknown),
            (502, ErrorKind::Busy, Effect::Unknown),
            (503, ErrorKind::Busy, Effect::None),
            (504, ErrorKind::Timeout, Effect::Unknown),
            (302, ErrorKind::Protocol, Effect::None),
        ] {
            let error = refusal(&response(status, "no"), &post);
            assert_eq!((error.kind, error.effect), (kind, effect), "{status}");
            assert_eq!(error.code, Some(format!("web:http-{status}")));
            assert_eq!(refusal(&response(status, ""), &get).effect, Effect::None, "{status}");
        }
        let error = refusal(&answer_with(503, &[("Retry-After", "3")], ""), &get);
        assert_eq!(error.retry_after, Some(3000));
    }

    #[test]
    fn an_unexpected_success_of_a_write_was_applied_all_the_same() {
        let post = asked(&Request::post("/a"));
        let error = answer(response(202, ""), &post, &expected(&["200", "201"]).unwrap()).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Applied));
        let answer = answer(response(404, "gone"), &post, &expected(&["2XX", " 404 "]).unwrap()).unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (404, "gone"));
    }

    #[test]
    fn expectations_that_cannot_be_meant_are_refused() {
        for words in [&["ok"][..], &["2x"], &["99"], &["9xx"], &["700"], &[""], &[]] {
            assert_eq!(expected(words).unwrap_err().kind, ErrorKind::InvalidInput, "{words:?}");
        }
    }

    #[test]
    fn bodies_in_errors_are_bounded_and_queries_stay_out() {
        let post = asked(&Request::post("/a").query("key", "hidden"));
        let error = refusal(&response(400, "x".repeat(100_000)), &post);
        assert!(error.message.len() < 300 && error.details.as_ref().unwrap().len() < 1_200);
        assert!(!format!("{error:?}").contains("hidden"));
        let error = refusal(&response(502, "<html><body>Bad Gateway</body></html>"), &post);
        assert!(!error.message.contains("<html>"), "{}", error.message);
    }

    #[test]
    fn json_is_recognised_and_text_is_kept() {
        let get = asked(&Request::get("/a"));
        let any = Expected::read(None).unwrap();
        let json = |content_type: &str, body: &str| {
            answer(
                answer_with(200, &[("Content-Type", content_type), ("X-A", "1"), ("x-a", "2")], body),
                &get,
                &any,
            )
        };
        let read = json("application/json", r#"{"a":1}"#).unwrap();
        assert_eq!((read.json.as_str(), read.text.as_str()), (r#"{"a":1}"#, ""));
        assert!(read.headers.contains(r#""x-a":"1, 2""#), "{}", read.headers);
        assert_eq!(json("application/problem+json; charset=utf-8", "5").unwrap().json, "5");
        assert_eq!(json("text/plain", r#"["a"]"#).unwrap().json, r#"["a"]"#);
        let plain = json("text/plain", "5").unwrap();
        assert_eq!((plain.json.as_str(), plain.text.as_str()), ("null", "5"));
        assert_eq!(json("application/json", "").unwrap().json, "null");
        assert_eq!(json("application/json", "<html>").unwrap_err().kind, ErrorKind::Protocol);
    }
}
