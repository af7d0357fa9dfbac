//! `triggers:` as they are written: parsed and checked here, brought to life by the server. Every workflow can be
//! started by hand as well.

use std::time::Duration;

use crate::expression::{Expression, Template};
use crate::plan::Call;

/// One checked trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// `id:`, or the kind and a number counted from 1 per kind: `schedule-1`.
    pub id: String,
    /// Where it stands in the file, 1-based line.
    pub line: u32,
    /// What it waits for.
    pub source: Source,
    /// `if:` with `trigger` in scope; false means no run.
    pub condition: Option<Expression>,
    /// `inputs:` with `trigger` in scope: a map for `accept_inputs`. Without it a webhook's body (a map) is taken.
    pub inputs: Option<Template>,
}

impl Trigger {
    /// The keyword: `schedule`, `webhook`, `event`, `workflow`, `overdue`, `file`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Schedule(_) => "schedule",
            Source::Webhook(_) => "webhook",
            Source::Event(_) => "event",
            Source::Workflow(_) => "workflow",
            Source::Overdue(_) => "overdue",
            Source::File(_) => "file",
        }
    }
}

/// What a trigger waits for.
#[derive(Clone, Debug)]
pub enum Source {
    /// `schedule:`
    Schedule(Schedule),
    /// `webhook:`
    Webhook(Webhook),
    /// `event:`
    Event(Box<Event>),
    /// `workflow:`
    Workflow(AfterWorkflow),
    /// `overdue:`
    Overdue(Overdue),
    /// `file:`
    File(File),
}

/// `schedule: { cron: "0 3 * * *", time-zone: Europe/Bucharest, missed: once, jitter: 5m }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `cron:` five or six fields, or `@daily` and the like.
    pub cron: String,
    /// The line in English words, e.g. "At 03:00."
    pub description: String,
    /// `time-zone:` an IANA name; the site's zone where there is none.
    pub time_zone: Option<String>,
    /// `missed:` what becomes of occurrences while nothing ran. By default `skip`.
    pub missed: Missed,
    /// `missed: { within: .. }` older ones are not made up for.
    pub missed_within: Option<Duration>,
    /// `jitter:` each occurrence is put off by a part of this. By default none.
    pub jitter: Duration,
}

/// `missed:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are counted and shown, not run.
    Skip,
    /// One run for all of them.
    Once,
    /// A run for each.
    All,
}

/// `webhook: { path: update-photo, auth: { hmac-sha256: { secret: photo-hook } }, respond: result }`
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `path:` below `/hooks/`, without `/` in front; parts may be `{name}`.
    pub path: String,
    /// `method:` upper case. By default POST.
    pub methods: Vec<String>,
    /// `auth:`
    pub auth: WebhookAuth,
    /// `addresses:` ranges that callers must come from. Empty: any.
    pub addresses: Vec<String>,
    /// `dedupe:` a key; a delivery with a key seen before makes no second run. `trigger` is in scope.
    pub dedupe: Option<Template>,
    /// `body:` how the body is read. By default JSON.
    pub body: Body,
    /// `max-body:` bytes. By default 1 MiB.
    pub max_body_bytes: u64,
    /// `timeout:` for reading the body. By default 10 s.
    pub timeout: Duration,
    /// `respond:`
    pub respond: Respond,
}

/// `auth:` of a webhook. Secrets are names of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookAuth {
    /// `auth: none`
    None,
    /// `hmac-sha256: { secret, header, timestamp-header, tolerance, prefix, encoding }` over the raw body, with the
    /// timestamp and a dot in front where there is one.
    HmacSha256 {
        /// Name of the secret.
        secret: String,
        /// By default `X-Signature-256`.
        header: String,
        /// The header with the time of sending (seconds since the epoch), part of what is signed.
        timestamp_header: Option<String>,
        /// How old that time may be. By default 5 min.
        tolerance: Duration,
        /// In front of the signature, e.g. `sha256=`.
        prefix: String,
        /// `encoding: base64`, else hexadecimal.
        base64: bool,
    },
    /// `header: { name, secret }` a header that holds the secret.
    Header {
        /// The header.
        name: String,
        /// Name of the secret.
        secret: String,
    },
    /// `basic: { user, password }`
    Basic {
        /// User name.
        user: String,
        /// Name of the secret.
        password: String,
    },
    /// `digest: { user, password }`
    Digest {
        /// User name.
        user: String,
        /// Name of the secret.
        password: String,
    },
}

/// `body:` of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `json`
    Json,
    /// `form`: `application/x-www-form-urlencoded`
    Form,
    /// `xml`, as a map
    Xml,
    /// `multipart: { folder }`: files of the body are stored in that folder
    Multipart {
        /// The workflow's name for the folder.
        folder: String,
    },
    /// `text`, as it stands
    Text,
}

/// `respond:` of a webhook; in every case after the delivery is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Respond {
    /// 202 with the run's id.
    Accepted,
    /// The run's status and output, or 202 when it takes longer than `within:` (by default 30 s).
    Result {
        /// How long the caller is kept waiting.
        within: Duration,
    },
    /// 200 and nothing else, as terminals want it.
    Empty,
}

/// `event: { uses: isapi/events.stream, with: .., dedupe: .., collect: { up-to: 100, within: 2s } }`
#[derive(Clone, Debug)]
pub struct Event {
    /// The event source; its sink is supplied by the server.
    pub call: Call,
    /// `for-each:` a list; one source for each item.
    pub for_each: Option<EventForEach>,
    /// `dedupe:` a key, with `trigger` in scope.
    pub dedupe: Option<Template>,
    /// `collect:` several events make one run; `trigger.events` is then a list.
    pub collect: Option<Collect>,
    /// `silence:` after this long without a sign of life the source is started again. By default 2 min.
    pub silence: Duration,
    /// `catch-up:` a call that gives what was missed, a list of events, with `trigger.since` in scope.
    pub catch_up: Option<Call>,
}

/// `for-each:` of an event source.
#[derive(Clone, Debug)]
pub struct EventForEach {
    /// A list.
    pub items: Expression,
    /// `as:`, by default `item`.
    pub variable: String,
    /// `key:`; by default the index.
    pub key: Option<Template>,
}

/// `collect:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    /// `up-to:` events in one run.
    pub up_to: u32,
    /// `within:` how long the first one waits for more.
    pub within: Duration,
}

/// `workflow: { name: export-nightly, status: [failed] }`: another workflow's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterWorkflow {
    /// `name:` ids of workflows.
    pub names: Vec<String>,
    /// `status:` by default succeeded and recovered.
    pub statuses: Vec<&'static str>,
}

/// `overdue: { name: nightly-nvr-export, no-success-for: 26h }`: another workflow has not succeeded for so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// `name:` ids of workflows; each is watched by itself.
    pub names: Vec<String>,
    /// `no-success-for:` how long after the last run that ended succeeded or recovered. At least 1 s.
    pub no_success_for: Duration,
}

/// The ends of a run that `workflow: { status: .. }` can name.
pub const END_STATUSES: [&str; 5] = ["succeeded", "recovered", "failed", "cancelled", "interrupted"];

/// `file: { folder: inbox, pattern: "*.csv", settle: 5s }`: a file arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The workflow's name for the folder.
    pub folder: String,
    /// `pattern:` with `*` and `?`. By default `*`.
    pub pattern: String,
    /// `settle:` how long its size must stay the same. By default 2 s.
    pub settle: Duration,
}
