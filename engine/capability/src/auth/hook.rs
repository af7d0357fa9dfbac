//! What a receiver of Hik-Partner's pushes answers when the platform asks whether it is the right one (facts B4): a GET with
//! `X-Hook-Batch-Id` and `X-Hook-Timestamp`, to be answered with `X-Hook-Signature`. The pushes themselves carry no
//! signature that is known.

use hmac::Mac as _;

use super::aksk::keyed;
use crate::secret::Secret;

/// The longest batch id or timestamp that is signed, in bytes.
const LONGEST: usize = 128;

/// The value of `X-Hook-Signature`: `sha256=` and the hexadecimal HMAC-SHA256 of `timestamp.batch-id` under the sign secret
/// that the webhook was configured with. `None` where one of the two is empty, long, or more than letters, digits, `-` and
/// `_`: whoever asks is a stranger, and gets nothing else signed.
#[must_use]
pub fn answer(secret: &Secret, timestamp: &str, batch_id: &str) -> Option<String> {
    let fits = |text: &str| {
        (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !fits(timestamp) || !fits(batch_id) {
        return None;
    }
    let mut mac = keyed(secret.expose().as_bytes());
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(batch_id.as_bytes());
    Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_one_that_another_program_computes() {
        // python3: hmac.new(b"Hook4Secret8Gym2", b"1795000000000.batch000017", "sha256").hexdigest()
        let secret = Secret::new("Hook4Secret8Gym2");
        assert_eq!(
            answer(&secret, "1795000000000", "batch000017").as_deref(),
            Some("sha256=0c225eb69d5eb71e302d4f35f39c1710341918e1b12b1ccada526eaeb91c72ba")
        );
    }

    #[test]
    fn nothing_else_is_signed() {
        let (secret, long) = (Secret::new("Hook4Secret8Gym2"), "1".repeat(LONGEST + 1));
        for (timestamp, batch) in [
            ("", "b"),
            ("1", ""),
            ("1", "a.b"),
            ("1 ", "b"),
            ("1", "{\"a\":1}"),
            ("1", "b\n"),
            (long.as_str(), "b"),
        ] {
            assert_eq!(answer(&secret, timestamp, batch), None, "{timestamp:?} {batch:?}");
        }
    }
}
