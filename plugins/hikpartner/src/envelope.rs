//! One call: `POST /api/hpcgw/..` with JSON, and what is in the envelope that comes back
//! (`facts/hikcentral_hikpartner_supabase.md` B1).

use std::time::Duration;

use bascule_sdk::pages::{self, Page};
use bascule_sdk::{Effect, Error, ErrorKind, Looks, Pace, Peer, Request, Response, json};
use serde_json::{Map, Value, json};

use crate::codes;

/// Rows of one page.
const PAGE: u64 = 100;

/// Whether a call changes something, which decides what a lost answer means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
}

/// A call that only reads; `data` of its answer.
pub(crate) fn read(server: &dyn Peer, path: &str, body: &Value) -> Result<Value, Error> {
    call(server, path, Some(body), Call::Read).map(|whole| data(&whole))
}

/// A call that changes something.
pub(crate) fn write(server: &dyn Peer, path: &str, body: &Value) -> Result<Value, Error> {
    call(server, path, Some(body), Call::Write).map(|whole| data(&whole))
}

/// `data` of an answer.
pub(crate) fn data(whole: &Value) -> Value {
    json::field(whole, "data").cloned().unwrap_or(Value::Null)
}

/// Makes a call and returns the whole envelope, where the code is 0.
pub(crate) fn call(server: &dyn Peer, path: &str, body: Option<&Value>, what: Call) -> Result<Value, Error> {
    // A poll of the queue is held for about 20 s, and devices take their time.
    let mut request = Request::post(format!("/api/hpcgw/{path}")).pace(Pace::Slow);
    if let Some(body) = body {
        request = request.json(body);
    } else {
        request = request.content("application/json", "");
    }
    let line = request.line();
    match server.send(request) {
        Ok(response) => open(&response, &line, what),
        Err(error) => Err(lost(error, &line, what)),
    }
}

/// An error of the host. It turns every 401 into `unauthorized`; the platform's code may be in the body that it kept.
fn lost(error: Error, line: &str, what: Call) -> Error {
    let kept = error.details.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let answer = kept.as_ref().and_then(|details| json::field(details, "answer")).and_then(json::as_text);
    let code = answer
        .as_deref()
        .filter(|_| error.code.as_deref() == Some("host:unauthorized"))
        .and_then(|answer| json::word_in_excerpt(answer, "errorCode"));
    let mut error = match code {
        Some(code) => refusal(&codes::normal(&code), "", 401, line, what),
        None => error,
    };
    if what == Call::Read {
        error.effect = Effect::None;
    }
    error
}

/// The envelope where its code is 0. Whatever the HTTP status says: it is the body that counts.
fn open(response: &Response, line: &str, what: Call) -> Result<Value, Error> {
    if response.looks() == Looks::Json
        && let Ok(body) = response.json::<Value>()
        && let Some(code) = json::field(&body, "errorCode").and_then(json::as_text)
    {
        let code = codes::normal(&code);
        if code == "0" {
            return Ok(body);
        }
        let said = json::field(&body, "message").and_then(json::as_text).unwrap_or_default();
        let mut error = refusal(&code, &said, response.status, line, what);
        if error.kind == ErrorKind::Busy
            && let Some(wait) = asked_to_wait(response)
        {
            error = error.retry_after(wait);
        }
        return Err(error);
    }
    let unsettled = if what == Call::Write { Effect::Unknown } else { Effect::None };
    let (kind, words, effect) = match response.status {
        404 | 405 => (
            ErrorKind::Unsupported,
            "there is no such call at this area domain of the platform",
            Effect::None,
        ),
        403 => (ErrorKind::Refused, "something in front of the platform forbids it", Effect::None),
        429 => (ErrorKind::Busy, "the platform asks to come again later", Effect::None),
        500..=599 => (ErrorKind::Busy, "what is in front of the platform failed", unsettled),
        _ => (ErrorKind::Protocol, "the answer is no envelope with an `errorCode`", unsettled),
    };
    let message = format!("{words} (`{line}`, HTTP {})", response.status);
    let details = json!({ "request": line, "httpStatus": response.status, "body": response.excerpt(300) });
    let error = Error::new(kind, message)
        .code(format!("hikpartner:http-{}", response.status))
        .effect(effect)
        .details(&details);
    Err(match kind {
        ErrorKind::Busy => error.retry_after(asked_to_wait(response).unwrap_or(Duration::from_secs(5))),
        _ => error,
    })
}

/// `Retry-After` in seconds; a date is not read.
fn asked_to_wait(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

fn refusal(code: &str, said: &str, status: u16, line: &str, what: Call) -> Error {
    let details = json!({ "request": line, "httpStatus": status, "errorCode": code, "message": said });
    let mut error = in_words(code, said).details(&details);
    if what == Call::Read {
        error.effect = Effect::None;
    }
    error
}

/// The error that a code means, with the platform's own words behind ours.
pub(crate) fn in_words(code: &str, said: &str) -> Error {
    let meaning = codes::meaning(code);
    let short: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let short = short.trim_matches([' ', '.', ',']);
    let message = match (short.is_empty(), code.is_empty()) {
        (true, true) => meaning.words.to_owned(),
        (true, false) => format!("{} ({code})", meaning.words),
        (false, true) => format!("{} ({short})", meaning.words),
        (false, false) => format!("{} ({code}, {short})", meaning.words),
    };
    let error = Error::new(meaning.kind, message).code(format!("hikpartner:{code}")).effect(meaning.effect);
    match meaning.retry_after {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}

/// The error for something that the platform said 0 to and did not do.
pub(crate) fn not_so(name: &str, message: impl Into<String>, details: &Value) -> Error {
    Error::new(ErrorKind::VerificationFailed, message)
        .code(format!("hikpartner:{name}"))
        .effect(Effect::Unknown)
        .details(details)
}

/// An error of a second look after a write that was answered with 0.
pub(crate) fn after_write(error: Error) -> Error {
    error.effect(Effect::Applied)
}

/// All rows of a paged list. `body` is what stands beside `page` and `pageSize`.
pub(crate) fn pages(
    server: &dyn Peer,
    path: &str,
    body: &Value,
    limit: Option<u32>,
) -> Result<Vec<Value>, Error> {
    let mut got = 0_u64;
    pages::all("hikpartner", path, limit, |number| {
        let mut body: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
        body.insert("page".into(), number.into());
        body.insert("pageSize".into(), PAGE.into());
        let whole = call(server, path, Some(&Value::Object(body)), Call::Read)?;
        let data = data(&whole);
        let counted = |name: &str| {
            // In some examples it stands outside `data`.
            let found = json::field(&data, name).or_else(|| json::field(&whole, name));
            found.and_then(json::as_integer).and_then(|number| u64::try_from(number).ok())
        };
        let rows: Vec<Value> = json::items(json::field(&data, "rows")).into_iter().cloned().collect();
        got = got.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        let last = match (counted("total"), counted("totalPage")) {
            (Some(total), _) => got >= total,
            (None, Some(last)) => number >= last,
            (None, None) => false,
        };
        Ok(Page { rows, last })
    })
}

/// An id that stands for one thing: not empty, and fit for a path.
pub(crate) fn one_id(id: &str, what: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > 128 || !id.chars().all(fits) {
        return Err(Error::invalid_input(format!(
            "`{what}` must be one id of letters, digits, `-` and `_`, this is `{}`",
            id.escape_debug()
        )));
    }
    Ok(())
}

/// At least one, and each of them one id.
pub(crate) fn some_ids(ids: &[String], what: &str) -> Result<(), Error> {
    if ids.is_empty() {
        return Err(Error::invalid_input(format!("`{what}` is empty")));
    }
    ids.iter().try_for_each(|id| one_id(id, what))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer, answer_with};

    use super::*;

    const LINE: &str = "POST /api/hpcgw/v1/site/search";

    fn ask(response: Response) -> Result<Value, Error> {
        write(&Script::new().then(LINE, response), "v1/site/search", &json!({}))
    }

    #[test]
    fn success_is_error_code_0_in_every_form() {
        // facts B1: `{"data":..., "errorCode":"0"}`.
        for body in [
            r#"{"data":{"a":1},"errorCode":"0"}"#,
            r#"{"data":{"a":1},"errorCode":0,"message":"ok"}"#,
            "\u{FEFF}{\"errorCode\":\"0\",\"data\":{\"a\":1}}",
        ] {
            assert_eq!(ask(answer(200, body)).unwrap(), json!({ "a": 1 }));
        }
        assert_eq!(ask(answer(200, r#"{"errorCode":"0"}"#)).unwrap(), Value::Null);
    }

    #[test]
    fn an_envelope_of_the_invented_kind_is_not_success() {
        // facts B1: repositories that use `code` and `msg` are invented.
        for body in
            [r#"{"code":"0","msg":"Success","data":{}}"#, "{}", "[]", "", "<html>hello</html>", "\u{1}"]
        {
            let error = ask(answer(200, body)).unwrap_err();
            assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Unknown), "{body:?}");
        }
    }

    #[test]
    fn a_code_comes_in_words_with_its_number() {
        let error =
            ask(answer(200, r#"{"errorCode":"EVZ20007","message":"The device is offline."}"#)).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Offline, Some("hikpartner:EVZ20007")));
        assert_eq!(error.message, "the device is offline (EVZ20007, The device is offline)");
        let error = ask(answer(404, "<html>404</html>")).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::Unsupported, Some("hikpartner:http-404"))
        );
    }

    #[test]
    fn a_limit_says_when_to_come_again() {
        let limited = r#"{"errorCode":"LAP500007"}"#;
        assert_eq!(ask(answer(200, limited)).unwrap_err().retry_after, Some(60_000));
        let error = ask(answer_with(200, &[("Retry-After", "7")], limited)).unwrap_err();
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(7_000)));
        let error = ask(answer_with(429, &[("Retry-After", "9")], "slow down")).unwrap_err();
        assert_eq!(
            (error.kind, error.retry_after, error.effect),
            (ErrorKind::Busy, Some(9_000), Effect::None)
        );
    }

    #[test]
    fn the_code_behind_a_401_of_the_host_is_read() {
        let host = |answer: &str| {
            Error::new(ErrorKind::Unauthorized, "`hpp` refused a token it gave")
                .code("host:unauthorized")
                .details(&json!({ "status": 401, "answer": answer }))
        };
        let fails = |answer: &str| {
            let script = Script::new().then_fails(LINE, host(answer));
            read(&script, "v1/site/search", &json!({})).unwrap_err()
        };
        let error = fails(r#"{"errorCode":"LAP500007","mess"#);
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Busy, Some("hikpartner:LAP500007")));
        assert_eq!(fails("<html>").code.as_deref(), Some("host:unauthorized"));
        let error = fails(r#"{"errorCode":"LAP500004"}"#);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unauthorized, Effect::None));
    }

    #[test]
    fn pages_are_read_to_the_total_wherever_it_stands() {
        let rows = |from: u32| (from..from + 2).map(|id| json!({ "id": id })).collect::<Vec<_>>();
        let inside = |from: u32| {
            answer(
                200,
                json!({ "errorCode": "0", "data": { "rows": rows(from), "total": 5, "totalPage": 3 } })
                    .to_string(),
            )
        };
        let script = Script::new().then(LINE, inside(1)).then(LINE, inside(3)).then(LINE, inside(5));
        assert_eq!(pages(&script, "v1/site/search", &json!({ "search": "a" }), None).unwrap().len(), 6);
        assert_eq!(script.body(2), r#"{"search":"a","page":3,"pageSize":100}"#);
        script.finish();
        let outside = |from: u32| {
            answer(
                200,
                json!({ "errorCode": "0", "totalPage": 2, "data": { "rows": rows(from) } }).to_string(),
            )
        };
        let script = Script::new().then(LINE, outside(1)).then(LINE, outside(3));
        assert_eq!(pages(&script, "v1/site/search", &json!({}), None).unwrap().len(), 4);
        for nothing in [r#"{"errorCode":"0","data":{"total":0}}"#, r#"{"errorCode":"0"}"#] {
            let script = Script::new().then(LINE, answer(200, nothing));
            assert!(pages(&script, "v1/site/search", &json!({}), None).unwrap().is_empty());
        }
        let script = Script::new().then(LINE, inside(1)).then(LINE, inside(1));
        let error = pages(&script, "v1/site/search", &json!({}), None).unwrap_err();
        assert_eq!(error.code.as_deref(), Some("hikpartner:same-page"));
    }

    #[test]
    fn an_id_cannot_be_several_or_a_path() {
        for bad in ["", "a,b", "../x", "a b", "a/b", "a?b"] {
            assert_eq!(one_id(bad, "id").unwrap_err().kind, ErrorKind::InvalidInput, "{bad}");
        }
        assert!(one_id("86f9a2c4-1_b", "id").is_ok());
        assert!(some_ids(&[], "persons").is_err());
    }
}
