//! What the server has on disk once it has ended, read from its tables without any of its code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// A row of `run`. Instants are microseconds since 1970, here and below.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) workflow: String,
    pub(super) status: String,
    pub(super) problem: Option<String>,
    /// When it was taken up again by an operator, after it had ended.
    pub(super) reopened: Option<i64>,
}

/// A row of `delivery` that has a key.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) workflow: String,
    pub(super) dedupe: String,
    pub(super) verdict: String,
    pub(super) run_id: Option<String>,
    pub(super) duplicates: i64,
}

/// A row of `slot`.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) workflow: String,
    pub(super) slot_at: i64,
    pub(super) state: String,
    pub(super) run_id: Option<String>,
    pub(super) occurrences: i64,
}

/// Run, instant, kind, place, body.
type Entry = (String, i64, String, String, String);
/// Workflow, key, verdict, run, duplicates.
type Accepted = (String, String, String, Option<String>, i64);

/// A step or item with its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The evaluated `with` of its first call.
    pub(super) with: Value,
    /// When each intent was recorded, in order.
    pub(super) intents: Vec<i64>,
    /// When each result was recorded.
    pub(super) results: Vec<i64>,
    /// When it ended.
    pub(super) ended: Option<i64>,
}

/// All of it.
pub(super) struct Records {
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) slots: Vec<Slot>,
    /// By run and place.
    pub(super) places: BTreeMap<(String, String), Place>,
    /// What the database says of its own soundness: `ok`.
    pub(super) integrity: String,
}

impl Records {
    /// Reads the database of a server that has ended.
    pub(super) fn read(database: &Path) -> Result<Self> {
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
