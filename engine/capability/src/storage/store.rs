use bascule_database::{Database, DatabaseError};
use bascule_workflow::failure::{Effect, Failure, Kind};
use futures_util::{FutureExt, TryStreamExt};
use sqlx::Row;

/// Most bytes of a value's JSON text.
const MAX_VALUE_BYTES: usize = 256 << 10;
/// Most bytes of a key.
const MAX_KEY_BYTES: usize = 512;
/// Most keys that [`Store::list`] returns.
const MAX_KEYS: usize = 10_000;

const STEPS: &[&str] = &["CREATE TABLE store_entry (
     store      TEXT NOT NULL,
     key        TEXT NOT NULL,
     value      TEXT NOT NULL,
     version    INTEGER NOT NULL CHECK (version > 0),
     updated_at TEXT NOT NULL
 ) STRICT;
 CREATE UNIQUE INDEX store_entry_key ON store_entry (store, key)"];

/// A stored value with its version.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// JSON.
    pub value: serde_json::Value,
    /// 1 for a new key, one more with every change. A key that was deleted and written again begins at 1 again, so
    /// whoever deletes and compares versions must expect the same number to come twice.
    pub version: u64,
}

/// A named set of keys with JSON values, on disk when a call returns. Cheap to clone.
///
/// Keys have 1 to 512 bytes without control characters, values at most 256 KiB of JSON text; all else is
/// `invalid-input`. A full disk is `internal` with the code `host:disk-full`.
#[derive(Clone, Debug)]
pub struct Store {
    name: String,
    database: Database,
}

impl Store {
    /// The store that `bascule.yaml` calls `name`. Its table is created where it is missing.
    pub async fn open(name: &str, database: &Database) -> Result<Self, DatabaseError> {
        database.migrate("store", STEPS).await?;
        Ok(Self { name: name.to_owned(), database: database.clone() })
    }

    /// The name in `bascule.yaml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key, if there is one.
    pub async fn get(&self, key: &str) -> Result<Option<Stored>, Failure> {
        check(key)?;
        let row = sqlx::query("SELECT value, version FROM store_entry WHERE store = ? AND key = ?")
            .bind(&self.name)
            .bind(key)
            .fetch_optional(self.database.readers())
            .await
            .map_err(|error| self.failed(error.into()))?;
        let Some(row) = row else { return Ok(None) };
        let value = serde_json::from_str(row.get("value")).map_err(|error| {
            Failure::new(Kind::Internal, format!("`{key}` in the store `{}` is not JSON: {error}", self.name))
        })?;
        Ok(Some(Stored { value, version: version(row.get("version")) }))
    }

    /// Writes and returns the new version. With `expected` only where the stored version is that one (0: there must
    /// be no such key), else `conflict`, and nothing is changed.
    pub async fn put(
        &self,
        key: &str,
        value: serde_json::Value,
        expected: Option<u64>,
    ) -> Result<u64, Failure> {
        check(key)?;
        let text = value.to_string();
        if text.len() > MAX_VALUE_BYTES {
            let text = format!(
                "the value for `{key}` has {} bytes, at most {MAX_VALUE_BYTES} can be stored",
                text.len()
            );
            return Err(Failure::new(Kind::InvalidInput, text));
        }
        let (store, entry) = (self.name.clone(), key.to_owned());
        let found = self
            .database
            .write(move |tx| {
                async move {
                    let found: Option<i64> =
                        sqlx::query_scalar("SELECT version FROM store_entry WHERE store = ? AND key = ?")
                            .bind(&store)
                            .bind(&entry)
                            .fetch_optional(&mut *tx)
                            .await?;
                    let found = found.map_or(0, version);
                    if expected.is_some_and(|expected| expected != found) {
                        return Ok(Err(found));
                    }
                    sqlx::query(
                        "INSERT INTO store_entry (store, key, value, version, updated_at) VALUES (?, ?, ?, 1, ?)
                         ON CONFLICT (store, key) DO UPDATE
                         SET value = excluded.value, version = version + 1, updated_at = excluded.updated_at",
                    )
                    .bind(store)
                    .bind(entry)
                    .bind(text)
                    .bind(jiff::Timestamp::now().to_string())
                    .execute(tx)
                    .await?;
                    Ok(Ok(found + 1))
                }
                .boxed()
            })
            .await
            .map_err(|error| self.failed(error))?;
        found.map_err(|found| {
            let is = if found == 0 { "does not exist".to_owned() } else { format!("is at version {found}") };
            let was = match expected {
                None | Some(0) => "no such key was expected".to_owned(),
                Some(expected) => format!("version {expected} was expected"),
            };
            Failure::new(Kind::Conflict, format!("`{key}` in the store `{}` {is}, {was}", self.name))
        })
    }

    /// Removes a key and returns whether there was one.
    pub async fn delete(&self, key: &str) -> Result<bool, Failure> {
        check(key)?;
        let (store, key) = (self.name.clone(), key.to_owned());
        self.database
            .write(move |tx| {
                async move {
                    let done = sqlx::query("DELETE FROM store_entry WHERE store = ? AND key = ?")
                        .bind(store)
                        .bind(key)
                        .execute(tx)
                        .await?;
                    Ok(done.rows_affected() > 0)
                }
                .boxed()
            })
            .await
            .map_err(|error| self.failed(error))
    }

    /// The keys that start with `prefix`, sorted by their bytes; more than 10,000 are `invalid-input`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut rows = sqlx::query_scalar::<_, String>(
            "SELECT key FROM store_entry WHERE store = ? AND key >= ? ORDER BY key",
        )
        .bind(&self.name)
        .bind(prefix)
        .fetch(self.database.readers());
        let mut keys = Vec::new();
        while let Some(key) = rows.try_next().await.map_err(|error| self.failed(error.into()))? {
            if !key.starts_with(prefix) {
                break;
            }
            if keys.len() == MAX_KEYS {
                let text = format!("more than {MAX_KEYS} keys start with `{prefix}`: list a narrower prefix");
                return Err(Failure::new(Kind::InvalidInput, text));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    fn failed(&self, error: DatabaseError) -> Failure {
        let name = &self.name;
        match error {
            DatabaseError::Full => {
                Failure::new(Kind::Internal, format!("cannot write to the store `{name}`: the disk is full"))
                    .with_code("host:disk-full")
            }
            DatabaseError::Broken { .. } => {
                Failure::new(Kind::Internal, format!("the store `{name}` is not usable: {error}"))
                    .with_code("host:database")
                    .with_effect(Effect::Unknown)
            }
            other => Failure::new(Kind::Internal, format!("the store `{name}` is not usable: {other}"))
                .with_code("host:database"),
        }
    }
}

fn check(key: &str) -> Result<(), Failure> {
    let why = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY_BYTES {
        "is longer than 512 bytes"
    } else if key.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    let shown: String = key.chars().take(80).collect::<String>().escape_debug().collect();
    Err(Failure::new(Kind::InvalidInput, format!("the key `{shown}` {why}")))
}

fn version(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
