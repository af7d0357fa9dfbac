//! Digest challenges in the shapes that devices send (`facts/isapi.md 1.2`).

use base64::Engine as _;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::Algorithm;
use crate::quirks::{Algorithms, ChallengeForm};

/// A challenge and what must come back.
pub(crate) struct Challenge {
    pub(crate) text: String,
    pub(crate) nonce: String,
    pub(crate) opaque: String,
}

/// The realm as this form spells it; `seed` is the device's own 24 hexadecimal digits.
pub(crate) fn realm(form: ChallengeForm, seed: &str) -> String {
    match form {
        ChallengeForm::Ipc => {
            let digits: String = seed.bytes().take(5).map(|byte| char::from(b'0' + byte % 10)).collect();
            format!("IP Camera({digits})")
        }
        ChallengeForm::Nvr | ChallengeForm::AxPro | ChallengeForm::NoQop => seed.to_owned(),
    }
}

/// The algorithms of that switch, in the order they are offered.
pub(crate) fn offered(algorithms: Algorithms) -> &'static [Algorithm] {
    match algorithms {
        Algorithms::Md5 => &[Algorithm::Md5],
        Algorithms::Sha256 => &[Algorithm::Sha256],
        Algorithms::BothHeaders | Algorithms::BothInOneHeader => &[Algorithm::Md5, Algorithm::Sha256],
    }
}

/// Makes the challenge number `counter` of a device.
pub(crate) fn make(
    form: ChallengeForm,
    algorithm: Algorithm,
    realm: &str,
    counter: u64,
    stale: bool,
) -> Challenge {
    let random: u64 = getrandom::u64().unwrap_or(counter);
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let stale = if stale { "TRUE" } else { "FALSE" };
    let name = algorithm.name();
    let hash = hex::encode(Md5::digest(format!("{random}:{counter}:{now}")));
    match form {
        ChallengeForm::Ipc => {
            let inner = format!("{:08x}:{:x}", random & 0xffff_ffff, (now << 12) + counter);
            let nonce = hex::encode(base64::engine::general_purpose::STANDARD.encode(inner));
            // MD5 goes without saying on cameras.
            let algorithm =
                if algorithm == Algorithm::Md5 { String::new() } else { format!(", algorithm=\"{name}\"") };
            let text = format!(
                "Digest qop=\"auth\", realm=\"{realm}\", nonce=\"{nonce}\"{algorithm}, stale=\"{stale}\""
            );
            Challenge { text, nonce, opaque: String::new() }
        }
        ChallengeForm::Nvr => {
            let nonce = format!("{hash}:{now}");
            let text = format!(
                "Digest realm=\"{realm}\", domain=\"::\", qop=\"auth\", nonce=\"{nonce}\", opaque=\"\", \
                 algorithm=\"{name}\", stale=\"{stale}\""
            );
            Challenge { text, nonce, opaque: String::new() }
        }
        ChallengeForm::AxPro => {
            let nonce = format!("{}:{realm}:{now:x}:{counter:x}", hash.get(..16).unwrap_or_default());
            let text = format!(
                "Digest realm=\"{realm}\", domain=\"::\", qop=\"auth\", nonce=\"{nonce}\", opaque=\"799d5\", \
                 algorithm=\"{name}\", stale=\"{stale}\""
            );
            Challenge { text, nonce, opaque: "799d5".to_owned() }
        }
        ChallengeForm::NoQop => {
            let nonce = format!("{:09}{counter:x}", random % 1_000_000_000);
            let text = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=\"{name}\"");
            Challenge { text, nonce, opaque: String::new() }
        }
    }
}

/// The header lines: one per scheme, or everything in one.
pub(crate) fn lines(algorithms: Algorithms, mut digests: Vec<String>, basic: Option<String>) -> Vec<String> {
    digests.extend(basic);
    if algorithms == Algorithms::BothInOneHeader { vec![digests.join(", ")] } else { digests }
}
