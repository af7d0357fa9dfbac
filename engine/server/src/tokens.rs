//! Bearer tokens. Their SHA-256 is stored, never they themselves: 256 random bits need no slower hash.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bascule_capability::secret::Secret;
use bascule_database::{Database, DatabaseError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::access::{Role, Who};

/// In front of every token, so that one is known when it turns up in a place where it should not be.
const PREFIX: &str = "bascule_";

const STEPS: &[&str] = &["
    CREATE TABLE api_token (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL,
        role       TEXT NOT NULL,
        sha256     TEXT NOT NULL,
        created_at BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX api_token_by_name ON api_token (name);
    CREATE UNIQUE INDEX api_token_by_sha256 ON api_token (sha256);
"];

/// What may be shown of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenInfo {
    /// Names it in `token remove`.
    pub id: String,
    /// Who or what it is for; unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Why there is no such token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is taken.
    #[error("there is a token `{0}` already")]
    Taken(String),
    /// Not a name.
    #[error("`{0}` cannot be the name of a token: 1 to 64 letters, digits, `-`, `_`, `.`, `@`")]
    Name(String),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
    /// The database.
    #[error("the tokens cannot be read or written")]
    Database(#[from] DatabaseError),
}

/// The tokens of a data folder. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    database: Database,
    /// By SHA-256: what is looked up is never the token itself.
    holders: Arc<RwLock<HashMap<[u8; 32], Who>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Brings the table up to date and reads it.
    pub async fn open(database: Database) -> Result<Self, DatabaseError> {
        database.migrate("server", STEPS).await?;
        let rows =
            sqlx::query("SELECT name, role, sha256 FROM api_token").fetch_all(database.readers()).await?;
        let mut holders = HashMap::new();
        for row in rows {
            let digest =
                hex::decode(row.try_get::<&str, _>("sha256")?).ok().and_then(|bytes| bytes.try_into().ok());
            let role = Role::from_name(row.try_get("role")?);
            if let (Some(digest), Some(role)) = (digest, role) {
                holders.insert(digest, Who { name: row.try_get("name")?, role });
            }
        }
        Ok(Self { database, holders: Arc::new(RwLock::new(holders)) })
    }

    /// True where there is none: the first start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Makes a token. Its text is given out here and nowhere again.
    pub async fn create(
        &self,
        name: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<(TokenInfo, Secret), TokenError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(TokenError::Name(name.chars().take(64).collect::<String>().escape_debug().collect()));
        }
        let (info, secret) = fresh(name, role, now)?;
        match self.store(vec![(info.clone(), digest(secret.expose()))]).await {
            Ok(()) => Ok((info, secret)),
            Err(error) if error.is_constraint() => Err(TokenError::Taken(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes one token for each role, named after it. `hand_out` gives their texts to whoever is to have them, before any of
    /// them is stored: whatever fails and whenever the process ends, there are never tokens that nobody was told.
    ///
    /// # Errors
    /// What `hand_out` says, and [`TokenError`].
    pub async fn create_first<E: From<TokenError>>(
        &self,
        now: Timestamp,
        hand_out: impl FnOnce(&[(TokenInfo, Secret)]) -> Result<(), E>,
    ) -> Result<(), E> {
        let made = Role::ALL.into_iter().map(|role| fresh(role.name(), role, now));
        let made: Vec<(TokenInfo, Secret)> = made.collect::<Result<_, _>>()?;
        hand_out(&made)?;
        let rows = made.into_iter().map(|(info, secret)| (info, digest(secret.expose()))).collect();
        Ok(self.store(rows).await.map_err(TokenError::from)?)
    }

    /// All of them or none.
    async fn store(&self, made: Vec<(TokenInfo, [u8; 32])>) -> Result<(), DatabaseError> {
        let rows = made.clone();
        self.database
            .write(move |tx| {
                async move {
                    for (row, digest) in rows {
                        sqlx::query("INSERT INTO api_token (id, name, role, sha256, created_at) VALUES ($1, $2, $3, $4, $5)")
                            .bind(row.id)
                            .bind(row.name)
                            .bind(row.role.name())
                            .bind(hex::encode(digest))
                            .bind(row.created_at.as_microsecond())
                            .execute(&mut *tx)
                            .await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await?;
        for (info, digest) in made {
            self.remember(digest, Who { name: info.name, role: info.role });
        }
        Ok(())
    }

    /// A token for the life of this process; it is not stored.
    pub fn lend(&self, name: &str, role: Role) -> Result<Secret, TokenError> {
        let secret = make()?;
        self.remember(digest(secret.expose()), Who { name: name.to_owned(), role });
        Ok(secret)
    }

    /// What there is, sorted by name.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, DatabaseError> {
        let rows = sqlx::query("SELECT id, name, role, created_at FROM api_token ORDER BY name")
            .fetch_all(self.database.readers())
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            list.push(TokenInfo {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                role: Role::from_name(row.try_get("role")?).unwrap_or(Role::Viewer),
                created_at: Timestamp::from_microsecond(row.try_get("created_at")?).unwrap_or_default(),
            });
        }
        Ok(list)
    }

    /// Removes the token of that id or name; it is of no use from this moment on. False where there is none.
    pub async fn remove(&self, id_or_name: &str) -> Result<bool, DatabaseError> {
        let wanted = id_or_name.to_owned();
        let removed: Option<String> = self
            .database
            .write(move |tx| {
                async move {
                    let row = sqlx::query_scalar(
                        "DELETE FROM api_token WHERE id = $1 OR name = $1 RETURNING sha256",
                    )
                    .bind(wanted)
                    .fetch_optional(tx)
                    .await?;
                    Ok(row)
                }
                .boxed()
            })
            .await?;
        let Some(removed) = removed else { return Ok(false) };
        if let Some(digest) = hex::decode(removed).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            self.holders.write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
        }
        Ok(true)
    }

    /// Whose token it is.
    pub(crate) fn holder(&self, token: &str) -> Option<Who> {
        let digest = digest(token);
        self.holders.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }

    fn remember(&self, digest: [u8; 32], who: Who) {
        self.holders.write().unwrap_or_else(PoisonError::into_inner).insert(digest, who);
    }
}

fn fresh(name: &str, role: Role, now: Timestamp) -> Result<(TokenInfo, Secret), TokenError> {
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
    Ok((TokenInfo { id, name: name.to_owned(), role, created_at: now }, make()?))
}

fn make() -> Result<Secret, TokenError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*bytes))))
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_outlives_the_process_and_dies_when_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bascule.db");
        let database = Database::open(&path).await.unwrap();
        let tokens = Tokens::open(database.clone()).await.unwrap();
        assert!(tokens.is_empty());
        let (info, secret) = tokens.create("panel", Role::Operator, Timestamp::now()).await.unwrap();
        assert!(matches!(
            tokens.create("panel", Role::Viewer, Timestamp::now()).await,
            Err(TokenError::Taken(_))
        ));
        assert!(matches!(
            tokens.create("a b", Role::Viewer, Timestamp::now()).await,
            Err(TokenError::Name(_))
        ));
        let lent = tokens.lend("this-process", Role::Admin).unwrap();
        assert_eq!(tokens.holder(lent.expose()).unwrap().role, Role::Admin);
        database.close().await;
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(secret.expose()));

        let database = Database::open(&path).await.unwrap();
        let tokens = Tokens::open(database).await.unwrap();
        let who = tokens.holder(secret.expose()).unwrap();
        assert_eq!((who.name.as_str(), who.role), ("panel", Role::Operator));
        assert!(tokens.holder(lent.expose()).is_none());
        assert!(tokens.holder("bascule_").is_none());
        assert_eq!(tokens.list().await.unwrap()[0].id, info.id);
        assert!(tokens.remove(&info.id).await.unwrap());
        assert!(tokens.holder(secret.expose()).is_none());
        assert!(!tokens.remove(&info.id).await.unwrap());
    }

    #[tokio::test]
    async fn the_first_tokens_are_stored_once_they_are_handed_out_and_otherwise_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        let tokens = Tokens::open(database.clone()).await.unwrap();
        let refused = tokens.create_first(Timestamp::now(), |_| Err(TokenError::Taken("no room".to_owned())));
        assert!(matches!(refused.await, Err(TokenError::Taken(_))));
        assert!(tokens.is_empty() && tokens.list().await.unwrap().is_empty());
        let mut told = Vec::new();
        tokens
            .create_first(Timestamp::now(), |made| {
                told.extend(made.iter().map(|(info, secret)| (info.role, secret.expose().to_owned())));
                Ok::<_, TokenError>(())
            })
            .await
            .unwrap();
        let again = Tokens::open(database.clone()).await.unwrap();
        for (role, token) in told {
            assert_eq!(again.holder(&token).unwrap().role, role);
        }
        assert_eq!(again.list().await.unwrap().len(), 3);
        database.close().await;
    }
}
