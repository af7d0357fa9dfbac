//! Opening, owning, migrating, closing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bascule_database::{Database, DatabaseError, OpenError};
use futures_util::FutureExt;

const ONE: &[&str] =
    &["CREATE TABLE note (text TEXT NOT NULL) STRICT; CREATE INDEX note_text ON note (text)"];
const TWO: &[&str] = &[ONE[0], "ALTER TABLE note ADD COLUMN colour TEXT"];
const BAD: &[&str] = &[ONE[0], TWO[1], "CREATE TABLE further (id INTEGER) STRICT", "CREATE TABEL oops"];

async fn insert(database: &Database, text: &'static str) -> Result<(), DatabaseError> {
    database
        .write(move |tx| {
            async move {
                sqlx::query("INSERT INTO note (text) VALUES (?)").bind(text).execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

async fn count(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(database.readers()).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_file_is_private_and_set_up_to_keep_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = data.join("bascule.db");
    let database = Database::open(&path).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    for suffix in ["", ".lock", "-wal", "-shm"] {
        assert_eq!(mode(&data.join(format!("bascule.db{suffix}"))), 0o600, "bascule.db{suffix}");
    }
    let settings = database
        .write(|tx| {
            async move {
                let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *tx).await?;
                let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await?;
                let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *tx).await?;
                let auto_vacuum: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut *tx).await?;
                let mapped: Option<i64> =
                    sqlx::query_scalar("PRAGMA mmap_size").fetch_optional(&mut *tx).await?;
                let waits: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut *tx).await?;
                Ok((journal, synchronous, foreign_keys, auto_vacuum, mapped.unwrap_or(0), waits))
            }
            .boxed()
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1, 2, 0, 5000));
}

#[tokio::test]
async fn the_sqlite_inside_is_newer_than_the_wal_reset_bug() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(database.readers()).await.unwrap();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn a_second_owner_is_told_who_has_it_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let first = Database::open(&path).await.unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    assert!(text.contains("stop it first"), "{text}");
    first.close().await;
    Database::open(&path).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let database = Database::open(&path).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    insert(&database, "kept").await.unwrap();
    database.close().await;
    assert!(matches!(insert(&database, "late").await, Err(DatabaseError::Closed)));
    database.close().await;
    assert!(!folder.path().join("bascule.db-wal").exists(), "a clean end leaves one file");
    assert_eq!(std::fs::read_to_string(folder.path().join("bascule.db.lock")).unwrap(), "");

    let again = Database::open(&path).await.unwrap();
    again.migrate("note", ONE).await.unwrap();
    assert_eq!(count(&again).await, 1);
}

#[tokio::test]
async fn dropping_the_last_clone_gives_up_ownership_after_the_jobs_that_were_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let database = Database::open(&path).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    insert(&database, "kept").await.unwrap();
    drop(database);
    let again = loop {
        match Database::open(&path).await {
            Ok(again) => break again,
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => unreachable!("{error}"),
        }
    };
    assert_eq!(count(&again).await, 1);
}

#[tokio::test]
async fn migrations_run_once_and_refuse_a_newer_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    insert(&database, "kept").await.unwrap();
    database.migrate("note", TWO).await.unwrap();
    database.migrate("note", TWO).await.unwrap();
    assert_eq!(count(&database).await, 1);

    let error = database.migrate("note", ONE).await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::NewerSchema { component: "note", found: 2, known: 1 }),
        "{error:?}"
    );
    assert!(error.to_string().contains("use the newer program"));

    let error = database.migrate("note", BAD).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Migration { component: "note", step: 4, .. }), "{error:?}");
    let further: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'further'")
        .fetch_one(database.readers())
        .await
        .unwrap();
    assert_eq!(further, 0, "step 3 is undone with step 4");
    database.migrate("note", TWO).await.unwrap();
}

#[tokio::test]
async fn a_reader_from_outside_sees_what_the_owner_wrote_and_may_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let missing = Database::open_read_only(&path).await.unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing:?}");

    let owner = Database::open(&path).await.unwrap();
    owner.migrate("note", ONE).await.unwrap();
    let reader = Database::open_read_only(&path).await.unwrap();
    insert(&owner, "seen").await.unwrap();
    assert_eq!(count(&reader).await, 1);
    reader.migrate("note", ONE).await.unwrap();
    assert!(matches!(insert(&reader, "no").await, Err(DatabaseError::ReadOnly)));
    let error = reader.migrate("note", TWO).await.unwrap_err();
    assert!(matches!(error, DatabaseError::OlderSchema { found: 1, known: 2, .. }), "{error:?}");
    reader.close().await;
    owner.close().await;

    let alone = Database::open_read_only(&path).await.unwrap();
    assert_eq!(count(&alone).await, 1, "also where nobody owns it");
}

#[tokio::test]
async fn another_kind_of_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let text = "this is a letter, not a database\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("is not a bascule database"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    let other = folder.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let foreign = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE somebody_elses (id INTEGER)").execute(&foreign).await.unwrap();
    foreign.close().await;
    let error = Database::open(&other).await.unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
}

/// Fills a file, closes it, and overwrites a page in the middle.
async fn damaged(path: &Path) {
    let database = Database::open(path).await.unwrap();
    database.migrate("note", ONE).await.unwrap();
    for _ in 0..50 {
        database
            .write(|tx| {
                async move {
                    sqlx::query("INSERT INTO note (text) VALUES (hex(randomblob(4000)))").execute(tx).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
    }
    database.close().await;
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn damage_is_found_on_opening_after_an_unclean_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    damaged(&path).await;
    // A killed owner leaves its process id behind.
    std::fs::write(folder.path().join("bascule.db.lock"), "4711\n").unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("keep a copy"), "{error}");
}

#[tokio::test]
async fn damage_that_a_job_meets_breaks_the_database_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    damaged(&path).await;
    let database = Database::open(&path).await.unwrap();
    let outcome = database
        .write(|tx| {
            async move {
                sqlx::query("UPDATE note SET text = text || '.'").execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await;
    assert!(outcome.is_err());
    let later = insert(&database, "later").await;
    assert!(matches!(later, Err(DatabaseError::Broken { .. })), "{later:?}");
    assert!(database.broken().is_some());
}
