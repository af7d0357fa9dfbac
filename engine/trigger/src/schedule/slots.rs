//! The rows of planned occurrences.

use async_trait::async_trait;
use bascule_database::DatabaseError;
use bascule_run::RunId;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection};

use crate::admission::Admitted;
use crate::intake::{Beside, Intake, instant, parsed};

/// How far a planned occurrence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// Its time has not come.
    Planned,
    /// It is a run.
    Admitted,
    /// It waits for more (`debounce`) and becomes part of a run.
    Held,
    /// Its time passed while nothing ran, and it became no run of its own.
    Missed,
    /// No run on purpose: `if`, or `when-busy: skip`.
    Skipped,
    /// No run is possible, e.g. because an expression fails.
    Refused,
    /// The schedule was changed or taken away before its time.
    Withdrawn,
}

impl SlotState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Admitted,
        Self::Held,
        Self::Missed,
        Self::Skipped,
        Self::Refused,
        Self::Withdrawn,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Admitted => "admitted",
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == word)
    }
}

/// A planned occurrence, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slot {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id.
    pub trigger: String,
    /// The instant that the schedule means.
    pub slot_at: Timestamp,
    /// That, and the jitter.
    pub due_at: Timestamp,
    /// How far it is.
    pub state: SlotState,
    /// Why it is no run.
    pub reason: Option<String>,
    /// The run.
    pub run: Option<RunId>,
    /// How many occurrences this row stands for: more than one where so many were missed that they are not listed.
    pub count: u64,
}

/// Which slots to list; the newest first.
#[derive(Clone, Debug, Default)]
pub struct SlotFilter {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// Of this trigger only.
    pub trigger: Option<String>,
    /// In this state only.
    pub state: Option<SlotState>,
    /// At most so many; by default all.
    pub limit: Option<u32>,
}

/// A row that is to be decided on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) slot_at: Timestamp,
    pub(super) due_at: Timestamp,
}

/// What is written into a row.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) state: SlotState,
    pub(super) reason: Option<String>,
    pub(super) run: Option<RunId>,
}

impl Decision {
    pub(super) fn new(state: SlotState, reason: impl Into<String>) -> Self {
        Self { state, reason: Some(reason.into()), run: None }
    }
}

/// Decides on a row in the transaction of its run, if it is still planned.
pub(super) struct Settle {
    pub(super) workflow: String,
    pub(super) trigger: String,
    pub(super) slot_at: Timestamp,
    pub(super) at: Timestamp,
    /// Without one the run decides.
    pub(super) decision: Option<Decision>,
}

impl Settle {
    pub(super) async fn store(
        &self,
        tx: &mut SqliteConnection,
        admitted: Option<&Admitted>,
    ) -> Result<(), DatabaseError> {
        let Some(decision) = self.decision.clone().or_else(|| admitted.map(super::decision)) else {
            return Ok(());
        };
        sqlx::query(
            "UPDATE slot SET state = $4, reason = $5, run_id = $6, decided_at = $7
             WHERE workflow = $1 AND trigger_id = $2 AND slot_at = $3 AND state = 'planned'",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .bind(self.slot_at.as_microsecond())
        .bind(decision.state.name())
        .bind(&decision.reason)
        .bind(decision.run.map(|run| run.to_string()))
        .bind(self.at.as_microsecond())
        .execute(tx)
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Beside for Settle {
    async fn before(&mut self, tx: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        let planned: Option<i64> = sqlx::query_scalar(
            "SELECT slot_at FROM slot WHERE workflow = $1 AND trigger_id = $2 AND slot_at = $3 AND state = 'planned'",
        )
        .bind(&self.workflow)
        .bind(&self.trigger)
        .bind(self.slot_at.as_microsecond())
        .fetch_optional(tx)
        .await?;
        Ok(planned.is_some())
    }

    async fn after(&mut self, tx: &mut SqliteConnection, all: &[Admitted]) -> Result<(), DatabaseError> {
        self.store(tx, all.first()).await
    }
}

/// The rows of a schedule that are planned, in order.
pub(super) async fn planned(
    intake: &Intake,
    workflow: &str,
    trigger: &str,
) -> Result<Vec<Planned>, DatabaseError> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT slot_at, due_at FROM slot WHERE workflow = $1 AND trigger_id = $2 AND state = 'planned'
         ORDER BY slot_at",
    )
    .bind(workflow)
    .bind(trigger)
    .fetch_all(intake.database().readers())
    .await?;
    rows.into_iter()
        .map(|(slot, due)| Ok(Planned { slot_at: instant(slot)?, due_at: instant(due)? }))
        .collect()
}

/// Marks rows as missed, in one transaction.
pub(super) async fn miss(
    intake: &Intake,
    workflow: &str,
    trigger: &str,
    rows: Vec<(Planned, String)>,
    at: Timestamp,
) -> Result<(), DatabaseError> {
    if rows.is_empty() {
        return Ok(());
    }
    tracing::warn!(%workflow, %trigger, count = rows.len(), "occurrences of a schedule were missed");
    let (workflow, trigger) = (workflow.to_owned(), trigger.to_owned());
    intake
        .database()
        .write(move |tx| {
            async move {
                for (row, reason) in rows {
                    let settle = Settle {
                        workflow: workflow.clone(),
                        trigger: trigger.clone(),
                        slot_at: row.slot_at,
                        at,
                        decision: Some(Decision::new(SlotState::Missed, reason)),
                    };
                    settle.store(&mut *tx, None).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
}

pub(super) async fn list(intake: &Intake, filter: &SlotFilter) -> Result<Vec<Slot>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT workflow, trigger_id, slot_at, due_at, state, reason, run_id, occurrences FROM slot
         WHERE ($1 IS NULL OR workflow = $1) AND ($2 IS NULL OR trigger_id = $2) AND ($3 IS NULL OR state = $3)
         ORDER BY slot_at DESC, workflow, trigger_id LIMIT $4",
    )
    .bind(&filter.workflow)
    .bind(&filter.trigger)
    .bind(filter.state.map(SlotState::name))
    .bind(filter.limit.map_or(i64::MAX, i64::from))
    .fetch_all(intake.database().readers())
    .await?;
    rows.iter()
        .map(|row| {
            let state: &str = row.try_get("state")?;
            let run: Option<&str> = row.try_get("run_id")?;
            let count: i64 = row.try_get("occurrences")?;
            Ok(Slot {
                workflow: row.try_get("workflow")?,
                trigger: row.try_get("trigger_id")?,
                slot_at: instant(row.try_get("slot_at")?)?,
                due_at: instant(row.try_get("due_at")?)?,
                state: SlotState::from_name(state)
                    .ok_or_else(|| sqlx::Error::Decode(format!("unknown state `{state}`").into()))?,
                reason: row.try_get("reason")?,
                run: run.map(parsed).transpose()?,
                count: u64::try_from(count).unwrap_or(0),
            })
        })
        .collect()
}

/// Occurrences of one schedule that passed while nothing ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissedSince {
    /// The workflow's id.
    pub workflow: String,
    /// The trigger's id.
    pub trigger: String,
    /// How many.
    pub count: u64,
    /// The last of them.
    pub last: Timestamp,
}

/// What was missed since an instant, by schedule. For whoever only reads; the process that plans may be another one.
///
/// # Errors
/// What the database says.
pub async fn missed_since(intake: &Intake, since: Timestamp) -> Result<Vec<MissedSince>, DatabaseError> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT workflow, trigger_id, CAST(sum(occurrences) AS BIGINT), max(slot_at) FROM slot
         WHERE slot_at >= $1 AND state = 'missed' GROUP BY workflow, trigger_id ORDER BY workflow, trigger_id",
    )
    .bind(since.as_microsecond())
    .fetch_all(intake.database().readers())
    .await?;
    rows.into_iter()
        .map(|(workflow, trigger, count, last)| {
            let count = u64::try_from(count).unwrap_or(0);
            Ok(MissedSince { workflow, trigger, count, last: instant(last)? })
        })
        .collect()
}

/// Asked for with every look at the metrics: it must not read the slots that were not missed, which are many.
const MISSED: &str = "SELECT workflow, CAST(sum(occurrences) AS BIGINT) FROM slot WHERE state = 'missed'
     GROUP BY workflow ORDER BY workflow";

pub(super) async fn missed(intake: &Intake) -> Result<Vec<(String, u64)>, DatabaseError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(MISSED).fetch_all(intake.database().readers()).await?;
    Ok(rows.into_iter().map(|(workflow, count)| (workflow, u64::try_from(count).unwrap_or(0))).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_database::Database;
    use bascule_run::journal::SqliteJournal;

    use super::*;
    use crate::schema::STEPS;

    #[tokio::test]
    async fn counting_what_was_missed_reads_no_other_slots() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("bascule.db")).await.unwrap();
        SqliteJournal::open(database.clone()).await.unwrap();
        database.migrate("trigger", STEPS).await.unwrap();
        let text = format!("EXPLAIN QUERY PLAN {MISSED}");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(text)).fetch_all(database.readers()).await.unwrap();
        let plan: Vec<String> = plan.into_iter().map(|(_, _, _, line)| line).collect();
        assert_eq!(plan, ["SCAN slot USING INDEX slot_missed"]);
    }
}
