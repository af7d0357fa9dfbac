//! Rule 9 of `docs/spec`: every planned occurrence is a row before it is due.

use std::collections::{BTreeMap, BTreeSet};

use bascule_run::Status;
use bascule_run::journal::Journal;
use bascule_run::record::RunRecord;
use bascule_trigger::schedule::{Next, Occurrences, ScheduleParts, Scheduler, Slot, SlotFilter, SlotState};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Site, Stage, until};

fn text(schedule: &str) -> String {
    format!(
        "triggers:\n  - schedule: {schedule}\nsteps:\n  - uses: demo/things.echo\n    with: {{ value: \"${{{{ trigger.scheduled_at }}}}\" }}\n"
    )
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A site whose only schedule this is; it is Saturday, 21 November 2026, 03:00 UTC.
fn site(schedule: &str) -> Site {
    Site::new(&[("export", &text(schedule))])
}

fn scheduler(site: &Site, stage: &Stage) -> Scheduler {
    Scheduler::new(ScheduleParts {
        intake: stage.intake.clone(),
        book: site.shelf.clone(),
        clock: site.clock.clone(),
        zone: TimeZone::UTC,
    })
}

async fn slots(scheduler: &Scheduler) -> Vec<Slot> {
    let mut slots = scheduler.slots(&SlotFilter::default()).await.unwrap();
    slots.reverse();
    slots
}

async fn in_state(scheduler: &Scheduler, state: SlotState) -> Vec<String> {
    let slots = slots(scheduler).await;
    slots.iter().filter(|slot| slot.state == state).map(|slot| slot.slot_at.to_string()).collect()
}

#[tokio::test]
async fn spec_09_the_next_occurrence_is_a_row_before_it_is_due_and_becomes_a_run_when_it_is() {
    let site = site("{ cron: \"0 4 * * *\" }");
    let stage = site.open().await;
    let scheduler = scheduler(&site, &stage);
    let due = at("2026-11-21T04:00:00Z");
    assert_eq!(scheduler.step().await.unwrap(), Some(due));
    let planned = slots(&scheduler).await;
    assert_eq!((planned.len(), planned[0].slot_at, planned[0].state), (1, due, SlotState::Planned));
    assert!(stage.runs().await.is_empty());

    site.clock.set(due);
    assert_eq!(scheduler.step().await.unwrap(), Some(at("2026-11-22T04:00:00Z")));
    let runs = stage.runs().await;
    let record = RunRecord::read(&*stage.journal, &runs[0].id.to_string()).await.unwrap();
    assert_eq!(record.trigger["scheduled_at"], "2026-11-21T04:00:00Z");
    assert_eq!(
        (record.trigger["kind"].as_str(), record.trigger["missed"].as_u64()),
        (Some("schedule"), Some(0))
    );
    let all = slots(&scheduler).await;
    assert_eq!((all[0].state, all[0].run), (SlotState::Admitted, Some(runs[0].id)));
    assert_eq!((runs.len(), all.len(), all[1].state), (1, 2, SlotState::Planned));
}

#[tokio::test]
async fn spec_09_no_slot_makes_two_runs_whatever_the_process_and_the_clock_do() {
    let site = site("{ cron: \"*/10 * * * *\", missed: all }");
    let stage = site.open().await;
    let one = scheduler(&site, &stage);
    one.step().await.unwrap();
    site.clock.set(at("2026-11-21T03:10:05Z"));
    // Two schedulers over one database, at the same moment and one after the other.
    let another = scheduler(&site, &stage);
    let (first, second) = tokio::join!(one.step(), another.step());
    first.unwrap();
    second.unwrap();
    another.step().await.unwrap();
    assert_eq!(stage.runs().await.len(), 1);
    stage.crash(None).await;

    let stage = site.open().await;
    let again = scheduler(&site, &stage);
    again.step().await.unwrap();
    assert_eq!(stage.runs().await.len(), 1);
    // An hour back: what has run does not run again, what comes after it does.
    site.clock.set(at("2026-11-21T02:05:00Z"));
    for minutes in 0..80 {
        site.clock.set(at("2026-11-21T02:05:00Z") + SignedDuration::from_mins(minutes));
        again.step().await.unwrap();
    }
    let ran = in_state(&again, SlotState::Admitted).await;
    assert_eq!(
        ran,
        [
            "2026-11-21T02:10:00Z",
            "2026-11-21T02:20:00Z",
            "2026-11-21T02:30:00Z",
            "2026-11-21T02:40:00Z",
            "2026-11-21T02:50:00Z",
            "2026-11-21T03:00:00Z",
            "2026-11-21T03:10:00Z",
            "2026-11-21T03:20:00Z",
        ]
    );
    assert_eq!(stage.runs().await.len(), 8);
}

/// Nothing runs from 03:00 to `until`; the schedule is `*/10 * * * *`.
async fn after_outage(missed: &str, until: &str) -> (Vec<String>, Vec<Slot>, Vec<Value>) {
    let site = site(&format!("{{ cron: \"*/10 * * * *\", missed: {missed} }}"));
    let stage = site.open().await;
    scheduler(&site, &stage).step().await.unwrap();
    stage.crash(None).await;
    site.clock.set(at(until));
    let stage = site.open().await;
    let scheduler = scheduler(&site, &stage);
    scheduler.step().await.unwrap();
    scheduler.step().await.unwrap();
    let ran = in_state(&scheduler, SlotState::Admitted).await;
    let mut triggers = Vec::new();
    for run in stage.runs().await {
        triggers.push(RunRecord::read(&*stage.journal, &run.id.to_string()).await.unwrap().trigger);
    }
    triggers.sort_by_key(|trigger| trigger["scheduled_at"].to_string());
    let missed = slots(&scheduler).await.into_iter().filter(|slot| slot.state == SlotState::Missed).collect();
    (ran, missed, triggers)
}

#[tokio::test]
async fn spec_09_what_was_missed_is_skipped_and_visible() {
    let (ran, missed, _) = after_outage("skip", "2026-11-21T03:45:00Z").await;
    assert!(ran.is_empty(), "{ran:?}");
    assert_eq!(missed.len(), 4);
    assert_eq!(missed[0].reason.as_deref(), Some("nothing ran at the time"));
}

#[tokio::test]
async fn spec_09_what_was_missed_makes_one_run_for_all() {
    let (ran, missed, triggers) = after_outage("once", "2026-11-21T03:45:00Z").await;
    assert_eq!(ran, ["2026-11-21T03:40:00Z"]);
    assert_eq!((missed.len(), triggers[0]["missed"].as_u64()), (3, Some(4)));
    assert!(missed[0].reason.as_deref().unwrap().contains("2026-11-21T03:40:00Z"));
    // One that is on time stands for those that were missed, too.
    let (ran, missed, triggers) = after_outage("once", "2026-11-21T03:40:02Z").await;
    assert_eq!((ran, missed.len()), (vec!["2026-11-21T03:40:00Z".to_owned()], 3));
    assert_eq!(triggers[0]["missed"], 3);
}

#[tokio::test]
async fn spec_09_what_was_missed_makes_a_run_each_within_a_limit_of_age() {
    let (ran, missed, triggers) = after_outage("all", "2026-11-21T03:45:00Z").await;
    assert_eq!((ran.len(), missed.len(), triggers.len()), (4, 0, 4));
    assert_eq!(triggers[0]["scheduled_at"], "2026-11-21T03:10:00Z");
    let (ran, missed, _) = after_outage("{ run: all, within: 20m }", "2026-11-21T03:45:00Z").await;
    assert_eq!(ran, ["2026-11-21T03:30:00Z", "2026-11-21T03:40:00Z"]);
    assert!(missed.iter().all(|slot| slot.reason.as_deref().unwrap().contains("`within`")));
    let (ran, _, _) = after_outage("{ run: once, within: 2m }", "2026-11-21T03:45:00Z").await;
    assert!(ran.is_empty());
}

#[tokio::test]
async fn spec_09_a_clock_that_was_years_ahead_stops_no_schedule() {
    let site = site("{ cron: \"0 * * * *\" }");
    let stage = site.open().await;
    let scheduler = scheduler(&site, &stage);
    scheduler.step().await.unwrap();
    site.clock.set(at("2036-11-21T03:30:00Z"));
    scheduler.step().await.unwrap();
    let missed = scheduler.missed().await.unwrap();
    assert_eq!(missed[0].0, "export");
    assert!(missed[0].1 > 80_000, "{missed:?}");
    site.clock.set(at("2026-11-21T03:30:00Z"));
    assert_eq!(scheduler.step().await.unwrap(), Some(at("2026-11-21T04:00:00Z")));
    for hour in 4..9 {
        site.clock.set(at(&format!("2026-11-21T{hour:02}:00:01Z")));
        scheduler.step().await.unwrap();
    }
    assert_eq!(in_state(&scheduler, SlotState::Admitted).await.len(), 5);
}

#[tokio::test]
async fn spec_09_a_schedule_that_was_edited_begins_anew_and_one_that_is_gone_plans_nothing() {
    let site = site("{ cron: \"0 4 * * *\" }");
    let stage = site.open().await;
    let scheduler = scheduler(&site, &stage);
    scheduler.step().await.unwrap();
    site.shelf.edit("export", Some(&text("{ cron: \"0 5 * * *\" }")));
    assert_eq!(scheduler.step().await.unwrap(), Some(at("2026-11-21T05:00:00Z")));
    assert_eq!(in_state(&scheduler, SlotState::Withdrawn).await, ["2026-11-21T04:00:00Z"]);
    site.shelf.edit("export", None);
    assert_eq!(scheduler.step().await.unwrap(), None);
    site.clock.set(at("2026-11-30T05:00:00Z"));
    scheduler.step().await.unwrap();
    // When it is back, it does not make up for the days without it.
    site.shelf.edit("export", Some(&text("{ cron: \"0 5 * * *\", missed: all }")));
    assert_eq!(scheduler.step().await.unwrap(), Some(at("2026-12-01T05:00:00Z")));
    assert!(stage.runs().await.is_empty());
}

#[tokio::test]
async fn spec_09_jitter_puts_a_run_off_and_not_the_instant_that_it_means() {
    let site = site("{ cron: \"0 * * * *\", jitter: 10m }");
    let stage = site.open().await;
    let scheduler = scheduler(&site, &stage);
    let due = scheduler.step().await.unwrap().unwrap();
    let slot = at("2026-11-21T04:00:00Z");
    assert!(due > slot && due < slot + SignedDuration::from_mins(10), "{due}");
    site.clock.set(slot);
    assert_eq!(scheduler.step().await.unwrap(), Some(due));
    assert!(stage.runs().await.is_empty());
    site.clock.set(due);
    scheduler.step().await.unwrap();
    let record = RunRecord::read(&*stage.journal, &stage.runs().await[0].id.to_string()).await.unwrap();
    assert_eq!(record.trigger["scheduled_at"], "2026-11-21T04:00:00Z");
    assert_eq!(scheduler.upcoming(&Next { count: 1, workflow: None })[0].slot_at, at("2026-11-21T05:00:00Z"));
}

#[tokio::test]
async fn spec_09_what_cannot_become_a_run_is_a_row_with_the_reason() {
    let refused = "{ cron: \"0 4 * * *\", inputs: { name: \"${{ trigger.nothing }}\" } }";
    let skipped = "{ cron: \"0 4 * * *\", if: trigger.missed > 0 }";
    for (schedule, state, word) in
        [(refused, SlotState::Refused, "nothing"), (skipped, SlotState::Skipped, "`if`")]
    {
        let text = format!("inputs: {{ name: {{ type: string, default: x }} }}\n{}", text(schedule));
        let site = Site::new(&[("export", &text)]);
        let stage = site.open().await;
        let scheduler = scheduler(&site, &stage);
        scheduler.step().await.unwrap();
        site.clock.set(at("2026-11-21T04:00:00Z"));
        scheduler.step().await.unwrap();
        let slot = slots(&scheduler).await.remove(0);
        assert_eq!(slot.state, state);
        assert!(slot.reason.as_deref().unwrap().contains(word), "{slot:?}");
    }
}

#[tokio::test]
async fn spec_09_the_scheduler_wakes_when_something_is_due_or_edited() {
    let site = site("{ cron: \"0 4 * * *\" }");
    site.world.open_all();
    let stage = site.open().await;
    let dispatcher = stage.dispatcher().await;
    let scheduler = scheduler(&site, &stage);
    let stop = CancellationToken::new();
    let task = {
        let (scheduler, stop) = (scheduler.clone(), stop.clone());
        tokio::spawn(async move { scheduler.run(stop).await })
    };
    until("the first row", async || slots(&scheduler).await.len() == 1).await;
    site.clock.set(at("2026-11-21T04:00:00Z"));
    until("the run", async || site.world.began().len() == 1).await;
    assert_eq!(site.world.began()[0], "2026-11-21T04:00:00Z");
    site.shelf.edit("export", Some(&text("{ cron: \"30 4 * * *\" }")));
    until("the new row", async || in_state(&scheduler, SlotState::Planned).await == ["2026-11-21T04:30:00Z"])
        .await;
    stop.cancel();
    task.await.unwrap();
    until("the run has ended", async || stage.runs().await[0].status == Status::Succeeded).await;
    stage.crash(Some(dispatcher)).await;
}

/// A small random generator, so that a failure can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Random outages, restarts and clocks that are set, and after each the books are checked.
#[tokio::test]
async fn spec_09_over_hundreds_of_outages_and_jumps_every_occurrence_is_accounted_for_once() {
    for (seed, missed) in [(1, "skip"), (2, "once"), (3, "all"), (4, "{ run: all, within: 3h }")] {
        let site = site(&format!("{{ cron: \"*/15 * * * *\", missed: {missed} }}"));
        let mut dice = Dice(seed);
        let begun = at("2026-11-21T03:00:00Z");
        let mut now = begun;
        let mut furthest = begun;
        for _ in 0..60 {
            let stage = site.open().await;
            let scheduler = scheduler(&site, &stage);
            for _ in 0..dice.roll(5) + 1 {
                site.clock.set(now);
                scheduler.step().await.unwrap();
                furthest = furthest.max(now);
                let seconds = i64::try_from(dice.roll(1200)).unwrap();
                now += SignedDuration::from_secs(seconds);
            }
            now = match dice.roll(4) {
                // Set back, by up to an hour.
                0 => now - SignedDuration::from_secs(i64::try_from(dice.roll(3600)).unwrap()),
                _ => now + SignedDuration::from_mins(i64::try_from(dice.roll(600)).unwrap()),
            };
            now = now.max(begun);
            stage.crash(None).await;
        }
        let stage = site.open().await;
        site.clock.set(furthest);
        let scheduler = scheduler(&site, &stage);
        scheduler.step().await.unwrap();
        let all = slots(&scheduler).await;
        // Each occurrence from the beginning to the last moment has one row, which is decided on.
        let occurrences = Occurrences::new("*/15 * * * *", TimeZone::UTC).unwrap();
        let expected: Vec<Timestamp> = occurrences.after(begun).take_while(|at| *at <= furthest).collect();
        let decided: Vec<Timestamp> =
            all.iter().filter(|slot| slot.slot_at <= furthest).map(|slot| slot.slot_at).collect();
        assert_eq!(decided, expected, "{missed}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for slot in all.iter().filter(|slot| slot.slot_at <= furthest) {
            assert_ne!(slot.state, SlotState::Planned, "{missed}: {slot:?}");
            assert_eq!(slot.run.is_some(), slot.state == SlotState::Admitted, "{missed}: {slot:?}");
            *counts.entry(slot.state.name()).or_default() += 1;
        }
        // A run for each row that has one, and none twice.
        let runs: BTreeSet<_> = all.iter().filter_map(|slot| slot.run).collect();
        assert_eq!(
            (runs.len(), stage.journal.runs(&Default::default()).await.unwrap().len()),
            (counts["admitted"], counts["admitted"])
        );
        match missed {
            "all" => assert_eq!(counts.get("missed"), None),
            "skip" | "once" => assert!(counts["missed"] > 50, "{missed}: {counts:?}"),
            _ => assert!(counts["missed"] > 10 && counts["admitted"] > 50, "{missed}: {counts:?}"),
        }
        stage.crash(None).await;
    }
}
