//! One call to a recorder: routing, and the forms that its answers take (`facts/isapi.md 8`).

use jiff::Timestamp;
use jiff::tz::Offset;

use super::{Machine, RecorderHabits, download, lists, search};
use crate::auth::Refusal;
use crate::fault::html;
use crate::ledger::{Kind, Note};
use crate::wire::{Answer, Reply, Request};

pub(super) struct Call<'a> {
    pub(super) machine: &'a Machine,
    pub(super) habits: &'a RecorderHabits,
    pub(super) request: &'a Request,
    /// How the caller was known.
    pub(super) known: String,
}

/// subStatusCode, statusCode, usual HTTP status.
const ERRORS: &[(&str, u32, u16)] = &[
    ("deviceBusy", 2, 503),
    ("deviceError", 3, 500),
    ("notSupport", 4, 403),
    ("methodNotAllowed", 4, 405),
    ("badXmlFormat", 5, 400),
    ("badXmlContent", 6, 400),
    ("badParameters", 6, 400),
];

impl Call<'_> {
    pub(super) fn dispatch(&self) -> Reply {
        let path = self.request.path().to_ascii_lowercase();
        let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
        match (self.request.method.as_str(), pieces.as_slice()) {
            ("GET", ["isapi", "system", "deviceinfo"]) => lists::device_info(self).into(),
            ("GET", ["isapi", "system", "status"]) => lists::status(self).into(),
            ("GET", ["isapi", "system", "time"]) => lists::time(self).into(),
            ("GET", ["isapi", "security", "usercheck"]) => self
                .xml(200, "userCheck", "<statusValue>200</statusValue>\n<statusString>OK</statusString>\n")
                .into(),
            ("GET", ["isapi", "system", "video", "inputs", "channels"]) => lists::inputs(self).into(),
            ("GET", ["isapi", "contentmgmt", "inputproxy", "channels"]) => lists::proxies(self).into(),
            ("GET", ["isapi", "contentmgmt", "inputproxy", "channels", "status"]) => {
                lists::proxy_status(self).into()
            }
            ("GET", ["isapi", "streaming", "channels"]) => lists::streams(self).into(),
            ("GET", ["isapi", "streaming", "channels", id, "picture"]) => self.picture(id, false).into(),
            ("GET", ["isapi", "contentmgmt", "streamingproxy", "channels", id, "picture"]) => {
                self.picture(id, true).into()
            }
            ("GET", ["isapi", "contentmgmt", "record", "tracks"]) => lists::tracks(self).into(),
            ("POST", ["isapi", "contentmgmt", "record", "tracks", id, "dailydistribution"]) => {
                lists::days(self, id).into()
            }
            ("GET", ["isapi", "contentmgmt", "storage"]) => lists::storage(self).into(),
            ("POST", ["isapi", "contentmgmt", "search"]) => search::search(self).into(),
            (_, ["isapi", "contentmgmt", "download"]) => download::download(self),
            (_, ["isapi", ..]) => Answer { status: 404, ..self.error("notSupport") }.into(),
            _ => html(404, "Not Found").into(),
        }
    }

    fn picture(&self, id: &str, proxied: bool) -> Answer {
        use super::Snapshot::{BadXmlContent, DeviceError, Works};
        let channel = id.parse::<u32>().unwrap_or_default() / 100;
        if !(1..=self.habits.channels).contains(&channel) {
            return self.error("notSupport");
        }
        match (self.habits.snapshot, proxied) {
            (DeviceError, _) => Answer { status: 200, ..self.error("deviceError") },
            (BadXmlContent, false) => Answer { status: 200, ..self.error("badXmlContent") },
            (Works | BadXmlContent, _) => {
                let picture = crate::photo::Sketch::new(self.machine.seed ^ u64::from(channel)).draw();
                self.note(Kind::SnapshotSent, id, None, &format!("{} bytes", picture.len()));
                Answer::new(200, "image/jpeg", picture)
            }
        }
    }

    /// A `ResponseStatus`.
    pub(super) fn error(&self, code: &str) -> Answer {
        let known = ERRORS.iter().find(|(name, ..)| *name == code);
        let (status, http) = known.map_or((6, 400), |(_, status, http)| (*status, *http));
        let text = match status {
            2 => "Device Busy",
            3 => "Device Error",
            4 => "Invalid Operation",
            5 => "Invalid XML Format",
            _ => "Invalid XML Content",
        };
        let path = self.request.path().replace('&', "&amp;").replace('<', "&lt;");
        let inner = format!(
            "<requestURL>{path}</requestURL>\n<statusCode>{status}</statusCode>\n<statusString>{text}</statusString>\n\
             <subStatusCode>{code}</subStatusCode>\n"
        );
        self.xml(if self.habits.errors_as_200 { 200 } else { http }, "ResponseStatus", &inner)
    }

    pub(super) fn xml(&self, status: u16, root: &str, inner: &str) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n\
             <{root} version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\r\n{inner}</{root}>\r\n"
        );
        Answer::new(status, "application/xml; charset=\"UTF-8\"", body)
    }

    /// 401 as recorders say it: `userCheck` with nothing about locks.
    pub(super) fn refused(&self, refusal: &Refusal) -> Answer {
        let body = "<statusValue>401</statusValue>\n<statusString>Unauthorized</statusString>\n";
        let answer = self.xml(401, "userCheck", body);
        refusal.challenges.iter().fold(answer, |answer, line| answer.with("WWW-Authenticate", line))
    }

    pub(super) fn note(&self, kind: Kind, subject: &str, code: Option<&str>, text: &str) {
        self.machine.ledger.write(Note {
            subject: Some(subject.to_owned()),
            code: code.map(str::to_owned),
            note: Some(text.to_owned()),
            ..self.machine.note(self.request, kind, &self.known)
        });
    }

    /// A moment as searches write it.
    pub(super) fn told(&self, moment: Timestamp) -> String {
        use super::SearchTime::{Local, Offset as WithOffset, Utc};
        let local = self.local(moment).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        match self.habits.z {
            Local => format!("{local}Z"),
            WithOffset => format!("{local}{}", self.offset()),
            Utc => Offset::UTC.to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    /// A moment as playback addresses write it.
    pub(super) fn stamp(&self, moment: Timestamp) -> String {
        let utc = self.habits.z == super::SearchTime::Utc;
        let time = if utc { Offset::UTC.to_datetime(moment) } else { self.local(moment) };
        time.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// The moment that a search means.
    pub(super) fn meant(&self, text: &str) -> Option<Timestamp> {
        use super::SearchTime::{Local, Offset as WithOffset, Utc};
        let moment: Timestamp = text.parse().ok()?;
        match self.habits.z {
            Local if text.ends_with('Z') => moment
                .checked_sub(jiff::SignedDuration::from_mins(self.habits.utc_offset_minutes.into()))
                .ok(),
            Local | Utc | WithOffset => Some(moment),
        }
    }

    pub(super) fn local(&self, moment: Timestamp) -> jiff::civil::DateTime {
        let offset = Offset::from_seconds(self.habits.utc_offset_minutes * 60).unwrap_or(Offset::UTC);
        offset.to_datetime(moment)
    }

    pub(super) fn offset(&self) -> String {
        let minutes = self.habits.utc_offset_minutes;
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}
