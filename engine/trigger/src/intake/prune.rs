//! Old rows.

use bascule_database::DatabaseError;
use futures_util::FutureExt;
use jiff::Timestamp;
use serde::Serialize;

use super::Intake;

/// So many rows of each kind go in one transaction, so that nobody waits long.
const AT_ONCE: i64 = 1_000;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Deliveries.
    pub deliveries: u64,
    /// Past occurrences of schedules.
    pub slots: u64,
}

impl Intake {
    /// Takes away what is older: deliveries that came last before that instant, and occurrences that were due before it
    /// and have been decided on. A delivery that is gone is not known as a duplicate any more, so `before` has to lie
    /// further back than senders repeat. At most a few thousand rows; called again until nothing is taken away.
    ///
    /// # Errors
    /// What the database says.
    pub async fn prune(&self, before: Timestamp) -> Result<Pruned, DatabaseError> {
        let before = before.as_microsecond();
        self.database
            .write(move |tx| {
                async move {
                    let deliveries = sqlx::query(
                        "DELETE FROM delivery WHERE id IN (
                             SELECT id FROM delivery WHERE last_at < $1 AND verdict <> 'held' ORDER BY last_at LIMIT $2)",
                    )
                    .bind(before)
                    .bind(AT_ONCE)
                    .execute(&mut *tx)
                    .await?;
                    let slots = sqlx::query(
                        "DELETE FROM slot WHERE state <> 'planned' AND slot_at IN (
                             SELECT slot_at FROM slot WHERE slot_at < $1 AND state <> 'planned'
                             ORDER BY slot_at LIMIT $2)",
                    )
                    .bind(before)
                    .bind(AT_ONCE)
                    .execute(tx)
                    .await?;
                    Ok(Pruned { deliveries: deliveries.rows_affected(), slots: slots.rows_affected() })
                }
                .boxed()
            })
            .await
    }

    /// How many deliveries and occurrences are older.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_old(&self, before: Timestamp) -> Result<u64, DatabaseError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM delivery WHERE last_at < $1 AND verdict <> 'held')
                  + (SELECT count(*) FROM slot WHERE slot_at < $1 AND state <> 'planned')",
        )
        .bind(before.as_microsecond())
        .fetch_one(self.database.readers())
        .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
