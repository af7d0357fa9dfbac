//! The HikCentral's part of the control port.

use serde_json::{Value, json};

use super::{HikCentral, HikCentralPerson};
use crate::wire::{Answer, Request};

impl HikCentral {
    /// Answers what lies below `/hikcentral`.
    pub(crate) async fn control_port(
        &self,
        request: &Request,
        path: &[&str],
    ) -> Result<Answer, (u16, String)> {
        let body =
            || serde_json::from_slice::<Value>(&request.body).map_err(|error| (400, error.to_string()));
        let shown = match (request.method.as_str(), path) {
            ("GET", []) => self.state(),
            ("GET", ["quirks"]) => json!(self.quirks()),
            ("PUT", ["quirks"]) => {
                let quirks = self.quirks().changed(&body()?).map_err(|text| (400, text))?;
                self.change(|held| *held = quirks);
                json!(self.quirks())
            }
            ("POST", ["push"]) => {
                let given = body()?;
                let kind = given["type"].as_i64().ok_or_else(|| (400, "`type` is a number".to_owned()))?;
                json!({ "accepted": self.push(kind, given["data"].clone()).await })
            }
            _ => return Err((404, format!("nothing at {} {}", request.method, request.path()))),
        };
        Ok(Answer::json(200, &shown))
    }

    fn state(&self) -> Value {
        let model = self.model();
        let groups = model
            .groups
            .iter()
            .map(|group| json!({ "id": group.id, "name": group.name, "members": group.members }));
        json!({
            "requests": self.requests(),
            "persons": model.persons.iter().map(HikCentralPerson::shown).collect::<Vec<_>>(),
            "groups": groups.collect::<Vec<_>>(),
            "applied": model.applied,
            "subscriptions": model.subscriptions,
        })
    }
}
