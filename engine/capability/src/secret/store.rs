use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bascule_database::{Database, DatabaseError};
use bascule_workflow::expression::Template;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::SecretSource;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use futures_util::FutureExt;
use jiff::Timestamp;
use sqlx::Row;
use subtle::ConstantTimeEq;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{MasterKey, Secret};
use crate::redact::Redactor;

/// Most bytes of a secret, wherever it comes from.
const MAX_SECRET_BYTES: usize = 64 << 10;
/// Most bytes of a name.
const MAX_NAME_BYTES: usize = 255;
const NONCE_BYTES: usize = 24;

const STEPS: &[&str] = &["CREATE TABLE secret (
     name       TEXT PRIMARY KEY,
     nonce      BLOB NOT NULL CHECK (length(nonce) = 24),
     sealed     BLOB NOT NULL,
     updated_at TEXT NOT NULL,
     expires_at TEXT
 ) STRICT, WITHOUT ROWID;
 CREATE TABLE secret_key (
     only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
     verifier BLOB NOT NULL
 ) STRICT"];

/// Reads a variable of the environment; only `cli` hands in the real one.
pub type EnvironmentFn = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Why a secret could not be stored or handed out. No message holds any part of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The stored secrets were sealed with another key.
    #[error(
        "the key file does not belong to this database: restore the right one, or start with a new data folder"
    )]
    WrongKey,
    /// Nothing is stored under that name.
    #[error("there is no secret `{name}`: store it with `bascule secret set {name}`")]
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// Whoever set it said that it is good until then.
    #[error("the secret `{name}` expired at {at}: store the new one with `bascule secret set {name}`")]
    Expired {
        /// The name that was asked for.
        name: String,
        /// Since when it is no longer good.
        at: Timestamp,
    },
    /// The row does not open: it was altered, or it was sealed for another name.
    #[error("the stored secret `{name}` was altered: set it again")]
    Altered {
        /// The name that was asked for.
        name: String,
    },
    /// Not a name.
    #[error(
        "`{shown}` cannot be the name of a secret: 1 to 255 bytes, no control characters, no space at either end"
    )]
    Name {
        /// The name, shortened.
        shown: String,
    },
    /// The value has no character.
    #[error("the secret from {origin} is empty")]
    Empty {
        /// Where it was to come from.
        origin: String,
    },
    /// The value is too long for a secret.
    #[error("the secret from {origin} is longer than {MAX_SECRET_BYTES} bytes")]
    TooLong {
        /// Where it was to come from.
        origin: String,
    },
    /// The value is not text.
    #[error("the secret from {origin} is not UTF-8 text")]
    NotText {
        /// Where it was to come from.
        origin: String,
    },
    /// `{ env: NAME }` without such a variable.
    #[error("the environment variable `{name}` is not set")]
    Environment {
        /// Its name.
        name: String,
    },
    /// `{ file: PATH }` that cannot be read.
    #[error("cannot read the secret file `{}`", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no random numbers, or the cipher refused its input.
    #[error("the secret could not be sealed: {0}")]
    Seal(String),
    /// The database.
    #[error("the secrets cannot be read or written")]
    Database(#[from] DatabaseError),
}

impl From<SecretsError> for Failure {
    fn from(error: SecretsError) -> Self {
        use std::error::Error as _;
        let message = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        match error {
            SecretsError::Missing { .. } | SecretsError::Environment { .. } | SecretsError::File { .. } => {
                Self::new(Kind::InvalidInput, message).with_code("host:secret-missing")
            }
            SecretsError::Expired { .. } => {
                Self::new(Kind::Unauthorized, message).with_code("host:secret-expired")
            }
            SecretsError::Database(DatabaseError::Full) => {
                Self::new(Kind::Internal, message).with_code("host:disk-full")
            }
            _ => Self::new(Kind::Internal, message).with_code("host:secret"),
        }
    }
}

/// How a stored secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// Nobody said that it expires, or not so soon.
    Good,
    /// It expires within the time of warning.
    Expiring,
    /// It is not used any more.
    Expired,
}

impl Term {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

/// What may be shown about a stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// When it was last set.
    pub updated_at: Timestamp,
    /// When it stops being good, if whoever set it said so.
    pub expires_at: Option<Timestamp>,
}

impl SecretInfo {
    /// How it stands at an instant; a warning is due so long before the expiry.
    #[must_use]
    pub fn term(&self, now: Timestamp, warning: std::time::Duration) -> Term {
        let Some(expires) = self.expires_at else { return Term::Good };
        let left = expires.duration_since(now);
        if self.is_expired(now) {
            Term::Expired
        } else if jiff::SignedDuration::try_from(warning).is_ok_and(|warning| left <= warning) {
            Term::Expiring
        } else {
            Term::Good
        }
    }

    /// True from the moment of expiry on.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }
}

/// The stored secrets, and the way to those from the environment and from files. Cheap to clone.
///
/// Stored ones are sealed with XChaCha20-Poly1305 under a key derived from the [`MasterKey`], each with a random nonce
/// and its name as associated data, so that a row cannot be passed off under another name. Every value that is handed
/// out has been given to the [`Redactor`] before.
#[derive(Clone)]
pub struct Secrets {
    database: Database,
    key: Arc<Zeroizing<[u8; 32]>>,
    root: PathBuf,
    environment: EnvironmentFn,
    redactor: Redactor,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Opens the secrets of a database; `root` is what `{ file: PATH }` is relative to. Another key than the one that
    /// sealed them is [`SecretsError::WrongKey`]; the first opening decides which one that is.
    pub async fn open(
        database: Database,
        key: MasterKey,
        root: PathBuf,
        environment: EnvironmentFn,
    ) -> Result<Self, SecretsError> {
        database.migrate("secret", STEPS).await?;
        let ours = key.derive("bascule secrets 1: verifier");
        let mut stored = stored_verifier(&database).await?;
        if stored.is_none() {
            database
                .write(move |tx| {
                    async move {
                        sqlx::query("INSERT INTO secret_key (only_one, verifier) VALUES (1, ?) ON CONFLICT DO NOTHING")
                            .bind(ours.to_vec())
                            .execute(tx)
                            .await?;
                        Ok(())
                    }
                    .boxed()
                })
                .await?;
            stored = stored_verifier(&database).await?;
        }
        if !stored.is_some_and(|stored| bool::from(stored.ct_eq(&ours))) {
            return Err(SecretsError::WrongKey);
        }
        let key = Arc::new(Zeroizing::new(key.derive("bascule secrets 1: values")));
        Ok(Self { database, key, root, environment, redactor: Redactor::default() })
    }

    /// The same secrets, handing what they hand out to this redactor.
    #[must_use]
    pub fn with_redactor(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// The redactor that knows every value handed out so far.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Stores a value under a name, in place of an earlier one.
    pub async fn set(
        &self,
        name: &str,
        secret: Secret,
        expires: Option<Timestamp>,
    ) -> Result<(), SecretsError> {
        check_name(name)?;
        let secret = self.checked(secret.expose(), || format!("`{name}`"))?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| SecretsError::Seal(error.to_string()))?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: name.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|error| SecretsError::Seal(error.to_string()))?;
        let name = name.to_owned();
        self.database
            .write(move |tx| {
                async move {
                    sqlx::query(
                        "INSERT INTO secret (name, nonce, sealed, updated_at, expires_at) VALUES (?, ?, ?, ?, ?)
                         ON CONFLICT (name) DO UPDATE SET nonce = excluded.nonce, sealed = excluded.sealed,
                             updated_at = excluded.updated_at, expires_at = excluded.expires_at",
                    )
                    .bind(name)
                    .bind(nonce.to_vec())
                    .bind(sealed)
                    .bind(Timestamp::now().to_string())
                    .bind(expires.map(|expires| expires.to_string()))
                    .execute(tx)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await?;
        Ok(())
    }

    /// Forgets a value and returns whether there was one.
    pub async fn remove(&self, name: &str) -> Result<bool, SecretsError> {
        let name = name.to_owned();
        let removed = self
            .database
            .write(move |tx| {
                async move {
                    let done =
                        sqlx::query("DELETE FROM secret WHERE name = ?").bind(name).execute(tx).await?;
                    Ok(done.rows_affected() > 0)
                }
                .boxed()
            })
            .await?;
        Ok(removed)
    }

    /// What is stored, sorted by name; never a value.
    pub async fn list(&self) -> Result<Vec<SecretInfo>, SecretsError> {
        let rows = sqlx::query("SELECT name, updated_at, expires_at FROM secret ORDER BY name")
            .fetch_all(self.database.readers())
            .await
            .map_err(DatabaseError::from)?;
        rows.iter().map(info).collect()
    }

    /// What may be shown about one secret, e.g. to tell that it has expired.
    pub async fn info(&self, name: &str) -> Result<SecretInfo, SecretsError> {
        let row = sqlx::query("SELECT name, updated_at, expires_at FROM secret WHERE name = ?")
            .bind(name)
            .fetch_optional(self.database.readers())
            .await
            .map_err(DatabaseError::from)?;
        info(&row.ok_or_else(|| SecretsError::Missing { name: name.to_owned() })?)
    }

    /// The stored value, unless it has expired: what is known to be no longer good is not sent to anybody, where it would
    /// only count as a refused login.
    pub async fn in_force(&self, name: &str) -> Result<Secret, SecretsError> {
        let info = self.info(name).await?;
        match info.expires_at {
            Some(at) if info.is_expired(Timestamp::now()) => {
                Err(SecretsError::Expired { name: name.to_owned(), at })
            }
            _ => self.reveal(name).await,
        }
    }

    /// The stored value, also when it has expired.
    pub async fn reveal(&self, name: &str) -> Result<Secret, SecretsError> {
        let row = sqlx::query("SELECT nonce, sealed FROM secret WHERE name = ?")
            .bind(name)
            .fetch_optional(self.database.readers())
            .await
            .map_err(DatabaseError::from)?;
        let row = row.ok_or_else(|| SecretsError::Missing { name: name.to_owned() })?;
        let altered = || SecretsError::Altered { name: name.to_owned() };
        let nonce: [u8; NONCE_BYTES] = row.get::<&[u8], _>("nonce").try_into().map_err(|_| altered())?;
        let payload = Payload { msg: row.get("sealed"), aad: name.as_bytes() };
        let opened = self.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| altered())?;
        let opened = Zeroizing::new(opened);
        let text = std::str::from_utf8(&opened).map_err(|_| altered())?;
        self.checked(text, || format!("`{name}`"))
    }

    /// The value of a source. `render` gives the name of a stored one, whose template only the caller can evaluate.
    pub async fn resolve<E: From<SecretsError>>(
        &self,
        source: &SecretSource,
        render: impl FnOnce(&Template) -> Result<String, E>,
    ) -> Result<Secret, E> {
        match source {
            SecretSource::Stored(name) => Ok(self.reveal(&render(name)?).await?),
            SecretSource::Environment(name) => Ok(self.from_environment(name)?),
            SecretSource::File(path) => Ok(self.from_file(path).await?),
        }
    }

    /// `{ env: NAME }`
    pub fn from_environment(&self, name: &str) -> Result<Secret, SecretsError> {
        let value = (self.environment)(name).map(Zeroizing::new);
        let value = value.ok_or_else(|| SecretsError::Environment { name: name.to_owned() })?;
        self.checked(&value, || format!("the environment variable `{name}`"))
    }

    /// `{ file: PATH }`, white space at its end removed; relative to the root that [`Secrets::open`] was given.
    pub async fn from_file(&self, path: &str) -> Result<Secret, SecretsError> {
        let path = self.root.join(path);
        let origin = || format!("the file `{}`", path.display());
        let failed = |source| SecretsError::File { path: path.clone(), source };
        let file = tokio::fs::File::open(&path).await.map_err(failed)?;
        let limit = u64::try_from(MAX_SECRET_BYTES).unwrap_or(u64::MAX) + 1;
        let mut content = Zeroizing::new(Vec::new());
        file.take(limit).read_to_end(&mut content).await.map_err(failed)?;
        if content.len() > MAX_SECRET_BYTES {
            return Err(SecretsError::TooLong { origin: origin() });
        }
        let text = std::str::from_utf8(&content).map_err(|_| SecretsError::NotText { origin: origin() })?;
        self.checked(text.trim_end(), origin)
    }

    /// Takes a value from anywhere: checks its size and lets the redactor know it.
    fn checked(&self, text: &str, origin: impl Fn() -> String) -> Result<Secret, SecretsError> {
        if text.is_empty() {
            return Err(SecretsError::Empty { origin: origin() });
        }
        if text.len() > MAX_SECRET_BYTES {
            return Err(SecretsError::TooLong { origin: origin() });
        }
        let secret = Secret::new(text);
        self.redactor.add(&secret);
        Ok(secret)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(**self.key).into())
    }
}

async fn stored_verifier(database: &Database) -> Result<Option<Vec<u8>>, SecretsError> {
    sqlx::query_scalar("SELECT verifier FROM secret_key")
        .fetch_optional(database.readers())
        .await
        .map_err(|error| DatabaseError::from(error).into())
}

fn info(row: &sqlx::sqlite::SqliteRow) -> Result<SecretInfo, SecretsError> {
    let name: String = row.get("name");
    let time = |text: &str| text.parse().map_err(|_| SecretsError::Altered { name: name.clone() });
    let updated_at = time(row.get("updated_at"))?;
    let expires_at = row.get::<Option<&str>, _>("expires_at").map(time).transpose()?;
    Ok(SecretInfo { name, updated_at, expires_at })
}

fn check_name(name: &str) -> Result<(), SecretsError> {
    if name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || name.trim() != name
        || name.chars().any(char::is_control)
    {
        let shown = name.chars().take(80).collect::<String>().escape_debug().collect();
        return Err(SecretsError::Name { shown });
    }
    Ok(())
}
