//! Both journals keep the same promises.

use std::sync::Arc;
use std::time::Duration;

use bascule_database::Database;
use bascule_run::clock::later;
use bascule_run::journal::{
    AttemptId, Batch, Entry, Filter, Item, Journal, JournalError, LogLine, MAX_ENTRY_BYTES, MemoryJournal,
    NewRun, Outcome, Reopening, Revision, Role, SqliteJournal, Timed, Verdict,
};
use bascule_run::{Counts, Place, RunId, Status};
use bascule_workflow::failure::{Effect, Failure, Kind};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::support::begin;

struct Both {
    _folder: tempfile::TempDir,
    database: Database,
    journals: [Arc<dyn Journal>; 2],
}

async fn both() -> Both {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let sqlite = SqliteJournal::open(database.clone()).await.unwrap();
    Both { _folder: folder, database, journals: [Arc::new(MemoryJournal::new()), Arc::new(sqlite)] }
}

fn at(seconds: u64) -> Timestamp {
    later(begin(), Duration::from_secs(seconds))
}

fn new_run(started: u64, key: Option<&str>) -> NewRun {
    NewRun {
        id: RunId::new(at(started)),
        workflow: "faces".to_owned(),
        digest: "d1".to_owned(),
        text: "name: Faces".into(),
        inputs: Map::from_iter([("n".to_owned(), json!(7))]),
        trigger: json!({ "kind": "manual" }),
        concurrency_key: key.map(ToOwned::to_owned),
        started_at: at(started),
    }
}

async fn create(journal: &dyn Journal, started: u64, key: Option<&str>) -> RunId {
    let run = new_run(started, key);
    let id = run.id;
    journal.create(run).await.unwrap();
    id
}

fn batch(entries: Vec<Entry>) -> Batch {
    Batch { entries: entries.into_iter().map(|entry| Timed { at: at(1), entry }).collect(), lines: vec![] }
}

fn ended(status: Status) -> Entry {
    Entry::RunEnded { status, output: json!("out"), failure: Some(Failure::new(Kind::Busy, "why")) }
}

/// One of each kind.
fn every_entry() -> Vec<Entry> {
    let place = Place::step("photo").item("a/b]");
    let id = AttemptId { role: Role::Catch, look: 2, attempt: 3 };
    let failure = Failure::new(Kind::LockedOut, "locked")
        .with_code("isapi:lock")
        .with_effect(Effect::Unknown)
        .with_retry_after(Duration::from_secs(9))
        .with_details(json!({ "z": 1, "a": [null, 2.5] }));
    vec![
        Entry::ItemsListed {
            place: place.clone(),
            items: vec![Item { key: "a/b]".into(), value: json!({ "no": 1 }) }],
        },
        Entry::UndoRegistered { place: place.clone() },
        Entry::AttemptStarted {
            place: place.clone(),
            id,
            key: "00ff".into(),
            plugin: "isapi".into(),
            function: "faces.modify".into(),
            with_digest: "ab".into(),
            with: Some(json!({ "b": 1, "a": 2 })),
        },
        Entry::AttemptEnded { place: place.clone(), id, outcome: Outcome::Failed(failure.clone()) },
        Entry::AttemptEnded { place: place.clone(), id, outcome: Outcome::Done(json!([1, "x", null])) },
        Entry::Waiting { place: place.clone(), id, due_at: at(77) },
        Entry::PlaceEnded {
            place: place.clone(),
            status: Status::RolledBack,
            output: json!(1.5),
            failure: Some(failure.clone()),
            reason: Some("so".into()),
            counts: Some(Counts { succeeded: 2, rolled_back: 1, ..Counts::default() }),
            once: None,
            once_of: None,
        },
        Entry::PluginsPinned { plugins: [("isapi".to_owned(), "ab".repeat(32))].into() },
        Entry::RollbackStarted { place: place.clone() },
        Entry::Undone { place: place.clone(), failure: Some(failure.clone()) },
        Entry::EventTaken { name: "door".into(), value: None },
        Entry::CancelAsked,
    ]
}

#[tokio::test]
async fn what_is_appended_is_read_back_as_it_was() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
        let mut expected = journal.read(run).await.unwrap();
        assert!(matches!(&expected[0].entry, Entry::Created { inputs, .. } if inputs["n"] == 7));
        for entries in [every_entry(), vec![ended(Status::Failed)]] {
            let batch = batch(entries);
            expected.extend(batch.entries.clone());
            journal.append(&claim, batch).await.unwrap();
        }
        assert_eq!(journal.read(run).await.unwrap(), expected);
        let header = journal.find(&run.to_string()).await.unwrap();
        assert_eq!((header.status, header.ended_at), (Status::Failed, Some(at(1))));
        assert_eq!(header.problem.as_deref(), Some("why"));
        assert_eq!(&*journal.text(run).await.unwrap(), "name: Faces");
    }
}

#[tokio::test]
async fn a_large_value_is_kept_apart_and_read_back_whole() {
    let both = both().await;
    let large = Value::String("x".repeat(3 * MAX_ENTRY_BYTES));
    for journal in &both.journals {
        let run = create(&**journal, 0, None).await;
        let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
        let id = AttemptId { role: Role::Call, look: 1, attempt: 1 };
        let entry =
            Entry::AttemptEnded { place: Place::step("a"), id, outcome: Outcome::Done(large.clone()) };
        journal.append(&claim, batch(vec![entry.clone(), entry.clone()])).await.unwrap();
        assert_eq!(journal.read(run).await.unwrap()[2].entry, entry);
    }
    let (apart,): (i64,) = sqlx::query_as("SELECT count(*) FROM journal_value")
        .fetch_one(both.database.readers())
        .await
        .unwrap();
    let (longest,): (i64,) = sqlx::query_as("SELECT max(length(body)) FROM journal_entry")
        .fetch_one(both.database.readers())
        .await
        .unwrap();
    assert_eq!(apart, 1);
    assert!(longest < 1000);
}

#[tokio::test]
async fn a_claim_is_held_until_its_end_and_then_taken_over_with_a_fence() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        let first = journal.claim(run, "one", at(0), at(60)).await.unwrap();
        let held = journal.claim(run, "two", at(59), at(120)).await;
        assert!(
            matches!(held, Err(JournalError::Held { owner, until, .. }) if owner == "one" && until == at(60))
        );
        journal.renew(&first, at(90)).await.unwrap();
        assert!(journal.claim(run, "two", at(61), at(120)).await.is_err());
        let second = journal.claim(run, "two", at(90), at(120)).await.unwrap();
        assert!(second.epoch > first.epoch);
        assert!(matches!(
            journal.append(&first, batch(vec![Entry::CancelAsked])).await,
            Err(JournalError::Fenced(_))
        ));
        assert!(matches!(journal.renew(&first, at(300)).await, Err(JournalError::Fenced(_))));
        assert!(matches!(journal.release(&first).await, Err(JournalError::Fenced(_))));
        journal.append(&second, batch(vec![Entry::CancelAsked])).await.unwrap();
        assert_eq!(journal.read(run).await.unwrap().len(), 2);
        journal.release(&second).await.unwrap();
        assert!(matches!(
            journal.append(&second, batch(vec![Entry::CancelAsked])).await,
            Err(JournalError::Fenced(_))
        ));
        journal.claim(run, "one", at(91), at(120)).await.unwrap();
    }
}

#[tokio::test]
async fn claims_without_progress_are_counted() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        // Each process dies, and the next one takes the run over when the lease has ended.
        for number in 1..=3_u32 {
            let (owner, now) = (format!("process {number}"), u64::from(number) * 100);
            let claim = journal.claim(run, &owner, at(now), at(now + 60)).await.unwrap();
            assert_eq!(claim.crashes, number);
        }
        let claim = journal.claim(run, "me", at(400), at(460)).await.unwrap();
        assert_eq!(claim.crashes, 4);
        let id = AttemptId { role: Role::Call, look: 1, attempt: 1 };
        let entry = Entry::AttemptEnded { place: Place::step("a"), id, outcome: Outcome::Done(Value::Null) };
        journal.append(&claim, batch(vec![entry])).await.unwrap();
        let claim = journal.claim(run, "you", at(460), at(500)).await.unwrap();
        assert_eq!(claim.crashes, 1);
        journal.release(&claim).await.unwrap();
        assert_eq!(journal.claim(run, "you", at(461), at(500)).await.unwrap().crashes, 1);
    }
}

#[tokio::test]
async fn an_owner_that_takes_its_own_claim_over_has_not_died() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        let first = journal.claim(run, "me", at(0), at(60)).await.unwrap();
        for _ in 0..5 {
            let again = journal.claim(run, "me", at(1), at(60)).await.unwrap();
            assert_eq!(again.crashes, 1);
            assert!(again.epoch > first.epoch, "the earlier claim is fenced all the same");
        }
        assert_eq!(journal.claim(run, "another", at(60), at(120)).await.unwrap().crashes, 2);
    }
}

#[tokio::test]
async fn one_run_per_key_is_running() {
    for journal in both().await.journals {
        let one = create(&*journal, 0, Some("hr")).await;
        let two = create(&*journal, 1, Some("hr")).await;
        let other = create(&*journal, 2, Some("it")).await;
        let claim = journal.claim(one, "me", at(0), at(60)).await.unwrap();
        journal.claim(other, "me", at(0), at(60)).await.unwrap();
        let busy = journal.claim(two, "me", at(0), at(60)).await;
        assert!(matches!(busy, Err(JournalError::KeyBusy { key }) if key == "hr"));
        journal.append(&claim, batch(vec![ended(Status::Succeeded)])).await.unwrap();
        journal.claim(two, "me", at(0), at(60)).await.unwrap();
    }
}

#[tokio::test]
async fn a_once_key_is_done_by_the_first() {
    for journal in both().await.journals {
        let place = Place::step("site").item("7").inner("clip").item("3");
        let done = |at_place: &Place| Entry::PlaceEnded {
            place: at_place.clone(),
            status: Status::Succeeded,
            output: Value::Null,
            failure: None,
            reason: None,
            counts: None,
            once: Some("clip-3".to_owned()),
            once_of: None,
        };
        let first = create(&*journal, 0, None).await;
        let second = create(&*journal, 1, None).await;
        assert_eq!(journal.once("faces", "clip", "clip-3").await.unwrap(), None);
        for run in [first, second] {
            let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
            journal.append(&claim, batch(vec![done(&place)])).await.unwrap();
        }
        assert_eq!(journal.once("faces", "clip", "clip-3").await.unwrap().unwrap().run, first);
        assert_eq!(journal.once("faces", "clip", "clip-4").await.unwrap(), None);
        assert_eq!(journal.once("other", "clip", "clip-3").await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_ended_run_can_be_reopened_and_decided_on_and_an_open_one_cannot() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        let decide = || Revision::Decide { place: Place::step("door"), verdict: Verdict::Done };
        let refused = journal.revise(run, at(2), decide()).await;
        assert!(matches!(refused, Err(JournalError::NotEnded { status: Status::Queued, .. })));
        let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
        journal.append(&claim, batch(vec![ended(Status::Interrupted)])).await.unwrap();
        let refused = journal.claim(run, "me", at(0), at(60)).await;
        assert!(matches!(refused, Err(JournalError::HasEnded { status: Status::Interrupted, .. })));
        assert_eq!(journal.revise(run, at(3), decide()).await.unwrap(), 1);
        let text = Some(("d2".to_owned(), Arc::from("name: Edited")));
        assert_eq!(
            journal
                .revise(run, at(4), Revision::Reopen(Reopening { text, ..Reopening::default() }))
                .await
                .unwrap(),
            2
        );
        let header = journal.find(&run.to_string()).await.unwrap();
        assert_eq!((header.status, header.attempt, header.digest.as_str()), (Status::Queued, 2, "d2"));
        assert_eq!((header.ended_at, header.problem), (None, None));
        assert_eq!(&*journal.text(run).await.unwrap(), "name: Edited");
        let kinds: Vec<_> = journal.read(run).await.unwrap().iter().map(|timed| timed.entry.kind()).collect();
        assert_eq!(kinds, ["created", "run-ended", "decided", "reopened"]);
        assert!(matches!(
            journal.revise(RunId::new(at(9)), at(9), Revision::Reopen(Reopening::default())).await,
            Err(JournalError::NoSuchRun(_))
        ));
    }
}

#[tokio::test]
async fn runs_are_listed_by_workflow_status_and_number() {
    for journal in both().await.journals {
        let mut runs = Vec::new();
        for minute in 0..5 {
            runs.push(create(&*journal, minute * 60, None).await);
        }
        let claim = journal.claim(runs[1], "me", at(0), at(60)).await.unwrap();
        journal.append(&claim, batch(vec![ended(Status::Failed)])).await.unwrap();
        journal.claim(runs[3], "me", at(0), at(60)).await.unwrap();
        let ids =
            |runs: Vec<bascule_run::journal::RunHeader>| runs.iter().map(|run| run.id).collect::<Vec<_>>();
        let newest = Filter { limit: Some(2), ..Filter::default() };
        assert_eq!(ids(journal.runs(&newest).await.unwrap()), [runs[4], runs[3]]);
        let bad = Filter { statuses: vec![Status::Failed, Status::Running], ..Filter::default() };
        assert_eq!(ids(journal.runs(&bad).await.unwrap()), [runs[3], runs[1]]);
        let other = Filter { workflow: Some("x' OR '1'='1".into()), ..Filter::default() };
        assert!(journal.runs(&other).await.unwrap().is_empty());
        assert_eq!(ids(journal.open_runs().await.unwrap()), [runs[0], runs[2], runs[3], runs[4]]);
        assert_eq!(journal.find(&runs[2].to_string()[..13]).await.unwrap().id, runs[2]);
        assert!(matches!(
            journal.find("").await,
            Err(JournalError::Ambiguous { candidates, .. }) if candidates.len() == 5
        ));
    }
}

#[tokio::test]
async fn lines_and_events_are_kept_in_order() {
    for journal in both().await.journals {
        let run = create(&*journal, 0, None).await;
        let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
        let line = |n: u64| LogLine {
            at: at(n),
            place: Place::step("a"),
            level: "info".to_owned(),
            message: format!("line {n}"),
        };
        journal.append(&claim, Batch { entries: vec![], lines: vec![line(1), line(2)] }).await.unwrap();
        journal.append(&claim, Batch { entries: vec![], lines: vec![line(3)] }).await.unwrap();
        assert_eq!(journal.lines(run).await.unwrap(), [line(1), line(2), line(3)]);
        for n in 0..3 {
            journal.deliver(run, at(n), "door", json!(n)).await.unwrap();
        }
        assert_eq!(journal.delivered(run, "door").await.unwrap(), [json!(0), json!(1), json!(2)]);
        assert!(journal.delivered(run, "window").await.unwrap().is_empty());
        assert!(journal.deliver(RunId::new(at(1)), at(1), "door", json!(1)).await.is_err());
    }
}

#[tokio::test]
async fn a_new_process_owns_what_the_last_one_had_claimed_and_a_reader_reads_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bascule.db");
    let database = Database::open(&path).await.unwrap();
    let journal = SqliteJournal::open(database.clone()).await.unwrap();
    let run = create(&journal, 0, None).await;
    journal.claim(run, "one", at(0), at(60)).await.unwrap();

    let reader = Database::open_read_only(&path).await.unwrap();
    let reading = SqliteJournal::open(reader.clone()).await.unwrap();
    assert_eq!(reading.find(&run.to_string()).await.unwrap().status, Status::Running);
    assert!(reading.claim(run, "two", at(99), at(99)).await.is_err());
    reader.close().await;

    database.close().await;
    let database = Database::open(&path).await.unwrap();
    let journal = SqliteJournal::open(database.clone()).await.unwrap();
    journal.claim(run, "two", at(1), at(60)).await.unwrap();
    database.close().await;
}

#[tokio::test]
async fn parallel_batches_share_commits() {
    let both = both().await;
    let journal = &both.journals[1];
    let run = create(&**journal, 0, None).await;
    let claim = journal.claim(run, "me", at(0), at(60)).await.unwrap();
    let before = both.database.commits();
    let appends = (0..100).map(|_| journal.append(&claim, batch(vec![Entry::CancelAsked])));
    for kept in futures_util::future::join_all(appends).await {
        kept.unwrap();
    }
    assert_eq!(journal.read(run).await.unwrap().len(), 101);
    assert!(both.database.commits() - before < 20);
}
