//! PNG, read row by row: only an interlaced one has to be in memory as a whole.

use std::io::Cursor;

use bascule_sdk::Error;
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

use crate::exif;
use crate::fault;
use crate::raster::{Raster, Shrink, over_white};
use crate::size::{self, Goal, Size};

/// What the file says before its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) size: Size,
    pub(crate) orientation: u8,
}

/// Reads what is before the pixels.
pub(crate) fn read(data: &[u8]) -> Result<Header, Error> {
    // The size first: a row of an impossible picture is not made room for.
    let mut decoder = decoder(data);
    let info = decoder.read_header_info().map_err(fault_of)?;
    let size = Size::new(info.width, info.height);
    if size::check_pixels(size).is_err() {
        return Ok(Header { size, orientation: exif::UPRIGHT });
    }
    let reader = decoder.read_info().map_err(fault_of)?;
    let orientation = reader.info().exif_metadata.as_deref().map_or(exif::UPRIGHT, exif::orientation);
    Ok(Header { size, orientation })
}

fn decoder(data: &[u8]) -> Decoder<Cursor<&[u8]>> {
    // For chunks beside the pixels, and for single rows.
    let mut decoder = Decoder::new_with_limits(Cursor::new(data), Limits { bytes: 4 * 1024 * 1024 });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder
}

impl Header {
    /// Decodes it, reduced as far as `goal` allows.
    pub(crate) fn decode(&self, data: &[u8], goal: Goal) -> Result<Raster, Error> {
        let mut reader = decoder(data).read_info().map_err(fault_of)?;
        let (color, depth) = reader.output_color_type();
        if depth != BitDepth::Eight || color == ColorType::Indexed {
            return Err(fault::unsupported("a PNG of a rare kind"));
        }
        let channels = color.samples();
        let whole = if reader.info().interlaced { self.size.pixels() * channels as u64 } else { 0 };
        let file = data.len() as u64;
        let factor = size::reduction(self.size, goal, &[2, 4, 8], |factor| {
            file + whole + self.size.reduced(factor).pixels() * 3 + u64::from(self.size.width) * 16
        })?;
        let mut shrink = Shrink::new(self.size, factor);
        let mut rgb = Vec::with_capacity(self.size.width as usize * 3);
        if whole > 0 {
            interlaced(&mut reader, |row| shrink.row(colours(row, channels, &mut rgb)))?;
        } else {
            for _ in 0..self.size.height {
                let row = reader.next_row().map_err(fault_of)?;
                let row = row.ok_or_else(|| fault::damaged("it has fewer rows than it says"))?;
                shrink.row(colours(row.data(), channels, &mut rgb));
            }
        }
        Ok(shrink.finish())
    }
}

fn interlaced(reader: &mut Reader<Cursor<&[u8]>>, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
    let bytes = reader.output_buffer_size().ok_or_else(|| fault::damaged("its size is impossible"))?;
    let mut pixels = vec![0; bytes];
    let info = reader.next_frame(&mut pixels).map_err(fault_of)?;
    for row in pixels.chunks_exact(info.line_size.max(1)) {
        each(row);
    }
    Ok(())
}

/// A row of grey, grey with alpha, RGB or RGBA as RGB over white.
fn colours<'a>(row: &'a [u8], channels: usize, rgb: &'a mut Vec<u8>) -> &'a [u8] {
    rgb.clear();
    match channels {
        1 => rgb.extend(row.iter().flat_map(|&grey| [grey; 3])),
        2 => rgb.extend(
            row.chunks_exact(2).flat_map(|pixel| over_white([pixel[0], pixel[0], pixel[0], pixel[1]])),
        ),
        3 => return row,
        _ => rgb.extend(
            row.chunks_exact(4).flat_map(|pixel| over_white([pixel[0], pixel[1], pixel[2], pixel[3]])),
        ),
    }
    rgb
}

fn fault_of(error: png::DecodingError) -> Error {
    match error {
        png::DecodingError::IoError(_) => fault::damaged("it ends in the middle"),
        png::DecodingError::LimitsExceeded => fault::too_large(
            "a row of this PNG, or what is stored beside its pixels, takes more than 4 MiB".to_owned(),
        ),
        other => fault::damaged(other),
    }
}
