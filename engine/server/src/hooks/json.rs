//! JSON that strangers send: not deeper than 64, and no key twice, so that no two readers see different values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep lists and maps may stand inside each other.
const MAX_DEPTH: usize = 64;

/// Reads one value.
///
/// # Errors
/// What is wrong, with line and column.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Level(0).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

struct Level(usize);

impl Level {
    fn below<E: Error>(&self) -> Result<Self, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(format!("deeper than {MAX_DEPTH} lists and maps")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.below()?)?;
            if map.contains_key(&key) {
                let shown: String = key.chars().take(60).collect();
                return Err(A::Error::custom(format!("the key {shown:?} stands there twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_through_as_they_are() {
        let text = r#"{"a":[1,-2,2.5,1e3,"x",true,null,{"b":{}}],"big":18446744073709551615}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(value["a"][0], json!(1));
    }

    #[test]
    fn a_key_twice_is_refused_at_any_depth() {
        assert!(parse(br#"{"a":1,"a":2}"#).unwrap_err().contains("\"a\" stands there twice"));
        // Escaped or not, it is the same key.
        assert!(parse(br#"[{"b":{"a":1,"\u0061":2}}]"#).is_err());
    }

    #[test]
    fn depth_is_limited_and_what_follows_is_refused() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 2).as_bytes()).unwrap_err().contains("deeper than"));
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        for text in ["", "{} {}", "{", "\u{feff}{}", "nul", "1e999", "{\"a\"}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
