//! Tokens: given, judged, ended.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{HikPartner, HikPartnerQuirks};
use crate::wire::Request;

/// Below `/api/hpcgw/`.
pub(super) const PATH: &str = "v1/token/get";

/// Every token that was given, with its end in milliseconds since the epoch.
#[derive(Default)]
pub(super) struct Tokens {
    ends: HashMap<String, i64>,
    /// Uses of the newest one.
    uses: u64,
}

impl Tokens {
    /// A new token and its end.
    pub(super) fn give(&mut self, quirks: &HikPartnerQuirks) -> (String, i64) {
        let mut random = [0_u8; 16];
        // Without randomness the count still makes it another one.
        let _unseeded = getrandom::fill(&mut random);
        let token = format!("hpc.{}{:04x}", hex::encode(random), self.ends.len());
        let life = i64::try_from(quirks.token_life_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let ends = Timestamp::now().as_millisecond().saturating_add(life);
        if quirks.one_token {
            self.revoke();
        }
        self.uses = 0;
        self.ends.insert(token.clone(), ends);
        (token, ends)
    }

    pub(super) fn revoke(&mut self) {
        self.ends.values_mut().for_each(|ends| *ends = 0);
    }
}

impl HikPartner {
    /// The code of a refusal.
    pub(super) fn judge(&self, request: &Request, quirks: &HikPartnerQuirks) -> Result<(), String> {
        let Some(header) = request.header("authorization").filter(|header| !header.is_empty()) else {
            return Err("LAP500002".to_owned());
        };
        let Some(token) = header.strip_prefix("Bearer hpc.") else {
            return Err("LAP500003".to_owned());
        };
        let mut tokens = self.tokens();
        let token = format!("hpc.{token}");
        let Some(ends) = tokens.ends.get(&token).copied() else {
            return Err("LAP500005".to_owned());
        };
        if ends <= Timestamp::now().as_millisecond() {
            return Err(quirks.dead_token.clone());
        }
        if quirks.uses_of_a_token > 0 && tokens.uses >= quirks.uses_of_a_token {
            tokens.revoke();
            return Err(quirks.dead_token.clone());
        }
        tokens.uses += 1;
        Ok(())
    }
}
