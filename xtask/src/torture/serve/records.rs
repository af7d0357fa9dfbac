//! What the server has on disk once it has ended, read from its tables without any of its code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// A row of `run`. Instants are microseconds since 1970, here and below.
#[derive(Clone, Debug)]
pub(in crate::torture) struct Run {
    pub(in crate::torture) id: String,
    pub(in crate::torture) workflow: String,
    pub(in crate::torture) status: String,
    pub(in crate::torture) problem: Option<String>,
    /// When it was taken up again by an operator, after it had ended.
    pub(in crate::torture) reopened: Option<i64>,
}

/// A row of `delivery` that has a key.
#[derive(Clone, Debug)]
pub(in crate::torture) struct Delivery {
    pub(in crate::torture) workflow: String,
    pub(in crate::torture) dedupe: String,
    pub(in crate::torture) verdict: String,
    pub(in crate::torture) run_id: Option<String>,
    pub(in crate::torture) duplicates: i64,
}

/// A row of `slot`.
#[derive(Clone, Debug)]
pub(in crate::torture) struct Slot {
    pub(in crate::torture) workflow: String,
    pub(in crate::torture) slot_at: i64,
    pub(in crate::torture) state: String,
    pub(in crate::torture) run_id: Option<String>,
    pub(in crate::torture) occurrences: i64,
}

/// Run, instant, kind, place, body.
type Entry = (String, i64, String, String, String);
/// Workflow, key, verdict, run, duplicates.
type Accepted = (String, String, String, Option<String>, i64);

/// A step or item with its calls.
#[derive(Clone, Debug, Default)]
pub(in crate::torture) struct Place {
    /// The evaluated `with` of its first call.
    pub(in crate::torture) with: Value,
    /// When each intent was recorded, in order.
    pub(in crate::torture) intents: Vec<i64>,
    /// When each result was recorded.
    pub(in crate::torture) results: Vec<i64>,
    /// When it ended.
    pub(in crate::torture) ended: Option<i64>,
}

/// All of it.
pub(in crate::torture) struct Records {
    pub(in crate::torture) runs: BTreeMap<String, Run>,
    pub(in crate::torture) deliveries: Vec<Delivery>,
    pub(in crate::torture) slots: Vec<Slot>,
    /// By run and place.
    pub(in crate::torture) places: BTreeMap<(String, String), Place>,
    /// What the database says of its own soundness: `ok`.
    pub(in crate::torture) integrity: String,
}

impl Records {
    /// Reads the database of a server that has ended.
    pub(in crate::torture) fn read(database: &Path) -> Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(Self::load(database))
    }

    async fn load(database: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let runs: Vec<(String, String, String, Option<String>)> =
            sqlx::query_as("SELECT id, workflow, status, problem FROM run")
                .fetch_all(&mut connection)
                .await?;
        let deliveries: Vec<Accepted> = sqlx::query_as(
            "SELECT workflow, dedupe, verdict, run_id, duplicates FROM delivery WHERE dedupe IS NOT NULL",
        )
        .fetch_all(&mut connection)
        .await?;
        let slots: Vec<(String, i64, String, Option<String>, i64)> =
            sqlx::query_as("SELECT workflow, slot_at, state, run_id, occurrences FROM slot ORDER BY slot_at")
                .fetch_all(&mut connection)
                .await?;
        let entries: Vec<Entry> = sqlx::query_as(
            "SELECT e.run_id, e.at, e.kind, e.place, coalesce(e.body, v.body) AS body
             FROM journal_entry e LEFT JOIN journal_value v ON v.sha256 = e.value
             WHERE e.kind IN ('attempt-started', 'attempt-ended', 'place-ended') ORDER BY e.run_id, e.number",
        )
        .fetch_all(&mut connection)
        .await?;
        let reopened: BTreeMap<String, i64> = sqlx::query_as::<_, (String, i64)>(
            "SELECT run_id, min(at) FROM journal_entry WHERE kind = 'reopened' GROUP BY run_id",
        )
        .fetch_all(&mut connection)
        .await?
        .into_iter()
        .collect();
        let integrity = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await?;
        connection.close().await?;
        let mut places: BTreeMap<(String, String), Place> = BTreeMap::new();
        for (run_id, at, kind, place, body) in entries {
            let body: Value = serde_json::from_str(&body)?;
            let place = places.entry((run_id, place)).or_default();
            match kind.as_str() {
                "attempt-started" => {
                    if place.intents.is_empty() {
                        place.with = body["attempt-started"]["with"].clone();
                    }
                    place.intents.push(at);
                }
                "attempt-ended" => place.results.push(at),
                _ => place.ended = Some(at),
            }
        }
        let runs = runs.into_iter().map(|(id, workflow, status, problem)| {
            let reopened = reopened.get(&id).copied();
            (id.clone(), Run { id, workflow, status, problem, reopened })
        });
        let deliveries = deliveries.into_iter().map(|(workflow, dedupe, verdict, run_id, duplicates)| {
            Delivery { workflow, dedupe, verdict, run_id, duplicates }
        });
        let slots = slots.into_iter().map(|(workflow, slot_at, state, run_id, occurrences)| Slot {
            workflow,
            slot_at,
            state,
            run_id,
            occurrences,
        });
        Ok(Self {
            runs: runs.collect(),
            deliveries: deliveries.collect(),
            slots: slots.collect(),
            places,
            integrity,
        })
    }
}
