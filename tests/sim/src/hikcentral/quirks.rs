//! How the simulated platform behaves: what versions do differently, and what is known to go wrong.

use serde::{Deserialize, Serialize};

/// The switches. All can be changed while it runs; over the control port with `PUT /hikcentral/quirks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HikCentralQuirks {
    /// Expects the layout of the Alibaba gateway: an empty line for each of the four headers that is absent.
    pub alibaba_layout: bool,
    /// Refuses a timestamp that is older or newer by more than so many seconds; 0 does not look.
    pub timestamp_window_s: u64,
    /// Refuses a nonce that came before.
    pub nonce_once: bool,
    /// Compares Content-MD5, where one comes, with the body.
    pub check_md5: bool,
    /// The HTTP status of the gateway's refusals: 200 or 401.
    pub gateway_status: u16,
    /// `code` is a number.
    pub code_as_number: bool,
    /// Errors say `Content-Type: application/xml` although they are JSON.
    pub errors_as_xml: bool,
    /// `msg` of code 0.
    pub success_word: String,
    /// `list` is absent when `total` is 0.
    pub list_absent_when_empty: bool,
    /// What a path that is not known gets.
    pub unknown_path: UnknownPath,
    /// Known paths (without `/artemis/api/`) that this version does not know.
    pub unknown_paths: Vec<String>,
    /// Paths without permission: code 17.
    pub forbidden: Vec<String>,
    /// `softVersion`.
    pub version: String,
    /// The database is full: code 5.
    pub full_database: FullDatabase,
    /// `personPhoto` in add and update stores a face; otherwise it is ignored with code 0.
    pub person_photo_works: bool,
    /// `faces` in add is ignored with code 0.
    pub faces_on_add_ignored: bool,
    /// face/update says code 0 and stores nothing.
    pub lying_face_update: bool,
    /// update leaves fields alone that are not sent; otherwise it clears them.
    pub update_keeps_omitted: bool,
    /// Add says code 0 and stores nobody.
    pub lying_add: bool,
    /// Pictures come by way of a redirect.
    pub picture_redirect: bool,
    /// The picture's address stands in `picBigUri` and not in `picUri`.
    pub pic_big_uri: bool,
    /// addPersons says code 0 and adds nobody.
    pub lying_add_to_group: bool,
    /// Doors do not take persons: reapplication says code 0, and the details say failed.
    pub apply_fails: bool,
    /// Doors that do not obey, by their index code; doControl says code 0 all the same.
    pub stuck_doors: Vec<String>,
    /// doControl answers code 0 with empty `data`.
    pub silent_doors: bool,
    /// Every page of a list is the first one.
    pub ignores_page: bool,
    /// Every push comes twice.
    pub pushes_twice: bool,
}

impl Default for HikCentralQuirks {
    /// Version 3.1.1, well-behaved.
    fn default() -> Self {
        Self {
            alibaba_layout: false,
            timestamp_window_s: 0,
            nonce_once: false,
            check_md5: false,
            gateway_status: 200,
            code_as_number: false,
            errors_as_xml: false,
            success_word: "Success".to_owned(),
            list_absent_when_empty: true,
            unknown_path: UnknownPath::Code8,
            unknown_paths: Vec::new(),
            forbidden: Vec::new(),
            version: "V3.1.1.0".to_owned(),
            full_database: FullDatabase::No,
            person_photo_works: false,
            faces_on_add_ignored: false,
            lying_face_update: false,
            update_keeps_omitted: false,
            lying_add: false,
            picture_redirect: false,
            pic_big_uri: false,
            lying_add_to_group: false,
            apply_fails: false,
            stuck_doors: Vec::new(),
            silent_doors: false,
            ignores_page: false,
            pushes_twice: false,
        }
    }
}

impl HikCentralQuirks {
    /// These switches with the keys of `change` (a JSON object) set; fails with a sentence that names the key or value.
    pub(crate) fn changed(&self, change: &serde_json::Value) -> Result<Self, String> {
        crate::switches::changed(self, change)
    }
}

/// What is answered on paths that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownPath {
    /// Code 8, "product version not supported": what was seen.
    #[serde(rename = "code-8")]
    Code8,
    /// Code 12, "URL not supported".
    #[serde(rename = "code-12")]
    Code12,
    /// A page with HTTP 404.
    #[serde(rename = "http-404")]
    Http404,
}

/// What a full database still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FullDatabase {
    /// It is not full.
    No,
    /// Persons are stored, `faces` of a new person are dropped in silence, face/update is refused with code 5.
    Faces,
    /// Every write of a person or a face is refused with code 5.
    Writes,
}
