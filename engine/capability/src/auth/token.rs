//! A bearer token that is fetched by a declared exchange and renewed before it ends (facts B1).

use std::time::Duration;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use url::{Host, Url};

use crate::credential::Source;
use crate::secret::Secret;

/// The lock-out guard's name for the login of an exchange.
pub(crate) const ACCOUNT: &str = "token exchange";
/// Below this, `expires` counts seconds from now; above, milliseconds since the epoch.
const EPOCH_FROM: i64 = 10_000_000_000;
/// A token is used at least this long, whatever its expiry says.
const LEAST_USE: Duration = Duration::from_secs(10);

/// `auth: { token: .. }` with its templates evaluated; fields as in [`project::TokenExchange`].
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) path: String,
    pub(crate) body: Vec<(String, Field)>,
    token_pointer: String,
    expires_pointer: Option<String>,
    origin_pointer: Option<String>,
    origin_allow: Vec<String>,
    pub(crate) header: String,
    pub(crate) prefix: String,
    refresh_before: Duration,
    code_pointer: Option<String>,
    expired: Vec<String>,
    denied: Vec<String>,
}

/// A value of the request's body.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Text(String),
    Secret(Source),
}

/// What an exchange gave.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    /// When a new one is to be fetched, if the peer said when this one ends.
    pub(crate) renew_at: Option<Instant>,
    /// Where requests go now.
    pub(crate) origin: Option<Url>,
    /// Tells this token from a later one.
    pub(crate) generation: u64,
}

impl Exchange {
    pub(crate) fn evaluate(
        exchange: &project::TokenExchange,
        scope: &Scope,
        connection: &str,
    ) -> Result<Self, Failure> {
        let body = exchange
            .body
            .iter()
            .map(|(name, field)| {
                let field = match field {
                    project::TokenField::Text(text) => Field::Text(text.clone()),
                    project::TokenField::Secret(source) => {
                        Field::Secret(Source::evaluate(source, scope, connection)?)
                    }
                };
                Ok((name.clone(), field))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            path: exchange.path.clone(),
            body,
            token_pointer: exchange.token_pointer.clone(),
            expires_pointer: exchange.expires_pointer.clone(),
            origin_pointer: exchange.origin_pointer.clone(),
            origin_allow: exchange.origin_allow.clone(),
            header: exchange.header.clone(),
            prefix: exchange.prefix.clone(),
            refresh_before: exchange.refresh_before,
            code_pointer: exchange.code_pointer.clone(),
            expired: exchange.expired.clone(),
            denied: exchange.denied.clone(),
        })
    }

    /// Reads an answer; `None` where there is no token in it.
    pub(crate) fn read(&self, answer: &Value, base: &Url, now: Timestamp) -> Result<Option<Token>, Failure> {
        let Some(token) = answer.pointer(&self.token_pointer).and_then(Value::as_str) else {
            return Ok(None);
        };
        if token.is_empty() {
            return Ok(None);
        }
        let left = self
            .expires_pointer
            .as_deref()
            .and_then(|pointer| answer.pointer(pointer))
            .and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))
            .map(|expires| time_left(expires, now));
        let renew_at = left.map(|left| {
            // Of a token that ends sooner than it should be renewed, half the time is used.
            let use_for = left.checked_sub(self.refresh_before).unwrap_or(left / 2);
            Instant::now() + use_for.max(LEAST_USE)
        });
        let origin = match &self.origin_pointer {
            None => None,
            Some(pointer) => match answer.pointer(pointer).and_then(Value::as_str) {
                None | Some("") => None,
                Some(text) => Some(self.origin(text, base)?),
            },
        };
        Ok(Some(Token { value: Secret::new(token), renew_at, origin, generation: 0 }))
    }

    /// True where an answer says that the token is no longer good. Where it is known in which place an answer has its code, a
    /// text elsewhere in it (somebody's name, a message) means nothing.
    pub(crate) fn says_expired(&self, body: &[u8]) -> bool {
        let is_somewhere = |code: &String| body.windows(code.len()).any(|window| window == code.as_bytes());
        if !self.expired.iter().any(is_somewhere) {
            return false;
        }
        let Some(pointer) = &self.code_pointer else { return true };
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        code_at(&answer, pointer).is_some_and(|code| self.expired.contains(&code))
    }

    /// The code of an answer without a token, where it is one that does not mean that key or secret are wrong.
    pub(crate) fn other_trouble(&self, answer: &Value) -> Option<String> {
        let pointer = self.code_pointer.as_deref().filter(|_| !self.denied.is_empty())?;
        let code = code_at(answer, pointer)?;
        (!self.denied.contains(&code)).then_some(code)
    }

    /// Accepts scheme, host and port and nothing else, never in clear where the connection was encrypted.
    fn origin(&self, text: &str, base: &Url) -> Result<Url, Failure> {
        let refuse = |why: &str| {
            let shown: String = text.chars().take(100).collect::<String>().escape_debug().collect();
            Failure::new(
                Kind::Refused,
                format!("the token exchange sends further requests to `{shown}`: {why}"),
            )
            .with_code("host:origin")
        };
        let authority = text.split_once("://").map_or(text, |(_scheme, rest)| rest);
        if authority.starts_with('/')
            || authority.chars().any(|c| c == '\\' || c.is_whitespace() || c.is_control())
        {
            return Err(refuse("that is not an address"));
        }
        let full = if text.contains("://") { text.to_owned() } else { format!("{}://{text}", base.scheme()) };
        let url = Url::parse(&full).map_err(|_unreadable| refuse("that is not an address"))?;
        let is_plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_plain {
            return Err(refuse("only scheme, host and port are taken"));
        }
        if url.scheme() != "https" && url.scheme() != base.scheme() {
            return Err(refuse("the connection itself is encrypted"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
            Some(address) => address.to_string(),
            None => return Err(refuse("that is not an address")),
        };
        if url.origin() != base.origin() && !self.origin_allow.iter().any(|pattern| matches(&host, pattern)) {
            return Err(refuse("add that host to auth.token.origins if it is right"));
        }
        Ok(url)
    }
}

fn code_at(answer: &Value, pointer: &str) -> Option<String> {
    match answer.pointer(pointer)? {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    }
}

fn matches(host: &str, pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        None => host == pattern,
    }
}

fn time_left(expires: i64, now: Timestamp) -> Duration {
    let milliseconds = if expires < EPOCH_FROM {
        expires.saturating_mul(1000)
    } else {
        expires.saturating_sub(now.as_millisecond())
    };
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn exchange() -> Exchange {
        Exchange {
            path: "/token".to_owned(),
            body: Vec::new(),
            token_pointer: "/data/accessToken".to_owned(),
            expires_pointer: Some("/data/expireTime".to_owned()),
            origin_pointer: Some("/data/areaDomain".to_owned()),
            origin_allow: vec!["*.hik-partner.com".to_owned()],
            header: "Authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
            refresh_before: Duration::from_secs(300),
            code_pointer: None,
            expired: Vec::new(),
            denied: Vec::new(),
        }
    }

    fn base() -> Url {
        Url::parse("https://api.hik-partner.com").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn both_ways_to_say_when_it_ends_are_read() {
        let now = Timestamp::from_millisecond(1_795_000_000_000).unwrap();
        for (expires, left) in [
            (json!(1_795_003_600_000_i64), 3300),
            (json!("1795003600000"), 3300),
            (json!(3600), 3300),
            (json!(200), 100),
            (json!(1_700_000_000_000_i64), 10),
        ] {
            let answer = json!({"data": {"accessToken": "hpc.1", "expireTime": expires}});
            let token = exchange().read(&answer, &base(), now).unwrap().unwrap();
            assert_eq!(token.renew_at.unwrap() - Instant::now(), Duration::from_secs(left), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_token_gives_none() {
        let now = Timestamp::UNIX_EPOCH;
        for answer in [json!({"errorCode": "LAP500005"}), json!({"data": {"accessToken": ""}}), json!(null)] {
            assert!(exchange().read(&answer, &base(), now).unwrap().is_none());
        }
    }

    #[test]
    fn an_expired_token_is_known_by_its_code_in_its_place() {
        let expired = vec!["LAP500004".to_owned(), "LAP500005".to_owned()];
        let anywhere = Exchange { expired: expired.clone(), ..exchange() };
        let in_place = Exchange { expired, code_pointer: Some("/errorCode".to_owned()), ..exchange() };
        let answer = br#"{"errorCode":"LAP500005"}"#;
        assert!(anywhere.says_expired(answer) && in_place.says_expired(answer));
        // Somebody is called so, or a message quotes it.
        let name = br#"{"errorCode":"0","data":{"rows":[{"siteName":"LAP500004"}]}}"#;
        assert!(anywhere.says_expired(name) && !in_place.says_expired(name));
        for other in
            [&b"LAP500004"[..], b"", br#"{"errorCode":"LAP500007"}"#, br#"{"errorCode":["LAP500004"]}"#]
        {
            assert!(!in_place.says_expired(other), "{}", String::from_utf8_lossy(other));
        }
        assert!(!exchange().says_expired(answer));
    }

    #[test]
    fn a_limit_is_no_wrong_password() {
        let told = Exchange {
            code_pointer: Some("/errorCode".to_owned()),
            denied: vec!["LAP300002".to_owned()],
            ..exchange()
        };
        assert_eq!(told.other_trouble(&json!({"errorCode": "LAP500007"})).as_deref(), Some("LAP500007"));
        assert_eq!(told.other_trouble(&json!({"errorCode": "LAP300002"})), None);
        assert_eq!(told.other_trouble(&json!({})), None);
        assert_eq!(exchange().other_trouble(&json!({"errorCode": "LAP500007"})), None);
    }

    #[tokio::test]
    async fn only_declared_origins_are_followed() {
        let now = Timestamp::UNIX_EPOCH;
        let read = |origin: &str| {
            let answer = json!({"data": {"accessToken": "hpc.1", "areaDomain": origin}});
            exchange().read(&answer, &base(), now)
        };
        for good in
            ["https://ieuapi.hik-partner.com", "ieuapi.hik-partner.com", "https://api.hik-partner.com:443/"]
        {
            assert_eq!(read(good).unwrap().unwrap().origin.unwrap().scheme(), "https", "{good}");
        }
        for bad in [
            "https://evil.example",
            "https://hik-partner.com",
            "https://evilhik-partner.com",
            "https://.hik-partner.com",
            "https://hik-partner.com.evil.example",
            "http://ieuapi.hik-partner.com",
            "https://user@ieuapi.hik-partner.com",
            "https://ieuapi.hik-partner.com@evil.example",
            "https://ieuapi.hik-partner.com/x",
            "https://ieuapi.hik-partner.com/?x",
            "https://169.254.169.254",
            "//ieuapi.hik-partner.com",
            "ftp://ieuapi.hik-partner.com",
        ] {
            assert_eq!(read(bad).err().map(|failure| failure.kind), Some(Kind::Refused), "{bad}");
        }
    }
}
