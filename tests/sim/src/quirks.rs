//! How one terminal behaves: every difference between devices that was seen in the field, as a switch.
//!
//! The defaults are a current access terminal (persona T of `facts/isapi.md 11.2`). Over the control port a change is a
//! JSON object with the keys to change; an unknown key or value is refused.

mod events;

use serde::{Deserialize, Serialize};

pub use self::events::EventHabits;

/// The switches of one terminal. All can be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// The shape of the digest challenge.
    pub challenge: ChallengeForm,
    /// Which digest algorithms are offered, and how.
    pub algorithm: Algorithms,
    /// What becomes of Basic.
    pub basic: Basic,
    /// How long a nonce lives, in milliseconds.
    pub nonce_ttl_ms: u64,
    /// Each nonce is good for one request only.
    pub nonce_once: bool,
    /// A nonce is good only for the URL it was issued for.
    pub nonce_bound_to_url: bool,
    /// What a dead nonce (expired, used up, unknown, of another URL) gets.
    pub dead_nonce: DeadNonce,
    /// A dead nonce counts as a failed login.
    pub dead_nonce_counts: bool,
    /// Says `stale="TRUE"` in the challenge that follows a dead nonce (never seen in the field).
    pub stale: bool,
    /// Refuses a response that does not repeat the offered `algorithm`.
    pub algorithm_echo: bool,
    /// So many failed logins lock the account; 0 never locks.
    pub lock_after: u32,
    /// How long a lock lasts, in seconds.
    pub lock_seconds: u64,
    /// The body of a 401.
    pub lock_body: LockBody,
    /// The HTTP status while locked: 401, or 403 as two clients saw it.
    pub lock_status: u16,

    /// So many requests on one kept connection; 0 closes after every answer.
    pub keep_alive_requests: u32,
    /// A kept connection that is silent for so long is closed, in milliseconds.
    pub keep_alive_ms: u64,
    /// `Transfer-Encoding: chunked` in requests gets 411.
    pub refuse_chunked: bool,

    /// `?format=json` is honoured by deviceInfo and time.
    pub device_info_json: bool,
    /// The XML namespace.
    pub namespace: Namespace,
    /// The `version` attribute of XML answers.
    pub xml_version: XmlVersion,
    /// The device's clock is wrong by so many seconds.
    pub clock_offset_s: i64,
    /// The device's time zone, in minutes east of Greenwich.
    pub utc_offset_minutes: i32,
    /// An unknown path gets an HTML page instead of a ResponseStatus.
    pub not_found_html: bool,

    /// The longest name, in bytes.
    pub name_limit: usize,
    /// What happens to a longer one.
    pub overlong_name: OverlongName,
    /// How many persons fit.
    pub user_capacity: usize,
    /// How many faces fit.
    pub face_capacity: usize,
    /// The largest page of a search.
    pub max_results: usize,
    /// What happens when more is asked for.
    pub over_max_results: OverMax,
    /// How an empty search result is spelt: `NO MATCH`, `NOMATCH`, `NO MATCHES`.
    pub no_match: String,
    /// The key that holds it: `responseStatusStrg`, or `responseSearchStatusStrg` on some.
    pub status_key: String,
    /// What `searchResultPosition` does.
    pub position: Position,
    /// What UserInfo/SetUp does with an unknown person.
    pub set_up: SetUp,
    /// What UserInfo/Delete does without a list of persons.
    pub empty_delete: EmptyDelete,
    /// Deleting a person deletes the face too.
    pub delete_takes_face: bool,

    /// Success carries `errorCode` and `errorMsg`.
    pub success_error_code: bool,
    /// Errors come with HTTP 200.
    pub errors_as_200: bool,

    /// What FDModify does.
    pub modify: Support,
    /// What FDSetUp does.
    pub face_set_up: Support,
    /// The subStatusCode of FDModify for a person without a face.
    pub absent_face: String,
    /// Which multipart part names are taken.
    pub parts: Parts,
    /// How long making a face model takes, in milliseconds.
    pub modelling_ms: u64,
    /// What a second face write gets meanwhile.
    pub busy_as: BusyAs,
    /// Pictures are looked at (JPEG, size, stray bytes).
    pub face_checks: bool,
    /// Pictures without chroma subsampling are refused.
    pub refuse_444: bool,
    /// Pictures whose longest side has fewer pixels cannot be modelled.
    pub min_side: u32,
    /// What a picture above 200 KB gets.
    pub oversize: Oversize,
    /// Writes of persons and faces answer success and store nothing.
    pub lying: bool,
    /// Writes of clock, time server and receivers of events answer success and change nothing.
    pub lying_settings: bool,
    /// Deleting people with all they have takes so many looks at its progress.
    pub delete_looks: u32,
    /// Such a deletion ends `failed`.
    pub delete_fails: bool,
    /// Events have no number, and a time without offset.
    pub events_without_serial: bool,
    /// How events are told on the stream and to receivers.
    pub events: EventHabits,
    /// A stored face can be seen only after so many milliseconds.
    pub visible_after_ms: u64,
    /// `faceURL` names an address that is not the device's.
    pub face_url_wrong_host: bool,
    /// `faceURL` is told at all.
    pub face_url_told: bool,
    /// The longest `faceURL` that is taken, in bytes.
    pub face_url_max: usize,
    /// How long the device waits for a picture's server, in milliseconds.
    pub fetch_timeout_ms: u64,

    /// Accepts connections and never answers.
    pub silent: bool,
    /// Every answer is late by so many milliseconds.
    pub delay_ms: u64,
    /// Every n-th request gets 503 deviceBusy; 0 never. Counts all requests, probes for a challenge too.
    pub busy_every: u64,
    /// Every n-th request gets a TCP reset; 0 never.
    pub reset_every: u64,
    /// Every write answers 200 with this subStatusCode inside, and does nothing.
    pub error_in_200: Option<String>,
    /// Answers that should be JSON are XML.
    pub xml_instead_of_json: bool,
    /// Every authenticated request gets 200 and an HTML page.
    pub html_instead: bool,
    /// Authenticated answers end after so many bytes of the body.
    pub truncate_at: Option<usize>,
    /// What `Content-Length` says about authenticated answers.
    pub length: Length,
    /// Authenticated answers come in drops.
    pub slow: Option<Drip>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            challenge: ChallengeForm::Nvr,
            algorithm: Algorithms::Md5,
            basic: Basic::Refused,
            nonce_ttl_ms: 5_000,
            nonce_once: false,
            nonce_bound_to_url: false,
            dead_nonce: DeadNonce::NoChallenge,
            dead_nonce_counts: true,
            stale: false,
            algorithm_echo: false,
            lock_after: 5,
            lock_seconds: 1_800,
            lock_body: LockBody::A,
            lock_status: 401,
            keep_alive_requests: 99,
            keep_alive_ms: 10_000,
            refuse_chunked: false,
            device_info_json: false,
            namespace: Namespace::Isapi,
            xml_version: XmlVersion::V2,
            clock_offset_s: 0,
            utc_offset_minutes: 120,
            not_found_html: false,
            name_limit: 128,
            overlong_name: OverlongName::Refuse,
            user_capacity: 3_000,
            face_capacity: 3_000,
            max_results: 30,
            over_max_results: OverMax::Clamp,
            no_match: "NO MATCH".to_owned(),
            status_key: "responseStatusStrg".to_owned(),
            position: Position::Honoured,
            set_up: SetUp::Upsert,
            empty_delete: EmptyDelete::Wipe,
            delete_takes_face: true,
            success_error_code: true,
            errors_as_200: false,
            modify: Support::Works,
            face_set_up: Support::Works,
            absent_face: "faceDataNotExist".to_owned(),
            parts: Parts::Lax,
            modelling_ms: 0,
            busy_as: BusyAs::FaceDataModeling,
            face_checks: true,
            refuse_444: false,
            min_side: 0,
            oversize: Oversize::PicSizeExceedError,
            lying: false,
            lying_settings: false,
            delete_looks: 2,
            delete_fails: false,
            events_without_serial: false,
            events: EventHabits::default(),
            visible_after_ms: 0,
            face_url_wrong_host: false,
            face_url_told: true,
            face_url_max: 256,
            fetch_timeout_ms: 5_000,
            silent: false,
            delay_ms: 0,
            busy_every: 0,
            reset_every: 0,
            error_in_200: None,
            xml_instead_of_json: false,
            html_instead: false,
            truncate_at: None,
            length: Length::Right,
            slow: None,
        }
    }
}

impl Quirks {
    /// These switches with the keys of `change` (a JSON object) set. Fails with a sentence that names the key or value.
    pub fn changed(&self, change: &serde_json::Value) -> Result<Self, String> {
        crate::switches::changed(self, change)
    }
}

macro_rules! choices {
    ($($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $(($rename:literal))? $variant:ident),+ $(,)? })+) => {$(
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$inner])* $(#[serde(rename = $rename)])? $variant),+ }
    )+};
}

choices! {
    /// The shape of a digest challenge (`facts/isapi.md 1.2`).
    ChallengeForm {
        /// Camera: qop, realm `IP Camera(..)`, nonce, stale; no opaque; no algorithm while it is MD5.
        Ipc,
        /// Recorders and terminals: realm of 24 hex digits, domain, qop, nonce, empty opaque, algorithm, stale.
        Nvr,
        /// Alarm panel: opaque `799d5`, a nonce made of four parts.
        AxPro,
        /// No qop: the response form of RFC 2069.
        NoQop,
    }
    /// Which digest algorithms are offered.
    Algorithms {
        /// MD5.
        Md5,
        /// SHA-256 alone.
        Sha256,
        /// Two headers, MD5 first.
        BothHeaders,
        /// One header with both, comma-joined, MD5 first.
        BothInOneHeader,
    }
    /// What becomes of Basic.
    Basic {
        /// Gets the digest challenge; the ledger notes that a password came in the clear.
        Refused,
        /// Offered beside Digest, and taken.
        Allowed,
        /// The only scheme.
        Only,
    }
    /// What a dead nonce gets.
    DeadNonce {
        /// 401 with a new challenge.
        Challenge,
        /// 401 without any, as terminals do.
        NoChallenge,
    }
    /// The body of a 401 (`facts/isapi.md 1.5`).
    LockBody {
        /// `userCheck` with lockStatus, unlockTime, retryLoginTime.
        #[serde(alias = "A")]
        A,
        /// `ResponseStatus` with lockStatus, retryTimes, resLockTime.
        #[serde(alias = "B")]
        B,
        /// `userCheck` without anything about locks.
        #[serde(alias = "C")]
        C,
        /// An HTML page.
        Html,
    }
    /// The namespace of XML answers.
    Namespace {
        /// `http://www.isapi.org/ver20/XMLSchema`.
        Isapi,
        /// `http://www.hikvision.com/ver20/XMLSchema`.
        Hikvision,
        /// `http://www.std-cgi.com/ver20/XMLSchema`.
        StdCgi,
        /// `urn:psialliance-org`.
        Psia,
        /// No namespace.
        None,
    }
    /// The `version` attribute of XML answers.
    XmlVersion {
        /// `1.0`.
        ("1.0") V1,
        /// `2.0`.
        ("2.0") V2,
    }
    /// A name above the limit.
    OverlongName {
        /// `nameIsOverlong`.
        Refuse,
        /// Cut at a byte boundary, which may leave half a character.
        Cut,
    }
    /// A page size above the limit.
    OverMax {
        /// Quietly made smaller.
        Clamp,
        /// `badJsonContent`.
        Reject,
    }
    /// What `searchResultPosition` does.
    Position {
        /// It is the start of the page.
        Honoured,
        /// Every page is the first.
        Ignored,
        /// Above 1,000 it is refused.
        ("limit-1000") Limit1000,
    }
    /// UserInfo/SetUp for an unknown person.
    SetUp {
        /// Creates it.
        Upsert,
        /// `employeeNoNotExist`.
        NotExist,
    }
    /// UserInfo/Delete without a list.
    EmptyDelete {
        /// Deletes everybody.
        Wipe,
        /// `MessageParametersLack`.
        Refuse,
    }
    /// Whether a call exists on this firmware.
    Support {
        /// It does.
        Works,
        /// 403 `notSupport`.
        NotSupport,
    }
    /// Which multipart part names are taken.
    Parts {
        /// FaceDataRecord or faceURL; img, FaceImage or FaceDataImage.
        Lax,
        /// Only FaceDataRecord and img, the data first.
        Strict,
    }
    /// What a second face write gets while the first is modelled.
    BusyAs {
        /// 400 `faceDataModeling`.
        FaceDataModeling,
        /// 503 `deviceBusy`.
        DeviceBusy,
    }
    /// What a picture above 200 KB gets.
    Oversize {
        /// `picSizeExceedError`.
        PicSizeExceedError,
        /// The misleading `badJsonFormat` about `faceURL`.
        BadJsonFormat,
    }
    /// What `Content-Length` says.
    Length {
        /// The truth.
        Right,
        /// Nothing; the body ends with the connection.
        Absent,
        /// 0, and the body follows all the same.
        Zero,
        /// Less than comes.
        Short,
        /// More than comes; then the connection closes.
        Long,
        /// `Transfer-Encoding: chunked`.
        Chunked,
    }
}

impl Namespace {
    /// The attribute text, empty for none.
    pub(crate) fn uri(self) -> &'static str {
        match self {
            Self::Isapi => "http://www.isapi.org/ver20/XMLSchema",
            Self::Hikvision => "http://www.hikvision.com/ver20/XMLSchema",
            Self::StdCgi => "http://www.std-cgi.com/ver20/XMLSchema",
            Self::Psia => "urn:psialliance-org",
            Self::None => "",
        }
    }
}

impl XmlVersion {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

/// A body that comes in drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// Bytes per drop, at least 1.
    pub bytes: usize,
    /// Milliseconds between drops.
    pub every_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_sets_only_its_own_keys() -> Result<(), String> {
        let changed = Quirks::default()
            .changed(&serde_json::json!({ "lying": true, "algorithm": "sha256", "lock_body": "b" }))?;
        let expected = Quirks {
            lying: true,
            algorithm: Algorithms::Sha256,
            lock_body: LockBody::B,
            ..Quirks::default()
        };
        assert_eq!(changed, expected);
        Ok(())
    }

    #[test]
    fn an_unknown_switch_is_refused_by_name() {
        let problem = Quirks::default().changed(&serde_json::json!({ "liying": true })).err();
        assert!(problem.is_some_and(|text| text.contains("liying")));
    }
}
