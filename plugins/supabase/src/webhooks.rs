//! Database webhooks (`facts/hikcentral_hikpartner_supabase.md` C5).

use bascule_sdk::{Error, json};
use serde_json::{Map, Value};

use crate::bindings::exports::bascule::supabase::webhooks::{Change, Kind};

/// What the body of a database webhook says.
pub(crate) fn decode(body: &str) -> Result<Change, Error> {
    let body: Value = json::parse(body, "body")?;
    let wrong = |why: String| {
        Error::invalid_input(format!("the body is none of a database webhook: {why}"))
            .code("supabase:no-webhook")
    };
    let text = |name: &str| {
        let found = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.map(str::to_owned).ok_or_else(|| wrong(format!("it has no `{name}`")))
    };
    let row = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(row)) => Ok(Some(row)),
        Some(_) => Err(wrong(format!("`{name}` is no row"))),
    };
    let kind = match text("type")?.as_str() {
        "INSERT" => Kind::Insert,
        "UPDATE" => Kind::Update,
        "DELETE" => Kind::Delete,
        other => return Err(wrong(format!("`type` is `{}`", other.escape_debug()))),
    };
    let (record, old) = (row("record")?, row("old_record")?);
    let whole = match kind {
        Kind::Insert | Kind::Update => record.is_some(),
        Kind::Delete => old.is_some(),
    };
    if !whole {
        return Err(wrong("the row itself is missing".to_owned()));
    }
    let written = |row: Option<&Map<String, Value>>| row.map(|row| Value::Object(row.clone()).to_string());
    Ok(Change {
        type_: kind,
        schema: text("schema")?,
        table: text("table")?,
        record: written(record),
        old_record: written(old),
        changed: changed(record, old),
    })
}

/// The columns whose values differ; a row that is not there differs in all.
fn changed(record: Option<&Map<String, Value>>, old: Option<&Map<String, Value>>) -> Vec<String> {
    let value = |row: Option<&Map<String, Value>>, name: &str| row.and_then(|row| row.get(name)).cloned();
    let mut names: Vec<String> = record
        .into_iter()
        .chain(old)
        .flat_map(Map::keys)
        .filter(|name| value(record, name) != value(old, name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;

    use super::*;

    #[test]
    fn each_kind_of_change_is_read() {
        // The bodies of facts/hikcentral_hikpartner_supabase.md C5.
        let insert = r#"{"type":"INSERT","table":"members","schema":"public","record":{"id":1,"name":"Ana"},"old_record":null}"#;
        let change = decode(insert).unwrap();
        assert_eq!((change.type_, change.table.as_str()), (Kind::Insert, "members"));
        assert_eq!(change.record.as_deref(), Some(r#"{"id":1,"name":"Ana"}"#));
        assert_eq!((change.old_record, change.changed), (None, vec!["id".to_owned(), "name".to_owned()]));

        let update = r#"{"type":"UPDATE","table":"members","schema":"public","record":{"id":1,"name":"Ana","x":null},"old_record":{"id":1,"name":"An","x":null}}"#;
        let change = decode(update).unwrap();
        assert_eq!((change.type_, change.changed), (Kind::Update, vec!["name".to_owned()]));

        let delete =
            r#"{"type":"DELETE","table":"members","schema":"gym","record":null,"old_record":{"id":1}}"#;
        let change = decode(delete).unwrap();
        assert_eq!((change.type_, change.schema.as_str(), change.record), (Kind::Delete, "gym", None));
        assert_eq!(change.old_record.as_deref(), Some(r#"{"id":1}"#));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (body, why) in [
            ("[]", "no `type`"),
            (r#"{"type":"TRUNCATE","table":"t","schema":"public"}"#, "`TRUNCATE`"),
            (r#"{"type":"INSERT","table":"t","schema":"public","record":null}"#, "row itself"),
            (r#"{"type":"DELETE","table":"t","schema":"public","record":{"id":1}}"#, "row itself"),
            (r#"{"type":"INSERT","table":"t","schema":"public","record":[1]}"#, "`record` is no row"),
            (r#"{"type":"INSERT","schema":"public","record":{"id":1}}"#, "no `table`"),
        ] {
            let error = decode(body).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
            assert!(error.message.contains(why), "{body}: {}", error.message);
        }
    }
}
