//! Rows for what is to come, and for what has passed meanwhile.

use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::{Entry, Occurrences};
use crate::intake::{Intake, instant};

/// So many occurrences that passed at once get a row each; the older ones share one.
const MOST_ROWS: usize = 10_000;
/// So many of the older ones are counted.
const MOST_COUNTED: usize = 200_000;

/// Rows of schedules that are not in the book any more, or of another line, are not going to run.
pub(super) async fn withdraw(
    intake: &Intake,
    entries: &[Entry],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let known: Vec<(String, String, String)> =
        sqlx::query_as("SELECT workflow, trigger_id, line FROM schedule")
            .fetch_all(intake.database().readers())
            .await?;
    let gone: Vec<(String, String)> = known
        .into_iter()
        .filter(|(workflow, trigger, line)| {
            !entries.iter().any(|entry| {
                entry.workflow.id == *workflow && entry.trigger.id == *trigger && entry.line() == *line
            })
        })
        .map(|(workflow, trigger, _)| (workflow, trigger))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    intake
        .database()
        .write(move |tx| {
            async move {
                for (workflow, trigger) in gone {
                    sqlx::query(
                        "UPDATE slot SET state = 'withdrawn', decided_at = $3,
                                reason = 'the schedule was changed or taken away'
                         WHERE workflow = $1 AND trigger_id = $2 AND state = 'planned'",
                    )
                    .bind(&workflow)
                    .bind(&trigger)
                    .bind(now.as_microsecond())
                    .execute(&mut *tx)
                    .await?;
                    sqlx::query("DELETE FROM schedule WHERE workflow = $1 AND trigger_id = $2")
                        .bind(&workflow)
                        .bind(&trigger)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Sees to it that every occurrence up to the first one after `now` has a row.
pub(super) async fn ahead(intake: &Intake, entry: &Entry, now: Timestamp) -> Result<(), DatabaseError> {
    let until: Option<i64> =
        sqlx::query_scalar("SELECT planned_until FROM schedule WHERE workflow = $1 AND trigger_id = $2")
            .bind(&entry.workflow.id)
            .bind(&entry.trigger.id)
            .fetch_optional(intake.database().readers())
            .await?;
    let until = until.map(instant).transpose()?;
    let next = entry.occurrences.next_after(now);
    // What has been planned up to the next one, and not further, is planned.
    let planned = match (until, next) {
        (Some(until), Some(next)) => until == next,
        // There is none to come any more, and none has passed.
        (Some(until), None) => until <= now && entry.occurrences.next_after(until).is_none(),
        (None, _) => false,
    };
    if planned {
        return Ok(());
    }
    // A clock that was set back: what was planned or missed beyond now is yet to come. What has become a run stays.
    let back = until.is_some_and(|until| next.is_none_or(|next| until > next) && until > now);
    let from = match until {
        Some(until) if !back => until,
        _ => now,
    };
    let passed = passed(&entry.occurrences, from, now);
    let rows: Vec<(i64, i64)> =
        passed.listed.iter().map(|slot| (slot.as_microsecond(), entry.due(*slot).as_microsecond())).collect();
    let summary = passed.older.map(|(first, count)| (first.as_microsecond(), count));
    let coming = entry.occurrences.clone();
    let due = {
        let (workflow, trigger, jitter) =
            (entry.workflow.id.clone(), entry.trigger.id.clone(), entry.schedule.jitter);
        move |slot: Timestamp| {
            slot.checked_add(super::jitter_of(&workflow, &trigger, slot, jitter)).unwrap_or(slot)
        }
    };
    let key = Key { workflow: entry.workflow.id.clone(), trigger: entry.trigger.id.clone() };
    let line = entry.line();
    intake
        .database()
        .write(move |tx| {
            async move {
                if back {
                    key.forget_after(&mut *tx, now).await?;
                }
                if let Some((first, count)) = summary {
                    key.summarise(&mut *tx, first, count, now).await?;
                }
                for (slot, due) in rows {
                    key.insert(&mut *tx, slot, due).await?;
                }
                // One that has had its run before the clock was set back does not count as the next.
                let mut last = now;
                for slot in coming.after(now).take(MOST_ROWS) {
                    last = slot;
                    if key.insert(&mut *tx, slot.as_microsecond(), due(slot).as_microsecond()).await? {
                        break;
                    }
                }
                sqlx::query(
                    "INSERT INTO schedule (workflow, trigger_id, line, planned_until) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (workflow, trigger_id) DO UPDATE SET
                         line = excluded.line, planned_until = excluded.planned_until",
                )
                .bind(&key.workflow)
                .bind(&key.trigger)
                .bind(line)
                .bind(last.as_microsecond())
                .execute(tx)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

struct Key {
    workflow: String,
    trigger: String,
}

impl Key {
    /// False where the slot has a row.
    async fn insert(&self, tx: &mut SqliteConnection, slot: i64, due: i64) -> Result<bool, DatabaseError> {
        let done = sqlx::query(
            "INSERT INTO slot (workflow, trigger_id, slot_at, due_at, state, occurrences)
             VALUES ($1, $2, $3, $4, 'planned', 1)
             ON CONFLICT (workflow, trigger_id, slot_at) DO NOTHING",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .bind(slot)
        .bind(due)
        .execute(tx)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn summarise(
        &self,
        tx: &mut SqliteConnection,
        first: i64,
        count: Count,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let (count, reason) = match count {
            Count::Exactly(count) => (count, format!("{count} occurrences from here on, too many to list")),
            Count::AtLeast(count) => (count, format!("more than {count} occurrences from here on")),
        };
        sqlx::query(
            "INSERT INTO slot (workflow, trigger_id, slot_at, due_at, state, reason, occurrences, decided_at)
             VALUES ($1, $2, $3, $3, 'missed', $4, $5, $6)
             ON CONFLICT (workflow, trigger_id, slot_at) DO NOTHING",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .bind(first)
        .bind(format!("nothing ran at the time; {reason}"))
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .bind(now.as_microsecond())
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn forget_after(&self, tx: &mut SqliteConnection, now: Timestamp) -> Result<(), DatabaseError> {
        sqlx::query(
            "DELETE FROM slot WHERE workflow = $1 AND trigger_id = $2 AND slot_at > $3 AND run_id IS NULL
             AND state IN ('planned', 'missed')",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .bind(now.as_microsecond())
        .execute(tx)
        .await?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Exactly(usize),
    AtLeast(usize),
}

/// What lies between two instants.
struct Passed {
    listed: Vec<Timestamp>,
    /// The first of the older ones, and how many there are.
    older: Option<(Timestamp, Count)>,
}

/// The occurrences after `from`, up to and with `now`; the newest [`MOST_ROWS`] of them one by one.
fn passed(occurrences: &Occurrences, from: Timestamp, now: Timestamp) -> Passed {
    let between = |from: Timestamp, to: Timestamp, most: usize| -> Vec<Timestamp> {
        occurrences.after(from).take_while(|at| *at <= to).take(most).collect()
    };
    // From the near end: in a window that doubles until it holds enough.
    let mut window = SignedDuration::from_hours(1);
    let mut start = now;
    let mut listed = Vec::new();
    while start > from {
        start = now.checked_sub(window).unwrap_or(Timestamp::MIN).max(from);
        listed = between(start, now, usize::MAX);
        if listed.len() >= MOST_ROWS {
            break;
        }
        window = window.checked_mul(2).unwrap_or(SignedDuration::MAX);
    }
    let beyond = listed.len().saturating_sub(MOST_ROWS);
    let cut: Vec<Timestamp> = listed.drain(..beyond).collect();
    let oldest = between(from, start, MOST_COUNTED);
    let first = oldest.first().or(cut.first()).copied();
    let count = oldest.len() + cut.len();
    let older = first.map(|first| {
        let all = oldest.len() < MOST_COUNTED;
        (first, if all { Count::Exactly(count) } else { Count::AtLeast(count) })
    });
    Passed { listed, older }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_newest_are_listed_and_the_older_ones_counted() {
        let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
        let every_minute = Occurrences::new("* * * * *", TimeZone::UTC).unwrap();
        let three_days = passed(&every_minute, now - SignedDuration::from_hours(72), now);
        assert_eq!((three_days.listed.len(), three_days.older), (4320, None));
        let month = passed(&every_minute, now - SignedDuration::from_hours(24 * 30), now);
        assert_eq!(month.listed.len(), MOST_ROWS);
        assert_eq!(month.listed.last(), Some(&now));
        let (first, count) = month.older.unwrap();
        assert_eq!(first, now - SignedDuration::from_hours(24 * 30) + SignedDuration::from_mins(1));
        assert_eq!(count, Count::Exactly(30 * 24 * 60 - MOST_ROWS));
        let years = passed(&every_minute, now - SignedDuration::from_hours(24 * 3650), now);
        assert!(matches!(years.older, Some((_, Count::AtLeast(MOST_COUNTED..)))));
    }
}
