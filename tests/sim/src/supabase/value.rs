//! Column types: what is a value of each, and which is larger.

use std::cmp::Ordering;

use jiff::{Timestamp, civil};
use serde_json::{Value, json};

use super::refusal::Refusal;

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Uuid,
    Bigint,
    Double,
    Boolean,
    Timestamptz,
    Date,
    Jsonb,
    TextArray,
}

impl Type {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "text" | "varchar" => Self::Text,
            "uuid" => Self::Uuid,
            "bigint" | "integer" | "int" | "int4" | "int8" | "smallint" => Self::Bigint,
            "double" | "float8" | "numeric" | "real" | "double precision" => Self::Double,
            "boolean" | "bool" => Self::Boolean,
            "timestamptz" => Self::Timestamptz,
            "date" => Self::Date,
            "jsonb" | "json" => Self::Jsonb,
            "text[]" => Self::TextArray,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Bigint => "bigint",
            Self::Double => "double precision",
            Self::Boolean => "boolean",
            Self::Timestamptz => "timestamp with time zone",
            Self::Date => "date",
            Self::Jsonb => "json",
            Self::TextArray => "text[]",
        }
    }

    /// The value as this type keeps it.
    pub(super) fn cast(self, value: &Value) -> Result<Value, Refusal> {
        let text = match value {
            Value::Null => return Ok(Value::Null),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let bad = || Refusal::bad_value(self.name(), &text);
        Ok(match self {
            Self::Text => text.into(),
            Self::Uuid => uuid::Uuid::parse_str(&text).map_err(|_| bad())?.to_string().into(),
            Self::Bigint => text.trim().parse::<i64>().map_err(|_| bad())?.into(),
            Self::Double => json!(text.trim().parse::<f64>().map_err(|_| bad())?),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "on" | "1" => true.into(),
                "false" | "f" | "no" | "off" | "0" => false.into(),
                _ => return Err(bad()),
            },
            Self::Timestamptz => {
                instant(&text).ok_or_else(|| Refusal { code: "22007".to_owned(), ..bad() })?.into()
            }
            Self::Date => match text.get(..10).unwrap_or(&text).parse::<civil::Date>() {
                Ok(date) => date.to_string().into(),
                Err(_) => {
                    return Err(Refusal { code: "22007".to_owned(), ..bad() });
                }
            },
            Self::Jsonb => value.clone(),
            Self::TextArray => match value {
                Value::Array(items) => {
                    items.iter().map(|item| Self::Text.cast(item)).collect::<Result<Vec<_>, _>>()?.into()
                }
                _ => list(&text)
                    .ok_or_else(|| {
                        Refusal::new(400, "22P02", format!("malformed array literal: \"{text}\""))
                    })?
                    .into(),
            },
        })
    }

    /// A filter's text as a value of this type.
    pub(super) fn read(self, text: &str) -> Result<Value, Refusal> {
        if self == Self::Jsonb {
            return serde_json::from_str(text).map_err(|_| Refusal::bad_value("json", text));
        }
        self.cast(&Value::String(text.to_owned()))
    }
}

/// The elements of `{a,"b c"}`.
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    Some(super::filter::items(inner))
}

/// `2026-11-21T01:35:21.522+00:00`, from any of the usual spellings.
fn instant(text: &str) -> Option<String> {
    let text = text.trim();
    let at = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| format!("{text}:00").parse::<Timestamp>().ok())
        .or_else(|| utc(text.parse::<civil::DateTime>().ok()?))
        .or_else(|| utc(text.parse::<civil::Date>().ok()?.at(0, 0, 0, 0)))?;
    // PostgreSQL keeps microseconds.
    let at = Timestamp::from_microsecond(at.as_microsecond()).ok()?;
    Some(format!("{}+00:00", at.to_string().trim_end_matches('Z')))
}

fn utc(at: civil::DateTime) -> Option<Timestamp> {
    at.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// Now, as a timestamptz.
pub(super) fn now() -> Value {
    instant(&Timestamp::now().to_string()).map_or(Value::Null, Value::String)
}

/// The order of two values of one type; null is not comparable.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (left, right) if left == right => Some(Ordering::Equal),
        (left, right) => Some(left.to_string().cmp(&right.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_postgres_shows_them() -> Result<(), Refusal> {
        let text = |text: &str| Value::String(text.to_owned());
        for (kind, given, kept) in [
            (
                Type::Timestamptz,
                text("2026-11-21T03:35:21.522+02:00"),
                json!("2026-11-21T01:35:21.522+00:00"),
            ),
            (Type::Timestamptz, text("2026-11-21 01:35:21+00"), json!("2026-11-21T01:35:21+00:00")),
            (Type::Timestamptz, text("2026-11-21"), json!("2026-11-21T00:00:00+00:00")),
            (
                Type::Uuid,
                text("5A170000-0000-4000-8000-000000000001"),
                json!("5a170000-0000-4000-8000-000000000001"),
            ),
            (Type::Bigint, text("12"), json!(12)),
            (Type::Text, json!(12), json!("12")),
            (Type::Boolean, text("t"), json!(true)),
            (Type::TextArray, text("{a,\"b,c\"}"), json!(["a", "b,c"])),
        ] {
            assert_eq!(kind.cast(&given)?, kept, "{kind:?} {given}");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_value_gets_postgres_own_words() {
        let refusal = Type::Uuid.read("17").err();
        assert_eq!(
            refusal.map(|it| (it.status, it.code, it.message)),
            Some((400, "22P02".to_owned(), "invalid input syntax for type uuid: \"17\"".to_owned()))
        );
        assert_eq!(Type::Date.read("soon").err().map(|it| it.code), Some("22007".to_owned()));
    }
}
