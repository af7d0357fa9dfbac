//! What leaves the house, opened by programs that are none of ours: JPEGs of the `photo` plugin by ImageMagick, multipart
//! bodies by Python's `email` parser, an exported recording by ffprobe.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Site;
use super::judge::Judge;
use crate::process::{must, output_of, root, say};
use crate::recorder::RecorderScene;

/// Runs the checks; returns how many passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    super::install("identify", &["imagemagick"])?;
    super::install("ffprobe", &["ffmpeg"])?;
    Ok(pictures(&ground.join("pictures"), binaries)? + recording(&ground.join("recording"), binaries)?)
}

fn pictures(ground: &Path, binaries: &Path) -> Result<u32> {
    let judge = Judge::start(&ground.join("judge"), "-")?;
    let inventory = format!(
        "connections:\n  terminal:\n    url: http://127.0.0.1:{}\n    auth: none\nfolders:\n  photos: {{ path: ./photos }}\n",
        judge.port
    );
    let workflow = fs::read_to_string(root().join("tests/fixtures/conformance/pictures.yaml"))?;
    let site = Site::new(&ground.join("site"), binaries, &inventory, &[("pictures", &workflow)])?;
    let photos = ground.join("site/photos");
    fs::create_dir_all(&photos)?;
    phone(&photos.join("phone.jpg"))?;
    let drawing = photos.join("drawing.png");
    must(Command::new("convert").args(["-size", "900x900", "-seed", "7", "plasma:red-blue"]).arg(drawing))?;
    let output = site.run_with("pictures", "succeeded", &[])?;

    // The phone held upright: 1600 x 1200 with a note to turn it.
    for (name, step, size, most) in
        [("ready.jpg", "ready", "600 800", 204_800), ("drawing.jpg", "drawing", "800 800", 60_000)]
    {
        let file = photos.join(name);
        look(&file, size)?;
        let bytes = fs::metadata(&file)?.len();
        ensure!(bytes <= most && output[step]["bytes"] == bytes, "{name}: {bytes} bytes: {output}");
    }
    say("photo: ImageMagick reads baseline JPEGs, 4:2:0, upright, without metadata: ok");

    let seen = judge.seen()?;
    ensure!(seen.len() == 3, "the terminal saw {} bodies, not 3", seen.len());
    for (number, (body, file)) in seen.iter().zip(["ready.jpg", "ready.jpg", "drawing.jpg"]).enumerate() {
        let sent = fs::read(photos.join(file))?;
        ensure!(
            body["type"] == "multipart/form-data"
                && body["defects"] == json!([])
                && body["chunked"] == false
                && body["parts"].as_array().map(Vec::len) == Some(2),
            "not a body of two parts: {body}"
        );
        let (data, picture) = (&body["parts"][0], &body["parts"][1]);
        ensure!(
            data["type"] == "application/json"
                && data["json"]["FPID"].is_string()
                && data["name"].is_string(),
            "the first part is not the data: {body}"
        );
        ensure!(
            picture["type"] == "image/jpeg"
                && picture["bytes"] == sent.len()
                && picture["filename"].is_string()
                && fs::read(judge.picture(number + 1))? == sent,
            "the second part is not the picture: {body}"
        );
    }
    ensure!(seen[0]["parts"][0]["json"]["name"] == "Ana Núñez", "{}", seen[0]);
    say("multipart: Python's parser finds data and picture in all three ways of sending a face: ok");
    Ok(5)
}

/// A photo as a phone stores it: progressive, 4:4:4, with a comment, an EXIF orientation (6: turn clockwise), and stray bytes
/// behind its end.
fn phone(file: &Path) -> Result<()> {
    must(
        Command::new("convert")
            .args(["-size", "1600x1200", "-seed", "3", "plasma:green-yellow", "-sampling-factor", "4:4:4"])
            .args(["-interlace", "JPEG", "-quality", "95", "-set", "comment", "taken at the gate"])
            .arg(file),
    )?;
    let picture = fs::read(file)?;
    let (start, rest) = picture.split_at_checked(2).context("ImageMagick wrote nothing")?;
    // APP1 with one entry: Orientation (0x0112), SHORT, 6.
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = u16::try_from(exif.len() + 2)?.to_be_bytes();
    fs::write(file, [start, &[0xff, 0xe1], &length, exif, rest, b"\r\n--stray--\r\n"].concat())?;
    let told =
        output_of(Command::new("identify").args(["-format", "%[EXIF:Orientation] %[interlace]"]).arg(file))?;
    ensure!(told.trim() == "6 JPEG", "the test's own photo is not as it should be: {told}");
    Ok(())
}

/// What ImageMagick says about a prepared picture.
fn look(file: &Path, size: &str) -> Result<()> {
    let format = "%m|%w %h|%[jpeg:sampling-factor]|%[interlace]|%[channels]|%[orientation]";
    let told = output_of(Command::new("identify").args(["-format", format]).arg(file))?;
    let fields: Vec<&str> = told.trim().split('|').collect();
    let [kind, dimensions, sampling, interlace, channels, orientation] = fields.as_slice() else {
        anyhow::bail!("{}: {told}", file.display());
    };
    ensure!(
        *kind == "JPEG"
            && *dimensions == size
            && *sampling == "2x2,1x1,1x1"
            && *interlace == "None"
            && channels.starts_with("srgb")
            && *orientation == "Undefined",
        "{}: {told}",
        file.display()
    );
    let all = output_of(Command::new("identify").arg("-verbose").arg(file))?.to_ascii_lowercase();
    for metadata in ["exif:", "profile-", "profiles:", "comment:", "icc:", "xmp"] {
        ensure!(!all.contains(metadata), "{} still has `{metadata}`", file.display());
    }
    // It decodes to its end without a warning.
    let output = Command::new("convert").arg("-regard-warnings").arg(file).arg("null:").output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn recording(ground: &Path, binaries: &Path) -> Result<u32> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    let scene = RecorderScene::set(ground, binaries)?;
    let text = output_of(scene.export().stdin(Stdio::null()))?;
    let result: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let files = result["output"]["files"].as_array().context("nothing was exported")?;
    ensure!(!files.is_empty(), "nothing was exported");
    for file in files {
        let path = scene.stage.folder.join("recordings").join(file["name"].as_str().unwrap_or_default());
        let told = output_of(
            Command::new("ffprobe")
                .args(["-v", "error", "-of", "json", "-show_format", "-show_packets", "-show_streams"])
                .arg(&path),
        )?;
        let told: Value = serde_json::from_str(&told)?;
        let video = told["streams"].as_array().into_iter().flatten();
        let packets = told["packets"].as_array().map_or(0, Vec::len);
        ensure!(
            told["format"]["format_name"] == "mpeg"
                && video.filter(|stream| stream["id"] == "0x1e0").count() == 1
                && packets > 0,
            "{}: {}",
            path.display(),
            told["format"]
        );
    }
    say(&format!("recorder: ffprobe opens {} exported recordings as MPEG program streams: ok", files.len()));
    scene.simulator.stop();
    Ok(1)
}
