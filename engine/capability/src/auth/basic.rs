//! Basic (RFC 7617): only where `bascule.yaml` says so, never as a way out of digest auth.

use bascule_workflow::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use crate::auth::header::sensitive;
use crate::secret::Secret;

/// The value of `Authorization`.
pub(crate) fn authorization(user: &str, password: &Secret) -> Result<HeaderValue, Failure> {
    let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    sensitive(&value, "authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7617_comes_out() -> Result<(), Failure> {
        let value = authorization("Aladdin", &Secret::new("open sesame"))?;
        assert_eq!(value.as_bytes(), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(value.is_sensitive());
        assert_eq!(format!("{value:?}"), "Sensitive");
        Ok(())
    }
}
