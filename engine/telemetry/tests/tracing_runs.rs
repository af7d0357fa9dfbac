//! What spans say about runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bascule_run::Status;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::collector::{Collector, Received};
use crate::stage::{Stage, workflow};

const SITE: &str = r#"
inputs: { password: { type: string, default: canary-of-the-inputs } }
steps:
  - id: people
    uses: demo/things.do
    with: { value: { name: canary-of-a-value } }
  - id: doors
    for-each: '${{ [{"id": "7", "fails": 1}, {"id": "8", "fails": 9}] }}'
    as: door
    key: ${{ door.id }}
    keep-going: true
    steps:
      - id: open
        uses: demo/things.do
        with: { value: { fails: "${{ door.fails }}", word: "${{ inputs.password }}" } }
        retry: { attempts: 2, on: [busy] }
  - id: never
    if: false
    uses: demo/things.do
"#;

fn by_id(spans: &[Received]) -> BTreeMap<&str, &Received> {
    let all: BTreeMap<&str, &Received> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(all.len(), spans.len(), "every span has an id of its own");
    all
}

/// Names from the root down to the span.
fn line(span: &Received, all: &BTreeMap<&str, &Received>) -> String {
    let own = match span.attributes.get("bascule.item.key") {
        Some(key) => format!("{}[{key}]", span.name),
        None => span.name.clone(),
    };
    match &span.parent {
        Some(parent) => format!("{} > {own}", line(all[parent.as_str()], all)),
        None => own,
    }
}

#[tokio::test(start_paused = true)]
async fn every_run_step_item_and_call_has_a_span_below_what_it_belongs_to() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    let outcome = stage.run(&workflow(SITE)).await;
    assert_eq!(outcome.status, Status::Failed);
    stage.stop().await;
    let spans = collector.spans();
    let all = by_id(&spans);
    let mut lines: Vec<String> = spans.iter().map(|span| line(span, &all)).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "site",
            "site > step doors",
            "site > step doors > item doors[7]",
            "site > step doors > item doors[7] > step open",
            "site > step doors > item doors[7] > step open > demo/things.do",
            "site > step doors > item doors[7] > step open > demo/things.do",
            "site > step doors > item doors[8]",
            "site > step doors > item doors[8] > step open",
            "site > step doors > item doors[8] > step open > demo/things.do",
            "site > step doors > item doors[8] > step open > demo/things.do",
            "site > step never",
            "site > step people",
            "site > step people > demo/things.do",
        ]
    );
    let run = outcome.run.to_string();
    for span in &spans {
        assert_eq!(span.trace, run.replace('-', ""), "the trace is the run");
        assert_eq!((span.of("bascule.run.id"), span.of("bascule.workflow")), (run.as_str(), "site"));
        assert_eq!(span.of("bascule.run.attempt"), "1");
        assert_eq!(span.kind, if span.name.contains('/') { 3 } else { 1 }, "{}", span.name);
        if let Some(parent) = &span.parent {
            let parent = all[parent.as_str()];
            assert!(parent.began <= span.began && span.ended <= parent.ended, "{} fits", span.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_tell_how_they_ended_and_the_gap_of_a_retry_is_seen() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    stage.run(&workflow(SITE)).await;
    stage.stop().await;
    let spans = collector.spans();
    let find = |name: &str, place: &str, attempt: &str| {
        let fits = |span: &&Received| {
            span.name == name
                && span.of("bascule.place") == place
                && (attempt.is_empty() || span.of("bascule.attempt") == attempt)
        };
        spans.iter().find(fits).unwrap_or_else(|| panic!("{name} {place} {attempt}"))
    };
    let first = find("demo/things.do", "doors[7]/open", "1");
    let second = find("demo/things.do", "doors[7]/open", "2");
    assert_eq!((first.code, first.message.as_str()), (2, "busy [demo:later]"));
    assert_eq!((first.of("bascule.failure.kind"), first.of("bascule.failure.code")), ("busy", "demo:later"));
    assert_eq!((first.of("error.type"), first.of("bascule.role")), ("busy", "call"));
    assert_eq!((second.code, second.of("error.type")), (1, "(none)"));
    assert_eq!(first.ended - first.began, 1_000_000_000);
    assert!(second.began > first.ended);
    let step = find("step open", "doors[8]/open", "");
    assert_eq!((step.code, step.of("bascule.status"), step.of("error.type")), (2, "failed", "busy"));
    let fine = find("item doors", "doors[7]", "");
    assert_eq!((fine.code, fine.of("bascule.status"), fine.of("bascule.item.key")), (1, "succeeded", "7"));
    let skipped = find("step never", "never", "");
    assert_eq!((skipped.code, skipped.of("bascule.status")), (0, "skipped"));
}

#[tokio::test(start_paused = true)]
async fn neither_inputs_nor_outputs_nor_what_a_peer_said_are_sent() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    let outcome = stage.run(&workflow(SITE)).await;
    assert!(format!("{outcome:?}").contains("canary"), "the run itself knows it");
    stage.stop().await;
    assert!(collector.spans().len() > 10);
    assert!(!collector.text().contains("canary"), "{}", collector.text());
}

#[tokio::test(start_paused = true)]
async fn what_two_processes_do_of_one_run_is_one_trace() {
    let first = Arc::new(Collector::default());
    let mut stage = Stage::new(first.clone());
    let workflow = workflow(
        "steps:\n  - id: a\n    uses: demo/things.do\n  - id: b\n    uses: demo/things.hang\n    timeout: 1h\n  - id: c\n    uses: demo/things.do\n",
    );
    let run = stage.start(&workflow, json!({})).await;
    // It dies in the middle of `b`.
    let died = tokio::time::timeout(Duration::from_secs(5), stage.execute(run, &workflow)).await;
    assert!(died.is_err());
    let second = Arc::new(Collector::default());
    let reborn = stage.reborn(second.clone());
    stage.stop().await;
    let before = first.spans();
    assert_eq!(
        before.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(),
        ["demo/things.do", "step a", "demo/things.hang"]
    );
    assert_eq!((before[2].code, before[2].message.as_str()), (2, "given up"));
    let cancel = CancellationToken::new();
    cancel.cancel();
    // The claim of the dead process runs out first.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    reborn.runner.execute(run, workflow, cancel).await.unwrap();
    reborn.stop().await;
    let after = second.spans();
    let root = after.iter().find(|span| span.parent.is_none()).unwrap();
    assert_eq!(root.of("bascule.run.resumed"), "true");
    assert_eq!(
        before[1].parent.as_deref(),
        Some(root.id.as_str()),
        "its parent comes with the second process"
    );
    assert!(root.began <= before[0].began, "and begins before it");
    assert!(after.iter().all(|span| span.name != "step a"), "what was sent is not sent again");
    let traces: BTreeSet<&str> = before.iter().chain(&after).map(|span| span.trace.as_str()).collect();
    assert_eq!(traces.len(), 1);
    let ids: BTreeSet<&str> = before.iter().chain(&after).map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), before.len() + after.len());
}

#[tokio::test(start_paused = true)]
async fn a_rerun_is_another_span_of_the_same_trace() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    let workflow =
        workflow("steps:\n  - id: a\n    uses: demo/things.do\n    with: { value: { fails: 1 } }\n");
    let outcome = stage.run(&workflow).await;
    assert_eq!(outcome.status, Status::Failed);
    let again = stage
        .runner
        .rerun(outcome.run, workflow, bascule_run::Basis::AsBegun, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(again.status, Status::Succeeded);
    stage.stop().await;
    let spans = collector.spans();
    by_id(&spans);
    let roots: Vec<&str> = spans
        .iter()
        .filter(|span| span.parent.is_none())
        .map(|span| span.of("bascule.run.attempt"))
        .collect();
    assert_eq!(roots, ["1", "2"]);
    assert!(spans.iter().all(|span| span.trace == spans[0].trace));
}
