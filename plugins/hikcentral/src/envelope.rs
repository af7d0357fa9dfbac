//! One call: `POST /artemis/api/..` with JSON, and what is in the envelope that comes back
//! (`facts/hikcentral_hikpartner_supabase.md` A2, A3).

use bascule_sdk::pages::{self, Page};
use bascule_sdk::{Effect, Error, ErrorKind, Looks, Pace, Peer, Request, Response, json};
use serde_json::{Map, Value, json};

use crate::codes;

/// The most rows of one page.
const PAGE: u64 = 500;

/// Whether a call changes something, which decides what a lost answer means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
}

/// A call that only reads; `data` of its answer.
pub(crate) fn read(server: &dyn Peer, path: &str, body: &Value) -> Result<Value, Error> {
    call(server, path, body, Call::Read)
}

/// A call that changes something.
pub(crate) fn write(server: &dyn Peer, path: &str, body: &Value) -> Result<Value, Error> {
    call(server, path, body, Call::Write)
}

fn call(server: &dyn Peer, path: &str, body: &Value, what: Call) -> Result<Value, Error> {
    let request = request(path, body, what);
    let line = request.line();
    match server.send(request) {
        Ok(response) => open(&response, &line, what),
        Err(error) => Err(lost(error, &line, what)),
    }
}

/// Accept is set so that what is signed is what is sent.
pub(crate) fn request(path: &str, body: &Value, what: Call) -> Request {
    let pace = if what == Call::Write { Pace::Slow } else { Pace::Normal };
    Request::post(format!("/artemis/api/{path}")).header("Accept", "application/json").json(body).pace(pace)
}

/// An error of the host. It turns every 401 into `unauthorized`; the gateway's code may be in the body that it kept.
pub(crate) fn lost(error: Error, line: &str, what: Call) -> Error {
    let kept = error.details.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let answer = kept.as_ref().and_then(|details| json::field(details, "answer")).and_then(json::as_text);
    let code = answer
        .as_deref()
        .filter(|_| error.code.as_deref() == Some("host:unauthorized"))
        .and_then(|answer| json::word_in_excerpt(answer, "code"));
    let mut error = match (code, answer) {
        (Some(code), Some(answer)) => refusal(&codes::normal(&code), &answer, 401, line, what),
        _ => error,
    };
    if what == Call::Read {
        error.effect = Effect::None;
    }
    error
}

/// `data` where the code is 0. Whatever the HTTP status and the content type: it is the body that counts.
pub(crate) fn open(response: &Response, line: &str, what: Call) -> Result<Value, Error> {
    if response.looks() == Looks::Json
        && let Ok(body) = response.json::<Value>()
        && let Some(code) = json::field(&body, "code").and_then(json::as_text)
    {
        let code = codes::normal(&code);
        if code == "0" {
            return Ok(json::field(&body, "data").cloned().unwrap_or(Value::Null));
        }
        let said = json::field(&body, "msg").and_then(json::as_text).unwrap_or_default();
        return Err(refusal(&code, &said, response.status, line, what));
    }
    let unsettled = if what == Call::Write { Effect::Unknown } else { Effect::None };
    let (kind, words, effect) = match response.status {
        404 | 405 => (ErrorKind::Unsupported, "there is no OpenAPI at this address", Effect::None),
        403 => (ErrorKind::Refused, "something in front of the platform forbids it", Effect::None),
        429 | 503 => (ErrorKind::Busy, "the platform asks to come again later", Effect::None),
        500..=599 => (ErrorKind::Busy, "what is in front of the platform failed", unsettled),
        _ => (ErrorKind::Protocol, "the answer is no envelope with a `code`", unsettled),
    };
    let message = format!("{words} (`{line}`, HTTP {})", response.status);
    let details = json!({ "request": line, "httpStatus": response.status, "body": response.excerpt(300) });
    Err(Error::new(kind, message)
        .code(format!("hikcentral:http-{}", response.status))
        .effect(effect)
        .details(&details))
}

fn refusal(code: &str, said: &str, status: u16, line: &str, what: Call) -> Error {
    let meaning = codes::meaning(code, said);
    let short = plain(said);
    let message =
        if short.is_empty() { meaning.words.to_owned() } else { format!("{} ({short})", meaning.words) };
    // Whole: a key that was cut in two is one that nobody would recognise and strike out.
    let whole = if said.len() <= 4_096 { said } else { "" };
    let details = json!({ "request": line, "httpStatus": status, "code": code, "msg": whole });
    let effect = if what == Call::Write { meaning.effect } else { Effect::None };
    Error::new(meaning.kind, message).code(format!("hikcentral:{code}")).effect(effect).details(&details)
}

/// The platform's words without what the gateway quotes of the request: that has the AppKey in it.
fn plain(said: &str) -> String {
    let lower = said.to_ascii_lowercase();
    let end = ["and stringtosign", "stringtosign", "apiname", "appkey :", "appkey:", "{"]
        .iter()
        .filter_map(|word| lower.find(word))
        .min();
    let kept = end.and_then(|end| said.get(..end)).unwrap_or(said);
    if end.is_none() && kept.chars().count() > 300 {
        return String::new();
    }
    let line: String = kept.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim_matches([' ', ',', '!', '.']).to_owned()
}

/// The error for something that the platform said yes to and did not do.
pub(crate) fn not_so(name: &str, message: impl Into<String>, details: &Value) -> Error {
    Error::new(ErrorKind::VerificationFailed, message)
        .code(format!("hikcentral:{name}"))
        .effect(Effect::Unknown)
        .details(details)
}

/// An error of a second look after a write that was answered with success.
pub(crate) fn after_write(error: Error) -> Error {
    error.effect(Effect::Applied)
}

/// All rows of a paged list. `body` is what stands beside `pageNo` and `pageSize`.
pub(crate) fn pages(
    server: &dyn Peer,
    path: &str,
    body: &Value,
    limit: Option<u32>,
) -> Result<Vec<Value>, Error> {
    pages::all("hikcentral", path, limit, |number| {
        let mut body: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
        body.insert("pageNo".into(), number.into());
        body.insert("pageSize".into(), PAGE.into());
        let data = read(server, path, &Value::Object(body))?;
        let total =
            json::field(&data, "total").and_then(json::as_integer).and_then(|n| u64::try_from(n).ok());
        Ok(Page {
            // `list` is absent, or `data` is "", where there is nothing.
            rows: json::items(json::field(&data, "list")).into_iter().cloned().collect(),
            last: total.is_none_or(|total| number.saturating_mul(PAGE) >= total),
        })
    })
}

/// An id that stands for one thing: not empty, and no list of several.
pub(crate) fn one_id(id: &str, what: &str) -> Result<(), Error> {
    if id.trim().is_empty() || id.contains(',') {
        return Err(Error::invalid_input(format!(
            "`{what}` must be one id, this is `{}`",
            id.escape_debug()
        )));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer, answer_with};

    use super::*;

    const VERSION: &str = "POST /artemis/api/common/v1/version";

    fn ask(response: Response) -> Result<Value, Error> {
        read(&Script::new().then(VERSION, response), "common/v1/version", &json!({}))
    }

    #[test]
    fn success_is_code_0_in_every_form() {
        for body in [
            r#"{"code":"0","msg":"Success","data":{"a":1}}"#,
            r#"{"code":0,"msg":"success","data":{"a":1}}"#,
            "\u{FEFF}{\"code\":\"0\",\"data\":{\"a\":1}}",
        ] {
            assert_eq!(
                ask(answer_with(200, &[("Content-Type", "application/xml")], body)).unwrap(),
                json!({ "a": 1 })
            );
        }
        assert_eq!(ask(answer(200, r#"{"code":"0","msg":"Success"}"#)).unwrap(), Value::Null);
    }

    // facts A2, E1, with an invented key.
    const E1: &str = "{\"code\":\"0x02401003\",\"msg\":\"api AK/SK signature authentication failed,Invalid Signature! and StringToSign: POST\\n*/*\\napplication/json\\n/artemis/api/video/v2/cameras/previewURLs, apiName : previewURLs, appKey : 21000001\"}";

    #[test]
    fn a_recorded_signature_error_is_unauthorized_and_its_message_has_no_key() {
        for status in [200, 400] {
            let error = ask(answer(status, E1)).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref()),
                (ErrorKind::Unauthorized, Some("hikcentral:0x02401003"))
            );
            assert!(error.message.contains("Invalid Signature"), "{}", error.message);
            assert!(!error.message.contains("21000001"), "{}", error.message);
            // Whole in the details, where the host strikes it out.
            assert!(error.details.unwrap().contains("appKey : 21000001"));
        }
        // E2: another wording.
        let e2 = r#"{"code":"0x02401003","msg":"Invalid Signature! and StringToSign: POST\napplication/json\napplication/json; charset=UTF-8\n/artemis/api/common/v1/version"}"#;
        assert!(ask(answer(200, e2)).unwrap_err().message.ends_with("(Invalid Signature)"));
    }

    #[test]
    fn the_code_behind_a_401_of_the_host_is_read() {
        let host = |answer: &str| {
            Error::new(ErrorKind::Unauthorized, "`hcp` refused the credentials")
                .code("host:unauthorized")
                .details(&json!({ "status": 401, "answer": answer }))
        };
        let cut = r#"{"code":"0x02401009","msg":"call limit reached and so o"#;
        let error = lost(host(cut), VERSION, Call::Write);
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Busy, Some("hikcentral:0x02401009")));
        let error = lost(host("<html>"), VERSION, Call::Write);
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unauthorized, Some("host:unauthorized")));
    }

    #[test]
    fn code_8_and_a_page_mean_unsupported() {
        let error =
            ask(answer(200, r#"{"code":"8","msg":"This product version is not supported"}"#)).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unsupported, Some("hikcentral:8")));
        let error = ask(answer(404, "<html>404</html>")).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::Unsupported, Some("hikcentral:http-404"))
        );
    }

    #[test]
    fn an_answer_without_an_envelope_leaves_a_write_unsettled() {
        for body in ["", "{}", "<html>Welcome</html>", "{\"code\":", "[1]", "\u{1}"] {
            let script = Script::new().then(VERSION, answer(200, body));
            let error = write(&script, "common/v1/version", &json!({})).unwrap_err();
            assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Unknown), "{body:?}");
        }
        let lost = Error::new(ErrorKind::Timeout, "no answer").effect(Effect::Unknown);
        let script = Script::new().then_fails(VERSION, lost);
        assert_eq!(read(&script, "common/v1/version", &json!({})).unwrap_err().effect, Effect::None);
    }

    #[test]
    fn pages_are_read_to_the_total_and_nothing_found_is_an_empty_list() {
        const LINE: &str = "POST /artemis/api/x";
        let page = |number: u32, total: u32| {
            answer(200, json!({ "code": "0", "data": { "total": total, "pageNo": number, "pageSize": 500, "list": [{ "id": number }] } }).to_string())
        };
        let script =
            Script::new().then(LINE, page(1, 1_001)).then(LINE, page(2, 1_001)).then(LINE, page(3, 1_001));
        assert_eq!(pages(&script, "x", &json!({ "type": 1 }), None).unwrap().len(), 3);
        assert_eq!(script.body(2), r#"{"type":1,"pageNo":3,"pageSize":500}"#);
        script.finish();
        for nothing in [
            r#"{"code":"0","data":{"total":0,"pageNo":1,"pageSize":500}}"#,
            r#"{"code":"0","msg":"Success","data":""}"#,
        ] {
            let script = Script::new().then(LINE, answer(200, nothing));
            assert!(pages(&script, "x", &json!({}), None).unwrap().is_empty());
        }
        let script = Script::new().then(LINE, page(1, 1_001)).then(LINE, page(1, 1_001));
        assert_eq!(pages(&script, "x", &json!({}), None).unwrap_err().kind, ErrorKind::Protocol);
    }
}
