//! `/rest/v1/rpc/`: a few functions, enough to show each form of answer.

use serde_json::{Map, Value, json};

use super::query::{Query, is_reserved};
use super::read;
use super::refusal::Refusal;
use super::rest::{Call, content_range};
use super::schema::Row;
use crate::wire::Answer;

/// Names and the arguments they must get.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("add_them", &["a", "b"]),
    ("echo", &["value"]),
    ("active_devices", &[]),
    ("devices_from", &["from_port"]),
    ("noop", &[]),
    ("fail", &["message"]),
];

fn gives_rows(name: &str) -> bool {
    matches!(name, "active_devices" | "devices_from")
}

fn is_argument(name: &str, key: &str) -> bool {
    FUNCTIONS.iter().any(|(known, arguments)| *known == name && arguments.contains(&key))
}

pub(super) fn answer(call: &Call<'_>, name: &str) -> Result<Answer, Refusal> {
    let given: Map<String, Value> = match call.request.method.as_str() {
        "GET" | "HEAD" => {
            let parameters = call.request.parameters().into_iter();
            // What is none of its arguments narrows the rows that it gives, where it gives any.
            let given = parameters.filter(|(key, _)| {
                !is_reserved(key) && key != "apikey" && (!gives_rows(name) || is_argument(name, key))
            });
            given.map(|(key, value)| (key, value.into())).collect()
        }
        "POST" if call.request.body.is_empty() => Map::new(),
        "POST" => match serde_json::from_slice(&call.request.body) {
            Ok(Value::Object(given)) => given,
            _ => return Err(Refusal::new(400, "PGRST102", "Empty or invalid json")),
        },
        other => {
            return Err(Refusal::new(405, "PGRST101", format!("Cannot use the {other} method on RPC")));
        }
    };
    let known = FUNCTIONS.iter().find(|(known, arguments)| {
        *known == name
            && arguments.len() == given.len()
            && arguments.iter().all(|argument| given.contains_key(*argument))
    });
    if known.is_none() {
        let arguments = given.keys().cloned().collect::<Vec<_>>().join(", ");
        let shown =
            if arguments.is_empty() { " without parameters".to_owned() } else { format!("({arguments})") };
        let message = format!("Could not find the function public.{name}{shown} in the schema cache");
        return Err(Refusal::new(404, "PGRST202", message));
    }
    let value = match name {
        "add_them" => {
            let number = |name: &str| {
                let value = given.get(name).cloned().unwrap_or_default();
                super::value::Type::Bigint.cast(&value).map(|value| value.as_i64().unwrap_or_default())
            };
            json!(number("a")?.saturating_add(number("b")?))
        }
        "echo" => given.get("value").cloned().unwrap_or_default(),
        "noop" => return Ok(call.headed(Answer::empty(204), content_range(0, 1, None))),
        "fail" => {
            let message = given.get("message").and_then(Value::as_str).unwrap_or_default();
            return Err(Refusal::new(400, "P0001", message));
        }
        _ => {
            let from =
                given.get("from_port").map(|value| super::value::Type::Bigint.cast(value)).transpose()?;
            let from = from.and_then(|from| from.as_i64()).unwrap_or_default();
            let fits = |row: &&Row| {
                row.get("active") == Some(&Value::Bool(true))
                    && row.get("port").and_then(Value::as_i64).is_some_and(|port| port >= from)
            };
            let database = call.supabase.database();
            let rows: Vec<Row> = database.need("devices")?.rows.iter().filter(fits).cloned().collect();
            drop(database);
            let parameters = call.request.parameters();
            let narrowing: Vec<_> =
                parameters.into_iter().filter(|(key, _)| !is_argument(name, key)).collect();
            return read::page(call, "devices", rows, &Query::parse(&narrowing)?);
        }
    };
    Ok(Answer::json(200, &value))
}
