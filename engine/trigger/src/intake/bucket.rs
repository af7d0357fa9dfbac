//! Demands that wait for more: `debounce`, and `collect` of events. Every one of them is a delivery and an item of a
//! bucket; a bucket that is due becomes one run, in one transaction, and a process that starts finds the buckets of
//! the one before.

use std::sync::Arc;
use std::time::Duration;

use bascule_database::DatabaseError;
use bascule_run::RunId;
use bascule_run::clock::later;
use bascule_run::journal::NewRun;
use bascule_workflow::admission::{Collected, Priority, WhenBusy};
use bascule_workflow::expression::ExpressionError;
use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::Collect;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::deliveries::instant;
use super::store::{self, parsed, rank};
use super::{Intake, Ready, collected};
use crate::admission::{Admitted, DeliveryId, Verdict};

/// How a demand waits.
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    /// The trigger for `collect`; `debounce` joins all triggers of a workflow.
    pub(crate) source: String,
    pub(crate) key: String,
    /// How long it has to be quiet; `None`: the first one alone decides.
    pub(crate) quiet: Option<Duration>,
    /// How long the first one waits at most.
    pub(crate) at_most: Duration,
    /// So many are enough.
    pub(crate) up_to: Option<u32>,
}

/// Why demands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `debounce: { collect: last }`
    Last,
    /// `debounce: { collect: all }`
    All,
    /// `collect` of an event trigger.
    Events,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Last => "debounce-last",
            Self::All => "debounce-all",
            Self::Events => "events",
        }
    }

    fn from_name(word: &str) -> Self {
        match word {
            "debounce-all" => Self::All,
            "events" => Self::Events,
            _ => Self::Last,
        }
    }
}

impl Wait {
    /// What the workflow's `debounce` says.
    pub(crate) fn of(
        workflow: &Workflow,
        inputs: &Map<String, Value>,
        trigger: &Value,
    ) -> Result<Option<Self>, ExpressionError> {
        let (Some(debounce), Some(key)) = (&workflow.debounce, workflow.debounce_key(inputs, trigger)?)
        else {
            return Ok(None);
        };
        let kind = match debounce.collect {
            Collected::Last => Kind::Last,
            Collected::All => Kind::All,
        };
        let (quiet, at_most) = (Some(debounce.wait), debounce.at_most);
        Ok(Some(Self { kind, source: String::new(), key, quiet, at_most, up_to: None }))
    }
}

impl Wait {
    /// What `collect` of an event trigger says.
    pub(super) fn of_events(trigger: &str, collect: Collect) -> Self {
        Self {
            kind: Kind::Events,
            source: trigger.to_owned(),
            key: String::new(),
            quiet: None,
            at_most: collect.within,
            up_to: Some(collect.up_to),
        }
    }
}

/// Demands that wait, for people.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Bucket {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id; empty with `debounce`, which joins all triggers of a workflow.
    pub source: String,
    /// Its key.
    pub key: String,
    /// When the first one came.
    pub opened_at: Timestamp,
    /// When it becomes a run, unless more come.
    pub due_at: Timestamp,
    /// How many there are.
    pub items: u64,
}

/// Puts a demand into its bucket; gives the instant at which that is due.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    ready: &Ready,
    wait: &Wait,
    now: Timestamp,
) -> Result<Timestamp, DatabaseError> {
    let run = &ready.run;
    sqlx::query("INSERT INTO workflow_text (digest, text) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING")
        .bind(&run.digest)
        .bind(run.text.as_ref())
        .execute(&mut *tx)
        .await?;
    let latest = later(now, wait.at_most);
    let quiet = wait.quiet.map_or(latest, |quiet| later(now, quiet).min(latest));
    // The last one's text counts. `at_most` is counted from the first one.
    let (id, due, items): (String, i64, i64) = sqlx::query_as(
        "INSERT INTO bucket (id, workflow, digest, kind, source, key, sealed, opened_at, latest_at, due_at, items)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, 1)
         ON CONFLICT (workflow, source, key) WHERE sealed = 0 DO UPDATE SET
             digest = excluded.digest, kind = excluded.kind, items = bucket.items + 1,
             due_at = CASE WHEN $10 = 0 THEN bucket.due_at
                           WHEN excluded.due_at < bucket.latest_at THEN excluded.due_at
                           ELSE bucket.latest_at END
         RETURNING id, due_at, items",
    )
    .bind(ready.delivery.to_string())
    .bind(&run.workflow)
    .bind(&run.digest)
    .bind(wait.kind.name())
    .bind(&wait.source)
    .bind(&wait.key)
    .bind(now.as_microsecond())
    .bind(latest.as_microsecond())
    .bind(quiet.as_microsecond())
    .bind(i64::from(wait.quiet.is_some()))
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO bucket_item (bucket_id, number, delivery_id, trigger_value, inputs, depth, concurrency_key, when_busy,
                                  priority)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&id)
    .bind(items)
    .bind(ready.delivery.to_string())
    .bind(run.trigger.to_string())
    .bind(Value::Object(run.inputs.clone()).to_string())
    .bind(i64::from(ready.depth))
    .bind(&run.concurrency_key)
    .bind(ready.busy.map(WhenBusy::name))
    .bind(rank(ready.priority))
    .execute(&mut *tx)
    .await?;
    if wait.up_to.is_some_and(|up_to| items >= i64::from(up_to)) {
        seal(tx, &id, now).await?;
        return Ok(now);
    }
    instant(due)
}

/// Closes a bucket: the next demand with its key opens another one.
async fn seal(tx: &mut SqliteConnection, id: &str, now: Timestamp) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE bucket SET sealed = 1, due_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.as_microsecond())
        .execute(tx)
        .await?;
    Ok(())
}

/// A sealed bucket with what is in it, in order.
pub(crate) struct Sealed {
    pub(crate) id: String,
    pub(crate) workflow: String,
    pub(crate) digest: String,
    pub(crate) text: Arc<str>,
    pub(crate) kind: Kind,
    /// The trigger's id, with `collect`.
    pub(crate) source: String,
    pub(crate) items: Vec<Item>,
}

/// One demand in a bucket.
pub(crate) struct Item {
    pub(crate) trigger: Value,
    inputs: Map<String, Value>,
    depth: u32,
    concurrency_key: Option<String>,
    busy: Option<WhenBusy>,
    priority: Priority,
}

impl Sealed {
    /// The run that a `debounce` makes: the last one's inputs and trigger, with the list of all where that is wanted.
    pub(crate) fn into_run(self, now: Timestamp) -> Option<Ready> {
        let Self { workflow, digest, text, kind, mut items, .. } = self;
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0);
        let last = items.pop()?;
        let trigger = match kind {
            Kind::All => {
                let mut all: Vec<Value> = items.into_iter().map(|item| item.trigger).collect();
                all.push(last.trigger);
                collected(all)
            }
            Kind::Last | Kind::Events => last.trigger,
        };
        Some(Ready {
            delivery: DeliveryId::new(now),
            body_sha256: None,
            answer: None,
            dedupe: None,
            source: String::new(),
            depth,
            priority: last.priority,
            busy: last.busy,
            debounce: None,
            run: NewRun {
                id: RunId::new(now),
                workflow,
                digest,
                text,
                inputs: last.inputs,
                trigger,
                concurrency_key: last.concurrency_key,
                started_at: now,
            },
        })
    }
}

impl Intake {
    /// When the next bucket is due, if there is any.
    pub(crate) async fn next_due(&self) -> Result<Option<Timestamp>, DatabaseError> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT min(due_at) FROM bucket").fetch_one(self.database.readers()).await?;
        due.map(instant).transpose()
    }

    /// Seals every bucket that is due and gives them all, those included that an earlier process has sealed.
    pub(crate) async fn seal_due(&self) -> Result<Vec<Sealed>, DatabaseError> {
        let now = self.clock.now().as_microsecond();
        let ids: Vec<String> = self
            .database
            .write(move |tx| {
                async move {
                    let ids =
                        sqlx::query_scalar("UPDATE bucket SET sealed = 1 WHERE due_at <= $1 RETURNING id")
                            .bind(now)
                            .fetch_all(tx)
                            .await?;
                    Ok(ids)
                }
                .boxed()
            })
            .await?;
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            all.extend(self.sealed(id).await?);
        }
        Ok(all)
    }

    async fn sealed(&self, id: String) -> Result<Option<Sealed>, DatabaseError> {
        let head = sqlx::query(
            "SELECT b.workflow, b.digest, b.kind, b.source, t.text
             FROM bucket b JOIN workflow_text t ON t.digest = b.digest WHERE b.id = $1",
        )
        .bind(&id)
        .fetch_optional(self.database.readers())
        .await?;
        let Some(head) = head else {
            return Ok(None);
        };
        let rows = sqlx::query(
            "SELECT trigger_value, inputs, depth, concurrency_key, when_busy, priority
             FROM bucket_item WHERE bucket_id = $1 ORDER BY number",
        )
        .bind(&id)
        .fetch_all(self.database.readers())
        .await?;
        let text: String = head.try_get("text")?;
        Ok(Some(Sealed {
            id,
            workflow: head.try_get("workflow")?,
            digest: head.try_get("digest")?,
            text: Arc::from(text),
            kind: Kind::from_name(head.try_get("kind")?),
            source: head.try_get("source")?,
            items: rows.iter().map(item).collect::<Result<_, _>>()?,
        }))
    }

    /// Nothing can be made of a sealed bucket at the moment: it is looked at again then.
    pub(crate) async fn put_off(&self, bucket: String, until: Timestamp) -> Result<(), DatabaseError> {
        self.database
            .write(move |tx| {
                async move {
                    sqlx::query("UPDATE bucket SET due_at = $2 WHERE id = $1")
                        .bind(bucket)
                        .bind(until.as_microsecond())
                        .execute(tx)
                        .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    /// Makes a sealed bucket a run (or, with a reason, none), once.
    pub(crate) async fn finish(
        &self,
        bucket: String,
        outcome: Result<Ready, String>,
    ) -> Result<Option<Admitted>, DatabaseError> {
        let now = self.clock.now();
        let finished = self
            .database
            .write(move |tx| {
                async move {
                    let deliveries: Vec<String> = sqlx::query_scalar(
                        "SELECT delivery_id FROM bucket_item WHERE bucket_id = $1 ORDER BY number",
                    )
                    .bind(&bucket)
                    .fetch_all(&mut *tx)
                    .await?;
                    let Some(last) = deliveries.last().cloned() else {
                        return Ok(None);
                    };
                    let mut arrivals = Vec::new();
                    let (run, verdict, reason) = match &outcome {
                        Ok(ready) => match store::begin(&mut *tx, ready, None, now, &mut arrivals).await? {
                            Ok(run) => (Some(run), Verdict::Accepted, None),
                            Err(reason) => (None, Verdict::Skipped, Some(reason)),
                        },
                        Err(reason) => (None, Verdict::Refused, Some(reason.clone())),
                    };
                    sqlx::query(
                        "UPDATE delivery SET verdict = $2, reason = $3, run_id = $4
                         WHERE id IN (SELECT delivery_id FROM bucket_item WHERE bucket_id = $1)",
                    )
                    .bind(&bucket)
                    .bind(verdict.name())
                    .bind(&reason)
                    .bind(run.map(|run| run.to_string()))
                    .execute(&mut *tx)
                    .await?;
                    for statement in
                        ["DELETE FROM bucket_item WHERE bucket_id = $1", "DELETE FROM bucket WHERE id = $1"]
                    {
                        sqlx::query(statement).bind(&bucket).execute(&mut *tx).await?;
                    }
                    let admitted = Admitted { delivery: parsed(&last)?, run, verdict, reason };
                    Ok(Some((admitted, arrivals)))
                }
                .boxed()
            })
            .await?;
        Ok(finished.map(|(admitted, arrivals)| {
            self.arrivals.add(arrivals);
            admitted
        }))
    }

    /// What waits for more, the first due first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, DatabaseError> {
        let rows = sqlx::query(
            "SELECT workflow, source, key, opened_at, due_at, items FROM bucket ORDER BY due_at, id",
        )
        .fetch_all(self.database.readers())
        .await?;
        rows.iter()
            .map(|row| {
                let items: i64 = row.try_get("items")?;
                Ok(Bucket {
                    workflow: row.try_get("workflow")?,
                    source: row.try_get("source")?,
                    key: row.try_get("key")?,
                    opened_at: instant(row.try_get("opened_at")?)?,
                    due_at: instant(row.try_get("due_at")?)?,
                    items: u64::try_from(items).unwrap_or(0),
                })
            })
            .collect()
    }
}

fn item(row: &SqliteRow) -> Result<Item, DatabaseError> {
    let depth: i64 = row.try_get("depth")?;
    let busy: Option<&str> = row.try_get("when_busy")?;
    let priority: i64 = row.try_get("priority")?;
    let all = [Priority::Low, Priority::Normal, Priority::High];
    let inputs = match json(row.try_get("inputs")?)? {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(Item {
        trigger: json(row.try_get("trigger_value")?)?,
        inputs,
        depth: u32::try_from(depth).unwrap_or(u32::MAX),
        concurrency_key: row.try_get("concurrency_key")?,
        busy: busy.map(|word| match word {
            "skip" => WhenBusy::Skip,
            "replace" => WhenBusy::Replace,
            _ => WhenBusy::Queue,
        }),
        priority: all.into_iter().find(|one| rank(*one) == priority).unwrap_or_default(),
    })
}

/// JSON that we wrote ourselves.
pub(crate) fn json(text: &str) -> Result<Value, DatabaseError> {
    Ok(serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
