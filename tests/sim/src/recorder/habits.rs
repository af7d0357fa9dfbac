//! How one recorder behaves: every difference between recorders that was seen in the field, as a switch.
//!
//! The defaults are a network recorder (persona N of `facts/isapi.md 11.2`) that takes any spelling of a search. Over the
//! control port a change is a JSON object with the keys to change; an unknown key or value is refused.

use serde::{Deserialize, Serialize};

use crate::quirks::{Drip, Length};

/// The switches of one recorder. All can be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecorderHabits {
    /// Channels with a camera, from 1.
    pub channels: u32,
    /// Finished segments on each channel, one after another; the newest ended ten minutes before the start.
    pub segments: u32,
    /// The length of each, in seconds.
    pub segment_seconds: u32,
    /// Its size in bytes; each is a little larger than the one before.
    pub segment_bytes: u64,
    /// There is a further segment that is still being written.
    pub growing: bool,
    /// What recordings begin with.
    pub container: Container,

    /// The device's time zone, in minutes east of Greenwich.
    pub utc_offset_minutes: i32,
    /// The device's clock is wrong by so many seconds.
    pub clock_offset_s: i64,
    /// What times in searches mean.
    pub z: SearchTime,

    /// What `System/Video/inputs/channels` does.
    pub inputs: Inputs,
    /// What is added to the `size` of the channel list.
    pub size_error: i32,
    /// What `Streaming/channels/ID/picture` does.
    pub snapshot: Snapshot,
    /// The last disk is full, as it is when old recordings are overwritten.
    pub full: bool,

    /// Which spelling of the position is taken.
    pub position_name: PositionName,
    /// What another spelling gets.
    pub wrong_position: WrongPosition,
    /// Every page is the first, whatever the position says.
    pub position_ignored: bool,
    /// Which list of tracks is taken.
    pub track_list: TrackList,
    /// What `searchID` must be.
    pub search_id: SearchId,
    /// `version` is required.
    pub needs_version: bool,
    /// An XML declaration, `xmlns` or `metadataList` is refused.
    pub refuse_extras: bool,
    /// Refusals come with HTTP 200.
    pub errors_as_200: bool,
    /// The largest page.
    pub max_results: usize,
    /// How an empty result looks.
    pub empty: Empty,
    /// `numOfMatches` is the number of all matches, not of those on the page.
    pub counts_all: bool,
    /// `playbackURI` tells name and size.
    pub name_and_size: bool,
    /// What is added to the told size.
    pub size_told_error: i64,

    /// Which method downloads.
    pub download: DownloadMethod,
    /// What `Content-Length` of a download says.
    pub length: Length,
    /// Downloads end after so many bytes, and the connection with them.
    pub cut_at: Option<u64>,
    /// Downloads get 200 and this subStatusCode as XML.
    pub xml_in_200: Option<String>,
    /// More downloads at once get 503.
    pub max_parallel: usize,
    /// Downloads come in drops.
    pub slow: Option<Drip>,
    /// What a download with `Range` gets.
    pub range: RangeAnswer,
}

impl Default for RecorderHabits {
    fn default() -> Self {
        Self {
            channels: 2,
            segments: 6,
            segment_seconds: 900,
            segment_bytes: 200_000,
            growing: true,
            container: Container::Imkh,
            utc_offset_minutes: 120,
            clock_offset_s: 0,
            z: SearchTime::Local,
            inputs: Inputs::Forbidden,
            size_error: 4,
            snapshot: Snapshot::Works,
            full: true,
            position_name: PositionName::Either,
            wrong_position: WrongPosition::Ignored,
            position_ignored: false,
            track_list: TrackList::Either,
            search_id: SearchId::Any,
            needs_version: false,
            refuse_extras: false,
            errors_as_200: false,
            max_results: 40,
            empty: Empty::Absent,
            counts_all: false,
            name_and_size: true,
            size_told_error: 0,
            download: DownloadMethod::Both,
            length: Length::Right,
            cut_at: None,
            xml_in_200: None,
            max_parallel: 3,
            slow: None,
            range: RangeAnswer::Ignored,
        }
    }
}

impl RecorderHabits {
    /// These switches with the keys of `change` (a JSON object) set. Fails with a sentence that names the key or value.
    pub fn changed(&self, change: &serde_json::Value) -> Result<Self, String> {
        crate::switches::changed(self, change)
    }
}

macro_rules! choices {
    ($($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident),+ $(,)? })+) => {$(
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$inner])* $variant),+ }
    )+};
}

choices! {
    /// What a recording begins with (`facts/isapi.md 7.6`).
    Container {
        /// The maker's own header of 40 bytes, then a program stream.
        Imkh,
        /// A program stream at once.
        Ps,
        /// Nothing that anybody knows.
        Noise,
    }
    /// What times in searches mean (`facts/isapi.md 7.8`).
    SearchTime {
        /// The device's own time with a `Z` behind it.
        Local,
        /// UTC.
        Utc,
        /// The device's own time with its offset, in answers; requests are read with any.
        Offset,
    }
    /// What `System/Video/inputs/channels` does.
    Inputs {
        /// 403 `notSupport`, as recorders without analog inputs answer.
        Forbidden,
        /// One analog channel above the others, as hybrids have.
        Analog,
    }
    /// What a snapshot gets.
    Snapshot {
        /// A JPEG.
        Works,
        /// 200 with `badXmlContent` as XML; `StreamingProxy` has the JPEG.
        BadXmlContent,
        /// 200 with `deviceError` as XML, on both.
        DeviceError,
    }
    /// Which spelling of the position is taken.
    PositionName {
        /// Both.
        Either,
        /// `searchResultPostion`.
        Misspelt,
        /// `searchResultPosition`.
        Correct,
    }
    /// What another spelling of the position gets.
    WrongPosition {
        /// Nobody looks at it: every page is the first.
        Ignored,
        /// `badXmlContent`.
        Rejected,
    }
    /// Which list of tracks is taken; another is `badXmlContent`.
    TrackList {
        /// Both.
        Either,
        /// `trackList`.
        TrackList,
        /// `trackIDList`.
        TrackIdList,
    }
    /// What `searchID` must be; anything else is `badXmlContent`.
    SearchId {
        /// Any text.
        Any,
        /// A UUID, in braces or not.
        Guid,
        /// A UUID in braces.
        Braces,
    }
    /// How an empty result looks.
    Empty {
        /// Without `matchList`.
        Absent,
        /// With an empty one.
        Empty,
        /// With a line break in it.
        Newline,
    }
    /// What a download with `Range` gets (RFC 9110 section 14; nobody has seen a recorder honour it, facts/isapi.md 7.6).
    RangeAnswer {
        /// 200 and the whole.
        Ignored,
        /// 206 and that part.
        Honoured,
        /// 416, whatever was asked for.
        NotSatisfiable,
        /// 206 and the part of that length at the beginning.
        OtherPart,
        /// 206 and that part, of other content.
        OtherContent,
    }
    /// Which method downloads; the other gets `methodNotAllowed`.
    DownloadMethod {
        /// Both.
        Both,
        /// GET with a body.
        Get,
        /// POST.
        Post,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_sets_only_its_own_keys_and_an_unknown_one_is_refused() -> Result<(), String> {
        let changed = RecorderHabits::default()
            .changed(&serde_json::json!({ "track_list": "track-id-list", "cut_at": 5 }))?;
        let expected = RecorderHabits {
            track_list: TrackList::TrackIdList,
            cut_at: Some(5),
            ..RecorderHabits::default()
        };
        assert_eq!(changed, expected);
        let problem = changed.changed(&serde_json::json!({ "cutat": 5 })).err();
        assert!(problem.is_some_and(|text| text.contains("cutat")));
        Ok(())
    }
}
