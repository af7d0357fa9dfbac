//! The plugin `photo` within the limits of a call: what it takes fits into 64 MiB, and what does not fit is refused by the
//! plugin in words, not by the host with a trap.

use std::time::Instant;

use anyhow::{Context as _, Result};
use bascule_plugin::{Call, Host, Limits, Plugin};
use bascule_workflow::failure::{Effect, Failure, Kind};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde_json::{Value, json};
use xtask::components::{Package, build};

use crate::stage::{Stage, host, within};

struct Studio {
    host: Host,
    photo: Plugin,
    stage: Stage,
}

impl Studio {
    async fn open() -> Result<Self> {
        let components = build(&[Package::Plugin { package: "photo-plugin", component: "photo" }])?;
        let host = host(Limits::default())?;
        let photo = host.load_file("photo", &components.join("photo.wasm"), None)?;
        Ok(Self { host, photo, stage: Stage::open(9).await? })
    }

    async fn call(&self, function: &str, data: Vec<u8>) -> Result<Result<Value, Failure>> {
        self.stage.capabilities.folder("files")?.write("in", data.into()).await?;
        let mut with = json!({ "folder": "files", "name": "in" });
        if function == "pictures.prepare" {
            with["to"] = json!("out.jpg");
        }
        let begun = Instant::now();
        let call = Call::new(function, &with, within(120_000), &self.stage.capabilities);
        let answer = self.host.call(&self.photo, call).await;
        // Shown with `--nocapture`: how long it takes.
        #[expect(clippy::print_stderr, reason = "a figure for whoever asks for it")]
        if let Ok(answer) = &answer {
            eprintln!("{function} of {} took {:?}", answer["source"], begun.elapsed());
        }
        Ok(answer)
    }

    async fn prepare(&self, data: Vec<u8>) -> Result<Result<Value, Failure>> {
        self.call("pictures.prepare", data).await
    }
}

/// Something like a photo: soft slopes with a little grain.
fn scene(width: usize, height: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut values = [120_i32, 110, 100];
    let mut line = Vec::with_capacity(width * 6);
    for _ in 0..width * 2 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for (value, step) in values.iter_mut().zip(state.to_le_bytes()) {
            *value = (*value + i32::from(step % 5) - 2).clamp(10, 245);
            line.push(u8::try_from(*value).unwrap_or(0));
        }
    }
    (0..height).flat_map(|row| line[row % width * 3..(row % width + width) * 3].iter().copied()).collect()
}

#[derive(Clone, Copy)]
struct Kept {
    sampling: SamplingFactor,
    progressive: bool,
    orientation: u8,
}

const CAMERA: Kept = Kept { sampling: SamplingFactor::R_4_2_0, progressive: false, orientation: 1 };

fn encode(width: u16, height: u16, kept: Kept) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 92);
    encoder.set_sampling_factor(kept.sampling);
    encoder.set_progressive(kept.progressive);
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([kept.orientation, 0, 0, 0, 0, 0, 0, 0]);
    encoder.add_exif_metadata(&tiff)?;
    encoder.encode(&scene(width.into(), height.into()), width, height, ColorType::Rgb)?;
    Ok(out)
}

/// A picture of that size whose strips of 16 rows are all the same: one strip is encoded, and its coded data are repeated
/// with restart markers between them (ITU-T T.81 section E.1.4). Both sides must be multiples of 16.
fn tall(width: u16, height: u16, kept: Kept) -> Result<Vec<u8>> {
    const STRIP: usize = 16;
    let strip = encode(width, 16, kept)?;
    let (mut out, mut at) = (strip[..2].to_vec(), 2);
    let mut factors = Vec::new();
    while strip[at + 1] != 0xD9 {
        let marker = strip[at + 1];
        let end = at + 2 + usize::from(u16::from_be_bytes([strip[at + 2], strip[at + 3]]));
        let mut segment = strip[at..end].to_vec();
        at = end;
        match marker {
            0xC0 | 0xC2 => {
                segment[5..7].copy_from_slice(&height.to_be_bytes());
                factors =
                    segment[10..].chunks_exact(3).map(|one| (one[0], one[1] >> 4, one[1] & 15)).collect();
                out.extend(segment);
            }
            0xDA => {
                let (across, down) = factors.iter().fold((1, 1), |(h, v), one| (one.1.max(h), one.2.max(v)));
                let blocks = |(h, v): (u8, u8)| {
                    usize::from(width) / 8 * usize::from(h) / usize::from(across)
                        * (STRIP / 8)
                        * usize::from(v)
                        / usize::from(down)
                };
                let units = if segment[4] == 1 {
                    let one =
                        factors.iter().find(|one| one.0 == segment[5]).context("an unknown component")?;
                    blocks((one.1, one.2))
                } else {
                    blocks((across, down)) / usize::from(across) / usize::from(down)
                };
                out.extend([0xFF, 0xDD, 0, 4]);
                out.extend(u16::try_from(units)?.to_be_bytes());
                out.extend(segment);
                let rest = &strip[at..];
                let coded =
                    rest.windows(2).position(|two| two[0] == 0xFF && two[1] != 0).context("no end")?;
                for number in 0..usize::from(height) / STRIP {
                    if number > 0 {
                        out.extend([0xFF, 0xD0 + u8::try_from((number - 1) % 8)?]);
                    }
                    out.extend(&rest[..coded]);
                }
                at += coded;
            }
            _ => out.extend(segment),
        }
    }
    out.extend([0xFF, 0xD9]);
    Ok(out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_of_cameras_fit_into_a_call() -> Result<()> {
    let studio = Studio::open().await?;
    let progressive = Kept { progressive: true, ..CAMERA };
    let turned = Kept { orientation: 6, ..CAMERA };
    for (what, width, height, kept, size) in [
        ("12 megapixels, held upright", 4032, 3024, turned, (600, 800)),
        (
            "12 megapixels in full colour",
            4032,
            3024,
            Kept { sampling: SamplingFactor::R_4_4_4, ..CAMERA },
            (800, 600),
        ),
        ("12 megapixels, progressive", 4032, 3024, progressive, (800, 600)),
        ("16 megapixels, progressive, which is nearly all there is", 4608, 3456, progressive, (800, 600)),
        ("50 megapixels", 8192, 6096, CAMERA, (800, 595)),
    ] {
        let data = tall(width, height, kept)?;
        let made = studio.prepare(data).await?.with_context(|| what.to_owned())?;
        assert_eq!((&made["width"], &made["height"]), (&json!(size.0), &json!(size.1)), "{what}");
        assert!(made["bytes"].as_u64().is_some_and(|bytes| bytes <= 204_800), "{what}: {made}");
        assert_eq!(made["source"]["orientation"], json!(kept.orientation), "{what}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_pictures_of_other_formats_fit_into_a_call() -> Result<()> {
    let studio = Studio::open().await?;
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 4032, 3024);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    // Mostly flat: a photo of this size as PNG has more than 16 MiB.
    let mut pixels = vec![200; 4032 * 3024 * 3];
    pixels[..4032 * 900].copy_from_slice(&scene(4032, 300));
    encoder.write_header()?.write_image_data(&pixels)?;
    let mut webp = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut webp);
    encoder.encode(&pixels[..3200 * 2200 * 3], 3200, 2200, image_webp::ColorType::Rgb8)?;
    for (data, format, size) in [(png, "png", (800, 600)), (webp, "webp", (800, 550))] {
        let made = studio.prepare(data).await?.with_context(|| format.to_owned())?;
        assert_eq!(made["source"]["format"], json!(format));
        assert_eq!((&made["width"], &made["height"]), (&json!(size.0), &json!(size.1)));
    }
    Ok(())
}

/// A JPEG or PNG that says another size than it has.
fn claims(mut data: Vec<u8>, start: &[u8], width: &[u8], height: &[u8]) -> Result<Vec<u8>> {
    let at = data.windows(start.len()).position(|bytes| bytes == start).context("no header")? + start.len();
    let (first, second) = if width.len() == 2 { (height, width) } else { (width, height) };
    data[at..at + first.len()].copy_from_slice(first);
    data[at + first.len()..at + first.len() + second.len()].copy_from_slice(second);
    Ok(data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_before_memory_is_spent() -> Result<()> {
    let studio = Studio::open().await?;
    let side = 60_000_u16.to_be_bytes();
    let frame = [0xFF, 0xC0, 0, 17, 8];
    let enormous = claims(encode(16, 16, CAMERA)?, &frame, &side, &side)?;
    // 40 megapixels are fewer than 50, and their coefficients are more than a call can hold.
    let progressive = Kept { progressive: true, ..CAMERA };
    let frame = [0xFF, 0xC2, 0, 17, 8];
    let heavy =
        claims(encode(16, 16, progressive)?, &frame, &8000_u16.to_be_bytes(), &5000_u16.to_be_bytes())?;
    let oversized = [encode(64, 64, CAMERA)?, vec![0; 17 << 20]].concat();
    for (what, data) in [("60000 x 60000", enormous), ("progressive", heavy), ("17 MiB", oversized)] {
        let failure = studio.prepare(data).await?.err().context(what)?;
        assert_eq!(
            (failure.kind, failure.code.as_deref(), failure.effect),
            (Kind::InvalidInput, Some("photo:too-large"), Effect::None),
            "{what}: {}",
            failure.message
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_photo_is_said_and_nothing_is_stored() -> Result<()> {
    let studio = Studio::open().await?;
    let whole = encode(800, 800, CAMERA)?;
    let cut = whole[..whole.len() / 2].to_vec();
    for (data, code) in [
        (b"<!doctype html><title>404</title>".to_vec(), "photo:not-a-picture"),
        (cut, "photo:damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0".to_vec(), "photo:unsupported"),
        (encode(200, 200, CAMERA)?, "photo:too-small"),
    ] {
        let failure = studio.prepare(data).await?.err().context(code)?;
        assert_eq!(
            (failure.code.as_deref(), failure.effect),
            (Some(code), Effect::None),
            "{}",
            failure.message
        );
    }
    let stored = studio.stage.capabilities.folder("files")?.stat("out.jpg").await;
    assert_eq!(stored.err().map(|failure| failure.kind), Some(Kind::NotFound));

    let picture = studio.call("pictures.inspect", whole).await??;
    assert_eq!((&picture["format"], &picture["sampling"]), (&json!("jpeg"), &json!("4:2:0")));
    Ok(())
}
