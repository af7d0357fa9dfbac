//! Writing: shared transactions, savepoints, a full disk, readers beside a writer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bascule_database::{Database, DatabaseError, OpenError, Statements, WriteBesideError};
use futures_util::FutureExt;
use futures_util::future::join_all;
use sqlx::Row as _;
use tokio::sync::oneshot;

const STEPS: &[&str] = &["CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT"];

async fn opened() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    database.migrate("note", STEPS).await.unwrap();
    (folder, database)
}

async fn insert(database: &Database, text: impl Into<String>) -> Result<i64, DatabaseError> {
    let text = text.into();
    database
        .write(move |tx| {
            async move {
                let done = sqlx::query("INSERT INTO note (text) VALUES (?)").bind(text).execute(tx).await?;
                Ok(done.last_insert_rowid())
            }
            .boxed()
        })
        .await
}

async fn texts(database: &Database) -> Vec<String> {
    sqlx::query_scalar("SELECT text FROM note ORDER BY id").fetch_all(database.readers()).await.unwrap()
}

/// Keeps the writer busy until the sender is used, so that what comes meanwhile waits together.
async fn hold(
    database: &Database,
) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), DatabaseError>>) {
    let (began, begun) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let held = database.clone();
    let task = tokio::spawn(async move {
        held.write(move |_tx| {
            async move {
                began.send(()).unwrap();
                released.await.unwrap();
                Ok(())
            }
            .boxed()
        })
        .await
    });
    begun.await.unwrap();
    (release, task)
}

#[tokio::test]
async fn a_hundred_concurrent_writes_share_a_few_commits() {
    let (_folder, database) = opened().await;
    let before = database.commits();
    let outcomes = join_all((0..100).map(|number| insert(&database, format!("note {number}")))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(texts(&database).await.len(), 100);
    let commits = database.commits() - before;
    assert!((1..=10).contains(&commits), "{commits} commits for 100 writes");
}

#[tokio::test]
async fn writes_one_after_the_other_are_each_committed_when_they_return() {
    let (_folder, database) = opened().await;
    let before = database.commits();
    for number in 0..5 {
        insert(&database, format!("note {number}")).await.unwrap();
        assert_eq!(texts(&database).await.len(), number + 1);
    }
    assert_eq!(database.commits() - before, 5);
}

async fn insert_first(database: &Database, text: String) -> Result<(), DatabaseError> {
    database
        .write_first(move |tx| {
            async move {
                sqlx::query("INSERT INTO note (text) VALUES ($1)").bind(text).execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

#[tokio::test]
async fn what_is_to_come_first_does_and_a_flood_of_it_does_not_stop_the_rest() {
    let (_folder, database) = opened().await;
    let (release, held) = hold(&database).await;
    // In the order in which they are polled here; the sender is used when all of them wait.
    let rest = join_all((0..20).map(|number| insert(&database, format!("rest {number}"))));
    let first = join_all((0..80).map(|number| insert_first(&database, format!("first {number}"))));
    let (rest, first, ()) = tokio::join!(rest, first, async {
        tokio::task::yield_now().await;
        release.send(()).unwrap();
    });
    held.await.unwrap().unwrap();
    assert!(rest.iter().all(Result::is_ok) && first.iter().all(Result::is_ok));
    let texts = texts(&database).await;
    let (rest, first): (Vec<&String>, Vec<&String>) = texts.iter().partition(|text| text.starts_with("rest"));
    let in_order = |all: &[&String], word: &str| {
        all.iter().enumerate().all(|(number, text)| **text == format!("{word} {number}"))
    };
    assert_eq!((rest.len(), first.len()), (20, 80));
    assert!(in_order(&rest, "rest") && in_order(&first, "first"), "{texts:?}");
    let place = |text: &str| texts.iter().position(|other| other == text).unwrap();
    assert!(place("first 69") < place("rest 11"), "first come first: {texts:?}");
    assert!(place("rest 8") < place("first 79"), "every eighth is one of the rest: {texts:?}");
}

#[tokio::test]
async fn a_job_of_several_statements_is_kept_or_undone_as_a_whole() {
    let (_folder, database) = opened().await;
    let several = |last: &'static str| {
        database.write(move |tx| {
            async move {
                let mut all = Statements::default();
                for text in ["one", "two"] {
                    all.add("INSERT INTO note (text) VALUES ($1 || $2) RETURNING id").bind(text).bind(last);
                }
                // The second of the same text is a violation.
                all.add("INSERT INTO note (text) VALUES ($1)").bind(last);
                let rows = all.run(tx).await?;
                rows.iter().map(|row| Ok(row.try_get("id")?)).collect::<Result<Vec<i64>, DatabaseError>>()
            }
            .boxed()
        })
    };
    assert_eq!(several("a").await.unwrap(), [1, 2]);
    insert(&database, "b").await.unwrap();
    assert!(several("b").await.unwrap_err().is_constraint());
    assert_eq!(texts(&database).await, ["onea", "twoa", "a", "b"]);
}

#[tokio::test]
async fn a_failing_job_does_not_undo_those_that_share_its_transaction() {
    let (_folder, database) = opened().await;
    let (release, held) = hold(&database).await;
    let before = database.commits();
    let failing = database.write(|tx| {
        async move {
            sqlx::query("INSERT INTO note (text) VALUES ('half done')").execute(&mut *tx).await?;
            sqlx::query("INSERT INTO note (text) VALUES ('half done')").execute(&mut *tx).await?;
            Ok(())
        }
        .boxed()
    });
    let panicking = database.write(|tx| {
        async move {
            sqlx::query("INSERT INTO note (text) VALUES ('before the panic')").execute(&mut *tx).await?;
            let rows: Vec<i64> = sqlx::query_scalar("SELECT id FROM note WHERE id < 0").fetch_all(tx).await?;
            Ok(*rows.first().unwrap())
        }
        .boxed()
    });
    let jobs =
        async { tokio::join!(insert(&database, "first"), failing, panicking, insert(&database, "last")) };
    let ((first, failing, panicking, last), ()) = tokio::join!(jobs, async { release.send(()).unwrap() });
    held.await.unwrap().unwrap();
    first.unwrap();
    last.unwrap();
    assert!(failing.as_ref().is_err_and(DatabaseError::is_constraint), "{failing:?}");
    assert!(matches!(panicking, Err(DatabaseError::Panicked)), "{panicking:?}");
    assert_eq!(texts(&database).await, ["first", "last"]);
    assert_eq!(database.commits() - before, 1, "the others joined the transaction of the held job");
}

#[tokio::test]
async fn a_violation_that_shows_at_commit_fails_the_group_and_leaves_the_database_usable() {
    let (_folder, database) = opened().await;
    const PARTS: &[&str] = &[
        "CREATE TABLE part (note INTEGER NOT NULL REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED) STRICT",
    ];
    database.migrate("part", PARTS).await.unwrap();
    let outcome = database
        .write(|tx| {
            async move {
                sqlx::query("INSERT INTO part VALUES (99)").execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await;
    assert!(outcome.as_ref().is_err_and(DatabaseError::is_constraint), "{outcome:?}");
    insert(&database, "afterwards").await.unwrap();
    assert_eq!(texts(&database).await, ["afterwards"]);
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_passes() {
    let (_folder, database) = opened().await;
    let pages = |count: u32| {
        let database = database.clone();
        async move {
            database
                .write(move |tx| {
                    async move {
                        let text = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {count}"));
                        sqlx::query(text).execute(tx).await?;
                        Ok(())
                    }
                    .boxed()
                })
                .await
                .unwrap();
        }
    };
    insert(&database, "before").await.unwrap();
    pages(1).await; // SQLite takes the present size where that is more.
    let outcome = insert(&database, "x".repeat(1 << 20)).await;
    assert!(matches!(outcome, Err(DatabaseError::Full)), "{outcome:?}");
    assert_eq!(texts(&database).await, ["before"]);
    assert!(database.broken().is_none());
    pages(1 << 20).await;
    insert(&database, "x".repeat(1 << 20)).await.unwrap();
    assert_eq!(texts(&database).await.len(), 2);
}

#[tokio::test]
async fn two_readers_answer_during_a_long_write_and_see_the_state_before_it() {
    let (_folder, database) = opened().await;
    insert(&database, "before").await.unwrap();
    let (wrote, written) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let writer = database.clone();
    let long = tokio::spawn(async move {
        writer
            .write(move |tx| {
                async move {
                    sqlx::query("INSERT INTO note (text) VALUES ('during')").execute(&mut *tx).await?;
                    wrote.send(()).unwrap();
                    released.await.unwrap();
                    Ok(())
                }
                .boxed()
            })
            .await
    });
    written.await.unwrap();
    let mut one = database.readers().begin().await.unwrap();
    let mut two = database.readers().begin().await.unwrap();
    for reader in [&mut one, &mut two] {
        let seen: Vec<String> =
            sqlx::query_scalar("SELECT text FROM note").fetch_all(&mut **reader).await.unwrap();
        assert_eq!(seen, ["before"]);
    }
    release.send(()).unwrap();
    long.await.unwrap().unwrap();
    let seen: Vec<String> = sqlx::query_scalar("SELECT text FROM note").fetch_all(&mut *one).await.unwrap();
    assert_eq!(seen, ["before"], "a reader's transaction keeps its view");
    drop((one, two));
    assert_eq!(texts(&database).await, ["before", "during"]);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_folder, database) = opened().await;
    let outcome = sqlx::query("INSERT INTO note (text) VALUES ('x')").execute(database.readers()).await;
    assert!(outcome.is_err_and(|error| error.to_string().contains("readonly")));
}

#[tokio::test]
async fn the_write_ahead_log_is_cut_although_a_reader_was_in_the_way_for_a_while() {
    let (folder, database) = opened().await;
    let wal = folder.path().join("bascule.db-wal");
    let size = || std::fs::metadata(&wal).unwrap().len();
    let mut reader = database.readers().begin().await.unwrap();
    let _seen: i64 = sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&mut *reader).await.unwrap();
    for number in 0..6 {
        insert(&database, format!("{number}{}", "x".repeat(1 << 20))).await.unwrap();
    }
    assert!(size() > 6 << 20, "the reader's view needs the log");
    drop(reader);
    for number in 6..12 {
        insert(&database, format!("{number}{}", "x".repeat(1 << 20))).await.unwrap();
    }
    // The log is cut after the answer has been given; a further job tells that it has happened.
    insert(&database, "last").await.unwrap();
    assert!(size() < 5 << 20, "{} bytes", size());
}

#[tokio::test]
async fn a_job_runs_although_its_caller_stopped_waiting() {
    let (_folder, database) = opened().await;
    let (release, held) = hold(&database).await;
    let abandoned = tokio::time::timeout(Duration::ZERO, insert(&database, "abandoned")).await;
    assert!(abandoned.is_err());
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    insert(&database, "next").await.unwrap();
    assert_eq!(texts(&database).await, ["abandoned", "next"]);
}

#[tokio::test]
async fn a_write_beside_the_owner_is_kept_and_the_owner_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let missing = Database::write_beside(&path, |_tx| async { Ok(()) }.boxed()).await;
    assert!(matches!(missing, Err(WriteBesideError::Open(OpenError::Missing { .. }))));
    let owner = Database::open(&path).await.unwrap();
    owner.migrate("notes", &["CREATE TABLE note (text TEXT NOT NULL) STRICT"]).await.unwrap();
    Database::write_beside(&path, |tx| {
        async move {
            sqlx::query("INSERT INTO note VALUES ('beside')").execute(tx).await?;
            Ok(())
        }
        .boxed()
    })
    .await
    .unwrap();
    let failed: Result<(), _> = Database::write_beside(&path, |tx| {
        async move {
            sqlx::query("INSERT INTO note VALUES ('lost')").execute(&mut *tx).await?;
            sqlx::query("INSERT INTO nothing VALUES (1)").execute(tx).await?;
            Ok(())
        }
        .boxed()
    })
    .await;
    assert!(matches!(failed, Err(WriteBesideError::Write(_))));
    owner
        .write(|tx| {
            async move {
                sqlx::query("INSERT INTO note VALUES ('owner')").execute(tx).await?;
                Ok(())
            }
            .boxed()
        })
        .await
        .unwrap();
    let notes: Vec<String> =
        sqlx::query_scalar("SELECT text FROM note ORDER BY rowid").fetch_all(owner.readers()).await.unwrap();
    assert_eq!(notes, ["beside", "owner"]);
    owner.close().await;
}
