//! Sites and devices (facts B2).

use serde_json::{Map, Value, json};

use super::model::Model;
use super::{Call, HikPartner, Outcome};
use crate::ledger::Kind;

const SITE_FIELDS: [&str; 7] =
    ["siteName", "timeZone", "timeSync", "siteState", "siteCity", "siteStreet", "location"];

impl HikPartner {
    pub(super) fn answer_sites(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "v1/site/add" => self.add_site(call),
            "v1/site/search" => {
                let part = call.text("search").unwrap_or_default().to_lowercase();
                let model = self.model();
                let fits = |site: &&Map<String, Value>| {
                    site.get("siteName")
                        .and_then(Value::as_str)
                        .is_some_and(|name| name.to_lowercase().contains(&part))
                };
                call.page(model.sites.iter().filter(fits).cloned().map(Value::Object).collect())
            }
            "v2/device/add" => self.add_devices(call),
            "v1/device/list" => self.list_devices(call),
            "v1/device/update" => self.update_device(call),
            "v1/device/delete" => self.delete_device(call),
            _ => {
                let (id, verb) = path.strip_prefix("v1/site/")?.split_once('/')?;
                match verb {
                    "update" => self.update_site(id, call),
                    "delete" => self.delete_site(id, call),
                    _ => return None,
                }
            }
        })
    }

    fn add_site(&self, call: &Call<'_>) -> Outcome {
        let Some(name) = call.text("siteName").filter(|name| name.chars().count() <= 128) else {
            return Outcome::parameter();
        };
        if call.body.get("timeZone").and_then(Value::as_i64).is_none() {
            return Outcome::parameter();
        }
        let mut model = self.model();
        if model.sites.iter().any(|site| site["siteName"] == name) {
            return Outcome::code("LAP008000", "The site name already exists.");
        }
        if !call.quirks.lying_site_add {
            let mut site = Map::new();
            site.insert("id".to_owned(), model.new_id("site").into());
            site.extend(kept(call.body));
            site.insert("siteDeliveryStatus".to_owned(), 0.into());
            model.sites.push(site);
        }
        drop(model);
        self.note(call.request, Kind::SiteWrite, &name, None, "add");
        // No id comes back.
        Outcome::done()
    }

    fn update_site(&self, id: &str, call: &Call<'_>) -> Outcome {
        let mut model = self.model();
        let Some(site) = model.sites.iter_mut().find(|site| site["id"] == id) else {
            return Outcome::code("LAP008001", "The site does not exist.");
        };
        site.extend(kept(call.body));
        drop(model);
        self.note(call.request, Kind::SiteWrite, id, None, "update");
        Outcome::done()
    }

    fn delete_site(&self, id: &str, call: &Call<'_>) -> Outcome {
        let mut model = self.model();
        let before = model.sites.len();
        model.sites.retain(|site| site["id"] != id);
        if model.sites.len() == before {
            return Outcome::code("LAP008001", "The site does not exist.");
        }
        model.devices.retain(|device| device.site != id);
        drop(model);
        self.note(call.request, Kind::SiteWrite, id, None, "delete");
        Outcome::done()
    }

    fn add_devices(&self, call: &Call<'_>) -> Outcome {
        let Some(site) = call.text("siteId") else { return Outcome::parameter() };
        let Some(list) =
            call.body.get("deviceList").and_then(Value::as_array).filter(|list| !list.is_empty())
        else {
            return Outcome::parameter();
        };
        let mut model = self.model();
        if !model.sites.iter().any(|one| one["id"] == site) {
            return Outcome::code("LAP008001", "The site does not exist.");
        }
        let (mut added, mut failed) = (Vec::new(), Vec::new());
        for one in list {
            let serial = one["deviceSerial"].as_str().unwrap_or_default();
            let code = one["validateCode"].as_str().unwrap_or_default();
            if serial.is_empty() || serial.len() > 9 || code.is_empty() || code.len() > 18 {
                return Outcome::parameter();
            }
            match refusal(&mut model, serial, code) {
                Some(code) => failed.push(
                    json!({ "deviceSerial": serial, "failReason": format!("add Exception{{{code}}}") }),
                ),
                None => {
                    if !call.quirks.lying_device_add {
                        model.claim(serial, serial, &site);
                    }
                    added.push(json!({ "deviceCategory": "accessControl", "deviceName": serial, "deviceSerial": serial }));
                }
            }
        }
        drop(model);
        self.note(call.request, Kind::DeviceWrite, &site, None, format!("add {}", added.len()));
        Outcome::Data(json!({ "addSuccessList": added, "addFailedList": failed }))
    }

    fn list_devices(&self, call: &Call<'_>) -> Outcome {
        let (site, serial) = (call.text("siteId"), call.text("deviceSerial"));
        let model = self.model();
        let rows = model
            .devices
            .iter()
            .filter(|device| site.as_ref().is_none_or(|site| device.site == *site))
            .filter(|device| serial.as_ref().is_none_or(|serial| device.serial == *serial))
            .map(|device| {
                let site = model.sites.iter().find(|site| site["id"] == device.site);
                json!({
                    "id": device.id, "deviceName": device.name, "deviceOnlineStatus": u8::from(device.online),
                    "deviceSerial": device.serial, "deviceVersion": "V3.3.8", "deviceType": "DS-K1T341CMFW",
                    "deviceCategory": "accessControl", "isSubscribed": u8::from(model.is_subscribed(&device.serial)),
                    "siteID": device.site, "siteName": site.map(|site| site["siteName"].clone()),
                })
            })
            .collect();
        call.page(rows)
    }

    fn update_device(&self, call: &Call<'_>) -> Outcome {
        let (Some(id), Some(name)) = (call.text("deviceId"), call.text("deviceName")) else {
            return Outcome::parameter();
        };
        let mut model = self.model();
        let Some(device) = model.devices.iter_mut().find(|device| device.id == id) else {
            return Outcome::code("LAP006009", "No device or no permission.");
        };
        device.name = name;
        drop(model);
        self.note(call.request, Kind::DeviceWrite, &id, None, "update");
        Outcome::done()
    }

    fn delete_device(&self, call: &Call<'_>) -> Outcome {
        let Some(id) = call.text("id") else { return Outcome::parameter() };
        let mut model = self.model();
        let before = model.devices.len();
        model.devices.retain(|device| device.id != id);
        if model.devices.len() == before {
            return Outcome::code("LAP006009", "No device or no permission.");
        }
        drop(model);
        self.note(call.request, Kind::DeviceWrite, &id, None, "delete");
        Outcome::done()
    }
}

fn kept(body: &Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    let kept = |(name, _): &(&String, &Value)| SITE_FIELDS.contains(&name.as_str());
    body.iter().filter(kept).map(|(name, value)| (name.clone(), value.clone()))
}

/// Why a device cannot be added; takes it off the shelf otherwise.
fn refusal(model: &mut Model, serial: &str, code: &str) -> Option<&'static str> {
    if model.device(serial).is_some() {
        return Some("EVZ20017");
    }
    let Some(place) = model.unclaimed.iter().position(|(one, _)| one == serial) else {
        return Some("EVZ20002");
    };
    if model.unclaimed.get(place).is_some_and(|(_, right)| right != code) {
        return Some("EVZ20010");
    }
    model.unclaimed.remove(place);
    None
}
