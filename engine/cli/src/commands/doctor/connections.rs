//! Connections: reachable, credentials taken, clocks right.

use std::time::Duration;

use anyhow::Result;
use bascule_capability::http::CallContext;
use bascule_workflow::failure::{Failure, Kind};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{Patient, Report, chain};
use crate::arguments::Doctor;
use crate::commands::connection::parse;
use crate::live::describe;
use crate::serving::Client;
use crate::site::{Places, Site};

/// The longest that one test may take.
const LIMIT: Duration = Duration::from_secs(20);
/// A clock that is further off is told.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What came of asking a peer.
struct Tested {
    origin: String,
    /// HTTP status.
    status: Option<u16>,
    /// The peer's `Date`.
    date: Option<String>,
    /// Why there was no answer: kind and text.
    failed: Option<(Kind, String)>,
}

pub(super) async fn check(patient: &Patient<'_>, options: &Doctor, report: &mut Report) -> Result<()> {
    let Some(project) = &patient.project else { return Ok(()) };
    let params = parse(&options.params)?;
    let mut unasked = Vec::new();
    let mut asked = Vec::new();
    for (name, entry) in &project.connections {
        let given: Map<String, Value> = entry
            .params
            .iter()
            .filter_map(|param| params.get(param).map(|value| (param.clone(), value.clone())))
            .collect();
        if given.len() == entry.params.len() {
            asked.push((name, given))
        } else {
            unasked.push(name.as_str())
        }
    }
    if options.offline {
        report.ok("connections", "not asked (--offline)");
        return Ok(());
    }
    if !asked.is_empty() {
        let asker = match Asker::open(patient).await {
            Ok(asker) => asker,
            Err(error) => {
                report.warn(
                    "connections",
                    format!("not asked: {}", chain(&error)),
                    "whether peers can be reached and take the credentials is not known",
                    "mend what is said above, or ask again when the other process has ended",
                );
                return Ok(());
            }
        };
        for (name, given) in asked {
            let tested = asker.ask(name, &given).await;
            tell(name, &tested, report);
        }
        asker.close().await;
    }
    if !unasked.is_empty() {
        report.ok(
            "connections",
            format!(
                "not asked, because each use says which device: {} (`bascule doctor --param 'device={{\"ip\":\"..\",\"port\":80}}'` asks one)",
                unasked.join(", ")
            ),
        );
    }
    Ok(())
}

fn tell(name: &str, tested: &Tested, report: &mut Report) {
    let origin = &tested.origin;
    match (&tested.failed, tested.status) {
        (Some((kind, message)), _) => {
            let (why, mend) = match kind {
                Kind::Unauthorized | Kind::LockedOut => (
                    "the peer does not take the credentials; after some more tries it locks the account",
                    "store the right ones with `bascule secret set NAME`, and look at the user in bascule.yaml",
                ),
                Kind::InvalidInput => ("the connection is not complete", "the message says what is missing"),
                _ => (
                    "what needs this connection fails or waits",
                    "look at address, network and firewall; `bascule connection test` asks again",
                ),
            };
            report.error("connections", format!("`{name}` ({origin}): {message}"), why, mend);
        }
        (None, Some(status)) if status == 401 || status == 403 => report.error(
            "connections",
            format!("`{name}` ({origin}) answered {status}"),
            "the peer does not take the credentials",
            "store the right ones with `bascule secret set NAME`",
        ),
        (None, Some(status)) if status >= 500 => report.warn(
            "connections",
            format!("`{name}` ({origin}) answered {status}"),
            "it can be reached and is not well",
            "look at the peer itself",
        ),
        (None, status) => {
            let status = status.map_or_else(|| "it".to_owned(), |status| status.to_string());
            report.ok("connections", format!("`{name}` ({origin}) answered {status}"));
        }
    }
    if let Some(skew) =
        tested.date.as_deref().and_then(|date| skew(date, Timestamp::now(), &TimeZone::system()))
        && skew.abs() > SKEW
    {
        let how = if skew.is_negative() { "behind" } else { "ahead" };
        report.warn(
            "clocks",
            format!(
                "the clock of `{name}` ({origin}) is {} s {how}, by the date of its answer",
                skew.abs().as_secs()
            ),
            "events and recordings carry its time, and signed requests are refused where clocks differ",
            "let it take its time from the same NTP server as this machine",
        );
    }
}

/// How far the peer's clock is ahead. Devices write their local time and call it GMT (facts/isapi.md 1.1), so whichever
/// of both readings is nearer is meant.
fn skew(date: &str, now: Timestamp, zone: &TimeZone) -> Option<SignedDuration> {
    let theirs = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(date).ok()?;
    let as_written = theirs.duration_since(now);
    let offset = SignedDuration::from_secs(i64::from(zone.to_offset(now).seconds()));
    let as_local = as_written.checked_sub(offset)?;
    Some(if as_local.abs() < as_written.abs() { as_local } else { as_written })
}

/// Whoever may use the connections: the running server, or this process.
enum Asker<'p> {
    Server(&'p Client),
    Here(Box<Site>),
}

impl<'p> Asker<'p> {
    async fn open(patient: &'p Patient<'_>) -> Result<Self> {
        if let Some(client) = &patient.client {
            return Ok(Self::Server(client));
        }
        let places: &Places = patient.places;
        // A look must not make a key and a database.
        anyhow::ensure!(places.database().exists(), "nothing is stored here yet");
        Ok(Self::Here(Box::new(Site::open(places.clone()).await?)))
    }

    async fn ask(&self, name: &str, params: &Map<String, Value>) -> Tested {
        match self {
            Self::Server(client) => through(client, name, params).await,
            Self::Here(site) => match here(site, name, params).await {
                Ok(tested) => tested,
                Err(error) => Tested {
                    origin: "not asked".to_owned(),
                    status: None,
                    date: None,
                    failed: Some((Kind::InvalidInput, chain(&error))),
                },
            },
        }
    }

    async fn close(self) {
        if let Self::Here(site) = self {
            site.database.close().await;
        }
    }
}

async fn through(client: &Client, name: &str, params: &Map<String, Value>) -> Tested {
    let answer = client.post(&format!("/api/v1/connections/{name}/test"), &json!({ "params": params })).await;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match answer {
        Ok(answer) => Tested {
            origin: text(&answer["origin"]).unwrap_or_default(),
            status: answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            date: text(&answer["server_date"]),
            failed: answer["error"].as_object().map(|error| {
                let kind = error.get("kind").and_then(Value::as_str).and_then(Kind::from_name);
                let message = error.get("message").and_then(Value::as_str).unwrap_or("no answer");
                (kind.unwrap_or(Kind::Internal), message.to_owned())
            }),
        },
        Err(error) => Tested {
            origin: "through the server".to_owned(),
            status: None,
            date: None,
            failed: Some((Kind::InvalidInput, chain(&error))),
        },
    }
}

async fn here(site: &Site, name: &str, params: &Map<String, Value>) -> Result<Tested> {
    let capabilities = site.capabilities().await?;
    let connection = match capabilities.connection(name, params) {
        Ok(connection) => connection,
        Err(failure) => return Ok(failed("not asked".to_owned(), &failure)),
    };
    let context = CallContext {
        cancel: CancellationToken::new(),
        deadline: tokio::time::Instant::now() + LIMIT,
        progress: None,
    };
    let origin = connection.origin().to_owned();
    Ok(match connection.test(&context).await {
        Ok(answer) => Tested { origin, status: Some(answer.status), date: answer.server_date, failed: None },
        Err(failure) => failed(origin, &failure),
    })
}

fn failed(origin: String, failure: &Failure) -> Tested {
    Tested { origin, status: None, date: None, failed: Some((failure.kind, describe(failure))) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_device_that_calls_its_local_time_gmt_is_not_told_to_be_hours_off() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Bucharest").unwrap();
        for (date, seconds) in [
            ("Sat, 21 Nov 2026 12:00:00 GMT", 0),
            ("Sat, 21 Nov 2026 14:00:00 GMT", 0),
            ("Sat, 21 Nov 2026 14:03:20 GMT", 200),
            ("Sat, 21 Nov 2026 11:50:00 GMT", -600),
        ] {
            assert_eq!(skew(date, now, &zone).unwrap().as_secs(), seconds, "{date}");
        }
        let reset = skew("Fri, 01 Jan 2021 00:00:00 GMT", now, &zone).unwrap();
        assert!(reset < SignedDuration::from_hours(-5 * 365 * 24), "{reset}");
        assert_eq!(skew("yesterday", now, &zone), None);
    }
}
