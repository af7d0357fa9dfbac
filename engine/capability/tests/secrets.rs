//! Secrets: sealed, bound to their names, and nowhere to be found.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bascule_capability::secret::{EnvironmentFn, MasterKey, Secret, Secrets, SecretsError, Term};
use bascule_capability::storage::Store;
use bascule_database::Database;
use bascule_workflow::expression::Template;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::SecretSource;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("project")).unwrap();
        MasterKey::create(&place.path("keys/master.key")).unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn database(&self) -> Database {
        Database::open(&self.path("data/bascule.db")).await.unwrap()
    }

    async fn open(&self, database: &Database, key: &str) -> Result<Secrets, SecretsError> {
        let environment: EnvironmentFn = Arc::new(|name| match name {
            "TERMINAL_PASSWORD" => Some("from the environment".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        });
        let key = MasterKey::load(&self.path(key)).unwrap();
        Secrets::open(database.clone(), key, self.path("project"), environment).await
    }
}

async fn opened() -> (Place, Database, Secrets) {
    let place = Place::new();
    let database = place.database().await;
    let secrets = place.open(&database, "keys/master.key").await.unwrap();
    (place, database, secrets)
}

#[tokio::test]
async fn a_stored_secret_comes_back_also_after_a_restart() {
    let (place, database, secrets) = opened().await;
    secrets.set("hr/key", Secret::new("first value"), None).await.unwrap();
    secrets.set("hr/key", Secret::new("hunter2 ü"), None).await.unwrap();
    assert_eq!(secrets.reveal("hr/key").await.unwrap().expose(), "hunter2 ü");
    database.close().await;
    let database = place.database().await;
    let secrets = place.open(&database, "keys/master.key").await.unwrap();
    assert_eq!(secrets.reveal("hr/key").await.unwrap().expose(), "hunter2 ü");
    assert!(secrets.remove("hr/key").await.unwrap());
    assert!(!secrets.remove("hr/key").await.unwrap());
    let error = secrets.reveal("hr/key").await.unwrap_err();
    assert!(error.to_string().contains("bascule secret set hr/key"), "{error}");
    let failure = Failure::from(error);
    assert_eq!(failure.code.as_deref(), Some("host:secret-missing"));
}

#[tokio::test]
async fn the_list_has_names_and_times_and_an_expired_secret_is_still_handed_out() {
    let (_place, _database, secrets) = opened().await;
    let now = Timestamp::now();
    let soon = now + SignedDuration::from_secs(3600);
    secrets.set("b", Secret::new("bbbb"), Some(soon)).await.unwrap();
    secrets.set("a", Secret::new("aaaa"), None).await.unwrap();
    let list = secrets.list().await.unwrap();
    assert_eq!(list.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list.iter().map(|info| info.expires_at).collect::<Vec<_>>(), [None, Some(soon)]);
    assert!(list.iter().all(|info| info.updated_at >= now && !info.is_expired(now)));
    let info = secrets.info("b").await.unwrap();
    let (hour, week) = (Duration::from_secs(3600), Duration::from_secs(7 * 86_400));
    assert_eq!(info.term(soon - SignedDuration::from_secs(7200), hour), Term::Good);
    assert_eq!(info.term(soon - SignedDuration::from_secs(7200), week), Term::Expiring);
    assert_eq!(info.term(soon, week), Term::Expired);
    assert_eq!(list[0].term(soon, week), Term::Good);
    assert!(!info.is_expired(soon - SignedDuration::from_nanos(1)));
    assert!(info.is_expired(soon));

    secrets.set("b", Secret::new("old!"), Some(now - SignedDuration::from_secs(1))).await.unwrap();
    assert!(secrets.info("b").await.unwrap().is_expired(Timestamp::now()));
    assert_eq!(secrets.reveal("b").await.unwrap().expose(), "old!");
    // Connections and webhooks ask for what is in force.
    let error = secrets.in_force("b").await.unwrap_err();
    assert!(matches!(error, SecretsError::Expired { .. }), "{error}");
    let failure = Failure::from(error);
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Unauthorized, Some("host:secret-expired")));
    assert!(failure.message.contains("bascule secret set b"), "{}", failure.message);
    assert_eq!(secrets.in_force("a").await.unwrap().expose(), "aaaa");
    secrets.set("b", Secret::new("new!"), None).await.unwrap();
    assert_eq!(secrets.info("b").await.unwrap().expires_at, None);
}

#[tokio::test]
async fn another_key_is_refused_at_opening_and_changes_nothing() {
    let (place, database, secrets) = opened().await;
    secrets.set("a", Secret::new("value"), None).await.unwrap();
    MasterKey::create(&place.path("keys/other.key")).unwrap();
    let error = place.open(&database, "keys/other.key").await.unwrap_err();
    assert!(matches!(error, SecretsError::WrongKey), "{error:?}");
    assert!(error.to_string().contains("restore the right one"), "{error}");
    let again = place.open(&database, "keys/master.key").await.unwrap();
    assert_eq!(again.reveal("a").await.unwrap().expose(), "value");
}

async fn alter(database: &Database, statement: &'static str) {
    database
        .write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(statement).execute(tx).await?;
                assert!(done.rows_affected() > 0);
                Ok(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn altered_and_swapped_rows_do_not_open() {
    let (_place, database, secrets) = opened().await;
    for name in ["mine", "theirs", "short"] {
        secrets.set(name, Secret::new(format!("the value of {name}")), None).await.unwrap();
    }
    alter(
        &database,
        "UPDATE secret SET (nonce, sealed) = (SELECT nonce, sealed FROM secret WHERE name = 'theirs')
         WHERE name = 'mine'",
    )
    .await;
    alter(&database, "UPDATE secret SET sealed = substr(sealed, 1, 3) WHERE name = 'short'").await;
    for name in ["mine", "short"] {
        let error = secrets.reveal(name).await.unwrap_err();
        assert!(matches!(error, SecretsError::Altered { .. }), "{error:?}");
        assert!(!error.to_string().contains("the value"), "{error}");
    }
    assert_eq!(secrets.reveal("theirs").await.unwrap().expose(), "the value of theirs");
    alter(&database, "UPDATE secret SET name = 'renamed' WHERE name = 'theirs'").await;
    assert!(matches!(secrets.reveal("renamed").await, Err(SecretsError::Altered { .. })));
}

#[tokio::test]
async fn every_flipped_bit_of_a_sealed_value_is_noticed() {
    let (_place, database, secrets) = opened().await;
    secrets.set("a", Secret::new("four"), None).await.unwrap();
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM secret").fetch_one(database.readers()).await.unwrap();
    assert_eq!(sealed.len(), 4 + 16);
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        database
            .write(move |tx| {
                Box::pin(async move {
                    sqlx::query("UPDATE secret SET sealed = ?").bind(flipped).execute(tx).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        assert!(matches!(secrets.reveal("a").await, Err(SecretsError::Altered { .. })), "bit {bit}");
    }
}

#[tokio::test]
async fn the_same_value_is_never_sealed_the_same_way() {
    let (_place, database, secrets) = opened().await;
    for name in ["a", "b", "c"] {
        secrets.set(name, Secret::new("the same"), None).await.unwrap();
    }
    let distinct: (i64, i64) =
        sqlx::query_as("SELECT count(DISTINCT nonce), count(DISTINCT sealed) FROM secret")
            .fetch_one(database.readers())
            .await
            .unwrap();
    assert_eq!(distinct, (3, 3));
}

#[tokio::test]
async fn sources_are_resolved_and_all_of_them_are_redacted_from_then_on() {
    let (place, _database, secrets) = opened().await;
    secrets.set("terminal 7", Secret::new("from the store"), None).await.unwrap();
    std::fs::write(place.path("project/password.txt"), "from a file \r\n\n").unwrap();
    std::fs::write(place.path("elsewhere.txt"), "from elsewhere").unwrap();
    let name = Template::parse(&json!("terminal 7")).unwrap();
    let render = |_: &Template| Ok::<_, SecretsError>("terminal 7".to_owned());
    let absolute = place.path("elsewhere.txt").to_str().unwrap().to_owned();
    for (source, value) in [
        (SecretSource::Stored(name), "from the store"),
        (SecretSource::Environment("TERMINAL_PASSWORD".to_owned()), "from the environment"),
        (SecretSource::File("password.txt".to_owned()), "from a file"),
        (SecretSource::File(absolute), "from elsewhere"),
    ] {
        let secret = secrets.resolve(&source, render).await.unwrap();
        assert_eq!(secret.expose(), value);
        assert_eq!(secrets.redactor().redact(&format!("<{value}>")), "<[redacted]>");
    }
}

#[tokio::test]
async fn a_source_that_gives_nothing_usable_says_so() {
    let (place, _database, secrets) = opened().await;
    assert!(matches!(secrets.from_environment("UNSET"), Err(SecretsError::Environment { .. })));
    assert!(matches!(secrets.from_environment("EMPTY"), Err(SecretsError::Empty { .. })));
    let error = secrets.from_file("missing").await.unwrap_err();
    assert!(matches!(error, SecretsError::File { .. }), "{error:?}");
    std::fs::write(place.path("project/blank"), " \n").unwrap();
    assert!(matches!(secrets.from_file("blank").await, Err(SecretsError::Empty { .. })));
    std::fs::write(place.path("project/binary"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(secrets.from_file("binary").await, Err(SecretsError::NotText { .. })));
    std::fs::write(place.path("project/large"), vec![b'x'; (64 << 10) + 1]).unwrap();
    assert!(matches!(secrets.from_file("large").await, Err(SecretsError::TooLong { .. })));
    for name in ["", " a", "a ", "a\nb", &"n".repeat(256)] {
        let outcome = secrets.set(name, Secret::new("value"), None).await;
        assert!(matches!(outcome, Err(SecretsError::Name { .. })), "{name:?}");
    }
    assert!(matches!(secrets.set("a", Secret::new(""), None).await, Err(SecretsError::Empty { .. })));
}

/// The forms in which a sweep looks for a canary; made here, not by the code under test.
fn forms(canary: &str) -> Vec<Vec<u8>> {
    vec![
        canary.as_bytes().to_vec(),
        hex::encode(canary).into_bytes(),
        hex::encode_upper(canary).into_bytes(),
        STANDARD_NO_PAD.encode(canary).into_bytes(),
        URL_SAFE_NO_PAD.encode(canary).into_bytes(),
        canary.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        canary.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        canary.bytes().rev().collect(),
    ]
}

/// Which canaries stand in any file below a folder.
fn sweep(folder: &Path, canaries: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for canary in canaries {
                if forms(canary).iter().any(|form| bytes.windows(form.len()).any(|window| window == form)) {
                    found.push(format!("{canary} in {}", path.display()));
                }
            }
        }
    }
    assert!(files > 0, "nothing was looked at");
    found
}

#[tokio::test]
async fn none_of_24_canaries_is_found_in_any_file_or_text() {
    let (place, database, secrets) = opened().await;
    let canaries: Vec<String> =
        (0..24).map(|number| format!("canary-{number:02}-{}", uuid::Uuid::new_v4().simple())).collect();
    let mut texts = Vec::new();
    for (number, canary) in canaries.iter().enumerate() {
        let name = format!("secret-{number}");
        let secret = Secret::new(canary.as_str());
        texts.push(format!("{secret:?} {:?}", Some(&secret)));
        secrets.set(&name, Secret::new(format!("earlier {canary}")), None).await.unwrap();
        secrets.set(&name, secret, None).await.unwrap();
        let revealed = secrets.reveal(&name).await.unwrap();
        assert_eq!(revealed.expose(), canary);
        texts.push(format!("{revealed:?}"));
    }
    texts.push(format!("{:?} {:?} {:?}", secrets, secrets.redactor(), secrets.list().await.unwrap()));
    let wal = std::fs::metadata(place.path("data/bascule.db-wal")).unwrap();
    assert!(wal.len() > 0, "the write-ahead log is looked at while it is full");
    assert_eq!(sweep(&place.path("data"), &canaries), [""; 0]);

    alter(&database, "UPDATE secret SET sealed = CAST(sealed || x'00' AS BLOB)").await;
    for number in 0..24 {
        let error = secrets.reveal(&format!("secret-{number}")).await.unwrap_err();
        texts.push(format!(
            "{error} {error:?} {:?}",
            Failure::from(SecretsError::Missing { name: error.to_string() })
        ));
    }
    database.close().await;
    assert_eq!(sweep(&place.path("data"), &canaries), [""; 0]);
    for text in texts {
        assert!(!canaries.iter().any(|canary| text.contains(canary.as_str())), "{text}");
    }

    // The sweep itself finds what is there.
    let database = place.database().await;
    let store = Store::open("leak", &database).await.unwrap();
    store.put("k", json!(hex::encode(&canaries[7])), None).await.unwrap();
    assert!(!sweep(&place.path("data"), &canaries).is_empty());
}
