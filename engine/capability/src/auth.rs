//! How the host proves who it is. Each scheme makes headers for one request; `http::exchange` decides when they are
//! sent, and [`crate::guard`] whether.

pub mod aksk;
pub(crate) mod basic;
pub(crate) mod challenge;
pub(crate) mod digest;
pub(crate) mod header;
pub mod hook;
pub(crate) mod lock;
pub(crate) mod token;

use bascule_workflow::expression::Scope;
use bascule_workflow::failure::Failure;
use bascule_workflow::project;

use crate::credential::{Source, text};

/// `auth:` of one connection, with its templates evaluated.
#[derive(Clone, Debug)]
pub(crate) enum Scheme {
    None,
    Basic { user: String, password: Source },
    Digest { user: String, password: Source, reuse_nonces: bool },
    AkSk { key: Source, secret: Source, content_md5: bool },
    Token(Box<token::Exchange>),
    Headers(Vec<header::SecretHeader>),
}

impl Scheme {
    pub(crate) fn evaluate(auth: &project::Auth, scope: &Scope, connection: &str) -> Result<Self, Failure> {
        Ok(match auth {
            project::Auth::None => Self::None,
            project::Auth::Basic { user, password } => Self::Basic {
                user: text(user, scope, connection, "auth.basic.user")?,
                password: Source::evaluate(password, scope, connection)?,
            },
            project::Auth::Digest { user, password, reuse_nonces } => Self::Digest {
                user: text(user, scope, connection, "auth.digest.user")?,
                password: Source::evaluate(password, scope, connection)?,
                reuse_nonces: *reuse_nonces,
            },
            project::Auth::AkSk { key, secret, content_md5 } => Self::AkSk {
                key: Source::evaluate(key, scope, connection)?,
                secret: Source::evaluate(secret, scope, connection)?,
                content_md5: *content_md5,
            },
            project::Auth::Token(exchange) => {
                Self::Token(Box::new(token::Exchange::evaluate(exchange, scope, connection)?))
            }
            project::Auth::Headers(headers) => Self::Headers(
                headers
                    .iter()
                    .map(|(name, header)| {
                        Ok(header::SecretHeader {
                            name: name.to_ascii_lowercase(),
                            prefix: header.prefix.clone(),
                            secret: Source::evaluate(&header.secret, scope, connection)?,
                        })
                    })
                    .collect::<Result<_, Failure>>()?,
            ),
        })
    }

    /// Headers that no plugin may write, in lower case.
    pub(crate) fn own_headers(&self) -> Vec<String> {
        match self {
            Self::None | Self::Basic { .. } | Self::Digest { .. } => Vec::new(),
            Self::AkSk { .. } => aksk::OWN_HEADERS.iter().map(|name| (*name).to_owned()).collect(),
            Self::Token(exchange) => vec![exchange.header.to_ascii_lowercase()],
            Self::Headers(headers) => headers.iter().map(|header| header.name.clone()).collect(),
        }
    }

    /// Whom the lock-out guard counts for; empty for schemes without a login.
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Basic { user, .. } | Self::Digest { user, .. } => user,
            Self::None | Self::AkSk { .. } | Self::Headers(_) => "",
            Self::Token(_) => token::ACCOUNT,
        }
    }
}
