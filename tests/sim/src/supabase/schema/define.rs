//! Tables from their description, and the ones that workflows of this project use.

use serde_json::{Value, json};

use super::{Column, Database, Fill, Foreign, Table};
use crate::supabase::value::Type;

impl Database {
    /// Adds or replaces a table from its description and returns its rows, not yet inserted.
    pub(in crate::supabase) fn define(
        &mut self,
        name: &str,
        description: &Value,
    ) -> Result<Vec<Value>, String> {
        let known = ["columns", "primary_key", "unique", "not_null", "defaults", "foreign_keys", "rows"];
        let Value::Object(map) = description else {
            return Err(format!("table `{name}` is not an object"));
        };
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("table `{name}` has an unknown key `{key}`"));
        }
        let names =
            |key: &str| texts(map.get(key)).ok_or_else(|| format!("`{name}.{key}` is a list of columns"));
        let (primary_key, not_null) = (names("primary_key")?, names("not_null")?);
        let Some(Value::Object(types)) = map.get("columns") else {
            return Err(format!("table `{name}` has no columns"));
        };
        let mut columns = Vec::new();
        for (column, kind) in types {
            let kind = kind.as_str().and_then(Type::parse);
            let kind = kind.ok_or_else(|| format!("column `{name}.{column}` has no known type"))?;
            let fill = match map.get("defaults").and_then(|defaults| defaults.get(column)) {
                None => Fill::Null,
                Some(Value::String(word)) if word == "identity" => Fill::Identity,
                Some(Value::String(word)) if word == "now" => Fill::Now,
                Some(Value::String(word)) if word == "uuid" => Fill::Uuid,
                Some(value) => Fill::Value(kind.cast(value).map_err(|refusal| refusal.message)?),
            };
            let not_null = primary_key.contains(column) || not_null.contains(column);
            columns.push(Column { name: column.clone(), kind, not_null, fill });
        }
        let unique = map.get("unique").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let unique = unique.iter().map(|key| texts(Some(key))).collect::<Option<Vec<_>>>();
        let foreign = map.get("foreign_keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let foreign = foreign.iter().map(|key| {
            let text = |part: &str| key.get(part).and_then(Value::as_str).map(str::to_owned);
            let cascade = key.get("cascade") == Some(&Value::Bool(true));
            Some(Foreign { column: text("column")?, table: text("table")?, to: text("to")?, cascade })
        });
        let table = Table {
            name: name.to_owned(),
            columns,
            primary_key,
            unique: unique.ok_or_else(|| format!("`{name}.unique` is a list of lists of columns"))?,
            foreign: foreign
                .collect::<Option<_>>()
                .ok_or_else(|| format!("`{name}.foreign_keys` need column, table, to"))?,
            rows: Vec::new(),
            next: 0,
        };
        self.tables.retain(|other| other.name != name);
        self.tables.push(table);
        let rows = map.get("rows").cloned().unwrap_or_else(|| json!([]));
        rows.as_array().cloned().ok_or_else(|| format!("`{name}.rows` is a list"))
    }

    /// The tables that workflows of this project use.
    pub(in crate::supabase) fn standard() -> Self {
        let tables = json!({
            "companies": {
                "columns": { "id": "uuid", "name": "text", "created_at": "timestamptz" },
                "primary_key": ["id"], "not_null": ["name"], "defaults": { "id": "uuid", "created_at": "now" },
            },
            "employees": {
                "columns": {
                    "id": "uuid", "company_id": "uuid", "full_name": "text", "active": "boolean", "created_at": "timestamptz",
                },
                "primary_key": ["id"], "not_null": ["full_name", "active"],
                "defaults": { "id": "uuid", "active": true, "created_at": "now" },
                "foreign_keys": [{ "column": "company_id", "table": "companies", "to": "id" }],
            },
            "biometrics": {
                "columns": {
                    "id": "uuid", "employee_id": "uuid", "employee_no": "text", "photo_url": "text", "updated_at": "timestamptz",
                },
                "primary_key": ["id"], "not_null": ["employee_id"], "unique": [["employee_id"], ["employee_no"]],
                "defaults": { "id": "uuid", "updated_at": "now" },
                "foreign_keys": [{ "column": "employee_id", "table": "employees", "to": "id", "cascade": true }],
            },
            "devices": {
                "columns": {
                    "id": "text", "company_id": "uuid", "name": "text", "ip": "text", "port": "bigint", "active": "boolean",
                    "direction": "text", "created_at": "timestamptz",
                },
                "primary_key": ["id"], "not_null": ["name", "ip", "port", "active"],
                "defaults": { "id": "uuid", "active": true, "port": 80, "created_at": "now" },
                "foreign_keys": [{ "column": "company_id", "table": "companies", "to": "id" }],
            },
            "device_logs": {
                "columns": {
                    "id": "bigint", "device_id": "text", "employee_id": "uuid", "event": "text", "status": "text",
                    "details": "jsonb", "created_at": "timestamptz", "event_id": "text", "occurred_at": "timestamptz",
                    "device_serial": "text", "employee_no": "text",
                },
                "primary_key": ["id"], "unique": [["event_id"]], "defaults": { "id": "identity", "created_at": "now" },
                "foreign_keys": [
                    { "column": "device_id", "table": "devices", "to": "id" },
                    { "column": "employee_id", "table": "employees", "to": "id" },
                ],
            },
        });
        let mut database = Self::default();
        for (name, table) in tables.as_object().into_iter().flatten() {
            let defined = database.define(name, table);
            debug_assert!(defined.is_ok(), "{defined:?}");
        }
        database
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let Some(value) = value else {
        return Some(Vec::new());
    };
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
