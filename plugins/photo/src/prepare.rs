//! From a file to a JPEG that fits: turned, cropped, scaled, and stored with the quality and size that stay under the
//! limit of bytes.

use bascule_sdk::Error;

use crate::bindings::exports::bascule::photo::pictures::{Crop, Options, Picture};
use crate::fault;
use crate::raster::{Part, Raster};
use crate::size::{self, Goal, Size};
use crate::source::Source;

/// The largest side that can be asked for.
const MAX_SIDE: u32 = 8192;
/// The smallest side that anything is scaled down to.
const LEAST_SIDE: u32 = 16;

/// The options, with their defaults filled in and checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wishes {
    space: Size,
    max_bytes: usize,
    crop: Crop,
    enlarge: bool,
    min_side: u32,
    quality: u8,
    min_quality: u8,
}

/// A prepared picture.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) jpeg: Vec<u8>,
    pub(crate) size: Size,
    pub(crate) quality: u8,
    pub(crate) source: Picture,
}

impl Wishes {
    /// `invalid-input` for values that contradict each other.
    pub(crate) fn new(options: Option<Options>) -> Result<Self, Error> {
        let given = options.unwrap_or(Options {
            max_width: None,
            max_height: None,
            max_bytes: None,
            crop: None,
            enlarge: None,
            min_side: None,
            quality: None,
            min_quality: None,
        });
        let quality = given.quality.unwrap_or(85);
        let wishes = Self {
            space: Size::new(given.max_width.unwrap_or(800), given.max_height.unwrap_or(800)),
            max_bytes: given.max_bytes.unwrap_or(204_800) as usize,
            crop: given.crop.unwrap_or(Crop::None),
            enlarge: given.enlarge.unwrap_or(false),
            min_side: given.min_side.unwrap_or(400),
            quality,
            min_quality: given.min_quality.unwrap_or(50.min(quality)),
        };
        for (name, side) in [("max-width", wishes.space.width), ("max-height", wishes.space.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(Error::invalid_input(format!("`{name}` is {side}; it must be 1 to {MAX_SIDE}")));
            }
        }
        if wishes.min_side > wishes.space.longest() {
            return Err(Error::invalid_input(format!(
                "`min-side` is {}, and the box is only {}",
                wishes.min_side, wishes.space
            )));
        }
        if !(1..=100).contains(&quality) || !(1..=quality).contains(&wishes.min_quality) {
            return Err(Error::invalid_input(format!(
                "`quality` is {quality} and `min-quality` is {}; they must be 1 to 100, the first not below the second",
                wishes.min_quality
            )));
        }
        Ok(wishes)
    }

    /// What is left of an upright picture of that size after cropping.
    fn cropped(&self, upright: Size) -> Size {
        match self.crop {
            Crop::None => upright,
            Crop::Square => Size::new(1, 1).fitted(upright),
            Crop::Box => self.space.fitted(upright),
        }
    }
}

/// Prepares a picture; takes the file's bytes so as to let go of them once they are decoded.
pub(crate) fn prepare(data: Vec<u8>, wishes: &Wishes) -> Result<Made, Error> {
    let source = Source::read(&data)?;
    size::check_pixels(source.size())?;
    let orientation = source.orientation();
    let upright = source.size().turned(orientation);
    let cropped = wishes.cropped(upright);
    if cropped.longest() < wishes.min_side {
        let after = if cropped == upright { String::new() } else { format!(", {cropped} after cropping") };
        return Err(fault::too_small(format!(
            "the picture has {upright} pixels{after}; its longer side needs {} at least",
            wishes.min_side
        )));
    }
    let fitted = cropped.fitted(wishes.space);
    let goal = if fitted.pixels() > cropped.pixels() && !wishes.enlarge { cropped } else { fitted };

    let scale = f64::from(goal.longest()) / f64::from(cropped.longest());
    let described = source.describe(data.len());
    let decoded = source.decode(&data, Goal { scale, size: goal })?;
    drop(data);

    let part = {
        let part = cropped.turned(orientation);
        let whole = source.size();
        Part {
            width: f64::from(part.width) / f64::from(whole.width),
            height: f64::from(part.height) / f64::from(whole.height),
        }
    };
    // Scaled as it is stored, and turned when it is small.
    let render = |size: Size| -> Result<Raster, Error> {
        Ok(decoded.scaled(part, size.turned(orientation))?.upright(orientation))
    };
    let (jpeg, size, quality) = search(wishes, goal, render)?;
    Ok(Made { jpeg, size, quality, source: described })
}

/// The first size, from `goal` down, at which some quality stays under the limit, and the highest such quality.
fn search(
    wishes: &Wishes,
    goal: Size,
    render: impl Fn(Size) -> Result<Raster, Error>,
) -> Result<(Vec<u8>, Size, u8), Error> {
    let mut size = goal;
    loop {
        let raster = render(size)?;
        let first = raster.encoded(wishes.quality)?;
        if first.len() <= wishes.max_bytes {
            return Ok((first, size, wishes.quality));
        }
        let mut best = (raster.encoded(wishes.min_quality)?, wishes.min_quality);
        if best.0.len() <= wishes.max_bytes {
            // `low` fits, `high` does not.
            let (mut low, mut high) = (wishes.min_quality, wishes.quality);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                let tried = raster.encoded(middle)?;
                if tried.len() <= wishes.max_bytes {
                    low = middle;
                    best = (tried, middle);
                } else {
                    high = middle;
                }
            }
            return Ok((best.0, size, best.1));
        }
        size = smaller(size, wishes.max_bytes, best.0.len())
            .filter(|size| size.longest() >= wishes.min_side)
            .ok_or_else(|| {
                fault::cannot_fit(format!(
                    "at {size} pixels and quality {} the picture has {} bytes, and at most {} are allowed",
                    wishes.min_quality,
                    best.0.len(),
                    wishes.max_bytes
                ))
            })?;
    }
}

/// The next size to try: the bytes of a picture go about with its pixels.
fn smaller(size: Size, allowed: usize, taken: usize) -> Option<Size> {
    let factor = (allowed as f64 / taken.max(1) as f64).sqrt().clamp(0.5, 0.92);
    let longest = (f64::from(size.longest()) * factor).floor();
    (longest >= f64::from(LEAST_SIDE)).then(|| {
        let side = longest as u32;
        size.fitted(Size::new(side, side))
    })
}

#[cfg(test)]
mod tests;
