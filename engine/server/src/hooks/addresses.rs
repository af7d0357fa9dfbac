//! `addresses:` of a webhook: the ranges that callers must come from. What counts is the peer of the connection; a
//! `Forwarded` header is somebody's word.

use std::net::IpAddr;

/// Whether the peer is in one of the ranges; none means any.
pub(crate) fn is_allowed(ranges: &[String], peer: IpAddr) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| contains(range, peer.to_canonical()))
}

fn contains(range: &str, peer: IpAddr) -> bool {
    let (network, length) =
        range.split_once('/').map_or((range, None), |(network, length)| (network, Some(length)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let same = |ours: u128, theirs: u128, width: u32| {
        let length = length.map_or(Some(width), |length| length.parse::<u32>().ok());
        // A length of 0 shifts everything out.
        length.is_some_and(|length| {
            length <= width && (ours ^ theirs).checked_shr(width - length).unwrap_or(0) == 0
        })
    };
    match (network, peer) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
            same(u128::from(u32::from(ours)), u128::from(u32::from(theirs)), 32)
        }
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(u128::from(ours), u128::from(theirs), 128),
        _ => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        for (range, peer, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "198.51.100.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            // The same peer seen through a socket of version 6.
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
        ] {
            let allowed = is_allowed(&[range.to_owned()], peer.parse().unwrap());
            assert_eq!(allowed, inside, "{range} {peer}");
        }
        assert!(is_allowed(&[], "192.0.2.1".parse().unwrap()));
    }
}
