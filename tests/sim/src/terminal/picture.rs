//! What a terminal's modeller says about a picture (`facts/isapi.md 4.3`). It reads the JPEG's structure, not its content.

use sha2::{Digest as _, Sha256};

use crate::quirks::{Oversize, Quirks};

/// The largest picture a terminal takes, in bytes.
const LARGEST: usize = 204_800;

/// Why a picture cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The subStatusCode.
    pub(super) code: &'static str,
    /// The errorMsg, which names an inner field.
    pub(super) message: &'static str,
}

const MODEL: Flaw = Flaw { code: "SubpicAnalysisModelingError", message: "PicFeaturePoints" };
const FORMAT: Flaw = Flaw { code: "picFormatError", message: "saveFacePic" };

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Looks at a picture as strictly as the switches say.
pub(super) fn examine(bytes: &[u8], quirks: &Quirks) -> Result<(), Flaw> {
    if bytes.len() > LARGEST {
        return Err(match quirks.oversize {
            Oversize::PicSizeExceedError => Flaw { code: "picSizeExceedError", message: "saveFacePic" },
            Oversize::BadJsonFormat => Flaw { code: "badJsonFormat", message: "faceURL" },
        });
    }
    let start = bytes.windows(3).take(64).position(|three| three == [0xff, 0xd8, 0xff]);
    match start {
        None => return Err(FORMAT),
        // Stray bytes before the picture.
        Some(1..) => return Err(MODEL),
        Some(0) => {}
    }
    let frame = Frame::find(bytes).ok_or(FORMAT)?;
    // Stray bytes after the picture, or no end at all.
    if frame.end != bytes.len() {
        return Err(MODEL);
    }
    if !frame.baseline || (quirks.refuse_444 && !frame.subsampled) {
        return Err(MODEL);
    }
    if frame.width == 0 || frame.height == 0 {
        return Err(Flaw { code: "picResolutionInvalidError", message: "saveFacePic" });
    }
    if u32::from(frame.width.max(frame.height)) < quirks.min_side {
        return Err(MODEL);
    }
    Ok(())
}

struct Frame {
    width: u16,
    height: u16,
    baseline: bool,
    subsampled: bool,
    /// Just behind the EOI marker.
    end: usize,
}

impl Frame {
    /// Walks over the segments to the end of the picture.
    fn find(bytes: &[u8]) -> Option<Self> {
        let mut at = 2;
        let mut frame = None;
        loop {
            let (&[0xff, marker], rest) = (bytes.get(at..at + 2)?, at + 2) else {
                return None;
            };
            at = rest;
            match marker {
                0xff => at -= 1,
                0xd9 => return frame.map(|frame| Self { end: at, ..frame }),
                0x01 | 0xd0..=0xd7 => {}
                _ => {
                    let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
                    let segment = bytes.get(at + 2..at + length)?;
                    at += length;
                    match marker {
                        0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                            frame = Some(Self::read(marker, segment)?)
                        }
                        0xda => at = scan_end(bytes, at)?,
                        _ => {}
                    }
                }
            }
        }
    }

    fn read(marker: u8, segment: &[u8]) -> Option<Self> {
        let number =
            |place: usize| Some(u16::from_be_bytes([*segment.get(place)?, *segment.get(place + 1)?]));
        let colours = *segment.get(5)?;
        // A grey picture has nothing to subsample.
        let subsampled = colours < 3 || *segment.get(7)? != 0x11;
        Some(Self { width: number(3)?, height: number(1)?, baseline: marker == 0xc0, subsampled, end: 0 })
    }
}

/// Where the next marker after entropy-coded data stands.
fn scan_end(bytes: &[u8], from: usize) -> Option<usize> {
    let data = bytes.get(from..)?;
    let place = data
        .windows(2)
        .position(|pair| matches!(pair, [0xff, marker] if !matches!(marker, 0 | 0xd0..=0xd7)))?;
    Some(from + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{Sampling, Sketch};

    fn flaw(bytes: &[u8], quirks: &Quirks) -> Option<&'static str> {
        examine(bytes, quirks).err().map(|flaw| flaw.code)
    }

    #[test]
    fn each_bad_picture_gets_its_own_error() {
        let quirks = Quirks::default();
        let good = Sketch::new(1).draw();
        assert_eq!(flaw(&good, &quirks), None);
        assert_eq!(flaw(b"<html>", &quirks), Some("picFormatError"));
        assert_eq!(flaw(&[&good[..], b"x"].concat(), &quirks), Some("SubpicAnalysisModelingError"));
        assert_eq!(flaw(&[b"x", &good[..]].concat(), &quirks), Some("SubpicAnalysisModelingError"));
        assert_eq!(flaw(good.get(..good.len() - 2).unwrap_or_default(), &quirks), Some("picFormatError"));
        let large = Sketch { padding: 210_000, ..Sketch::new(1) }.draw();
        assert_eq!(flaw(&large, &quirks), Some("picSizeExceedError"));
        let misleading = Quirks { oversize: Oversize::BadJsonFormat, ..Quirks::default() };
        assert_eq!(flaw(&large, &misleading), Some("badJsonFormat"));
    }

    #[test]
    fn chroma_and_size_matter_only_where_the_switch_says_so() {
        let full = Sketch { sampling: Sampling::Full, ..Sketch::new(2) }.draw();
        assert_eq!(flaw(&full, &Quirks::default()), None);
        assert_eq!(
            flaw(&full, &Quirks { refuse_444: true, ..Quirks::default() }),
            Some("SubpicAnalysisModelingError")
        );
        let small = Sketch { width: 320, height: 240, ..Sketch::new(3) }.draw();
        assert_eq!(flaw(&small, &Quirks::default()), None);
        assert_eq!(
            flaw(&small, &Quirks { min_side: 400, ..Quirks::default() }),
            Some("SubpicAnalysisModelingError")
        );
    }
}
