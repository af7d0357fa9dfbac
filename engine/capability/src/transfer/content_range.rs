//! `Content-Range` (RFC 9110 section 14.4): which part of the whole an answer is.

/// `bytes FIRST-LAST/TOTAL`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    /// Included.
    pub(super) last: u64,
    /// `None` for `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// `None` for anything that cannot be relied on.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
        };
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let (first, last) = (number(first)?, number(last)?);
        let fits = first <= last && total.is_none_or(|total| last < total);
        (unit.eq_ignore_ascii_case("bytes") && fits).then_some(Self { first, last, total })
    }

    /// How many bytes it is.
    pub(super) fn bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_relied_on_is_read() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        for (text, expected) in [
            // RFC 9110 section 14.4.
            ("bytes 42-1233/1234", range(42, 1233, Some(1234))),
            ("bytes 42-1233/*", range(42, 1233, None)),
            ("bytes */1234", None),
            ("Bytes 0-0/1", range(0, 0, Some(1))),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("bytes -4/10", None),
            ("bytes +1-4/10", None),
            ("items 0-1/2", None),
            ("bytes 0-99999999999999999999/*", None),
            ("0-1/2", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text}");
        }
    }
}
