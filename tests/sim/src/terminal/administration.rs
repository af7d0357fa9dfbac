//! Doors, clock, network, receivers of events and the log (`facts/isapi.md 2.4`, `5.1`, `5.4`, `6`).

use jiff::{Timestamp, civil, tz};
use serde_json::{Map, Value, json};

use super::alarm::local_time;
use super::answer::{Call, escaped};
use super::extras::{Happening, TimeServer, element, unused_slot};
use super::search::Page;
use crate::ledger::{Kind, Note};
use crate::wire::Answer;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    AccessCapabilities,
    Doors,
    SetTime,
    Servers,
    SetServer,
    Network,
    Hosts,
    SetHosts,
    SearchLog,
}

pub(super) fn act(call: &Call<'_>, action: Action) -> Answer {
    let answer = match action {
        Action::AccessCapabilities => Ok(call.xml(
            200,
            "AccessControl",
            "<isSupportUserInfoDetailDelete>true</isSupportUserInfoDetailDelete>\n",
        )),
        Action::Doors => Ok(doors(call)),
        Action::SetTime => set_time(call),
        Action::Servers => Ok(servers(call)),
        Action::SetServer => set_server(call),
        Action::Network => Ok(network(call)),
        Action::Hosts => Ok(hosts(call)),
        Action::SetHosts => Ok(set_hosts(call)),
        Action::SearchLog => search_log(call),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

/// Paths that end in a number.
pub(super) fn numbered(call: &Call<'_>, path: &str) -> Option<Answer> {
    let method = call.request.method.as_str();
    let answer = if let Some(door) = path.strip_prefix("/isapi/accesscontrol/remotecontrol/door/") {
        if method == "PUT" { move_door(call, door) } else { Err(call.error("methodNotAllowed", "")) }
    } else if let Some(slot) = path.strip_prefix("/isapi/event/notification/httphosts/") {
        match method {
            "GET" => one_host(call, slot),
            "PUT" => set_host(call, slot),
            "DELETE" => clear_host(call, slot),
            _ => Err(call.error("methodNotAllowed", "")),
        }
    } else {
        return None;
    };
    Some(answer.unwrap_or_else(|refusal| refusal))
}

fn body(call: &Call<'_>) -> String {
    String::from_utf8_lossy(&call.request.body).into_owned()
}

/// Success as XML, which these calls answer with whatever the query says.
fn done(call: &Call<'_>) -> Answer {
    let inner = format!(
        "<requestURL>{}</requestURL>\n<statusCode>1</statusCode>\n<statusString>OK</statusString>\n<subStatusCode>ok</subStatusCode>\n",
        escaped(call.request.path())
    );
    call.xml(200, "ResponseStatus", &inner)
}

fn note(call: &Call<'_>, kind: Kind, subject: &str, kept: bool) {
    let note = (!kept).then(|| "not done: this terminal lies".to_owned());
    let subject = Some(subject.to_owned());
    call.device.ledger.write(Note { subject, note, ..call.device.note(call.request, kind, &call.known) });
}

fn move_door(call: &Call<'_>, door: &str) -> Result<Answer, Answer> {
    let text = body(call);
    let command = element(&text, "cmd").unwrap_or_default().to_owned();
    if !["open", "close", "alwaysOpen", "alwaysClose", "resume"].contains(&command.as_str()) {
        return Err(call.error("badXmlContent", "cmd"));
    }
    let number: u32 = door.parse().map_err(|_| call.error("badParameters", "doorNo"))?;
    let mut extras = call.device.extras();
    let all = number == 65_535;
    if !all && !extras.doors.contains_key(&number) {
        return Err(call.error("badParameters", "doorNo"));
    }
    let kept = !call.quirks.lying;
    if kept {
        let lasting = !matches!(command.as_str(), "open" | "close");
        for (_, state) in extras.doors.iter_mut().filter(|(door, _)| all || **door == number) {
            if lasting {
                state.clone_from(&command);
            }
        }
        let fields = Map::from_iter([("doorNo".to_owned(), number.into())]);
        extras.happened(3, 1024, None, fields.clone());
        extras.happened(5, if command == "close" { 22 } else { 21 }, None, fields);
    }
    drop(extras);
    call.device.news.send_replace(());
    note(call, Kind::DoorControl, &format!("{number} {command}"), kept);
    Ok(done(call))
}

fn doors(call: &Call<'_>) -> Answer {
    let extras = call.device.extras();
    let locks: Vec<u32> = extras.doors.values().map(|state| u32::from(state == "alwaysOpen")).collect();
    let states: Vec<u32> = extras
        .doors
        .values()
        .map(|state| match state.as_str() {
            "alwaysOpen" => 2,
            "alwaysClose" => 3,
            _ => 4,
        })
        .collect();
    let contacts = vec![0; states.len()];
    call.json(200, &json!({ "AcsWorkStatus": { "doorLockStatus": locks, "doorStatus": states, "magneticStatus": contacts } }))
}

fn set_time(call: &Call<'_>) -> Result<Answer, Answer> {
    let text = body(call);
    let mode = element(&text, "timeMode").ok_or_else(|| call.error("badXmlContent", "timeMode"))?;
    if !["NTP", "manual"].contains(&mode) {
        return Err(call.error("badXmlContent", "timeMode"));
    }
    let local = element(&text, "localTime").filter(|local| !local.is_empty());
    let local = local
        .map(|local| local.parse::<civil::DateTime>().map_err(|_| call.error("badXmlContent", "localTime")))
        .transpose()?;
    let zone = element(&text, "timeZone").filter(|zone| !zone.is_empty());
    let minutes = match zone {
        Some(zone) => Some(zone_minutes(zone).ok_or_else(|| call.error("badXmlContent", "timeZone"))?),
        None => None,
    };
    let kept = !call.quirks.lying_settings;
    if kept {
        let mut quirks = call.quirks.clone();
        if let Some(minutes) = minutes {
            quirks.utc_offset_minutes = minutes;
        }
        // By NTP the clock is what the server says: a time that is sent along is ignored.
        quirks.clock_offset_s = match local {
            Some(local) if mode == "manual" => {
                let there =
                    local.to_zoned(tz::TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_second());
                there - i64::from(quirks.utc_offset_minutes) * 60 - Timestamp::now().as_second()
            }
            _ if mode == "NTP" => 0,
            _ => quirks.clock_offset_s,
        };
        call.device.set_quirks(quirks);
        let mut extras = call.device.extras();
        extras.time_mode = mode.to_owned();
        extras.time_zone = zone.map(str::to_owned).or_else(|| extras.time_zone.take());
    }
    note(call, Kind::SettingWrite, "time", kept);
    Ok(done(call))
}

/// `CST-2:00:00..`: 120.
fn zone_minutes(zone: &str) -> Option<i32> {
    let rest = zone.strip_prefix("CST")?;
    let sign = if rest.starts_with('-') { 1 } else { -1 };
    let mut parts = rest.get(1..)?.split(':');
    let (hours, minutes) = (parts.next()?.parse::<i32>().ok()?, parts.next()?.parse::<i32>().ok()?);
    Some(sign * (hours * 60 + minutes))
}

fn servers(call: &Call<'_>) -> Answer {
    let server = call.device.extras().server.clone();
    let numeric = server.host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let (kind, tag) = if numeric { ("ipaddress", "ipAddress") } else { ("hostname", "hostName") };
    let inner = format!(
        "<NTPServer>\n<id>1</id>\n<addressingFormatType>{kind}</addressingFormatType>\n<{tag}>{}</{tag}>\n<portNo>{}</portNo>\n\
         <synchronizeInterval>{}</synchronizeInterval>\n</NTPServer>\n",
        escaped(&server.host),
        server.port,
        server.interval
    );
    call.xml(200, "NTPServerList", &inner)
}

fn set_server(call: &Call<'_>) -> Result<Answer, Answer> {
    let text = body(call);
    let read = |name: &str| element(&text, name).map(str::to_owned);
    let (Some(host), Some(port)) = (read("hostName").or_else(|| read("ipAddress")), read("portNo")) else {
        return Err(call.error("badXmlContent", "NTPServer"));
    };
    let kept = !call.quirks.lying_settings;
    if kept {
        let interval = read("synchronizeInterval").unwrap_or_else(|| "60".to_owned());
        call.device.extras().server = TimeServer { host, port, interval };
    }
    note(call, Kind::SettingWrite, "ntp", kept);
    Ok(done(call))
}

fn network(call: &Call<'_>) -> Answer {
    let number = call.device.number;
    let inner = format!(
        "<NetworkInterface>\n<id>1</id>\n<IPAddress>\n<ipVersion>dual</ipVersion>\n<addressingType>static</addressingType>\n\
         <ipAddress>192.168.1.{}</ipAddress>\n<subnetMask>255.255.255.0</subnetMask>\n\
         <DefaultGateway><ipAddress>192.168.1.1</ipAddress></DefaultGateway>\n\
         <PrimaryDNS><ipAddress>192.168.1.1</ipAddress></PrimaryDNS>\n<SecondaryDNS><ipAddress>0.0.0.0</ipAddress></SecondaryDNS>\n\
         </IPAddress>\n<Link>\n<MACAddress>ac:b9:2f:00:{:02x}:{:02x}</MACAddress>\n<autoNegotiation>true</autoNegotiation>\n</Link>\n\
         </NetworkInterface>\n",
        2 + number % 250,
        (number >> 8) & 0xff,
        number & 0xff
    );
    call.xml(200, "NetworkInterfaceList", &inner)
}

fn hosts(call: &Call<'_>) -> Answer {
    let slots: String = call
        .device
        .extras()
        .hosts
        .iter()
        .map(|slot| format!("<HttpHostNotification>\n{slot}</HttpHostNotification>\n"))
        .collect();
    call.xml(200, "HttpHostNotificationList", &slots)
}

/// A PUT of the whole list answers OK and spoils a slot: seen on a K1T341CMFW.
fn set_hosts(call: &Call<'_>) -> Answer {
    let mut extras = call.device.extras();
    if let Some(last) = extras.hosts.len().checked_sub(1)
        && let Some(slot) = extras.hosts.get_mut(last)
    {
        *slot = unused_slot(last + 1);
    }
    drop(extras);
    note(call, Kind::SettingWrite, "hosts (the whole list, which spoils a slot)", true);
    done(call)
}

fn place(call: &Call<'_>, slot: &str) -> Result<usize, Answer> {
    let number = slot.parse::<usize>().ok().and_then(|slot| slot.checked_sub(1));
    number
        .filter(|number| *number < call.device.extras().hosts.len())
        .ok_or_else(|| call.error("badParameters", "id"))
}

fn one_host(call: &Call<'_>, slot: &str) -> Result<Answer, Answer> {
    let place = place(call, slot)?;
    let inner = call.device.extras().hosts.get(place).cloned().unwrap_or_default();
    Ok(call.xml(200, "HttpHostNotification", &inner))
}

fn set_host(call: &Call<'_>, slot: &str) -> Result<Answer, Answer> {
    let place = place(call, slot)?;
    let text = body(call);
    let inner = element(&text, "HttpHostNotification")
        .ok_or_else(|| call.error("badXmlFormat", "HttpHostNotification"))?;
    let url = element(inner, "url").ok_or_else(|| call.error("MessageParametersLack", "url"))?;
    if url.len() > 128 {
        return Err(call.error("badXmlContent", "url"));
    }
    if let Some(event) = element(inner, "Event") {
        for name in ["minorAlarm", "minorException", "minorOperation", "minorEvent"] {
            if element(event, name).is_none() {
                return Err(call.error("MessageParametersLack", name));
            }
        }
    }
    let kept = !call.quirks.lying_settings;
    if kept {
        call.device.extras().point(place, inner.to_owned());
        call.device.news.send_replace(());
    }
    note(call, Kind::SettingWrite, &format!("hosts/{}", place + 1), kept);
    Ok(done(call))
}

fn clear_host(call: &Call<'_>, slot: &str) -> Result<Answer, Answer> {
    let place = place(call, slot)?;
    call.device.extras().point(place, unused_slot(place + 1));
    note(call, Kind::SettingWrite, &format!("hosts/{}", place + 1), true);
    Ok(done(call))
}

fn search_log(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let Some(condition) = body.get("AcsEventCond").and_then(Value::as_object) else {
        return Err(call.error("badJsonContent", "AcsEventCond"));
    };
    let page = Page::of(call, condition)?;
    let number = |name: &str| condition.get(name).and_then(Value::as_u64).unwrap_or_default();
    let when = |name: &str| -> Result<Timestamp, Answer> {
        let text = condition.get(name).and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|_| call.error("badJsonContent", name))
    };
    let (from, to) = (when("startTime")?, when("endTime")?);
    let person =
        condition.get("employeeNoString").and_then(Value::as_str).filter(|number| !number.is_empty());
    let extras = call.device.extras();
    let fits = |one: &&Happening| {
        (from..=to).contains(&one.at)
            && (number("major") == 0 || number("major") == u64::from(one.major))
            && (number("minor") == 0 || number("minor") == u64::from(one.minor))
            && person.is_none_or(|person| one.employee_no.as_deref() == Some(person))
    };
    let found: Vec<&Happening> = extras.log.iter().filter(fits).collect();
    let shown = page.cut(&found);
    let mut reply = Map::new();
    reply.insert("searchID".to_owned(), condition.get("searchID").cloned().unwrap_or_else(|| "".into()));
    reply.insert("totalMatches".to_owned(), found.len().into());
    reply.insert(call.quirks.status_key.clone(), page.status(call.quirks, &found, shown).into());
    reply.insert("numOfMatches".to_owned(), shown.len().into());
    let list: Vec<Value> = shown.iter().map(|one| row(call, one)).collect();
    if !list.is_empty() {
        reply.insert("InfoList".to_owned(), list.into());
    }
    Ok(call.json(200, &json!({ "AcsEvent": reply })))
}

fn row(call: &Call<'_>, one: &Happening) -> Value {
    let time = local_time(call.quirks, one.at);
    let mut row = Map::new();
    row.insert("major".to_owned(), one.major.into());
    row.insert("minor".to_owned(), one.minor.into());
    if call.quirks.events_without_serial {
        row.insert("time".to_owned(), time.get(..19).unwrap_or_default().replace('T', " ").into());
    } else {
        row.insert("time".to_owned(), time.into());
        row.insert("serialNo".to_owned(), one.serial.into());
    }
    if let Some(number) = &one.employee_no {
        row.insert("employeeNoString".to_owned(), number.clone().into());
    }
    row.extend(one.fields.clone());
    row.into()
}
