//! The keys of the file itself.

use super::steps::{ONE_CATCH, ONE_STEP};
use super::{Form, MapDoc, RETRY, TRIGGERS, may, must};
use crate::admission::{Collected, Priority, WhenBusy};

/// A workflow file.
pub static WORKFLOW: MapDoc = MapDoc {
    name: "workflow",
    what: "a workflow",
    keys: &[
        may("name", Form::Text, "for people"),
        may("description", Form::Text, "for people: what it is for, in a sentence or two"),
        may("inputs", Form::Named(&INPUT_FORM), "what a run is given, by name"),
        may(
            "connections",
            Form::Aliases,
            "names of its own for connections of `bascule.yaml`: `{ own: theirs }`",
        ),
        may("folders", Form::Aliases, "names of its own for folders of `bascule.yaml`: `{ own: theirs }`"),
        may("stores", Form::Aliases, "names of its own for stores of `bascule.yaml`: `{ own: theirs }`"),
        may(
            "triggers",
            Form::List(&Form::OneOf(TRIGGERS)),
            "what starts it by itself; by hand it can always be started",
        ),
        may("concurrency", Form::Map(&CONCURRENCY), "of all runs with one group one is under way at a time"),
        may("priority", Form::Word(&Priority::WORDS), "which of several waiting runs begins first"),
        may("debounce", Form::Map(&DEBOUNCE), "triggers that follow each other closely make one run"),
        may(
            "deadline",
            Form::Duration,
            "for the whole run, from its beginning; then it is cancelled and ends `failed`",
        ),
        may(
            "on-failure",
            Form::Either(&[Form::Workflow, Form::List(&ONE_STEP)]),
            "what is done when it ended badly: the name of a workflow, or steps",
        ),
        may("defaults", Form::Map(&DEFAULTS), "for every call of a plugin that does not say its own"),
        must("steps", Form::List(&ONE_STEP), "what is done, one after another"),
        may("finally", Form::List(&ONE_STEP), "what is done at the end, however the steps ended"),
        may("output", Form::Value, "what the run gives back"),
    ],
    either: &[],
};

/// An entry of `inputs`.
pub static INPUT: MapDoc = MapDoc {
    name: "input",
    what: "an input",
    keys: &[
        must("type", Form::Word(&INPUT_TYPES), "its type"),
        may("required", Form::Boolean, "whether a run needs it"),
        may("default", Form::Value, "what holds without it"),
        may("pattern", Form::Text, "a regular expression that the whole text must match"),
        may("values", Form::List(&Form::Text), "of an `enum`: the texts there are"),
        may("description", Form::Text, "for people"),
    ],
    either: &[],
};

/// The words for `type` of an input.
pub(crate) const INPUT_TYPES: [&str; 10] =
    ["string", "integer", "number", "boolean", "uuid", "date", "date-time", "duration", "enum", "json"];

static INPUT_FORM: Form = Form::Either(&[Form::Word(&INPUT_TYPES), Form::Map(&INPUT)]);

/// `concurrency`
pub static CONCURRENCY: MapDoc = MapDoc {
    name: "concurrency",
    what: "`concurrency`",
    keys: &[
        must("group", Form::Template, "a text over `inputs` and `trigger`; it counts in the whole project"),
        may(
            "when-busy",
            Form::Word(&WhenBusy::WORDS),
            "what becomes of a run whose group is at work: it waits, is skipped, or takes the other one's place",
        ),
    ],
    either: &[],
};

/// `debounce`
pub static DEBOUNCE: MapDoc = MapDoc {
    name: "debounce",
    what: "`debounce`",
    keys: &[
        may("key", Form::Template, "triggers with one key are taken together"),
        must("wait", Form::Duration, "how long it has to be quiet"),
        may(
            "at-most",
            Form::Duration,
            "the longest delay after the first trigger; ten times `wait` unless it is said",
        ),
        may(
            "collect",
            Form::Word(&Collected::WORDS),
            "the run sees the last trigger, or all of them in `trigger.collected`",
        ),
    ],
    either: &[],
};

/// `defaults`
pub static DEFAULTS: MapDoc = MapDoc {
    name: "defaults",
    what: "`defaults`",
    keys: &[
        may("retry", Form::Map(&RETRY), "another attempt after a failure"),
        may("timeout", Form::Duration, "for one attempt"),
        may("catch", Form::List(&ONE_CATCH), "another way after a failure"),
    ],
    either: &[],
};
