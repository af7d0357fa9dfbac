//! WebP, which is decoded as a whole.

use std::io::Cursor;

use bascule_sdk::Error;
use image_webp::{DecodingError, WebPDecoder};

use crate::exif;
use crate::fault;
use crate::raster::{Raster, over_white};
use crate::size::{self, Goal, Size};

/// What the file says before its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) size: Size,
    pub(crate) orientation: u8,
}

/// Reads the chunks.
pub(crate) fn read(data: &[u8]) -> Result<Header, Error> {
    // The decoder would not miss chunks that it does not need.
    let said =
        data.get(4..8).and_then(|bytes| Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)) + 8));
    if said.is_none_or(|said| said > data.len() as u64) {
        return Err(fault::damaged(format!("it has {} bytes and ends in the middle", data.len())));
    }
    let mut decoder = open(data)?;
    if decoder.is_animated() {
        return Err(fault::unsupported("an animation"));
    }
    let (width, height) = decoder.dimensions();
    // The decoder makes room for what the frame says before it compares.
    if lossy_frame(data).is_some_and(|frame| frame != Size::new(width, height)) {
        return Err(fault::damaged("its frame has another size than the picture"));
    }
    let orientation =
        decoder.exif_metadata().ok().flatten().map_or(exif::UPRIGHT, |exif| exif::orientation(&exif));
    Ok(Header { size: Size::new(width, height), orientation })
}

/// The size in the header of the first lossy frame (RFC 6386 section 9.1), where there is one.
fn lossy_frame(data: &[u8]) -> Option<Size> {
    let mut at = 12_usize;
    loop {
        let header = data.get(at..at.checked_add(8)?)?;
        let length = usize::try_from(u32::from_le_bytes(header[4..].try_into().ok()?)).ok()?;
        let inside = data.get(at + 8..)?;
        if header.starts_with(b"VP8 ") {
            let side = |from: usize| -> Option<u32> {
                let bytes = inside.get(from..from + 2)?.try_into().ok()?;
                Some(u32::from(u16::from_le_bytes(bytes) & 0x3FFF))
            };
            return Some(Size::new(side(6)?, side(8)?));
        }
        at = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
    }
}

fn open(data: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, Error> {
    let mut decoder = WebPDecoder::new(Cursor::new(data)).map_err(fault_of)?;
    // For chunks beside the pixels.
    decoder.set_memory_limit(4 * 1024 * 1024);
    Ok(decoder)
}

impl Header {
    /// Decodes it in its full size; `goal` only says whether there is room.
    pub(crate) fn decode(&self, data: &[u8], goal: Goal) -> Result<Raster, Error> {
        let mut decoder = open(data)?;
        let alpha = decoder.has_alpha();
        // Halves of a byte a pixel, from what the decoder makes room for: planes, the frame, the alpha channel.
        let halves = match (decoder.is_lossy(), alpha) {
            (true, true) => 22,
            (true, false) => 10,
            (false, _) => 16,
        };
        let file = data.len() as u64;
        size::reduction(self.size, goal, &[], |_| file + self.size.pixels() * halves / 2)?;
        let bytes = decoder.output_buffer_size().ok_or_else(|| fault::damaged("its size is impossible"))?;
        let mut pixels = vec![0; bytes];
        decoder.read_image(&mut pixels).map_err(fault_of)?;
        Ok(if alpha {
            Raster::from_four(self.size, pixels, over_white)
        } else {
            Raster { size: self.size, rgb: pixels }
        })
    }
}

fn fault_of(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(_) => fault::damaged("it ends in the middle"),
        DecodingError::UnsupportedFeature(what) => {
            fault::unsupported(format!("a WebP of a rare kind ({what})"))
        }
        other => fault::damaged(other),
    }
}
