//! What a file is, by its content.

use bascule_sdk::Error;

use crate::bindings::exports::bascule::photo::pictures::{Format, Picture};
use crate::raster::Raster;
use crate::size::{self, Goal, Size};
use crate::{fault, jpeg, png, webp};

/// A picture whose header was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Jpeg(jpeg::Header),
    Png(png::Header),
    Webp(webp::Header),
}

impl Source {
    /// Recognises a picture and reads its header.
    pub(crate) fn read(data: &[u8]) -> Result<Self, Error> {
        if data.starts_with(b"\x89PNG\r\n\x1a\n") {
            return png::read(data).map(Self::Png);
        }
        if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
            return webp::read(data).map(Self::Webp);
        }
        if let Some(kind) = other_picture(data) {
            return Err(fault::unsupported(kind));
        }
        match (text(data), jpeg::find(data)) {
            (_, Some(start)) => jpeg::read(data, start).map(Self::Jpeg),
            (Some(kind), None) => Err(fault::not_a_picture(kind)),
            (None, None) => Err(fault::not_a_picture("of no kind that is known")),
        }
    }

    /// Pixels as they are stored, before turning.
    pub(crate) fn size(&self) -> Size {
        match self {
            Self::Jpeg(header) => header.size,
            Self::Png(header) => header.size,
            Self::Webp(header) => header.size,
        }
    }

    /// As EXIF counts.
    pub(crate) fn orientation(&self) -> u8 {
        match self {
            Self::Jpeg(header) => header.orientation,
            Self::Png(header) => header.orientation,
            Self::Webp(header) => header.orientation,
        }
    }

    /// Decodes it, as it is stored; reduced where that saves memory and `goal` allows it.
    pub(crate) fn decode(&self, data: &[u8], goal: Goal) -> Result<Raster, Error> {
        size::check_pixels(self.size())?;
        match self {
            Self::Jpeg(header) => header.decode(data, goal),
            Self::Png(header) => header.decode(data, goal),
            Self::Webp(header) => header.decode(data, goal),
        }
    }

    /// What is said about it.
    pub(crate) fn describe(&self, bytes: usize) -> Picture {
        let size = self.size().turned(self.orientation());
        let (format, sampling, progressive, stray) = match self {
            Self::Jpeg(header) => {
                let stray = bytes - (header.end - header.start);
                (Format::Jpeg, Some(header.sampling()), header.progressive, stray)
            }
            Self::Png(_) => (Format::Png, None, false, 0),
            Self::Webp(_) => (Format::Webp, None, false, 0),
        };
        Picture {
            format,
            bytes: bytes as u64,
            width: size.width,
            height: size.height,
            orientation: self.orientation(),
            sampling,
            progressive,
            stray_bytes: stray as u64,
        }
    }
}

/// What a file says about itself.
pub(crate) fn inspect(data: &[u8]) -> Result<Picture, Error> {
    Source::read(data).map(|source| source.describe(data.len()))
}

/// Pictures that are not read here.
fn other_picture(data: &[u8]) -> Option<&'static str> {
    if data.get(4..8) == Some(b"ftyp") {
        return match data.get(8..12)? {
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => Some("in HEIC"),
            b"avif" | b"avis" => Some("in AVIF"),
            _ => None,
        };
    }
    let kinds: [(&[u8], &str); 5] = [
        (b"GIF8", "a GIF"),
        (b"BM", "a BMP"),
        (b"II*\0", "a TIFF or a camera's raw format"),
        (b"MM\0*", "a TIFF or a camera's raw format"),
        (b"\0\0\0\x0cJXL ", "in JPEG XL"),
    ];
    kinds.iter().find(|(start, _)| data.starts_with(start)).map(|&(_, kind)| kind)
}

/// What is stored in place of pictures, now and then.
fn text(data: &[u8]) -> Option<&'static str> {
    let data = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data).trim_ascii_start();
    match data.first() {
        None => Some("empty"),
        Some(b'{' | b'[') => Some("a JSON answer"),
        Some(b'<') => {
            let head = data[..data.len().min(256)].to_ascii_lowercase();
            let html = head.starts_with(b"<!doctype html") || head.windows(5).any(|piece| piece == b"<html");
            Some(if html { "an HTML page" } else { "an XML answer" })
        }
        Some(_) if data.starts_with(b"data:image/") => Some("a data URL as text"),
        Some(_) if data.starts_with(b"/9j/") => Some("a picture in base64"),
        Some(_) if data.starts_with(b"%PDF") => Some("a PDF"),
        Some(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;

    use super::*;
    use crate::samples::{self, Jpeg};

    #[test]
    fn what_is_no_picture_is_called_what_it_is() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "it is empty"),
            (b"<!DOCTYPE html><html><body>404", "an HTML page"),
            (b"<?xml version=\"1.0\"?><ResponseStatus/>", "an XML answer"),
            (b"{\"statusCode\":\"404\"}", "a JSON answer"),
            (b"data:image/jpeg;base64,/9j/4AAQ", "a data URL"),
            (b"/9j/4AAQSkZJRg==", "base64"),
            (b"\0\x01\x02\x03", "no kind that is known"),
        ];
        for (data, words) in cases {
            let error = inspect(data).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref()),
                (ErrorKind::InvalidInput, Some("photo:not-a-picture"))
            );
            assert!(error.message.contains(words), "{}", error.message);
        }
    }

    #[test]
    fn pictures_of_other_kinds_are_named() {
        for (data, word) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
            (b"GIF89a", "GIF"),
            (b"BM\0\0\0\0", "BMP"),
            (b"II*\0\x08\0\0\0", "TIFF"),
        ] {
            let error = inspect(data).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_deref()),
                (ErrorKind::Unsupported, Some("photo:unsupported"))
            );
            assert!(error.message.contains(word), "{}", error.message);
        }
    }

    #[test]
    fn a_turned_jpeg_between_stray_bytes_is_described() {
        let jpeg = Jpeg { orientation: 6, ..Jpeg::default() }.write(&samples::corners(64, 48));
        let data = [b"--boundary\r\n\r\n", jpeg.as_slice(), b"\r\n--boundary--"].concat();
        let picture = inspect(&data).unwrap();
        assert_eq!(
            (picture.format, picture.width, picture.height, picture.orientation),
            (Format::Jpeg, 48, 64, 6)
        );
        assert_eq!((picture.sampling.as_deref(), picture.progressive), (Some("4:2:0"), false));
        assert_eq!((picture.bytes, picture.stray_bytes), (data.len() as u64, 28));
    }

    #[test]
    fn the_sampling_of_a_jpeg_is_said_in_the_usual_words() {
        use jpeg_encoder::SamplingFactor;
        for (sampling, words) in [
            (SamplingFactor::R_4_4_4, "4:4:4"),
            (SamplingFactor::R_4_2_2, "4:2:2"),
            (SamplingFactor::R_4_2_0, "4:2:0"),
            (SamplingFactor::R_4_4_0, "4:4:0"),
            (SamplingFactor::R_4_1_1, "4:1:1"),
        ] {
            let jpeg =
                Jpeg { sampling, progressive: true, ..Jpeg::default() }.write(&samples::corners(40, 40));
            let picture = inspect(&jpeg).unwrap();
            assert_eq!((picture.sampling.as_deref(), picture.progressive), (Some(words), true));
        }
        assert_eq!(inspect(&samples::grey_jpeg(40, 40)).unwrap().sampling.as_deref(), Some("grey"));
        assert_eq!(inspect(&samples::cmyk_jpeg(40, 40)).unwrap().sampling.as_deref(), Some("cmyk"));
    }

    #[test]
    fn an_enormous_picture_is_described_and_not_decoded() {
        for data in [samples::jpeg_that_says(60_000, 60_000), samples::png_that_says(60_000, 60_000)] {
            let source = Source::read(&data).unwrap();
            assert_eq!(source.size(), Size::new(60_000, 60_000));
            assert_eq!(
                source
                    .decode(&data, Goal { scale: 0.01, size: Size::new(8, 8) })
                    .unwrap_err()
                    .code
                    .as_deref(),
                Some("photo:too-large")
            );
        }
    }
}
