//! Giving back what is not needed any more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bascule_database::Database;
use futures_util::FutureExt;

const STEPS: &[&str] = &["CREATE TABLE blob (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"];

async fn run(database: &Database, text: &'static str) {
    database
        .write(move |tx| {
            async move {
                sqlx::query(text).execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_taken_away_is_given_back_to_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let database = Database::open(&path).await.unwrap();
    database.migrate("blob", STEPS).await.unwrap();
    run(
        &database,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO blob (body) SELECT randomblob(20000) FROM n",
    )
    .await;
    let full = database.space().await.unwrap();
    assert!(full.used_bytes > 400 * 20_000 && full.free_bytes < 100_000, "{full:?}");

    run(&database, "DELETE FROM blob WHERE id > 100").await;
    let emptied = database.space().await.unwrap();
    assert!(emptied.free_bytes > 300 * 20_000, "{emptied:?}");
    assert!(emptied.used_bytes < 110 * 21_000 + 100_000, "{emptied:?}");

    let given = database.give_back(1 << 20).await.unwrap();
    let after = database.space().await.unwrap();
    assert!(after.free_bytes <= (1 << 20) + 8192, "{after:?}");
    assert_eq!(after.free_bytes + given, emptied.free_bytes);
    assert_eq!(database.give_back(1 << 20).await.unwrap(), 0);
    assert_eq!(database.damage().await.unwrap(), None);
    database.close().await;
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert_eq!(bytes, after.used_bytes + after.free_bytes);
    // What was left is all there.
    let database = Database::open(&path).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM blob").fetch_one(database.readers()).await.unwrap();
    assert_eq!(left, 100);
}
