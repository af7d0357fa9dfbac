//! Durations and sizes as people write them: `90s`, `1h30m`, `500ms`, `4MiB`.

use std::time::Duration;

/// The longest duration that is accepted: ten years of 365 days.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A text that is not a quantity. The message says what is wrong with it, the help how it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QuantityError {
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Whole numbers with `ms`, `s`, `m`, `h`, `d`, larger units first: `90s`, `1h30m`, `2d`.
///
/// # Errors
/// When it is anything else, or longer than [`MAX_DURATION`].
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    let error = |message: String, help: &str| Err(QuantityError { message, help: help.to_owned() });
    let usual = "write whole numbers with units, for example 500ms, 90s, 5m, 1h30m or 2d";
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return error(
            format!("`{text}` lacks a unit"),
            &format!("write {text}s for seconds, {text}ms for milliseconds or {text}m for minutes"),
        );
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let Ok(number) = number.parse::<u64>() else {
            return error(format!("`{text}` is not a duration"), usual);
        };
        let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return error(format!("`{text}` is not a duration"), usual);
        };
        if *factor >= last {
            return error(format!("`{text}` is not a duration"), "larger units come first, each once: 1h30m");
        }
        last = *factor;
        total = number.checked_mul(*factor).and_then(|part| part.checked_add(total)).unwrap_or(u64::MAX);
        rest = after;
    }
    if text.is_empty() {
        return error("an empty text is not a duration".to_owned(), usual);
    }
    let duration = Duration::from_millis(total);
    if duration > MAX_DURATION {
        return error(format!("`{text}` is longer than ten years"), usual);
    }
    Ok(duration)
}

/// A duration as it is written in YAML: `1h30m`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS.into_iter().rev() {
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

const SIZE_UNITS: [(&str, u64); 8] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Bytes: a whole number with `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// When it is anything else.
pub fn size(text: &str) -> Result<u64, QuantityError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.parse::<u64>().ok(), factor) {
        (Some(number), Some(factor)) => number.checked_mul(factor),
        _ => None,
    }
    .ok_or_else(|| QuantityError {
        message: format!("`{text}` is not a size"),
        help: "write a whole number with a unit, for example 500KiB, 4MiB or 1GiB".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, seconds) in
            [("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0), ("2d", 172_800.0), ("500ms", 0.5), ("0s", 0.0)]
        {
            assert!((duration(text).unwrap().as_secs_f64() - seconds).abs() < f64::EPSILON, "{text}");
        }
        for text in ["500ms", "1m30s", "1h30m", "2d", "0s"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_a_way_to_write_it() {
        for text in
            ["", "s", "5 m", "1.5s", "-5s", "5min", "1m1h", "1s1s", "99999999999999999999s", "4000d", "é"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        let error = duration("30").unwrap_err();
        assert_eq!(error.message, "`30` lacks a unit");
        assert!(error.help.contains("30s"));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4MiB").unwrap(), 4 << 20);
        assert_eq!(size("500 kB").unwrap(), 500_000);
        for text in ["4", "MiB", "4M", "", "99999999999999999999B", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
