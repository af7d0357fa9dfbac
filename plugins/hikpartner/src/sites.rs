//! Sites. `site/add` gives no id, so the site is looked up afterwards.

use bascule_sdk::json::{number_of, text_of};
use bascule_sdk::{Error, Peer};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::hikpartner::sites::{Details, Site};
use crate::envelope::{self, after_write, not_so, one_id};

const SEARCH: &str = "v1/site/search";

pub(crate) fn search(server: &dyn Peer, part: Option<&str>, limit: Option<u32>) -> Result<Vec<Site>, Error> {
    let body = match part {
        Some(part) => json!({ "search": part }),
        None => json!({}),
    };
    let rows = envelope::pages(server, SEARCH, &body, limit)?;
    Ok(rows.iter().map(site).collect())
}

pub(crate) fn find(server: &dyn Peer, name: &str) -> Result<Site, Error> {
    let mut found = named(server, name)?;
    let shown = name.escape_debug();
    match (found.pop(), found.len()) {
        (None, _) => Err(Error::not_found(format!("the platform has no site `{shown}`"))),
        (Some(site), 0) => Ok(site),
        (Some(_), others) => Err(Error::conflict(format!("{} sites are called `{shown}`", others + 1))),
    }
}

pub(crate) fn add(server: &dyn Peer, details: &Details) -> Result<Site, Error> {
    envelope::write(server, "v1/site/add", &body(details)?)?;
    stored(server, &details.name, None)
}

pub(crate) fn update(server: &dyn Peer, id: &str, details: &Details) -> Result<Site, Error> {
    one_id(id, "id")?;
    envelope::write(server, &format!("v1/site/{id}/update"), &body(details)?)?;
    stored(server, &details.name, Some(id))
}

pub(crate) fn delete(server: &dyn Peer, id: &str) -> Result<(), Error> {
    one_id(id, "id")?;
    envelope::write(server, &format!("v1/site/{id}/delete"), &json!({})).map(drop)
}

/// The search may take a part of a name for a match, or any case.
fn named(server: &dyn Peer, name: &str) -> Result<Vec<Site>, Error> {
    let mut found = search(server, Some(name), None)?;
    found.retain(|site| site.name == name);
    Ok(found)
}

/// The second look after a write.
fn stored(server: &dyn Peer, name: &str, id: Option<&str>) -> Result<Site, Error> {
    let found = named(server, name).map_err(after_write)?;
    found.into_iter().find(|site| id.is_none_or(|id| site.id == id)).ok_or_else(|| {
        let message = format!("the platform said 0, and has no site `{}`", name.escape_debug());
        not_so("not-stored", message, &json!({ "siteName": name, "id": id }))
    })
}

fn body(details: &Details) -> Result<Value, Error> {
    if details.name.is_empty() || details.name.chars().count() > 128 {
        return Err(Error::invalid_input("a site's name has 1 to 128 characters"));
    }
    let mut body = Map::new();
    body.insert("siteName".into(), details.name.as_str().into());
    body.insert("timeZone".into(), details.time_zone.into());
    if let Some(sync) = details.sync_time {
        body.insert("timeSync".into(), sync.into());
    }
    let places =
        [("siteState", &details.state), ("siteCity", &details.city), ("siteStreet", &details.street)];
    for (name, value) in places {
        if let Some(value) = value {
            body.insert(name.into(), value.as_str().into());
        }
    }
    Ok(Value::Object(body))
}

fn site(row: &Value) -> Site {
    Site {
        id: text_of(row, "id"),
        name: text_of(row, "siteName"),
        time_zone: number_of(row, "timeZone"),
        delivery: number_of(row, "siteDeliveryStatus"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE_ADD: &str = "POST /api/hpcgw/v1/site/add";
    const LINE_SEARCH: &str = "POST /api/hpcgw/v1/site/search";
    const DONE: &str = r#"{"errorCode":"0"}"#;

    fn gym() -> Details {
        Details {
            name: "Gym North".into(),
            time_zone: 136,
            sync_time: Some(true),
            state: None,
            city: Some("Iasi".into()),
            street: None,
        }
    }

    /// The fields of facts B2.
    fn found(names: &[&str]) -> bascule_sdk::Response {
        let rows: Vec<Value> = (1..)
            .zip(names)
            .map(|(id, name)| {
                json!({ "id": format!("s{id}"), "siteName": name, "timeZone": 136, "timeSync": true, "siteDeliveryStatus": 0, "cloudEnable": 1 })
            })
            .collect();
        let data = json!({ "page": 1, "pageSize": 20, "total": rows.len(), "totalPage": 1, "rows": rows });
        answer(200, json!({ "data": data, "errorCode": "0" }).to_string())
    }

    #[test]
    fn a_site_is_looked_up_after_adding_because_no_id_comes_back() {
        let script = Script::new()
            .then(LINE_ADD, answer(200, DONE))
            .then(LINE_SEARCH, found(&["Gym North 2", "Gym North"]));
        assert_eq!(add(&script, &gym()).unwrap().id, "s2");
        assert_eq!(
            script.body(0),
            r#"{"siteName":"Gym North","timeZone":136,"timeSync":true,"siteCity":"Iasi"}"#
        );
        let script =
            Script::new().then(LINE_ADD, answer(200, DONE)).then(LINE_SEARCH, found(&["Gym North 2"]));
        let error = add(&script, &gym()).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::VerificationFailed, Some("hikpartner:not-stored"))
        );
        let known = answer(200, r#"{"errorCode":"LAP008000"}"#);
        assert_eq!(add(&Script::new().then(LINE_ADD, known), &gym()).unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn one_site_is_found_by_its_whole_name() {
        let ask = |names: &[&str]| find(&Script::new().then(LINE_SEARCH, found(names)), "Gym North");
        assert_eq!(ask(&["Gym North"]).unwrap().id, "s1");
        assert_eq!(ask(&["gym north"]).unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(ask(&["Gym North", "Gym North"]).unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn a_renamed_site_is_looked_for_under_its_id() {
        const LINE: &str = "POST /api/hpcgw/v1/site/s1/update";
        let ask = |names: &[&str], id: &str| {
            let script = Script::new().then(LINE, answer(200, DONE)).then(LINE_SEARCH, found(names));
            update(&script, id, &gym())
        };
        assert_eq!(ask(&["Gym North"], "s1").unwrap().name, "Gym North");
        assert_eq!(ask(&["x", "Gym North"], "s1").unwrap_err().kind, ErrorKind::VerificationFailed);
        let bad = update(&Script::new(), "s1/delete", &gym()).unwrap_err();
        assert_eq!(bad.kind, ErrorKind::InvalidInput);
    }
}
