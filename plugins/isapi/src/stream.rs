//! Listening at a terminal: `alertStream` (`facts/isapi.md` 5.2).

pub(crate) mod parts;

use std::time::Duration;

use bascule_sdk::events::Sink;
use bascule_sdk::{Connection, Error, ErrorKind, Folder, Incoming, Request, Response, json, log};
use serde_json::Value;

use crate::bindings::exports::bascule::isapi::events::{Event, EventKind, Picture};
use crate::decode::{document, is_picture, name_of, sha256};
use crate::notice;
use crate::reply;
use parts::{Found, Part, Parts};

const PATH: &str = "/ISAPI/Event/notification/alertStream";
/// Three missed heartbeats of a terminal.
const SILENCE_SECONDS: u32 = 90;
/// How long an event waits for pictures that it announced, or that are arriving, in milliseconds of silence.
const PATIENCE: u32 = 5_000;
/// How long it waits for pictures that it did not announce.
const GRACE: u32 = 300;
/// Pictures of one event; what comes after is left out.
const MAX_PICTURES: usize = 8;
/// A call may make 100,000 host calls; the stream ends in order before that.
const MAX_HOST_CALLS: u64 = 60_000;

/// The answer as it arrives.
pub(crate) trait Line {
    /// The next bytes; `timeout` after so many milliseconds of silence.
    fn read(&self, wait: u32) -> Result<Option<Vec<u8>>, Error>;
}

impl Line for Incoming {
    fn read(&self, wait: u32) -> Result<Option<Vec<u8>>, Error> {
        Self::read(self, wait)
    }
}

/// Where events go.
pub(crate) trait Outlet {
    fn emit(&self, event: &Value, key: &str) -> Result<(), Error>;
    fn state(&self, connected: bool, note: &str);
}

impl Outlet for Sink {
    fn emit(&self, event: &Value, key: &str) -> Result<(), Error> {
        Self::emit(self, &event.to_string(), Some(key))
    }

    fn state(&self, connected: bool, note: &str) {
        Self::state(self, connected, note);
    }
}

/// Where pictures go.
pub(crate) trait Album {
    fn put(&self, name: &str, data: &[u8]) -> Result<(), Error>;
}

impl Album for Folder {
    fn put(&self, name: &str, data: &[u8]) -> Result<(), Error> {
        self.write(name, data).map(drop)
    }
}

/// What to listen for.
pub(crate) struct Wanted<'a> {
    /// The name of the terminal, where the caller gave one.
    pub(crate) device: Option<String>,
    /// Its name where neither caller nor event tell one.
    pub(crate) address: String,
    pub(crate) album: Option<&'a dyn Album>,
    pub(crate) silence_seconds: Option<u32>,
    pub(crate) skip_history: bool,
}

/// The host's clock in seconds, and whether the call has time left.
pub(crate) struct Watch<'a> {
    pub(crate) now: &'a dyn Fn() -> i64,
    pub(crate) time_left: &'a dyn Fn() -> bool,
}

/// Opens the stream and listens until it ends.
pub(crate) fn stream(
    terminal: &Connection,
    outlet: &dyn Outlet,
    wanted: &Wanted<'_>,
    watch: &Watch<'_>,
) -> Result<(), Error> {
    let request = Request::get(PATH);
    let line = request.line();
    outlet.state(false, "connecting");
    let incoming = terminal.open(&request)?;
    if !(200..300).contains(&incoming.status()) {
        let mut body = Vec::new();
        while body.len() < parts::TEXT_LIMIT
            && let Ok(Some(piece)) = incoming.read(PATIENCE)
        {
            body.extend(piece);
        }
        return Err(refusal(
            &Response { status: incoming.status(), headers: incoming.headers(), body },
            &line,
        ));
    }
    let ended = listen(&incoming, outlet, wanted, watch);
    if let Err(error) = &ended {
        outlet.state(false, &error.message);
    }
    ended
}

/// What the terminal says instead of a stream.
fn refusal(response: &Response, line: &str) -> Error {
    let error = match reply::accept(response, line) {
        Err(error) => error,
        Ok(_) => reply::unexpected(line, "a stream of events"),
    };
    let too_many = error
        .code
        .as_deref()
        .is_some_and(|code| matches!(code, "isapi:invalidOperation" | "isapi:deployExceedMax"));
    if response.status == 403 && too_many {
        let error = Error { kind: ErrorKind::Busy, ..error };
        return Error { message: "the terminal has too many listeners already".to_owned(), ..error }
            .retry_after(Duration::from_secs(120));
    }
    error
}

/// Reads until the terminal ends it, is silent for too long, or the call's time is up.
pub(crate) fn listen(
    line: &dyn Line,
    outlet: &dyn Outlet,
    wanted: &Wanted<'_>,
    watch: &Watch<'_>,
) -> Result<(), Error> {
    let silence = i64::from(wanted.silence_seconds.unwrap_or(SILENCE_SECONDS).max(1));
    let mut ear = Ear { outlet, wanted, held: None, host_calls: 0, signs: 0 };
    let mut parts = Parts::default();
    let (mut heard_at, mut signs) = ((watch.now)(), 0);
    outlet.state(true, "listening");
    while ear.host_calls < MAX_HOST_CALLS && (watch.time_left)() {
        ear.host_calls += 3;
        let left = heard_at + silence - (watch.now)();
        if left <= 0 {
            ear.release()?;
            let message = format!("the terminal has been silent for {silence} s, heartbeats included");
            return Err(Error::new(ErrorKind::Timeout, message).code("isapi:stream-silent"));
        }
        let wait = u32::try_from(left).unwrap_or(u32::MAX).saturating_mul(1_000);
        let wait = ear.patience(parts.is_inside()).map_or(wait, |patience| patience.min(wait));
        match line.read(wait) {
            Ok(Some(bytes)) => {
                for found in parts.push(&bytes) {
                    ear.take(found)?;
                }
            }
            Ok(None) => {
                let rest = std::mem::take(&mut parts).finish();
                rest.map_or(Ok(()), |rest| ear.take(rest))?;
                ear.release()?;
                return Err(Error::new(ErrorKind::Offline, "the terminal ended the stream of events")
                    .code("isapi:stream-ended"));
            }
            Err(error) if error.kind == ErrorKind::Timeout => match parts.settle() {
                Some(picture) => ear.take(picture)?,
                None => ear.release()?,
            },
            Err(error) => {
                ear.release()?;
                return Err(error);
            }
        }
        if ear.signs > signs {
            (heard_at, signs) = ((watch.now)(), ear.signs);
        }
    }
    ear.release()
}

/// An event that waits for its pictures.
struct Held {
    event: Event,
    announced: usize,
}

struct Ear<'a> {
    outlet: &'a dyn Outlet,
    wanted: &'a Wanted<'a>,
    held: Option<Held>,
    host_calls: u64,
    /// Events and heartbeats so far.
    signs: u64,
}

impl Ear<'_> {
    /// How long to wait before the event is handed on as it is; none where none waits.
    fn patience(&self, is_inside: bool) -> Option<u32> {
        let held = self.held.as_ref()?;
        Some(if is_inside || held.event.pictures.len() < held.announced { PATIENCE } else { GRACE })
    }

    fn take(&mut self, found: Found) -> Result<(), Error> {
        let part = match found {
            Found::Part(part) => part,
            Found::TooLarge(bytes) => {
                self.warn(&format!(
                    "left out a part of {bytes} bytes, which is more than any event or picture has"
                ));
                return Ok(());
            }
        };
        if is_picture(&part) {
            return self.picture(&part);
        }
        let Some(value) = document(&part.body) else {
            self.warn(&format!("left out a part of {} bytes that is neither JSON nor XML", part.body.len()));
            return Ok(());
        };
        let Some(event) = notice::of_document(&value, self.wanted.device.as_deref()) else {
            return self.other(&part, &value);
        };
        self.signs += 1;
        self.release()?;
        if event.kind == EventKind::Heartbeat {
            self.host_calls += 1;
            self.outlet.state(true, &format!("heartbeat at {}", event.time));
            return Ok(());
        }
        if self.wanted.skip_history && event.current == Some(false) {
            return Ok(());
        }
        let announced = announced(&value);
        self.held = Some(Held { event, announced });
        Ok(())
    }

    /// A document that is no event: the terminal's own verdict, in place of a stream or in its midst.
    fn other(&mut self, part: &Part, value: &Value) -> Result<(), Error> {
        let status = json::field(value, "ResponseStatus").unwrap_or(value);
        if json::field(status, "statusCode").is_some() {
            let response = Response { status: 200, headers: Vec::new(), body: part.body.clone() };
            reply::accept(&response, &format!("GET {PATH}"))?;
        }
        self.warn("left out a document that is no event");
        Ok(())
    }

    fn picture(&mut self, part: &Part) -> Result<(), Error> {
        let Some(held) = &mut self.held else {
            self.warn(&format!("left out a picture of {} bytes that belongs to no event", part.body.len()));
            return Ok(());
        };
        let number = held.event.pictures.len() + 1;
        if number > MAX_PICTURES {
            self.warn("left out a picture: the event has too many");
            return Ok(());
        }
        let file = match self.wanted.album {
            None => None,
            Some(album) => {
                let device = held.event.device.as_deref().unwrap_or(&self.wanted.address);
                let name = file_name(device, &held.event, number);
                self.host_calls += 1;
                album.put(&name, &part.body)?;
                Some(name)
            }
        };
        held.event.pictures.push(Picture {
            name: name_of(part),
            bytes: part.body.len() as u64,
            sha256: Some(sha256(&part.body)),
            file,
        });
        if held.announced > 0 && number >= held.announced { self.release() } else { Ok(()) }
    }

    /// Hands on the event that waits.
    fn release(&mut self) -> Result<(), Error> {
        let Some(Held { mut event, .. }) = self.held.take() else { return Ok(()) };
        let device = event.device.get_or_insert_with(|| self.wanted.address.clone());
        let key = format!("{device}/{}", event.key);
        self.host_calls += 2;
        self.outlet.emit(&notice::to_json(&event), &key)?;
        self.outlet.state(true, &format!("event at {}", event.time));
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        self.host_calls += 1;
        log::warn(message);
    }
}

/// How many pictures the terminal says will follow.
fn announced(document: &Value) -> usize {
    let alert = json::field(document, "EventNotificationAlert").unwrap_or(document);
    let inner = json::field(alert, "AccessControllerEvent").unwrap_or(alert);
    let told = json::field(inner, "picturesNumber").and_then(json::as_integer);
    told.and_then(|number| usize::try_from(number).ok()).unwrap_or(0).min(MAX_PICTURES)
}

/// `gate-1/2026-08-02/30203-2026-08-02T10-15-30-1.jpg`
fn file_name(device: &str, event: &Event, number: usize) -> String {
    let plain = |text: &str| -> String {
        let kept = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        text.chars().map(kept).take(80).collect()
    };
    let day = event.time.get(..10).unwrap_or("undated");
    format!("{}/{}/{}-{number}.jpg", plain(device), plain(day), plain(&event.key))
}

#[cfg(test)]
mod tests;
