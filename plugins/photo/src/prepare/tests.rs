#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use bascule_sdk::ErrorKind;
use jpeg_encoder::SamplingFactor;
use proptest::prelude::*;

use super::*;
use crate::bindings::exports::bascule::photo::pictures::Format;
use crate::samples::{self, CORNERS, Jpeg, alike, pixel};

/// No box smaller than the picture, no smallest side, no loss worth the name.
fn plain() -> Wishes {
    Wishes { min_side: 1, quality: 95, max_bytes: 1 << 20, ..Wishes::new(None).unwrap() }
}

fn decode(jpeg: &[u8]) -> Raster {
    let source = Source::read(jpeg).unwrap();
    source.decode(jpeg, size::Goal { scale: 1.0, size: source.size() }).unwrap()
}

/// What is in the middle of each quarter.
fn quarters(raster: &Raster) -> [[u8; 3]; 4] {
    let (x, y) = (raster.size.width / 4, raster.size.height / 4);
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(column, row)| pixel(raster, x * column, y * row))
}

fn assert_quarters(jpeg: &[u8], expected: [[u8; 3]; 4], what: &str) {
    let seen = quarters(&decode(jpeg));
    assert!(seen.iter().zip(expected).all(|(&seen, expected)| alike(seen, expected)), "{what}: {seen:?}");
}

fn code(error: &Error) -> &str {
    error.code.as_deref().unwrap_or("none")
}

#[test]
fn every_orientation_is_baked_in() {
    let [a, b, c, d] = CORNERS;
    let upright = [
        (1, [a, b, c, d]),
        (2, [b, a, d, c]),
        (3, [d, c, b, a]),
        (4, [c, d, a, b]),
        (5, [a, c, b, d]),
        (6, [c, a, d, b]),
        (7, [d, b, c, a]),
        (8, [b, d, a, c]),
    ];
    let stored = samples::corners(96, 64);
    for (orientation, expected) in upright {
        let png = samples::png(stored.size, &stored.rgb, png::ColorType::Rgb);
        let files = [
            Jpeg { orientation, ..Jpeg::default() }.write(&stored),
            samples::png_with_exif(png, orientation),
            samples::webp(stored.size, &stored.rgb, false, orientation),
        ];
        for file in files {
            let made = prepare(file, &plain()).unwrap();
            let size = if orientation < 5 { Size::new(96, 64) } else { Size::new(64, 96) };
            assert_eq!((made.size, made.source.orientation), (size, orientation));
            assert_eq!(decode(&made.jpeg).size, size);
            assert_quarters(&made.jpeg, expected, &format!("orientation {orientation}"));
            assert_eq!(Source::read(&made.jpeg).unwrap().orientation(), 1);
        }
    }
}

#[test]
fn every_kind_of_jpeg_comes_out_as_baseline_with_halved_colours() {
    let picture = samples::corners(101, 67);
    let mut files = Vec::new();
    for sampling in [
        SamplingFactor::R_4_4_4,
        SamplingFactor::R_4_4_0,
        SamplingFactor::R_4_2_2,
        SamplingFactor::R_4_2_0,
        SamplingFactor::R_4_1_1,
        SamplingFactor::R_4_1_0,
    ] {
        for progressive in [false, true] {
            files.push(Jpeg { sampling, progressive, quality: 95, ..Jpeg::default() }.write(&picture));
        }
    }
    files.push(samples::cmyk_jpeg(101, 67));
    files.push(samples::ycck_jpeg(101, 67));
    for (number, file) in files.into_iter().enumerate() {
        let made = prepare(file, &plain()).unwrap();
        let out = crate::source::inspect(&made.jpeg).unwrap();
        assert_eq!((out.format, out.width, out.height), (Format::Jpeg, 101, 67));
        assert_eq!((out.sampling.as_deref(), out.progressive, out.stray_bytes), (Some("4:2:0"), false, 0));
        assert_quarters(&made.jpeg, CORNERS, &format!("file {number}"));
    }
}

#[test]
fn a_grey_photo_stays_grey_and_is_stored_in_colour() {
    let made = prepare(samples::grey_jpeg(64, 64), &plain()).unwrap();
    assert_eq!(crate::source::inspect(&made.jpeg).unwrap().sampling.as_deref(), Some("4:2:0"));
    let raster = decode(&made.jpeg);
    for x in [4, 20, 40, 60] {
        let grey = u8::try_from(x * 255 / 64).unwrap();
        assert!(alike(pixel(&raster, x, 32), [grey; 3]), "{:?}", pixel(&raster, x, 32));
    }
}

#[test]
fn png_of_every_colour_type_is_read_and_transparency_becomes_white() {
    let picture = samples::corners(60, 40);
    let half = |x: usize| if x % 60 < 30 { 255 } else { 0 };
    let rgba: Vec<u8> = picture
        .rgb
        .chunks_exact(3)
        .enumerate()
        .flat_map(|(at, rgb)| [rgb[0], rgb[1], rgb[2], half(at)])
        .collect();
    let made = prepare(samples::png(picture.size, &rgba, png::ColorType::Rgba), &plain()).unwrap();
    assert_eq!(made.source.format, Format::Png);
    let white = [255; 3];
    assert_quarters(&made.jpeg, [CORNERS[0], white, CORNERS[2], white], "RGBA");

    let made = prepare(samples::png(picture.size, &picture.rgb, png::ColorType::Rgb), &plain()).unwrap();
    assert_quarters(&made.jpeg, CORNERS, "RGB");

    let grey: Vec<u8> = (0..60 * 40).map(|at| if at % 60 < 30 { 40 } else { 200 }).collect();
    let made = prepare(samples::png(picture.size, &grey, png::ColorType::Grayscale), &plain()).unwrap();
    assert_quarters(&made.jpeg, [[40; 3], [200; 3], [40; 3], [200; 3]], "grey");

    let both: Vec<u8> = grey.iter().enumerate().flat_map(|(at, &grey)| [grey, half(at)]).collect();
    let made = prepare(samples::png(picture.size, &both, png::ColorType::GrayscaleAlpha), &plain()).unwrap();
    assert_quarters(&made.jpeg, [[40; 3], white, [40; 3], white], "grey with alpha");
}

#[test]
fn an_interlaced_png_is_read() {
    let made = prepare(samples::unhex(samples::INTERLACED_PNG), &plain()).unwrap();
    assert_eq!(made.size, Size::new(16, 16));
    assert_quarters(&made.jpeg, CORNERS, "interlaced");
}

#[test]
fn a_large_picture_is_reduced_while_it_is_read() {
    let picture = samples::corners(1601, 1201);
    let small = Wishes { space: Size::new(160, 160), ..plain() };
    for file in [
        Jpeg { orientation: 8, ..Jpeg::default() }.write(&picture),
        Jpeg { progressive: true, orientation: 8, ..Jpeg::default() }.write(&picture),
        samples::png_with_exif(samples::png(picture.size, &picture.rgb, png::ColorType::Rgb), 8),
    ] {
        let source = Source::read(&file).unwrap();
        let goal = size::Goal { scale: 0.1, size: Size::new(160, 120) };
        assert_eq!(source.decode(&file, goal).unwrap().size, picture.size.reduced(4));
        let made = prepare(file, &small).unwrap();
        assert_eq!(made.size, Size::new(120, 160));
        let [a, b, c, d] = CORNERS;
        assert_quarters(&made.jpeg, [b, d, a, c], "reduced");
    }
}

#[test]
fn webp_is_read_lossless_and_lossy_with_and_without_alpha() {
    let picture = samples::corners(48, 32);
    let rgba: Vec<u8> = picture
        .rgb
        .chunks_exact(3)
        .enumerate()
        .flat_map(|(at, rgb)| [rgb[0], rgb[1], rgb[2], if at % 48 < 24 { 255 } else { 0 }])
        .collect();
    let white = [255; 3];
    let transparent = [CORNERS[0], white, CORNERS[2], white];
    for (file, expected) in [
        (samples::webp(picture.size, &picture.rgb, false, 1), CORNERS),
        (samples::webp(picture.size, &rgba, true, 1), transparent),
        (samples::unhex(samples::LOSSY_WEBP), CORNERS),
        (samples::unhex(samples::LOSSY_WEBP_WITH_ALPHA), transparent),
    ] {
        let made = prepare(file, &plain()).unwrap();
        assert_eq!((made.source.format, made.size), (Format::Webp, Size::new(48, 32)));
        assert_quarters(&made.jpeg, expected, "WebP");
    }
}

#[test]
fn a_picture_is_fitted_and_never_enlarged_unless_told() {
    let picture = |width, height| Jpeg::default().write(&samples::corners(width, height));
    let sizes = |file: Vec<u8>, wishes: &Wishes| prepare(file, wishes).unwrap().size;
    let default = Wishes::new(None).unwrap();
    assert_eq!(sizes(picture(1600, 1000), &default), Size::new(800, 500));
    assert_eq!(sizes(picture(1000, 1600), &default), Size::new(500, 800));
    assert_eq!(sizes(picture(480, 640), &default), Size::new(480, 640));
    let larger = Wishes { enlarge: true, ..default.clone() };
    assert_eq!(sizes(picture(480, 640), &larger), Size::new(600, 800));
    let turned = Jpeg { orientation: 6, ..Jpeg::default() }.write(&samples::corners(1600, 1000));
    let portrait = Wishes { space: Size::new(300, 800), ..default };
    assert_eq!(sizes(turned, &portrait), Size::new(300, 480));
}

#[test]
fn cropping_keeps_the_centre() {
    // Three stripes: the middle one is all that a square keeps.
    let mut picture = samples::corners(900, 300);
    for (at, rgb) in picture.rgb.chunks_exact_mut(3).enumerate() {
        rgb.copy_from_slice(&CORNERS[at % 900 / 300]);
    }
    for orientation in [1, 6] {
        let file = Jpeg { orientation, ..Jpeg::default() }.write(&picture);
        let square = Wishes { crop: Crop::Square, ..plain() };
        let made = prepare(file.clone(), &square).unwrap();
        assert_eq!(made.size, Size::new(300, 300));
        assert_quarters(&made.jpeg, [CORNERS[1]; 4], "square");
        assert!(alike(pixel(&decode(&made.jpeg), 4, 150), CORNERS[1]));

        let shaped = Wishes { crop: Crop::Box, space: Size::new(100, 200), ..plain() };
        let made = prepare(file, &shaped).unwrap();
        assert_eq!(made.size, Size::new(100, 200));
        assert!(alike(pixel(&decode(&made.jpeg), 50, 100), CORNERS[1]));
    }
}

#[test]
fn quality_goes_down_before_size_does() {
    let noise = Jpeg { quality: 98, ..Jpeg::default() }.write(&samples::noise(800, 600));
    let prepared = |max_bytes: usize| {
        let made = prepare(noise.clone(), &Wishes { max_bytes, ..Wishes::new(None).unwrap() }).unwrap();
        assert!(made.jpeg.len() <= max_bytes, "{}", made.jpeg.len());
        assert_eq!(crate::source::inspect(&made.jpeg).unwrap().bytes, made.jpeg.len() as u64);
        made
    };
    let roomy = prepared(2_000_000);
    assert_eq!((roomy.size, roomy.quality), (Size::new(800, 600), 85));

    // Half of that: another quality, and the next one up would have been too much.
    let limit = roomy.jpeg.len() * 6 / 10;
    let lower = prepared(limit);
    assert_eq!(lower.size, Size::new(800, 600));
    assert!((50..85).contains(&lower.quality), "{}", lower.quality);
    let next = decode(&noise).encoded(lower.quality + 1).unwrap();
    assert!(next.len() > limit, "{} is not over {limit}", next.len());

    let smaller = prepared(100_000);
    assert!(smaller.size.longest() < 800 && smaller.size.longest() >= 400, "{}", smaller.size);
    assert!(smaller.quality >= 50);

    let error = prepare(noise, &Wishes { max_bytes: 5_000, ..Wishes::new(None).unwrap() }).unwrap_err();
    assert_eq!((error.kind, code(&error)), (ErrorKind::InvalidInput, "photo:cannot-fit"));
}

#[test]
fn a_limit_that_nothing_can_meet_ends() {
    let file = Jpeg::default().write(&samples::corners(500, 500));
    let error =
        prepare(file, &Wishes { max_bytes: 100, min_side: 0, ..Wishes::new(None).unwrap() }).unwrap_err();
    assert_eq!(code(&error), "photo:cannot-fit");
}

#[test]
fn too_few_pixels_for_a_face_are_refused() {
    let file = |side| Jpeg::default().write(&samples::corners(side, side / 2));
    let default = Wishes::new(None).unwrap();
    assert_eq!(prepare(file(400), &default).unwrap().size, Size::new(400, 200));
    let error = prepare(file(398), &default).unwrap_err();
    assert_eq!((error.kind, code(&error)), (ErrorKind::InvalidInput, "photo:too-small"));
    // Enlarging does not make a face of them.
    let error = prepare(file(398), &Wishes { enlarge: true, ..default.clone() }).unwrap_err();
    assert_eq!(code(&error), "photo:too-small");
    let error = prepare(file(600), &Wishes { crop: Crop::Square, ..default }).unwrap_err();
    assert!(error.message.contains("300 x 300 after cropping"), "{}", error.message);
}

#[test]
fn metadata_and_stray_bytes_do_not_come_along() {
    let file = Jpeg { orientation: 3, ..Jpeg::default() }.write(&samples::corners(64, 64));
    let stray = [b"\r\n\r\n", file.as_slice(), b"<html>trailing</html>"].concat();
    let made = prepare(stray, &plain()).unwrap();
    assert!(made.jpeg.starts_with(&[0xFF, 0xD8, 0xFF]) && made.jpeg.ends_with(&[0xFF, 0xD9]));
    for leftover in [&b"Exif"[..], b"html", b"trailing"] {
        assert!(!made.jpeg.windows(leftover.len()).any(|piece| piece == leftover));
    }
    assert_eq!(made.source.stray_bytes, 25);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let none = || Options {
        max_width: None,
        max_height: None,
        max_bytes: None,
        crop: None,
        enlarge: None,
        min_side: None,
        quality: None,
        min_quality: None,
    };
    for options in [
        Options { max_width: Some(0), ..none() },
        Options { max_height: Some(60_000), ..none() },
        Options { max_width: Some(300), max_height: Some(300), ..none() },
        Options { quality: Some(0), ..none() },
        Options { quality: Some(101), ..none() },
        Options { quality: Some(60), min_quality: Some(61), ..none() },
    ] {
        let error = Wishes::new(Some(options)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{}", error.message);
    }
    assert_eq!(Wishes::new(Some(Options { quality: Some(30), ..none() })).unwrap().min_quality, 30);
}

/// One file of each kind.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(files);

fn files() -> Vec<Vec<u8>> {
    let picture = samples::corners(70, 45);
    vec![
        Jpeg { orientation: 6, ..Jpeg::default() }.write(&picture),
        Jpeg { progressive: true, sampling: SamplingFactor::R_4_2_2, ..Jpeg::default() }.write(&picture),
        samples::grey_jpeg(70, 45),
        samples::cmyk_jpeg(40, 40),
        samples::png(picture.size, &picture.rgb, png::ColorType::Rgb),
        samples::webp(picture.size, &picture.rgb, false, 8),
        samples::unhex(samples::LOSSY_WEBP),
        samples::unhex(samples::LOSSY_WEBP_WITH_ALPHA),
        samples::unhex(samples::INTERLACED_PNG),
        samples::ycck_jpeg(33, 17),
    ]
}

#[test]
fn a_file_that_was_cut_off_is_damaged_wherever_it_was_cut() {
    for file in FILES.iter() {
        // The last bytes of a PNG are its end chunk, which no pixel depends on.
        let needed = if file.starts_with(b"\x89PNG") { file.len() - 24 } else { file.len() - 1 };
        for end in 12..needed {
            let error = prepare(file[..end].to_vec(), &plain()).unwrap_err();
            assert_eq!(code(&error), "photo:damaged", "{end} of {}: {}", file.len(), error.message);
        }
        for end in 0..12 {
            let error = prepare(file[..end].to_vec(), &plain()).unwrap_err();
            assert!(matches!(code(&error), "photo:damaged" | "photo:not-a-picture"), "{}", error.message);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_prepared_or_refused_and_never_panic(
        which in 0_usize..10,
        box_side in prop::sample::select(vec![4_u32, 12, 800]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = FILES[which].clone();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        // In a small box a picture is reduced while it is decoded.
        let wishes = Wishes { space: Size::new(box_side, box_side), ..plain() };
        match prepare(file, &wishes) {
            Ok(made) => {
                let again = crate::source::inspect(&made.jpeg).unwrap();
                prop_assert_eq!(again.sampling.as_deref(), Some("4:2:0"));
                prop_assert!(made.size.longest() <= box_side);
            }
            Err(error) => prop_assert!(code(&error).starts_with("photo:"), "{:?}", error),
        }
    }

    #[test]
    fn noise_after_a_signature_never_panics(
        which in 0_usize..10,
        kept in 8_usize..40,
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut file = FILES[which].clone();
        file.truncate(kept);
        file.extend(noise);
        drop(prepare(file, &plain()));
    }
}

#[test]
fn a_webp_frame_larger_than_its_picture_is_refused_before_there_is_room_for_it() {
    let mut file = samples::unhex(samples::LOSSY_WEBP_WITH_ALPHA);
    let frame = file.windows(3).position(|bytes| bytes == [0x9D, 0x01, 0x2A]).unwrap();
    file[frame + 3..frame + 7].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    let error = prepare(file, &plain()).unwrap_err();
    assert_eq!(code(&error), "photo:damaged");
    assert!(error.message.contains("another size"), "{}", error.message);
}
