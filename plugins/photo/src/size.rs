//! Sizes, and what a call can hold: everything is reckoned from the header, before anything is decoded.

use std::fmt;

use bascule_sdk::Error;

use crate::fault;

/// The largest file that is read: what the host hands over in one piece.
pub(crate) const MAX_FILE_BYTES: u64 = 16 * MIB;
/// The largest picture.
pub(crate) const MAX_PIXELS: u64 = 50_000_000;
/// What a picture may take up at its worst moment, the file included. A call has 64 MiB for everything.
const MAX_MEMORY_BYTES: u64 = 58 * MIB;
const MIB: u64 = 1024 * 1024;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

impl Size {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub(crate) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    pub(crate) fn longest(self) -> u32 {
        self.width.max(self.height)
    }

    /// Width and height exchanged, for orientations 5 to 8.
    pub(crate) fn turned(self, orientation: u8) -> Self {
        if orientation >= 5 { Self::new(self.height, self.width) } else { self }
    }

    /// What is left when `factor` by `factor` pixels become one.
    pub(crate) fn reduced(self, factor: u32) -> Self {
        Self::new(self.width.div_ceil(factor), self.height.div_ceil(factor))
    }

    /// Scaled so that it just fits into `space`.
    pub(crate) fn fitted(self, space: Self) -> Self {
        let by_width = u64::from(space.width) * u64::from(self.height);
        let by_height = u64::from(space.height) * u64::from(self.width);
        if by_width <= by_height {
            Self::new(space.width, portion(self.height, space.width, self.width))
        } else {
            Self::new(portion(self.width, space.height, self.height), space.height)
        }
    }
}

/// `value * part / whole`, rounded, at least 1.
fn portion(value: u32, part: u32, whole: u32) -> u32 {
    let whole = u64::from(whole.max(1));
    let rounded = (u64::from(value) * u64::from(part) + whole / 2) / whole;
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

/// Refuses what is too large by its pixels, or has none.
pub(crate) fn check_pixels(size: Size) -> Result<(), Error> {
    if size.width == 0 || size.height == 0 {
        return Err(fault::damaged("it says that it has no pixels"));
    }
    if size.pixels() > MAX_PIXELS {
        return Err(fault::too_large(format!(
            "the picture has {size} pixels, that is {} million; at most {} million are taken",
            size.pixels() / 1_000_000,
            MAX_PIXELS / 1_000_000
        )));
    }
    Ok(())
}

/// What a picture is decoded for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// What becomes of a pixel's side in the end: 0.25 for a quarter.
    pub(crate) scale: f64,
    /// What is left in the end.
    pub(crate) size: Size,
}

impl Goal {
    /// Bytes that are needed once a picture is decoded to that size: for it, for scaling it in two steps, for turning the
    /// result, and for the file that is written.
    fn memory(&self, decoded: Size) -> u64 {
        let between = u64::from(self.size.longest()) * u64::from(decoded.longest());
        decoded.pixels() * 3 + between * 3 + self.size.pixels() * 7 + MIB
    }
}

/// How much a picture of that size is to be reduced while it is decoded: 1, or one of `offered`, which are powers of two.
///
/// The most reduced one is taken that still has twice the pixels that are wanted in each direction; if that takes too
/// much memory, one that has less to spare. `memory` says how many bytes decoding takes.
pub(crate) fn reduction(
    size: Size,
    goal: Goal,
    offered: &[u32],
    memory: impl Fn(u32) -> u64,
) -> Result<u32, Error> {
    let memory = |factor: u32| memory(factor).max(goal.memory(size.reduced(factor)));
    let mut factors: Vec<u32> = offered.iter().copied().filter(|&factor| factor > 1).collect();
    factors.push(1);
    factors.sort_unstable();
    let leaves = |factor: u32, times: f64| factor == 1 || times * goal.scale * f64::from(factor) <= 1.0;
    let fits = |factor: u32| memory(factor) <= MAX_MEMORY_BYTES;
    let roomy = factors.iter().rev().copied().find(|&factor| leaves(factor, 2.0) && fits(factor));
    let tight = || factors.iter().copied().find(|&factor| leaves(factor, 1.0) && fits(factor));
    roomy.or_else(tight).ok_or_else(|| {
        let least = factors.iter().copied().filter(|&factor| leaves(factor, 1.0)).map(memory).min();
        fault::too_large(format!(
            "reading this picture would take {} MiB of memory, and a call has {} MiB for it: store it smaller or as a \
             baseline JPEG",
            least.unwrap_or(u64::MAX).div_ceil(MIB),
            MAX_MEMORY_BYTES / MIB
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_in_the_box() {
        let space = Size::new(800, 800);
        let cases = [
            ((4000, 3000), (800, 600)),
            ((3000, 4000), (600, 800)),
            ((100, 100), (800, 800)),
            ((10_000, 3), (800, 1)),
        ];
        for ((width, height), (fitted_width, fitted_height)) in cases {
            assert_eq!(Size::new(width, height).fitted(space), Size::new(fitted_width, fitted_height));
        }
    }

    #[test]
    fn the_reduction_leaves_twice_what_is_wanted_if_it_can() {
        let size = Size::new(4000, 3000);
        let take = |offered: &[u32], scale: f64, memory: fn(u32) -> u64| {
            reduction(size, Goal { scale, size: Size::new(8, 6) }, offered, memory)
        };
        let all = [2, 4, 8];
        assert_eq!(take(&all, 0.2, |_| 0), Ok(2));
        assert_eq!(take(&all, 0.1, |_| 0), Ok(4));
        assert_eq!(take(&all, 1.0, |_| 0), Ok(1));
        assert_eq!(take(&[], 0.01, |_| 0), Ok(1));
        // 2 would be taken, and does not fit; 4 leaves enough.
        let memory = |factor: u32| if factor < 4 { u64::MAX } else { 0 };
        assert_eq!(take(&all, 0.2, memory), Ok(4));
        // 4 would leave too little.
        let error = take(&all, 0.4, memory).err();
        assert_eq!(error.and_then(|error| error.code).as_deref(), Some("photo:too-large"));
        // Decoding would fit, and then there would be no room for a result of that size.
        let large = Goal { scale: 1.0, size };
        assert!(reduction(size, large, &all, |_| 0).is_err());
    }

    #[test]
    fn the_limit_of_pixels_counts_exactly() {
        assert_eq!(check_pixels(Size::new(10_000, 5_000)), Ok(()));
        assert!(check_pixels(Size::new(10_001, 5_000)).is_err());
        assert!(check_pixels(Size::new(u32::MAX, u32::MAX)).is_err());
        assert!(check_pixels(Size::new(0, 5)).is_err());
    }
}
