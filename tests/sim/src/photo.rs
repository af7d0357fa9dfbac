//! Small baseline JPEGs with a drawn pattern, made from a number. Nobody is in them.
//!
//! Each block has one flat colour, so only DC coefficients are coded; the quantisers are all 8, which makes a
//! coefficient the colour difference itself. The Huffman tables are the usual ones of ITU T.81 annex K.3.

use std::iter::repeat_n;

/// A picture to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sketch {
    /// Same number, same picture.
    pub seed: u64,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// How the colours are sampled.
    pub sampling: Sampling,
    /// Extra bytes in comment segments.
    pub padding: usize,
}

/// How the colours are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// 4:2:0, what terminals take.
    Half,
    /// 4:4:4, which one model refused.
    Full,
}

impl Sketch {
    /// 480 by 640 pixels, 4:2:0, no padding.
    pub fn new(seed: u64) -> Self {
        Self { seed, width: 480, height: 640, sampling: Sampling::Half, padding: 0 }
    }

    /// Draws it.
    pub fn draw(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        segment(&mut out, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
        let mut padding = self.padding;
        while padding > 0 {
            let piece = padding.min(65_000);
            segment(&mut out, 0xfe, &vec![b' '; piece]);
            padding -= piece;
        }
        for table in [0_u8, 1] {
            let quantisers: Vec<u8> = std::iter::once(table).chain(repeat_n(8, 64)).collect();
            segment(&mut out, 0xdb, &quantisers);
        }
        let [height, width] = [self.height.to_be_bytes(), self.width.to_be_bytes()];
        let sampling = if self.sampling == Sampling::Half { 0x22 } else { 0x11 };
        let frame = [&[8][..], &height, &width, &[3, 1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1]].concat();
        segment(&mut out, 0xc0, &frame);
        for (class, lengths, values) in
            [(0x00, &DC_LENGTHS, &DC_VALUES[..]), (0x10, &AC_LENGTHS, &AC_VALUES[..])]
        {
            for table in [0_u8, 1] {
                segment(&mut out, 0xc4, &[&[class | table][..], lengths, values].concat());
            }
        }
        segment(&mut out, 0xda, &[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
        self.scan(&mut out);
        out.extend([0xff, 0xd9]);
        out
    }

    fn scan(&self, out: &mut Vec<u8>) {
        let side = if self.sampling == Sampling::Half { 16 } else { 8 };
        let columns = usize::from(self.width).div_ceil(side);
        let rows = usize::from(self.height).div_ceil(side);
        let luma_blocks = if self.sampling == Sampling::Half { 4 } else { 1 };
        let mut random = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
        // A mirrored 5 by 10 pattern of two colours on a third.
        let mut next = || {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
        };
        let mut colour = || [next() % 160, next() % 200, next() % 200].map(|part| part as i32 - 90);
        let palette = [colour(), colour(), colour()];
        let cells: Vec<usize> = (0..50).map(|_| (next() % 3) as usize).collect();
        let mut bits = Bits { out, held: 0, count: 0 };
        let mut last = [0_i32; 3];
        for row in 0..rows {
            for column in 0..columns {
                let across = (column * 10 / columns).min(9);
                let across = across.min(9 - across);
                let down = (row * 10 / rows).min(9);
                let cell = cells.get(down * 5 + across).copied().unwrap_or_default();
                let colour = palette.get(cell).copied().unwrap_or_default();
                for component in 0..3 {
                    for _ in 0..if component == 0 { luma_blocks } else { 1 } {
                        let value = colour[component] - last[component];
                        last[component] = colour[component];
                        bits.block(value);
                    }
                }
            }
        }
        bits.flush();
    }
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend(u16::try_from(body.len() + 2).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(body);
}

/// How many codes there are of each length from 1 to 16.
const DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// Only the end of a block is ever needed; a second code keeps the table as decoders expect it.
const AC_LENGTHS: [u8; 16] = [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AC_VALUES: [u8; 2] = [0x00, 0x01];

struct Bits<'a> {
    out: &'a mut Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    /// A block that is one flat colour: the difference to the one before, and the end.
    fn block(&mut self, difference: i32) {
        let size = 32 - difference.unsigned_abs().leading_zeros();
        let (code, length) = dc_code(size);
        self.put(code, length);
        let mask = (1_u32 << size) - 1;
        let low = if difference < 0 { difference - 1 } else { difference };
        self.put(low as u32 & mask, size);
        self.put(0b00, 2);
    }

    fn put(&mut self, code: u32, length: u32) {
        for place in (0..length).rev() {
            self.held = self.held << 1 | code >> place & 1;
            self.count += 1;
            if self.count == 8 {
                let byte = (self.held & 0xff) as u8;
                self.out.push(byte);
                if byte == 0xff {
                    self.out.push(0);
                }
                self.count = 0;
            }
        }
    }

    fn flush(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }
}

/// The code of a difference of `size` bits, by the canonical construction of T.81 annex C.
fn dc_code(size: u32) -> (u32, u32) {
    let (mut code, mut value) = (0, 0);
    for (length, &number) in (1..).zip(&DC_LENGTHS) {
        for _ in 0..number {
            if value == size {
                return (code, length);
            }
            code += 1;
            value += 1;
        }
        code <<= 1;
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_t_81_table_k_3() {
        let codes: Vec<String> =
            (0..6).map(dc_code).map(|(code, length)| format!("{code:0w$b}", w = length as usize)).collect();
        assert_eq!(codes, ["00", "010", "011", "100", "101", "110"]);
        assert_eq!(dc_code(8), (0b11_1110, 6));
    }

    #[test]
    fn every_number_draws_another_picture_of_a_few_kilobytes() {
        let pictures: std::collections::BTreeSet<Vec<u8>> =
            (0..50).map(|seed| Sketch::new(seed).draw()).collect();
        assert_eq!(pictures.len(), 50);
        assert!(pictures.iter().all(|picture| (1_500..20_000).contains(&picture.len())));
        assert_eq!(Sketch::new(7).draw(), Sketch::new(7).draw());
    }

    #[test]
    fn a_reader_of_the_bits_finds_every_block() {
        let picture = Sketch { width: 64, height: 48, ..Sketch::new(4) }.draw();
        let start = picture.windows(2).position(|pair| pair == [0xff, 0xda]).map_or(0, |place| place + 14);
        let scan = picture.get(start..picture.len() - 2).unwrap_or_default();
        let bytes: Vec<u8> = {
            let mut bytes = scan.to_vec();
            while let Some(place) = bytes.windows(2).position(|pair| pair == [0xff, 0]) {
                bytes.remove(place + 1);
            }
            bytes
        };
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let (mut at, mut blocks) = (0, 0);
        while bits.len() - at > 8 {
            let size = (0..12).find(|&size| {
                let (code, length) = dc_code(size);
                bits.get(at..)
                    .is_some_and(|rest| rest.starts_with(&format!("{code:0w$b}", w = length as usize)))
            });
            let Some(size) = size else { break };
            at += dc_code(size).1 as usize + size as usize;
            assert_eq!(bits.get(at..at + 2), Some("00"), "the end of block {blocks}");
            at += 2;
            blocks += 1;
        }
        assert!(blocks >= 4 * 3 * 6 - 1, "{blocks} blocks");
    }
}
