//! Building the host's one error record.

use std::time::Duration;

use serde_json::Value;

use crate::types::{Effect, Error, ErrorKind};

impl Error {
    /// An error that changed nothing outside. `message` is one sentence for the operator, lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            effect: Effect::None,
            retry_after: None,
            details: None,
        }
    }

    /// The caller's values cannot be right.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// The peer's permissions forbid it.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// What was named does not exist on the peer.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// It exists already, or changed meanwhile.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// This peer cannot do it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The peer asks to come again later.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Busy, message)
    }

    /// The peer answered something that its protocol does not allow.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// A fault of the plugin itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with the peer's own name for it, prefixed with the plugin's: `isapi:deviceBusy`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same error with another effect on the outside world.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same error with the time after which another try may succeed.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same error with everything else worth keeping; `details` should be a JSON object.
    #[must_use]
    pub fn details(mut self, details: &Value) -> Self {
        self.details = Some(details.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_built_error_carries_everything_it_was_given() {
        let error = Error::busy("the terminal is modelling another face")
            .code("isapi:faceDataModeling")
            .effect(Effect::Unknown)
            .retry_after(Duration::from_secs(2))
            .details(&json!({ "statusCode": 2 }));
        assert_eq!(error.kind, ErrorKind::Busy);
        assert_eq!(error.code.as_deref(), Some("isapi:faceDataModeling"));
        assert_eq!(error.effect, Effect::Unknown);
        assert_eq!(error.retry_after, Some(2000));
        assert_eq!(error.details.as_deref(), Some(r#"{"statusCode":2}"#));
    }
}
