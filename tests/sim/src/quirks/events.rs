//! How a terminal tells events: on its stream, and to the receivers that it was given.

use serde::{Deserialize, Serialize};

/// The switches, each a difference between devices that was seen (`facts/isapi.md 5.2`, `5.4`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventHabits {
    /// Parts of the stream say how long they are.
    pub content_length: bool,
    /// Lines of the stream end in LF.
    pub line_feed_only: bool,
    /// The answer's headers stand once more in front of the first boundary, and the part's once more inside its body.
    pub nested_headers: bool,
    /// The stream's own headers name the boundary.
    pub boundary_told: bool,
    /// The stream is XML instead of JSON.
    pub xml: bool,
    /// A heartbeat after so many milliseconds without anything else; 0 for none.
    pub heartbeat_ms: u64,
    /// So many of the latest events are told again on every new stream, marked as old.
    pub history: usize,
    /// What people did comes with a picture.
    pub pictures: bool,
    /// Every event is told twice.
    pub twice: bool,
    /// After so many parts the connection ends in the middle of the next one.
    pub cut_after: Option<u64>,
    /// After so many parts nothing comes any more, and the connection stands.
    pub mute_after: Option<u64>,
    /// The stream comes in pieces of so many bytes; 0 for whole parts.
    pub piece_bytes: usize,
    /// More streams at once get 403 `invalidOperation`.
    pub max_streams: usize,
    /// A receiver that did not answer as it should gets the same event again after so many milliseconds.
    pub resend_ms: u64,
    /// Only 200 counts as received; other success makes the terminal send the event for ever.
    pub only_200: bool,
    /// The first part of a form has neither type nor blank line.
    pub bare_form: bool,
    /// A receiver for all events without numbers gets nothing.
    pub numbers_needed: bool,
}

impl Default for EventHabits {
    fn default() -> Self {
        Self {
            content_length: true,
            line_feed_only: false,
            nested_headers: false,
            boundary_told: true,
            xml: false,
            heartbeat_ms: 10_000,
            history: 11,
            pictures: false,
            twice: false,
            cut_after: None,
            mute_after: None,
            piece_bytes: 0,
            max_streams: 4,
            resend_ms: 1_000,
            only_200: true,
            bare_form: false,
            numbers_needed: false,
        }
    }
}
