//! The login that a connection's `auth` stands for, played by the stand-in so that no test has to write it down. That the
//! right scheme is used is looked at; whether a signature is right is for the device to say.

use std::collections::HashMap;

use bascule_workflow::project::{Auth, Connection, TokenExchange};
use serde_json::{Map, Value, json};

use super::wire::{Raw, Reply};

/// The nonce of every challenge; each request takes a fresh challenge, so it need not change.
const NONCE: &str = "5d0c1f3a9b7e4862";
/// What a token connection is given.
const TOKEN: &str = "invented-token-of-the-stand-in";

/// What a request's login comes to.
pub(super) enum Login {
    /// It goes on to the stubs.
    Passed,
    /// The stand-in itself answers.
    Answered(Reply),
}

/// Headers in lower case that carry the connection's credentials.
pub(super) fn credentials(connection: &Connection) -> Vec<String> {
    match &connection.auth {
        Auth::Headers(headers) => headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect(),
        Auth::Token(exchange) => vec![exchange.header.to_ascii_lowercase()],
        _ => Vec::new(),
    }
}

/// Looks at a request's login. `has_stub` tells whether a stub of the test answers the request as it is.
pub(super) fn look(connection: &Connection, raw: &Raw, at: &str, has_stub: impl Fn() -> bool) -> Login {
    let begins = |prefix: &str| raw.header("authorization").is_some_and(|value| value.starts_with(prefix));
    let has = |name: &str| raw.header(name).is_some();
    let passed = match &connection.auth {
        Auth::None => true,
        Auth::Basic { .. } => begins("Basic "),
        Auth::Digest { .. } => {
            if begins("Digest ") {
                raw.header("authorization").is_some_and(|value| value.contains(NONCE))
            } else {
                let challenge =
                    format!("Digest realm=\"stand-in\", qop=\"auth\", nonce=\"{NONCE}\", algorithm=SHA-256");
                return Login::Answered(refusal(vec![("WWW-Authenticate".to_owned(), challenge)]));
            }
        }
        Auth::AkSk { .. } => has("x-ca-key") && has("x-ca-signature"),
        Auth::Headers(headers) => headers.iter().all(|(name, _)| has(&name.to_ascii_lowercase())),
        Auth::Token(exchange) => {
            let path = raw.target.split('?').next().unwrap_or_default();
            if raw.method == "POST" && path.ends_with(&exchange.path) && !has_stub() {
                return Login::Answered(token(exchange, at));
            }
            has(&exchange.header.to_ascii_lowercase()) || has_stub()
        }
    };
    if passed { Login::Passed } else { Login::Answered(refusal(Vec::new())) }
}

fn refusal(headers: Vec<(String, String)>) -> Reply {
    Reply { status: 401, headers, body: Vec::new() }
}

/// The answer to the token exchange, with everything where its pointers look for it.
fn token(exchange: &TokenExchange, at: &str) -> Reply {
    let mut answer = Value::Object(Map::new());
    let mut wanted: HashMap<&str, Value> = HashMap::from([(exchange.token_pointer.as_str(), json!(TOKEN))]);
    if let Some(pointer) = &exchange.expires_pointer {
        wanted.insert(pointer, json!(7 * 24 * 3600));
    }
    if let Some(pointer) = &exchange.origin_pointer {
        // An allowed host that stands for all of them.
        let host = exchange.origin_allow.first().map(|host| host.replace('*', "stand-in"));
        wanted.insert(pointer, json!(format!("https://{}", host.unwrap_or_else(|| at.to_owned()))));
    }
    for (pointer, value) in wanted {
        let mut place = &mut answer;
        for key in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key.replace("~1", "/").replace("~0", "~").as_str()];
        }
        *place = value;
    }
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    // Hik-Partner's answers say "0" where all is well (facts: errorCode).
    if answer.get("errorCode").is_none() {
        answer["errorCode"] = json!("0");
    }
    Reply { status: 200, headers, body: answer.to_string().into_bytes() }
}
