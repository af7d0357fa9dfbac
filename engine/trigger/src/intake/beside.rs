//! What else happens in the transaction of an admission.

use async_trait::async_trait;
use bascule_database::DatabaseError;
use sqlx::SqliteConnection;

use crate::admission::Admitted;

/// Work in the same transaction: both are on disk, or neither is.
#[async_trait]
pub(crate) trait Beside: Send {
    /// Before the demands are decided on; `false` stores none of them (and keeps what this has written).
    async fn before(&mut self, _tx: &mut SqliteConnection) -> Result<bool, DatabaseError> {
        Ok(true)
    }

    /// After them, with what became of each.
    async fn after(&mut self, _tx: &mut SqliteConnection, _all: &[Admitted]) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// Nothing else.
pub(crate) struct Alone;

impl Beside for Alone {}
