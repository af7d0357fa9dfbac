//! How spans reach the collector, and what happens when they do not.

use std::sync::Arc;
use std::time::Duration;

use bascule_run::Status;
use bascule_telemetry::Answer;
use tokio::time::Instant;

use crate::collector::Collector;
use crate::stage::{Stage, workflow};

const ONE: &str = "steps:\n  - id: a\n    uses: demo/things.do\n";

/// A run of so many items has two spans for each, and three more.
fn many(items: usize) -> String {
    format!(
        "steps:\n  - id: a\n    for-each: ${{{{ range({items}) | list }}}}\n    parallel: 100\n    uses: demo/things.do\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_span_is_sent_within_seconds_and_not_one_by_one() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    stage.run(&workflow(&many(100))).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(collector.spans().len(), 202);
    assert!(collector.asked() <= 4, "{}", collector.asked());
    assert_eq!((stage.telemetry.counts().sent(), stage.telemetry.counts().dropped()), (202, 0));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mute_collector_holds_no_run_up_and_what_does_not_fit_is_counted() {
    let collector = Arc::new(Collector::mute());
    let stage = Stage::new(collector.clone());
    let begun = Instant::now();
    let outcome = stage.run(&workflow(&many(5000))).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(begun.elapsed().as_secs(), 50, "as long as its calls take, 100 at a time");
    let counts = stage.telemetry.counts();
    let all = 10_002;
    // What waits: the queue, and the batch that was being sent.
    let dropped = counts.dropped();
    assert!(dropped >= all - 4096 - 512 && dropped <= all - 4096, "{dropped}");
    assert_eq!((counts.sent(), collector.asked()), (0, 1));
    let begun = Instant::now();
    stage.telemetry.stop(Duration::from_secs(2)).await;
    assert_eq!(begun.elapsed().as_secs(), 2, "and it ends within its limit");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_taken_now_comes_again_later_and_more_slowly() {
    let later = || Answer::Later("nobody there".to_owned());
    let collector = Arc::new(Collector::answering([later(), later(), later()]));
    let stage = Stage::new(collector.clone());
    stage.run(&workflow(ONE)).await;
    // 1 s to gather, then 1 s, 2 s and 4 s.
    tokio::time::sleep(Duration::from_millis(7500)).await;
    assert_eq!((collector.asked(), collector.spans().len()), (3, 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((collector.asked(), collector.spans().len()), (4, 3));
    assert_eq!((stage.telemetry.counts().sent(), stage.telemetry.counts().dropped()), (3, 0));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_dropped_and_the_next_batch_goes_on() {
    let never = Answer::of_status(400, b"");
    let collector = Arc::new(Collector::answering([
        never,
        Answer::of_status(200, br#"{"partialSuccess":{"rejectedSpans":"1"}}"#),
    ]));
    let stage = Stage::new(collector.clone());
    for _ in 0..2 {
        stage.run(&workflow(ONE)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!((stage.telemetry.counts().sent(), stage.telemetry.counts().dropped()), (2, 4));
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_waits_is_sent_without_waiting_for_more() {
    let collector = Arc::new(Collector::default());
    let stage = Stage::new(collector.clone());
    stage.run(&workflow(&many(600))).await;
    let begun = Instant::now();
    stage.stop().await;
    assert_eq!((collector.spans().len(), begun.elapsed()), (1202, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_an_absent_collector_is_asked_once() {
    let collector = Arc::new(Collector::answering((0..99).map(|_| Answer::Later("nobody there".to_owned()))));
    let stage = Stage::new(collector.clone());
    stage.run(&workflow(&many(600))).await;
    let asked = collector.asked();
    let (begun, counts) = (Instant::now(), stage.telemetry.counts());
    stage.stop().await;
    assert!(collector.asked() <= asked + 2, "{} after {asked}", collector.asked());
    assert_eq!((begun.elapsed(), counts.sent(), counts.dropped()), (Duration::ZERO, 0, 1202));
}

#[test]
fn answers_of_http_mean_what_the_protocol_says() {
    assert_eq!(Answer::of_status(200, b"{}"), Answer::Taken { rejected: 0 });
    for status in [429, 502, 503, 504] {
        assert!(matches!(Answer::of_status(status, b""), Answer::Later(_)), "{status}");
    }
    for status in [301, 400, 401, 404, 413, 500] {
        assert!(matches!(Answer::of_status(status, b""), Answer::Never(_)), "{status}");
    }
}
