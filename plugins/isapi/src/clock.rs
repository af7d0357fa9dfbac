//! The terminal's clock and time servers: read, checked, written, read back, put back (`facts/isapi.md` 2.4).

use bascule_sdk::{Effect, Error, ErrorKind, Peer, Request, json, xml};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::isapi::device::{Clock, TimeServer};
use crate::civil::{self, Civil};
use crate::reply::{self, Document};

/// How far a clock that was set may be off when it is read again, in seconds.
const TOLERANCE: i64 = 60;
const NAMESPACE: &str = "http://www.isapi.org/ver20/XMLSchema";

/// What is to change.
pub(crate) struct Change {
    pub(crate) mode: Option<String>,
    pub(crate) local_time: Option<String>,
    pub(crate) time_zone: Option<String>,
}

/// Reads the clock. `now` is the host's, in seconds since 1970.
pub(crate) fn time(terminal: &dyn Peer, now: &dyn Fn() -> i64) -> Result<Clock, Error> {
    let request = Request::get("/ISAPI/System/time").query("format", "json");
    let line = request.line();
    let document = reply::accept(&terminal.send(request)?, &line)?;
    let read = |name: &str| match &document {
        Document::Xml(root) => root.find("Time")?.text_of(name).map(str::to_owned),
        Document::Json(value) => {
            json::field(json::field(value, "Time").unwrap_or(value), name).and_then(json::as_text)
        }
        Document::Empty => None,
    };
    let local_time = read("localTime").ok_or_else(|| reply::unexpected(&line, "a Time with a localTime"))?;
    let time_zone = read("timeZone");
    let here = civil::instant(&local_time).map(|(seconds, _)| seconds).or_else(|| {
        let offset = time_zone.as_deref().and_then(zone_offset)?;
        Some(local_seconds(&local_time)? - offset)
    });
    Ok(Clock {
        mode: read("timeMode").unwrap_or_default(),
        drift_seconds: here.map(|here| here - now()),
        local_time,
        time_zone,
    })
}

/// Changes what is given, looks whether it was taken, and puts it back if it was not.
pub(crate) fn set_time(terminal: &dyn Peer, change: Change, now: &dyn Fn() -> i64) -> Result<Clock, Error> {
    let before = time(terminal, now)?;
    let began = now();
    let mode = match change.mode.as_deref() {
        None => before.mode.clone(),
        Some(mode) if mode.eq_ignore_ascii_case("ntp") => "NTP".to_owned(),
        Some(mode) if mode.eq_ignore_ascii_case("manual") => "manual".to_owned(),
        Some(mode) => {
            return Err(Error::invalid_input(format!(
                "the mode `{}` is neither `NTP` nor `manual`",
                mode.escape_debug()
            )));
        }
    };
    let manual = mode.eq_ignore_ascii_case("manual");
    if change.local_time.is_some() && !manual {
        return Err(Error::invalid_input("a time can only be set together with the mode `manual`"));
    }
    if change.mode.is_none() && change.local_time.is_none() && change.time_zone.is_none() {
        return Err(Error::invalid_input("nothing is given that could be changed"));
    }
    let zone = change.time_zone.or_else(|| before.time_zone.clone());
    if let Some(zone) = &zone
        && zone_offset(zone).is_none()
    {
        return Err(Error::invalid_input(format!(
            "`{}` is not a time zone in the terminal's form, e.g. `CST-2:00:00` for two hours east of Greenwich",
            zone.escape_debug()
        )));
    }
    let target = match change.local_time.as_deref() {
        None => None,
        Some("host") => {
            let offset = civil::instant(&before.local_time)
                .filter(|_| zone == before.time_zone)
                .map(|(_, offset)| offset)
                .or_else(|| zone.as_deref().and_then(zone_offset));
            let offset = offset.ok_or_else(|| {
                Error::unsupported("the terminal does not tell its time zone; give the time itself")
            })?;
            Some(began + offset)
        }
        Some(text) => Some(Civil::parse(text).map(Civil::seconds).ok_or_else(|| {
            Error::invalid_input(format!(
                "`{}` is not a local time such as 2026-11-21T05:30:00, without an offset",
                text.escape_debug()
            ))
        })?),
    };
    let kept = if manual { target.or_else(|| local_seconds(&before.local_time)) } else { None };
    put_time(terminal, &mode, kept, zone.as_deref())?;
    let taken = time(terminal, now).map_err(|error| error.effect(Effect::Applied))?;
    let right_time = target.is_none_or(|target| {
        local_seconds(&taken.local_time)
            .is_some_and(|there| (there - (target + now() - began)).abs() <= TOLERANCE)
    });
    if taken.mode.eq_ignore_ascii_case(&mode) && right_time && (taken.time_zone == zone) {
        return Ok(taken);
    }
    let earlier = local_seconds(&before.local_time)
        .filter(|_| before.mode.eq_ignore_ascii_case("manual"))
        .map(|seconds| seconds + now() - began);
    let put_back = put_time(terminal, &before.mode, earlier, before.time_zone.as_deref())
        .and_then(|()| time(terminal, now))
        .is_ok_and(|clock| clock.mode == before.mode && clock.time_zone == before.time_zone);
    Err(not_taken(
        "clock",
        put_back,
        json!({
            "wanted": { "mode": mode, "time": target.map(|seconds| Civil::of(seconds).to_string()), "zone": zone },
            "found": { "mode": taken.mode, "time": taken.local_time, "zone": taken.time_zone },
        }),
    ))
}

fn put_time(terminal: &dyn Peer, mode: &str, local: Option<i64>, zone: Option<&str>) -> Result<(), Error> {
    let mut body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Time version=\"2.0\" xmlns=\"{NAMESPACE}\">\n<timeMode>{}</timeMode>\n",
        xml::escape(mode)
    );
    if let Some(local) = local {
        body.push_str(&format!("<localTime>{}</localTime>\n", Civil::of(local)));
    }
    if let Some(zone) = zone {
        body.push_str(&format!("<timeZone>{}</timeZone>\n", xml::escape(zone)));
    }
    body.push_str("</Time>\n");
    let request = Request::put("/ISAPI/System/time").xml(body);
    let line = request.line();
    reply::accept_write(&terminal.send(request)?, &line).map(|_| ())
}

/// Reads the time servers.
pub(crate) fn ntp(terminal: &dyn Peer) -> Result<Vec<TimeServer>, Error> {
    let request = Request::get("/ISAPI/System/time/ntpServers");
    let line = request.line();
    let Document::Xml(root) = reply::accept(&terminal.send(request)?, &line)? else {
        return Err(reply::unexpected(&line, "an NTPServerList"));
    };
    if !root.name.eq_ignore_ascii_case("NTPServerList") && !root.name.eq_ignore_ascii_case("NTPServer") {
        return Err(reply::unexpected(&line, "an NTPServerList"));
    }
    let entries = root
        .children_named("NTPServer")
        .chain((root.children_named("NTPServer").next().is_none()).then_some(&root));
    let servers = entries.filter_map(|entry| {
        Some(TimeServer {
            id: entry.text_of("id").and_then(|id| id.parse().ok()).unwrap_or(1),
            host: entry.text_of("hostName").or_else(|| entry.text_of("ipAddress"))?.to_owned(),
            port: entry.text_of("portNo").and_then(|port| port.parse().ok()).unwrap_or(123),
            interval_minutes: entry.text_of("synchronizeInterval").and_then(|text| text.parse().ok()),
        })
    });
    Ok(servers.collect())
}

/// Sets the first time server, looks whether it was taken, and puts the earlier one back if it was not.
pub(crate) fn set_ntp(
    terminal: &dyn Peer,
    host: &str,
    port: u16,
    interval: Option<u32>,
) -> Result<TimeServer, Error> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if host.is_empty() || host.len() > 64 || !host.chars().all(named) || port == 0 {
        return Err(Error::invalid_input(format!(
            "`{}` is not the name of a time server",
            host.escape_debug()
        )));
    }
    if interval.is_some_and(|minutes| !(1..=10_080).contains(&minutes)) {
        return Err(Error::invalid_input("the interval is 1 to 10,080 minutes"));
    }
    let before = ntp(terminal)?.into_iter().find(|server| server.id == 1);
    let interval_minutes =
        interval.or(before.as_ref().and_then(|server| server.interval_minutes)).or(Some(60));
    let wanted = TimeServer { id: 1, host: host.to_owned(), port, interval_minutes };
    put_ntp(terminal, &wanted)?;
    let taken = ntp(terminal).map_err(|error| error.effect(Effect::Applied))?.into_iter().find(|s| s.id == 1);
    if taken.as_ref() == Some(&wanted) {
        return Ok(wanted);
    }
    let put_back = before.as_ref().is_some_and(|server| {
        put_ntp(terminal, server).is_ok() && ntp(terminal).is_ok_and(|now| now.contains(server))
    });
    let words = |server: &TimeServer| json!({ "host": server.host, "port": server.port, "interval": server.interval_minutes });
    Err(not_taken(
        "time server",
        put_back,
        json!({ "wanted": words(&wanted), "found": taken.as_ref().map(words) }),
    ))
}

fn put_ntp(terminal: &dyn Peer, server: &TimeServer) -> Result<(), Error> {
    let address =
        server.host.split('.').count() == 4 && server.host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let (kind, name) = if address { ("ipaddress", "ipAddress") } else { ("hostname", "hostName") };
    let host = xml::escape(&server.host);
    let request = Request::put(format!("/ISAPI/System/time/ntpServers/{}", server.id)).xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NTPServer version=\"2.0\" xmlns=\"{NAMESPACE}\">\n<id>{}</id>\n\
         <addressingFormatType>{kind}</addressingFormatType>\n<{name}>{host}</{name}>\n<portNo>{}</portNo>\n\
         <synchronizeInterval>{}</synchronizeInterval>\n</NTPServer>\n",
        server.id,
        server.port,
        server.interval_minutes.unwrap_or(60)
    ));
    let line = request.line();
    reply::accept_write(&terminal.send(request)?, &line).map(|_| ())
}

/// A setting that the terminal said it took and did not.
pub(crate) fn not_taken(what: &str, put_back: bool, mut details: Value) -> Error {
    let rest = if put_back {
        "the earlier setting is in force again"
    } else {
        "the earlier setting could not be put back"
    };
    details["rolledBack"] = put_back.into();
    Error::new(
        ErrorKind::VerificationFailed,
        format!("the terminal said that it set the {what}, and did not as it was told; {rest}"),
    )
    .effect(if put_back { Effect::None } else { Effect::Unknown })
    .details(&details)
}

fn local_seconds(text: &str) -> Option<i64> {
    Civil::parse(text.get(..19)?).map(Civil::seconds)
}

/// `CST-8:00:00` and what may follow: seconds east of Greenwich, outside summer time.
fn zone_offset(zone: &str) -> Option<i64> {
    let start = zone.find(['+', '-'])?;
    if start == 0 || zone.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let (sign, rest) = zone.split_at(start).1.split_at(1);
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ':').collect();
    let mut parts = digits.split(':').map(|part| part.parse::<i64>().ok());
    let hours = parts.next().flatten().filter(|hours| *hours <= 14)?;
    let minutes = parts.next().unwrap_or(Some(0)).filter(|minutes| *minutes < 60)?;
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == "-" { seconds } else { -seconds })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const GET: &str = "GET /ISAPI/System/time?format=json";
    const PUT: &str = "PUT /ISAPI/System/time";
    const NTP: &str = "GET /ISAPI/System/time/ntpServers";
    const PUT_NTP: &str = "PUT /ISAPI/System/time/ntpServers/1";
    const OK: &str =
        "<ResponseStatus><statusCode>1</statusCode><statusString>OK</statusString></ResponseStatus>";
    /// 2026-11-21T05:30:00Z.
    const NOW: i64 = 1_795_239_000;

    fn clock(mode: &str, time: &str, zone: &str) -> bascule_sdk::Response {
        answer(
            200,
            format!(
                "<Time version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><timeMode>{mode}</timeMode><localTime>{time}</localTime><timeZone>{zone}</timeZone></Time>"
            ),
        )
    }

    fn change(mode: &str, time: Option<&str>) -> Change {
        Change { mode: Some(mode.into()), local_time: time.map(Into::into), time_zone: None }
    }

    #[test]
    fn the_drift_is_counted_with_the_offset_or_with_the_zone() {
        for (time_text, zone, drift) in [
            ("2026-11-21T07:30:05+02:00", "CST-2:00:00", 5),
            ("2026-11-21T07:29:00", "CST-2:00:00DST01:00:00,M4.1.0/02:00:00,M10.5.0/02:00:00", -60),
            ("2026-11-21T01:30:00-04:00", "CST+4:00:00", 0),
            ("1970-01-01T02:00:00+02:00", "CST-2:00:00", -NOW),
        ] {
            let script = Script::new().then(GET, clock("NTP", time_text, zone));
            assert_eq!(time(&script, &|| NOW).unwrap().drift_seconds, Some(drift), "{time_text}");
        }
        let body =
            r#"{"Time":{"timeMode":"NTP","localTime":"2026-11-21T07:30:00+02:00","timeZone":"CST-2:00:00"}}"#;
        let script = Script::new().then(GET, answer(200, body));
        assert_eq!(time(&script, &|| NOW).unwrap().drift_seconds, Some(0));
    }

    #[test]
    fn the_hosts_time_is_set_in_the_terminals_zone_and_read_back() {
        let script = Script::new()
            .then(GET, clock("NTP", "2026-11-21T07:00:00+02:00", "CST-2:00:00"))
            .then(PUT, answer(200, OK))
            .then(GET, clock("manual", "2026-11-21T07:30:01+02:00", "CST-2:00:00"));
        assert_eq!(
            set_time(&script, change("manual", Some("host")), &|| NOW).unwrap().drift_seconds,
            Some(1)
        );
        assert!(script.body(1).contains("<localTime>2026-11-21T07:30:00</localTime>"), "{}", script.body(1));
        script.finish();
    }

    #[test]
    fn a_clock_that_was_not_set_is_put_back_and_said() {
        let before = || clock("NTP", "2026-11-21T07:00:00+02:00", "CST-2:00:00");
        let script = Script::new()
            .then(GET, before())
            .then(PUT, answer(200, OK))
            .then(GET, clock("manual", "2026-11-21T07:00:00+02:00", "CST-2:00:00"))
            .then(PUT, answer(200, OK))
            .then(GET, before());
        let error = set_time(&script, change("manual", Some("2026-11-21T09:00:00")), &|| NOW).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::None));
        assert!(error.details.unwrap().contains(r#""rolledBack":true"#));
        assert!(script.body(3).contains("<timeMode>NTP</timeMode>"));
        script.finish();
    }

    #[test]
    fn values_that_cannot_be_right_are_not_sent() {
        for (mode, time_text, zone) in [
            ("satellite", None, None),
            ("NTP", Some("2026-11-21T09:00:00"), None),
            ("manual", Some("2026-11-21T09:00:00+02:00"), None),
            ("manual", Some("2026-02-30T09:00:00"), None),
            ("manual", None, Some("Europe/Bucharest")),
            ("manual", None, Some("CST-99:00:00")),
        ] {
            let script = Script::new().then(GET, clock("manual", "2026-11-21T07:00:00+02:00", "CST-2:00:00"));
            let change = Change { time_zone: zone.map(Into::into), ..change(mode, time_text) };
            assert_eq!(set_time(&script, change, &|| NOW).unwrap_err().kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_time_server_is_set_read_back_and_put_back() {
        let list = |host: &str| {
            answer(
                200,
                format!(
                    "<NTPServerList><NTPServer><id>1</id><addressingFormatType>hostname</addressingFormatType><hostName>{host}</hostName><portNo>123</portNo><synchronizeInterval>60</synchronizeInterval></NTPServer></NTPServerList>"
                ),
            )
        };
        let script = Script::new()
            .then(NTP, list("old.test"))
            .then(PUT_NTP, answer(200, OK))
            .then(NTP, list("new.test"));
        assert_eq!(set_ntp(&script, "new.test", 123, None).unwrap().host, "new.test");
        let script = Script::new()
            .then(NTP, list("old.test"))
            .then(PUT_NTP, answer(200, OK))
            .then(NTP, list("other.test"))
            .then(PUT_NTP, answer(200, OK))
            .then(NTP, list("old.test"));
        let error = set_ntp(&script, "new.test", 123, None).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::VerificationFailed, Effect::None));
        assert_eq!(set_ntp(&Script::new(), "a b", 123, None).unwrap_err().kind, ErrorKind::InvalidInput);
    }
}
