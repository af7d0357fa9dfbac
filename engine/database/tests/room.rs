//! A disk that is really full: a small one of our own, in a process of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bascule_database::{Database, DatabaseError, Room};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

const STEPS: &[&str] = &["CREATE TABLE note (text TEXT NOT NULL) STRICT"];
const DISK: &str = "BASCULE_TEST_SMALL_DISK";
const RESERVE_BYTES: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn note(tx: &mut SqliteConnection) -> BoxFuture<'_, Result<(), DatabaseError>> {
    async move {
        sqlx::query("INSERT INTO note (text) VALUES (hex(randomblob(20000)))").execute(tx).await?;
        Ok(())
    }
    .boxed()
}

async fn insert(database: &Database, pressing: Pressing) -> Result<(), DatabaseError> {
    match pressing {
        Pressing::No => database.write(note).await,
        Pressing::Yes => database.write_pressing(|| note).await,
    }
}

#[derive(Clone, Copy)]
enum Pressing {
    No,
    Yes,
}

async fn count(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(database.readers()).await.unwrap()
}

/// Takes every byte that is left.
fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

async fn until(database: &Database, room: Room) {
    let mut told = database.room();
    let wait = told.wait_for(|now| *now == room);
    tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
}

/// What the process does that the test below starts.
async fn on_the_small_disk(disk: &Path) {
    let database = Database::open(&disk.join("bascule.db")).await.unwrap();
    database.migrate("note", STEPS).await.unwrap();
    let reserve = disk.join("bascule.db.reserve");
    database.keep_room(RESERVE_BYTES);
    until(&database, Room::Enough).await;
    let taken = async {
        while !std::fs::metadata(&reserve).is_ok_and(|file| file.len() == RESERVE_BYTES) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    insert(&database, Pressing::No).await.unwrap();

    fill(disk);
    until(&database, Room::Short).await;
    let mut stored = 1;
    let error = loop {
        match insert(&database, Pressing::No).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "the disk does not become full");
    };
    assert!(matches!(error, DatabaseError::Full), "{error:?}");
    assert!(!reserve.exists(), "the reserve is let go");
    assert_eq!(count(&database).await, stored, "reading goes on, and nothing of what failed was kept");
    for _ in 0..20 {
        insert(&database, Pressing::No).await.unwrap();
        stored += 1;
    }
    assert_eq!(*database.room().borrow(), Room::Short, "that is no reason to take anything new");

    std::fs::remove_file(disk.join("filler")).unwrap();
    until(&database, Room::Enough).await;
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES, "the reserve is back");

    // What is pressing gets through by itself.
    fill(disk);
    until(&database, Room::Short).await;
    while reserve.exists() {
        insert(&database, Pressing::Yes).await.unwrap();
        stored += 1;
    }
    assert_eq!(count(&database).await, stored);
    assert!(database.broken().is_none());
    database.close().await;
    std::fs::remove_file(disk.join("filler")).unwrap();
    let database = Database::open(&disk.join("bascule.db")).await.unwrap();
    assert_eq!(count(&database).await, stored, "and it is all there afterwards");
    database.close().await;
}

#[tokio::test]
async fn a_full_disk_keeps_reads_and_small_writes_and_is_over_by_itself() {
    if let Some(disk) = std::env::var_os(DISK) {
        return on_the_small_disk(disk.as_ref()).await;
    }
    // A file system of our own takes a user namespace of our own, which some systems forbid.
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        #[expect(clippy::print_stdout, reason = "whoever runs the tests must see that this one did not")]
        {
            println!("NOT TESTED: `unshare -rm` is forbidden here, and without it no small disk can be made");
        }
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c"])
        .arg(format!(
            r#"mount -t tmpfs -o size=24m none "${DISK}" && exec "$0" --exact a_full_disk_keeps_reads_and_small_writes_and_is_over_by_itself"#
        ))
        .arg(std::env::current_exe().unwrap())
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
