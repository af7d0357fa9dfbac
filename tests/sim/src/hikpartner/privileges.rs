//! Privileges: said yes to at once, done afterwards (facts B2).

use serde_json::{Value, json};

use super::model::{Model, Privilege};
use super::{Call, HikPartner, HikPartnerQuirks, Outcome};
use crate::ledger::Kind;

impl HikPartner {
    pub(super) fn answer_privileges(&self, path: &str, call: &Call<'_>) -> Option<Outcome> {
        Some(match path {
            "v1/acs/privilege/config" => self.change_privileges(call, Way::Grant),
            "v1/acs/privilege/delete" => self.change_privileges(call, Way::Revoke),
            "v1/acs/privilege/status" => self.privilege_status(call),
            _ => return None,
        })
    }

    fn change_privileges(&self, call: &Call<'_>, way: Way) -> Outcome {
        let Some(pairs) = pairs(call) else { return Outcome::parameter() };
        let mut model = self.model();
        if !call.quirks.lying_privileges {
            for (person, device) in &pairs {
                if model.device(device).is_none() {
                    return Outcome::code("EVZ20002", "The device does not exist.");
                }
                if model.person(person).is_none() {
                    return Outcome::missing();
                }
            }
            for (person, device) in &pairs {
                model.privileges.retain(|one| one.person != *person || one.device != *device);
                match way {
                    Way::Grant => model.privileges.push(Privilege {
                        person: person.clone(),
                        device: device.clone(),
                        status: 0,
                        reads: call.quirks.settle_reads,
                        sub_status: 0,
                        error: String::new(),
                    }),
                    Way::Revoke => {
                        if let Some(device) = model.device(device) {
                            device.admits.remove(person);
                        }
                    }
                }
            }
        }
        drop(model);
        let (word, subject) = match way {
            Way::Grant => ("grant", pairs.first()),
            Way::Revoke => ("revoke", pairs.first()),
        };
        let subject = subject.map(|(person, _)| person.clone()).unwrap_or_default();
        self.note(call.request, Kind::AccessWrite, &subject, None, format!("{word} {}", pairs.len()));
        Outcome::done()
    }

    fn privilege_status(&self, call: &Call<'_>) -> Outcome {
        let Some(persons) = call.texts("personIdList") else { return Outcome::parameter() };
        let mut model = self.model();
        let mut settled = Vec::new();
        for place in 0..model.privileges.len() {
            let due = model.privileges.get_mut(place).is_some_and(|one| {
                let asked = persons.contains(&one.person) && one.status == 0 && !call.quirks.stuck_privileges;
                let due = asked && one.reads == 0;
                if asked {
                    one.reads = one.reads.saturating_sub(1);
                }
                due
            });
            if due {
                settled.extend(settle(&mut model, place, call.quirks));
            }
        }
        let authorities: Vec<Value> = persons
            .iter()
            .filter_map(|person| {
                let rows: Vec<Value> = model
                    .privileges
                    .iter()
                    .filter(|one| one.person == *person)
                    .map(|one| {
                        json!({ "deviceSerial": one.device, "status": one.status, "subStatus": one.sub_status, "error": one.error })
                    })
                    .collect();
                (!rows.is_empty()).then(|| json!({ "personId": person, "deviceLists": rows }))
            })
            .collect();
        drop(model);
        for (person, device, code) in settled {
            let code = Some(code.as_str()).filter(|code| !code.is_empty());
            self.note(call.request, Kind::Applied, &person, code, device);
        }
        Outcome::Data(json!({ "personAuthorities": authorities }))
    }
}

/// Which way privileges change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Grant,
    Revoke,
}

/// Person and device of each privilege of a request.
fn pairs(call: &Call<'_>) -> Option<Vec<(String, String)>> {
    let authorities = call.body.get("deviceAuthorities")?.as_array().filter(|list| !list.is_empty())?;
    let mut pairs = Vec::new();
    for authority in authorities {
        let device = authority["deviceSerial"].as_str().filter(|serial| !serial.is_empty())?;
        for person in authority["personIdList"].as_array().filter(|list| !list.is_empty())? {
            pairs.push((person.as_str()?.to_owned(), device.to_owned()));
        }
    }
    Some(pairs)
}

/// Ends the wait of one privilege: person, device and the code of a failure.
fn settle(model: &mut Model, place: usize, quirks: &HikPartnerQuirks) -> Option<(String, String, String)> {
    let one = model.privileges.get(place)?.clone();
    let person = model.person(&one.person)?.clone();
    let device = model.device(&one.device)?;
    let error = match quirks.device_errors.get(&one.device) {
        Some(code) => code.clone(),
        None if !device.online => "EVZ20007".to_owned(),
        None => String::new(),
    };
    // Bit 0 person, 1 card, 2 face, 3 fingerprint.
    let card = u32::from(!person.field("cardNo").is_empty());
    let right = 1 | card << 1 | u32::from(person.face.is_some()) << 2;
    if error.is_empty() {
        device.admits.insert(one.person.clone());
    }
    let held = model.privileges.get_mut(place)?;
    held.status = if error.is_empty() { 1 } else { 2 };
    held.sub_status = quirks.sub_status.unwrap_or(if error.is_empty() { right } else { 0 });
    held.error.clone_from(&error);
    Some((one.person, one.device, error))
}
