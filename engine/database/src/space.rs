//! How large the file is, and giving back what it no longer needs.

use futures_util::FutureExt;

use crate::{Database, DatabaseError};

/// Pages that are given back in one transaction.
const PAGES: u64 = 256;

/// How large the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that hold something.
    pub used_bytes: u64,
    /// Bytes of the file that hold nothing any more; they are used again before the file grows.
    pub free_bytes: u64,
}

impl Database {
    /// How large the database is; the write-ahead log (a few MiB) is not counted.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn space(&self) -> Result<Space, DatabaseError> {
        let page = self.number("PRAGMA page_size").await?;
        let pages = self.number("PRAGMA page_count").await?;
        let free = self.number("PRAGMA freelist_count").await?;
        Ok(Space { used_bytes: pages.saturating_sub(free) * page, free_bytes: free * page })
    }

    /// Gives free pages back to the file system, in transactions of at most 1 MiB between which others write, until no
    /// more than `keep_bytes` are free. Gives the bytes by which the file became smaller (seen once the write-ahead log has
    /// been moved). Each file is made so that this is possible (`auto_vacuum=INCREMENTAL`).
    ///
    /// # Errors
    /// What SQLite says; what was given back before stays so.
    pub async fn give_back(&self, keep_bytes: u64) -> Result<u64, DatabaseError> {
        let page = self.number("PRAGMA page_size").await?.max(1);
        let keep = keep_bytes / page;
        let before = self.number("PRAGMA freelist_count").await?;
        let mut free = before;
        while free > keep {
            let step = (free - keep).min(PAGES);
            self.write(move |tx| {
                async move {
                    // A pragma takes no bound values; the number is our own.
                    let text = format!("PRAGMA incremental_vacuum({step})");
                    sqlx::query(sqlx::AssertSqlSafe(text)).execute(tx).await?;
                    Ok(())
                }
                .boxed()
            })
            .await?;
            let left = self.number("PRAGMA freelist_count").await?;
            if left >= free {
                break;
            }
            free = left;
        }
        Ok(before.saturating_sub(free) * page)
    }

    /// Looks through the whole file for damage; `None` where it is sound. Takes seconds for each GiB.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn damage(&self) -> Result<Option<String>, DatabaseError> {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(self.readers()).await?;
        Ok((found != "ok").then_some(found))
    }

    async fn number(&self, pragma: &'static str) -> Result<u64, DatabaseError> {
        let number: i64 = sqlx::query_scalar(pragma).fetch_one(self.readers()).await?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}
