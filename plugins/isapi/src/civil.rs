//! Times as terminals write them, and seconds since 1970: just enough of a calendar to compare the two.

/// A date and time without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

impl Civil {
    /// Exactly `YYYY-MM-DDTHH:MM:SS` (a blank instead of the `T` is taken too), and a day that exists.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 19 {
            return None;
        }
        let fits = bytes.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b'T' | b' '),
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
        if !fits {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        let real = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        real.then_some(Self { year, month, day, second_of_day: hour * 3_600 + minute * 60 + second })
    }

    /// Seconds since 1970 if this were the time at Greenwich (Howard Hinnant's `days_from_civil`).
    pub(crate) fn seconds(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        days * 86_400 + self.second_of_day
    }

    /// The other way round.
    pub(crate) fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day: seconds.rem_euclid(86_400),
        }
    }
}

impl std::fmt::Display for Civil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { year, month, day, second_of_day } = self;
        let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

/// `+02:00`, `-0330`, `Z`: seconds east of Greenwich.
pub(crate) fn offset_seconds(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?.parse::<i64>().ok()?);
    (hours <= 15 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// A time with offset, e.g. `2026-11-21T05:30:00+02:00` or `..05:30:00.25Z`: seconds since 1970, and the offset.
pub(crate) fn instant(text: &str) -> Option<(i64, i64)> {
    let (core, rest) = text.split_at_checked(19)?;
    let rest =
        rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let offset = offset_seconds(rest)?;
    Some((Civil::parse(core)?.seconds() - offset, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_counted_right_both_ways() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00", 0),
            ("2000-02-29T12:00:00", 951_825_600),
            ("2026-11-21T05:30:00", 1_795_239_000),
            ("2037-12-31T23:59:59", 2_145_916_799),
            ("1969-12-31T23:59:59", -1),
        ] {
            assert_eq!(Civil::parse(text).map(Civil::seconds), Some(seconds), "{text}");
            assert_eq!(Civil::of(seconds).to_string(), text);
        }
    }

    #[test]
    fn offsets_count_eastward() {
        assert_eq!(instant("2026-11-21T07:30:00+02:00"), Some((1_795_239_000, 7_200)));
        assert_eq!(instant("2026-11-21T05:30:00.123456Z"), Some((1_795_239_000, 0)));
        assert_eq!(instant("2026-11-21T01:30:00-04:00"), Some((1_795_239_000, -14_400)));
        for text in ["2026-11-21T05:30:00", "2026-11-31T05:30:00Z", "2026-11-21", "2026-11-21T05:30:00+2"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
