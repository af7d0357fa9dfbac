//! Tables, their rows, and what the database insists on.

mod define;

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::value::{self, Type};

pub(super) type Row = Map<String, Value>;

#[derive(Clone, Debug, Default)]
pub(super) struct Database {
    pub(super) tables: Vec<Table>,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) primary_key: Vec<String>,
    pub(super) unique: Vec<Vec<String>>,
    pub(super) foreign: Vec<Foreign>,
    pub(super) rows: Vec<Row>,
    next: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
    not_null: bool,
    fill: Fill,
}

/// What a column holds when nothing is given.
#[derive(Clone, Debug)]
enum Fill {
    Null,
    Identity,
    Now,
    Uuid,
    Value(Value),
}

#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub(super) column: String,
    pub(super) table: String,
    pub(super) to: String,
    /// Rows that point to a deleted row are deleted too.
    cascade: bool,
}

impl Foreign {
    /// The constraint's name as PostgreSQL makes it up.
    pub(super) fn name(&self, table: &str) -> String {
        format!("{table}_{}_fkey", self.column)
    }
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The sets of columns that identify a row, with the name of the constraint.
    fn keys(&self) -> Vec<(String, &[String])> {
        let primary = (format!("{}_pkey", self.name), self.primary_key.as_slice());
        let unique = self
            .unique
            .iter()
            .map(|columns| (format!("{}_{}_key", self.name, columns.join("_")), columns.as_slice()));
        std::iter::once(primary).filter(|(_, columns)| !columns.is_empty()).chain(unique).collect()
    }

    /// Whether one value of that column belongs to one row at most.
    pub(super) fn is_unique(&self, column: &str) -> bool {
        self.keys().iter().any(|(_, columns)| matches!(columns, [only] if only == column))
    }

    /// Whether these columns are a key.
    pub(super) fn has_key(&self, columns: &[String]) -> bool {
        let same =
            |key: &[String]| key.len() == columns.len() && key.iter().all(|column| columns.contains(column));
        self.keys().iter().any(|(_, key)| same(key))
    }

    /// The row's primary key as text.
    pub(super) fn key_of(&self, row: &Row) -> String {
        let value = |column: &String| row.get(column).map(plain).unwrap_or_default();
        self.primary_key.iter().map(value).collect::<Vec<_>>().join(",")
    }

    /// The place of the row that agrees with `row` in these columns; null agrees with nothing.
    pub(super) fn place(&self, columns: &[String], row: &Row) -> Option<usize> {
        self.rows.iter().position(|held| {
            columns.iter().all(|column| match (held.get(column), row.get(column)) {
                (Some(held), Some(given)) => !held.is_null() && held == given,
                _ => false,
            })
        })
    }
}

impl Database {
    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub(super) fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.iter_mut().find(|table| table.name == name)
    }

    /// The table, or PostgREST's refusal.
    pub(super) fn need(&self, name: &str) -> Result<&Table, Refusal> {
        self.table(name).ok_or_else(|| {
            let refusal = Refusal::new(
                404,
                "PGRST205",
                format!("Could not find the table 'public.{name}' in the schema cache"),
            );
            let near = self.tables.iter().find(|table| table.name.starts_with(name.get(..3).unwrap_or(name)));
            match near {
                Some(near) => refusal.hint(format!("Perhaps you meant the table 'public.{}'", near.name)),
                None => refusal,
            }
        })
    }

    /// A whole row made of what is given and the defaults. `null_for` names columns that get null instead of a default.
    pub(super) fn complete(&mut self, table: &str, given: &Row, null_for: &[String]) -> Result<Row, Refusal> {
        let Some(table) = self.table_mut(table) else {
            return Err(Refusal::new(404, "PGRST205", "no such table"));
        };
        if let Some(unknown) = given.keys().find(|name| table.column(name).is_none()) {
            return Err(unknown_column(&table.name, unknown));
        }
        let mut row = Row::new();
        for column in &table.columns {
            let value = match given.get(&column.name) {
                Some(value) => column.kind.cast(value)?,
                None if null_for.contains(&column.name) => Value::Null,
                None => match &column.fill {
                    Fill::Null => Value::Null,
                    Fill::Now => value::now(),
                    Fill::Uuid => uuid::Uuid::new_v4().to_string().into(),
                    Fill::Value(value) => value.clone(),
                    Fill::Identity => {
                        table.next += 1;
                        table.next.into()
                    }
                },
            };
            row.insert(column.name.clone(), value);
        }
        Ok(row)
    }

    /// Inserts what is given, completed and checked.
    pub(super) fn insert(&mut self, table: &str, given: &Row, null_for: &[String]) -> Result<Row, Refusal> {
        let row = self.complete(table, given, null_for)?;
        self.check(table, &row, None)?;
        if let Some(table) = self.table_mut(table) {
            table.rows.push(row.clone());
        }
        Ok(row)
    }

    /// Changes one row, checked.
    pub(super) fn change(&mut self, table: &str, place: usize, change: &Row) -> Result<Row, Refusal> {
        let held = self.need(table)?;
        let mut row = held.rows.get(place).cloned().unwrap_or_default();
        for (name, value) in change {
            let column = held.column(name).ok_or_else(|| unknown_column(table, name))?;
            row.insert(name.clone(), column.kind.cast(value)?);
        }
        self.check(table, &row, Some(place))?;
        if let Some(held) = self.table_mut(table).and_then(|table| table.rows.get_mut(place)) {
            held.clone_from(&row);
        }
        Ok(row)
    }

    /// Deletes a row and what depends on it.
    pub(super) fn delete(&mut self, table: &str, row: &Row) -> Result<(), Refusal> {
        let dependants: Vec<(String, Foreign)> = self
            .tables
            .iter()
            .flat_map(|other| other.foreign.iter().map(|foreign| (other.name.clone(), foreign.clone())))
            .filter(|(_, foreign)| foreign.table == table)
            .collect();
        for (other, foreign) in dependants {
            let value = row.get(&foreign.to).cloned().unwrap_or_default();
            let points = |row: &&Row| row.get(&foreign.column) == Some(&value);
            let found: Vec<Row> = self.need(&other)?.rows.iter().filter(points).cloned().collect();
            if !found.is_empty() && !foreign.cascade {
                let constraint = foreign.name(&other);
                let message = format!(
                    "update or delete on table \"{table}\" violates foreign key constraint \"{constraint}\" on table \"{other}\""
                );
                let details = format!(
                    "Key ({})=({}) is still referenced from table \"{other}\".",
                    foreign.to,
                    plain(&value)
                );
                return Err(Refusal::new(409, "23503", message).details(details));
            }
            for row in found {
                self.delete(&other, &row)?;
            }
        }
        if let Some(table) = self.table_mut(table)
            && let Some(place) = table.rows.iter().position(|held| held == row)
        {
            table.rows.remove(place);
        }
        Ok(())
    }

    /// What the database insists on; `place` is the row's own place when it is there already.
    fn check(&self, table: &str, row: &Row, place: Option<usize>) -> Result<(), Refusal> {
        let table = self.need(table)?;
        for column in &table.columns {
            if column.not_null && row.get(&column.name).is_none_or(Value::is_null) {
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, table.name
                );
                let values: Vec<String> = row.values().map(plain).collect();
                return Err(Refusal::new(400, "23502", message)
                    .details(format!("Failing row contains ({}).", values.join(", "))));
            }
        }
        for (name, columns) in table.keys() {
            if table.place(columns, row).is_some_and(|found| Some(found) != place) {
                let values: Vec<String> =
                    columns.iter().filter_map(|column| row.get(column)).map(plain).collect();
                let details = format!("Key ({})=({}) already exists.", columns.join(", "), values.join(", "));
                let message = format!("duplicate key value violates unique constraint \"{name}\"");
                return Err(Refusal::new(409, "23505", message).details(details));
            }
        }
        for foreign in &table.foreign {
            let value = row.get(&foreign.column).cloned().unwrap_or_default();
            let known = |target: &Table| target.rows.iter().any(|row| row.get(&foreign.to) == Some(&value));
            if !value.is_null() && !self.table(&foreign.table).is_some_and(known) {
                let message = format!(
                    "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
                    table.name,
                    foreign.name(&table.name)
                );
                let details = format!(
                    "Key ({})=({}) is not present in table \"{}\".",
                    foreign.column,
                    plain(&value),
                    foreign.table
                );
                return Err(Refusal::new(409, "23503", message).details(details));
            }
        }
        Ok(())
    }
}

pub(super) fn unknown_column(table: &str, column: &str) -> Refusal {
    Refusal::new(
        400,
        "PGRST204",
        format!("Could not find the '{column}' column of '{table}' in the schema cache"),
    )
}

/// A value as messages show it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn constraints_answer_with_their_sqlstate() -> Result<(), Refusal> {
        let mut database = Database::standard();
        let employee = database.insert("employees", &row(json!({ "full_name": "A" })), &[])?;
        let id = employee.get("id").cloned().unwrap_or_default();
        database.insert("biometrics", &row(json!({ "employee_id": id, "employee_no": "1" })), &[])?;
        let code =
            |outcome: Result<Row, Refusal>| outcome.err().map(|refusal| (refusal.status, refusal.code));
        let again =
            database.insert("biometrics", &row(json!({ "employee_id": id, "employee_no": "2" })), &[]);
        assert_eq!(code(again), Some((409, "23505".to_owned())));
        let nobody = json!({ "employee_id": "5a170000-0000-4000-8000-000000000001" });
        assert_eq!(code(database.insert("biometrics", &row(nobody), &[])), Some((409, "23503".to_owned())));
        assert_eq!(code(database.insert("employees", &Row::new(), &[])), Some((400, "23502".to_owned())));
        let misspelt = database.insert("employees", &row(json!({ "ful_name": "B" })), &[]);
        assert_eq!(code(misspelt), Some((400, "PGRST204".to_owned())));
        Ok(())
    }

    #[test]
    fn a_row_that_others_point_to_stays_unless_they_go_too() -> Result<(), Refusal> {
        let mut database = Database::standard();
        let company = database.insert("companies", &row(json!({ "name": "C" })), &[])?;
        let employee = database.insert(
            "employees",
            &row(json!({ "full_name": "A", "company_id": company["id"] })),
            &[],
        )?;
        database.insert("biometrics", &row(json!({ "employee_id": employee["id"] })), &[])?;
        assert_eq!(
            database.delete("companies", &company).err().map(|refusal| refusal.code),
            Some("23503".to_owned())
        );
        database.delete("employees", &employee)?;
        assert!(database.need("biometrics")?.rows.is_empty());
        database.delete("companies", &company)
    }
}
