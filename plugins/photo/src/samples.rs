//! Pictures for the tests, drawn here. Nobody is in them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image_webp::WebPEncoder;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::raster::Raster;
use crate::size::Size;

/// The colours of [`corners`]: top left, top right, bottom left, bottom right.
pub(crate) const CORNERS: [[u8; 3]; 4] = [[230, 30, 30], [30, 200, 30], [40, 40, 220], [240, 220, 40]];

/// Four quarters, each of its own colour.
pub(crate) fn corners(width: u32, height: u32) -> Raster {
    draw(width, height, |x, y| CORNERS[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)])
}

/// Fine detail everywhere, which no encoder can do much about.
pub(crate) fn noise(width: u32, height: u32) -> Raster {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    draw(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [red, green, blue, ..] = state.to_le_bytes();
        [red, green, blue]
    })
}

fn draw(width: u32, height: u32, mut colour: impl FnMut(u32, u32) -> [u8; 3]) -> Raster {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            rgb.extend(colour(x, y));
        }
    }
    Raster { size: Size::new(width, height), rgb }
}

/// The colour of a pixel.
pub(crate) fn pixel(raster: &Raster, x: u32, y: u32) -> [u8; 3] {
    let at = (y as usize * raster.size.width as usize + x as usize) * 3;
    raster.rgb[at..at + 3].try_into().unwrap()
}

/// Whether two colours look the same after lossy coding.
pub(crate) fn alike(one: [u8; 3], other: [u8; 3]) -> bool {
    one.iter().zip(other).all(|(&one, other)| one.abs_diff(other) <= 12)
}

/// An EXIF structure that says nothing but the orientation, little-endian.
pub(crate) fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    tiff
}

/// How to write a JPEG.
#[derive(Clone, Copy)]
pub(crate) struct Jpeg {
    pub(crate) quality: u8,
    pub(crate) sampling: SamplingFactor,
    pub(crate) progressive: bool,
    pub(crate) orientation: u8,
}

impl Default for Jpeg {
    fn default() -> Self {
        Self { quality: 90, sampling: SamplingFactor::R_4_2_0, progressive: false, orientation: 1 }
    }
}

impl Jpeg {
    pub(crate) fn write(self, raster: &Raster) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, self.quality);
        encoder.set_sampling_factor(self.sampling);
        encoder.set_progressive(self.progressive);
        encoder.add_exif_metadata(&exif(self.orientation)).unwrap();
        let [width, height] = sides(raster.size);
        encoder.encode(&raster.rgb, width, height, ColorType::Rgb).unwrap();
        out
    }
}

fn sides(size: Size) -> [u16; 2] {
    [size.width, size.height].map(|side| u16::try_from(side).unwrap())
}

/// A grey ramp, dark on the left.
pub(crate) fn grey_jpeg(width: u32, height: u32) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..width * height).map(|at| u8::try_from(at % width * 255 / width).unwrap()).collect();
    let mut out = Vec::new();
    let [across, down] = sides(Size::new(width, height));
    Encoder::new(&mut out, 90).encode(&pixels, across, down, ColorType::Luma).unwrap();
    out
}

/// [`corners`] in ink, as Photoshop stores it.
pub(crate) fn cmyk_jpeg(width: u32, height: u32) -> Vec<u8> {
    ink(width, height, ColorType::Cmyk)
}

/// The same, transformed to YCCK.
pub(crate) fn ycck_jpeg(width: u32, height: u32) -> Vec<u8> {
    ink(width, height, ColorType::CmykAsYcck)
}

fn ink(width: u32, height: u32, kind: ColorType) -> Vec<u8> {
    let raster = corners(width, height);
    let pixels: Vec<u8> =
        raster.rgb.chunks_exact(3).flat_map(|rgb| [255 - rgb[0], 255 - rgb[1], 255 - rgb[2], 0]).collect();
    let mut out = Vec::new();
    let [across, down] = sides(raster.size);
    Encoder::new(&mut out, 95).encode(&pixels, across, down, kind).unwrap();
    out
}

/// A JPEG whose frame header says that size, with a picture of 16 by 16 in it.
pub(crate) fn jpeg_that_says(width: u16, height: u16) -> Vec<u8> {
    let mut data = Jpeg::default().write(&corners(16, 16));
    let frame = data.windows(2).position(|bytes| bytes == [0xFF, 0xC0]).unwrap();
    data[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    data[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    data
}

/// A PNG of these bytes, of one, two, three or four channels.
pub(crate) fn png(size: Size, pixels: &[u8], color: png::ColorType) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, size.width, size.height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    out
}

/// A PNG whose header says that size.
pub(crate) fn png_that_says(width: u32, height: u32) -> Vec<u8> {
    let mut data = png(Size::new(16, 16), &corners(16, 16).rgb, png::ColorType::Rgb);
    data[16..20].copy_from_slice(&width.to_be_bytes());
    data[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&data[12..29]);
    data[29..33].copy_from_slice(&checksum.to_be_bytes());
    data
}

/// The checksum of a PNG chunk (PNG specification, annex D).
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// A lossless WebP, with EXIF where it is not upright.
pub(crate) fn webp(size: Size, pixels: &[u8], alpha: bool, orientation: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = WebPEncoder::new(&mut out);
    if orientation != 1 {
        encoder.set_exif_metadata(exif(orientation));
    }
    let color = if alpha { image_webp::ColorType::Rgba8 } else { image_webp::ColorType::Rgb8 };
    encoder.encode(pixels, size.width, size.height, color).unwrap();
    out
}

/// [`corners`] of 48 by 32 as a lossy WebP, written by libwebp's `cwebp -q 80`.
pub(crate) const LOSSY_WEBP: &str = concat!(
    "524946467800000057454250565038206c0000007005009d012a300020003e59208c45a3a2211d5400380584b30059dcc6ff00fc40d8e8",
    "e01f88df901c805db9ccfc0a371ca1d14000feefbbdfc2fc341a2f4bf3311f0b1ffec4718400cc6fb6d8a31dff5a3af9242c82091f730c",
    "73e59fffe34512f7703b7736c4dd55104000"
);

/// The same with a transparent right half.
pub(crate) const LOSSY_WEBP_WITH_ALPHA: &str = concat!(
    "52494646a600000057454250565038580a000000100000002f00001f0000414c504813000000010f30ff1111422c98cc5f3a83ee88fe47",
    "857300565038206c0000007005009d012a300020003e59208c45a3a2211d5400380584b30059dcc6ff00fc40d8e8e01f88df901c805db9",
    "ccfc0a371ca1d14000feefbbdfc2fc341a2f4bf3311f0b1ffec4718400cc6fb6d8a31dff5a3af9242c82091f730c73e59fffe34512f770",
    "3b7736c4dd55104000"
);

/// [`corners`] of 16 by 16 as an interlaced PNG, written by hand with zlib.
pub(crate) const INTERLACED_PNG: &str = concat!(
    "89504e470d0a1a0a0000000d4948445200000010000000100802000001e79658a00000004e4944415478da637826272777428e4143e3ce",
    "873b1a0c183c8800540c228c21835b19163dc88a51f463918068473604c55c2c12a4db410f5751e60f5c0ec1e9da41a201d973b83c8a33",
    "3406870600ab825190e484da110000000049454e44ae426082"
);

/// The same file with an `eXIf` chunk.
pub(crate) fn png_with_exif(mut data: Vec<u8>, orientation: u8) -> Vec<u8> {
    let mut chunk = [&b"eXIf"[..], &exif(orientation)].concat();
    let length = u32::try_from(chunk.len() - 4).unwrap();
    chunk.extend(crc(&chunk).to_be_bytes());
    // After the header chunk.
    data.splice(33..33, [&length.to_be_bytes()[..], &chunk].concat());
    data
}

/// Bytes from hexadecimal.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
}
