//! From triggers to runs: what asks for a run, the queue, and what executes it.
//!
//! [`Intake`] is the one way in: a demand and its run are on disk before it answers. [`Dispatcher`] executes what waits,
//! by priority and age, and after a crash takes up what was under way. Schedules, events, files, the ends of other
//! workflows and the lack of their success are supervised here too.
//!
//! What it is not: it knows neither HTTP nor plugins. Webhooks come in through whoever calls [`Intake::admit`]; workflows
//! come from a [`Book`], event sources are started through a trait.
//!
//! Start from [`Intake`] and [`Dispatcher`]; [`Triggers`] starts all that makes runs by itself.
//!
//! ```
//! use bascule_trigger::schedule::Occurrences;
//!
//! // On 29 March 2026 clocks go from 03:00 to 04:00 in Bucharest.
//! let zone = jiff::tz::TimeZone::get("Europe/Bucharest").unwrap();
//! let nightly = Occurrences::new("30 3 * * *", zone).unwrap();
//! let next = nightly.next_after("2026-03-28T12:00:00Z".parse().unwrap()).unwrap();
//! assert_eq!(next.to_string(), "2026-03-29T01:00:00Z"); // 04:00, right after the gap
//! ```

pub mod admission;
pub mod after;
pub mod book;
pub mod dispatch;
pub mod event;
pub mod file;
pub mod intake;
pub mod overdue;
pub mod retention;
pub mod schedule;
pub mod triggers;

mod schema;

pub use admission::{Admission, Admitted, DeliveryId, IntakeError, Verdict};
pub use after::After;
pub use book::Book;
pub use dispatch::{DispatchParts, Dispatcher};
pub use event::{Events, SourceSink, Sources};
pub use file::Files;
pub use intake::Intake;
pub use overdue::Watcher;
pub use retention::{Janitor, Swept};
pub use schedule::Scheduler;
pub use triggers::{TriggerParts, Triggers};
