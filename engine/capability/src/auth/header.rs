//! Fixed headers whose values are secrets, e.g. API keys.

use bascule_workflow::failure::{Failure, Kind};
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use crate::credential::Source;
use crate::secret::Secret;

/// One header of `auth: { headers: .. }`.
#[derive(Clone, Debug)]
pub(crate) struct SecretHeader {
    /// In lower case.
    pub(crate) name: String,
    /// Put before the secret.
    pub(crate) prefix: String,
    pub(crate) secret: Source,
}

/// `prefix` and the secret as a header value that no `Debug` shows.
pub(crate) fn value(name: &str, prefix: &str, secret: &Secret) -> Result<HeaderValue, Failure> {
    sensitive(&Zeroizing::new(format!("{prefix}{}", secret.expose())), name)
}

pub(crate) fn sensitive(text: &str, name: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_unusable| {
        // The error itself is not told: it may show the value.
        Failure::new(
            Kind::InvalidInput,
            format!("the secret for the header `{name}` has a control character in it"),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_with_a_line_break_is_refused_without_being_shown() -> Result<(), String> {
        let Err(failure) = value("apikey", "", &Secret::new("canary-5f\r\nX: y")) else {
            return Err("taken".to_owned());
        };
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        Ok(())
    }
}
