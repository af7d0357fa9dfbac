//! The platform's part of the control port.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::HikPartner;
use crate::wire::{Answer, Request};

impl HikPartner {
    /// Answers what lies below `/hikpartner`.
    pub(crate) fn control_port(&self, request: &Request, path: &[&str]) -> Result<Answer, (u16, String)> {
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
            ("POST", ["revoke"]) => {
                self.revoke_tokens();
                json!({})
            }
            ("POST", ["pass"]) => {
                let given = body()?;
                let text = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
                let minor = given["minor"].as_u64().and_then(|minor| u32::try_from(minor).ok()).unwrap_or(75);
                let at = match text("at") {
                    at if at.is_empty() => Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    at => at,
                };
                let serial = self.pass(&text("device"), &text("employee_no"), minor, &at);
                json!({ "serial": serial.ok_or_else(|| (404, format!("no device `{}`", text("device"))))? })
            }
            ("PUT", ["devices", serial, state @ ("online" | "offline")]) => {
                let mut model = self.model();
                let device = model.device(serial).ok_or_else(|| (404, format!("no device `{serial}`")))?;
                device.online = *state == "online";
                json!({})
            }
            ("PUT", ["devices", serial, "persons"]) => {
                let Value::Array(local) = body()? else {
                    return Err((400, "persons are a list".to_owned()));
                };
                let mut model = self.model();
                let device = model.device(serial).ok_or_else(|| (404, format!("no device `{serial}`")))?;
                device.local = local;
                json!({})
            }
            _ => return Err((404, format!("nothing at {} {}", request.method, request.path()))),
        };
        Ok(Answer::json(200, &shown))
    }

    fn state(&self) -> Value {
        let model = self.model();
        let persons = model.persons.iter().map(
            |one| json!({ "id": one.id, "fields": one.fields, "face_bytes": one.face.as_ref().map(bytes::Bytes::len) }),
        );
        let devices = model.devices.iter().map(|one| {
            json!({ "id": one.id, "serial": one.serial, "name": one.name, "site": one.site, "online": one.online, "admits": one.admits })
        });
        json!({
            "requests": self.requests(),
            "area": self.area_url(),
            "sites": model.sites,
            "devices": devices.collect::<Vec<_>>(),
            "persons": persons.collect::<Vec<_>>(),
            "subscribed": model.subscribed,
            "waiting_messages": self.waiting_messages(),
        })
    }
}
