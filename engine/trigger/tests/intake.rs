//! What is asked for becomes one run, on disk before the answer.

use bascule_run::Status;
use bascule_run::journal::Journal;
use bascule_trigger::admission::IntakeError;
use bascule_trigger::intake::DeliveryFilter;
use bascule_trigger::{Admission, Verdict};
use serde_json::json;

use crate::support::Site;

const PLAIN: &str = "
inputs: { name: { type: string, default: nobody } }
steps:
  - uses: demo/things.wait
    with: { value: \"${{ inputs.name }}\" }
";

fn grouped(busy: &str) -> String {
    format!(
        "inputs: {{ name: {{ type: string, default: nobody }}, site: {{ type: string, default: one }} }}
concurrency: {{ group: \"site-${{{{ inputs.site }}}}\", when-busy: {busy} }}
steps:
  - uses: demo/things.wait
    with: {{ value: \"${{{{ inputs.name }}}}\" }}
"
    )
}

#[tokio::test]
async fn what_was_admitted_is_there_after_the_process_died() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let admitted = stage.intake.admit(site.ask("plain", json!({ "name": "Ann" }))).await.unwrap();
    assert_eq!(admitted.verdict, Verdict::Accepted);
    stage.crash(None).await;

    let stage = site.open().await;
    let run = admitted.run.unwrap();
    let header = stage.header(run).await;
    assert_eq!((header.status, header.workflow.as_str()), (Status::Queued, "plain"));
    let record = bascule_run::record::RunRecord::read(&*stage.journal, &run.to_string()).await.unwrap();
    assert_eq!(record.inputs["name"], "Ann");
    assert_eq!(record.trigger["kind"], "test");
    let deliveries = stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    assert_eq!((deliveries[0].run, deliveries[0].duplicates), (Some(run), 0));
}

#[tokio::test]
async fn the_same_key_again_makes_no_second_run_and_is_counted() {
    let site = Site::new(&[("plain", PLAIN), ("other", PLAIN)]);
    let stage = site.open().await;
    let ask = |workflow: &str| site.ask(workflow, json!({})).with_dedupe("42");
    let first = stage.intake.admit(ask("plain")).await.unwrap();
    for _ in 0..3 {
        let again = stage.intake.admit(ask("plain")).await.unwrap();
        assert_eq!((again.verdict, again.run), (Verdict::Duplicate, first.run));
        assert_eq!(again.delivery, first.delivery);
    }
    // Another workflow, another source: another delivery.
    let other = stage.intake.admit(ask("other")).await.unwrap();
    let source = Admission { source: "test-2".to_owned(), ..ask("plain") };
    let source = stage.intake.admit(source).await.unwrap();
    assert_eq!((other.verdict, source.verdict), (Verdict::Accepted, Verdict::Accepted));
    assert_eq!(stage.runs().await.len(), 3);
    let filter = DeliveryFilter { run: first.run, ..DeliveryFilter::default() };
    assert_eq!(stage.intake.deliveries(&filter).await.unwrap()[0].duplicates, 3);
}

#[tokio::test]
async fn many_at_the_same_moment_with_one_key_make_one_run() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (intake, ask) = (stage.intake.clone(), site.ask("plain", json!({})));
        tasks.spawn(async move { intake.admit(ask.with_dedupe(format!("{}", number % 20))).await.unwrap() });
    }
    let mut accepted = 0;
    while let Some(admitted) = tasks.join_next().await {
        accepted += u32::from(admitted.unwrap().verdict == Verdict::Accepted);
    }
    assert_eq!((accepted, stage.runs().await.len()), (20, 20));
}

#[tokio::test]
async fn inputs_that_do_not_fit_are_refused_and_nothing_of_the_batch_is_stored() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let batch =
        vec![site.ask("plain", json!({ "name": "Ann" })), site.ask("plain", json!({ "nmae": "Bob" }))];
    let error = stage.intake.admit_all(batch).await.unwrap_err();
    let IntakeError::Inputs { workflow, problems } = error else { panic!("{error}") };
    assert_eq!((workflow.as_str(), problems[0].help.as_deref()), ("plain", Some("did you mean `name`?")));
    assert!(stage.runs().await.is_empty());
    assert!(stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn with_skip_a_busy_group_leaves_a_visible_row_and_no_run() {
    let site = Site::new(&[("grouped", &grouped("skip"))]);
    let stage = site.open().await;
    let first = stage.intake.admit(site.ask("grouped", json!({}))).await.unwrap();
    let second = stage.intake.admit(site.ask("grouped", json!({}))).await.unwrap();
    let elsewhere = stage.intake.admit(site.ask("grouped", json!({ "site": "two" }))).await.unwrap();
    assert_eq!(
        (first.verdict, second.verdict, elsewhere.verdict),
        (Verdict::Accepted, Verdict::Skipped, Verdict::Accepted)
    );
    let reason = second.reason.unwrap();
    assert!(reason.contains("site-one") && reason.contains(&first.run.unwrap().to_string()), "{reason}");
    assert_eq!(stage.runs().await.len(), 2);
}

#[tokio::test]
async fn with_replace_what_waited_ends_skipped() {
    let site = Site::new(&[("grouped", &grouped("replace"))]);
    let stage = site.open().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(stage.intake.admit(site.ask("grouped", json!({}))).await.unwrap().run.unwrap());
    }
    let last = runs.pop().unwrap();
    assert_eq!(stage.status(last).await, Status::Queued);
    for run in &runs {
        assert_eq!(stage.status(*run).await, Status::Skipped);
    }
    let problem = stage.header(runs[2]).await.problem.unwrap();
    assert!(problem.contains(&last.to_string()), "{problem}");
}

#[tokio::test]
async fn the_ninth_run_in_a_row_is_refused_and_says_so() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    let deep = |depth| Admission { depth, ..site.ask("plain", json!({})) };
    assert_eq!(stage.intake.admit(deep(8)).await.unwrap().verdict, Verdict::Accepted);
    let refused = stage.intake.admit(deep(9)).await.unwrap();
    assert_eq!((refused.verdict, refused.run), (Verdict::Refused, None));
    assert!(refused.reason.unwrap().contains("8 runs in a row"));
    assert_eq!(stage.journal.open_runs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_closed_database_is_unavailable() {
    let site = Site::new(&[("plain", PLAIN)]);
    let stage = site.open().await;
    stage.database.close().await;
    let error = stage.intake.admit(site.ask("plain", json!({}))).await.unwrap_err();
    assert!(matches!(error, IntakeError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn old_deliveries_go_and_those_that_wait_stay() {
    let debounced = format!("debounce: {{ wait: 5s }}\n{PLAIN}");
    let site = Site::new(&[("plain", PLAIN), ("debounced", &debounced)]);
    let stage = site.open().await;
    stage.intake.admit(site.ask("plain", json!({})).with_dedupe("old")).await.unwrap();
    stage.intake.admit(site.ask("debounced", json!({}))).await.unwrap();
    site.clock.advance(std::time::Duration::from_secs(3600));
    stage.intake.admit(site.ask("plain", json!({})).with_dedupe("new")).await.unwrap();
    let before = "2026-11-21T03:30:00Z".parse().unwrap();
    assert_eq!(stage.intake.prune(before).await.unwrap().deliveries, 1);
    assert_eq!(stage.intake.prune(before).await.unwrap().deliveries, 0);
    let left = stage.intake.deliveries(&DeliveryFilter::default()).await.unwrap();
    let left: Vec<(&str, Verdict)> = left.iter().map(|one| (one.workflow.as_str(), one.verdict)).collect();
    assert_eq!(left, [("plain", Verdict::Accepted), ("debounced", Verdict::Held)]);
}
