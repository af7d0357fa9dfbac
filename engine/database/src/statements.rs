//! Several statements in one go.
//!
//! SQLite works on a thread of its own, so that each statement costs two switches between threads and the wait for them,
//! which is more than a small insert takes. Statements that need nothing from each other's answers go together.

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, SqliteConnection, Type};

use crate::DatabaseError;

/// With more statements than that, the text is not kept prepared: it hardly comes a second time.
const MOST_KEPT: usize = 12;
/// So many go together at most; SQLite's texts are bounded.
const MOST_TOGETHER: usize = 48;

/// Statements that are executed one after the other; the first failure ends them.
///
/// ```
/// # use bascule_database::{Database, DatabaseError, Statements};
/// # use futures_util::FutureExt;
/// # async fn example(database: Database) -> Result<(), DatabaseError> {
/// let rows = database
///     .write(|tx| {
///         async move {
///             let mut all = Statements::default();
///             all.add("INSERT INTO note (text) VALUES ($1)").bind("one");
///             all.add("INSERT INTO note (text) VALUES ($1) RETURNING text").bind("two");
///             all.run(tx).await
///         }
///         .boxed()
///     })
///     .await?;
/// assert_eq!(rows.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Statements {
    parts: Vec<Part>,
    /// The first value that has no form in SQLite.
    failed: Option<sqlx::error::BoxDynError>,
}

/// What is executed at a time.
#[derive(Debug, Default)]
struct Part {
    text: String,
    count: usize,
    arguments: SqliteArguments,
}

impl Statements {
    /// Adds a statement. Its `$1`, `$2`.. are the values that are bound after this and before the next one.
    ///
    /// The text is ours and holds no `$` but those: values are bound, never written into it.
    pub fn add(&mut self, statement: &'static str) -> &mut Self {
        if self.parts.last().is_none_or(|part| part.count >= MOST_TOGETHER) {
            self.parts.push(Part::default());
        }
        if let Some(part) = self.parts.last_mut() {
            part.add(statement);
        }
        self
    }

    /// The next value of the statement that was added last.
    pub fn bind<'t, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'t, Sqlite> + Type<Sqlite>,
    {
        if let Some(part) = self.parts.last_mut()
            && let Err(error) = part.arguments.add(value)
        {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// Executes them all, in order, and gives the rows that they return, in order.
    ///
    /// # Errors
    /// What the database says to the first one that fails; those behind it are not executed. Those before it are undone
    /// with the job that they are part of.
    pub async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<SqliteRow>, DatabaseError> {
        if let Some(error) = self.failed {
            return Err(sqlx::Error::Encode(error).into());
        }
        let mut rows = Vec::new();
        for Part { text, count, arguments } in self.parts {
            let query: Query<'_, Sqlite, SqliteArguments> = sqlx::query_with(AssertSqlSafe(text), arguments);
            rows.extend(query.persistent(count <= MOST_KEPT).fetch_all(&mut *connection).await?);
        }
        Ok(rows)
    }
}

impl Part {
    fn add(&mut self, statement: &'static str) {
        if self.count > 0 {
            self.text.push_str(";\n");
        }
        let before = self.arguments.len();
        let mut pieces = statement.split('$');
        self.text.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
            let (number, rest) = piece.split_at(digits);
            let number = number.parse::<usize>().unwrap_or_default();
            self.text.push_str(&format!("${}{rest}", before + number));
        }
        self.count += 1;
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_statement_counts_its_own_values() {
        let mut all = Statements::default();
        all.add("INSERT INTO a VALUES ($1, $2)").bind(1_i64).bind("x");
        all.add("UPDATE b SET c = $2 WHERE d = $1 OR e = $1").bind(2_i64).bind("y");
        all.add("DELETE FROM f WHERE g = $1;").bind(None::<String>);
        let [part] = all.parts.as_slice() else { panic!("{all:?}") };
        assert_eq!(
            part.text,
            "INSERT INTO a VALUES ($1, $2);\nUPDATE b SET c = $4 WHERE d = $3 OR e = $3;\nDELETE FROM f WHERE g = $5;"
        );
        assert_eq!((part.count, part.arguments.len()), (3, 5));
        for _ in 0..100 {
            all.add("DELETE FROM f WHERE g = $1").bind(1_i64);
        }
        let counts: Vec<usize> = all.parts.iter().map(|part| part.count).collect();
        assert_eq!(counts, [48, 48, 7]);
        assert!(all.parts[2].text.starts_with("DELETE FROM f WHERE g = $1;"));
    }
}
