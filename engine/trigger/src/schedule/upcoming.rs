//! What is to come, for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::entries;
use crate::book::Book;

/// An occurrence that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upcoming {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id.
    pub trigger: String,
    /// The instant that the schedule means.
    pub slot_at: Timestamp,
    /// That, and the jitter.
    pub due_at: Timestamp,
    /// The schedule's zone.
    pub time_zone: String,
    /// The cron line in English words.
    pub description: String,
}

/// Which occurrences are asked for.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// At most so many.
    pub count: usize,
}

/// The next occurrences of schedules after an instant, the first ones first. `site` is the zone of schedules that name
/// none.
#[must_use]
pub fn upcoming(book: &dyn Book, site: &TimeZone, after: Timestamp, next: &Next) -> Vec<Upcoming> {
    let count = next.count;
    let mut all: Vec<Upcoming> = entries(book, site)
        .iter()
        .filter(|entry| next.workflow.as_ref().is_none_or(|wanted| *wanted == entry.workflow.id))
        .flat_map(|entry| {
            entry.occurrences.after(after).take(count).map(|slot_at| Upcoming {
                workflow: entry.workflow.id.clone(),
                trigger: entry.trigger.id.clone(),
                slot_at,
                due_at: entry.due(slot_at),
                time_zone: entry.zone_name.clone(),
                description: entry.schedule.description.clone(),
            })
        })
        .collect();
    all.sort_by(|one, other| {
        (one.due_at, &one.workflow, &one.trigger).cmp(&(other.due_at, &other.workflow, &other.trigger))
    });
    all.truncate(count);
    all
}
