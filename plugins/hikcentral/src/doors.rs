//! Door events and door control.

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Effect, Error, Peer, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikcentral::doors::{Direction, Event, Obeyed, Order};
use crate::codes;
use crate::envelope::{self, one_id};

/// The most doors of one call.
const MOST: usize = 10;

/// Which events.
pub(crate) struct Wanted {
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) event_type: Option<u32>,
    pub(crate) person_name: Option<String>,
    pub(crate) doors: Vec<String>,
    pub(crate) limit: Option<u32>,
}

pub(crate) fn events(server: &dyn Peer, wanted: &Wanted) -> Result<Vec<Event>, Error> {
    if wanted.event_type.is_none() && wanted.person_name.is_none() {
        return Err(Error::invalid_input("either `event-type` or `person-name` is needed"));
    }
    if wanted.doors.len() > MOST {
        return Err(Error::invalid_input(format!("at most {MOST} `doors` can be asked for at once")));
    }
    let mut body = Map::new();
    body.insert("startTime".into(), wanted.since.as_str().into());
    body.insert("endTime".into(), wanted.until.as_str().into());
    if let Some(event_type) = wanted.event_type {
        body.insert("eventType".into(), event_type.into());
    }
    if let Some(name) = &wanted.person_name {
        body.insert("personName".into(), name.as_str().into());
    }
    body.insert("doorIndexCodes".into(), wanted.doors.as_slice().into());
    body.insert("sortField".into(), "SwipeTime".into());
    // Ascending, so that what happens meanwhile comes last and moves no page.
    body.insert("orderType".into(), 0.into());
    let rows = envelope::pages(server, "acs/v1/door/events", &Value::Object(body), wanted.limit)?;
    Ok(rows
        .iter()
        .map(|row| Event {
            id: text_of(row, "eventId"),
            event_type: number_of(row, "eventType"),
            at: text_of(row, "eventTime"),
            person: text_of(row, "personId"),
            person_name: text_of(row, "personName"),
            door: text_of(row, "doorIndexCode"),
            door_name: text_of(row, "doorName"),
            card: text_of(row, "cardNo"),
            raw: row.to_string(),
        })
        .collect())
}

pub(crate) fn control(
    server: &dyn Peer,
    doors: &[String],
    order: Order,
    direction: Option<Direction>,
) -> Result<Vec<Obeyed>, Error> {
    if doors.is_empty() || doors.len() > MOST {
        return Err(Error::invalid_input(format!(
            "`doors` must name 1 to {MOST} doors, this names {}",
            doors.len()
        )));
    }
    doors.iter().try_for_each(|door| one_id(door, "doors"))?;
    let order = match order {
        Order::RemainOpen => 0,
        Order::Close => 1,
        Order::Open => 2,
        Order::RemainClosed => 3,
    };
    let direction = i32::from(direction == Some(Direction::Exit));
    let body = json!({ "doorIndexCodes": doors, "controlType": order, "controlDirection": direction });
    let data = envelope::write(server, "acs/v1/door/doControl", &body)?;
    let results = json::items(Some(&data));
    let of = |door: &String| results.iter().find(|one| text_of(one, "doorIndexCode") == *door);
    for door in doors {
        let Some(result) = of(door) else { continue };
        let code = codes::normal(&text_of(result, "controlResultCode"));
        if !matches!(code.as_str(), "0" | "") {
            let said = text_of(result, "controlResultDesc");
            let meaning = codes::meaning(&code, &said);
            let effect = if doors.len() == 1 { meaning.effect } else { Effect::Unknown };
            return Err(Error::new(
                meaning.kind,
                format!("door {door} did not obey: {} ({said})", meaning.words),
            )
            .code(format!("hikcentral:{code}"))
            .effect(effect)
            .details(&json!({ "doors": data })));
        }
    }
    Ok(doors.iter().map(|door| Obeyed { door: door.clone(), confirmed: of(door).is_some() }).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const CONTROL: &str = "POST /artemis/api/acs/v1/door/doControl";

    fn open(doors: &[&str], data: &Value) -> Result<Vec<Obeyed>, Error> {
        let body = json!({ "code": "0", "msg": "Success", "data": data }).to_string();
        let doors: Vec<String> = doors.iter().map(|door| (*door).to_owned()).collect();
        let script = Script::new().then(CONTROL, answer(200, body));
        let obeyed = control(&script, &doors, Order::Open, None);
        assert!(script.body(0).ends_with(r#""controlType":2,"controlDirection":0}"#));
        obeyed
    }

    #[test]
    fn a_door_that_does_not_obey_is_an_error_in_spite_of_code_0() {
        let fine = json!({ "doorIndexCode": "11", "controlResultCode": 0, "controlResultDesc": "success" });
        let stuck = json!({ "doorIndexCode": "12", "controlResultCode": 194, "controlResultDesc": "device connection failed" });
        assert!(open(&["11"], &json!([fine])).unwrap().iter().all(|one| one.confirmed));
        let error = open(&["11", "12"], &json!([fine, stuck])).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref(), error.effect),
            (ErrorKind::Offline, Some("hikcentral:194"), Effect::Unknown)
        );
        assert!(!open(&["11"], &json!("")).unwrap().first().unwrap().confirmed);
    }

    #[test]
    fn no_door_and_too_many_doors_are_not_sent() {
        let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        for doors in [&[][..], &many[..]] {
            assert_eq!(
                control(&Script::new(), doors, Order::Open, None).unwrap_err().kind,
                ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn events_come_with_what_the_platform_sent() {
        let row = json!({ "eventId": "e1", "eventType": 196_893, "eventTime": "2026-11-21T08:00:00+02:00", "personId": "7",
            "personName": "Ana Exemplu", "doorName": "Main", "doorIndexCode": "11", "cardNo": "", "checkInAndOutType": 0 });
        let body =
            json!({ "code": "0", "data": { "total": 1, "pageNo": 1, "pageSize": 500, "list": [row] } })
                .to_string();
        let script = Script::new().then("POST /artemis/api/acs/v1/door/events", answer(200, body));
        let wanted = Wanted {
            since: "2026-11-21T00:00:00+02:00".into(),
            until: "2026-11-22T00:00:00+02:00".into(),
            event_type: Some(196_893),
            person_name: None,
            doors: Vec::new(),
            limit: None,
        };
        let events = events(&script, &wanted).unwrap();
        let event = events.first().unwrap();
        assert_eq!(
            (event.person.as_str(), event.event_type, event.door.as_str()),
            ("7", Some(196_893), "11")
        );
        assert!(event.raw.contains("checkInAndOutType"));
    }
}
