//! Who calls: the `auth:` of a webhook. Every comparison takes the same time whatever is compared.

use bascule_capability::secret::{Secret, Secrets};
use bascule_workflow::trigger::WebhookAuth;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::digest::{Denied, Nonces, Subject};
use crate::refusal::Refusal;

/// What is known of a request before its body.
pub(crate) struct Head<'r> {
    pub(crate) method: &'r Method,
    /// Path and query as they were sent.
    pub(crate) target: &'r str,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) now: Timestamp,
}

/// Checks what does not need the body.
pub(crate) async fn check_head(
    auth: &WebhookAuth,
    head: &Head<'_>,
    secrets: &Secrets,
    nonces: &Nonces,
) -> Result<(), Refusal> {
    match auth {
        WebhookAuth::None => Ok(()),
        WebhookAuth::HmacSha256 { header, timestamp_header, tolerance, .. } => {
            // The signature is over the body; without one, or with an old one, the body is not even read.
            only(head.headers, header)?;
            let Some(name) = timestamp_header else { return Ok(()) };
            let sent: i64 = only(head.headers, name)?
                .trim()
                .parse()
                .map_err(|_| denied(format!("`{name}` is not a time in seconds since 1970")))?;
            let apart = head.now.as_second().abs_diff(sent);
            if apart > tolerance.as_secs() {
                return Err(denied(format!("`{name}` is {apart} s away from the clock here"))
                    .help("set the sender's clock; an old delivery has to be signed anew"));
            }
            Ok(())
        }
        WebhookAuth::Header { name, secret } => {
            let given = only(head.headers, name)?;
            let expected = reveal(secrets, secret).await?;
            if same(given.as_bytes(), expected.expose().as_bytes()) {
                Ok(())
            } else {
                Err(denied(format!("`{name}` does not hold the secret")))
            }
        }
        WebhookAuth::Basic { user, password } => {
            let expected = reveal(secrets, password).await?;
            let expected = Zeroizing::new(format!("{user}:{}", expected.expose()));
            let given =
                authorization(head.headers, "basic").and_then(|value| STANDARD.decode(value.trim()).ok());
            let given = Zeroizing::new(given.unwrap_or_default());
            if same(&given, expected.as_bytes()) {
                return Ok(());
            }
            Err(denied("user and password are missing or wrong".to_owned())
                .header(WWW_AUTHENTICATE, r#"Basic realm="bascule", charset="UTF-8""#))
        }
        WebhookAuth::Digest { user, password } => {
            let password = reveal(secrets, password).await?;
            let subject =
                Subject { method: head.method.as_str(), target: head.target, user, password: &password };
            let given = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let why = match given.map(|given| nonces.check(given, &subject, head.now)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(why)) => why,
                None => Denied::Wrong,
            };
            let mut refusal = denied("answer the challenge".to_owned());
            let challenges = nonces
                .challenges(head.now, why)
                .map_err(|error| Refusal::internal("no random numbers", &error))?;
            for challenge in challenges {
                refusal = refusal.header(WWW_AUTHENTICATE, &challenge);
            }
            Err(refusal)
        }
    }
}

/// Checks the signature over the body, where there is one. Gives a key by which the very same delivery is known again,
/// where the sender signs the time too.
pub(crate) async fn check_body(
    auth: &WebhookAuth,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &Secrets,
) -> Result<Option<String>, Refusal> {
    let WebhookAuth::HmacSha256 { secret, header, timestamp_header, prefix, base64, .. } = auth else {
        return Ok(None);
    };
    let wrong = || {
        let help = match timestamp_header {
            Some(name) => format!("HMAC-SHA256 over the value of `{name}`, a dot and the body as it is sent"),
            None => "HMAC-SHA256 over the body as it is sent, byte for byte".to_owned(),
        };
        denied(format!("`{header}` is not the signature of this body")).help(help)
    };
    let given = only(headers, header)?.trim();
    let given = given.strip_prefix(prefix.as_str()).ok_or_else(wrong)?;
    let given = if *base64 { STANDARD.decode(given).ok() } else { hex::decode(given).ok() };
    let given = given.ok_or_else(wrong)?;
    let key = reveal(secrets, secret).await?;
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose().as_bytes())
        .map_err(|error| Refusal::internal("the secret cannot be used as a key", &error))?;
    if let Some(name) = timestamp_header {
        mac.update(only(headers, name)?.trim().as_bytes());
        mac.update(b".");
    }
    mac.update(body);
    mac.verify_slice(&given).map_err(|_| wrong())?;
    Ok(timestamp_header.is_some().then(|| format!("signature {}", hex::encode(given))))
}

/// A header that stands there exactly once: of two, the sender and we might look at different ones.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Refusal> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => one.to_str().map_err(|_| denied(format!("`{name}` is not plain text"))),
        (Some(_), Some(_)) => Err(denied(format!("`{name}` stands there more than once"))),
        (None, _) => Err(denied(format!("`{name}` is missing"))),
    }
}

fn authorization<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (given, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Digests of equal length, so that neither content nor length can be measured.
fn same(given: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(expected)).into()
}

fn denied(message: String) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

async fn reveal(secrets: &Secrets, name: &str) -> Result<Secret, Refusal> {
    secrets.in_force(name).await.map_err(|error| {
        tracing::error!(secret = name, %error, "a webhook cannot tell who calls");
        Refusal::unavailable("not-ready", "this webhook is not ready: its secret cannot be read")
            .help("the server's log says more")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bascule_capability::secret::MasterKey;
    use bascule_database::Database;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    async fn secrets(folder: &std::path::Path) -> Secrets {
        let database = Database::open(&folder.join("data/bascule.db")).await.unwrap();
        let key = MasterKey::create(&folder.join("master.key")).unwrap();
        let secrets = Secrets::open(database, key, folder.to_owned(), Arc::new(|_| None)).await.unwrap();
        secrets.set("photo-hook", Secret::new("a shared key"), None).await.unwrap();
        secrets
    }

    fn hmac(timestamp: Option<&str>) -> WebhookAuth {
        WebhookAuth::HmacSha256 {
            secret: "photo-hook".to_owned(),
            header: "X-Signature-256".to_owned(),
            timestamp_header: timestamp.map(str::to_owned),
            tolerance: Duration::from_secs(300),
            prefix: "sha256=".to_owned(),
            base64: false,
        }
    }

    async fn call(
        auth: &WebhookAuth,
        headers: &[(&'static str, &str)],
        body: &[u8],
        secrets: &Secrets,
    ) -> Result<Option<String>, (u16, String)> {
        let nonces = Nonces::new().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let now = Timestamp::from_second(NOW).unwrap();
        let head = Head { method: &Method::POST, target: "/hooks/x", headers: &map, now };
        let told = |refusal: Refusal| (refusal.status().as_u16(), refusal.message().to_owned());
        check_head(auth, &head, secrets, &nonces).await.map_err(told)?;
        check_body(auth, &map, body, secrets).await.map_err(told)
    }

    /// `printf '%s' '{"a":1}' | openssl dgst -sha256 -hmac 'a shared key'`
    const SIGNATURE: &str = "sha256=3402977966368d0d4f8a56f3b1b9709428b3264ceb37c031a88f52be8202d3ce";

    #[tokio::test]
    async fn a_signature_is_over_the_body_and_nothing_else_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path()).await;
        let auth = hmac(None);
        let name = "x-signature-256";
        assert_eq!(call(&auth, &[(name, SIGNATURE)], b"{\"a\":1}", &secrets).await, Ok(None));
        for (headers, body) in [
            (vec![(name, SIGNATURE)], &b"{\"a\":2}"[..]),
            (vec![(name, SIGNATURE)], b"{\"a\":1} "),
            (vec![(name, SIGNATURE.strip_prefix("sha256=").unwrap())], b"{\"a\":1}"),
            (vec![(name, "sha256=")], b"{\"a\":1}"),
            (vec![(name, "sha256=00")], b"{\"a\":1}"),
            (vec![(name, SIGNATURE), (name, SIGNATURE)], b"{\"a\":1}"),
            (vec![], b"{\"a\":1}"),
        ] {
            let (status, _) = call(&auth, &headers, body, &secrets).await.unwrap_err();
            assert_eq!(status, 401, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_signed_time_must_be_near_and_makes_a_replay_known() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path()).await;
        let auth = hmac(Some("X-Time"));
        let sign = |time: i64| {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"a shared key").unwrap();
            mac.update(format!("{time}.hello").as_bytes());
            (time.to_string(), format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
        };
        for (time, fits) in
            [(NOW, true), (NOW - 300, true), (NOW + 300, true), (NOW - 301, false), (NOW + 301, false)]
        {
            let (sent, signature) = sign(time);
            let headers = [("x-time", sent.as_str()), ("x-signature-256", signature.as_str())];
            let said = call(&auth, &headers, b"hello", &secrets).await;
            assert_eq!(said.is_ok(), fits, "{said:?}");
            if let Ok(key) = said {
                assert_eq!(key.as_deref(), Some(signature.replace("sha256=", "signature ").as_str()));
            }
        }
        // A later time under an old signature.
        let (_, signature) = sign(NOW - 10);
        let now = NOW.to_string();
        let headers = [("x-time", now.as_str()), ("x-signature-256", signature.as_str())];
        assert_eq!(call(&auth, &headers, b"hello", &secrets).await.unwrap_err().0, 401);
    }

    #[tokio::test]
    async fn headers_and_basic_hold_the_secret_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path()).await;
        let header = WebhookAuth::Header { name: "X-Key".to_owned(), secret: "photo-hook".to_owned() };
        assert_eq!(call(&header, &[("x-key", "a shared key")], b"", &secrets).await, Ok(None));
        assert_eq!(call(&header, &[("x-key", "a shared keY")], b"", &secrets).await.unwrap_err().0, 401);
        assert_eq!(call(&header, &[], b"", &secrets).await.unwrap_err().0, 401);
        let basic = WebhookAuth::Basic { user: "gate".to_owned(), password: "photo-hook".to_owned() };
        let right = format!("Basic {}", STANDARD.encode("gate:a shared key"));
        assert_eq!(call(&basic, &[("authorization", &right)], b"", &secrets).await, Ok(None));
        let wrong = format!("Basic {}", STANDARD.encode("gate:a shared"));
        assert_eq!(call(&basic, &[("authorization", &wrong)], b"", &secrets).await.unwrap_err().0, 401);
        assert_eq!(call(&basic, &[], b"", &secrets).await.unwrap_err().0, 401);
    }

    #[tokio::test]
    async fn a_secret_that_is_not_there_makes_the_webhook_unready_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path()).await;
        let header = WebhookAuth::Header { name: "X-Key".to_owned(), secret: "nobody".to_owned() };
        assert_eq!(call(&header, &[("x-key", "")], b"", &secrets).await.unwrap_err().0, 503);
    }
}
