//! What is over is taken away, piece by piece.

use bascule_database::Database;
use bascule_run::clock::later;
use bascule_run::journal::{
    Aged, Batch, Entry, Filter, Journal, JournalError, LogLine, NewRun, Reopening, Revision, SqliteJournal,
    Timed,
};
use bascule_run::{Place, RunId, Status};
use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

use crate::support::begin;

fn at(seconds: u64) -> Timestamp {
    later(begin(), Duration::from_secs(seconds))
}

struct Kept {
    _folder: tempfile::TempDir,
    database: Database,
    journal: SqliteJournal,
}

impl Kept {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        let journal = SqliteJournal::open(database.clone()).await.unwrap();
        Self { _folder: folder, database, journal }
    }

    async fn create(&self, started: u64) -> RunId {
        let id = RunId::new(at(started));
        let run = NewRun {
            id,
            workflow: "faces".to_owned(),
            digest: "d1".to_owned(),
            text: "name: Faces".into(),
            inputs: Map::new(),
            trigger: json!({ "kind": "manual" }),
            concurrency_key: None,
            started_at: at(started),
        };
        self.journal.create(run).await.unwrap();
        id
    }

    /// A run with so many log lines and this output, which ended so.
    async fn ended(&self, started: u64, status: Status, lines: usize, output: &Value) -> RunId {
        let run = self.create(started).await;
        let claim = self.journal.claim(run, "me", at(started), at(started + 60)).await.unwrap();
        let place = Place::step("clip");
        let done = Entry::PlaceEnded {
            place: place.clone(),
            status: Status::Succeeded,
            output: output.clone(),
            failure: None,
            reason: None,
            counts: None,
            once: output.is_null().then(|| format!("key-{started}")),
            once_of: None,
        };
        let end = Entry::RunEnded { status, output: Value::Null, failure: None };
        let entries = [done, end].into_iter().map(|entry| Timed { at: at(started + 1), entry }).collect();
        let line = LogLine { at: at(started), place, level: "info".to_owned(), message: "a line".to_owned() };
        self.journal.append(&claim, Batch { entries, lines: vec![line; lines] }).await.unwrap();
        run
    }

    /// One step; gives the runs that are gone for good, and the rows.
    async fn step(&self) -> (Vec<RunId>, u64) {
        let removed = self
            .database
            .write(|tx| async move { SqliteJournal::remove_marked(tx).await }.boxed())
            .await
            .unwrap();
        (removed.runs, removed.rows)
    }

    async fn left(&self, table: &str) -> i64 {
        let text = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(self.database.readers()).await.unwrap()
    }

    async fn runs(&self) -> Vec<RunId> {
        self.journal.runs(&Filter::default()).await.unwrap().iter().map(|run| run.id).collect()
    }
}

#[tokio::test]
async fn runs_go_by_their_age_and_their_end_and_open_ones_never() {
    let kept = Kept::new().await;
    let fine = kept.ended(0, Status::Succeeded, 1, &Value::Null).await;
    let cancelled = kept.ended(10, Status::Cancelled, 1, &Value::Null).await;
    let failed = kept.ended(20, Status::Failed, 1, &Value::Null).await;
    let uncertain = kept.ended(30, Status::Interrupted, 1, &Value::Null).await;
    let open = kept.create(40).await;
    let young = kept.ended(5000, Status::Succeeded, 1, &Value::Null).await;

    let aged = Aged::Ended { fine_before: at(1000), failed_before: at(25) };
    assert_eq!(kept.journal.count_aged(at(1000), at(25)).await.unwrap(), 3);
    let mut chosen = 0;
    loop {
        match kept.journal.choose(aged).await.unwrap() {
            0 => break,
            more => chosen += more,
        }
    }
    assert_eq!(chosen, 3);
    // They are not found from then on, and cannot be taken up again.
    assert_eq!(kept.runs().await, [young, open, uncertain]);
    for run in [fine, cancelled, failed] {
        assert!(matches!(kept.journal.find(&run.to_string()).await, Err(JournalError::NoSuchRun(_))));
        let again = kept.journal.revise(run, at(50), Revision::Reopen(Reopening::default())).await;
        assert!(matches!(again, Err(JournalError::NoSuchRun(_))), "{again:?}");
    }
    let (mut gone, _) = kept.step().await;
    gone.sort();
    assert_eq!(gone, [fine, cancelled, failed]);
    assert_eq!(kept.step().await, (vec![], 0));
    assert_eq!(kept.left("run").await, 3);
    assert_eq!(kept.left("run_end").await, 2);
    assert_eq!(kept.left("run_line").await, 2);
    // What they did once is still known, and the ones that are left are whole.
    assert!(kept.journal.once("faces", "clip", "key-0").await.unwrap().is_some());
    assert_eq!(kept.journal.read(uncertain).await.unwrap().len(), 3);
    assert_eq!(
        kept.journal.revise(uncertain, at(60), Revision::Reopen(Reopening::default())).await.unwrap(),
        2
    );
}

#[tokio::test]
async fn a_long_run_goes_in_small_pieces_and_shared_values_stay_as_long_as_needed() {
    let kept = Kept::new().await;
    let large = json!("x".repeat(300 * 1024));
    let first = kept.ended(0, Status::Succeeded, 3500, &large).await;
    let second = kept.ended(100, Status::Succeeded, 1, &large).await;
    assert_eq!(kept.left("journal_value").await, 1);
    assert_eq!(kept.journal.choose(Aged::Oldest(1)).await.unwrap(), 1);
    assert_eq!(kept.runs().await, [second]);
    let mut steps = 0;
    loop {
        let (gone, rows) = kept.step().await;
        steps += 1;
        assert!(rows <= 1_010, "{rows} rows in one transaction");
        if gone == [first] {
            break;
        }
        assert!(gone.is_empty() && steps < 10);
    }
    assert!(steps >= 4, "{steps}");
    assert_eq!(kept.left("journal_value").await, 1);
    assert_eq!(kept.journal.read(second).await.unwrap().len(), 3);
    kept.journal.choose(Aged::Oldest(1)).await.unwrap();
    kept.step().await;
    for table in ["run", "journal_entry", "journal_value", "run_line", "run_end"] {
        assert_eq!(kept.left(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn for_space_those_that_went_well_go_before_those_that_failed() {
    let kept = Kept::new().await;
    let failed = kept.ended(0, Status::Failed, 0, &Value::Null).await;
    let fine = kept.ended(100, Status::Recovered, 0, &Value::Null).await;
    let open = kept.create(200).await;
    assert_eq!(kept.journal.choose(Aged::Oldest(64)).await.unwrap(), 1);
    assert_eq!(kept.step().await.0, [fine]);
    assert_eq!(kept.journal.choose(Aged::Oldest(64)).await.unwrap(), 1);
    assert_eq!(kept.step().await.0, [failed]);
    assert_eq!(kept.journal.choose(Aged::Oldest(64)).await.unwrap(), 0);
    assert_eq!(kept.runs().await, [open]);
}

#[tokio::test]
async fn once_keys_go_by_their_own_time() {
    let kept = Kept::new().await;
    kept.ended(0, Status::Succeeded, 0, &Value::Null).await;
    kept.ended(1000, Status::Succeeded, 0, &Value::Null).await;
    assert_eq!(kept.journal.count_once(at(500)).await.unwrap(), 1);
    assert_eq!(kept.journal.forget_once(at(500)).await.unwrap(), 1);
    assert_eq!(kept.journal.forget_once(at(500)).await.unwrap(), 0);
    assert_eq!(kept.journal.once("faces", "clip", "key-0").await.unwrap(), None);
    assert!(kept.journal.once("faces", "clip", "key-1000").await.unwrap().is_some());
}
