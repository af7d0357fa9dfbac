//! From PostgREST's and the storage's error bodies to the host's error record
//! (`facts/hikcentral_hikpartner_supabase.md` C2 and C3).

use std::time::Duration;

use bascule_sdk::{Effect, Error, ErrorKind, Response, json};
use serde_json::{Map, Value};

/// The error for an answer outside 200-299 from `/rest/v1`.
pub(crate) fn of_table(response: &Response, line: &str) -> Error {
    let body = response.json::<Value>().unwrap_or(Value::Null);
    let text = |name: &str| json::field(&body, name).and_then(json::as_text).filter(|text| !text.is_empty());
    let code = text("code");
    let kind = match code.as_deref() {
        Some(code) => table_kind(code, response.status),
        None => http_kind(response.status),
    };
    // With a code the database has spoken: it rolled back. Without one, a gateway may have lost the answer.
    let effect = if code.is_none() && response.status >= 500 && response.status != 503 {
        Effect::Unknown
    } else {
        Effect::None
    };
    let message = match (text("message"), text("hint")) {
        (Some(message), Some(hint)) => format!("{message} ({hint})"),
        (Some(message), None) => message,
        (None, _) => format!("the server answered `{line}` with HTTP {}", response.status),
    };
    let name = code.unwrap_or_else(|| format!("http-{}", response.status));
    finish(Error::new(kind, one_line(&message)).code(label(&name)).effect(effect), response, &body, line)
}

/// The error for an answer outside 200-299 from `/storage/v1`: nearly all are HTTP 400 with the true status inside.
pub(crate) fn of_storage(response: &Response, line: &str) -> Error {
    let body = response.json::<Value>().unwrap_or(Value::Null);
    let text = |name: &str| json::field(&body, name).and_then(json::as_text).filter(|text| !text.is_empty());
    let status = text("statusCode").and_then(|status| status.parse().ok()).unwrap_or(response.status);
    let name = text("code").or_else(|| text("error"));
    let message = text("message");
    let kind = match name.as_deref() {
        Some("InvalidJWT" | "InvalidSignature" | "InvalidKey" | "AccessDenied") if status != 403 => {
            ErrorKind::Unauthorized
        }
        // A key that is none is answered like a row policy, `403`; only the words tell.
        _ if status == 403 && message.as_deref().is_some_and(speaks_of_token) => ErrorKind::Unauthorized,
        _ => http_kind(status),
    };
    // The storage's own words say that nothing was done; a gateway's may hide that it was.
    let effect = match name {
        None if status >= 500 && status != 503 && !line.starts_with("GET ") => Effect::Unknown,
        _ => Effect::None,
    };
    let message = message.unwrap_or_else(|| format!("the storage answered `{line}` with HTTP {status}"));
    let name = name.unwrap_or_else(|| format!("http-{status}"));
    finish(Error::new(kind, one_line(&message)).code(label(&name)).effect(effect), response, &body, line)
}

/// "Invalid Compact JWS", "jwt expired", "signature verification failed".
fn speaks_of_token(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["jws", "jwt", "signature verification", "\"exp\" claim"].iter().any(|word| message.contains(word))
}

/// An error body although the status says that all is well.
pub(crate) fn in_disguise(response: &Response) -> bool {
    response.is_success()
        && response.json::<Value>().is_ok_and(|body| {
            let status = json::field(&body, "statusCode").and_then(json::as_text);
            status.and_then(|status| status.parse::<u16>().ok()).is_some_and(|status| status >= 400)
        })
}

fn finish(mut error: Error, response: &Response, body: &Value, line: &str) -> Error {
    if matches!(error.kind, ErrorKind::Busy)
        && let Some(seconds) = response.header("retry-after").and_then(|value| value.trim().parse().ok())
    {
        error = error.retry_after(Duration::from_secs(seconds));
    }
    let mut details = Map::new();
    details.insert("request".into(), line.into());
    details.insert("httpStatus".into(), response.status.into());
    match body.as_object() {
        Some(fields) => details.extend(fields.clone()),
        None => {
            let excerpt = response.excerpt(300);
            if !excerpt.is_empty() {
                details.insert("body".into(), excerpt.into());
            }
        }
    }
    error.details(&Value::Object(details))
}

fn table_kind(code: &str, status: u16) -> ErrorKind {
    match code {
        // Uniqueness and foreign keys; `max-affected` exceeded.
        "23505" | "23503" | "23P01" | "PGRST124" => ErrorKind::Conflict,
        "42501" | "25006" => ErrorKind::Refused,
        "57014" => ErrorKind::Timeout,
        "PGRST116" => ErrorKind::NotFound,
        "PGRST301" | "PGRST302" | "PGRST303" => ErrorKind::Unauthorized,
        // Serialisation failure and deadlock: the transaction may simply be tried again.
        "40001" | "40P01" | "PGRST000" | "PGRST001" | "PGRST002" | "PGRST003" => ErrorKind::Busy,
        // What is missing here is a table, a column or a function: the workflow has to be mended.
        "42P01" | "42883" | "42703" | "PGRST200" | "PGRST201" | "PGRST202" | "PGRST203" | "PGRST204"
        | "PGRST205" => ErrorKind::InvalidInput,
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("57") => ErrorKind::Busy,
        _ => http_kind(status),
    }
}

fn http_kind(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Refused,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        405 | 501 => ErrorKind::Unsupported,
        429 | 500 | 502..=599 => ErrorKind::Busy,
        300 | 400..=499 => ErrorKind::InvalidInput,
        _ => ErrorKind::Protocol,
    }
}

/// `supabase:23505`; of anything else than a plain word, what is plain about it.
fn label(name: &str) -> String {
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(64).collect();
    format!("supabase:{plain}")
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{answer, answer_with};
    use serde_json::json;

    use super::*;

    fn table(status: u16, code: &str) -> Error {
        let body = json!({ "code": code, "message": "m", "details": "d", "hint": null });
        of_table(&answer(status, body.to_string()), "GET /rest/v1/t")
    }

    #[test]
    fn kinds_follow_the_servers_codes() {
        let cases = [
            (409, "23505", ErrorKind::Conflict),
            (409, "23503", ErrorKind::Conflict),
            (403, "42501", ErrorKind::Refused),
            (401, "42501", ErrorKind::Refused),
            (401, "PGRST301", ErrorKind::Unauthorized),
            (401, "PGRST303", ErrorKind::Unauthorized),
            (503, "PGRST000", ErrorKind::Busy),
            (504, "PGRST003", ErrorKind::Busy),
            (503, "53300", ErrorKind::Busy),
            (500, "57014", ErrorKind::Timeout),
            (500, "40001", ErrorKind::Busy),
            (404, "42P01", ErrorKind::InvalidInput),
            (404, "PGRST205", ErrorKind::InvalidInput),
            (404, "PGRST202", ErrorKind::InvalidInput),
            (400, "42703", ErrorKind::InvalidInput),
            (400, "22P02", ErrorKind::InvalidInput),
            (400, "23502", ErrorKind::InvalidInput),
            (400, "P0001", ErrorKind::InvalidInput),
            (400, "PGRST100", ErrorKind::InvalidInput),
            (400, "PGRST124", ErrorKind::Conflict),
            (405, "PGRST101", ErrorKind::Unsupported),
        ];
        for (status, code, kind) in cases {
            let error = table(status, code);
            assert_eq!(
                (error.kind, error.code, error.effect),
                (kind, Some(format!("supabase:{code}")), Effect::None)
            );
        }
    }

    #[test]
    fn everything_the_server_said_is_kept() {
        let body = r#"{"code":"23505","details":"Key (employee_no)=(1) already exists.","hint":null,"message":"duplicate key value violates unique constraint \"employees_employee_no_key\""}"#;
        let error = of_table(&answer(409, body), "POST /rest/v1/employees");
        assert_eq!(
            error.message,
            "duplicate key value violates unique constraint \"employees_employee_no_key\""
        );
        let details: Value = serde_json::from_str(&error.details.unwrap()).unwrap();
        assert_eq!(details["details"], "Key (employee_no)=(1) already exists.");
        assert_eq!(details["httpStatus"], 409);
    }

    #[test]
    fn a_gateway_error_leaves_the_effect_open_and_429_says_when() {
        let error = of_table(&answer(502, "<html>Bad Gateway</html>"), "POST /rest/v1/t");
        assert_eq!(
            (error.kind, error.effect, error.code.as_deref()),
            (ErrorKind::Busy, Effect::Unknown, Some("supabase:http-502"))
        );
        let error = of_table(&answer_with(429, &[("Retry-After", "3")], ""), "GET /rest/v1/t");
        assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(3000)));
    }

    #[test]
    fn storage_hides_the_true_status_inside() {
        let cases = [
            (
                400,
                r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#,
                ErrorKind::NotFound,
                "supabase:not_found",
            ),
            (
                400,
                r#"{"statusCode":"404","error":"not_found","code":"NoSuchKey","message":"Object not found"}"#,
                ErrorKind::NotFound,
                "supabase:NoSuchKey",
            ),
            (
                400,
                r#"{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}"#,
                ErrorKind::Conflict,
                "supabase:Duplicate",
            ),
            (
                400,
                r#"{"statusCode":"403","error":"Unauthorized","message":"new row violates row-level security policy"}"#,
                ErrorKind::Refused,
                "supabase:Unauthorized",
            ),
            (
                400,
                r#"{"statusCode":"413","error":"Payload too large","message":"The object exceeded the maximum allowed size"}"#,
                ErrorKind::InvalidInput,
                "supabase:Payloadtoolarge",
            ),
            (
                400,
                r#"{"statusCode":"400","error":"InvalidJWT","message":"jwt expired"}"#,
                ErrorKind::Unauthorized,
                "supabase:InvalidJWT",
            ),
            (
                429,
                r#"{"statusCode":"429","error":"too_many_connections","message":"Too many connections"}"#,
                ErrorKind::Busy,
                "supabase:too_many_connections",
            ),
            (544, "", ErrorKind::Busy, "supabase:http-544"),
            (
                400,
                r#"{"statusCode":"403","error":"Unauthorized","message":"Invalid Compact JWS"}"#,
                ErrorKind::Unauthorized,
                "supabase:Unauthorized",
            ),
        ];
        for (status, body, kind, code) in cases {
            let error = of_storage(&answer(status, body), "GET /storage/v1/object/photos/a.jpg");
            assert_eq!((error.kind, error.code.as_deref()), (kind, Some(code)), "{body}");
        }
    }

    #[test]
    fn only_a_gateway_leaves_open_whether_the_storage_wrote() {
        let effect = |status, body: &str, line| of_storage(&answer(status, body), line).effect;
        assert_eq!(effect(502, "<html>", "POST /storage/v1/object/b/a"), Effect::Unknown);
        assert_eq!(effect(502, "<html>", "GET /storage/v1/object/b/a"), Effect::None);
        let body = r#"{"statusCode":"500","error":"Internal","message":"Internal Server Error"}"#;
        assert_eq!(effect(500, body, "POST /storage/v1/object/b/a"), Effect::None);
    }

    #[test]
    fn an_error_with_status_200_is_recognised() {
        let body = r#"{"statusCode":"404","error":"not_found","message":"Object not found"}"#;
        assert!(in_disguise(&answer(200, body)));
        assert!(!in_disguise(&answer(400, body)));
        assert!(!in_disguise(&answer(200, r#"{"Id":"1","Key":"b/a"}"#)));
        assert!(!in_disguise(&answer(200, "[]")));
    }
}
