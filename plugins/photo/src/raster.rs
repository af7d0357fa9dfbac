//! Decoded pixels: turning, cropping, scaling, encoding.

use bascule_sdk::Error;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::size::Size;

/// Red, green and blue, a byte each, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raster {
    pub(crate) size: Size,
    pub(crate) rgb: Vec<u8>,
}

/// A part around the centre, as portions of width and height: 1.0 for all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Raster {
    /// From grey pixels.
    pub(crate) fn from_grey(size: Size, grey: &[u8]) -> Self {
        Self { size, rgb: grey.iter().flat_map(|&value| [value; 3]).collect() }
    }

    /// From pixels of four bytes, made into three in place by `mix`.
    pub(crate) fn from_four(size: Size, mut data: Vec<u8>, mix: impl Fn([u8; 4]) -> [u8; 3]) -> Self {
        let pixels = data.len() / 4;
        for pixel in 0..pixels {
            let from = pixel * 4;
            let mixed = mix([data[from], data[from + 1], data[from + 2], data[from + 3]]);
            data[pixel * 3..pixel * 3 + 3].copy_from_slice(&mixed);
        }
        data.truncate(pixels * 3);
        Self { size, rgb: data }
    }

    /// The part around the centre, scaled to `size`.
    pub(crate) fn scaled(&self, part: Part, size: Size) -> Result<Self, Error> {
        if part == (Part { width: 1.0, height: 1.0 }) && size == self.size {
            return Ok(self.clone());
        }
        let inside = |whole: u32, portion: f64| {
            let kept = (f64::from(whole) * portion).clamp(1.0, f64::from(whole));
            ((f64::from(whole) - kept) / 2.0, kept)
        };
        let (left, width) = inside(self.size.width, part.width);
        let (top, height) = inside(self.size.height, part.height);
        let fault =
            |error: &dyn std::error::Error| Error::internal(format!("cannot scale the picture: {error}"));
        // The typed way: the other one brings code for pixels of every type along.
        let from = TypedImageRef::<U8x3>::from_buffer(self.size.width, self.size.height, &self.rgb)
            .map_err(|error| fault(&error))?;
        let mut rgb = vec![0; size.width as usize * size.height as usize * 3];
        let mut to = TypedImage::<U8x3>::from_buffer(size.width, size.height, &mut rgb)
            .map_err(|error| fault(&error))?;
        // Lanczos with a window of three, the crate's default.
        let options = ResizeOptions::new().crop(left, top, width, height);
        Resizer::new().resize_typed(&from, &mut to, &options).map_err(|error| fault(&error))?;
        drop(to);
        Ok(Self { size, rgb })
    }

    /// Turned and mirrored so that a picture with this EXIF orientation stands upright.
    pub(crate) fn upright(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let size = self.size.turned(orientation);
        let (last_column, last_row) = (self.size.width - 1, self.size.height - 1);
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for y in 0..size.height {
            for x in 0..size.width {
                let (column, row) = match orientation {
                    2 => (last_column - x, y),
                    3 => (last_column - x, last_row - y),
                    4 => (x, last_row - y),
                    5 => (y, x),
                    6 => (y, last_row - x),
                    7 => (last_column - y, last_row - x),
                    _ => (last_column - y, x),
                };
                let at = (row as usize * self.size.width as usize + column as usize) * 3;
                rgb.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        Self { size, rgb }
    }

    /// A baseline JPEG, 4:2:0, with the usual Huffman tables and nothing but its JFIF header.
    pub(crate) fn encoded(&self, quality: u8) -> Result<Vec<u8>, Error> {
        let fault =
            |error: &dyn std::error::Error| Error::internal(format!("cannot write the JPEG: {error}"));
        let width = u16::try_from(self.size.width).map_err(|error| fault(&error))?;
        let height = u16::try_from(self.size.height).map_err(|error| fault(&error))?;
        let mut out = Vec::with_capacity(256 * 1024);
        let mut encoder = Encoder::new(&mut out, quality);
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder.set_progressive(false);
        encoder.encode(&self.rgb, width, height, ColorType::Rgb).map_err(|error| fault(&error))?;
        Ok(out)
    }
}

/// Over white.
pub(crate) fn over_white([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    [red, green, blue].map(|value| {
        let mixed = (u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    })
}

/// Ink to light, without a colour profile.
pub(crate) fn from_ink([cyan, magenta, yellow, key]: [u8; 4]) -> [u8; 3] {
    let white = u32::from(255 - key);
    [cyan, magenta, yellow].map(|ink| {
        let light = (u32::from(255 - ink) * white + 127) / 255;
        u8::try_from(light).unwrap_or(u8::MAX)
    })
}

/// Takes rows and keeps the mean of each `factor` by `factor` pixels.
pub(crate) struct Shrink {
    factor: usize,
    width: usize,
    sums: Vec<u32>,
    rows: usize,
    size: Size,
    rgb: Vec<u8>,
}

impl Shrink {
    /// For a picture of that size.
    pub(crate) fn new(size: Size, factor: u32) -> Self {
        let reduced = size.reduced(factor);
        let samples = reduced.width as usize * 3;
        Self {
            factor: factor as usize,
            width: size.width as usize,
            sums: vec![0; if factor > 1 { samples } else { 0 }],
            rows: 0,
            size: reduced,
            rgb: Vec::with_capacity(samples * reduced.height as usize),
        }
    }

    /// The next row, as RGB.
    pub(crate) fn row(&mut self, rgb: &[u8]) {
        if self.factor == 1 {
            self.rgb.extend_from_slice(rgb);
            return;
        }
        for (sums, block) in self.sums.chunks_exact_mut(3).zip(rgb.chunks(self.factor * 3)) {
            for pixel in block.chunks_exact(3) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += u32::from(value);
                }
            }
        }
        self.rows += 1;
        if self.rows == self.factor {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        for (block, sums) in self.sums.chunks_exact_mut(3).enumerate() {
            let columns = self.factor.min(self.width - block * self.factor);
            let count = u32::try_from(rows * columns).unwrap_or(u32::MAX).max(1);
            for sum in sums {
                self.rgb.push(u8::try_from((*sum + count / 2) / count).unwrap_or(u8::MAX));
                *sum = 0;
            }
        }
    }

    /// What has become of them.
    pub(crate) fn finish(mut self) -> Raster {
        if self.rows > 0 {
            self.flush();
        }
        Raster { size: self.size, rgb: self.rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_orientation_puts_the_marked_pixel_where_exif_says() {
        // 3 x 2; A is the first pixel of the first row. What must become of it is drawn by hand from CIPA DC-008.
        let letters = |text: &str| text.bytes().flat_map(|letter| [letter; 3]).collect::<Vec<u8>>();
        let stored = Raster { size: Size::new(3, 2), rgb: letters("ABCDEF") };
        let expected = [
            (1, Size::new(3, 2), "ABCDEF"),
            (2, Size::new(3, 2), "CBAFED"),
            (3, Size::new(3, 2), "FEDCBA"),
            (4, Size::new(3, 2), "DEFABC"),
            (5, Size::new(2, 3), "ADBECF"),
            (6, Size::new(2, 3), "DAEBFC"),
            (7, Size::new(2, 3), "FCEBDA"),
            (8, Size::new(2, 3), "CFBEAD"),
        ];
        for (orientation, size, text) in expected {
            let upright = stored.clone().upright(orientation);
            assert_eq!(upright, Raster { size, rgb: letters(text) }, "orientation {orientation}");
        }
    }

    #[test]
    fn shrinking_takes_means_and_counts_the_edges_right() {
        let mut shrink = Shrink::new(Size::new(3, 3), 2);
        for row in [[0, 10, 7], [20, 30, 9], [100, 200, 50]] {
            shrink.row(&row.iter().flat_map(|&value| [value; 3]).collect::<Vec<u8>>());
        }
        let small = shrink.finish();
        assert_eq!(small, Raster::from_grey(Size::new(2, 2), &[15, 8, 150, 50]));
    }

    #[test]
    fn transparency_is_white_and_ink_is_dark() {
        assert_eq!(over_white([10, 20, 30, 255]), [10, 20, 30]);
        assert_eq!(over_white([10, 20, 30, 0]), [255, 255, 255]);
        assert_eq!(over_white([0, 0, 0, 128]), [127, 127, 127]);
        assert_eq!(from_ink([0, 0, 0, 0]), [255, 255, 255]);
        assert_eq!(from_ink([0, 255, 255, 0]), [255, 0, 0]);
        assert_eq!(from_ink([0, 0, 0, 255]), [0, 0, 0]);
    }
}
