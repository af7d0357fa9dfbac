//! The keys of what starts a workflow.

use super::{Callee, Form, KeyDoc, MapDoc, may, must};
use crate::trigger::END_STATUSES;

/// The kinds of triggers: an entry of `triggers` is a map with one of them.
pub static TRIGGERS: &[KeyDoc] = &[
    may("schedule", Form::Map(&SCHEDULE), "at the times of a cron line"),
    may("webhook", Form::Map(&WEBHOOK), "when somebody calls `/hooks/PATH`"),
    may("event", Form::Map(&EVENT), "when a device or a cloud says something"),
    may("workflow", Form::Map(&WORKFLOW_END), "when another workflow's run has ended"),
    may("overdue", Form::Map(&OVERDUE), "when another workflow has not succeeded for too long"),
    may("file", Form::Map(&FILE), "when a file has arrived in a folder"),
];

/// What every trigger has.
pub(crate) const SHARED: [&str; 3] = ["id", "if", "inputs"];

macro_rules! trigger {
    ($($own:expr),+ $(,)?) => {
        &[
            $($own,)+
            may(SHARED[0], Form::Text, "its name in the history; by default its kind and a number"),
            may(SHARED[1], Form::Condition, "over `trigger`; where it is false, no run is made"),
            may(SHARED[2], Form::Value, "the run's inputs, over `trigger`"),
        ]
    };
}

/// `schedule`
pub static SCHEDULE: MapDoc = MapDoc {
    name: "schedule",
    what: "`schedule`",
    keys: trigger![
        must(
            "cron",
            Form::Text,
            "five fields (minute, hour, day, month, weekday), six with seconds first, or `@daily`"
        ),
        may("time-zone", Form::Text, "an IANA name such as `Europe/Bucharest`; the site's unless it is said"),
        may(
            "missed",
            Form::Either(&[Form::Word(&MISSED_POLICIES), Form::Map(&MISSED)]),
            "what becomes of times at which nobody was there",
        ),
        may("jitter", Form::Duration, "each run begins up to so much later"),
    ],
    either: &[],
};

/// What may become of missed times.
pub(crate) const MISSED_POLICIES: [&str; 3] = ["skip", "once", "all"];

/// `missed` as a map.
pub static MISSED: MapDoc = MapDoc {
    name: "missed",
    what: "`missed`",
    keys: &[
        must("run", Form::Word(&MISSED_POLICIES), "none of them, the last one, or every one"),
        may("within", Form::Duration, "only times that are no longer ago"),
    ],
    either: &[],
};

/// The methods that a webhook may take.
pub(crate) const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// What a webhook may answer.
pub(crate) const ANSWERS: [&str; 3] = ["accepted", "result", "empty"];
/// How a webhook's body may be read.
pub(crate) const BODIES: [&str; 5] = ["json", "form", "xml", "text", "multipart"];
/// How a signature may be written.
pub(crate) const ENCODINGS: [&str; 2] = ["hex", "base64"];

/// `webhook`
pub static WEBHOOK: MapDoc = MapDoc {
    name: "webhook",
    what: "`webhook`",
    keys: trigger![
        must("path", Form::Text, "what stands behind `/hooks/`; `{name}` for a part that changes"),
        may("method", Form::OneOrMore(&Form::Word(&METHODS)), "POST unless it is said"),
        must("auth", Form::Either(&[Form::Word(&["none"]), Form::OneOf(AUTH)]), "who may call"),
        may("addresses", Form::OneOrMore(&Form::Text), "from where, e.g. 192.0.2.0/24"),
        may("dedupe", Form::Template, "a key: the same again makes no second run"),
        may(
            "body",
            Form::Either(&[Form::Word(&BODIES), Form::Map(&BODY)]),
            "how `trigger.body` is read; json unless it is said",
        ),
        may("max-body", Form::Size, "the largest body; 1MiB unless it is said"),
        may("timeout", Form::Duration, "how long the caller may take to send it; 10s unless it is said"),
        may("respond", Form::Word(&ANSWERS), "202 with the run's id, the run's output, or an empty 200"),
        may(
            "within",
            Form::Duration,
            "with `respond: result`: how long the caller waits; 30s unless it is said"
        ),
    ],
    either: &[],
};

/// The ways to tell who calls.
static AUTH: &[KeyDoc] = &[
    may("hmac-sha256", Form::Map(&HMAC), "a signature over the raw body"),
    may("header", Form::Map(&HEADER), "a secret in a header"),
    may("basic", Form::Map(&BASIC), "HTTP Basic"),
    may("digest", Form::Map(&DIGEST), "HTTP Digest"),
];

/// `hmac-sha256`
pub static HMAC: MapDoc = MapDoc {
    name: "hmac-sha256",
    what: "`hmac-sha256`",
    keys: &[
        must("secret", Form::Value, "the name of a secret (`bascule secret set NAME`)"),
        may("header", Form::Text, "where the signature stands; X-Signature-256 unless it is said"),
        may("timestamp-header", Form::Text, "where the time stands that is signed too"),
        may("tolerance", Form::Duration, "how old it may be; 5m unless it is said"),
        may("prefix", Form::Text, "what stands before the signature, e.g. `sha256=`"),
        may("encoding", Form::Word(&ENCODINGS), "hex unless it is said"),
    ],
    either: &[],
};

/// `header`
pub static HEADER: MapDoc = MapDoc {
    name: "header",
    what: "`header`",
    keys: &[
        must("name", Form::Text, "the header's name"),
        must("secret", Form::Value, "the name of a secret (`bascule secret set NAME`)"),
    ],
    either: &[],
};

/// `basic`
pub static BASIC: MapDoc = MapDoc { name: "basic", what: "`basic`", keys: PASSWORD, either: &[] };

/// `digest`
pub static DIGEST: MapDoc = MapDoc { name: "digest", what: "`digest`", keys: PASSWORD, either: &[] };

const PASSWORD: &[KeyDoc] = &[
    must("user", Form::Text, "the user's name"),
    must("password", Form::Value, "the name of a secret (`bascule secret set NAME`)"),
];

/// `body` as a map.
pub static BODY: MapDoc = MapDoc {
    name: "body",
    what: "`body`",
    keys: &[must("multipart", Form::Map(&MULTIPART), "forms with files, such as pictures")],
    either: &[],
};

/// `multipart`
pub static MULTIPART: MapDoc = MapDoc {
    name: "multipart",
    what: "`multipart`",
    keys: &[must("folder", Form::Folder, "where the files go")],
    either: &[],
};

/// `event`
pub static EVENT: MapDoc = MapDoc {
    name: "event",
    what: "`event`",
    keys: trigger![
        must("uses", Form::Uses(Callee::EventSource), "the event source"),
        may("with", Form::With, "its parameters"),
        may("for-each", Form::Items, "one source for each item of a list, e.g. for each terminal"),
        may("as", Form::Text, "what `with` and `key` call the item"),
        may("key", Form::Template, "what an item is known by"),
        may(
            "dedupe",
            Form::Template,
            "a key: the same again makes no second run; the source's own unless it is said"
        ),
        may("collect", Form::Map(&COLLECT), "several events make one run"),
        may(
            "silence",
            Form::Duration,
            "after so long without a sign of life it is started again; 2m unless it is said"
        ),
        may("catch-up", Form::Map(&CATCH_UP), "a function that gives what was missed since `trigger.since`"),
    ],
    either: &[],
};

/// `collect`
pub static COLLECT: MapDoc = MapDoc {
    name: "collect",
    what: "`collect`",
    keys: &[
        must("up-to", Form::Integer(1, MAX_COLLECTED), "the most events in one run"),
        must("within", Form::Duration, "how long the first event waits for more"),
    ],
    either: &[],
};

/// The most events in one run.
pub(crate) const MAX_COLLECTED: u32 = 10_000;

/// `catch-up`
pub static CATCH_UP: MapDoc = MapDoc {
    name: "catch-up",
    what: "`catch-up`",
    keys: &[
        must("uses", Form::Uses(Callee::Function), "the function that gives the events"),
        may("with", Form::With, "its parameters; `trigger.since` is from when on"),
    ],
    either: &[],
};

/// `workflow`
pub static WORKFLOW_END: MapDoc = MapDoc {
    name: "workflow-end",
    what: "`workflow`",
    keys: trigger![
        must("name", Form::OneOrMore(&Form::Workflow), "whose runs"),
        may(
            "status",
            Form::OneOrMore(&Form::Word(&END_STATUSES)),
            "how they ended; succeeded and recovered unless it is said",
        ),
    ],
    either: &[],
};

/// `overdue`
pub static OVERDUE: MapDoc = MapDoc {
    name: "overdue",
    what: "`overdue`",
    keys: trigger![
        must("name", Form::OneOrMore(&Form::Workflow), "which workflows are watched, each by itself"),
        must("no-success-for", Form::Duration, "how long one may take to succeed again, e.g. 26h"),
    ],
    either: &[],
};

/// `file`
pub static FILE: MapDoc = MapDoc {
    name: "file",
    what: "`file`",
    keys: trigger![
        must("folder", Form::Folder, "where it arrives"),
        may("pattern", Form::Text, "its name, with `*` and `?`"),
        may("settle", Form::Duration, "for how long it must not have grown; 2s unless it is said"),
    ],
    either: &[],
};
