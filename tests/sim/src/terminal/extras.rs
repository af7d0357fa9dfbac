//! What a terminal holds besides people and faces: cards, doors, clock, time servers, receivers of events, and its log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// A card on a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Whose it is.
    pub employee_no: String,
    /// Its number.
    pub card_no: String,
    /// All other fields as they came.
    pub fields: Map<String, Value>,
}

/// A line of the terminal's own log.
#[derive(Clone, Debug)]
pub struct Happening {
    /// From 1.
    pub serial: u64,
    /// When.
    pub at: Timestamp,
    /// 1 alarm, 2 exception, 3 operation, 5 event.
    pub major: u32,
    /// What, under `major`.
    pub minor: u32,
    /// Who.
    pub employee_no: Option<String>,
    /// Further fields.
    pub fields: Map<String, Value>,
}

/// A time server as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeServer {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) interval: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Extras {
    pub(crate) cards: Vec<Card>,
    /// The last lasting command of each door: `resume`, `alwaysOpen`, `alwaysClose`.
    pub(crate) doors: BTreeMap<u32, String>,
    pub(crate) time_mode: String,
    /// As it was set; until then it follows the switches.
    pub(crate) time_zone: Option<String>,
    pub(crate) server: TimeServer,
    /// The children of each slot, as XML text.
    pub(crate) hosts: Vec<String>,
    /// The number of the last event that each slot's receiver has, or was too old for it.
    given: Vec<u64>,
    pub(crate) log: Vec<Happening>,
    /// How many looks a deletion in the background still takes; `None` when there is none.
    pub(crate) deleting: Option<(u32, Vec<String>)>,
}

/// A slot that points nowhere, as recorded.
pub(crate) fn unused_slot(id: usize) -> String {
    format!(
        "<id>{id}</id>\n<url></url>\n<protocolType>EHome</protocolType>\n<parameterFormatType></parameterFormatType>\n\
         <addressingFormatType>ipaddress</addressingFormatType>\n<ipAddress>0.0.0.0</ipAddress>\n<portNo>0</portNo>\n\
         <httpAuthenticationMethod>none</httpAuthenticationMethod>\n\
         <Extensions><intervalBetweenEvents>0</intervalBetweenEvents></Extensions>\n"
    )
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            cards: Vec::new(),
            doors: BTreeMap::from([(1, "resume".to_owned()), (2, "resume".to_owned())]),
            time_mode: "NTP".to_owned(),
            time_zone: None,
            server: TimeServer {
                host: "time.example".to_owned(),
                port: "123".to_owned(),
                interval: "60".to_owned(),
            },
            hosts: vec![unused_slot(1), unused_slot(2)],
            given: vec![0, 0],
            log: Vec::new(),
            deleting: None,
        }
    }
}

impl Extras {
    pub(crate) fn happened(
        &mut self,
        major: u32,
        minor: u32,
        employee_no: Option<&str>,
        fields: Map<String, Value>,
    ) {
        self.happened_at(Timestamp::now(), major, minor, employee_no, fields);
    }

    /// The same with a time of its own, as after an outage.
    pub(crate) fn happened_at(
        &mut self,
        at: Timestamp,
        major: u32,
        minor: u32,
        employee_no: Option<&str>,
        fields: Map<String, Value>,
    ) {
        let serial = self.log.len() as u64 + 1;
        let employee_no = employee_no.map(str::to_owned);
        self.log.push(Happening { serial, at, major, minor, employee_no, fields });
    }

    /// Writes a slot. Its receiver gets what happens from now on.
    pub(crate) fn point(&mut self, slot: usize, inner: String) {
        let latest = self.log.len() as u64;
        if let (Some(host), Some(given)) = (self.hosts.get_mut(slot), self.given.get_mut(slot)) {
            *host = inner;
            *given = latest;
        }
    }

    /// Has a slot sign in with its receiver; whatever it had events for before keeps its place.
    pub(crate) fn sign_in(&mut self, slot: usize, user: &str, password: &str) {
        const WAYS: [&str; 3] = ["httpAuthenticationMethod", "userName", "password"];
        let Some(host) = slot.checked_sub(1).and_then(|place| self.hosts.get_mut(place)) else { return };
        for name in WAYS {
            if let Some(held) = element(host, name) {
                *host = host.replace(&format!("<{name}>{held}</{name}>"), "");
            }
        }
        for (name, value) in WAYS.into_iter().zip(["MD5digest", user, password]) {
            host.push_str(&format!("<{name}>{value}</{name}>\n"));
        }
    }

    /// The oldest event that the slot's receiver does not have.
    pub(crate) fn undelivered(&self, slot: usize) -> Option<&Happening> {
        let given = *self.given.get(slot)?;
        self.log.iter().find(|one| one.serial > given)
    }

    pub(crate) fn delivered(&mut self, slot: usize, serial: u64) {
        if let Some(given) = self.given.get_mut(slot) {
            *given = (*given).max(serial);
        }
    }
}

/// The text between the tags of the first element of that name, whatever its prefix or attributes.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(open) = xml.get(from..)?.find('<').map(|place| place + from) {
        let end = xml.get(open..)?.find('>')? + open;
        let tag = xml.get(open + 1..end)?;
        let tag_name = tag.split([' ', '\n', '\t', '/']).next().unwrap_or_default();
        if tag_name.rsplit(':').next() == Some(name) {
            if tag.ends_with('/') {
                return Some("");
            }
            let close = xml.get(end..)?.find(&format!("</{tag_name}>"))? + end;
            return xml.get(end + 1..close);
        }
        from = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::element;

    #[test]
    fn elements_are_found_by_name() {
        let text = "<?xml version=\"1.0\"?>\n<Time version=\"2.0\" xmlns=\"x\"><timeMode>manual</timeMode><a/></Time>";
        assert_eq!(element(text, "timeMode"), Some("manual"));
        assert_eq!(element(text, "a"), Some(""));
        assert_eq!(element(text, "mode"), None);
    }
}
