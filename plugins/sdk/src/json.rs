//! The `json` alias of the contract: any value as JSON text. These turn it into Rust values and back, and read
//! values that peers write in more than one way.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::types::Error;

/// Parses a parameter of type `json`; `parameter` is its name, for the message.
///
/// # Errors
/// `invalid-input` when the value does not have the shape of `T`.
pub fn parse<T: DeserializeOwned>(text: &str, parameter: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::invalid_input(format!("`{parameter}` does not fit: {error}")))
}

/// The text of a value, for a result of type `json`.
///
/// # Errors
/// `internal` when the value cannot be JSON (a map whose keys are no strings).
pub fn text<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("a result could not be written as JSON: {error}")))
}

/// The field of that name, ignoring ASCII case; absent, `null` and anything that is no object give `None`.
#[must_use]
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    let found = object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v));
    found.filter(|value| !value.is_null())
}

/// A string, or a number or boolean written as one: devices mix `"1"` and `1`.
#[must_use]
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text of the field of that name; empty where there is none.
#[must_use]
pub fn text_of(value: &Value, name: &str) -> String {
    field(value, name).and_then(as_text).unwrap_or_default()
}

/// The whole number in the field of that name, where it fits.
#[must_use]
pub fn number_of(value: &Value, name: &str) -> Option<u32> {
    field(value, name).and_then(as_integer).and_then(|number| u32::try_from(number).ok())
}

/// The letters and digits that a key has for its value, in JSON text which may be cut off, such as the excerpt of an answer
/// that the host keeps in an error's details. The key is looked for as it is written.
#[must_use]
pub fn word_in_excerpt(text: &str, key: &str) -> Option<String> {
    let rest = text.split_once(&format!("\"{key}\""))?.1.trim_start().strip_prefix(':')?.trim_start();
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    let word: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    (!word.is_empty()).then_some(word)
}

/// A whole number, or a string that holds one.
#[must_use]
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A boolean, or `"true"`, `"false"`, `1`, `0` for one.
#[must_use]
pub fn as_truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The items of a list; a single object where a list was expected counts as a list of one, absence as none.
#[must_use]
pub fn items(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(single @ Value::Object(_)) => vec![single],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_in_every_form_that_devices_write() {
        let value = json!({ "doorNo": 1, "Open": "true", "count": " 7 ", "none": null });
        assert_eq!(field(&value, "doorno").and_then(as_text).as_deref(), Some("1"));
        assert_eq!(field(&value, "open").and_then(as_truth), Some(true));
        assert_eq!(field(&value, "count").and_then(as_integer), Some(7));
        assert_eq!(field(&value, "none"), None);
        assert_eq!(items(Some(&value)).len(), 1);
        assert_eq!(items(Some(&json!([1, 2]))).len(), 2);
        assert!(items(None).is_empty());
    }

    #[test]
    fn a_field_is_read_as_text_or_as_a_number_that_fits() {
        let value = json!({ "code": 7, "name": "Ana", "big": 4_294_967_296_u64, "negative": -1 });
        assert_eq!((text_of(&value, "code"), text_of(&value, "Name")), ("7".to_owned(), "Ana".to_owned()));
        assert_eq!(text_of(&value, "none"), "");
        assert_eq!(number_of(&value, "code"), Some(7));
        for name in ["name", "big", "negative", "none"] {
            assert_eq!(number_of(&value, name), None, "{name}");
        }
    }

    #[test]
    fn a_word_is_found_in_json_that_is_cut_off() {
        assert_eq!(
            word_in_excerpt(r#"{"code" : "0x02401003","msg":"ap"#, "code").as_deref(),
            Some("0x02401003")
        );
        assert_eq!(word_in_excerpt(r#"{"code":64"#, "code").as_deref(), Some("64"));
        for text in ["", "<html>", r#"{"code""#, r#"{"code":""}"#, r#"{"barcode":1}"#] {
            assert_eq!(word_in_excerpt(text, "code"), None, "{text}");
        }
    }

    #[test]
    fn a_parameter_of_the_wrong_shape_is_named_in_the_error() {
        let error = parse::<Vec<String>>("{}", "where").err().map(|error| error.message).unwrap_or_default();
        assert!(error.starts_with("`where` does not fit: "), "{error}");
    }
}
