//! JPEG (ITU-T T.81): the walk along its markers, and decoding.
//!
//! The walk comes first and sees everything that matters before memory is spent: where the picture begins and ends, its
//! size and sampling, which way up it is, and whether its end is there at all.

use bascule_sdk::Error;
use jpeg_decoder::{Decoder, PixelFormat};

use crate::exif;
use crate::fault;
use crate::raster::{Raster, from_ink};
use crate::size::{self, Goal, Size};

/// How far into a file a picture may begin.
const MAX_LEADING_BYTES: usize = 4096;

/// What the markers say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    /// Where it begins.
    pub(crate) start: usize,
    /// After its end.
    pub(crate) end: usize,
    pub(crate) size: Size,
    pub(crate) orientation: u8,
    pub(crate) progressive: bool,
    /// Horizontal and vertical sampling factor of each component.
    components: Vec<(u8, u8)>,
}

/// Where a JPEG begins, at the start of the file or after stray bytes.
pub(crate) fn find(data: &[u8]) -> Option<usize> {
    let head = &data[..data.len().min(MAX_LEADING_BYTES)];
    head.windows(3).position(|bytes| bytes == [0xFF, 0xD8, 0xFF])
}

/// Walks from `start` to the end of the picture.
pub(crate) fn read(data: &[u8], start: usize) -> Result<Header, Error> {
    let mut walk = Walk { data, at: start + 2 };
    let mut frame: Option<Header> = None;
    let mut orientation = exif::UPRIGHT;
    let mut scans = 0;
    loop {
        match walk.marker()? {
            // Restarts, and markers without a segment, that stand where nothing is to be expected.
            0x01 | 0xD0..=0xD8 => {}
            0xD9 => break,
            0xC4 | 0xC8 | 0xCC => drop(walk.segment()?),
            marker @ 0xC0..=0xCF => {
                let segment = walk.segment()?;
                if frame.is_some() {
                    return Err(fault::damaged("it has two frame headers"));
                }
                frame = Some(read_frame(marker, segment, start)?);
            }
            0xE1 => {
                let segment = walk.segment()?;
                if segment.starts_with(b"Exif\0\0") && orientation == exif::UPRIGHT {
                    orientation = exif::orientation(segment);
                }
            }
            0xDA => {
                walk.segment()?;
                walk.skip_scan()?;
                scans += 1;
            }
            _ => drop(walk.segment()?),
        }
    }
    let frame =
        frame.filter(|_| scans > 0).ok_or_else(|| fault::damaged("it ends before the picture begins"))?;
    Ok(Header { end: walk.at, orientation, ..frame })
}

struct Walk<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn cut(&self) -> Error {
        fault::damaged(format!("it has {} bytes and ends in the middle", self.data.len()))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.data.get(self.at).ok_or_else(|| self.cut())?;
        self.at += 1;
        Ok(byte)
    }

    /// The next marker; anything before it is passed over, as decoders do.
    fn marker(&mut self) -> Result<u8, Error> {
        loop {
            while self.byte()? != 0xFF {}
            let mut byte = self.byte()?;
            while byte == 0xFF {
                byte = self.byte()?;
            }
            if byte != 0 {
                return Ok(byte);
            }
        }
    }

    /// What follows a marker, without its length.
    fn segment(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::from(u16::from_be_bytes([self.byte()?, self.byte()?]));
        let inside = length
            .checked_sub(2)
            .ok_or_else(|| fault::damaged("a segment is shorter than its own length"))?;
        let segment = self.data.get(self.at..self.at + inside).ok_or_else(|| self.cut())?;
        self.at += inside;
        Ok(segment)
    }

    /// Goes to the marker that ends the coded data.
    fn skip_scan(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let found = rest.iter().position(|&byte| byte == 0xFF).ok_or_else(|| self.cut())?;
            match rest.get(found + 1) {
                None => return Err(self.cut()),
                Some(0x00 | 0xD0..=0xD7) => self.at += found + 2,
                Some(0xFF) => self.at += found + 1,
                Some(_) => {
                    self.at += found;
                    return Ok(());
                }
            }
        }
    }
}

fn read_frame(marker: u8, segment: &[u8], start: usize) -> Result<Header, Error> {
    let kind = match marker {
        0xC0..=0xC2 => None,
        0xC3 => Some("a lossless JPEG"),
        0xC9..=0xCB => Some("an arithmetically coded JPEG"),
        _ => Some("a hierarchical JPEG"),
    };
    if let Some(kind) = kind {
        return Err(fault::unsupported(kind));
    }
    let short = || fault::damaged("its frame header is too short");
    let [precision, h1, h0, w1, w0, count, components @ ..] = segment else { return Err(short()) };
    if *precision != 8 {
        return Err(fault::unsupported(format!("a JPEG with {precision} bits a sample")));
    }
    let size = Size::new(u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into());
    let components: Vec<(u8, u8)> = components
        .chunks_exact(3)
        .take(usize::from(*count))
        .map(|component| (component[1] >> 4, component[1] & 15))
        .collect();
    if components.len() != usize::from(*count) {
        return Err(short());
    }
    if !matches!(components.len(), 1 | 3 | 4) {
        return Err(fault::unsupported(format!("a JPEG with {count} colours")));
    }
    if components.iter().any(|&(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v)) {
        return Err(fault::damaged("its colours are sampled in an impossible way"));
    }
    Ok(Header { start, end: 0, size, orientation: exif::UPRIGHT, progressive: marker == 0xC2, components })
}

impl Header {
    /// `4:2:0` and the like.
    pub(crate) fn sampling(&self) -> String {
        let (first, others) = match self.components.as_slice() {
            [first, others @ ..] if others.len() == 2 => (*first, others),
            [_] => return "grey".to_owned(),
            _ => return "cmyk".to_owned(),
        };
        let same = others.iter().all(|other| *other == others[0]);
        let ratio = (first.0 / others[0].0.max(1), first.1 / others[0].1.max(1));
        let whole = first.0 % others[0].0.max(1) == 0 && first.1 % others[0].1.max(1) == 0;
        match ratio {
            (1, 1) if same && whole => "4:4:4".to_owned(),
            (2, 1) if same && whole => "4:2:2".to_owned(),
            (2, 2) if same && whole => "4:2:0".to_owned(),
            (1, 2) if same && whole => "4:4:0".to_owned(),
            (4, 1) if same && whole => "4:1:1".to_owned(),
            _ => {
                let all: Vec<String> = self.components.iter().map(|(h, v)| format!("{h}x{v}")).collect();
                all.join(",")
            }
        }
    }

    /// Bytes that decoding takes at its worst moment when it reduces by `factor`.
    fn memory(&self, factor: u32) -> u64 {
        let most =
            |value: fn(&(u8, u8)) -> u8| u64::from(self.components.iter().map(value).max().unwrap_or(1));
        let (across, down) = (most(|component| component.0), most(|component| component.1));
        let units =
            u64::from(self.size.width).div_ceil(8 * across) * u64::from(self.size.height).div_ceil(8 * down);
        let blocks: u64 = self.components.iter().map(|&(h, v)| units * u64::from(h) * u64::from(v)).sum();
        let side = u64::from(8 / factor.clamp(1, 8));
        let planes = blocks * side * side;
        let coefficients = if self.progressive { blocks * 128 } else { 0 };
        let channels = if self.components.len() == 4 { 4 } else { 3 };
        coefficients + planes + self.size.reduced(factor).pixels() * channels
    }

    /// Decodes it, reduced as far as `goal` allows.
    pub(crate) fn decode(&self, data: &[u8], goal: Goal) -> Result<Raster, Error> {
        let file = data.len() as u64;
        let factor = size::reduction(self.size, goal, &[2, 4, 8], |factor| file + self.memory(factor))?;
        let mut decoder = Decoder::new(&data[self.start..self.end]);
        if factor > 1 {
            let wanted = self.size.reduced(factor);
            let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
            decoder.scale(side(wanted.width), side(wanted.height)).map_err(fault_of)?;
        }
        let pixels = decoder.decode().map_err(fault_of)?;
        let info = decoder.info().ok_or_else(|| fault::damaged("it has no frame header"))?;
        let size = Size::new(info.width.into(), info.height.into());
        let bytes = size.pixels() * info.pixel_format.pixel_bytes() as u64;
        if pixels.len() as u64 != bytes {
            return Err(fault::damaged("its pixels do not fit its size"));
        }
        match info.pixel_format {
            PixelFormat::RGB24 => Ok(Raster { size, rgb: pixels }),
            PixelFormat::L8 => Ok(Raster::from_grey(size, &pixels)),
            PixelFormat::CMYK32 => Ok(Raster::from_four(size, pixels, from_ink)),
            PixelFormat::L16 => Err(fault::unsupported("a JPEG with 16 bits a sample")),
        }
    }
}

fn fault_of(error: jpeg_decoder::Error) -> Error {
    match error {
        jpeg_decoder::Error::Unsupported(what) => {
            fault::unsupported(format!("a JPEG of a rare kind ({what:?})"))
        }
        jpeg_decoder::Error::Io(_) => fault::damaged("its coded data end too early"),
        other => fault::damaged(other),
    }
}
