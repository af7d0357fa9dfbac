//! A run goes by the components that it began with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bascule_database::Database;
use bascule_run::invoke::{Invocation, Invoke, Listener};
use bascule_run::journal::{Entry, Journal, JournalError, MemoryJournal, PinnedPlugins, SqliteJournal};
use bascule_run::observe::Silent;
use bascule_run::record::RunRecord;
use bascule_run::{Basis, Parts, RunError, RunId, Runner, Start, Status};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Workflow;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::begin;
use crate::support::write::{Keywords as _, call, call_workflow, workflow};

/// Builds of plugins: each answers with its own name, and is there or not.
#[derive(Default)]
struct Builds {
    kept: Mutex<BTreeSet<String>>,
    calls: Mutex<Vec<(String, Option<String>)>>,
    /// A call of this step fails, so that the run ends there.
    fails_at: Mutex<Option<String>>,
    /// Nothing can be kept.
    full: Mutex<bool>,
}

#[async_trait]
impl Invoke for Builds {
    async fn keep(&self, plugins: &PinnedPlugins) -> Result<(), Failure> {
        if *self.full.lock().unwrap() {
            return Err(Failure::new(Kind::Internal, "the disk is full"));
        }
        self.kept.lock().unwrap().extend(plugins.values().cloned());
        Ok(())
    }

    async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
        if self.kept.lock().unwrap().contains(component) {
            return Ok(());
        }
        Err(Failure::new(Kind::Unsupported, format!("`{plugin}` {component} is not there: put it back")))
    }

    async fn invoke(&self, invocation: Invocation, _listener: Listener) -> Result<Value, Failure> {
        let Invocation { step, component, .. } = invocation;
        self.calls.lock().unwrap().push((step.clone(), component.clone()));
        if self.fails_at.lock().unwrap().as_ref() == Some(&step) {
            return Err(Failure::new(Kind::Offline, "not now"));
        }
        Ok(json!(component))
    }
}

struct Site {
    journal: Arc<dyn Journal>,
    builds: Arc<Builds>,
}

impl Site {
    fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, builds: Arc::default() }
    }

    fn runner(&self) -> Runner {
        Runner::new(Parts {
            journal: Arc::clone(&self.journal),
            invoke: Arc::clone(&self.builds) as _,
            clock: Arc::new(bascule_run::clock::TokioClock::starting_at(begin())),
            observer: Arc::new(Silent),
        })
    }

    async fn start(&self, workflow: &Workflow) -> RunId {
        let trigger = json!({ "kind": "manual" });
        let start = Start { inputs: Map::new(), trigger, concurrency_key: None };
        self.runner().start(workflow, start).await.unwrap()
    }

    async fn record(&self, run: RunId) -> RunRecord {
        RunRecord::read(&*self.journal, &run.to_string()).await.unwrap()
    }

    /// What the calls of a step went to, in order.
    fn called(&self, step: &str) -> Vec<String> {
        let calls = self.builds.calls.lock().unwrap();
        calls.iter().filter(|(at, _)| at == step).map(|(_, of)| of.clone().unwrap_or_default()).collect()
    }
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn pins(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect()
}

/// `one` and `two` of plugin `p`; `inner` of plugin `q`, in a workflow of its own. Checked against these builds.
fn checked_against(p: &str, q: &str) -> Arc<Workflow> {
    let child = Workflow {
        id: "child".to_owned(),
        digest: "c1".to_owned(),
        plugins: pins(&[("q", q)]),
        ..workflow(vec![call("inner", "q/f", json!({}))])
    };
    Arc::new(Workflow {
        plugins: pins(&[("p", p)]),
        children: BTreeMap::from([("child".to_owned(), Arc::new(child))]),
        ..workflow(vec![
            call("one", "p/f", json!({})),
            call_workflow("calls", "child", json!({})),
            call("two", "p/f", json!({})),
        ])
    })
}

#[tokio::test(start_paused = true)]
async fn a_run_calls_to_its_end_what_it_began_with_and_says_so() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
    let begun = checked_against("p1", "q1");
    let run = site.start(&begun).await;
    let outcome = site.runner().execute(run, Arc::clone(&begun), never()).await.unwrap();
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(site.record(run).await.plugins, pins(&[("p", "p1"), ("q", "q1")]));
    assert_eq!(site.journal.texts(run).await.unwrap().plugins, pins(&[("p", "p1"), ("q", "q1")]));
    *site.builds.fails_at.lock().unwrap() = None;

    // Another build is there by now. Whoever checks against it is sent back.
    let newer = checked_against("p2", "q1");
    site.runner()
        .reopen(run, &begun, bascule_run::Rerun { basis: Basis::AsBegun, inputs: None })
        .await
        .unwrap();
    let refused = site.runner().execute(run, newer, never()).await;
    assert!(
        matches!(&refused, Err(RunError::OtherPlugin { plugin, component, .. }) if plugin == "p" && component == "p1"),
        "{refused:?}"
    );
    let outcome = site.runner().execute(run, begun, never()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(site.called("one"), ["p1"]);
    assert_eq!(site.called("calls/inner"), ["q1"]);
    assert_eq!(site.called("two"), ["p1", "p1"]);
}

#[tokio::test(start_paused = true)]
async fn a_rerun_by_the_latest_takes_the_builds_of_now_for_what_is_left() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
    let begun = checked_against("p1", "q1");
    let run = site.start(&begun).await;
    site.runner().execute(run, begun, never()).await.unwrap();
    *site.builds.fails_at.lock().unwrap() = None;
    let newer = checked_against("p2", "q2");
    let outcome = site.runner().rerun(run, newer, Basis::Latest, never()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(
        (site.called("one"), site.called("two")),
        (vec!["p1".to_owned()], vec!["p1".to_owned(), "p2".to_owned()])
    );
    assert_eq!(site.record(run).await.plugins, pins(&[("p", "p2"), ("q", "q2")]));
}

#[tokio::test(start_paused = true)]
async fn a_missing_component_holds_the_run_before_the_call_and_it_goes_on_when_that_is_back() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
    let begun = checked_against("p1", "q1");
    let run = site.start(&begun).await;
    let runner = site.runner();
    runner.execute(run, Arc::clone(&begun), never()).await.unwrap();
    *site.builds.fails_at.lock().unwrap() = None;
    site.builds.kept.lock().unwrap().remove("p1");
    let entries = site.journal.read(run).await.unwrap().len();
    for _ in 0..5 {
        // Held again and again it is no run that kills its process.
        let again = match site.record(run).await.header.status {
            Status::Failed => runner.rerun(run, Arc::clone(&begun), Basis::AsBegun, never()).await,
            _ => runner.execute(run, Arc::clone(&begun), never()).await,
        };
        let Err(RunError::Held { reason, .. }) = again else { panic!("{again:?}") };
        assert_eq!(reason.message, "`p` p1 is not there: put it back");
    }
    assert_eq!(site.journal.read(run).await.unwrap().len(), entries + 1, "only that it was reopened");
    site.builds.kept.lock().unwrap().insert("p1".to_owned());
    // Another process: the claim was given back.
    let outcome = site.runner().execute(run, begun, never()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(site.called("two"), ["p1", "p1"]);
}

#[tokio::test(start_paused = true)]
async fn items_that_are_under_way_end_before_a_run_is_held() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    let step = call("all", "p/f", json!({})).for_each("range(6) | list", "n", None, 2);
    let begun = Arc::new(Workflow { plugins: pins(&[("p", "p1")]), ..workflow(vec![step]) });
    let run = site.start(&begun).await;
    site.runner()
        .reopen(run, &begun, bascule_run::Rerun { basis: Basis::AsBegun, inputs: None })
        .await
        .unwrap_err();
    // Kept when it begins, and gone before the first call.
    struct Forgetful(Arc<Builds>);
    #[async_trait]
    impl Invoke for Forgetful {
        async fn ready(&self, plugin: &str, component: &str) -> Result<(), Failure> {
            let calls = self.0.calls.lock().unwrap().len();
            if calls < 3 { Ok(()) } else { self.0.ready(plugin, component).await }
        }
        async fn invoke(&self, invocation: Invocation, listener: Listener) -> Result<Value, Failure> {
            self.0.invoke(invocation, listener).await
        }
    }
    let parts = Parts {
        journal: Arc::clone(&site.journal),
        invoke: Arc::new(Forgetful(Arc::clone(&site.builds))),
        clock: Arc::new(bascule_run::clock::TokioClock::starting_at(begin())),
        observer: Arc::new(Silent),
    };
    let held = Runner::new(parts).execute(run, Arc::clone(&begun), never()).await;
    assert!(matches!(held, Err(RunError::Held { .. })), "{held:?}");
    let record = site.record(run).await;
    let attempts: Vec<_> = record.steps[0].inner.iter().flat_map(|item| &item.attempts).collect();
    assert!(attempts.iter().all(|attempt| attempt.outcome.is_some()), "nothing is of unknown outcome");
    site.builds.kept.lock().unwrap().insert("p1".to_owned());
    let outcome = site.runner().execute(run, begun, never()).await.unwrap();
    assert_eq!(outcome.steps[0].counts.unwrap().succeeded, 6);
    assert_eq!(site.builds.calls.lock().unwrap().len(), 6, "none was called twice");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_component_cannot_be_kept_does_not_begin() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    *site.builds.full.lock().unwrap() = true;
    let begun = checked_against("p1", "q1");
    let run = site.start(&begun).await;
    let refused = site.runner().execute(run, Arc::clone(&begun), never()).await;
    assert!(
        matches!(&refused, Err(error @ RunError::NotKept { .. }) if error.to_string().ends_with("the disk is full"))
    );
    assert_eq!(site.journal.read(run).await.unwrap().len(), 1);
    *site.builds.full.lock().unwrap() = false;
    let outcome = site.runner().execute(run, begun, never()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
}

#[tokio::test]
async fn a_run_of_an_earlier_version_goes_on_and_is_pinned_from_there() {
    let site = Site::new(Arc::new(MemoryJournal::new()));
    *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
    // No component behind the signatures: nothing is pinned.
    let unpinned = |workflow: &Arc<Workflow>| Workflow {
        plugins: BTreeMap::new(),
        children: workflow
            .children
            .iter()
            .map(|(id, child)| {
                (id.clone(), Arc::new(Workflow { plugins: BTreeMap::new(), ..(**child).clone() }))
            })
            .collect(),
        ..(**workflow).clone()
    };
    let begun = Arc::new(unpinned(&checked_against("p1", "q1")));
    let run = site.start(&begun).await;
    site.runner().execute(run, Arc::clone(&begun), never()).await.unwrap();
    let entries = site.journal.read(run).await.unwrap();
    assert!(!entries.iter().any(|timed| matches!(timed.entry, Entry::PluginsPinned { .. })));
    assert_eq!(site.called("one"), [""]);

    *site.builds.fails_at.lock().unwrap() = None;
    let outcome =
        site.runner().rerun(run, checked_against("p2", "q2"), Basis::AsBegun, never()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(
        (site.called("one"), site.called("two")),
        (vec![String::new()], vec![String::new(), "p2".to_owned()])
    );
    assert_eq!(site.record(run).await.plugins, pins(&[("p", "p2"), ("q", "q2")]));
}

#[tokio::test]
async fn the_database_knows_which_components_are_still_needed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
    let sqlite = Arc::new(SqliteJournal::open(database.clone()).await.unwrap());
    let site = Site::new(Arc::clone(&sqlite) as _);
    let needed = async || sqlite.needed_components().await.unwrap().into_iter().collect::<Vec<_>>();
    assert!(needed().await.is_empty());

    let fine = checked_against("p1", "q1");
    let run = site.start(&fine).await;
    site.runner().execute(run, fine, never()).await.unwrap();
    assert!(needed().await.is_empty(), "a run that went well needs nothing any more");

    *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
    let begun = checked_against("p1", "q1");
    let run = site.start(&begun).await;
    site.runner().execute(run, begun, never()).await.unwrap();
    assert_eq!(needed().await, ["p1", "q1"], "one that failed may be taken up again");

    site.runner().rerun(run, checked_against("p2", "q1"), Basis::Latest, never()).await.unwrap();
    assert_eq!(needed().await, ["p2", "q1"]);
    *site.builds.fails_at.lock().unwrap() = None;
    site.runner().rerun(run, checked_against("p2", "q1"), Basis::AsBegun, never()).await.unwrap();
    assert!(needed().await.is_empty());
}

#[tokio::test]
async fn an_entry_of_a_later_version_is_refused_and_nothing_is_called() {
    let unknown_kind = r#"INSERT INTO journal_entry (run_id, number, at, kind, body)
                          SELECT id, next_entry, 0, 'tea-made', '{"tea-made":{}}' FROM run"#;
    let unknown_field = r#"UPDATE journal_entry SET body = '{"plugins-pinned":{"plugins":{},"milk":true}}'
                           WHERE kind = 'plugins-pinned'"#;
    for (change, expected) in [
        (
            unknown_kind,
            "is of the kind `tea-made`, which only a later version of Bascule knows: go on with that one",
        ),
        (unknown_field, "unknown field `milk`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        let site = Site::new(Arc::new(SqliteJournal::open(database.clone()).await.unwrap()));
        *site.builds.fails_at.lock().unwrap() = Some("two".to_owned());
        let begun = checked_against("p1", "q1");
        let run = site.start(&begun).await;
        site.runner().execute(run, Arc::clone(&begun), never()).await.unwrap();
        let rerun = bascule_run::Rerun { basis: Basis::AsBegun, inputs: None };
        site.runner().reopen(run, &begun, rerun).await.unwrap();
        database
            .write(move |tx| {
                Box::pin(async move {
                    sqlx::raw_sql(change).execute(tx).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let calls = site.builds.calls.lock().unwrap().len();
        let refused = site.runner().execute(run, begun, never()).await;
        let Err(RunError::Journal(error @ JournalError::Unreadable { .. })) = refused else {
            panic!("{refused:?}");
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(site.builds.calls.lock().unwrap().len(), calls);
    }
}
