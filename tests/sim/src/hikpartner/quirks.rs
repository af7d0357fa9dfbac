//! How the simulated platform behaves: what nobody knows for sure, and what is known to go wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The switches. All can be changed while it runs; over the control port with `PUT /hikpartner/quirks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HikPartnerQuirks {
    /// How long a token lives; 7 days.
    pub token_life_s: u64,
    /// A new token ends the older ones.
    pub one_token: bool,
    /// A token ends after so many uses, whatever its end says; 0 for never.
    pub uses_of_a_token: u64,
    /// What a token that has ended gets.
    pub dead_token: String,
    /// The HTTP status of refused tokens: 200 or 401.
    pub token_status: u16,
    /// Every request for a token gets this code.
    pub no_token: Option<String>,
    /// Another `areaDomain` than its own.
    pub area_domain: Option<String>,
    /// `errorCode` of success is a number.
    pub code_as_number: bool,
    /// `totalPage` stands beside `data`, and there is no `total`.
    pub total_outside_data: bool,
    /// Every page of a list is the first one.
    pub ignores_page: bool,
    /// How long an empty poll is held; 20 s.
    pub hold_ms: u64,
    /// Most messages of a batch.
    pub batch: usize,
    /// `alarmData` of a JSON message is an object, not a text.
    pub alarm_as_object: bool,
    /// offset says 0 and confirms nothing.
    pub offset_ignored: bool,
    /// site/add says 0 and stores nothing.
    pub lying_site_add: bool,
    /// device/add says 0, with an empty list of failures, and stores nothing.
    pub lying_device_add: bool,
    /// person/add says 0, gives an id, and stores nobody.
    pub lying_person_add: bool,
    /// person/add says 0 and gives no id.
    pub no_person_id: bool,
    /// privilege/config says 0 and does nothing, also for persons that do not exist.
    pub lying_privileges: bool,
    /// Privileges are applying for ever.
    pub stuck_privileges: bool,
    /// So often a status is asked for until a privilege is settled.
    pub settle_reads: u32,
    /// Devices (by serial number) that refuse privileges, with the code they give.
    pub device_errors: BTreeMap<String, String>,
    /// `subStatus` of every settled privilege instead of the right one.
    pub sub_status: Option<u32>,
}

impl Default for HikPartnerQuirks {
    /// Well-behaved, as the guide has it.
    fn default() -> Self {
        Self {
            token_life_s: 7 * 86_400,
            one_token: false,
            uses_of_a_token: 0,
            dead_token: "LAP500004".to_owned(),
            token_status: 200,
            no_token: None,
            area_domain: None,
            code_as_number: false,
            total_outside_data: false,
            ignores_page: false,
            hold_ms: 20_000,
            batch: 50,
            alarm_as_object: false,
            offset_ignored: false,
            lying_site_add: false,
            lying_device_add: false,
            lying_person_add: false,
            no_person_id: false,
            lying_privileges: false,
            stuck_privileges: false,
            settle_reads: 2,
            device_errors: BTreeMap::new(),
            sub_status: None,
        }
    }
}

impl HikPartnerQuirks {
    /// These switches with the keys of `change` (a JSON object) set; fails with a sentence that names the key or value.
    pub(crate) fn changed(&self, change: &serde_json::Value) -> Result<Self, String> {
        crate::switches::changed(self, change)
    }
}
