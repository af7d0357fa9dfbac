//! Against models that are too slow and too simple to be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use bascule_database::Database;
use bascule_run::Status;
use bascule_run::clock::{Clock, SystemClock, later};
use bascule_run::journal::{Batch, Entry, Journal, SqliteJournal, Timed};
use bascule_workflow::admission::{Concurrency, Priority, WhenBusy};
use bascule_workflow::expression::Template;
use bascule_workflow::plan::Workflow;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admission::{Admission, Verdict};
use crate::intake::{Arrival, Intake};

fn run_id() -> RunId {
    RunId::new(Timestamp::now())
}

#[derive(Clone, Debug)]
enum Op {
    Add {
        priority: i64,
        workflow: usize,
        group: Option<usize>,
    },
    AddResumed {
        workflow: usize,
        group: Option<usize>,
    },
    Next,
    /// One of those under way.
    End(usize),
    /// One of those that wait.
    Remove(usize),
    Pause(usize),
    Unpause(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let group = || proptest::option::of(0..3_usize);
    prop_oneof![
        6 => (-1..=1_i64, 0..3_usize, group()).prop_map(|(priority, workflow, group)| Op::Add { priority, workflow, group }),
        1 => (0..3_usize, group()).prop_map(|(workflow, group)| Op::AddResumed { workflow, group }),
        6 => Just(Op::Next),
        4 => (0..9_usize).prop_map(Op::End),
        1 => (0..9_usize).prop_map(Op::Remove),
        1 => (0..3_usize).prop_map(Op::Pause),
        1 => (0..3_usize).prop_map(Op::Unpause),
    ]
}

/// All there is, in lists that are searched from the front.
#[derive(Default)]
struct Model {
    waiting: Vec<Waiting>,
    running: Vec<Waiting>,
    paused: Vec<String>,
    /// Groups of runs that were under way before a crash and have not begun again.
    reserved: Vec<(String, RunId)>,
}

impl Model {
    fn next(&mut self) -> Option<Waiting> {
        self.waiting.sort_by_key(|waiting| waiting.order);
        let at = self.waiting.iter().position(|waiting| {
            let busy = |group: &String| {
                self.running.iter().any(|other| other.concurrency_key.as_ref() == Some(group))
                    || self
                        .reserved
                        .iter()
                        .any(|(reserved, run)| reserved == group && *run != waiting.order.run)
            };
            !self.paused.contains(&waiting.workflow) && !waiting.concurrency_key.as_ref().is_some_and(busy)
        })?;
        let waiting = self.waiting.remove(at);
        self.reserved.retain(|(_, run)| *run != waiting.order.run);
        self.running.push(waiting.clone());
        Some(waiting)
    }
}

fn waiting(number: i64, priority: i64, workflow: usize, group: Option<usize>) -> Waiting {
    Waiting {
        order: Order { priority: Reverse(priority), number, run: run_id() },
        workflow: format!("w{workflow}"),
        concurrency_key: group.map(|group| format!("g{group}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_as_good_as_a_list_that_is_searched(ops in proptest::collection::vec(op(), 1..60)) {
        let (mut queue, mut model) = (Queue::default(), Model::default());
        for (number, op) in ops.into_iter().enumerate() {
            let number = i64::try_from(number).unwrap();
            match op {
                Op::Add { priority, workflow, group } => {
                    let one = waiting(number, priority, workflow, group);
                    model.waiting.push(one.clone());
                    queue.add(one);
                }
                // A process that begins adds these before anything else; a group has one of them at most.
                Op::AddResumed { workflow, group } => {
                    let one = resumed(waiting(number, 0, workflow, group));
                    if let Some(group) = &one.concurrency_key {
                        let taken = model.running.iter().any(|other| other.concurrency_key.as_ref() == Some(group))
                            || model.reserved.iter().any(|(reserved, _)| reserved == group);
                        if taken {
                            continue;
                        }
                        model.reserved.push((group.clone(), one.order.run));
                    }
                    model.waiting.push(one.clone());
                    queue.add(one);
                }
                Op::Next => prop_assert_eq!(queue.next(), model.next()),
                Op::End(index) => {
                    if !model.running.is_empty() {
                        let one = model.running.remove(index % model.running.len());
                        prop_assert_eq!(queue.ended(one.order.run), Some(one));
                    }
                }
                Op::Remove(index) => {
                    if !model.waiting.is_empty() {
                        let one = model.waiting.remove(index % model.waiting.len());
                        model.reserved.retain(|(_, run)| *run != one.order.run);
                        prop_assert_eq!(queue.remove(one.order.run), Some(one));
                    }
                }
                Op::Pause(workflow) => {
                    let id = format!("w{workflow}");
                    queue.pause(&id);
                    if !model.paused.contains(&id) {
                        model.paused.push(id);
                    }
                }
                Op::Unpause(workflow) => {
                    let id = format!("w{workflow}");
                    queue.unpause(&id);
                    model.paused.retain(|paused| *paused != id);
                }
            }
            prop_assert_eq!(queue.waiting().count(), model.waiting.len());
            prop_assert_eq!(queue.under_way(), model.running.len());
        }
        // Nothing is stuck: when all is let go, all of it comes, in order.
        for workflow in 0..3 {
            queue.unpause(&format!("w{workflow}"));
        }
        model.paused.clear();
        loop {
            let next = queue.next();
            prop_assert_eq!(&next, &model.next());
            if next.is_none() {
                let Some(one) = model.running.pop() else { break };
                queue.ended(one.order.run);
            }
        }
        prop_assert!(model.waiting.is_empty() && queue.waiting().count() == 0);
    }
}

/// Who asks, or that the one under way ends.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Ask { busy: WhenBusy, priority: Priority },
    End,
}

fn turn() -> impl Strategy<Value = Turn> {
    let busy = prop_oneof![Just(WhenBusy::Queue), Just(WhenBusy::Skip), Just(WhenBusy::Replace)];
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    prop_oneof![
        3 => (busy, priority).prop_map(|(busy, priority)| Turn::Ask { busy, priority }),
        2 => Just(Turn::End),
    ]
}

/// What `docs/workflows.md` says about `when-busy`, for one group.
#[derive(Default)]
struct Group {
    under_way: Option<usize>,
    cancelled: bool,
    /// Number and rank, in the order in which they came.
    waits: Vec<(usize, i64)>,
    /// What became of each that asked.
    ends: BTreeMap<usize, &'static str>,
    began: Vec<usize>,
}

impl Group {
    fn ask(&mut self, number: usize, busy: WhenBusy, rank: i64) {
        let idle = self.under_way.is_none() && self.waits.is_empty();
        match busy {
            WhenBusy::Skip if !idle => {
                self.ends.insert(number, "no run");
                return;
            }
            WhenBusy::Replace => {
                for (other, _) in self.waits.drain(..) {
                    self.ends.insert(other, "skipped");
                }
                self.cancelled = self.under_way.is_some();
            }
            WhenBusy::Skip | WhenBusy::Queue => {}
        }
        self.waits.push((number, rank));
        self.begin();
    }

    fn begin(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let first = self.waits.iter().enumerate().max_by_key(|(place, (_, rank))| (*rank, Reverse(*place)));
        if let Some(place) = first.map(|(place, _)| place) {
            let (number, _) = self.waits.remove(place);
            self.under_way = Some(number);
            self.began.push(number);
        }
    }

    fn end(&mut self) {
        if let Some(number) = self.under_way.take() {
            self.ends
                .insert(number, if std::mem::take(&mut self.cancelled) { "cancelled" } else { "succeeded" });
            self.begin();
        }
    }
}

/// The real intake, journal and queue, and an executor that does nothing but end.
struct Real {
    journal: Arc<SqliteJournal>,
    intake: Intake,
    group: String,
    queue: Queue,
    under_way: Option<(RunId, bascule_run::journal::Claim)>,
    numbers: BTreeMap<RunId, usize>,
    ends: BTreeMap<usize, &'static str>,
    began: Vec<usize>,
}

impl Real {
    async fn ask(&mut self, number: usize, busy: WhenBusy, priority: Priority) {
        let group = Template::parse(&json!(self.group)).unwrap();
        let workflow = Workflow {
            id: format!("{}-{}-{}", self.group, busy.name(), priority.name()),
            digest: "0".repeat(64),
            concurrency: Some(Concurrency { group, when_busy: busy }),
            priority,
            ..Workflow::default()
        };
        let asked = Admission::new(Arc::new(workflow), "test", json!({ "kind": "test" }));
        let admitted = self.intake.admit(asked).await.unwrap();
        match admitted.run {
            Some(run) => {
                self.numbers.insert(run, number);
            }
            None => {
                assert_eq!(admitted.verdict, Verdict::Skipped);
                self.ends.insert(number, "no run");
            }
        }
        self.hear().await;
    }

    async fn hear(&mut self) {
        for arrival in self.intake.arrivals().take() {
            match arrival {
                Arrival::Run(waiting) => self.queue.add(waiting),
                Arrival::Ended(run) => {
                    self.queue.remove(run);
                    let header = self.journal.find(&run.to_string()).await.unwrap();
                    assert_eq!(header.status, Status::Skipped);
                    self.ends.insert(self.numbers[&run], "skipped");
                }
                Arrival::Cancel(run) => assert_eq!(self.under_way.as_ref().map(|(run, _)| *run), Some(run)),
                Arrival::Due(_) => {}
            }
        }
        while let Some(waiting) = self.queue.next() {
            assert!(self.under_way.is_none(), "two of a group");
            let now = SystemClock.now();
            let run = waiting.order.run;
            let claim = self
                .journal
                .claim(run, "test", now, later(now, std::time::Duration::from_secs(60)))
                .await
                .unwrap();
            self.began.push(self.numbers[&run]);
            self.under_way = Some((run, claim));
        }
    }

    async fn end(&mut self) {
        let Some((run, claim)) = self.under_way.take() else { return };
        let entries = self.journal.read(run).await.unwrap();
        let asked = entries.iter().any(|timed| timed.entry == Entry::CancelAsked);
        let (status, word) =
            if asked { (Status::Cancelled, "cancelled") } else { (Status::Succeeded, "succeeded") };
        let ended = Entry::RunEnded { status, output: Value::Null, failure: None };
        let batch = Batch { entries: vec![Timed { at: SystemClock.now(), entry: ended }], lines: vec![] };
        self.journal.append(&claim, batch).await.unwrap();
        self.ends.insert(self.numbers[&run], word);
        self.queue.ended(run);
        self.hear().await;
    }
}

#[test]
fn overlapping_demands_end_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (journal, intake) = runtime.block_on(async {
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        let journal = Arc::new(SqliteJournal::open(database.clone()).await.unwrap());
        let intake = Intake::open(database, &journal, Arc::new(SystemClock)).await.unwrap();
        (journal, intake)
    });
    let cases = std::cell::Cell::new(0);
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    runner
        .run(&proptest::collection::vec(turn(), 1..30), |turns| {
            cases.set(cases.get() + 1);
            runtime.block_on(async {
                let mut model = Group::default();
                let mut real = Real {
                    journal: Arc::clone(&journal),
                    intake: intake.clone(),
                    group: format!("group-{}", cases.get()),
                    queue: Queue::default(),
                    under_way: None,
                    numbers: BTreeMap::new(),
                    ends: BTreeMap::new(),
                    began: Vec::new(),
                };
                // At the end everything is let go.
                let count = turns.len();
                for (number, turn) in
                    turns.into_iter().chain(std::iter::repeat_n(Turn::End, count)).enumerate()
                {
                    match turn {
                        Turn::Ask { busy, priority } => {
                            model.ask(number, busy, crate::intake::rank(priority));
                            real.ask(number, busy, priority).await;
                        }
                        Turn::End => {
                            model.end();
                            real.end().await;
                        }
                    }
                    prop_assert_eq!(&real.began, &model.began);
                    prop_assert_eq!(&real.ends, &model.ends);
                }
                prop_assert!(real.under_way.is_none() && real.queue.waiting().count() == 0);
                Ok(())
            })
        })
        .unwrap();
}
