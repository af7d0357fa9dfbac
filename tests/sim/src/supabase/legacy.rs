//! Legacy keys: JWTs signed with the project's secret (HS256), as `anon` and `service_role` keys were before `sb_..` keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::Role;

/// Invented.
const JWT_SECRET: &[u8] = b"simulated-project-jwt-secret-0123456789";

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    NoToken,
    Signature,
    Expired,
}

/// A key with that role that works until then.
pub(super) fn sign(role: &str, until: Timestamp) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "iss": "supabase", "ref": "simulated", "role": role, "exp": until.as_second() });
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(proof(&signed)))
}

/// Whose key it is.
pub(super) fn read(token: &str) -> Result<Role, Flaw> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::NoToken)?;
    let (header, claims) = signed.split_once('.').ok_or(Flaw::NoToken)?;
    let part =
        |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let (header, claims) = (part(header).ok_or(Flaw::NoToken)?, part(claims).ok_or(Flaw::NoToken)?);
    let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Flaw::NoToken)?;
    if header["alg"] != "HS256" || given != proof(signed) {
        return Err(Flaw::Signature);
    }
    if claims["exp"].as_i64().unwrap_or_default() <= Timestamp::now().as_second() {
        return Err(Flaw::Expired);
    }
    match claims["role"].as_str() {
        Some("service_role") => Ok(Role::Service),
        Some("anon") => Ok(Role::Anonymous),
        _ => Err(Flaw::NoToken),
    }
}

fn proof(signed: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(JWT_SECRET) else {
        return Vec::new();
    };
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_project_is_told_from_others() {
        let late = Timestamp::MAX;
        assert_eq!(read(&sign("service_role", late)), Ok(Role::Service));
        assert_eq!(read(&sign("anon", late)), Ok(Role::Anonymous));
        assert_eq!(read(&sign("service_role", Timestamp::UNIX_EPOCH)), Err(Flaw::Expired));
        assert_eq!(read("x.y.z"), Err(Flaw::NoToken));
        let token = sign("anon", late);
        let (signed, _) = token.rsplit_once('.').unwrap_or_default();
        assert_eq!(read(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode("x"))), Err(Flaw::Signature));
    }
}
