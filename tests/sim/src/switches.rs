//! Changing the switches of a persona while it runs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// These switches with the keys of `change` (a JSON object) set.
///
/// # Errors
/// A sentence that names the unknown key or the value that does not fit.
pub(crate) fn changed<T: Serialize + DeserializeOwned>(switches: &T, change: &Value) -> Result<T, String> {
    let Value::Object(change) = change else {
        return Err("a change is a JSON object with the keys to change".to_owned());
    };
    let mut all = serde_json::to_value(switches).map_err(|error| error.to_string())?;
    let Some(map) = all.as_object_mut() else {
        return Err("these switches are not an object".to_owned());
    };
    for (key, value) in change {
        map.insert(key.clone(), value.clone());
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}
