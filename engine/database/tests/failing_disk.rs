//! A real write error at COMMIT, made with a file size limit on a process of its own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

use bascule_database::{Database, DatabaseError};
use futures_util::FutureExt;

const STEPS: &[&str] = &["CREATE TABLE note (text TEXT NOT NULL) STRICT"];
const FOLDER: &str = "BASCULE_TEST_FAILING_DISK";

async fn insert(database: &Database) -> Result<(), DatabaseError> {
    database
        .write(|tx| {
            async move {
                sqlx::query("INSERT INTO note (text) VALUES (hex(randomblob(2000)))").execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

async fn count(database: &Database) -> usize {
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(database.readers()).await.unwrap();
    usize::try_from(rows).unwrap()
}

/// What the process does that the test below starts.
async fn inside_the_limit(folder: &std::path::Path) {
    let database = Database::open(&folder.join("bascule.db")).await.unwrap();
    database.migrate("note", STEPS).await.unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match insert(&database).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit is not reached");
    };
    assert!(matches!(error, DatabaseError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("restart"), "{error}");
    assert!(matches!(insert(&database).await, Err(DatabaseError::Broken { .. })));
    assert_eq!(count(&database).await, acknowledged, "reading still works");
    database.close().await;
    std::fs::write(std::path::Path::new(&folder).join("acknowledged"), acknowledged.to_string()).unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_final_and_nothing_acknowledged_is_lost() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return inside_the_limit(folder.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // 512 or 1024 blocks of 512 or 1024 bytes, as the shell has it; a write beyond is an error, not a signal.
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 512; exec "$0" --exact a_failed_commit_is_final_and_nothing_acknowledged_is_lost"#])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let acknowledged: usize =
        std::fs::read_to_string(folder.path().join("acknowledged")).expect("the child ran").parse().unwrap();
    assert!(acknowledged > 10);

    let lock = std::fs::read_to_string(folder.path().join("bascule.db.lock")).unwrap();
    assert!(!lock.is_empty(), "this was not a clean end");
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let found = count(&database).await;
    assert!(found == acknowledged || found == acknowledged + 1, "{found} found, {acknowledged} acknowledged");
    insert(&database).await.unwrap();
}

/// What the process does that the next test starts: its log is short, the page that it changes is far out.
async fn changes_the_last_page(folder: &std::path::Path) {
    let database = Database::open(&folder.join("bascule.db")).await.unwrap();
    let changed = database.write(|tx| {
        async move {
            sqlx::query("UPDATE note SET text = hex(randomblob(2000)) WHERE rowid = 400").execute(tx).await?;
            Ok(())
        }
        .boxed()
    });
    changed.await.unwrap();
    assert_eq!(database.broken(), None);
    database.close().await;
    assert!(database.broken().is_some(), "nothing was said");
    std::fs::write(folder.join("told"), "").unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_only_when_all_is_closed_is_told_and_what_was_acknowledged_is_there() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return changes_the_last_page(folder.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    database.migrate("note", STEPS).await.unwrap();
    for _ in 0..400 {
        insert(&database).await.unwrap();
    }
    let before = last(&database).await;
    database.close().await;
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 512; exec "$0" --exact a_disk_that_fails_only_when_all_is_closed_is_told_and_what_was_acknowledged_is_there"#])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(folder.path().join("told").exists(), "the child ran");
    let lock = std::fs::read_to_string(folder.path().join("bascule.db.lock")).unwrap();
    assert!(!lock.is_empty(), "this was not a clean end");
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    assert_ne!(last(&database).await, before, "the change was acknowledged");
    database.close().await;
}

async fn last(database: &Database) -> String {
    sqlx::query_scalar("SELECT text FROM note WHERE rowid = 400").fetch_one(database.readers()).await.unwrap()
}
