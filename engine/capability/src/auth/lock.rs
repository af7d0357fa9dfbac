//! What a device says about its own lock, in the body of a 401 or 403 (facts/isapi.md 1.5): form A `userCheck`
//! (`lockStatus`, `unlockTime`, `retryLoginTime`), form B `ResponseStatus` (`lockStatus`, `retryTimes`, `resLockTime`),
//! in XML or JSON. Read by a bounded scan for names: the body comes from whoever answered.

use std::time::Duration;

/// How much of a body is looked at, in bytes.
pub(crate) const SCAN_BYTES: usize = 64 << 10;
/// Taken where a device says it is locked and not for how long; what devices are set to (facts/isapi.md 1.5).
const USUAL: Duration = Duration::from_secs(30 * 60);
/// Nothing a device says locks us out for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A device's own words about the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockNote {
    /// For how long it is locked, if it is.
    pub(crate) locked: Option<Duration>,
    /// How many tries it leaves.
    pub(crate) tries_left: Option<u64>,
}

/// Reads the lock fields, if there are any.
pub(crate) fn read(body: &[u8]) -> LockNote {
    let scanned = body.get(..SCAN_BYTES).unwrap_or(body);
    let number = |name| field(scanned, name).and_then(|text| text.parse::<u64>().ok());
    let tries_left = number("retryLoginTime").or_else(|| number("retryTimes"));
    let status = field(scanned, "lockStatus").map(|text| text.to_ascii_lowercase());
    let named_locked = field(scanned, "subStatusCode").is_some_and(|code| code == "userNameLocked");
    let is_locked = named_locked || status.is_some_and(|status| status.starts_with("lock"));
    let seconds = number("unlockTime").or_else(|| number("resLockTime")).filter(|seconds| *seconds > 0);
    let locked = is_locked.then(|| seconds.map_or(USUAL, Duration::from_secs).min(LONGEST));
    LockNote { locked, tries_left }
}

/// The text of the first XML element `name` (any prefix, any attributes) or JSON member `"name"`.
fn field<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let name_bytes = name.as_bytes();
    let mut from = 0;
    while let Some(at) = find(body.get(from..)?, name_bytes) {
        let start = from + at;
        let end = start + name_bytes.len();
        from = end;
        let before = start.checked_sub(1).and_then(|before| body.get(before)).copied();
        let after = body.get(end..)?;
        let value = match before {
            Some(b'<' | b':') => element(after),
            Some(b'"') => member(after),
            _ => None,
        };
        if let Some(value) = value {
            return Some(value);
        }
    }
    None
}

/// After an element's name: attributes up to `>`, then text up to `<`.
fn element(after: &[u8]) -> Option<&str> {
    if !matches!(after.first()?, b'>' | b' ' | b'\t' | b'\r' | b'\n') {
        return None;
    }
    let open = after.iter().position(|byte| *byte == b'>')?;
    if open > 0 && after.get(open - 1) == Some(&b'/') {
        return None;
    }
    let text = after.get(open + 1..)?;
    let close = text.iter().position(|byte| *byte == b'<')?;
    std::str::from_utf8(text.get(..close)?).ok().map(str::trim)
}

/// After a member's name: `":`, then a string or a bare word.
fn member(after: &[u8]) -> Option<&str> {
    let rest = after.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let (rest, ends): (&[u8], &[u8]) = match rest.strip_prefix(b"\"") {
        Some(quoted) => (quoted, b"\""),
        None => (rest, b",} \t\r\n"),
    };
    let close = rest.iter().position(|byte| ends.contains(byte))?;
    std::str::from_utf8(rest.get(..close)?).ok().map(str::trim)
}

fn find(body: &[u8], name: &[u8]) -> Option<usize> {
    body.windows(name.len()).position(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_fields_of_form_a_are_read() {
        let locked = br#"<?xml version="1.0" encoding="UTF-8"?>
<userCheck xmlns="http://www.isapi.org/ver20/XMLSchema" version="2.0"><statusValue>401</statusValue>
<lockStatus>lock</lockStatus><unlockTime>1795</unlockTime><retryLoginTime>0</retryLoginTime></userCheck>"#;
        assert_eq!(read(locked), LockNote { locked: Some(Duration::from_secs(1795)), tries_left: Some(0) });
        let open =
            b"<userCheck><lockStatus>unlock</lockStatus><retryLoginTime>4</retryLoginTime></userCheck>";
        assert_eq!(read(open), LockNote { locked: None, tries_left: Some(4) });
    }

    #[test]
    fn the_lock_fields_of_form_b_are_read() {
        let locked = br#"<ResponseStatus xmlns="http://www.std-cgi.org/ver20/XMLSchema" version="1.0">
<lockStatus> locked </lockStatus><retryTimes>0</retryTimes><resLockTime opt="x">600</resLockTime></ResponseStatus>"#;
        assert_eq!(read(locked), LockNote { locked: Some(Duration::from_secs(600)), tries_left: Some(0) });
        let open =
            b"<ResponseStatus><lockStatus>unlocked</lockStatus><retryTimes>3</retryTimes></ResponseStatus>";
        assert_eq!(read(open), LockNote { locked: None, tries_left: Some(3) });
    }

    #[test]
    fn json_is_read_alike() {
        let locked = br#"{"statusCode": 4, "lockStatus" : "lock", "unlockTime": 90 , "retryLoginTime":0}"#;
        assert_eq!(read(locked), LockNote { locked: Some(Duration::from_secs(90)), tries_left: Some(0) });
        let named = br#"{"statusCode":4,"subStatusCode":"userNameLocked"}"#;
        assert_eq!(read(named).locked, Some(USUAL));
    }

    #[test]
    fn a_lock_without_a_time_is_taken_for_half_an_hour_and_one_of_a_year_for_a_day() {
        assert_eq!(read(b"<lockStatus>lock</lockStatus>").locked, Some(USUAL));
        assert_eq!(
            read(b"<lockStatus>lock</lockStatus><unlockTime>31536000</unlockTime>").locked,
            Some(LONGEST)
        );
    }

    #[test]
    fn bodies_without_lock_fields_say_nothing() {
        let nothing = LockNote { locked: None, tries_left: None };
        for body in [
            b"".as_slice(),
            b"<html><title>Document Error: Unauthorized</title></html>",
            b"<userCheck><statusValue>401</statusValue></userCheck>",
            b"<lockStatus",
            b"<lockStatus>",
            b"<lockStatus/>lock<",
            b"lockStatus lock",
            b"\"lockStatus\"",
            b"\"lockStatus\":",
            b"<lockStatusX>lock</lockStatusX>",
            b"\xff\xfe<lockStatus>\xff</lockStatus>",
        ] {
            assert_eq!(read(body), nothing, "{}", String::from_utf8_lossy(body));
        }
        let mut far = vec![b' '; SCAN_BYTES];
        far.extend_from_slice(b"<lockStatus>lock</lockStatus>");
        assert_eq!(read(&far), nothing);
    }
}
