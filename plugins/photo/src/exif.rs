//! The one value that is wanted from EXIF: which way up the picture is (CIPA DC-008, tag 0x0112).

/// Upright, and what is taken for granted where nothing else is said.
pub(crate) const UPRIGHT: u8 = 1;

/// The orientation, 1 to 8, in a TIFF structure (with or without `Exif\0\0` before it). Whatever is damaged or absent
/// is upright: a wrong tag is no reason to refuse a photo.
pub(crate) fn orientation(data: &[u8]) -> u8 {
    find(data.strip_prefix(b"Exif\0\0").unwrap_or(data)).unwrap_or(UPRIGHT)
}

fn find(tiff: &[u8]) -> Option<u8> {
    let big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| -> Option<u32> {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    const TAG: u16 = 0x0112;
    const SHORT: u16 = 3;
    let directory = usize::try_from(long(4)?).ok()?;
    for entry in 0..usize::from(short(directory)?) {
        let at = directory.checked_add(2 + entry * 12)?;
        if short(at)? == TAG {
            let value = short(at.checked_add(8)?)?;
            let plausible = short(at.checked_add(2)?)? == SHORT && long(at.checked_add(4)?)? == 1;
            return u8::try_from(value).ok().filter(|value| plausible && (1..=8).contains(value));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::exif;

    #[test]
    fn every_orientation_is_read_in_both_byte_orders() {
        for value in 1..=8 {
            let little = exif(value);
            let mut big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
            big.extend([value, 0, 0, 0, 0, 0, 0]);
            assert_eq!(orientation(&little), value);
            assert_eq!(orientation(&big), value);
            assert_eq!(orientation(&[&b"Exif\0\0"[..], &little].concat()), value);
        }
    }

    #[test]
    fn nonsense_is_upright() {
        for value in [0, 9, 255] {
            assert_eq!(orientation(&exif(value)), UPRIGHT);
        }
        let whole = exif(6);
        for end in 0..whole.len() - 6 {
            assert_eq!(orientation(&whole[..end]), UPRIGHT, "{end} bytes");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), UPRIGHT);
        assert_eq!(orientation(b"MM\0*\0\0\0\x08\xff\xff\x01\x12"), UPRIGHT);
    }
}
