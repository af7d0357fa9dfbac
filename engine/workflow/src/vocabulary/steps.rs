//! The keys of a step and of what belongs to it.

use super::{Callee, Form, MapDoc, may, must};

pub(super) static ONE_STEP: Form = Form::Map(&STEP);
pub(super) static ONE_CATCH: Form = Form::Map(&CATCH);

const CALLED: Form = Form::Uses(Callee::Function);

/// The most items of one step at a time.
pub(crate) const MAX_PARALLEL: u32 = 1_000;

/// An entry of `steps`.
pub static STEP: MapDoc = MapDoc {
    name: "step",
    what: "a step",
    keys: &[
        may("id", Form::Text, "its name in expressions: `steps.ID.output`"),
        may("name", Form::Text, "for people"),
        may(
            "uses",
            Form::Uses(Callee::FunctionOrWorkflow),
            "the function that is called, or `workflow/NAME`",
        ),
        may("with", Form::With, "the function's parameters; what it may reach is handed over here"),
        may("if", Form::Condition, "where it is false, the step is `skipped`"),
        may(
            "skip-if",
            Form::Either(&[Form::Map(&SKIP_IF), Form::Condition]),
            "`skipped`, with the reason in the history",
        ),
        may("for-each", Form::Items, "once for each item of a list"),
        may("as", Form::Text, "what expressions call the item; `NAME_index` is its place"),
        may("key", Form::Template, "what an item is known by, across resumes and in the history"),
        may("parallel", Form::Integer(1, MAX_PARALLEL), "how many items at a time; 1 unless it is said"),
        may("pause", Form::Duration, "a rest after each item before the next one takes its place"),
        may(
            "keep-going",
            Form::Boolean,
            "a failure here does not stop the run at once; it still ends `failed`",
        ),
        may(
            "retry",
            Form::Either(&[Form::Map(&RETRY), Form::Word(&["none"])]),
            "another attempt after a failure; `none` does without the default",
        ),
        may("timeout", Form::Duration, "for one attempt"),
        may("repeat", Form::Word(&["never"]), "if nobody knows whether it happened, it is not done again"),
        may("catch", Form::List(&ONE_CATCH), "another way after a failure; the step ends `recovered`"),
        may("verify", Form::Map(&VERIFY), "a second look; if it never becomes true, the step has failed"),
        may("poll", Form::Map(&POLL), "call again until the result is right"),
        may("once", Form::Template, "a key: done in an earlier run, the step is `skipped`"),
        may("undo", Form::Map(&UNDO), "inside an all-or-nothing block: what takes the step back"),
        may(
            "all-or-nothing",
            Form::Boolean,
            "on a block: it is undone, newest first, when it cannot be finished",
        ),
        may("steps", Form::List(&ONE_STEP), "a block: steps instead of `uses`"),
    ],
    either: &["uses", "steps"],
};

/// `skip-if`
pub static SKIP_IF: MapDoc = MapDoc {
    name: "skip-if",
    what: "`skip-if`",
    keys: &[
        must("when", Form::Condition, "when the step is skipped"),
        may("reason", Form::Template, "why, for the history"),
    ],
    either: &[],
};

/// `retry`
pub static RETRY: MapDoc = MapDoc {
    name: "retry",
    what: "`retry`",
    keys: &[
        must("attempts", Form::Integer(1, 100), "how often in all; the first one counts"),
        may(
            "on",
            Form::OneOrMore(&Form::Failure),
            "after which failures; offline, busy and timeout unless it is said",
        ),
        may("backoff", Form::Map(&BACKOFF), "how long to wait; 1s to 60s unless it is said"),
    ],
    either: &[],
};

/// `backoff`
pub static BACKOFF: MapDoc = MapDoc {
    name: "backoff",
    what: "`backoff`",
    keys: &[
        may("from", Form::Duration, "before the second attempt; it doubles"),
        may("to", Form::Duration, "the longest wait"),
    ],
    either: &[],
};

/// An entry of `catch`.
pub static CATCH: MapDoc = MapDoc {
    name: "catch",
    what: "an entry of `catch`",
    keys: &[
        must("on", Form::OneOrMore(&Form::Failure), "after which failures"),
        may("uses", CALLED, "what is called then"),
        may("with", Form::With, "its parameters; `error` is the failure"),
        may("output", Form::Value, "what the step gives then"),
    ],
    either: &["uses", "output"],
};

/// `verify`
pub static VERIFY: MapDoc = MapDoc {
    name: "verify",
    what: "`verify`",
    keys: &[
        must("uses", CALLED, "the function that looks"),
        may("with", Form::With, "its parameters; `output` is what the step gave"),
        must("assert", Form::Condition, "what must hold, over `result`"),
        may("within", Form::Duration, "how long it may take to become true"),
        may("every", Form::Duration, "how often to look"),
    ],
    either: &[],
};

/// `poll`
pub static POLL: MapDoc = MapDoc {
    name: "poll",
    what: "`poll`",
    keys: &[
        must("until", Form::Condition, "when the result is right, over `result`"),
        may("every", Form::Duration, "how often to call; 5s unless it is said"),
        must("within", Form::Duration, "how long it may take"),
    ],
    either: &[],
};

/// `undo`
pub static UNDO: MapDoc = MapDoc {
    name: "undo",
    what: "`undo`",
    keys: &[
        must("uses", CALLED, "what takes the step back"),
        may("with", Form::With, "its parameters; `output` is what the step gave"),
    ],
    either: &[],
};
