//! Why a call failed: the host's one error record (`wit/types.wit`), as every crate passes it on.

use serde::{Deserialize, Serialize};

/// What kind of failure it was; `retry.on` and `catch.on` name these in YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The caller's values cannot be right.
    InvalidInput,
    /// The peer refused the credentials.
    Unauthorized,
    /// The peer or our own guard has locked the account.
    LockedOut,
    /// Forbidden by the connection's policy or the peer's permissions.
    Refused,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or changed meanwhile.
    Conflict,
    /// This peer cannot do it.
    Unsupported,
    /// Come again later.
    Busy,
    /// No connection.
    Offline,
    /// No answer in time.
    Timeout,
    /// The run was cancelled.
    Cancelled,
    /// An answer that the protocol does not allow.
    Protocol,
    /// A second look showed that it is not so.
    VerificationFailed,
    /// A fault of the plugin or of the host.
    Internal,
}

impl Kind {
    /// Every kind, in the order of `wit/types.wit`.
    pub const ALL: [Self; 14] = [
        Self::InvalidInput,
        Self::Unauthorized,
        Self::LockedOut,
        Self::Refused,
        Self::NotFound,
        Self::Conflict,
        Self::Unsupported,
        Self::Busy,
        Self::Offline,
        Self::Timeout,
        Self::Cancelled,
        Self::Protocol,
        Self::VerificationFailed,
        Self::Internal,
    ];

    /// The name in WIT and YAML, e.g. `not-found`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::Unauthorized => "unauthorized",
            Self::LockedOut => "locked-out",
            Self::Refused => "refused",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::Offline => "offline",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
            Self::VerificationFailed => "verification-failed",
            Self::Internal => "internal",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// True for the kinds that no wildcard matches (spec 8): `unauthorized`, `locked-out`, `cancelled`.
    #[must_use]
    pub fn needs_naming(self) -> bool {
        matches!(self, Self::Unauthorized | Self::LockedOut | Self::Cancelled)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a failed call did to the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// The change was made although the call failed.
    Applied,
    /// Nobody can tell.
    Unknown,
}

/// A failed call. `Display` is the message alone; the kind and code are for whoever prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[error("{message}")]
pub struct Failure {
    /// What workflows branch on.
    pub kind: Kind,
    /// The peer's own name for it, e.g. `isapi:deviceUserAlreadyExist`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence for the operator, lower case, no full stop.
    pub message: String,
    /// What it did outside.
    pub effect: Effect,
    /// Milliseconds after which another try may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// A JSON object with everything else worth keeping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure that changed nothing outside.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            effect: Effect::None,
            retry_after: None,
            details: None,
        }
    }

    /// The same failure with another effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The same failure with the peer's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same failure with the time after which another try may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same failure with details, a JSON object.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }
}
